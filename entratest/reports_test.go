package entratest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// Clients request the scope groups of other providers. Microsoft Graph does not
// expose it (docmost/docmost#1701, damienbod/AspNetCoreMicrosoftGraph#1).
func TestUnknownScopeIsInvalidClient(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "scope", "openid email profile groups"), alice)
	if err != nil {
		t.Fatal(err)
	}
	q := cb.Query()
	want := "AADSTS650053: The client requested the scope 'groups', which the resource " +
		"'00000003-0000-0000-c000-000000000000' does not expose. Trace ID: "
	if q.Get("error") != "invalid_client" || !strings.HasPrefix(q.Get("error_description"), want) {
		t.Errorf("got %s %s", q.Get("error"), q.Get("error_description"))
	}
}

// Entra reads only forms. For another body, it reports the first parameter as missing
// (microsoftgraph/microsoft-graph-docs#20272, jupyterhub/oauthenticator#598).
func TestBodyThatIsNotAForm(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for contentType, body := range map[string]string{
		"application/json": `{"grant_type":"client_credentials","client_id":"` + daemon + `"}`,
		"text/plain":       "grant_type=client_credentials",
		"":                 "grant_type=client_credentials",
		"multipart/form-data; boundary=b": "--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\n" +
			"client_credentials\r\n--b--\r\n",
	} {
		req, err := http.NewRequest("POST", authHost+tenant+"/oauth2/v2.0/token", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		resp := do(t, s.Client(), req)
		wantError(t, resp, 400, "invalid_request", 900144)
		if d := resp.stringField("error_description"); !strings.Contains(d, "'grant_type'") {
			t.Errorf("%s: got %s", contentType, d)
		}
	}
}

// The response has the scopes as registered, however the client writes them.
func TestScopesInResponseAreSpelledAsRegistered(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for request, want := range map[string]string{
		"API://API-A/ACCESS_AS_USER":                     "api://api-a/access_as_user",
		"api://" + strings.ToUpper(apiA) + "/.DEFAULT":   "api://" + apiA + "/access_as_user api://" + apiA + "/.default",
		strings.ToUpper(apiA) + "/access_as_user openid": apiA + "/access_as_user",
		"user.read OPENID profile offline_access":        "openid profile User.Read",
		"https://GRAPH.microsoft.com/user.read":          "https://graph.microsoft.com/User.Read",
		"https://graph.microsoft.com//user.read openid":  "openid https://graph.microsoft.com//User.Read",
	} {
		resp := redeem(t, s, signIn(t, s, alice, "scope", request), "scope", request)
		if wantToken(t, resp); resp.stringField("scope") != want {
			t.Errorf("%s: got scope %q, want %q", request, resp.stringField("scope"), want)
		}
	}
}

// A redirect URI without a path is compared and returned with a slash
// (https://learn.microsoft.com/entra/identity-platform/reply-url).
func TestRedirectURIWithoutPathHasSlash(t *testing.T) {
	s := entratest.NewServer(sample("webapp", func(a *entratest.App) {
		a.RedirectURIs = []string{"http://localhost/", "https://app.contoso.example", "https://app.contoso.example/a"}
	}))
	for _, test := range []struct{ request, mode, callback, redeem string }{
		{"http://localhost:4711", "", "http://localhost:4711/?", "http://localhost:4711"},
		{"http://localhost:4711/", "", "http://localhost:4711/?", "http://localhost:4711"},
		{"https://app.contoso.example/", "", "https://app.contoso.example/?", "https://app.contoso.example"},
		{"https://app.contoso.example", "fragment", "https://app.contoso.example/#", "https://app.contoso.example/"},
		{"https://app.contoso.example", "form_post", "https://app.contoso.example?", "https://app.contoso.example"},
		{"https://app.contoso.example/a", "", "https://app.contoso.example/a?", "https://app.contoso.example/a"},
	} {
		cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "redirect_uri", test.request, "response_mode", test.mode),
			alice)
		if err != nil {
			t.Errorf("%s: %v", test.request, err)
			continue
		}
		if !strings.HasPrefix(cb.String(), test.callback) {
			t.Errorf("%s: got callback %s", test.request, cb)
		}
		q := cb.Query()
		if test.mode == "fragment" {
			q = parseQuery(t, cb.Fragment)
		}
		wantToken(t, redeem(t, s, q.Get("code"), "redirect_uri", test.redeem))
	}
	for _, bad := range []string{"https://app.contoso.example/a/", "https://app.contoso.example//", "http://localhost/a"} {
		if _, err := s.SignIn(t.Context(), authorizeURL(tenant, "redirect_uri", bad), alice); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}

// An authorization request may name several resources, for consent. The code must then
// be redeemed with the scope of one of them
// (AzureAD/microsoft-authentication-library-for-python#125, Earlybyte/aad_oauth#328).
// A refresh with several returns a token for the first
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#refresh-the-access-token).
func TestSeveralResources(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const two = "api://api-b/Orders.Read api://api-a/access_as_user offline_access"
	wantError(t, redeem(t, s, signIn(t, s, alice, "scope", two), "scope", ""), 400, "invalid_request", 28003)
	wantError(t, redeem(t, s, signIn(t, s, alice, "scope", two), "scope", two), 400, "invalid_request", 28000)
	resp := redeem(t, s, signIn(t, s, alice, "scope", two), "scope", "api://api-a/access_as_user offline_access")
	if aud := wantToken(t, resp).stringClaim("aud"); aud != apiA {
		t.Errorf("got aud %s", aud)
	}
	resp = tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret",
		"webapp-secret", "refresh_token", resp.stringField("refresh_token"), "scope", two)
	if aud := wantToken(t, resp).stringClaim("aud"); aud != apiB ||
		resp.stringField("scope") != "api://api-b/Orders.Read" {
		t.Errorf("refresh: got aud %s, scope %s", aud, resp.stringField("scope"))
	}
}
