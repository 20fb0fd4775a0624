package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/credentials"
)

// maxSecret bounds the size of a secret or an assertion.
const maxSecret = 64 << 10

// maxCA bounds the size of a file of certificate authorities. That of a system has about 250 KB.
const maxCA = 4 << 20

// app returns the configuration without the credential. The error names the IDs that are
// missing.
func (s *System) app(o *options) (entra.Config, error) {
	cfg := entra.Config{TenantID: o.tenant, ClientID: o.client, Cloud: s.cloud(o), Region: o.region}
	if strings.EqualFold(cfg.Region, entra.DetectRegion) {
		cfg.Region = entra.DetectRegion
	}
	var missing []string
	for _, v := range []struct {
		to         *string
		flag, name string
	}{{&cfg.TenantID, "-tenant", "AZURE_TENANT_ID"}, {&cfg.ClientID, "-client", "AZURE_CLIENT_ID"}} {
		if *v.to == "" {
			*v.to = s.env(v.name)
		}
		if *v.to == "" && s.env("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID") != "" { // in a job of Azure Pipelines
			*v.to = s.env(strings.Replace(v.name, "AZURE_", "AZURESUBSCRIPTION_", 1))
		}
		if *v.to == "" {
			missing = append(missing, v.flag+" is not given and "+v.name+" is not set")
		}
	}
	if len(missing) > 0 {
		return cfg, &entra.Error{Code: "invalid_request", Description: strings.Join(missing, "; ")}
	}
	return cfg, nil
}

// getenv returns an environment variable, or "" if it is not set.
func (s *System) getenv(name string) string {
	for _, pair := range slices.Backward(s.Env) {
		if n, value, _ := strings.Cut(pair, "="); n == name {
			return value
		}
	}
	return ""
}

// env returns an environment variable without the white space around it.
func (s *System) env(name string) string { return strings.TrimSpace(s.getenv(name)) }

// open returns the credential that the flags or else the environment select. Its requests
// are recorded.
func (s *System) open(
	o *options, cfg entra.Config, recorder *httprecord.Recorder,
) (cred entra.Credential, facts doctor.Credential, err error) {
	switch {
	case o.secretFile != "":
		cred, err = credentials.SecretFile(o.secretFile, nil)
	case o.secretEnv != "":
		// The error does not contain the name, which may be a secret.
		if s.env(o.secretEnv) == "" {
			err = &entra.Error{Code: "invalid_client", Description: "the variable that -secret-env names is not set or is empty"}
			break
		}
		cred = entra.Secret(s.env(o.secretEnv))
		info := cred.Info()
		info.Variable = o.secretEnv
		cred = cred.WithInfo(func() entra.CredentialInfo { return info })
	case o.secretStdin:
		var text string
		text, err = s.stdin()
		cred = entra.Secret(text).WithInfo(func() entra.CredentialInfo {
			return entra.CredentialInfo{Kind: "client secret from standard input"}
		})
	case o.certificate != "":
		cred, err = s.certificate(o)
	case o.federatedFile != "":
		cred, err = credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{
			TokenFile: o.federatedFile, EnableAzureProxy: o.azureProxy,
		})
	case o.github:
		cred, err = credentials.GitHubActions(&credentials.GitHubActionsOptions{
			Audience: credentials.AudienceFor(cfg.Cloud), HTTPClient: httpClient(recorder),
		})
	case o.managed != "":
		direct := httprecord.Transport(nil)
		direct.Proxy = nil // the service is on this machine or its network
		opts := credentials.ManagedIdentityOptions{
			ClientID: o.managed, Audience: credentials.AudienceFor(cfg.Cloud), HTTPClient: httpClient(recorder.Over(direct)),
		}
		if o.managed == "default" {
			opts.ClientID = ""
		}
		cred, err = credentials.ManagedIdentity(&opts)
	default:
		if cred, err = s.fromEnvironment(cfg, o, recorder); err == nil {
			facts.Unused = s.unused(cred.Info().Variable)
		}
	}
	if err != nil {
		return entra.Credential{}, doctor.Credential{}, err
	}
	facts.CredentialInfo = cred.Info()
	if o.azureProxy {
		cred = cred.WithTransport(recorder) // which sends requests through the proxy
	}
	return cred, facts, nil
}

// fromEnvironment returns the credential in the environment. The IDs and the cloud in cfg,
// which may come from flags, replace those of the environment.
func (s *System) fromEnvironment(
	cfg entra.Config, o *options, recorder *httprecord.Recorder,
) (entra.Credential, error) {
	env := append(slices.Clone(s.Env),
		"AZURE_TENANT_ID="+cfg.TenantID, "AZURE_CLIENT_ID="+cfg.ClientID, "AZURE_AUTHORITY_HOST="+cfg.Cloud.Host())
	c, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{
		Env: env, HTTPClient: httpClient(recorder), EnableAzureProxy: o.azureProxy,
	})
	return c.Credential, err
}

// unused returns the variables that are set and select a credential other than used.
func (s *System) unused(used string) (list []string) {
	for _, name := range []string{
		"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_URL",
		"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID",
	} {
		if name != used && s.env(name) != "" {
			list = append(list, name)
		}
	}
	return list
}

func (s *System) certificate(o *options) (entra.Credential, error) {
	opts := credentials.CertificateFileOptions{KeyPath: o.key, SendChain: o.sendChain, RS256: o.rs256}
	switch {
	case o.passwordEnv != "":
		opts.Password = func(context.Context) (string, error) { return s.getenv(o.passwordEnv), nil }
	case o.passwordFile != "":
		opts.Password = func(context.Context) (string, error) {
			b, err := readSmall(o.passwordFile)
			return strings.TrimRight(b, "\r\n"), err
		}
	}
	return credentials.CertificateFile(o.certificate, &opts)
}

// stdin reads a secret or an assertion from standard input.
func (s *System) stdin() (string, error) {
	b, err := io.ReadAll(io.LimitReader(s.Stdin, maxSecret+1))
	if err != nil || len(b) > maxSecret {
		return "", &entra.Error{Code: "invalid_client",
			Description: "standard input cannot be read or is too long for a secret"}
	}
	return strings.TrimSpace(string(b)), nil
}

func readSmall(path string) (string, error) { return readFile(path, maxSecret) }

func readFile(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(b)) > limit {
		return "", fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return string(b), nil
}
