package credentials

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/entratoken/entra"
)

// EnvironmentOptions configures [FromEnvironment].
type EnvironmentOptions struct {
	// Env holds the environment variables in the form "name=value", like os.Environ. If a
	// name occurs twice, the last value is used. If nil, os.Environ is used.
	Env []string
	// Logger logs which variables are used (level Info). It also becomes the Logger of the
	// returned configuration and of its credential. If nil, nothing is logged.
	Logger *slog.Logger
	// EnableAzureProxy controls whether AZURE_KUBERNETES_TOKEN_PROXY is used; see
	// WorkloadIdentityOptions.
	EnableAzureProxy bool
	// HTTPClient sends the requests to GitHub or Azure DevOps in a job of theirs. It also becomes
	// the HTTPClient of the returned configuration. If nil, default clients are used.
	HTTPClient *http.Client
}

// FromEnvironment returns the configuration of an app from the environment variables of
// Azure's own tools. The same program then runs unchanged on a developer's machine, in
// Kubernetes and in a pipeline. If opts is nil, the defaults are used.
//
// Variables that are empty count as not set. White space around values is ignored, except
// around the password.
//
//   - AZURE_TENANT_ID and AZURE_CLIENT_ID: the tenant and the app. Required.
//   - AZURE_AUTHORITY_HOST: the cloud, as a URL (https://login.microsoftonline.us/) or a
//     host. Defaults to the public cloud.
//   - AZURE_REGIONAL_AUTHORITY_NAME: the region (see [entra.Config]). "TryAutoDetect" means
//     [entra.DetectRegion]. Defaults to no region.
//
// The first of the following variables that is set selects the credential. The others are
// ignored. If the selected credential cannot be used, an error is returned and no other
// credential is tried. [entra.Credential.Info] names the selected variable.
//
//  1. AZURE_CLIENT_SECRET: a client secret.
//  2. AZURE_CLIENT_CERTIFICATE_PATH: see [CertificateFile]. The password is in
//     AZURE_CLIENT_CERTIFICATE_PASSWORD. If AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is "1" or
//     "true", the chain is sent.
//  3. AZURE_FEDERATED_TOKEN_FILE: see [WorkloadIdentity]. AZURE_KUBERNETES_TOKEN_PROXY and
//     the variables that belong to it are used if EnableAzureProxy is set.
//  4. ACTIONS_ID_TOKEN_REQUEST_URL with ACTIONS_ID_TOKEN_REQUEST_TOKEN: see
//     [GitHubActions]. The audience is that of the cloud.
//  5. AZURESUBSCRIPTION_SERVICE_CONNECTION_ID with SYSTEM_OIDCREQUESTURI and SYSTEM_ACCESSTOKEN:
//     see [AzurePipelines]. AZURESUBSCRIPTION_TENANT_ID and AZURESUBSCRIPTION_CLIENT_ID then
//     replace AZURE_TENANT_ID and AZURE_CLIENT_ID if these are not set.
//
// AZURE_USERNAME and AZURE_PASSWORD are not supported, because an app signs in as itself.
//
// The error is an [*entra.Error] with the code "invalid_client". It names the variables or
// files that are missing or invalid, and variables whose names look misspelled.
// [entra.New] validates the IDs, the cloud, the region and the secret.
//
// Source: EnvironmentCredential and WorkloadIdentityCredential of Microsoft's azidentity,
// which define these names and their order.
func FromEnvironment(opts *EnvironmentOptions) (entra.Config, error) {
	o := orZero(opts)
	env := environment{}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	for _, pair := range o.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	used, err := env.check()
	if err != nil {
		return entra.Config{}, err
	}
	cfg := entra.Config{
		TenantID: env.get("AZURE_TENANT_ID"), ClientID: env.get("AZURE_CLIENT_ID"),
		Region: regionOf(env.get("AZURE_REGIONAL_AUTHORITY_NAME")), Logger: o.Logger, HTTPClient: o.HTTPClient,
	}
	if cfg.Cloud, err = cloudFromHost(env.get("AZURE_AUTHORITY_HOST")); err != nil {
		return entra.Config{}, err
	}
	cred, err := env.credential(used, cfg.Cloud, &o)
	if err != nil {
		return entra.Config{}, prefixError(used, err)
	}
	cfg.Credential = cred.WithInfo(func() entra.CredentialInfo {
		info := cred.Info()
		info.Variable = used
		return info
	})
	if o.Logger != nil {
		var unused []string
		for _, name := range credentialVariables {
			if name != used && env.get(name) != "" {
				unused = append(unused, name)
			}
		}
		o.Logger.Info("entra: configured from the environment", slog.String("credential", used), slog.Any("not_used", unused))
	}
	return cfg, nil
}

// credentialVariables select the credential, in order of precedence.
var credentialVariables = []string{
	"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_URL",
	serviceConnection,
}

// environment maps the names of environment variables to their values.
type environment map[string]string

// get returns the value of a variable without the white space around it.
func (e environment) get(name string) string { return strings.TrimSpace(e[name]) }

// check returns the variable that selects the credential, and sets the IDs of a service
// connection. Its error names all variables that are missing.
func (e environment) check() (used string, err error) {
	var problems, missing []string
	i := slices.IndexFunc(credentialVariables, func(name string) bool { return e.get(name) != "" })
	if i >= 0 {
		used = credentialVariables[i]
	}
	for _, name := range []string{"TENANT_ID", "CLIENT_ID"} {
		if e.get("AZURE_"+name) == "" && used == serviceConnection {
			e["AZURE_"+name] = e.get("AZURESUBSCRIPTION_" + name)
		}
		if name = "AZURE_" + name; e.get(name) == "" {
			problems, missing = append(problems, name+" is not set"), append(missing, name)
		}
	}
	if i < 0 {
		problems = append(problems, "no credential is set (checked "+strings.Join(credentialVariables, ", ")+")")
		problems = append(problems, e.incomplete()...)
		missing = append(missing, credentialVariables...)
	}
	if len(problems) == 0 {
		return used, nil
	}
	problems = append(problems, e.misspelled(missing)...)
	return "", invalid("the environment does not configure an app: %s", strings.Join(problems, "; "))
}

// incomplete describes the variables that are set but do not select a credential.
func (e environment) incomplete() (list []string) {
	for _, v := range [][2]string{
		{"AZURE_CLIENT_CERTIFICATE_PASSWORD", "needs AZURE_CLIENT_CERTIFICATE_PATH"},
		{"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "needs AZURE_CLIENT_CERTIFICATE_PATH"},
		{"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "needs ACTIONS_ID_TOKEN_REQUEST_URL"},
		{"SYSTEM_OIDCREQUESTURI", "needs " + serviceConnection},
		{"AZURE_USERNAME", "is not supported, because an app signs in as itself"},
		{"AZURE_PASSWORD", "is not supported, because an app signs in as itself"},
	} {
		if e.get(v[0]) != "" {
			list = append(list, v[0]+" is set but "+v[1])
		}
	}
	return list
}

// misspelled describes the variables whose names are similar to missing ones, such as
// AZURE_TENANTID and AZURE_CLIENT_SECRTE.
func (e environment) misspelled(missing []string) (list []string) {
	for name := range e {
		if e.get(name) == "" || !strings.HasPrefix(strings.ToUpper(name), "AZURE") {
			continue
		}
		for _, want := range missing {
			if name != want && distance(normalize(name), normalize(want)) <= 2 {
				list = append(list, name+" is set (did you mean "+want+"?)")
			}
		}
	}
	slices.Sort(list)
	return list
}

// normalize returns a name in upper case and without underscores.
func normalize(name string) string { return strings.ReplaceAll(strings.ToUpper(name), "_", "") }

// distance returns the Levenshtein distance of a and b: how many letters must be added,
// removed or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (e environment) credential(used string, cloud entra.Cloud, o *EnvironmentOptions) (entra.Credential, error) {
	switch used {
	case "AZURE_CLIENT_SECRET":
		return entra.Secret(e.get(used)), nil
	case "AZURE_CLIENT_CERTIFICATE_PATH":
		opts := CertificateFileOptions{Logger: o.Logger}
		switch strings.ToLower(e.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")) {
		case "1", "true":
			opts.SendChain = true
		case "", "0", "false":
		default:
			return entra.Credential{}, invalid("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is neither \"true\" nor \"false\"")
		}
		opts.Password = fixedPassword(e["AZURE_CLIENT_CERTIFICATE_PASSWORD"])
		return CertificateFile(e.get(used), &opts)
	case "AZURE_FEDERATED_TOKEN_FILE":
		return workloadIdentity(e.get, WorkloadIdentityOptions{
			TokenFile: e.get(used), EnableAzureProxy: o.EnableAzureProxy, Logger: o.Logger,
		})
	}
	if used == serviceConnection {
		return azurePipelines(e.get, AzurePipelinesOptions{HTTPClient: o.HTTPClient})
	}
	return gitHubActions(e.get, GitHubActionsOptions{Audience: AudienceFor(cloud), HTTPClient: o.HTTPClient})
}

// fixedPassword returns a [CertificateFileOptions].Password, or nil without a password.
func fixedPassword(password string) func(context.Context) (string, error) {
	if password == "" {
		return nil
	}
	return func(context.Context) (string, error) { return password, nil }
}

// regionOf returns a region in which MSAL's name for the detection is replaced.
func regionOf(name string) string {
	if strings.EqualFold(name, "TryAutoDetect") {
		return entra.DetectRegion
	}
	return name
}

// cloudFromHost parses AZURE_AUTHORITY_HOST, which is a URL for some tools and a host for
// others.
func cloudFromHost(authority string) (entra.Cloud, error) {
	if authority != "" && !strings.Contains(authority, "://") {
		authority = "https://" + authority
	}
	cloud, ok := cloudFromURL(authority)
	if !ok {
		return "", invalid("AZURE_AUTHORITY_HOST is not the URL of an authority; " +
			"it must be https with a host and without a path, such as https://login.microsoftonline.us/")
	}
	return cloud, nil
}

// cloudFromURL returns the cloud of a URL of an authority. If authority is empty, it returns the public cloud. ok is
// false if authority is not the URL of a host.
func cloudFromURL(authority string) (_ entra.Cloud, ok bool) {
	if authority == "" {
		return "", true
	}
	u, err := url.Parse(authority)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return entra.Cloud(entra.Cloud(u.Host).Host()), true
}

// prefixError adds the name of the variable that err is about.
func prefixError(name string, err error) error {
	if e, ok := err.(*entra.Error); ok {
		named := *e
		named.Description = name + ": " + e.Description
		return &named
	}
	return err
}
