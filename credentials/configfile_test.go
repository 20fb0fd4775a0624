package credentials_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const (
	tenantID = entratest.SampleTenant
	clientID = "aaaaaaaa-0000-4000-8000-00000000000d"
)

// settingsFile writes a file whose section AzureAd has the IDs of the sample app and further members.
func settingsFile(t *testing.T, dir, members string) string {
	t.Helper()
	return testkit.WriteFile(t, filepath.Join(dir, "appsettings.json"),
		`{"AzureAd": {"TenantId": "`+tenantID+`", "ClientId": "`+clientID+`", `+members+`}}`)
}

// Each source of a credential leads to the request that it should.
func TestFromFileCredentials(t *testing.T) {
	dir := testFiles(t, `
		cat leaf.crt leaf-encrypted.key between.crt > cert.pem
		openssl pkcs12 -export -inkey leaf.key -in leaf.crt -passout "pass:`+password+`" -out cert.pfx`)
	p := newFakeEntra().trust(t)
	e := p.fakeEntra
	e.secrets("secret-1")
	e.UpdateCredentials("daemon",
		func(a *entratest.App) { a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")} })
	token := testkit.WriteFile(t, filepath.Join(dir, "token"), p.token(t, time.Hour))
	pfx := base64.StdEncoding.EncodeToString([]byte(read(t, dir, "cert.pfx")))
	isCertificate := func(chain int) func(secret, assertion string) bool {
		return func(_, assertion string) bool {
			return assertion != "" && header(t, assertion).S256 != "" && len(header(t, assertion).X5C) == chain
		}
	}
	isToken := func(_, assertion string) bool { return assertion == read(t, token) }
	isSecret := func(secret, _ string) bool { return secret == "secret-1" }
	for _, test := range []struct {
		name, members string
		env           []string
		check         func(secret, assertion string) bool
	}{
		{"ClientSecret", `"ClientCredentials": [{"SourceType": "ClientSecret", "ClientSecret": "secret-1"}]`, nil, isSecret},
		{"older ClientSecret", `"ClientSecret": "secret-1"`, nil, isSecret},
		{"Path", `"ClientCredentials": [{"SourceType": "Path", "CertificateDiskPath": "DIR/cert.pem",
			"CertificatePassword": "` + password + `"}]`, nil, isCertificate(0)},
		{"older ClientCertificates with chain", `"SendX5C": true, "ClientCertificates": [{"SourceType": "Path",
			"CertificateDiskPath": "DIR/cert.pem", "CertificatePassword": "` + password + `"}]`, nil, isCertificate(2)},
		{"Base64Encoded with chain", `"sendx5c": true, "ClientCredentials": [{"SourceType": "base64encoded",
			"Base64EncodedValue": "` + pfx + `", "CertificatePassword": "` + password + `"}]`, nil, isCertificate(1)},
		{"SignedAssertionFilePath", `"ClientCredentials": [{"SourceType": "SignedAssertionFilePath",
			"SignedAssertionFileDiskPath": "DIR/token"}]`, nil, isToken},
		{"secret of the environment",
			`"ClientCredentials": [{"SourceType": "ClientSecret", "ClientSecret": "from the vault"}]`,
			[]string{"AzureAd__ClientCredentials__0__ClientSecret=secret-1"}, isSecret},
		{"name of the environment in upper case", `"ClientSecret": "other"`,
			[]string{"AZUREAD__CLIENTSECRET=secret-1", "AZUREAD__CLIENTID= "}, isSecret},
		{"skipped entry", `"ClientCredentials": [{"SourceType": "KeyVault", "KeyVaultUrl": "https://v.example", "Skip": true},
			{"SourceType": "ClientSecret", "ClientSecret": "secret-1"}]`, nil, isSecret},
		{"unusable entry", `"ClientCredentials": [{"SourceType": "Path", "CertificateDiskPath": "DIR/missing.pem"},
			{"SourceType": "ClientSecret", "ClientSecret": "secret-1"}]`, nil, isSecret},
		{"tenth entry last", `"ClientCredentials": [` + strings.Repeat(`{"SourceType": "KeyVault"},`, 9) +
			`{"SourceType": "SignedAssertionFilePath", "SignedAssertionFileDiskPath": "DIR/token"},
			{"SourceType": "ClientSecret", "ClientSecret": "secret-1"}]`, nil, isToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := settingsFile(t, t.TempDir(), strings.ReplaceAll(test.members, "DIR", dir))
			cfg, err := credentials.FromFile(path, "AzureAd", &credentials.FileOptions{Env: append([]string{""}, test.env...)})
			if err != nil {
				t.Fatal(err)
			}
			if cfg.TenantID != tenantID || cfg.ClientID != clientID || cfg.Cloud != "" || cfg.Region != "" ||
				cfg.Capabilities != nil {
				t.Errorf("got %+v", cfg)
			}
			e.mustUse(t, cfg.Credential)
			secrets, assertions := e.sent("client_secret"), e.sent("client_assertion")
			if !test.check(secrets[len(secrets)-1], assertions[len(assertions)-1]) {
				t.Error("a different credential was used")
			}
		})
	}
}

// A rejected credential is followed by the next one of the list.
func TestFromFileTriesCredentialsInOrder(t *testing.T) {
	e := newFakeEntra()
	e.secrets("secret-2")
	path := settingsFile(t, t.TempDir(), `"ClientCredentials": [
		{"SourceType": "ClientSecret", "ClientSecret": "secret-1"},
		{"SourceType": "ClientSecret", "ClientSecret": "secret-2"}]`)
	log := newLogRecorder()
	cfg, err := credentials.FromFile(path, "AzureAd", &credentials.FileOptions{Logger: log.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if got := log.lines(); len(got) != 0 {
		t.Errorf("both credentials are usable, but got the log %q", got)
	}
	e.mustUse(t, cfg.Credential)
	if got, want := e.sent("client_secret"), []string{"secret-1", "secret-2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Everything but the credential becomes a field of the configuration.
func TestFromFileFields(t *testing.T) {
	const secret = `"ClientSecret": "s"`
	for _, test := range []struct {
		name, section, file string
		want                entra.Config
	}{
		{"all fields", "AzureAd", `{"Logging": {"LogLevel": {"Default": "Warning"}}, "AllowedHosts": "*",
			"azuread": {"Instance": "https://login.microsoftonline.us/", "TENANTID": " T ", "clientId": "C", ` + secret + `,
			"AzureRegion": "TryAutoDetect", "ClientCapabilities": ["cp1", "cp2"], "Domain": "contoso.onmicrosoft.com",
			"CallbackPath": "/signin-oidc", "Audiences": ["a", "b"], "Scopes": null}}`,
			entra.Config{TenantID: "T", ClientID: "C", Cloud: entra.CloudUSGovernment, Region: entra.DetectRegion,
				Capabilities: []string{"cp1", "cp2"}}},
		{"nested section", "Identity:Orders",
			`{"Identity": {"Orders": {"TenantId": "T", "ClientId": "C", ` + secret + `}, "Other": {"X": 1}}}`,
			entra.Config{TenantID: "T", ClientID: "C"}},
		{"whole file", "", `{"TenantId": "T", "ClientId": "C", "AzureRegion": "westeurope", ` + secret + `}`,
			entra.Config{TenantID: "T", ClientID: "C", Region: "westeurope"}},
		{"authority", "AzureAd", `{"AzureAd": {"Authority": "https://login.windows.net/T/v2.0", "ClientId": "C", ` + secret + `}}`,
			entra.Config{TenantID: "T", ClientID: "C", Cloud: entra.CloudPublic}},
		{"authority of an external tenant", "AzureAd",
			`{"AzureAd": {"Authority": "https://contoso.ciamlogin.com/", "TenantId": "T", "ClientId": "C", ` + secret + `}}`,
			entra.Config{TenantID: "T", ClientID: "C", Cloud: "contoso.ciamlogin.com"}},
		{"comments and trailing commas", "AzureAd", "\xef\xbb\xbf" + `// "first": {
			{ /* https://a.example, */ "AzureAd": { "TenantId": "T//\"/*", // the tenant, "x": 1
			"ClientId": "C", "ClientCapabilities": ["cp1", /* , */ ], ` + secret + `, }, } // end`,
			entra.Config{TenantID: `T//"/*`, ClientID: "C", Capabilities: []string{"cp1"}}},
		{"empty comment", "AzureAd",
			`{ /**/ "AzureAd": {"TenantId": "T", "ClientId": "C", ` + secret + `}} /* end */`,
			entra.Config{TenantID: "T", ClientID: "C"}},
		{"settings of other parts of Microsoft.Identity.Web", "AzureAd", `{"AzureAd": {"TenantId": "T", "ClientId": "C",
			"TokenDecryptionCredentials": [{"SourceType": "Path", "Other": "x"}], ` + secret + `}}`,
			entra.Config{TenantID: "T", ClientID: "C"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "f.json"), test.file)
			cfg, err := credentials.FromFile(path, test.section, nil)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.TenantID != test.want.TenantID || cfg.ClientID != test.want.ClientID || cfg.Cloud != test.want.Cloud ||
				cfg.Region != test.want.Region || !slices.Equal(cfg.Capabilities, test.want.Capabilities) {
				t.Errorf("got %+v, want %+v", cfg, test.want)
			}
		})
	}
}

func TestFromFileErrors(t *testing.T) {
	const ids = `"TenantId": "T", "ClientId": "C"`
	for _, test := range []struct {
		name, file, want string
		env              []string
	}{
		{"not JSON", "{\n\"AzureAd\": {\n\"TenantId\": T}}", `the file "DIR/f.json" is not JSON (near line 3)`, nil},
		{"empty", " ", `the file "DIR/f.json" is empty or truncated: its JSON ends too early`, nil},
		{"truncated", `{"AzureAd": {` + ids + `, "ClientSecret": "top secret"`,
			`the file "DIR/f.json" is empty or truncated: its JSON ends too early`, nil},
		{"truncated text", `{"AzureAd": {"ClientSecret": "top secret`,
			`the file "DIR/f.json" is empty or truncated: its JSON ends too early`, nil},
		{"truncated comment", `{} /* {`, `the file "DIR/f.json" has no section "AzureAd"`, nil},
		{"two documents", `{"AzureAd": {}} {"AzureAd": {}}`, `the file "DIR/f.json" has text after its JSON`, nil},
		{"slash", `{"AzureAd": {` + ids + `, "ClientSecret": "top secret"}} /`,
			`the file "DIR/f.json" has text after its JSON`, nil},
		{"as deep as allowed", strings.Repeat("[", 33) + strings.Repeat("]", 33),
			`the file "DIR/f.json" has no section "AzureAd"`, nil},
		{"one level deeper", strings.Repeat("[", 34) + strings.Repeat("]", 34),
			`the file "DIR/f.json" is nested more than 32 levels deep`, nil},
		{"deep", strings.Repeat("[", 100) + strings.Repeat("]", 100),
			`the file "DIR/f.json" is nested more than 32 levels deep`, nil},
		{"other section", `{"AzureAD2": {` + ids + `}}`, `the file "DIR/f.json" has no section "AzureAd"`, nil},
		{"repeated key", `{"AzureAd": {` + ids + `, "tenantid": "U"}}`,
			`the file "DIR/f.json" has two values for AzureAd:tenantid; names are compared without regard to case`, nil},
		{"no client ID", `{"AzureAd": {"TenantId": "T"}}`, `the file "DIR/f.json": AzureAd:ClientId is missing`, nil},
		{"no tenant ID", `{"AzureAd": {"ClientId": "C", "ClientSecret": "s"}}`,
			`the file "DIR/f.json": AzureAd:TenantId is missing`, nil},
		{"misspelled keys", `{"AzureAd": {` + ids + `, "ClientSecrte": "s", "SignUpSignInPolicyId": "p",
			"ClientCredentials": [{"SourceTyp": "Path", "Nonsense": 1}]}}`,
			`the file "DIR/f.json" has keys that are not supported: AzureAd:ClientCredentials:0:Nonsense, ` +
				`AzureAd:ClientCredentials:0:SourceTyp (did you mean SourceType?), ` +
				`AzureAd:ClientSecrte (did you mean ClientSecret?), AzureAd:SignUpSignInPolicyId`, nil},
		{"key without a name", `{"AzureAd": {` + ids + `, "": "x"}}`,
			`the file "DIR/f.json" has keys that are not supported: AzureAd:`, nil},
		{"text as a credential", `{"AzureAd": {` + ids + `, "ClientCredentials": ["top secret"]}}`,
			`AzureAd:ClientCredentials:0: the file "DIR/f.json": AzureAd:ClientCredentials:0:SourceType is missing`, nil},
		{"misspelled variable", `{"AzureAd": {` + ids + `}}`, `the file "DIR/f.json" has keys that are not supported: ` +
			`the environment variable AzureAd__ClientSecrets (did you mean ClientSecret?)`,
			[]string{"AzureAd__ClientSecrets=top secret"}},
		{"instance", `{"AzureAd": {` + ids + `, "Instance": "http://login.microsoftonline.com/"}}`,
			`the file "DIR/f.json": AzureAd:Instance is not the URL of an authority; ` +
				`it must be https with a host and without a path, such as https://login.microsoftonline.com/`, nil},
		{"instance of a variable", `{"AzureAd": {` + ids + `}}`,
			`the file "DIR/f.json": the environment variable AzureAd__Instance is not the URL of an authority; ` +
				`it must be https with a host and without a path, such as https://login.microsoftonline.com/`,
			[]string{"AzureAd__Instance=login"}},
		{"instance and authority", `{"AzureAd": {` + ids + `, "Instance": "https://a.example", "Authority": "https://b.example"}}`,
			`the file "DIR/f.json": AzureAd:Authority and Instance are both set; keep one`, nil},
		{"two tenants", `{"AzureAd": {` + ids + `, "Authority": "https://login.microsoftonline.com/U/v2.0"}}`,
			`the file "DIR/f.json": AzureAd:Authority contains a tenant, but TenantId is set, too; keep one`, nil},
		{"authority of B2C", `{"AzureAd": {"ClientId": "C", "Authority": "https://c.b2clogin.com/tfp/T/policy"}}`,
			`the file "DIR/f.json": AzureAd:Authority is not an authority, such as https://login.microsoftonline.com/TENANT`, nil},
		{"no credential", `{"AzureAd": {` + ids + `}}`,
			`the file "DIR/f.json": AzureAd:ClientCredentials has no credential`, nil},
		{"two ways", `{"AzureAd": {` + ids + `, "ClientSecret": "s", "ClientCertificates": [{"SourceType": "Path"}]}}`,
			`the file "DIR/f.json": AzureAd:ClientCredentials and the older ClientSecret and ClientCertificates ` +
				`exclude each other; keep one`, nil},
		{"chain", `{"AzureAd": {` + ids + `, "ClientSecret": "s", "SendX5C": "yes"}}`,
			`the file "DIR/f.json": AzureAd:SendX5C is neither true nor false`, nil},
		{"no source", `{"AzureAd": {` + ids + `, "ClientCredentials": [{"ClientSecret": "top secret"}]}}`,
			`AzureAd:ClientCredentials:0: the file "DIR/f.json": AzureAd:ClientCredentials:0:SourceType is missing`, nil},
		{"no usable credential", `{"AzureAd": {` + ids + `, "ClientCredentials": [{"SourceType": "KeyVault"},
			{"SourceType": "Base64Encoded", "Base64EncodedValue": "top secret"},
			{"SourceType": "Base64Encoded", "Base64EncodedValue": "AAAA"}]}}`,
			`the file "DIR/f.json": AzureAd:ClientCredentials has no usable credential: ` +
				`AzureAd:ClientCredentials:0: the file "DIR/f.json": AzureAd:ClientCredentials:0:KeyVaultUrl is missing; ` +
				`AzureAd:ClientCredentials:1: Base64EncodedValue is not base64; ` +
				`AzureAd:ClientCredentials:2: the data contains neither PEM nor PKCS#12 (PFX); ` +
				`provide the certificate and its private key in one of these formats`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := testkit.WriteFile(t, filepath.Join(dir, "f.json"), test.file)
			_, err := credentials.FromFile(path, "AzureAd", &credentials.FileOptions{Env: append([]string{""}, test.env...)})
			wantInvalid(t, err, dir, test.want)
			if strings.Contains(err.Error(), "top secret") {
				t.Error("the error contains a secret")
			}
		})
	}
	dir := t.TempDir()
	_, err := credentials.FromFile(filepath.Join(dir, "missing.json"), "AzureAd", nil)
	wantInvalid(t, err, dir, `cannot read the configuration file "DIR/missing.json": no such file or directory`)
	largest := testkit.WriteFile(t, filepath.Join(dir, "largest.json"), "{}"+strings.Repeat(" ", 1<<20-2))
	_, err = credentials.FromFile(largest, "AzureAd", nil)
	wantInvalid(t, err, dir, `the file "DIR/largest.json" has no section "AzureAd"`)
	big := testkit.WriteFile(t, filepath.Join(dir, "big.json"), strings.Repeat(" ", 1<<20+1))
	_, err = credentials.FromFile(big, "AzureAd", nil)
	wantInvalid(t, err, dir, `the configuration file "DIR/big.json" is larger than 1048576 bytes`)
}

// The credential that is left out is logged.
func TestFromFileLogsUnusableCredential(t *testing.T) {
	dir := t.TempDir()
	path := settingsFile(t, dir, `"ClientCredentials": [{"SourceType": "StoreWithThumbprint", "CertificateThumbprint": "AB"},
		{"SourceType": "ClientSecret", "ClientSecret": "top secret"}]`)
	log := newLogRecorder()
	cfg, err := credentials.FromFile(path, "AzureAd", &credentials.FileOptions{Logger: log.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Logger != log.Logger {
		t.Error("the configuration has another logger")
	}
	want := `level=WARN msg="entra: a credential of the configuration file cannot be used and is left out" ` +
		`error="AzureAd:ClientCredentials:0: the file \"` + path + `\": AzureAd:ClientCredentials:0:SourceType is not supported; ` +
		`use ClientSecret, Path, Base64Encoded, KeyVault, SignedAssertionFilePath or SignedAssertionFromManagedIdentity"`
	if got := log.lines(); len(got) != 1 || got[0] != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Any bytes lead to a configuration or to a typed error that does not repeat them.
func FuzzFromFile(f *testing.F) {
	f.Add([]byte(`{"AzureAd": {"TenantId": "T", "ClientId": "C", "ClientSecret": "s", // c
		"ClientCapabilities": ["cp1",], }}`))
	f.Add([]byte(`{"AzureAd": {"ClientCredentials": [{"SourceType": "Base64Encoded", "Base64EncodedValue": "AAAA"}]}}`))
	f.Add([]byte(`{"a": [1, 2, true], "b": "\\\"//"}`))
	f.Add([]byte(`/*`))
	// The time is that of an RSA key of the largest accepted size.
	fileCost := testkit.Cost{Fixed: 8 << 20, PerByte: 100, Time: 2 * time.Second}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "f.json"), string(data))
		options := &credentials.FileOptions{Env: []string{""}}
		testkit.CostsAtMost(t, "FromFile", fileCost, string(data), func(string) {
			credentials.FromFile(path, "AzureAd", options)
		})
		cfg, err := credentials.FromFile(path, "AzureAd", options)
		if err == nil && (cfg.TenantID == "" || cfg.ClientID == "" || cfg.Credential.Equal(entra.Credential{})) {
			t.Errorf("got %+v", cfg)
		}
		// Valid JSON needs no change.
		if clean := credentials.WithoutComments(data); json.Valid(data) && string(clean) != string(data) {
			t.Errorf("got %q, want %q", clean, data)
		}
	})
}
