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

// TestAuthorizeErrors has the refusals that the app is told, in its redirect.
func TestAuthorizeErrors(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, test := range []struct {
		name   string
		change []string
		code   string
		aadsts string
	}{
		{"no response type", []string{"response_type", ""}, "invalid_request", "AADSTS900144"},
		{"implicit", []string{"response_type", "token"}, "unsupported_response_type", "AADSTS70005"},
		{"ID token not enabled", []string{"response_type", "code id_token", "response_mode", "form_post"}, "unsupported_response_type", "AADSTS700054"},
		{"response mode", []string{"response_mode", "telepathy"}, "invalid_request", "AADSTS70007"},
		{"no scope", []string{"scope", ""}, "invalid_request", "AADSTS900144"},
		{"unknown scope", []string{"scope", "api://api-a/nothing"}, "invalid_scope", "AADSTS70011"},
		{"unknown resource", []string{"scope", "api://nothing/x"}, "invalid_resource", "AADSTS500011"},
		{"prompt", []string{"prompt", "shout"}, "invalid_request", "AADSTS90023"},
		{"max_age", []string{"max_age", "old"}, "invalid_request", "AADSTS90023"},
		{"claims", []string{"claims", "[]"}, "invalid_request", "AADSTS90023"},
		{"short challenge", []string{"code_challenge", "short"}, "invalid_request", "AADSTS501491"},
		{"challenge method", []string{"code_challenge_method", "S512"}, "invalid_request", "AADSTS90023"},
		{"no challenge", []string{"code_challenge", ""}, "invalid_request", "AADSTS50147"},
		{"request object", []string{"request", "x"}, "invalid_request", "AADSTS90023"},
		{"resource", []string{"resource", "x"}, "invalid_request", "AADSTS901002"},
		{"nobody signed in", []string{"prompt", "none"}, "login_required", "AADSTS50058"},
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
				t.Errorf("state %q, code %q", q.Get("state"), q.Get("code"))
			}
		})
	}
}

// TestAuthorizeErrorPages has the refusals that only the person may see:
// redirecting them would send the person wherever the URL says.
func TestAuthorizeErrorPages(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Apps = append(cfg.Apps,
		entratest.App{Name: "local", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c2", TenantID: tenant, RedirectURIs: []string{callback}},
		entratest.App{Name: "assigned", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c5", TenantID: tenant, RedirectURIs: []string{callback}, RequireAssignment: true},
	)
	cfg.Users = append(cfg.Users, entratest.User{Username: "gone@contoso.onmicrosoft.com", TenantID: tenant, Disabled: true})
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
		{"redirect with another port", authorizeURL(tenant, "redirect_uri", "https://webapp.contoso.example:444/callback"), alice, 50011},
		{"redirect with a user", authorizeURL(tenant, "redirect_uri", "http://evil@localhost/callback"), alice, 50011},
		{"redirect with a fragment", authorizeURL(tenant, "redirect_uri", callback+"#x"), alice, 50011},
		{"redirect with an empty fragment", authorizeURL(tenant, "redirect_uri", "http://localhost:1/callback#"), alice, 50011},
		{"redirect with an empty query", authorizeURL(tenant, "redirect_uri", "http://localhost:1/callback?"), alice, 50011},
		{"redirect with another host", authorizeURL(tenant, "redirect_uri", "http://localhost.evil.example/callback"), alice, 50011},
		{"redirect with a backslash", authorizeURL(tenant, "redirect_uri", "http://localhost\\.evil.example/callback"), alice, 50011},
		{"redirect to a dotted path", authorizeURL(tenant, "redirect_uri", "http://localhost/x/../callback"), alice, 50011},
		{"no redirects at all", authorizeURL(tenant, "client_id", daemon), alice, 500113},
		{"single tenant on common", authorizeURL("common", "client_id", local), alice, 50194},
		{"consumers", authorizeURL("consumers"), alice, 9002332},
		{"user of another tenant", authorizeURL(tenant), carol, 50020},
		{"user not assigned", authorizeURL(tenant, "client_id", "aaaaaaaa-0000-4000-8000-0000000000c5"), alice, 50105},
		{"disabled user", authorizeURL(tenant), "gone@contoso.onmicrosoft.com", 50057},
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

// pageCodes are the OAuth errors of what only the person sees.
var pageCodes = map[int]string{
	50011: "invalid_client", 50020: "interaction_required", 50057: "invalid_grant", 50105: "invalid_grant", 50194: "invalid_request",
	90002: "invalid_request", 500113: "invalid_request", 700016: "unauthorized_client", 900144: "invalid_request",
	9002313: "invalid_request", 9002332: "invalid_request",
}

func TestRedirectPort(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, uri := range []string{"http://localhost:8080/callback", "https://webapp.contoso.example/callback"} {
		cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "redirect_uri", uri), alice)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(cb.String(), uri+"?") {
			t.Errorf("callback %s", cb)
		}
		wantToken(t, redeem(t, s, cb.Query().Get("code"), "redirect_uri", uri))
	}
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "redirect_uri", ""), alice)
	if err != nil || !strings.HasPrefix(cb.String(), callback) {
		t.Errorf("without a redirect URI: %v %v", cb, err)
	}
}

func TestHybridFlow(t *testing.T) {
	s := entratest.NewServer(sample("webapp", func(a *entratest.App) { a.IDTokenGrant = true }))
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "response_type", "id_token code"), alice)
	if err != nil {
		t.Fatal(err)
	}
	q, err := url.ParseQuery(cb.Fragment)
	if err != nil || cb.RawQuery != "" {
		t.Fatalf("callback %s, %v: not in the fragment", cb, err)
	}
	id := decode(t, q.Get("id_token"))
	if id.text("nonce") != "a nonce" || id.text("c_hash") != halfHash(q.Get("code")) || q.Get("state") != "a state" {
		t.Errorf("ID token %v, state %q", id, q.Get("state"))
	}
	wantToken(t, redeem(t, s, q.Get("code")))

	cb, err = s.SignIn(t.Context(), authorizeURL(tenant, "response_type", "id_token", "response_mode", "form_post"), alice)
	if err != nil || cb.Query().Get("id_token") == "" || cb.Query().Get("code") != "" {
		t.Errorf("id_token alone: %v %v", cb, err)
	}
	for name, change := range map[string][]string{
		"no nonce":  {"response_type", "id_token", "nonce", ""},
		"query":     {"response_type", "id_token", "response_mode", "query"},
		"no openid": {"response_type", "id_token", "scope", "profile"},
	} {
		cb, err := s.SignIn(t.Context(), authorizeURL(tenant, change...), alice)
		if err != nil || !strings.Contains(cb.String(), "error=") || strings.Contains(cb.String(), "id_token=") {
			t.Errorf("%s: %v %v", name, cb, err)
		}
	}
}

func TestDotDefaultConsent(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	code := signIn(t, s, bob, "scope", "api://api-a/.default openid")
	a := redeem(t, s, code, "scope", "api://api-a/.default")
	if c := wantToken(t, a); c.text("scp") != "access_as_user" || a.text("scope") != "api://api-a/access_as_user api://api-a/.default" {
		t.Errorf("scp %q, scope %q", c.text("scp"), a.text("scope"))
	}
}

// TestCombinedConsent grants the middle tier what it needs along with the
// client's own consent.
func TestCombinedConsent(t *testing.T) {
	cfg := sample("api-a", func(a *entratest.App) {
		a.Permissions = nil
		a.Required = []entratest.Permission{{Resource: "api://api-b", Scopes: []string{"Orders.Write"}}}
	})
	write := func(s *entratest.Server) answer {
		token := redeem(t, s, signIn(t, s, bob, "scope", "api://api-a/.default openid"), "scope", "api://api-a/.default").text("access_token")
		return onBehalfOf(t, s, token, "scope", "api://api-b/Orders.Write")
	}
	wantError(t, write(entratest.NewServer(cfg)), 400, "invalid_grant", 65001)
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == "api-a" {
			cfg.Apps[i].KnownClients = []string{webapp}
		}
	}
	if c := wantToken(t, write(entratest.NewServer(cfg))); c.text("scp") != "Orders.Write" {
		t.Errorf("scp %q", c.text("scp"))
	}
}

func TestGuest(t *testing.T) {
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
	a := redeem(t, s, cb.Query().Get("code"))
	c := wantToken(t, a)
	if c.text("oid") != "cccccccc-0000-4000-8000-00000000ca01" || c.text("tid") != tenant || c.text("idp") != "https://sts.windows.net/"+fabrikam+"/" {
		t.Errorf("claims %v", c)
	}
	wantToken(t, onBehalfOf(t, s, a.text("access_token")))
}

func TestSignInArguments(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for name, call := range map[string][2]string{
		"not a URL":     {"://", alice},
		"not authorize": {authHost + tenant + "/oauth2/v2.0/token", alice},
		"unknown user":  {authorizeURL(tenant), "nobody"},
	} {
		if cb, err := s.SignIn(t.Context(), call[0], call[1]); err == nil {
			t.Errorf("%s: %v", name, cb)
		}
	}
}

// TestAuthenticationContext demands a context by name, as an API's claims
// challenge does.
func TestAuthenticationContext(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const demand = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	a := redeem(t, s, signIn(t, s, alice), "claims", demand)
	wantError(t, a, 400, "interaction_required", 50076)
	if a.text("claims") != demand {
		t.Errorf("claims %q", a.text("claims"))
	}
	got := redeem(t, s, signIn(t, s, alice, "claims", demand), "claims", demand)
	if c := wantToken(t, got); c.list("acrs") != "c1" {
		t.Errorf("acrs %v", c["acrs"])
	}
}

// TestAuthenticationContextOfSession demands a context for the client itself: it is in
// the ID token then, and not without.
func TestAuthenticationContextOfSession(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const demand = `{"id_token":{"acrs":{"essential":true,"value":"c1"}}}`
	id := decode(t, redeem(t, s, signIn(t, s, alice, "claims", demand), "scope", "api://api-a/access_as_user openid").text("id_token"))
	if id.list("acrs") != "c1" {
		t.Errorf("acrs %v", id["acrs"])
	}
	id = decode(t, redeem(t, s, signIn(t, s, alice), "scope", "api://api-a/access_as_user openid").text("id_token"))
	if id["acrs"] != nil {
		t.Errorf("acrs %v of a sign-in that nothing was demanded of", id["acrs"])
	}
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, "claims", demand), bob) // who has no second factor
	if err == nil {
		t.Errorf("Bob is signed in: %v", cb.Query().Get("error"))
	}
}

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := func(cfg entratest.Config, pairs ...string) (time.Duration, answer) {
			a := credentials(t, entratest.NewServer(cfg), pairs...)
			c := wantToken(t, a)
			d := time.Duration(a.body["expires_in"].(float64)) * time.Second
			if exp := time.Unix(int64(c["exp"].(float64)), 0); !exp.Equal(time.Now().Add(d)) {
				t.Errorf("exp %v for %v", exp, d)
			}
			return d, a
		}
		cfg := entratest.Sample()
		seen := map[time.Duration]bool{}
		for range 20 {
			d, a := life(cfg)
			if d < time.Hour || d > 90*time.Minute || a.body["refresh_in"] != nil {
				t.Errorf("life %v, refresh_in %v", d, a.body["refresh_in"])
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("20 tokens have %d lives", len(seen))
		}
		cfg.Lifetime = func() time.Duration { return 10 * time.Minute }
		cfg.RefreshIn = func(life time.Duration) time.Duration { return life / 2 }
		if d, a := life(cfg); d != 10*time.Minute || a.body["refresh_in"] != 300.0 {
			t.Errorf("life %v, refresh_in %v", d, a.body["refresh_in"])
		}
		cae := sample("api-b", func(a *entratest.App) { a.ContinuousAccess = true })
		const cp1 = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`
		d, a := life(cae, "claims", cp1)
		if c := decode(t, a.text("access_token")); d < 24*time.Hour || d > 28*time.Hour || c.list("xms_cc") != "cp1" {
			t.Errorf("continuous access: %v, xms_cc %v", d, c["xms_cc"])
		}
		if d, a := life(cae); d > 90*time.Minute || decode(t, a.text("access_token"))["xms_cc"] != nil {
			t.Errorf("without the capability: %v", d)
		}
		if d, a := life(entratest.Sample(), "claims", cp1); d > 90*time.Minute || decode(t, a.text("access_token"))["xms_cc"] != nil {
			t.Errorf("for a resource without it: %v", d)
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
	if c.text("email") != "alice@contoso.example" || c.text("upn") != alice || c["auth_time"] == nil || c["acct"] != 0.0 || c.text("sid") == "" || c.text("login_hint") == "" || c["unknown"] != nil {
		t.Errorf("claims %v", c)
	}
	if c.list("groups") != groups[0]+" "+groups[1] {
		t.Errorf("groups %v", c["groups"])
	}
	c = decode(t, userToken(t, s, bob))
	names, _ := c["_claim_names"].(map[string]any)
	if c["groups"] != nil || names["groups"] != "src1" || c["_claim_sources"] == nil || c["email"] != nil {
		t.Errorf("overage: %v", c)
	}
	id := decode(t, redeem(t, s, signIn(t, s, alice), "scope", "api://api-a/access_as_user openid email").text("id_token"))
	if id.text("email") != "alice@contoso.example" || id.text("preferred_username") != "" || id.text("oid") != "" {
		t.Errorf("ID token without profile: %v", id)
	}
}
