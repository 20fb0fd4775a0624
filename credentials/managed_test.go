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
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
)

// Azure is the service from which a resource gets tokens of its managed identities.
type azure struct {
	mu       sync.Mutex // guards requests
	requests []*http.Request
	answer   func(*http.Request) (*http.Response, error)
}

func (a *azure) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.mu.Unlock()
	return a.answer(r)
}

func (a *azure) credential(t testing.TB, cfg credentials.ManagedIdentityConfig) entra.Credential {
	t.Helper()
	cfg.HTTPClient = &http.Client{Transport: a}
	c, err := credentials.ManagedIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answering(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

// tokenAnswer is what the service answers: all numbers are text.
func (p *idp) tokenAnswer(t testing.TB, life time.Duration) string {
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

func (p *idp) identities(t testing.TB, life time.Duration) *azure {
	return &azure{answer: func(r *http.Request) (*http.Response, error) { return answering(200, p.tokenAnswer(t, life))(r) }}
}

// The identity that is meant is asked for as each platform wants it, for the audience of
// federated credentials.
func TestManagedIdentity(t *testing.T) {
	const id, path = "33333333-3333-3333-3333-333333333333", "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
	for name, test := range map[string]struct {
		cfg    credentials.ManagedIdentityConfig
		env    map[string]string
		url    string
		query  url.Values
		header string
	}{
		"virtual machine": {credentials.ManagedIdentityConfig{}, nil, "http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}}, "Metadata"},
		"by client ID": {credentials.ManagedIdentityConfig{ClientID: id}, nil, "http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}, "client_id": {id}}, "Metadata"},
		"by object ID": {credentials.ManagedIdentityConfig{ObjectID: id}, nil, "http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}, "object_id": {id}}, "Metadata"},
		"by resource ID": {credentials.ManagedIdentityConfig{ResourceID: path}, nil, "http://169.254.169.254/metadata/identity/oauth2/token",
			url.Values{"api-version": {"2018-02-01"}, "resource": {"api://AzureADTokenExchange"}, "msi_res_id": {path}}, "Metadata"},
		"App Service": {credentials.ManagedIdentityConfig{ClientID: id, Audience: "api://AzureADTokenExchangeUSGov"},
			map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:41234/msi/token", "IDENTITY_HEADER": "s3cr3t"}, "http://127.0.0.1:41234/msi/token",
			url.Values{"api-version": {"2019-08-01"}, "resource": {"api://AzureADTokenExchangeUSGov"}, "client_id": {id}}, "X-Identity-Header"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			p := newEstate().trust(t)
			a := p.identities(t, 24*time.Hour)
			c := a.credential(t, test.cfg)
			if len(a.requests) != 0 {
				t.Error("the platform was asked before anything was wanted")
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
				t.Errorf("asked %s with %v and %v", r.URL, query, r.Header)
			}
		})
	}
}

// The token is held as other assertions are. MSAL, which holds it too, for the whole
// program, is not in the way when another one is wanted.
func TestManagedIdentityIsAskedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
		a := p.identities(t, 24*time.Hour)
		c := a.credential(t, credentials.ManagedIdentityConfig{})
		p.mustUse(t, c)
		time.Sleep(time.Hour)
		p.mustUse(t, c)
		synctest.Wait()
		p.mustUse(t, c)
		if sent := p.proofs("client_assertion"); len(a.requests) != 2 || sent[0] != sent[1] || sent[1] == sent[2] {
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

// The end of a token is the earlier of the two that it is said to have.
func TestManagedIdentityTokenEnds(t *testing.T) {
	for _, test := range []struct{ token, answer time.Duration }{{time.Hour, 24 * time.Hour}, {24 * time.Hour, time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			p := newEstate().trust(t)
			a := &azure{answer: func(r *http.Request) (*http.Response, error) {
				body := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","resource":"r","expires_on":"%d"}`, p.token(t, test.token), time.Now().Add(test.answer).Unix())
				return answering(200, body)(r)
			}}
			c := a.credential(t, credentials.ManagedIdentityConfig{})
			p.mustUse(t, c)
			time.Sleep(59 * time.Minute)
			p.mustUse(t, c)
			if sent := p.proofs("client_assertion"); len(a.requests) != 2 || sent[0] == sent[1] {
				t.Errorf("%+v: %d requests", test, len(a.requests))
			}
		})
	}
}

func TestManagedIdentityFails(t *testing.T) {
	const prefix = "failed to load the credential: the managed identity service (AppService) "
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41234/msi/token")
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	for name, test := range map[string]struct {
		answer    func(*http.Request) (*http.Response, error)
		code      string
		status    int
		want      string
		temporary bool
		requests  int
	}{
		"unknown": {answering(400, `{"error":"invalid_request","error_description":"Identity\nnot found"}`), "invalid_client", 0, "gave no token: Identity not found", false, 1},
		"message": {answering(400, `{"statusCode":400,"message":"No User Assigned Identity"}`), "invalid_client", 0, "gave no token: No User Assigned Identity", false, 1},
		"echo":    {answering(400, `{"message":"bad header s3cr3t-header"}`), "invalid_client", 0, "gave no token", false, 1},
		"unwell":  {answering(500, `oops`), "invalid_client", 500, "gave no token", true, 3},
		"redirect": {func(r *http.Request) (*http.Response, error) {
			resp, err := answering(302, "")(r)
			resp.Header.Set("Location", "https://elsewhere.example/")
			return resp, err
		}, "invalid_client", 0, "gave no token", false, 1},
		"a page":   {answering(200, `<html>s3cr3t`), "invalid_client", 0, "gave no token", false, 1},
		"half":     {answering(200, `{"access_token":"s3cr3t`), "invalid_client", 0, "gave no token", false, 1},
		"too much": {answering(200, strings.Replace(newEstate().trust(t).tokenAnswer(t, 1e6*time.Hour), "{", `{"x":"`+strings.Repeat("x", 1<<20)+`",`, 1)), "invalid_client", 0, "gave no token", false, 1},
		"no JWT": {answering(200, `{"access_token":"s3cr3t","expires_in":"3600","resource":"r","token_type":"Bearer"}`), "invalid_client", 0,
			"", false, 1},
		"broken": {func(*http.Request) (*http.Response, error) { return nil, errors.New("s3cr3t") }, "request_failed", 0, "could not be asked: the connection failed", true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &azure{answer: test.answer}
				err := newEstate().use(a.credential(t, credentials.ManagedIdentityConfig{}))
				want := prefix + test.want
				if test.want == "" {
					want = "failed to load the credential: what was returned as a client assertion is no JWT"
				}
				e, ok := err.(*entra.Error)
				if !ok || e.Code != test.code || e.StatusCode != test.status || e.Description != want || e.Temporary() != test.temporary || len(a.requests) != test.requests {
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

// On Service Fabric MSAL pins the certificate of the service.
func TestManagedIdentityOnServiceFabric(t *testing.T) {
	p := newEstate().trust(t)
	fabric := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Secret") != "s3cr3t-header" {
			t.Error("not the header of the environment")
		}
		io.WriteString(w, p.tokenAnswer(t, time.Hour))
	}))
	defer fabric.Close()
	t.Setenv("IDENTITY_ENDPOINT", fabric.URL)
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	t.Setenv("IDENTITY_SERVER_THUMBPRINT", fmt.Sprintf("%X", sha1.Sum(fabric.Certificate().Raw)))
	c, err := credentials.ManagedIdentity(credentials.ManagedIdentityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	p.mustUse(t, c)

	_, err = credentials.ManagedIdentity(credentials.ManagedIdentityConfig{ClientID: "33333333-3333-3333-3333-333333333333"})
	wantRefused(t, err, "", "MSAL does not accept the managed identity on this platform (ServiceFabric): name none or another of ClientID, ObjectID and ResourceID")
}

// Variables that make no sense are no matter of the network.
func TestManagedIdentityEndpointIsNone(t *testing.T) {
	t.Setenv("IDENTITY_ENDPOINT", "http://s3cr3t\x7f/")
	t.Setenv("IDENTITY_HEADER", "s3cr3t")
	a := &azure{}
	e, ok := newEstate().use(a.credential(t, credentials.ManagedIdentityConfig{})).(*entra.Error)
	if want := "failed to load the credential: MSAL could not ask the managed identity service (AppService); look at the variables that the platform sets for it"; !ok || e.Description != want || e.Temporary() {
		t.Errorf("got %v", e)
	}
}

func TestManagedIdentityIsNamedOnce(t *testing.T) {
	_, err := credentials.ManagedIdentity(credentials.ManagedIdentityConfig{ClientID: "a", ResourceID: "b"})
	wantRefused(t, err, "", "ManagedIdentityConfig has more than one of ClientID, ObjectID and ResourceID; leave one")
}

// Without TLS, which the platforms do not have, nothing is asked of anybody further away
// than a private network: what proves who asks would be shown to all on the way, and who
// answers says who the app is.
func TestManagedIdentityIsNear(t *testing.T) {
	for address, near := range map[string]bool{
		"http://127.0.0.1:41234/msi/token": true, "http://[::1]:41234/msi/token": true, "http://localhost:42356/msi/token": true,
		"http://169.254.130.3:8081/msi/token": true, "http://10.0.0.4:8911/v1/token": true, "https://identity.example/msi/token": true,
		"http://identity.example/msi/token": false, "http://203.0.113.7/msi/token": false, "http://[2001:db8::1]/msi/token": false,
		"http://localhost.evil.example/": false, "http://127.0.0.1.evil.example/": false, "http://127.0.0.1@evil.example/": false, "http://2130706433/": false, "http://0/": false,
	} {
		t.Run(address, func(t *testing.T) {
			t.Setenv("IDENTITY_ENDPOINT", address)
			t.Setenv("IDENTITY_HEADER", "s3cr3t")
			p := newEstate().trust(t)
			a := p.identities(t, time.Hour)
			err := p.use(a.credential(t, credentials.ManagedIdentityConfig{}))
			if near {
				if err != nil || len(a.requests) != 1 {
					t.Errorf("%d requests, %v", len(a.requests), err)
				}
				return
			}
			var e *entra.Error
			if len(a.requests) != 0 || !errors.As(err, &e) || e.Code != "invalid_client" || e.Temporary() || !strings.HasSuffix(e.Description,
				"the managed identity service (AppService) is said to be far away and without TLS, so it was not asked; look at the variables that the platform sets for it") {
				t.Errorf("%d requests, %v", len(a.requests), err)
			}
		})
	}
}
