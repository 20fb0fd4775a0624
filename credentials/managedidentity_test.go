package credentials_test

import (
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/internal/testkit"
)

// fakePlatform is the service that issues tokens of managed identities.
type fakePlatform struct {
	mu       sync.Mutex // guards requests
	requests []*http.Request
	respond  func(*http.Request) (*http.Response, error)
}

func (a *fakePlatform) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.mu.Unlock()
	return a.respond(r)
}

func (a *fakePlatform) credential(t testing.TB, opts credentials.ManagedIdentityOptions) entra.Credential {
	t.Helper()
	opts.HTTPClient = &http.Client{Transport: a}
	c, err := credentials.ManagedIdentity(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func response(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
			Request: r}, nil
	}
}

// platformToken returns a response of the platform. All its numbers are strings.
func (p *idp) platformToken(t testing.TB, life time.Duration) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{
		"access_token": p.token(t, life), "token_type": "Bearer", "resource": credentials.Audience,
		"expires_on": fmt.Sprint(time.Now().Add(life).Unix()), "client_id": "33333333-3333-3333-3333-333333333333",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (p *idp) platform(t testing.TB, life time.Duration) *fakePlatform {
	return &fakePlatform{respond: func(r *http.Request) (*http.Response,
		error) {
		return response(200, p.platformToken(t, life))(r)
	}}
}

// The request has the form that each platform requires, and the audience of federated
// credentials.
func TestManagedIdentityRequest(t *testing.T) {
	const id, path = "33333333-3333-3333-3333-333333333333",
		"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
	for name, test := range map[string]struct {
		cfg    credentials.ManagedIdentityOptions
		env    map[string]string
		url    string
		query  url.Values
		header string
	}{
		"virtual machine": {credentials.ManagedIdentityOptions{}, nil,
			"http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}}, "Metadata"},
		"by client ID": {credentials.ManagedIdentityOptions{ClientID: id}, nil,
			"http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}, "client_id": {id}},
			"Metadata"},
		"by object ID": {credentials.ManagedIdentityOptions{ObjectID: id}, nil,
			"http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}, "object_id": {id}},
			"Metadata"},
		"by resource ID": {credentials.ManagedIdentityOptions{ResourceID: path}, nil,
			"http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}, "msi_res_id": {path}},
			"Metadata"},
		"App Service": {credentials.ManagedIdentityOptions{ClientID: id, Audience: "api://AzureADTokenExchangeUSGov"},
			map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:41234/msi/token", "IDENTITY_HEADER": "s3cr3t"},
			"http://127.0.0.1:41234/msi/token",
			url.Values{"api-version": {"2019-08-01"}, "resource": {"api://AzureADTokenExchangeUSGov"}, "client_id": {id}},
			"X-Identity-Header"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			p := newFakeEntra().trust(t)
			a := p.platform(t, 24*time.Hour)
			c := a.credential(t, test.cfg)
			if len(a.requests) != 0 {
				t.Error("ManagedIdentity sent a request")
			}
			p.mustUse(t, c)
			p.mustUse(t, c)
			if len(a.requests) != 1 {
				t.Fatalf("%d requests", len(a.requests))
			}
			r := a.requests[0]
			query := r.URL.Query()
			r.URL.RawQuery = ""
			if r.URL.String() != test.url || query.Encode() != test.query.Encode() || r.Header.Get(test.header) == "" {
				t.Errorf("got %s with %v and %v", r.URL, query, r.Header)
			}
		})
	}
}

// The token is cached like other assertions. MSAL's cache for the whole program does not
// prevent a new one.
func TestManagedIdentityTokenIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		a := p.platform(t, 24*time.Hour)
		c := a.credential(t, credentials.ManagedIdentityOptions{})
		p.mustUse(t, c)
		time.Sleep(time.Hour)
		p.mustUse(t, c)
		synctest.Wait()
		p.mustUse(t, c)
		if sent := p.sent("client_assertion"); len(a.requests) != 2 || sent[0] != sent[1] || sent[1] == sent[2] {
			t.Errorf("%d requests", len(a.requests))
		}
		p.newKey(t)
		p.onlyKey()
		p.mustUse(t, c)
		if len(a.requests) != 3 {
			t.Errorf("%d requests", len(a.requests))
		}
	})
}

// If the response and the token state different expiries, the earlier one counts.
func TestManagedIdentityTokenExpiry(t *testing.T) {
	for _, test := range []struct{ token, response time.Duration }{{time.Hour, 24 * time.Hour},
		{24 * time.Hour, time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			p := newFakeEntra().trust(t)
			a := &fakePlatform{respond: func(r *http.Request) (*http.Response, error) {
				body := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","resource":"r","expires_on":"%d"}`,
					p.token(t, test.token), time.Now().Add(test.response).Unix())
				return response(200, body)(r)
			}}
			c := a.credential(t, credentials.ManagedIdentityOptions{})
			p.mustUse(t, c)
			time.Sleep(59 * time.Minute)
			p.mustUse(t, c)
			if sent := p.sent("client_assertion"); len(a.requests) != 2 || sent[0] == sent[1] {
				t.Errorf("%+v: %d requests", test, len(a.requests))
			}
		})
	}
}

func TestManagedIdentityErrors(t *testing.T) {
	const service = "the managed identity service (AppService)"
	const prefix, proxy = "failed to load the credential: ", "; check whether a proxy sent it"
	instead := func(size, status int) string {
		return fmt.Sprintf("%s did not return a token but %d bytes, without a content type, status %d", service, size, status)
	}
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41234/msi/token")
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	for name, test := range map[string]struct {
		respond   func(*http.Request) (*http.Response, error)
		code      string
		status    int
		want      string
		temporary bool
		requests  int
	}{
		"unknown": {response(400, `{"error":"invalid_request","error_description":"Identity\nnot found"}`),
			"invalid_client", 0, service + " did not return a token: Identity not found", false, 1},
		"message": {response(400, `{"statusCode":400,"message":"No User Assigned Identity"}`), "invalid_client", 0,
			service + " did not return a token: No User Assigned Identity", false, 1},
		"echo":         {response(400, `{"message":"bad header s3cr3t-header"}`), "invalid_client", 0, instead(38, 400), false, 1},
		"server error": {response(500, `oops`), "invalid_client", 500, instead(4, 500), true, 3},
		"redirect": {func(r *http.Request) (*http.Response, error) {
			resp, err := response(302, "")(r)
			resp.Header.Set("Location", "https://elsewhere.example/")
			return resp, err
		}, "invalid_client", 0, instead(0, 302), false, 1},
		"HTML": {response(200, `<html>s3cr3t`), "invalid_client", 0, instead(12, 200) + proxy, false, 1},
		"truncated": {response(200, `{"access_token":"s3cr3t`), "invalid_client", 0, instead(23, 200) + proxy,
			false, 1},
		"too large": {response(200, strings.Replace(newFakeEntra().trust(t).platformToken(t, 1e6*time.Hour), "{", `{"x":"`+
			strings.Repeat("x", 1<<20)+`",`, 1)), "invalid_client", 0, instead(1048576, 200) + proxy, false, 1},
		"no JWT": {response(200, `{"access_token":"s3cr3t","expires_in":"3600","resource":"r","token_type":"Bearer"}`),
			"invalid_client", 0,
			"managed identity token: the assertion is not a JWT", false, 1},
		"broken": {func(*http.Request) (*http.Response, error) { return nil, errors.New("s3cr3t") }, "request_failed", 0,
			"request to " + service + " failed: the connection or a proxy failed", true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &fakePlatform{respond: test.respond}
				err := newFakeEntra().use(a.credential(t, credentials.ManagedIdentityOptions{}))
				want := prefix + test.want
				e, ok := err.(*entra.Error)
				if !ok || e.Code != test.code || e.StatusCode != test.status || e.Description != want ||
					e.Temporary() != test.temporary || len(a.requests) != test.requests {
					t.Errorf("got %#v after %d requests\nwant %s", err, len(a.requests), want)
				}
				for err := error(e); err != nil; err = errors.Unwrap(err) {
					if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "s3cr3t") {
						t.Error(text)
					}
				}
			})
		})
	}
}

// A transient failure of the platform is retried after at least a second, as Microsoft recommends, and within the
// callers' time. The error status of an unknown identity is not retried.
func TestTransientFailureOfThePlatformIsRetried(t *testing.T) {
	respond := func(status int, header ...string) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, status, "application/json", `{"error":"x"}`, header...), nil
		}
	}
	for _, tt := range []struct {
		name     string
		failures int
		fail     func(*http.Request) (*http.Response, error)
		requests int
		ok       bool
		atLeast  time.Duration
	}{
		{"one 404 of the metadata service", 1, respond(404), 2, true, time.Second},
		{"two 410", 2, respond(410), 3, true, 2 * time.Second},
		{"three 500", 3, respond(500), 3, false, 2 * time.Second},
		{"429 with Retry-After: 2", 1, respond(429, "Retry-After", "2"), 2, true, 2 * time.Second},
		{"503 with Retry-After: 30", 1, respond(503, "Retry-After", "30"), 1, false, 0},
		{"a broken connection", 1, func(*http.Request) (*http.Response, error) {
			return nil, syscall.ECONNRESET
		}, 2, true, 100 * time.Millisecond},
		{"400", 1, respond(400), 1, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testkit.NoPlatform(t)
			synctest.Test(t, func(t *testing.T) {
				p := newFakeEntra().trust(t)
				a := p.platform(t, 24*time.Hour)
				succeed, failed := a.respond, 0
				a.respond = func(r *http.Request) (*http.Response, error) {
					if failed++; failed <= tt.failures {
						return tt.fail(r)
					}
					return succeed(r)
				}
				start := time.Now()
				err := p.use(a.credential(t, credentials.ManagedIdentityOptions{}))
				if took := time.Since(start); took < tt.atLeast || took > tt.atLeast+3*time.Second {
					t.Errorf("got a result after %v, want at least %v", took, tt.atLeast)
				}
				if (err == nil) != tt.ok || len(a.requests) != tt.requests {
					t.Errorf("got %v after %d requests, want success %t after %d", err, len(a.requests), tt.ok, tt.requests)
				}
			})
		})
	}
}

// On Service Fabric MSAL pins the service's certificate.
func TestManagedIdentityOnServiceFabric(t *testing.T) {
	p := newFakeEntra().trust(t)
	fabric := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Secret") != "s3cr3t-header" {
			t.Errorf("got the Secret header %q", r.Header.Get("Secret"))
		}
		io.WriteString(w, p.platformToken(t, time.Hour))
	}))
	defer fabric.Close()
	t.Setenv("IDENTITY_ENDPOINT", fabric.URL)
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	t.Setenv("IDENTITY_SERVER_THUMBPRINT", fmt.Sprintf("%X", sha1.Sum(fabric.Certificate().Raw)))
	c, err := credentials.ManagedIdentity(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.mustUse(t, c)

	opts := &credentials.ManagedIdentityOptions{ClientID: "33333333-3333-3333-3333-333333333333"}
	_, err = credentials.ManagedIdentity(opts)
	wantInvalid(t, err, "", "MSAL does not support this selection of a managed identity on this platform "+
		"(ServiceFabric); "+
		"use a different one of ClientID, ObjectID and ResourceID, or none")
}

// An invalid endpoint is not reported as a network error.
func TestManagedIdentityInvalidEndpoint(t *testing.T) {
	t.Setenv("IDENTITY_ENDPOINT", "http://s3cr3t\x7f/")
	t.Setenv("IDENTITY_HEADER", "s3cr3t")
	a := &fakePlatform{}
	e, ok := newFakeEntra().use(a.credential(t, credentials.ManagedIdentityOptions{})).(*entra.Error)
	if want := "failed to load the credential: MSAL could not send a request to the managed identity service " +
		"(AppService); check the environment variables that the platform sets"; !ok || e.Description != want ||
		e.Temporary() {
		t.Errorf("got %v", e)
	}
}

// A secret of the environment is not repeated when the platform's error message does.
func TestManagedIdentitySecretInMessage(t *testing.T) {
	for _, env := range []map[string]string{
		{"IDENTITY_ENDPOINT": "http://127.0.0.1:41234/msi/token", "IDENTITY_HEADER": "s3cr3t-header"}, // App Service
		{"MSI_ENDPOINT": "http://127.0.0.1:41234/msi/token", "MSI_SECRET": "s3cr3t-header"},           // Azure ML
	} {
		t.Run(fmt.Sprint(len(env["MSI_SECRET"]) > 0), func(t *testing.T) {
			for name, value := range env {
				t.Setenv(name, value)
			}
			a := &fakePlatform{respond: response(400, `{"message":"bad header s3cr3t-header"}`)}
			err := newFakeEntra().use(a.credential(t, credentials.ManagedIdentityOptions{}))
			e, ok := err.(*entra.Error)
			if !ok || !strings.HasSuffix(e.Description, ", status 400") || len(a.requests) != 1 {
				t.Errorf("got %v after %d requests", err, len(a.requests))
			}
			a = &fakePlatform{respond: response(400, `{"message":"bad header s3cr3t%2Dheader or s3cr3t-\nheader"}`)}
			err = newFakeEntra().use(a.credential(t, credentials.ManagedIdentityOptions{}))
			if e, ok = err.(*entra.Error); !ok || !strings.HasSuffix(e.Description, ": bad header [redacted] or [redacted]") {
				t.Errorf("got %v, want the message without the secret", err)
			}
		})
	}
}

func TestManagedIdentityTakesOneID(t *testing.T) {
	for _, opts := range []credentials.ManagedIdentityOptions{
		{ClientID: "a", ObjectID: "b"}, {ClientID: "a", ResourceID: "b"}, {ObjectID: "a", ResourceID: "b"},
		{ClientID: "a", ObjectID: "b", ResourceID: "c"},
	} {
		_, err := credentials.ManagedIdentity(&opts)
		wantInvalid(t, err, "", "more than one of ClientID, ObjectID and ResourceID is set")
	}
}

// Without TLS, requests are only sent to this machine and private networks. On other
// networks an attacker could read the secret header, or return a token of another identity.
func TestManagedIdentityIsLocal(t *testing.T) {
	for address, local := range map[string]bool{
		"http://127.0.0.1:41234/msi/token": true, "http://[::1]:41234/msi/token": true,
		"http://localhost:42356/msi/token":    true,
		"http://169.254.130.3:8081/msi/token": true, "http://10.0.0.4:8911/v1/token": true,
		"https://identity.example/msi/token": true,
		"http://identity.example/msi/token":  false, "http://203.0.113.7/msi/token": false,
		"http://[2001:db8::1]/msi/token": false,
		"http://localhost.evil.example/": false, "http://127.0.0.1.evil.example/": false,
		"http://127.0.0.1@evil.example/": false, "http://2130706433/": false, "http://0/": false,
	} {
		t.Run(address, func(t *testing.T) {
			t.Setenv("IDENTITY_ENDPOINT", address)
			t.Setenv("IDENTITY_HEADER", "s3cr3t")
			synctest.Test(t, func(t *testing.T) { testIsLocal(t, local) })
		})
	}
}

func testIsLocal(t *testing.T, local bool) {
	p := newFakeEntra().trust(t)
	a := p.platform(t, time.Hour)
	err := p.use(a.credential(t, credentials.ManagedIdentityOptions{}))
	if local {
		if err != nil || len(a.requests) != 1 {
			t.Errorf("%d requests, %v", len(a.requests), err)
		}
		return
	}
	var e *entra.Error
	if len(a.requests) != 0 || !errors.As(err, &e) || e.Code != "invalid_client" || e.Temporary() ||
		!strings.HasSuffix(e.Description,
			"the managed identity service (AppService) is not on a local network and does not use TLS, so no request was "+
				"sent; check the environment variables that the platform sets") {
		t.Errorf("%d requests, %v", len(a.requests), err)
	}
}
