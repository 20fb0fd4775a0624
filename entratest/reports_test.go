package entratest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// A new registration has requestedAccessTokenVersion null, so its API gets version 1
// tokens. Their audience is the identifier in the request
// (https://learn.microsoft.com/entra/identity-platform/access-tokens#token-formats,
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
func TestAccessTokensAreVersion1ByDefault(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.TokenVersion = 0 }))
	for scope, aud := range map[string]string{
		"api://api-b/.default": "api://api-b", "API://API-B/.default": "api://api-b", "api://api-b//.default": "api://api-b/",
		apiB + "/.default": apiB, "api://" + apiB + "/.default": "api://" + apiB,
	} {
		c := wantToken(t, clientCredentials(t, s, "scope", scope))
		if c.stringClaim("ver") != "1.0" || c.stringClaim("aud") != aud || c.stringClaim("appid") != daemon ||
			c.stringClaim("iss") != "https://sts.windows.net/"+tenant+"/" {
			t.Errorf("%s: got %v", scope, c)
		}
	}
	if c := decode(t, s.Mint(entratest.MintOptions{Resource: "api-b"})); c.stringClaim("aud") != "api://api-b" {
		t.Errorf("minted: got aud %s", c.stringClaim("aud"))
	}
}

// Only Microsoft Graph can verify its tokens. The header has a nonce, and the signature
// is not one of the token as sent
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow,
// AzureAD/azure-activedirectory-identitymodel-extensions-for-dotnet#609).
func TestGraphTokensDoNotVerify(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	user := redeem(t, s, signIn(t, s, alice, "scope", "User.Read"), "scope", "User.Read")
	wantToken(t, user)
	app := clientCredentials(t, s, "scope", "https://graph.microsoft.com/.default")
	wantToken(t, app)
	for name, raw := range map[string]string{
		"user": user.stringField("access_token"), "app": app.stringField("access_token"),
		"minted": s.Mint(entratest.MintOptions{Resource: "Microsoft Graph", User: alice}),
	} {
		if nonce := decodePart(t, raw, 0).stringClaim("nonce"); nonce == "" {
			t.Errorf("%s: the header does not have a nonce", name)
		}
		if verifies(t, s, raw) {
			t.Errorf("%s: the signature verifies", name)
		}
		if !s.RevokeToken(raw) || !s.IsRevoked(raw) {
			t.Errorf("%s: the token was not revoked", name)
		}
	}
	if other := clientCredentials(t, s).stringField("access_token"); !verifies(t, s, other) {
		t.Error("the signature of a token for another API does not verify")
	}
}

// verifies reports whether the signature of a token verifies with the published keys.
func verifies(t *testing.T, s *entratest.Server, raw string) bool {
	t.Helper()
	var set struct{ Keys []struct{ N string } }
	get(t, s.Client(), authHost+tenant+"/discovery/v2.0/keys", &set)
	signed, signature := raw[:strings.LastIndexByte(raw, '.')], raw[strings.LastIndexByte(raw, '.')+1:]
	sig, err1 := base64.RawURLEncoding.DecodeString(signature)
	n, err2 := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(signed))
	return rsa.VerifyPKCS1v15(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, crypto.SHA256, sum[:], sig) == nil
}

// An ID token has auth_time if the request has max_age or requests the claim, also after
// a refresh (OpenID Connect Core, sections 3.1.2.1, 5.5 and 12.2).
func TestAuthTimeIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(sample("webapp", func(a *entratest.App) { a.IDTokenGrant = true }))
		signedIn := float64(time.Now().Unix())
		for _, test := range []struct {
			name, value string
			want        any
		}{
			{"max_age", "3600", signedIn},
			{"claims", `{"id_token":{"auth_time":{"essential":true}}}`, signedIn},
			{"claims", `{"id_token":{"auth_time":null}}`, signedIn},
			{"claims", `{"access_token":{"auth_time":null}}`, nil},
			{"login_hint", alice, nil},
		} {
			cb, err := s.SignIn(t.Context(), authorizeURL(tenant, test.name, test.value, "response_type", "code id_token"), alice)
			if err != nil {
				t.Fatal(err)
			}
			q := parseQuery(t, cb.Fragment)
			resp := redeem(t, s, q.Get("code"))
			refreshed := tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret",
				"webapp-secret", "refresh_token", resp.stringField("refresh_token"))
			for _, raw := range []string{q.Get("id_token"), resp.stringField("id_token"), refreshed.stringField("id_token")} {
				if got := decode(t, raw)["auth_time"]; got != test.want {
					t.Errorf("%s=%s: got auth_time %v, want %v", test.name, test.value, got, test.want)
				}
			}
		}
	})
}

// An ID token of the authorization endpoint has at most five groups
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#payload-claims).
func TestImplicitIDTokenHasFewGroups(t *testing.T) {
	for n, want := range map[int]string{0: "", 5: "groups", 6: "hasgroups", 201: "hasgroups"} {
		cfg := sample("webapp", func(a *entratest.App) { a.IDTokenGrant, a.GroupClaims = true, true })
		for i := range n {
			cfg.Users[0].Groups = append(cfg.Users[0].Groups, fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		}
		s := entratest.NewServer(cfg)
		cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "response_type", "id_token"), alice)
		if err != nil {
			t.Fatal(err)
		}
		c := decode(t, parseQuery(t, cb.Fragment).Get("id_token"))
		got := ""
		for _, name := range []string{"groups", "hasgroups", "_claim_names"} {
			if c[name] != nil {
				got += name
			}
		}
		if got != want {
			t.Errorf("%d groups: got %q, want %q", n, got, want)
		}
	}
}

// Tokens of guests have the email claim by default
// (https://learn.microsoft.com/entra/identity-platform/optional-claims-reference).
func TestGuestHasEmail(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Users[0].Guest = map[string]string{fabrikam: ""}
	s := entratest.NewServer(cfg)
	for tenantID, want := range map[string]string{fabrikam: "alice@contoso.example", tenant: ""} {
		cb, err := s.SignIn(t.Context(), authorizeURL(tenantID, "scope", "api://api-a/access_as_user openid"), alice)
		if err != nil {
			t.Fatal(err)
		}
		resp := tokenRequest(t, s, tenantID, "grant_type", "authorization_code", "client_id", webapp, "client_secret",
			"webapp-secret", "code", cb.Query().Get("code"), "redirect_uri", callback, "code_verifier", verifier)
		for _, name := range []string{"access_token", "id_token"} {
			if got := decode(t, resp.stringField(name)).stringClaim("email"); got != want {
				t.Errorf("%s in %s: got email %q, want %q", name, tenantID, got, want)
			}
		}
	}
}

// A proof-of-possession token is not supported, and must not be served as a bearer token.
func TestPoPTokensAreRejected(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	wantError(t, clientCredentials(t, s, "token_type", "pop", "req_cnf", "e30"), 400, "invalid_request", 90023)
	wantToken(t, clientCredentials(t, s, "token_type", "Bearer"))
}

// Microsoft's libraries determine the type of the account before a password grant. The
// grant is not supported at common
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc#authorization-request).
func TestPasswordGrantAtCommonIsRejected(t *testing.T) {
	s := entratest.NewServer(publicClient())
	for path, want := range map[string]int{tenant: 0, "organizations": 0, "common": 9001023} {
		resp := tokenRequest(t, s, path, "grant_type", "password", "client_id", cli, "username", alice, "password",
			"alice-password", "scope", "User.Read")
		if resp.aadsts() != want {
			t.Errorf("%s: got %d %v, want AADSTS%d", path, resp.status, resp.body, want)
		}
	}
	for name, want := range map[string]string{alice: "Managed", "nobody@contoso.onmicrosoft.com": "Unknown"} {
		var realm struct {
			Type  string `json:"account_type"`
			Cloud string `json:"cloud_instance_name"`
		}
		if status := get(t, s.Client(), authHost+"common/UserRealm/"+name+"?api-version=1.0", &realm); status != 200 ||
			realm.Type != want || realm.Cloud != "microsoftonline.com" {
			t.Errorf("%s: got %d %+v", name, status, realm)
		}
	}
}

// cli is the client ID of the public client of publicClient.
const cli = "aaaaaaaa-0000-4000-8000-0000000000c1"

// publicClient returns the sample Config with a public client.
func publicClient() entratest.Config {
	cfg := entratest.Sample()
	cfg.Apps = append(cfg.Apps, entratest.App{
		Name: "cli", ClientID: cli, TenantID: tenant, MultiTenant: true, Public: true,
		Permissions: []entratest.Permission{{Resource: "https://graph.microsoft.com", Scopes: []string{"User.Read"}}},
	})
	return cfg
}
