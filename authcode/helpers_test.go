package authcode_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
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

// estate is a fake Entra with a recorder of requests.
type estate struct {
	*entratest.Server
	*testkit.Recorder
}

func newEstate(changes ...func(*entratest.Config)) *estate {
	s := testkit.Server(changes...)
	return &estate{s, testkit.NewRecorder(s.Client().Transport)}
}

// lifetime sets the lifetime of all access tokens.
func lifetime(d time.Duration) func(*entratest.Config) {
	return func(c *entratest.Config) { c.Lifetime = func() time.Duration { return d } }
}

// last returns the form of the last token request.
func (e *estate) last(t *testing.T) url.Values {
	t.Helper()
	forms := e.Forms()
	if len(forms) == 0 {
		t.Fatal("no token request was sent")
	}
	return forms[len(forms)-1]
}

// clientConfig returns the configuration of the sample's web app.
func (e *estate) clientConfig() entra.Config {
	return entra.Config{
		TenantID: entratest.SampleTenant, ClientID: webapp, Credential: entra.Secret("webapp-secret"),
		HTTPClient: &http.Client{Transport: e},
	}
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
	return newFlow(t, testkit.Client(t, e.clientConfig()), change...)
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
