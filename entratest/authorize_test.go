package entratest_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// These errors are sent to the app in the redirect.
func TestAuthorizeErrorsAreSentToApp(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, test := range []struct {
		name   string
		change []string
		code   string
		aadsts string
	}{
		{"no response type", []string{"response_type", ""}, "invalid_request", "AADSTS900144"},
		{"implicit", []string{"response_type", "token"}, "unsupported_response_type", "AADSTS70005"},
		{"ID token not enabled", []string{"response_type", "code id_token", "response_mode", "form_post"},
			"unsupported_response_type", "AADSTS700054"},
		{"response mode", []string{"response_mode", "telepathy"}, "invalid_request", "AADSTS70007"},
		{"no scope", []string{"scope", ""}, "invalid_request", "AADSTS900144"},
		{"unknown scope", []string{"scope", "api://api-a/nothing"}, "invalid_client", "AADSTS650053"},
		{"unknown resource", []string{"scope", "api://nothing/x"}, "invalid_resource", "AADSTS500011"},
		{"prompt", []string{"prompt", "shout"}, "invalid_request", "AADSTS90023"},
		{"max_age", []string{"max_age", "old"}, "invalid_request", "AADSTS90023"},
		{"claims", []string{"claims", "[]"}, "invalid_request", "AADSTS90023"},
		{"short challenge", []string{"code_challenge", "short"}, "invalid_request", "AADSTS501491"},
		{"challenge method", []string{"code_challenge_method", "S512"}, "invalid_request", "AADSTS90023"},
		{"no challenge", []string{"code_challenge", ""}, "invalid_request", "AADSTS50147"},
		{"request object", []string{"request", "x"}, "invalid_request", "AADSTS90023"},
		{"resource", []string{"resource", "x"}, "invalid_request", "AADSTS901002"},
		{"no session", []string{"prompt", "none"}, "login_required", "AADSTS50058"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cb, err := s.SignIn(t.Context(), authorizeURL(tenant, test.change...), alice)
			if err != nil {
				t.Fatal(err)
			}
			q := cb.Query()
			if q.Get("error") != test.code || !strings.HasPrefix(q.Get("error_description"), test.aadsts+": ") {
				t.Errorf("got %s %s", q.Get("error"), q.Get("error_description"))
			}
			if q.Get("state") != "a state" || q.Get("code") != "" {
				t.Errorf("got state %q, code %q", q.Get("state"), q.Get("code"))
			}
		})
	}
}

// These errors are shown to the user. A redirect would send the user to an unregistered
// URL.
func TestAuthorizeErrorsAreShownToUser(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Apps = append(cfg.Apps,
		entratest.App{Name: "local", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c2", TenantID: tenant,
			RedirectURIs: []string{callback}},
		entratest.App{Name: "assigned", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c5", TenantID: tenant,
			RedirectURIs: []string{callback}, RequireAssignment: true},
	)
	cfg.Users = append(cfg.Users, entratest.User{Username: "disabled@contoso.onmicrosoft.com", TenantID: tenant,
		Disabled: true})
	s := entratest.NewServer(cfg)
	const local = "aaaaaaaa-0000-4000-8000-0000000000c2"
	for _, test := range []struct {
		name   string
		url    string
		user   string
		aadsts int
	}{
		{"unknown app", authorizeURL(tenant, "client_id", tenant), alice, 700016},
		{"no app", authorizeURL(tenant, "client_id", ""), alice, 900144},
		{"unknown tenant", authorizeURL("nowhere.example"), alice, 90002},
		{"redirect not registered", authorizeURL(tenant, "redirect_uri", "https://evil.example/"), alice, 50011},
		{"redirect with more path", authorizeURL(tenant, "redirect_uri", callback+"/more"), alice, 50011},
		{"redirect with a query", authorizeURL(tenant, "redirect_uri", callback+"?x=y"), alice, 50011},
		{"redirect over https", authorizeURL(tenant, "redirect_uri", "https://localhost/callback"), alice, 50011},
		{"redirect with another port", authorizeURL(tenant, "redirect_uri",
			"https://webapp.contoso.example:444/callback"), alice, 50011},
		{"redirect with a user", authorizeURL(tenant, "redirect_uri", "http://evil@localhost/callback"), alice, 50011},
		{"redirect with a fragment", authorizeURL(tenant, "redirect_uri", callback+"#x"), alice, 50011},
		{"redirect with an empty fragment", authorizeURL(tenant, "redirect_uri", "http://localhost:1/callback#"), alice,
			50011},
		{"redirect with an empty query", authorizeURL(tenant, "redirect_uri", "http://localhost:1/callback?"), alice, 50011},
		{"redirect with another host", authorizeURL(tenant, "redirect_uri", "http://localhost.evil.example/callback"),
			alice, 50011},
		{"redirect with a backslash", authorizeURL(tenant, "redirect_uri", "http://localhost\\.evil.example/callback"),
			alice, 50011},
		{"redirect to a dotted path", authorizeURL(tenant, "redirect_uri", "http://localhost/x/../callback"), alice, 50011},
		{"no redirects at all", authorizeURL(tenant, "client_id", daemon), alice, 500113},
		{"single tenant on common", authorizeURL("common", "client_id", local), alice, 50194},
		{"consumers", authorizeURL("consumers"), alice, 9002332},
		{"user of another tenant", authorizeURL(tenant), carol, 50020},
		{"user not assigned", authorizeURL(tenant, "client_id", "aaaaaaaa-0000-4000-8000-0000000000c5"), alice, 50105},
		{"disabled user", authorizeURL(tenant), "disabled@contoso.onmicrosoft.com", 50057},
		{"repeated parameter", authorizeURL(tenant) + "&state=again", alice, 9002313},
	} {
		t.Run(test.name, func(t *testing.T) {
			cb, err := s.SignIn(t.Context(), test.url, test.user)
			var e *entratest.SignInError
			if !errors.As(err, &e) || e.AADSTS != test.aadsts || e.Code != pageCodes[e.AADSTS] {
				t.Fatalf("got %v, %v", cb, err)
			}
		})
	}
}

// pageCodes are the OAuth errors of the errors shown to the user.
var pageCodes = map[int]string{
	50011: "invalid_client", 50020: "interaction_required", 50057: "invalid_grant", 50105: "invalid_grant",
	50194: "invalid_request",
	90002: "invalid_request", 500113: "invalid_request", 700016: "unauthorized_client", 900144: "invalid_request",
	9002313: "invalid_request", 9002332: "invalid_request",
}

func TestLoopbackRedirectURIMatchesAnyPort(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, uri := range []string{"http://localhost:8080/callback", "https://webapp.contoso.example/callback"} {
		cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "redirect_uri", uri), alice)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(cb.String(), uri+"?") {
			t.Errorf("got callback %s", cb)
		}
		wantToken(t, redeem(t, s, cb.Query().Get("code"), "redirect_uri", uri))
	}
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "redirect_uri", ""), alice)
	if err != nil || !strings.HasPrefix(cb.String(), callback) {
		t.Errorf("without a redirect URI: got %v %v", cb, err)
	}
}

func TestHybridFlowReturnsCodeAndIDToken(t *testing.T) {
	s := entratest.NewServer(sample("webapp", func(a *entratest.App) { a.IDTokenGrant = true }))
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "response_type", "id_token code"), alice)
	if err != nil {
		t.Fatal(err)
	}
	q, err := url.ParseQuery(cb.Fragment)
	if err != nil || cb.RawQuery != "" {
		t.Fatalf("got callback %s, %v, want parameters in the fragment", cb, err)
	}
	id := decode(t, q.Get("id_token"))
	if id.stringClaim("nonce") != "a nonce" || id.stringClaim("c_hash") != leftHalfHash(q.Get("code")) ||
		q.Get("state") != "a state" {
		t.Errorf("got ID token %v, state %q", id, q.Get("state"))
	}
	wantToken(t, redeem(t, s, q.Get("code")))

	cb, err = s.SignIn(t.Context(), authorizeURL(tenant, "response_type", "id_token", "response_mode", "form_post"), alice)
	if err != nil || cb.Query().Get("id_token") == "" || cb.Query().Get("code") != "" {
		t.Errorf("id_token alone: got %v %v", cb, err)
	}
	for name, change := range map[string][]string{
		"no nonce":  {"response_type", "id_token", "nonce", ""},
		"query":     {"response_type", "id_token", "response_mode", "query"},
		"no openid": {"response_type", "id_token", "scope", "profile"},
	} {
		cb, err := s.SignIn(t.Context(), authorizeURL(tenant, change...), alice)
		if err != nil || !strings.Contains(cb.String(), "error=") || strings.Contains(cb.String(), "id_token=") {
			t.Errorf("%s: got %v %v", name, cb, err)
		}
	}
}

func TestDefaultScopeGrantsRequiredPermissions(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	code := signIn(t, s, bob, "scope", "api://api-a/.default openid")
	resp := redeem(t, s, code, "scope", "api://api-a/.default")
	if c := wantToken(t, resp); c.stringClaim("scp") != "access_as_user" ||
		resp.stringField("scope") != "api://api-a/access_as_user api://api-a/.default" {
		t.Errorf("got scp %q, scope %q", c.stringClaim("scp"), resp.stringField("scope"))
	}
}

// Consent to a client includes the permissions of the middle tier.
func TestConsentIncludesKnownClients(t *testing.T) {
	cfg := sample("api-a", func(a *entratest.App) {
		a.Permissions = nil
		a.Required = []entratest.Permission{{Resource: "api://api-b", Scopes: []string{"Orders.Write"}}}
	})
	write := func(s *entratest.Server) response {
		token := redeem(t, s, signIn(t, s, bob, "scope", "api://api-a/.default openid"), "scope",
			"api://api-a/.default").stringField("access_token")
		return onBehalfOf(t, s, token, "scope", "api://api-b/Orders.Write")
	}
	wantError(t, write(entratest.NewServer(cfg)), 400, "invalid_grant", 65001)
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == "api-a" {
			cfg.Apps[i].KnownClients = []string{webapp}
		}
	}
	if c := wantToken(t, write(entratest.NewServer(cfg))); c.stringClaim("scp") != "Orders.Write" {
		t.Errorf("got scp %q", c.stringClaim("scp"))
	}
}

func TestGuestHasOwnObjectIDAndHomeIssuer(t *testing.T) {
	cfg := entratest.Sample()
	for i := range cfg.Users {
		if cfg.Users[i].Username == carol {
			cfg.Users[i].Guest = map[string]string{tenant: "cccccccc-0000-4000-8000-00000000ca01"}
		}
	}
	s := entratest.NewServer(cfg)
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant), carol)
	if err != nil {
		t.Fatal(err)
	}
	resp := redeem(t, s, cb.Query().Get("code"))
	c := wantToken(t, resp)
	if c.stringClaim("oid") != "cccccccc-0000-4000-8000-00000000ca01" || c.stringClaim("tid") != tenant ||
		c.stringClaim("idp") != "https://sts.windows.net/"+fabrikam+"/" {
		t.Errorf("got claims %v", c)
	}
	wantToken(t, onBehalfOf(t, s, resp.stringField("access_token")))
}

func TestSignInRejectsInvalidArguments(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for name, call := range map[string][2]string{
		"not a URL":     {"://", alice},
		"not authorize": {authHost + tenant + "/oauth2/v2.0/token", alice},
		"unknown user":  {authorizeURL(tenant), "unknown"},
	} {
		if cb, err := s.SignIn(t.Context(), call[0], call[1]); err == nil {
			t.Errorf("%s: got %v", name, cb)
		}
	}
}

// An API's claims challenge requires an authentication context.
func TestAuthenticationContextOfAccessToken(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const demand = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	resp := redeem(t, s, signIn(t, s, alice), "claims", demand)
	wantError(t, resp, 400, "interaction_required", 50076)
	if resp.stringField("claims") != demand {
		t.Errorf("got claims %q", resp.stringField("claims"))
	}
	got := redeem(t, s, signIn(t, s, alice, "claims", demand), "claims", demand)
	if c := wantToken(t, got); c.joined("acrs") != "c1" {
		t.Errorf("got acrs %v", c["acrs"])
	}
}

// The ID token has an authentication context only if the request requires it.
func TestAuthenticationContextOfIDToken(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const demand = `{"id_token":{"acrs":{"essential":true,"value":"c1"}}}`
	id := decode(t, redeem(t, s, signIn(t, s, alice, "claims", demand), "scope",
		"api://api-a/access_as_user openid").stringField("id_token"))
	if id.joined("acrs") != "c1" {
		t.Errorf("got acrs %v", id["acrs"])
	}
	id = decode(t, redeem(t, s, signIn(t, s, alice), "scope", "api://api-a/access_as_user openid").stringField("id_token"))
	if id["acrs"] != nil {
		t.Errorf("sign-in without claims request: got acrs %v", id["acrs"])
	}
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "claims", demand), bob) // Bob has no second factor
	if err == nil {
		t.Errorf("user without second factor: got error %v", cb.Query().Get("error"))
	}
}

func TestTokenLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := func(cfg entratest.Config, pairs ...string) (time.Duration, response) {
			resp := clientCredentials(t, entratest.NewServer(cfg), pairs...)
			c := wantToken(t, resp)
			d := time.Duration(resp.body["expires_in"].(float64)) * time.Second
			if exp := time.Unix(int64(c["exp"].(float64)), 0); !exp.Equal(time.Now().Add(d)) {
				t.Errorf("got exp %v for expires_in %v", exp, d)
			}
			return d, resp
		}
		cfg := entratest.Sample()
		seen := map[time.Duration]bool{}
		for range 20 {
			d, resp := life(cfg)
			if d < time.Hour || d > 90*time.Minute || resp.body["refresh_in"] != nil {
				t.Errorf("got lifetime %v, refresh_in %v", d, resp.body["refresh_in"])
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("got %d distinct lifetimes of 20 tokens, want 20", len(seen))
		}
		cfg.Lifetime = func() time.Duration { return 10 * time.Minute }
		cfg.RefreshIn = func(life time.Duration) time.Duration { return life / 2 }
		if d, resp := life(cfg); d != 10*time.Minute || resp.body["refresh_in"] != 300.0 {
			t.Errorf("got lifetime %v, refresh_in %v", d, resp.body["refresh_in"])
		}
		cae := sample("api-b", func(a *entratest.App) { a.ContinuousAccess = true })
		const cp1 = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`
		d, resp := life(cae, "claims", cp1)
		if c := decode(t, resp.stringField("access_token")); d < 24*time.Hour || d > 28*time.Hour ||
			c.joined("xms_cc") != "cp1" {
			t.Errorf("continuous access: got %v, xms_cc %v", d, c["xms_cc"])
		}
		if d, resp := life(cae); d > 90*time.Minute || decode(t, resp.stringField("access_token"))["xms_cc"] != nil {
			t.Errorf("client without cp1: got %v", d)
		}
		if d, resp := life(entratest.Sample(), "claims", cp1); d > 90*time.Minute ||
			decode(t, resp.stringField("access_token"))["xms_cc"] != nil {
			t.Errorf("resource without ContinuousAccess: got %v", d)
		}
	})
}

func TestOptionalClaims(t *testing.T) {
	groups := make([]string, 201)
	for i := range groups {
		groups[i] = "dddddddd-0000-4000-8000-0000000000dd"
	}
	cfg := sample("api-a", func(a *entratest.App) {
		a.OptionalClaims = []string{"email", "upn", "auth_time", "acct", "sid", "login_hint", "unknown"}
		a.GroupClaims = true
	})
	for i := range cfg.Users {
		switch cfg.Users[i].Username {
		case alice:
			cfg.Users[i].Groups = groups[:2]
		case bob:
			cfg.Users[i].Groups = groups
		}
	}
	s := entratest.NewServer(cfg)
	c := decode(t, userToken(t, s, alice))
	if c.stringClaim("email") != "alice@contoso.example" || c.stringClaim("upn") != alice || c["auth_time"] == nil ||
		c["acct"] != 0.0 || c.stringClaim("sid") == "" || c.stringClaim("login_hint") == "" || c["unknown"] != nil {
		t.Errorf("got claims %v", c)
	}
	if c.joined("groups") != groups[0]+" "+groups[1] {
		t.Errorf("got groups %v", c["groups"])
	}
	c = decode(t, userToken(t, s, bob))
	names, _ := c["_claim_names"].(map[string]any)
	if c["groups"] != nil || names["groups"] != "src1" || c["_claim_sources"] == nil || c["email"] != nil {
		t.Errorf("overage: got %v", c)
	}
	id := decode(t, redeem(t, s, signIn(t, s, alice), "scope",
		"api://api-a/access_as_user openid email").stringField("id_token"))
	if id.stringClaim("email") != "alice@contoso.example" || id.stringClaim("preferred_username") != "" ||
		id.stringClaim("oid") != "" {
		t.Errorf("ID token without profile: got %v", id)
	}
}
