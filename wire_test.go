package entra_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

const (
	discoveryURL = "https://login.microsoftonline.com/" + entratest.SampleTenant + "/v2.0/.well-known/openid-configuration"
	tokenURL     = "https://login.microsoftonline.com/" + entratest.SampleTenant + "/oauth2/v2.0/token"
)

// wantForms compares the token requests that were sent, field by field.
func wantForms(t *testing.T, e *estate, want ...url.Values) {
	t.Helper()
	got := e.Forms()
	if len(got) != len(want) {
		t.Fatalf("%d token requests, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("request %d:\n got %v\nwant %v", i+1, got[i], want[i])
		}
	}
}

func TestWireClientSecret(t *testing.T) {
	e := newEstate()
	if _, err := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default").Token(); err != nil {
		t.Fatal(err)
	}
	wantForms(t, e, url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {e.App("daemon").ClientID},
		"client_secret": {"daemon-secret"},
		"scope":         {"api://api-b/.default openid offline_access profile"},
	})
	if len(e.Sent()) != 2 || e.Sent()[0].URL != discoveryURL+"?" || e.Sent()[1].URL != tokenURL {
		t.Errorf("requests: %v", e.Sent())
	}
	h := e.Sent()[1].Header
	if h.Get("Content-Type") != "application/x-www-form-urlencoded; charset=utf-8" || h.Get("Client-Request-Id") == "" ||
		h.Get("Cookie") != "" || h.Get("Authorization") != "" {
		t.Errorf("headers: %v", h)
	}
}

func TestWireCapabilities(t *testing.T) {
	e := newEstate()
	cfg := e.config("daemon")
	cfg.Capabilities = []string{"cp1"}
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token(); err != nil {
		t.Fatal(err)
	}
	if got, want := e.Forms()[0].Get("claims"), `{"access_token":{"xms_cc":{"values":["cp1"]}}}`; got != want {
		t.Errorf("claims %s, want %s", got, want)
	}
}

func TestWireAssertion(t *testing.T) {
	key := testkit.RSAKey(t)
	e := newEstate(func(c *entratest.Config) {
		c.Apps[0].Federated = []entratest.FederatedCredential{{
			Issuer: "https://cluster.example", Subject: "system:serviceaccount:ns:daemon",
			Audience: "api://AzureADTokenExchange", Key: key.Public(),
		}}
	})
	cfg := e.config("daemon")
	var requests []entra.AssertionRequest
	cfg.Credential = entra.Assertion(func(ctx context.Context, r entra.AssertionRequest) (string, error) {
		requests = append(requests, r)
		return jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": "https://cluster.example", "sub": "system:serviceaccount:ns:daemon", "aud": "api://AzureADTokenExchange",
			"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nbf": time.Now().Unix(),
		}).SignedString(key)
	})
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token(); err != nil {
		t.Fatal(err)
	}
	if want := []entra.AssertionRequest{{ClientID: cfg.ClientID, TokenEndpoint: tokenURL}}; !reflect.DeepEqual(requests,
		want) {
		t.Errorf("got requests %+v, want %+v", requests, want)
	}
}

func TestAssertionCallbackErrorIsReported(t *testing.T) {
	broken := errors.New("the token file is gone,\nnot eyJhbGciOiJub25lIn0.s3cret.")
	for name, get := range map[string]func(context.Context, entra.AssertionRequest) (string, error){
		"with an error": func(context.Context, entra.AssertionRequest) (string, error) { return "", broken },
		"with nothing":  func(context.Context, entra.AssertionRequest) (string, error) { return "", nil },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate()
			cfg := e.config("daemon")
			cfg.Credential = entra.Assertion(get)
			_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
			got := testkit.Error(t, err)
			if got.Code != "invalid_client" || got.StatusCode != 0 ||
				!strings.HasPrefix(got.Description, "the assertion callback failed: ") {
				t.Errorf("got %v", err)
			}
			if name == "with an error" && !errors.Is(err, broken) {
				t.Error("the callback's error is lost")
			}
			if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("repeats %q", err)
			}
			wantForms(t, e)
		})
	}
}

// A temporary error of an assertion callback is temporary for the caller, too.
func TestTemporaryAssertionErrorIsTemporary(t *testing.T) {
	e := newEstate()
	cfg := e.config("daemon")
	cfg.Credential = entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
		return "", &entra.Error{Code: "temporarily_unavailable", StatusCode: 503, RetryAfter: time.Minute}
	})
	_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
	if got := testkit.Error(t, err); !got.Temporary() || got.RetryAfter != time.Minute ||
		got.Code != "temporarily_unavailable" {
		t.Errorf("got %v", err)
	}
}

// An invalid document, or an HTTP client that panics, is not cached.
func TestInvalidDiscoveryIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, respond := range map[string]func(*http.Request, url.Values) (*http.Response, error){
			"another host": discoveryWith("https://evil.example/token"),
			"another tenant": discoveryWith("https://login.microsoftonline.com/" + entratest.SampleOtherTenant +
				"/oauth2/v2.0/token"),
			"a panic": func(*http.Request, url.Values) (*http.Response, error) { panic("s3cret") },
		} {
			e := newEstate()
			e.Intercept(respond)
			source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
			_, err := source.Token()
			leaks(t, testkit.Error(t, err), "s3cret")
			e.Intercept(nil)
			time.Sleep(2 * time.Second)
			if _, err := source.Token(); err != nil {
				t.Errorf("%s is remembered: %v", name, err)
			}
		}
	})
}

// A name that becomes a host of Microsoft only in lower case belongs to another domain: in DNS
// the dotted capital I is not an i (RFC 5892).
func TestDiscoveryRejectsLookalikeHosts(t *testing.T) {
	for _, host := range []string{"login.m\u0130crosoftonline.com", "sts.w\u0130ndows.net",
		"westeurope.log\u0130n.microsoft.com"} {
		e := newEstate()
		e.Intercept(func(r *http.Request, _ url.Values) (*http.Response, error) {
			if r.Method != http.MethodGet {
				return nil, nil
			}
			of := func(host, path string) string { return "https://" + host + "/" + entratest.SampleTenant + path }
			const own = "login.microsoftonline.com"
			body := `{"issuer":"` + of(own, "/v2.0") + `","authorization_endpoint":"` + of(own, "/oauth2/v2.0/authorize") +
				`","token_endpoint":"` + of(host, "/oauth2/v2.0/token") + `"}`
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
				Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})
		_, err := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default").Token()
		if got := testkit.Error(t, err); got.Code != entra.CodeInvalidResponse ||
			!strings.Contains(got.Description, "names a URL on another host") {
			t.Errorf("%s: got %v", host, err)
		}
		wantForms(t, e)
	}
}

// Discovery is requested once in 24 hours, however many exchanges run at once. A stale document
// is used if it cannot be replaced.
func TestDiscoveryIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		discovered := func() int { return len(e.Sent()) - len(e.Forms()) }
		c := e.client(t, "api-a")
		scope := []string{"api://api-b/.default"}
		all := make(chan error, 20)
		for range cap(all) {
			go func() {
				_, err := c.Exchange(t.Context(), entra.Grant{Flow: "x", Scopes: []string{scope[0]}, Fetch: oboFetch(e, scope[0])})
				all <- err
			}()
		}
		for range cap(all) {
			<-all
		}
		if n := discovered(); n != 1 {
			t.Errorf("%d requests for the configuration, want 1", n)
		}
		get := func() {
			t.Helper()
			s := clientcreds.TokenSource(c, scope[0])
			if _, ok := s.Cached(); ok {
				invalidate(t, s)
			}
			if _, err := s.Token(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(23 * time.Hour)
		get()
		if n := discovered(); n != 1 {
			t.Errorf("%d requests within a day", n)
		}
		time.Sleep(2 * time.Hour)
		remove := e.Inject(entratest.Fault{Endpoint: "discovery", Status: 500})
		get()
		get()
		if n := discovered(); n != 2 {
			t.Errorf("%d requests in the outage, want one more", n)
		}
		remove()
		time.Sleep(time.Minute)
		get()
		time.Sleep(23 * time.Hour)
		get()
		if n := discovered(); n != 3 {
			t.Errorf("%d requests after it, want one more", n)
		}
	})
}

// A client for another tenant has its own document and tokens, but shares the connections.
func TestTenantsShareConnectionsButNoTokens(t *testing.T) {
	e := newEstate(func(c *entratest.Config) { c.Lifetime = func() time.Duration { return time.Hour } })
	c := e.client(t, "daemon")
	other, err := c.WithTenant("fabrikam.onmicrosoft.com")
	if err != nil {
		t.Fatal(err)
	}
	a, err := clientcreds.TokenSource(c, "api://api-b/.default").Token()
	if err != nil {
		t.Fatal(err)
	}
	b, err := clientcreds.TokenSource(other, "api://api-b/.default").Token()
	if err != nil {
		t.Fatal(err)
	}
	if a.AccessToken == b.AccessToken {
		t.Error("two tenants share a token")
	}
	if got := e.Sent()[3].URL; got != "https://login.microsoftonline.com/fabrikam.onmicrosoft.com/oauth2/v2.0/token" &&
		got != "https://login.microsoftonline.com/"+entratest.SampleOtherTenant+"/oauth2/v2.0/token" {
		t.Errorf("got request %s", got)
	}
	if c.Cache().Stats().Sessions != 2 || other.Cache() != c.Cache() {
		t.Error("the cache is not shared")
	}
	for _, tenant := range []string{"common", "organizations"} {
		many, err := c.WithTenant(tenant)
		if err != nil {
			t.Fatal(err)
		}
		_, err = clientcreds.TokenSource(many, "api://api-b/.default").Token()
		if got := testkit.Error(t, err); got.Code != "invalid_request" ||
			!strings.Contains(got.Description, "which is only for sign-in") {
			t.Errorf("%s: %v", tenant, err)
		}
	}
}

// The default HTTP client has time-outs and is not http.DefaultClient.
func TestDefaultHTTPClientTimesOut(t *testing.T) {
	if http.DefaultClient.Timeout != 0 || http.DefaultClient.CheckRedirect != nil {
		t.Error("http.DefaultClient was changed")
	}
	cfg := entra.Config{
		TenantID: entratest.SampleTenant, ClientID: "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: entra.Secret("s3cret"),
		Cloud:      "127.0.0.1:1",
	}
	_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
	got := testkit.Error(t, err)
	if got.Code != entra.CodeRequestFailed || !strings.Contains(got.Description,
		"request to 127.0.0.1:1 failed: dial 127.0.0.1:1: connection refused") {
		t.Errorf("got %v", err)
	}
	leaks(t, err, "s3cret")
}

func TestOverTLS(t *testing.T) {
	e := newEstate()
	address, ca, stop := e.StartTLS()
	defer stop()
	cfg := e.config("daemon")
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cloud = entra.Cloud(u.Host)
	cfg.HTTPClient = nil
	_, err = clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
	var unknown x509.UnknownAuthorityError
	if got := testkit.Error(t, err); got.Code != entra.CodeRequestFailed || !errors.As(err, &unknown) {
		t.Errorf("an unknown certificate gives %v", err)
	}
	cfg.HTTPClient = tlsClient(ca)
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Host: u.Host})
	for _, source := range []*entra.TokenSource{
		clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default"),
		obo.TokenSource(testkit.Client(t, func() entra.Config {
			c := e.config("api-a")
			c.Cloud, c.HTTPClient = cfg.Cloud, cfg.HTTPClient
			return c
		}()), assertion, "api://api-b/Orders.Read"),
	} {
		if _, err := source.Token(); err != nil {
			t.Error(err)
		}
	}
}
