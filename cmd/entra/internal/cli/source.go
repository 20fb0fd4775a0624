package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/wire"
	"github.com/entratoken/entra/credentials"
)

// maxSecret bounds what is read of a secret or an assertion.
const maxSecret = 64 << 10

// app returns the app that flags and environment name, and what is missing of it.
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
		if *v.to == "" {
			missing = append(missing, v.flag+" is not given and "+v.name+" is not set")
		}
	}
	if len(missing) > 0 {
		return cfg, &entra.Error{Code: "invalid_request", Description: strings.Join(missing, "; ")}
	}
	return cfg, nil
}

func (s *System) env(name string) string { return strings.TrimSpace(s.Getenv(name)) }

// open reads the credential that the flags name, or else the environment. cfg is the app's.
func (s *System) open(o *options, cfg entra.Config, transport roundTripper) (cred entra.Credential, facts doctor.Credential, err error) {
	seen := &notes{}
	logger := slog.New(seen)
	defer func() { facts.Thumbprint, facts.Ends = seen.thumbprint, seen.ends }()
	switch {
	case o.secretFile != "":
		facts.Kind = "client secret in " + o.secretFile
		cred, err = credentials.SecretFile(o.secretFile)
	case o.secretEnv != "":
		if cred = entra.Secret(s.env(o.secretEnv)); s.env(o.secretEnv) == "" {
			facts.Kind = "client secret in a variable"
			err = &entra.Error{Code: "invalid_client", Description: "the variable that -secret-env names is not set, or is empty"} // not its name, which may be a secret
			break
		}
		facts.Kind = "client secret in the variable " + o.secretEnv
	case o.secretStdin:
		facts.Kind = "client secret from standard input"
		var text string
		text, err = s.stdin()
		cred = entra.Secret(text)
	case o.certificate != "":
		facts.Kind = "certificate in " + o.certificate
		cred, err = s.certificate(o, logger)
	case o.federatedFile != "":
		facts.Kind = "federated token in " + o.federatedFile
		facts.Assertion = assertionIn(o.federatedFile)
		cred, err = credentials.WorkloadIdentity(credentials.WorkloadIdentityConfig{TokenFile: o.federatedFile})
	case o.github:
		facts.Kind = "federated token of GitHub Actions"
		cred, err = credentials.GitHubActions(credentials.GitHubActionsConfig{Audience: audience(cfg.Cloud), HTTPClient: s.otherClient(transport)})
	case o.managed != "":
		facts.Kind = "token of managed identity " + o.managed
		m := credentials.ManagedIdentityConfig{ClientID: o.managed, Audience: audience(cfg.Cloud)}
		if o.managed == "default" {
			m.ClientID = ""
		}
		cred, err = credentials.ManagedIdentity(m)
	default:
		cred, err = s.fromEnvironment(cfg, logger)
		facts.Kind = seen.kind()
		switch {
		case err != nil:
		case seen.variable == "AZURE_CLIENT_CERTIFICATE_PATH":
			s.inspect(logger)
		case seen.variable == "AZURE_FEDERATED_TOKEN_FILE":
			facts.Assertion = assertionIn(s.env("AZURE_FEDERATED_TOKEN_FILE"))
		}
	}
	return cred, facts, err
}

// fromEnvironment takes the credential from the environment. The app's IDs, which may have
// come from flags, are in cfg.
func (s *System) fromEnvironment(cfg entra.Config, logger *slog.Logger) (entra.Credential, error) {
	for name, value := range map[string]string{"AZURE_TENANT_ID": cfg.TenantID, "AZURE_CLIENT_ID": cfg.ClientID} {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, value); err != nil {
				return entra.Credential{}, errors.New("the environment cannot be used")
			}
			defer os.Unsetenv(name)
		}
	}
	c, err := credentials.FromEnvironmentWith(credentials.EnvironmentConfig{Logger: logger})
	return c.Credential, err
}

// assertionIn is what a file's token says of itself, nil if it holds none.
func assertionIn(path string) *wire.Assertion {
	raw, err := readSmall(path)
	if err != nil {
		return nil
	}
	if a := wire.AssertionOf(strings.TrimSpace(raw)); a.Issuer != "" {
		return a
	}
	return nil
}

// inspect reads the environment's certificate once more, for what is to be said of it.
func (s *System) inspect(logger *slog.Logger) {
	o := &options{certificate: s.env("AZURE_CLIENT_CERTIFICATE_PATH")}
	if s.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD") != "" {
		o.passwordEnv = "AZURE_CLIENT_CERTIFICATE_PASSWORD"
	}
	_, _ = s.certificate(o, logger) // it has just been read without an error
}

func (s *System) certificate(o *options, logger *slog.Logger) (entra.Credential, error) {
	c := credentials.CertificateFileConfig{
		Path: o.certificate, KeyPath: o.key, SendChain: o.sendChain, RS256: o.rs256,
		Logger: logger, WarnBefore: math.MaxInt64, // so that the log says when it ends, however far off that is
	}
	switch {
	case o.passwordEnv != "":
		c.Password = func(context.Context) (string, error) { return s.Getenv(o.passwordEnv), nil }
	case o.passwordFile != "":
		c.Password = func(context.Context) (string, error) {
			b, err := readSmall(o.passwordFile)
			return strings.TrimRight(b, "\r\n"), err
		}
	}
	return credentials.CertificateFile(c)
}

// audience is what federated credentials are for in a cloud ("Configure an application to
// trust a managed identity").
func audience(cloud entra.Cloud) string {
	switch entra.Cloud(cloud.Host()) {
	case entra.CloudUSGovernment:
		return credentials.Audience + "USGov"
	case entra.CloudChina:
		return credentials.Audience + "China"
	}
	return credentials.Audience
}

// stdin reads a secret or an assertion from standard input.
func (s *System) stdin() (string, error) {
	b, err := io.ReadAll(io.LimitReader(s.Stdin, maxSecret+1))
	if err != nil || len(b) > maxSecret {
		return "", &entra.Error{Code: "invalid_client", Description: "standard input cannot be read, or is longer than any secret"}
	}
	return strings.TrimSpace(string(b)), nil
}

func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxSecret)
	}
	return string(b), nil
}

// notes is an [slog.Handler] that keeps what package credentials says of a credential.
type notes struct {
	variable   string
	unused     []string // variables that each bring a credential, too
	thumbprint string
	ends       time.Time
}

// Enabled implements [slog.Handler].
func (n *notes) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "credential":
			n.variable = a.Value.String()
		case "not_used":
			n.unused, _ = a.Value.Any().([]string)
		case "thumbprint":
			n.thumbprint = a.Value.String()
		case "not_after":
			if a.Value.Kind() == slog.KindTime {
				n.ends = a.Value.Time()
			}
		}
		return true
	})
	return nil
}

// WithAttrs implements [slog.Handler].
func (n *notes) WithAttrs([]slog.Attr) slog.Handler { return n }

// WithGroup implements [slog.Handler].
func (n *notes) WithGroup(string) slog.Handler { return n }

func (n *notes) kind() string {
	kind := ""
	switch n.variable {
	case "AZURE_CLIENT_SECRET":
		kind = "client secret in AZURE_CLIENT_SECRET"
	case "AZURE_CLIENT_CERTIFICATE_PATH":
		kind = "certificate in AZURE_CLIENT_CERTIFICATE_PATH"
	case "AZURE_FEDERATED_TOKEN_FILE":
		kind = "federated token in AZURE_FEDERATED_TOKEN_FILE"
	case "ACTIONS_ID_TOKEN_REQUEST_URL":
		kind = "federated token of GitHub Actions"
	}
	if len(n.unused) > 0 {
		kind += " (set beside it and not used: " + strings.Join(n.unused, ", ") + ")"
	}
	return kind
}
