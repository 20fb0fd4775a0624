package credentials

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/entratoken/entra"
)

// EnvironmentConfig is what the environment does not say.
type EnvironmentConfig struct {
	// Logger becomes that of the returned configuration and of its credential, and is
	// told which variables were used (level Info). Zero: silent.
	Logger *slog.Logger
	// HTTPClient becomes that of the returned configuration, and asks GitHub where it is a
	// job of GitHub Actions that runs. Zero: clients of their own.
	HTTPClient *http.Client
}

// FromEnvironment returns the configuration of an app as the environment has it for
// Azure's own tools, so that one program runs unchanged on a desk, in Kubernetes and in a
// pipeline. It is [FromEnvironmentWith] without a logger.
func FromEnvironment() (entra.Config, error) { return FromEnvironmentWith(EnvironmentConfig{}) }

// FromEnvironmentWith returns the configuration of an app from these variables. An empty
// one is one that is not set, and white space around a value is no part of it, except of
// the password.
//
//   - AZURE_TENANT_ID and AZURE_CLIENT_ID: the app and its tenant. Required.
//   - AZURE_AUTHORITY_HOST: the cloud, as its address (https://login.microsoftonline.us/) or
//     its host. Without it: the public cloud.
//   - AZURE_REGIONAL_AUTHORITY_NAME: the region (see [entra.Config]), or "TryAutoDetect" for
//     [entra.DetectRegion]. Without it: none.
//
// The first of these that is set is the credential. The others are then not looked at, and
// if it cannot be used the error says why: nothing else is tried in its place.
//
//  1. AZURE_CLIENT_SECRET: a client secret.
//  2. AZURE_CLIENT_CERTIFICATE_PATH: see [CertificateFile]; with
//     AZURE_CLIENT_CERTIFICATE_PASSWORD, and AZURE_CLIENT_SEND_CERTIFICATE_CHAIN ("1" or
//     "true") to send the chain along.
//  3. AZURE_FEDERATED_TOKEN_FILE: see [WorkloadIdentity].
//  4. ACTIONS_ID_TOKEN_REQUEST_URL with ACTIONS_ID_TOKEN_REQUEST_TOKEN: see
//     [GitHubActions]. The audience is the one of the cloud.
//
// The error, an [*entra.Error] with the code "invalid_client", names the variables that
// were looked at and says what was missing or wrong with them or with a file, and which
// set ones are perhaps misspelt; of the IDs, the cloud, the region and the secret,
// [entra.New] says what they cannot be.
// AZURE_USERNAME and AZURE_PASSWORD are not used: apps sign in as themselves.
//
// Source: the EnvironmentCredential and the WorkloadIdentityCredential of Microsoft's
// azidentity, whose names and order these are.
func FromEnvironmentWith(e EnvironmentConfig) (entra.Config, error) {
	cfg := entra.Config{
		TenantID: env("AZURE_TENANT_ID"), ClientID: env("AZURE_CLIENT_ID"),
		Logger: e.Logger, HTTPClient: e.HTTPClient,
	}
	var wrong, missing []string
	for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID"} {
		if env(name) == "" {
			wrong, missing = append(wrong, name+" is not set"), append(missing, name)
		}
	}
	used := ""
	for _, name := range choices {
		if env(name) != "" {
			used = name
			break
		}
	}
	if used == "" {
		wrong = append(wrong, "no credential is set: looked at "+strings.Join(choices, ", ")+strayed())
		missing = append(missing, choices...)
	}
	if len(wrong) > 0 {
		if similar := misspelt(missing); similar != "" {
			wrong = append(wrong, similar)
		}
		return entra.Config{}, refuse("the environment does not configure an app: %s", strings.Join(wrong, "; "))
	}
	var err error
	if cfg.Cloud, err = cloudOf(env("AZURE_AUTHORITY_HOST")); err != nil {
		return entra.Config{}, err
	}
	if cfg.Region = env("AZURE_REGIONAL_AUTHORITY_NAME"); strings.EqualFold(cfg.Region, "TryAutoDetect") { // MSAL's name for it
		cfg.Region = entra.DetectRegion
	}
	if cfg.Credential, err = e.credential(used, cfg.Cloud); err != nil {
		return entra.Config{}, of(used, err)
	}
	if e.Logger != nil {
		e.Logger.Info("entra: configured from the environment", slog.String("credential", used), slog.Any("not_used", others(used)))
	}
	return cfg, nil
}

// choices are the variables that each bring a credential, in the order of precedence.
var choices = []string{"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_URL"}

func env(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// others are the choices that are set beside the one that is used.
func others(used string) (list []string) {
	for _, name := range choices {
		if name != used && env(name) != "" {
			list = append(list, name)
		}
	}
	return list
}

// strayed says which variables are set that would mean something beside others.
func strayed() string {
	var list []string
	for _, v := range [][2]string{
		{"AZURE_CLIENT_CERTIFICATE_PASSWORD", "needs AZURE_CLIENT_CERTIFICATE_PATH"},
		{"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "needs AZURE_CLIENT_CERTIFICATE_PATH"},
		{"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "needs ACTIONS_ID_TOKEN_REQUEST_URL"},
		{"AZURE_USERNAME", "is not supported, an app signs in as itself"},
		{"AZURE_PASSWORD", "is not supported, an app signs in as itself"},
	} {
		if env(v[0]) != "" {
			list = append(list, v[0]+" is set but "+v[1])
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "; " + strings.Join(list, "; ")
}

func (e EnvironmentConfig) credential(used string, cloud entra.Cloud) (entra.Credential, error) {
	switch used {
	case "AZURE_CLIENT_SECRET":
		return entra.Secret(env(used)), nil
	case "AZURE_CLIENT_CERTIFICATE_PATH":
		cfg := CertificateFileConfig{Path: env(used), Logger: e.Logger}
		switch chain := strings.ToLower(env("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")); chain {
		case "1", "true":
			cfg.SendChain = true
		case "", "0", "false":
		default:
			return entra.Credential{}, refuse("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is neither \"true\" nor \"false\"")
		}
		if password := os.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD"); password != "" {
			cfg.Password = func(context.Context) (string, error) { return password, nil }
		}
		return CertificateFile(cfg)
	case "AZURE_FEDERATED_TOKEN_FILE":
		return WorkloadIdentity(WorkloadIdentityConfig{TokenFile: env(used), Logger: e.Logger})
	}
	return GitHubActions(GitHubActionsConfig{Audience: audienceOf(cloud), HTTPClient: e.HTTPClient})
}

// audienceOf is the audience for federated credentials that Microsoft documents for a
// cloud ("Configure an application to trust a managed identity").
func audienceOf(cloud entra.Cloud) string {
	switch cloud {
	case entra.CloudUSGovernment:
		return Audience + "USGov"
	case entra.CloudChina:
		return Audience + "China"
	}
	return Audience
}

// cloudOf reads AZURE_AUTHORITY_HOST, which some tools want as an address and some as a
// host.
func cloudOf(authority string) (entra.Cloud, error) {
	if authority == "" {
		return "", nil
	}
	if !strings.Contains(authority, "://") {
		authority = "https://" + authority
	}
	u, err := url.Parse(authority)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", refuse("AZURE_AUTHORITY_HOST is not the address of an authority, such as https://login.microsoftonline.us/: https, a host and no path")
	}
	return entra.Cloud(entra.Cloud(u.Host).Host()), nil
}

// of says which variable an error is about.
func of(name string, err error) error {
	if e, ok := err.(*entra.Error); ok {
		named := *e
		named.Description = name + ": " + e.Description
		return &named
	}
	return err
}
