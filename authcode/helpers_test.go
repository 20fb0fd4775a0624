package authcode_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
)

const (
	alice = "alice@contoso.onmicrosoft.com"
	bob   = "bob@contoso.onmicrosoft.com"
	carol = "carol@fabrikam.onmicrosoft.com"

	scopeA = "api://api-a/access_as_user"
	scopeB = "api://api-b/Orders.Read"

	redirect = "http://localhost:8080/callback"
	webapp   = "aaaaaaaa-0000-4000-8000-0000000000ee"
)

// estate is a fake Entra that records token requests and can change token responses.
type estate struct {
	*entratest.Server

	mu     sync.Mutex // guards the fields below
	sent   []sent
	tamper func(form url.Values, response map[string]any) // changes token responses
}

// sent is a token request.
type sent struct {
	url    string
	header http.Header
	form   url.Values
}

func newEstate(change ...func(*entratest.Config)) *estate {
	cfg := entratest.Sample()
	for _, f := range change {
		f(&cfg)
	}
	return &estate{Server: entratest.NewServer(cfg)}
}

// lifetime sets the lifetime of all access tokens.
func lifetime(d time.Duration) func(*entratest.Config) {
	return func(c *entratest.Config) { c.Lifetime = func() time.Duration { return d } }
}

func (e *estate) RoundTrip(req *http.Request) (*http.Response, error) {
	next := e.Server.Client().Transport
	if req.Method != http.MethodPost {
		return next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	e.mu.Lock()
	e.sent = append(e.sent, sent{req.URL.String(), req.Header.Clone(), form})
	tamper := e.tamper
	e.mu.Unlock()
	resp, err := next.RoundTrip(req)
	if err != nil || tamper == nil {
		return resp, err
	}
	var response map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&response); err != nil {
		return nil, err
	}
	tamper(form, response)
	changed, err := json.Marshal(response)
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// requests returns the token requests so far.
func (e *estate) requests() []sent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.sent)
}

// last returns the form of the last token request.
func (e *estate) last(t *testing.T) url.Values {
	t.Helper()
	all := e.requests()
	if len(all) == 0 {
		t.Fatal("no token request was sent")
	}
	return all[len(all)-1].form
}

// clientConfig returns the configuration of the sample's web app.
func (e *estate) clientConfig() entra.Config {
	return entra.Config{
		TenantID: entratest.SampleTenant, ClientID: webapp, Credential: entra.Secret("webapp-secret"),
		HTTPClient: &http.Client{Transport: e},
	}
}

func newClient(t testing.TB, cfg entra.Config) *entra.Client {
	t.Helper()
	c, err := entra.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newFlow(t testing.TB, c *entra.Client, change ...func(*authcode.Config)) *authcode.Flow {
	t.Helper()
	cfg := authcode.Config{RedirectURL: redirect, Scopes: []string{scopeA}}
	for _, f := range change {
		f(&cfg)
	}
	flow, err := authcode.New(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return flow
}

// flow returns a flow of the sample's web app.
func (e *estate) flow(t testing.TB, change ...func(*authcode.Config)) *authcode.Flow {
	t.Helper()
	return newFlow(t, newClient(t, e.clientConfig()), change...)
}

func begin(t testing.TB, f *authcode.Flow, r authcode.Request) *authcode.Login {
	t.Helper()
	login, err := f.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return login
}

// callback signs the user in at the fake Entra and returns the response parameters.
func (e *estate) callback(t testing.TB, login *authcode.Login, user string) url.Values {
	t.Helper()
	u, err := e.SignIn(t.Context(), login.URL(), user)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// signIn performs a whole sign-in.
func (e *estate) signIn(t testing.TB, f *authcode.Flow, user string, r authcode.Request) *authcode.SignIn {
	t.Helper()
	login := begin(t, f, r)
	signIn, err := f.Exchange(t.Context(), login, e.callback(t, login, user))
	if err != nil {
		t.Fatal(err)
	}
	return signIn
}

func token(t testing.TB, s *entra.TokenSource) string {
	t.Helper()
	tok, err := s.TokenContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok.AccessToken
}

// entraError returns err's *entra.Error.
func entraError(t testing.TB, err error) *entra.Error {
	t.Helper()
	var e *entra.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T: %v, want an *entra.Error", err, err)
	}
	return e
}

// claimsOf decodes the claims of an access token, as only its API may.
func claimsOf(t testing.TB, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("got a token with %d parts, want 3", len(parts))
	}
	var claims map[string]any
	if err := json.Unmarshal(unbase64(t, parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// expectParameters compares all parameters. Those in except need one value, but any.
func expectParameters(t *testing.T, got url.Values, want map[string]string, except ...string) {
	t.Helper()
	for name, value := range want {
		if values := got[name]; len(values) != 1 || values[0] != value {
			t.Errorf("got %s = %q, want %q", name, values, value)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !slices.Contains(except, name) {
			t.Errorf("got parameter %s, want none", name)
		}
	}
	for _, name := range except {
		if len(got[name]) != 1 || got.Get(name) == "" {
			t.Errorf("got %s = %q, want one value", name, got[name])
		}
	}
}
