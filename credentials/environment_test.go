package credentials_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// setenv sets the app's variables and those in env, which alternates names and values.
func setenv(t *testing.T, env ...string) {
	t.Helper()
	t.Setenv("AZURE_TENANT_ID", entratest.SampleTenant)
	t.Setenv("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-00000000000d")
	for i := 0; i < len(env); i += 2 {
		t.Setenv(env[i], env[i+1])
	}
}

// The first credential that is set is used.
func TestFromEnvironmentPrecedence(t *testing.T) {
	dir := testFiles(t, `cat leaf.crt leaf-encrypted.key between.crt > cert`)
	p := newFakeEntra().trust(t)
	g := newGitHub(t, p)
	for _, test := range []struct {
		name, value, unused string
		check               func(assertion string) bool
	}{
		{"ACTIONS_ID_TOKEN_REQUEST_URL", g.URL, `[]`, func(string) bool { return len(g.requests) == 1 }},
		{"AZURE_FEDERATED_TOKEN_FILE", testkit.WriteFile(t, filepath.Join(dir, "token"), p.token(t, time.Hour)),
			`[ACTIONS_ID_TOKEN_REQUEST_URL]`,
			func(assertion string) bool { return assertion == read(t, dir, "token") }},
		{"AZURE_CLIENT_CERTIFICATE_PATH", filepath.Join(dir, "cert"),
			`"[AZURE_FEDERATED_TOKEN_FILE ACTIONS_ID_TOKEN_REQUEST_URL]"`,
			func(assertion string) bool {
				return header(t, assertion).S256 != "" && len(header(t, assertion).X5C) == 0
			}},
		{"AZURE_CLIENT_SECRET", "secret-1",
			`"[AZURE_CLIENT_CERTIFICATE_PATH AZURE_FEDERATED_TOKEN_FILE ACTIONS_ID_TOKEN_REQUEST_URL]"`,
			func(assertion string) bool { return assertion == "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			// All credentials with lower precedence are set, too.
			setenv(t, "AZURE_CLIENT_CERTIFICATE_PASSWORD", password, test.name, test.value)
			if test.name != "ACTIONS_ID_TOKEN_REQUEST_URL" {
				t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://unused.example")
			}
			if test.name == "AZURE_CLIENT_CERTIFICATE_PATH" || test.name == "AZURE_CLIENT_SECRET" {
				t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "/unused")
			}
			if test.name == "AZURE_CLIENT_SECRET" {
				t.Setenv("AZURE_CLIENT_CERTIFICATE_PATH", "/unused")
			}
			e := p.fakeEntra
			e.secrets("secret-1")
			e.UpdateCredentials("daemon",
				func(a *entratest.App) { a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")} })
			log := newLogRecorder()
			cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{Logger: log.Logger, HTTPClient: g.Client()})
			if err != nil {
				t.Fatal(err)
			}
			if cfg.TenantID != entratest.SampleTenant || cfg.ClientID != e.App("daemon").ClientID || cfg.Cloud != "" ||
				cfg.Region != "" || cfg.HTTPClient != g.Client() || cfg.Logger != log.Logger {
				t.Errorf("got %+v", cfg)
			}
			e.mustUse(t, cfg.Credential)
			sent := e.sent("client_assertion")
			if !test.check(sent[len(sent)-1]) {
				t.Error("a different credential was used")
			}
			want := `level=INFO msg="entra: configured from the environment" credential=` + test.name + ` not_used=` +
				test.unused
			if lines := log.lines(); !slices.Contains(lines, want) {
				t.Errorf("logged %q\nwant   %s", lines, want)
			}
		})
	}
}

// AZURE_CLIENT_SEND_CERTIFICATE_CHAIN controls whether the chain is sent.
func TestFromEnvironmentSendsChain(t *testing.T) {
	dir := testFiles(t, `cat leaf.crt leaf.key between.crt > cert`)
	for value, want := range map[string]int{"1": 2, "true": 2, "TRUE": 2, "0": 0, "false": 0, " ": 0} {
		setenv(t, "AZURE_CLIENT_CERTIFICATE_PATH", filepath.Join(dir, "cert"), "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", value)
		cfg, err := credentials.FromEnvironment(nil)
		if err != nil {
			t.Fatal(err)
		}
		e := newFakeEntra()
		e.UpdateCredentials("daemon",
			func(a *entratest.App) { a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")} })
		e.mustUse(t, cfg.Credential)
		if got := len(header(t, e.sent("client_assertion")[0]).X5C); got != want {
			t.Errorf("%q: %d certificates, want %d", value, got, want)
		}
	}
}

// AZURE_AUTHORITY_HOST selects the cloud, which determines the audience of GitHub's tokens.
func TestFromEnvironmentClouds(t *testing.T) {
	g := newGitHub(t, newFakeEntra().trust(t))
	for value, want := range map[string]struct {
		cloud    entra.Cloud
		audience string
	}{
		"":                                       {"", "api://AzureADTokenExchange"},
		"https://login.microsoftonline.com/":     {entra.CloudPublic, "api://AzureADTokenExchange"},
		"https://login.microsoftonline.us/":      {entra.CloudUSGovernment, "api://AzureADTokenExchangeUSGov"},
		"https://LOGIN.microsoftonline.us":       {entra.CloudUSGovernment, "api://AzureADTokenExchangeUSGov"},
		"login.partner.microsoftonline.cn":       {entra.CloudChina, "api://AzureADTokenExchangeChina"},
		"https://login.chinacloudapi.cn/":        {entra.CloudChina, "api://AzureADTokenExchangeChina"}, // azcore's name
		"https://login.usgovcloudapi.net/":       {entra.CloudUSGovernment, "api://AzureADTokenExchangeUSGov"},
		"https://login-us.microsoftonline.com/":  {"login-us.microsoftonline.com", "api://AzureADTokenExchangeUSGov"},
		"https://login.windows.net/":             {entra.CloudPublic, "api://AzureADTokenExchange"},
		"https://login.example.internal:8443///": {"login.example.internal:8443", "api://AzureADTokenExchange"},
	} {
		setenv(t, "AZURE_AUTHORITY_HOST", value)
		cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{HTTPClient: g.Client()})
		if err != nil || cfg.Cloud != want.cloud {
			t.Errorf("%q: %q, %v", value, cfg.Cloud, err)
			continue
		}
		g.requests = nil
		newFakeEntra().use(cfg.Credential)
		if got := g.requests[0].URL.Query().Get("audience"); got != want.audience {
			t.Errorf("%q: audience %q", value, got)
		}
	}
}

func TestFromEnvironmentRegion(t *testing.T) {
	for value, want := range map[string]string{"": "", "westus2": "westus2", "TryAutoDetect": entra.DetectRegion} {
		setenv(t, "AZURE_CLIENT_SECRET", "secret-1", "AZURE_REGIONAL_AUTHORITY_NAME", value)
		cfg, err := credentials.FromEnvironment(nil)
		if err != nil || cfg.Region != want {
			t.Errorf("%q: %q, %v", value, cfg.Region, err)
		}
	}
}

// Errors contain the names of the variables and not their values.
func TestFromEnvironmentErrors(t *testing.T) {
	const nothing = "no credential is set (checked AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, " +
		"AZURE_FEDERATED_TOKEN_FILE, ACTIONS_ID_TOKEN_REQUEST_URL, AZURESUBSCRIPTION_SERVICE_CONNECTION_ID)"
	const host = "AZURE_AUTHORITY_HOST is not the URL of an authority; it must be https with a host and without a " +
		"path, such as https://login.microsoftonline.us/"
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"no tenant": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_TENANT_ID", ""},
			"the environment does not configure an app: AZURE_TENANT_ID is not set"},
		"no client": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_CLIENT_ID", " "},
			"the environment does not configure an app: AZURE_CLIENT_ID is not set"},
		"no credential": {nil, "the environment does not configure an app: " + nothing},
		"nothing": {[]string{"AZURE_TENANT_ID", "", "AZURE_CLIENT_ID", ""},
			"the environment does not configure an app: AZURE_TENANT_ID is not set; AZURE_CLIENT_ID is not set; " + nothing},
		"incomplete": {[]string{"AZURE_CLIENT_CERTIFICATE_PASSWORD", "s3cr3t", "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "1",
			"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cr3t"},
			"the environment does not configure an app: " + nothing +
				"; AZURE_CLIENT_CERTIFICATE_PASSWORD is set but needs AZURE_CLIENT_CERTIFICATE_PATH; " +
				"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is set but needs AZURE_CLIENT_CERTIFICATE_PATH; " +
				"ACTIONS_ID_TOKEN_REQUEST_TOKEN is set but needs ACTIONS_ID_TOKEN_REQUEST_URL"},
		"a user": {[]string{"AZURE_USERNAME", "s3cr3t", "AZURE_PASSWORD", "s3cr3t"},
			"the environment does not configure an app: " + nothing +
				"; AZURE_USERNAME is set but is not supported, because an app signs in as itself; AZURE_PASSWORD is set but is " +
				"not supported, because an app signs in as itself"},
		"misspelled": {[]string{"AZURE_TENANT_ID", "", "AZURE_TENANTID", "s3cr3t", "AZURE_CLIENT_SECRTE", "s3cr3t",
			"AZURE_SUBSCRIPTION_ID", "s3cr3t", "AZURE_CLIENTS", ""},
			"the environment does not configure an app: AZURE_TENANT_ID is not set; " + nothing +
				"; AZURE_CLIENT_SECRTE is set (did you mean AZURE_CLIENT_SECRET?); AZURE_TENANTID is set (did you mean " +
				"AZURE_TENANT_ID?)"},
		"lower case": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_CLIENT_ID", "", "azure_clientid", "s3cr3t"},
			"the environment does not configure an app: AZURE_CLIENT_ID is not set; azure_clientid is set (did you mean " +
				"AZURE_CLIENT_ID?)"},
		"empty variable": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_CLIENT_ID", "", "AZURE_CLIENT_IDS", ""},
			"the environment does not configure an app: AZURE_CLIENT_ID is not set"},
		"no file": {[]string{"AZURE_CLIENT_CERTIFICATE_PATH", "/none"},
			`AZURE_CLIENT_CERTIFICATE_PATH: cannot read the certificate file "/none": no such file or directory`},
		"chain": {[]string{"AZURE_CLIENT_CERTIFICATE_PATH", "/none", "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "perhaps"},
			`AZURE_CLIENT_CERTIFICATE_PATH: AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is neither "true" nor "false"`},
		"no token": {[]string{"AZURE_FEDERATED_TOKEN_FILE", "/none"},
			`AZURE_FEDERATED_TOKEN_FILE: cannot read the federated token file "/none": no such file or directory`},
		"incomplete job": {[]string{"ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example"},
			"ACTIONS_ID_TOKEN_REQUEST_URL: ACTIONS_ID_TOKEN_REQUEST_URL or " +
				`ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set; GitHub sets both in jobs with the permission "id-token: write"`},
		"plain": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_AUTHORITY_HOST", "http://login.microsoftonline.com"},
			host},
		"path": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_AUTHORITY_HOST", "https://adfs.example/adfs"}, host},
		"user": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_AUTHORITY_HOST",
			"https://s3cr3t@login.microsoftonline.com"}, host},
		"no host":   {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_AUTHORITY_HOST", "https://"}, host},
		"a control": {[]string{"AZURE_CLIENT_SECRET", "s3cr3t", "AZURE_AUTHORITY_HOST", "https://login\x7f.example"}, host},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.env...)
			cfg, err := credentials.FromEnvironment(nil)
			wantInvalid(t, err, "", test.want)
			if !cfg.Credential.Equal(entra.Credential{}) || cfg.TenantID != "" {
				t.Error("got a configuration and an error")
			}
		})
	}
}

// entra.New accepts the configuration.
func TestFromEnvironmentConfiguresClient(t *testing.T) {
	e := newFakeEntra()
	setenv(t, "AZURE_CLIENT_SECRET", e.App("daemon").Secrets[0])
	cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{HTTPClient: &http.Client{Transport: e}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := entra.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientcreds.TokenSource(client, scope).TokenContext(context.Background()); err != nil {
		t.Error(err)
	}
}
