package credentials_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// tokenProxy is the proxy of identity bindings at the path /bindings, in front of a fake Entra.
type tokenProxy struct {
	*httptest.Server
	requests []string // host, path and TLS name of each
}

func newTokenProxy(t testing.TB, e *fakeEntra) *tokenProxy {
	t.Helper()
	p := &tokenProxy{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests = append(p.requests, r.Method+" "+r.Host+r.URL.Path+" "+r.TLS.ServerName)
		http.StripPrefix("/bindings", e.Server).ServeHTTP(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// offline is the HTTP client of a program that cannot reach Entra itself.
var offline = &http.Client{Transport: testkit.RoundTripper(func(*http.Request) (*http.Response, error) {
	return nil, errors.New("no route")
})}

func acquire(t testing.TB, cfg entra.Config) error {
	t.Helper()
	cfg.TenantID, cfg.ClientID = entratest.SampleTenant, "aaaaaaaa-0000-4000-8000-00000000000d"
	_, err := clientcreds.TokenSource(testkit.Client(t, cfg), scope).Token()
	return err
}

// With identity bindings of AKS, all requests go through the proxy of the cluster if the program opts in, as with
// azidentity (https://github.com/Azure/azure-sdk-for-go/issues/25056). The file of its certificate authorities may
// change, and a half-written one is not used.
func TestAzureProxyOfIdentityBindings(t *testing.T) {
	e := newFakeEntra()
	p := newTokenProxy(t, e)
	token := testkit.WriteFile(t, filepath.Join(t.TempDir(), "token"), e.trust(t).token(t, time.Hour))
	ca := certificatePEM(p.Certificate())
	file := testkit.WriteFile(t, filepath.Join(t.TempDir(), "ca"), ca)
	setenv(t, "AZURE_FEDERATED_TOKEN_FILE", token, "AZURE_KUBERNETES_TOKEN_PROXY", p.URL+"/bindings",
		"AZURE_KUBERNETES_SNI_NAME", "example.com")
	const host = "login.microsoftonline.com/" + entratest.SampleTenant
	want := []string{
		"GET " + host + "/v2.0/.well-known/openid-configuration example.com",
		"POST " + host + "/oauth2/v2.0/token example.com",
	}
	for _, variable := range [][2]string{{"AZURE_KUBERNETES_CA_DATA", ca}, {"AZURE_KUBERNETES_CA_FILE", file}} {
		t.Setenv("AZURE_KUBERNETES_CA_DATA", "")
		t.Setenv(variable[0], variable[1])
		p.requests = nil
		direct, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{EnableAzureProxy: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := acquire(t, entra.Config{Credential: direct, HTTPClient: offline}); err != nil {
			t.Errorf("%s: %v", variable[0], err)
		}
		cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{EnableAzureProxy: true, HTTPClient: offline})
		if err != nil {
			t.Fatal(err)
		}
		if err := acquire(t, cfg); err != nil {
			t.Errorf("%s: %v", variable[0], err)
		}
		if got := strings.ReplaceAll(strings.Join(p.requests, "\n"), "/bindings", ""); got !=
			strings.Join(slices.Concat(want, want), "\n") {
			t.Errorf("%s: got the requests\n%s", variable[0], got)
		}
		if info := direct.Info(); info.Warning != "" || info.Kind != "federated token" {
			t.Errorf("got %+v", info)
		}
		if variable[1] != file {
			continue
		}
		testkit.WriteFile(t, file, ca[:40]) // half written
		if err := acquire(t, entra.Config{Credential: direct, HTTPClient: offline}); err != nil {
			t.Errorf("half-written file: %v", err)
		}
		testkit.WriteFile(t, file, certificatePEM(testkit.Certificate(t, testkit.RSAKey(t))))
		if err := acquire(t, entra.Config{Credential: direct, HTTPClient: offline}); err == nil ||
			!strings.Contains(err.Error(), "certificate signed by unknown authority") {
			t.Errorf("another authority: got %v", err)
		}
		testkit.WriteFile(t, file, ca)
		if err := acquire(t, entra.Config{Credential: direct, HTTPClient: offline}); err != nil {
			t.Errorf("the first authority again: %v", err)
		}
	}
}

// Without the option, requests go to Entra, which usually rejects the token. The error says which variable is set and
// not used.
func TestAzureProxyIsNotUsed(t *testing.T) {
	e := newFakeEntra() // it trusts no issuer
	token := testkit.WriteFile(t, filepath.Join(t.TempDir(), "token"), newFakeEntra().trust(t).token(t, time.Hour))
	setenv(t, "AZURE_FEDERATED_TOKEN_FILE", token, "AZURE_KUBERNETES_TOKEN_PROXY", "https://127.0.0.1:1")
	cfg, err := credentials.FromEnvironment(nil)
	if err != nil {
		t.Fatal(err)
	}
	const hint = "AZURE_KUBERNETES_TOKEN_PROXY is set but not used; if the cluster uses identity bindings, " +
		"set EnableAzureProxy"
	if got := cfg.Credential.Info().Warning; got != hint {
		t.Errorf("got the warning %q", got)
	}
	err = e.use(cfg.Credential)
	if got := testkit.Error(t, err); !got.Has(70021) && !got.Has(700211) && !got.Has(700213) ||
		!strings.HasSuffix(got.Description, "; no other credential was tried: failed to load the credential: "+hint) {
		t.Errorf("got %v", err)
	}
	p := newFakeEntra().trust(t)
	testkit.WriteFile(t, token, p.token(t, time.Hour))
	p.mustUse(t, cfg.Credential)
}

// With a proxy, a token file that cannot be read is an error, too.
func TestAzureProxyNeedsToken(t *testing.T) {
	setenv(t, "AZURE_FEDERATED_TOKEN_FILE", filepath.Join(t.TempDir(), "missing"),
		"AZURE_KUBERNETES_TOKEN_PROXY", "https://127.0.0.1:1")
	_, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{EnableAzureProxy: true})
	if got := testkit.Error(t, err); got.Code != "invalid_client" || !strings.Contains(got.Description, "missing") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// The variables are validated, and errors name them.
func TestInvalidAzureProxy(t *testing.T) {
	token := testkit.WriteFile(t, filepath.Join(t.TempDir(), "token"), newFakeEntra().trust(t).token(t, time.Hour))
	empty := testkit.WriteFile(t, filepath.Join(t.TempDir(), "empty"), "")
	const notURL = "AZURE_KUBERNETES_TOKEN_PROXY is not an https URL without user information, query and fragment"
	for _, test := range []struct{ proxy, file, data, sni, want string }{
		{"http://p", "", "", "", notURL},
		{"https://u:s3cr3t@p", "", "", "", notURL},
		{"https://p?q=s3cr3t", "", "", "", notURL},
		{"https://p#f", "", "", "", notURL},
		{"p:1", "", "", "", notURL},
		{"https://", "", "", "", notURL},
		{"", "f", "", "", "AZURE_KUBERNETES_CA_FILE is set but AZURE_KUBERNETES_TOKEN_PROXY is not"},
		{"", "", "d", "", "AZURE_KUBERNETES_CA_DATA is set but AZURE_KUBERNETES_TOKEN_PROXY is not"},
		{"", "", "", "s", "AZURE_KUBERNETES_SNI_NAME is set but AZURE_KUBERNETES_TOKEN_PROXY is not"},
		{"https://p", "f", "d", "", "AZURE_KUBERNETES_CA_FILE and AZURE_KUBERNETES_CA_DATA are both set; only one may be"},
		{"https://p", "", "d", "", "AZURE_KUBERNETES_CA_FILE or AZURE_KUBERNETES_CA_DATA has no PEM certificate"},
		{"https://p", empty, "", "", "AZURE_KUBERNETES_CA_FILE or AZURE_KUBERNETES_CA_DATA has no PEM certificate"},
		{"https://p", "/none", "", "", "cannot read the file in AZURE_KUBERNETES_CA_FILE: open /none: no such file or directory"},
	} {
		setenv(t, "AZURE_FEDERATED_TOKEN_FILE", token, "AZURE_KUBERNETES_TOKEN_PROXY", test.proxy,
			"AZURE_KUBERNETES_CA_FILE", test.file, "AZURE_KUBERNETES_CA_DATA", test.data,
			"AZURE_KUBERNETES_SNI_NAME", test.sni)
		_, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{EnableAzureProxy: true})
		wantInvalid(t, err, "", "cannot use the proxy of identity bindings: "+test.want)
		if _, err := credentials.WorkloadIdentity(nil); err != nil {
			t.Errorf("not enabled: %v", err)
		}
	}
}
