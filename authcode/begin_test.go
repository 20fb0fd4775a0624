package authcode_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func base64JSON(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// stored is the JSON of a Login.
type stored struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Scopes   []string  `json:"scopes"`
	ReturnTo string    `json:"return_to"`
	Expires  time.Time `json:"expires"`

	Authority   string `json:"authority"`
	ClientID    string `json:"client_id"`
	RedirectURL string `json:"redirect_url"`
}

func unmarshal(t testing.TB, l *authcode.Login) (s stored) {
	t.Helper()
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// change returns a copy of the login after f has changed its JSON.
func change(t testing.TB, l *authcode.Login, f func(*stored)) *authcode.Login {
	t.Helper()
	s := unmarshal(t, l)
	f(&s)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	changed := new(authcode.Login)
	if err := json.Unmarshal(b, changed); err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestAuthorizeURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		login := begin(t, newEstate().flow(t), authcode.Request{
			LoginHint: alice, DomainHint: "contoso.onmicrosoft.com", Prompt: "login", ReturnTo: "/orders?page=2",
			Claims:      `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
			ExtraScopes: []string{scopeB},
		})
		u, err := url.Parse(login.URL())
		if err != nil {
			t.Fatal(err)
		}
		const want = "https://login.microsoftonline.com/" + entratest.SampleTenant + "/oauth2/v2.0/authorize"
		if got := u.Scheme + "://" + u.Host + u.Path; got != want {
			t.Errorf("got URL %s, want %s", got, want)
		}
		s := unmarshal(t, login)
		expectParameters(t, u.Query(), map[string]string{
			"client_id":             webapp,
			"response_type":         "code",
			"response_mode":         "query",
			"redirect_uri":          redirect,
			"scope":                 scopeA + " " + scopeB + " openid profile offline_access",
			"state":                 s.State,
			"nonce":                 s.Nonce,
			"code_challenge":        oauth2.S256ChallengeFromVerifier(s.Verifier),
			"code_challenge_method": "S256",
			"login_hint":            alice,
			"domain_hint":           "contoso.onmicrosoft.com",
			"prompt":                "login",
			"claims":                `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
		})
		if len(unbase64(t, s.State)) != 32 || len(unbase64(t, s.Nonce)) != 32 || len(s.Verifier) != 43 ||
			s.State == s.Nonce {
			t.Errorf("got state, nonce and verifier of %d, %d and %d characters, want 43 each and all different",
				len(s.State), len(s.Nonce), len(s.Verifier))
		}
		if login.State() != s.State || !login.Expires().Equal(time.Now().Add(15*time.Minute)) ||
			!s.Expires.Equal(login.Expires()) {
			t.Errorf("got state %q, expiry %v, want %q, in 15 minutes", login.State(), login.Expires(), s.State)
		}
		if len(s.Scopes) != 1 || s.Scopes[0] != scopeA || s.ReturnTo != "/orders?page=2" {
			t.Errorf("got scopes %q, ReturnTo %q, want [%q], /orders?page=2", s.Scopes, s.ReturnTo, scopeA)
		}
	})
}

// Empty fields send no parameters, and scopes that the package adds are not repeated.
func TestAuthorizeURLWithDefaults(t *testing.T) {
	f := newEstate().flow(t, func(c *authcode.Config) {
		c.Scopes = []string{"openid", scopeA, "offline_access", "profile"}
		c.ResponseMode = authcode.ResponseModeFormPost
		c.LoginTimeout = time.Minute
	})
	login := begin(t, f, authcode.Request{})
	u, err := url.Parse(login.URL())
	if err != nil {
		t.Fatal(err)
	}
	expectParameters(t, u.Query(), map[string]string{
		"client_id":             webapp,
		"response_type":         "code",
		"response_mode":         "form_post",
		"redirect_uri":          redirect,
		"scope":                 scopeA + " openid profile offline_access",
		"code_challenge_method": "S256",
	}, "state", "nonce", "code_challenge")
	if s := unmarshal(t, login); s.ReturnTo != "/" {
		t.Errorf("got ReturnTo %q, want /", s.ReturnTo)
	}
	if left := time.Until(login.Expires()); left > time.Minute || left < 50*time.Second {
		t.Errorf("got a login valid for %v, want a minute", left)
	}
	if other := begin(t, f, authcode.Request{}); unmarshal(t, other).State == unmarshal(t, login).State {
		t.Error("got the same state for two logins")
	}
}

func TestBeginMergesClaimsAndCapabilities(t *testing.T) {
	const xms = `"xms_cc":{"values":["cp1"]}`
	for _, test := range []struct{ name, capability, claims, want string }{
		{"nothing", "", "", ""},
		{"challenge", "", `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`,
			`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`},
		{"capability", "cp1", "", `{"access_token":{` + xms + `}}`},
		{"both", "cp1", `{"access_token":{"nbf":{"essential":true,"value":"1"}},"id_token":{"auth_time":null}}`,
			`{"access_token":{"nbf":{"essential":true,"value":"1"},` + xms + `},"id_token":{"auth_time":null}}`},
		{"null access_token", "cp1", `{"access_token":null}`, `{"access_token":{` + xms + `}}`},
		{"conflict", "cp1", `{"access_token":{` + xms + `}}`,
			"Request.Claims contains xms_cc; set Capabilities in the client's Config instead"},
		{"access_token a list", "cp1", `{"access_token":[]}`, "access_token in Request.Claims is not a JSON object"},
		{"a list", "", `[]`, "Request.Claims is not a JSON object"},
		{"null", "", `null`, "Request.Claims is not a JSON object"},
		{"base64", "cp1", `eyJhY2Nlc3NfdG9rZW4iOnt9fQ`, "Request.Claims is not a JSON object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := newEstate().clientConfig()
			if test.capability != "" {
				cfg.Capabilities = []string{test.capability}
			}
			login, err := newFlow(t, testkit.Client(t, cfg)).Begin(t.Context(), authcode.Request{Claims: test.claims})
			if err != nil {
				if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != test.want {
					t.Fatalf("got %v, want %q", err, test.want)
				}
				return
			}
			u, err := url.Parse(login.URL())
			if err != nil {
				t.Fatal(err)
			}
			if got := u.Query().Get("claims"); got != test.want {
				t.Errorf("claims = %s, want %s", got, test.want)
			}
		})
	}
}

func TestBeginRejectsInvalidRequests(t *testing.T) {
	f := newEstate().flow(t)
	const badPrompt = `Request.Prompt must be "login", "select_account", "consent", "create" or "none"`
	const badScope = "Request.Scopes or Request.ExtraScopes has an invalid entry; " +
		"each entry must be one scope, in printable ASCII without spaces"
	for _, test := range []struct {
		r    authcode.Request
		want string
	}{
		{authcode.Request{Prompt: "admin_consent"}, badPrompt},
		{authcode.Request{Prompt: "Create"}, badPrompt},
		{authcode.Request{Prompt: "login consent"}, badPrompt},
		{authcode.Request{Scopes: []string{scopeA, scopeB}},
			"Request.Scopes names several APIs, but a token is for one; move the scopes of the others to ExtraScopes"},
		{authcode.Request{Scopes: []string{"a b"}}, badScope},
		{authcode.Request{Scopes: []string{"\u00e9"}}, badScope},
		{authcode.Request{ExtraScopes: []string{""}}, badScope},
	} {
		_, err := f.Begin(t.Context(), test.r)
		if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != test.want {
			t.Errorf("%+v: got %v, want %s", test.r, err, test.want)
		}
	}
}

// Different forms of an API's name are accepted. Only Entra knows which of them name the same API.
func TestScopesOfOneAPI(t *testing.T) {
	f := newEstate().flow(t)
	for _, scopes := range [][]string{
		{"api://orders/Orders.Read", "API://orders/Orders.Write", "openid"},
		{"https://storage.azure.com//user_impersonation", "https://storage.azure.com/user_impersonation"},
		{"User.Read", "https://graph.microsoft.com/Mail.Read"},
		{webapp + "/a", webapp + "/b"},
	} {
		if _, err := f.Begin(t.Context(),
			authcode.Request{Scopes: scopes, ExtraScopes: []string{scopeA, scopeB}}); err != nil {
			t.Errorf("%q: %v", scopes, err)
		}
	}
}

// A Login with the longest return path fits into a cookie after encryption and base64
// encoding, for every kind of character in the path.
func TestLoginFitsIntoACookie(t *testing.T) {
	f := newEstate().flow(t)
	for _, returnTo := range []string{"/?" + strings.Repeat("x", 1998), "/?" + strings.Repeat("&", 333),
		"/?" + strings.Repeat(`"`, 999)} {
		b, err := json.Marshal(begin(t, f, authcode.Request{ReturnTo: returnTo}))
		if err != nil || len(b) > 4096*3/4-100 {
			t.Errorf("%.10s: got a Login of %d bytes, %v, want at most %d", returnTo, len(b), err, 4096*3/4-100)
		}
		_, err = f.Begin(t.Context(), authcode.Request{ReturnTo: returnTo + "&"})
		if !errors.Is(err, authcode.ErrReturnTo) || !errors.Is(err, authcode.ErrReturnToTooLong) {
			t.Errorf("%.10s and one byte more: got %v, want ErrReturnToTooLong", returnTo, err)
		}
	}
}

// The error for a path that only lacks percent-encoding says how to fix it.
func TestReturnToWithNonASCII(t *testing.T) {
	_, err := newEstate().flow(t).Begin(t.Context(), authcode.Request{ReturnTo: "/ordn\u00e9"})
	if want := authcode.ErrReturnTo.Error() +
		": percent-encode non-ASCII characters"; !errors.Is(err, authcode.ErrReturnTo) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = newEstate().flow(t).Begin(t.Context(), authcode.Request{ReturnTo: "/\x7f"})
	if want := authcode.ErrReturnTo; err != want {
		t.Errorf("delete character: got %v, want %v", err, want)
	}
}

// Every path that some reader could take for another site is rejected.
func TestReturnToStaysOnTheSite(t *testing.T) {
	f := newEstate().flow(t)
	for _, ok := range []string{
		"", "/", "/orders", "/orders/", "/orders/17?next=https%3A%2F%2Fexample.com&q=a%0Ab", "/a%20b",
		"/%C3%BCber", "/a?b//c", "/a#//b",
		"/~user/@me;v=1/*", "/.well-known/x", "/a..b/...", "/?" + strings.Repeat("x", 1998),
		"/projects/group%2Fapp/files/docs%2FREADME.md", "/a%2F", "/100%25", "/100%25/x", "/a%252Fb", "/a%2Eb", "/a%2F...",
	} {
		if _, err := f.Begin(t.Context(), authcode.Request{ReturnTo: ok}); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"https://evil.example/", "http:evil.example", "//evil.example", "///evil.example", "////evil.example/%2e%2e",
		`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `/a\b`, `/a?b=\c`,
		"/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%5Cevil.example",
		"/%252fevil.example", "/%252fevil", "/%2fevil", "/a%5cb", "/%2e%2e/a", "/%2e",
		"/%255cevil.example",
		"/a%2f%2fevil.example", "/%2e%2e//evil.example", "/.//evil.example", "/..//evil.example",
		"/./evil.example", "/a/../../evil.example", "/a/..", "/.",
		"/%2e/evil.example", "/a//evil.example", "/a//",
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/%09/evil.example",
		"/%0a/evil.example", "/%0d%0aLocation:x", "/%00", "/%7f", "/a%250a", "/a%255cb",
		"/a/%252e%252e/b", "/a%2f..", "/a%2f%2e%2e%2f%2fevil.example", "/a%252f..%252f..", "/a%2525252fb", "/a%252F%2Fb",
		"/\x00", "/\x7f", "/a b", " /", "/ ", "evil.example", "@evil.example", ":80/", "?a", "#a",
		".evil.example", "javascript:alert(1)", "data:text/html,x",
		"/über", "/\u2028", "/\uff0fevil.example", "/%", "/%zz", "/%2", "/\xff", "/?" + strings.Repeat("x", 1999),
	} {
		if _, err := f.Begin(t.Context(), authcode.Request{ReturnTo: bad}); !errors.Is(err, authcode.ErrReturnTo) {
			t.Errorf("%q: got %v, want ErrReturnTo", bad, err)
		}
	}
}

func TestNewValidatesConfig(t *testing.T) {
	noTenants := func(of string) string {
		return `Config.Tenants is empty, and the client's tenant "` + of +
			`" is not an ID; list the Directory (tenant) IDs of the tenants whose users may sign in, ` +
			`or verify.AnyOrganization for all organizations`
	}
	const badRedirect = "Config.RedirectURL must be an absolute https URL without a fragment; " +
		"http is allowed for localhost only"
	client := testkit.Client(t, newEstate().clientConfig())
	many, err := client.WithTenant("organizations")
	if err != nil {
		t.Fatal(err)
	}
	named, err := client.WithTenant("contoso.onmicrosoft.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		client *entra.Client
		config authcode.Config
		want   string // the description; empty if there is no error
	}{
		{"https", client, authcode.Config{RedirectURL: "https://app.example/callback"}, ""},
		{"localhost", client, authcode.Config{RedirectURL: "http://localhost:8080/callback"}, ""},
		{"IPv4", client, authcode.Config{RedirectURL: "http://127.0.0.1:8080/callback"}, ""},
		{"IPv6", client, authcode.Config{RedirectURL: "http://[::1]:8080/callback"}, ""},
		{"http", client, authcode.Config{RedirectURL: "http://app.example/callback"}, badRedirect},
		{"http, looks local", client, authcode.Config{RedirectURL: "http://localhost.evil.example/callback"},
			badRedirect},
		{"no client", nil, authcode.Config{RedirectURL: redirect},
			"authcode.New requires a client; create one with entra.New"},
		{"zero client", new(entra.Client), authcode.Config{RedirectURL: redirect},
			"authcode.New requires a client; create one with entra.New"},
		{"no redirect", client, authcode.Config{},
			"Config.RedirectURL is missing; set it to the registered URL of this app to which Entra redirects the browser"},
		{"relative", client, authcode.Config{RedirectURL: "/callback"}, badRedirect},
		{"other scheme", client, authcode.Config{RedirectURL: "ftp://localhost/callback"}, badRedirect},
		{"fragment", client, authcode.Config{RedirectURL: "https://app.example/#"}, badRedirect},
		{"user", client, authcode.Config{RedirectURL: "https://user@app.example/"}, badRedirect},
		{"not a URL", client, authcode.Config{RedirectURL: "https://app.example/\n"}, badRedirect},
		{"scopes", client, authcode.Config{RedirectURL: redirect, Scopes: []string{"openid profile"}},
			"Config.Scopes has an invalid entry; each entry must be one scope, in printable ASCII without spaces"},
		{"first and last character of a scope", client,
			authcode.Config{RedirectURL: redirect, Scopes: []string{"!~"}}, ""},
		{"delete character in a scope", client,
			authcode.Config{RedirectURL: redirect, Scopes: []string{"a\x7f"}},
			"Config.Scopes has an invalid entry; each entry must be one scope, in printable ASCII without spaces"},
		{"scopes of two APIs", client,
			authcode.Config{RedirectURL: redirect, Scopes: []string{"openid", scopeA, scopeB}},
			"Config.Scopes names several APIs, but a token is for one; " +
				"move the scopes of the others to Request.ExtraScopes"},
		{"mode", client, authcode.Config{RedirectURL: redirect, ResponseMode: "fragment"},
			`Config.ResponseMode must be "query" or "form_post"`},
		{"timeout", client, authcode.Config{RedirectURL: redirect, LoginTimeout: -1},
			"Config.LoginTimeout is negative"},
		{"organizations", many, authcode.Config{RedirectURL: redirect}, noTenants("organizations")},
		{"organizations, any", many, authcode.Config{RedirectURL: redirect, Tenants: []string{verify.AnyOrganization}},
			""},
		{"domain", named, authcode.Config{RedirectURL: redirect}, noTenants("contoso.onmicrosoft.com")},
		{"domain listed", client, authcode.Config{RedirectURL: redirect, Tenants: []string{"contoso.onmicrosoft.com"}},
			"Config.Tenants is invalid: verify: Config.Tenants has an entry that is not a tenant ID (a GUID); " +
				"domain names are not accepted"},
		{"domain and ID", named, authcode.Config{RedirectURL: redirect, Tenants: []string{entratest.SampleTenant}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := authcode.New(test.client, test.config)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// Changes of the caller to its slices have no effect on the flow.
func TestConfigIsCopied(t *testing.T) {
	list := []string{scopeA}
	f := newEstate().flow(t, func(c *authcode.Config) { c.Scopes = list })
	list[0] = scopeB
	if s := unmarshal(t, begin(t, f, authcode.Request{})); s.Scopes[0] != scopeA {
		t.Errorf("got scope %s, want %s", s.Scopes[0], scopeA)
	}
}

func TestSignOutURL(t *testing.T) {
	f := newEstate().flow(t)
	const want = "https://login.microsoftonline.com/" + entratest.SampleTenant + "/oauth2/v2.0/logout"
	if got := f.SignOutURL(""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	const withReturn = want + "?post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye%3Fx%3D1"
	if got := f.SignOutURL("https://app.example/bye?x=1"); got != withReturn {
		t.Errorf("got %s, want %s", got, withReturn)
	}
}

// JSON preserves a Login except for its URL. Other JSON is rejected.
func TestLoginJSONRoundTrip(t *testing.T) {
	login := begin(t, newEstate().flow(t), authcode.Request{ReturnTo: "/x"})
	again := change(t, login, func(*stored) {})
	if fmt.Sprint(unmarshal(t, again)) != fmt.Sprint(unmarshal(t, login)) {
		t.Errorf("got %v, want %v", unmarshal(t, again), unmarshal(t, login))
	}
	if got := again.URL(); got != "" {
		t.Errorf("got URL %s, want none", got)
	}
	if err := json.Unmarshal([]byte(`{"state":7}`), new(authcode.Login)); !errors.Is(err, authcode.ErrNoLogin) {
		t.Errorf("got %v, want ErrNoLogin", err)
	}
}

// Packages that build on a flow can read its configuration.
func TestFlowAccessors(t *testing.T) {
	e := newEstate()
	f := e.flow(t, func(c *authcode.Config) {
		c.ResponseMode = authcode.ResponseModeFormPost
		c.LoginTimeout = time.Minute
		c.Tenants = []string{entratest.SampleTenant}
	})
	if f.RedirectURL() != redirect || f.ResponseMode() != authcode.ResponseModeFormPost ||
		f.LoginTimeout() != time.Minute {
		t.Errorf("got %s, %s, %v, want %s, form_post, 1m", f.RedirectURL(), f.ResponseMode(), f.LoginTimeout(),
			redirect)
	}
	if !f.AllowsTenant(entratest.SampleTenant) || f.AllowsTenant(entratest.SampleOtherTenant) || f.AllowsTenant("") {
		t.Error("AllowsTenant differs from Config.Tenants")
	}
	login := begin(t, f, authcode.Request{ReturnTo: "/x?y", Scopes: []string{scopeB, "openid"}})
	if login.ReturnTo() != "/x?y" || !slices.Equal(login.Scopes(), []string{scopeB}) {
		t.Errorf("got ReturnTo %q and scopes %v, want /x?y and [%s]", login.ReturnTo(), login.Scopes(), scopeB)
	}
}

// An administrator grants consent at the URL. The redirect that follows is not a sign-in.
func TestAdminConsentURL(t *testing.T) {
	e := newEstate(func(c *entratest.Config) { c.Users[1].Admin = true })
	f := e.flow(t)
	for _, test := range []struct {
		tenant string
		scopes []string
		want   url.Values
		path   string
	}{
		{"", nil, url.Values{"client_id": {webapp}, "redirect_uri": {redirect}, "scope": {scopeA}},
			"/" + entratest.SampleTenant + "/v2.0/adminconsent"},
		{entratest.SampleOtherTenant, []string{scopeB},
			url.Values{"client_id": {webapp}, "redirect_uri": {redirect}, "scope": {scopeB}}, "/" +
				entratest.SampleOtherTenant + "/v2.0/adminconsent"},
	} {
		u, err := url.Parse(f.AdminConsentURL(test.tenant, test.scopes...))
		if err != nil || u.Host != "login.microsoftonline.com" || u.Scheme != "https" || u.Path != test.path ||
			u.Query().Encode() != test.want.Encode() {
			t.Errorf("got %s, %v, want %s with %v", u, err, test.path, test.want)
		}
	}
	callback, err := e.SignIn(t.Context(), f.AdminConsentURL("", scopeA), bob)
	if err != nil {
		t.Fatal(err)
	}
	if q := callback.Query(); q.Get("admin_consent") != "True" || q.Get("tenant") != entratest.SampleTenant ||
		q.Has("code") {
		t.Errorf("got parameters %v, want admin_consent=True, the tenant and no code", q)
	}
	if _, err := f.Exchange(t.Context(), nil, callback.Query()); !errors.Is(err, authcode.ErrNoLogin) {
		t.Errorf("got %v, want ErrNoLogin", err)
	}
}

// Methods of a Flow that was not created with New return an error or a zero value. They do not panic.
func TestZeroFlow(t *testing.T) {
	for name, f := range map[string]*authcode.Flow{"nil": nil, "zero": new(authcode.Flow)} {
		check := func(method string, err error) {
			t.Helper()
			const want = "the Flow must be created with authcode.New"
			if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != want {
				t.Errorf("%s: %s: got %v, want %s", name, method, err, want)
			}
		}
		_, err := f.Begin(t.Context(), authcode.Request{})
		check("Begin", err)
		_, err = f.Exchange(t.Context(), nil, nil)
		check("Exchange", err)
		check("SignOut", f.SignOut(t.Context(), authcode.Account{HomeAccountID: "a.b"}))
		if _, err := f.TokenSource(authcode.Account{HomeAccountID: "a.b"}).TokenContext(t.Context()); err == nil {
			t.Errorf("%s: TokenSource: got a token, want an error", name)
		}
		if got := f.SignOutURL("/") + f.AdminConsentURL("") + f.RedirectURL() + f.ResponseMode(); got != "" {
			t.Errorf("%s: got %q, want no URLs and no mode", name, got)
		}
		if f.LoginTimeout() != 0 || f.AllowsTenant(entratest.SampleTenant) {
			t.Errorf("%s: got a LoginTimeout of %v or a tenant that may sign in", name, f.LoginTimeout())
		}
	}
}

// Scopes of two APIs are rejected before a sign-in, because Entra rejects them only when the code is redeemed
// (AADSTS28000, AzureAD/microsoft-authentication-library-for-python#125). Scopes without an API belong to Microsoft
// Graph.
func TestScopesOfTwoAPIsAreRejected(t *testing.T) {
	const id, graph = "aaaaaaaa-0000-4000-8000-00000000000a", "00000003-0000-0000-c000-000000000000"
	e := newEstate()
	client := testkit.Client(t, e.clientConfig())
	flow := newFlow(t, client)
	account := authcode.Account{HomeAccountID: id + "." + entratest.SampleTenant, TenantID: entratest.SampleTenant}
	for _, test := range []struct {
		scopes []string
		ok     bool
	}{
		{[]string{"User.Read", "api://orders/Orders.Read"}, false},
		{[]string{"api://orders/Orders.Read", "User.Read"}, false},
		{[]string{"https://graph.microsoft.com/User.Read", "api://orders/Orders.Read"}, false},
		{[]string{"api://orders/Orders.Read", "api://billing/Bills.Read"}, false},
		{[]string{"User.Read", id + "/Orders.Read"}, false},
		{[]string{id + "/Orders.Read", "bbbbbbbb-0000-4000-8000-00000000000b/Bills.Read"}, false},
		{[]string{"api://orders/Orders.Read", graph + "/User.Read"}, false},
		{[]string{"User.Read", "https://graph.microsoft.com/Mail.Read", graph + "/Contacts.Read"}, true},
		{[]string{"User.Read", "https://microsoftgraph.chinacloudapi.cn/Mail.Read"}, true},
		{[]string{"api://orders/Orders.Read", "API://Orders/Orders.Write"}, true},
		{[]string{"api://orders/Orders.Read", "openid", "profile", "offline_access", "email"}, true},
		{[]string{"api://" + id + "/Orders.Read", id + "/Orders.Write"}, true},
		{[]string{"api://orders/Orders.Read", id + "/Orders.Write"}, true}, // the URI may be that of the ID
	} {
		_, err := authcode.New(client, authcode.Config{RedirectURL: redirect, Scopes: test.scopes})
		_, beginErr := flow.Begin(t.Context(), authcode.Request{Scopes: test.scopes})
		// No refresh token is cached, so scopes of one API fail, too, but with another code.
		_, sourceErr := flow.TokenSource(account, test.scopes...).TokenContext(t.Context())
		code, requests := "login_required", e.TokenRequests()
		if !test.ok {
			code = "invalid_scope"
		}
		if e := testkit.Error(t, sourceErr); e.Code != code || requests != 0 {
			t.Errorf("%q: TokenSource: got error %v and %d requests, want %s and 0", test.scopes, sourceErr, requests, code)
		}
		if !test.ok {
			for _, err := range []error{err, beginErr} {
				if e := testkit.Error(t, err); e.Code != "invalid_request" || !strings.Contains(e.Description, "several APIs") {
					t.Errorf("%q: got error %v, want invalid_request", test.scopes, err)
				}
			}
		} else if err != nil || beginErr != nil {
			t.Errorf("%q: got errors %v and %v, want none", test.scopes, err, beginErr)
		}
	}
}

// Entra rejects a default scope together with other scopes (AADSTS70011), and the URI of an API without a permission
// (AADSTS500011). The error says what to write, without a request.
func TestScopesThatEntraRejects(t *testing.T) {
	e := newEstate()
	client := testkit.Client(t, e.clientConfig())
	account := authcode.Account{HomeAccountID: webapp + "." + entratest.SampleTenant, TenantID: entratest.SampleTenant}
	const bare = `"api://api-a" names an API but no permission; use "api://api-a/.default", or scopes of the API`
	const mixed = `"api://api-a/.default" stands for all permissions and cannot be combined with ` +
		`"api://api-a/access_as_user"; use one of the two`
	for _, test := range []struct {
		scopes []string
		want   string
	}{
		{[]string{"api://api-a"}, bare},
		{[]string{"openid", "api://api-a"}, bare},
		{[]string{"api://api-a/.default", "api://api-a/access_as_user"}, mixed},
	} {
		_, err := authcode.New(client, authcode.Config{RedirectURL: redirect, Scopes: test.scopes})
		if got := testkit.Error(t, err); got.Code != "invalid_request" ||
			got.Description != "Config.Scopes is invalid: "+test.want {
			t.Errorf("%q: New: got %v, want %s", test.scopes, err, test.want)
		}
		flow := newFlow(t, client, func(c *authcode.Config) { c.Scopes = nil })
		for name, r := range map[string]authcode.Request{
			"Scopes": {Scopes: test.scopes}, "both": {Scopes: test.scopes[:1], ExtraScopes: test.scopes[1:]},
		} {
			_, err := flow.Begin(t.Context(), r)
			if got := testkit.Error(t, err); got.Code != "invalid_request" ||
				got.Description != "the scopes of the Request are invalid: "+test.want {
				t.Errorf("%q: Begin with %s: got %v, want %s", test.scopes, name, err, test.want)
			}
		}
		_, err = flow.TokenSource(account, test.scopes...).TokenContext(t.Context())
		if got := testkit.Error(t, err); got.Code != "invalid_scope" || got.Description != test.want {
			t.Errorf("%q: TokenSource: got %v, want %s", test.scopes, err, test.want)
		}
	}
	if n := e.TokenRequests(); n != 0 {
		t.Errorf("got %d token requests, want 0", n)
	}
	for _, scopes := range [][]string{{"api://api-a/.default"}, {"openid", "api://api-a/.default", "offline_access"}} {
		if _, err := authcode.New(client, authcode.Config{RedirectURL: redirect, Scopes: scopes}); err != nil {
			t.Errorf("%q: got %v, want no error", scopes, err)
		}
	}
}
