package entratest_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

func TestClientCredentials(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	a := credentials(t, s)
	c := wantToken(t, a)
	for name, want := range map[string]string{
		"aud": apiB, "iss": authHost + tenant + "/v2.0", "tid": tenant, "azp": daemon, "azpacr": "1",
		"idtyp": "app", "ver": "2.0", "scp": "", "appid": "", "preferred_username": "",
	} {
		if c.text(name) != want {
			t.Errorf("%s is %q, want %q", name, c.text(name), want)
		}
	}
	if got := c.list("roles"); got != "Orders.Read.All" {
		t.Errorf("roles %q", got)
	}
	if c.text("oid") == "" || c.text("oid") != c.text("sub") {
		t.Errorf("oid %q, sub %q: both are the service principal", c.text("oid"), c.text("sub"))
	}
	for _, name := range []string{"refresh_token", "id_token", "client_info", "scope"} {
		if a.body[name] != nil {
			t.Errorf("the answer has %s", name)
		}
	}
	life := a.body["expires_in"].(float64)
	if life < 3600 || life > 5400 || life != a.body["ext_expires_in"].(float64) {
		t.Errorf("expires_in %v, ext_expires_in %v", life, a.body["ext_expires_in"])
	}
	if got := c["exp"].(float64) - c["iat"].(float64); got != life+300 {
		t.Errorf("exp-iat is %v for a life of %v: Entra dates tokens five minutes back", got, life)
	}
	if a.text("token_type") != "Bearer" {
		t.Errorf("token_type %q", a.text("token_type"))
	}
	if cc := a.header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
		t.Errorf("Cache-Control %q", cc)
	}
	other := wantToken(t, ask(t, s, fabrikam, "grant_type", "client_credentials", "client_id", daemon, "client_secret", "daemon-secret", "scope", apiB+"/.default"))
	if other.text("tid") != fabrikam || other.text("oid") == c.text("oid") {
		t.Errorf("in another tenant: tid %q and oid %q", other.text("tid"), other.text("oid"))
	}
}

func TestAuthorizationCode(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant), alice)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(cb.String(), callback+"?") || cb.Query().Get("state") != "a state" || cb.Query().Get("session_state") == "" {
		t.Fatalf("callback %s", cb)
	}
	a := redeem(t, s, cb.Query().Get("code"))
	c := wantToken(t, a)
	for name, want := range map[string]string{
		"aud": apiA, "iss": authHost + tenant + "/v2.0", "tid": tenant, "azp": webapp, "azpacr": "1", "scp": "access_as_user",
		"oid": s.User(alice).ObjectID, "preferred_username": alice, "name": "Alice Adams", "idtyp": "",
	} {
		if c.text(name) != want {
			t.Errorf("%s is %q, want %q", name, c.text(name), want)
		}
	}
	if got := c.list("roles"); got != "Orders.Approve" {
		t.Errorf("roles %q", got)
	}
	if a.text("scope") != "api://api-a/access_as_user" {
		t.Errorf("scope %q", a.text("scope"))
	}
	id := decode(t, a.text("id_token"))
	for name, want := range map[string]string{
		"aud": webapp, "iss": authHost + tenant + "/v2.0", "nonce": "a nonce", "ver": "2.0", "tid": tenant,
		"oid": s.User(alice).ObjectID, "preferred_username": alice, "c_hash": "", "at_hash": "",
	} {
		if id.text(name) != want {
			t.Errorf("ID token: %s is %q, want %q", name, id.text(name), want)
		}
	}
	if id.text("sub") == c.text("sub") || id.text("sub") == "" {
		t.Error("sub is not pairwise")
	}
	info, err := base64.RawURLEncoding.DecodeString(a.text("client_info"))
	var who struct{ UID, UTID string }
	if err != nil || json.Unmarshal(info, &who) != nil || who.UID != s.User(alice).ObjectID || who.UTID != tenant {
		t.Errorf("client_info %s", info)
	}
	wantError(t, redeem(t, s, cb.Query().Get("code")), 400, "invalid_grant", 54005)
}

func TestRefreshToken(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	first := redeem(t, s, signIn(t, s, carol))
	refresh := func(token string, pairs ...string) answer {
		f := []string{"grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret", "refresh_token", token, "client_info", "1"}
		return ask(t, s, "organizations", append(f, pairs...)...)
	}
	second := refresh(first.text("refresh_token"))
	c := wantToken(t, second)
	if c.text("preferred_username") != carol || c.text("tid") != fabrikam || c.text("scp") != "access_as_user" {
		t.Errorf("claims %v", c)
	}
	if second.text("refresh_token") == "" || second.text("refresh_token") == first.text("refresh_token") {
		t.Error("the refresh token did not rotate")
	}
	wantToken(t, refresh(first.text("refresh_token"))) // the old one goes on
	graph := refresh(second.text("refresh_token"), "scope", "openid profile")
	if c := wantToken(t, graph); c.text("aud") != "https://graph.microsoft.com" || c.text("scp") != "openid profile" || c.text("ver") != "1.0" {
		t.Errorf("another resource: %v", c)
	}
	wantError(t, refresh(first.text("refresh_token"), "scope", "api://api-b/Orders.Read"), 400, "invalid_grant", 65001)

	s.RevokeSessions(carol)
	wantError(t, refresh(second.text("refresh_token")), 400, "invalid_grant", 50173)
	wantToken(t, refresh(redeem(t, s, signIn(t, s, carol)).text("refresh_token")))
}

func TestOnBehalfOf(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	a := onBehalfOf(t, s, userToken(t, s, alice))
	c := wantToken(t, a)
	for name, want := range map[string]string{
		"aud": apiB, "azp": apiA, "scp": "Orders.Read", "oid": s.User(alice).ObjectID, "preferred_username": alice, "tid": tenant,
	} {
		if c.text(name) != want {
			t.Errorf("%s is %q, want %q", name, c.text(name), want)
		}
	}
	if c["roles"] != nil {
		t.Error("a user's token has roles the user does not have")
	}
	if a.text("scope") != "api://api-b/Orders.Read" || a.text("refresh_token") == "" || a.text("id_token") == "" || a.text("client_info") == "" {
		t.Errorf("answer %v", a.body)
	}
	all := onBehalfOf(t, s, userToken(t, s, carol), "scope", "api://api-b/.default")
	if wantToken(t, all); all.text("scope") != "api://api-b/Orders.Read api://api-b/.default" {
		t.Errorf("scope %q", all.text("scope"))
	}
	wantError(t, onBehalfOf(t, s, userToken(t, s, alice), "scope", "api://api-b/Orders.Write"), 400, "invalid_grant", 65001)
}

func TestTokenVersion1(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.TokenVersion = 1 }))
	raw := onBehalfOf(t, s, userToken(t, s, alice)).text("access_token")
	c := decode(t, raw)
	for name, want := range map[string]string{
		"aud": "api://api-b", "iss": "https://sts.windows.net/" + tenant + "/", "ver": "1.0", "appid": apiA, "appidacr": "1",
		"upn": alice, "unique_name": alice, "azp": "", "preferred_username": "", "scp": "Orders.Read", "acr": "1",
	} {
		if c.text(name) != want {
			t.Errorf("%s is %q, want %q", name, c.text(name), want)
		}
	}
	if c.list("amr") != "pwd" {
		t.Errorf("amr %v", c["amr"])
	}
	if h := decodePart(t, raw, 0); h.text("x5t") == "" || h.text("x5t") != h.text("kid") || h.text("typ") != "JWT" || h.text("alg") != "RS256" {
		t.Errorf("header %v", h)
	}
}
