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
	resp := clientCredentials(t, s)
	c := wantToken(t, resp)
	for name, want := range map[string]string{
		"aud": apiB, "iss": authHost + tenant + "/v2.0", "tid": tenant, "azp": daemon, "azpacr": "1",
		"idtyp": "app", "ver": "2.0", "scp": "", "appid": "", "preferred_username": "",
	} {
		if c.stringClaim(name) != want {
			t.Errorf("%s is %q, want %q", name, c.stringClaim(name), want)
		}
	}
	if got := c.joined("roles"); got != "Orders.Read.All" {
		t.Errorf("got roles %q", got)
	}
	if c.stringClaim("oid") == "" || c.stringClaim("oid") != c.stringClaim("sub") {
		t.Errorf("got oid %q, sub %q, want both to be the service principal", c.stringClaim("oid"), c.stringClaim("sub"))
	}
	for _, name := range []string{"refresh_token", "id_token", "client_info", "scope"} {
		if resp.body[name] != nil {
			t.Errorf("response has %s", name)
		}
	}
	life := resp.body["expires_in"].(float64)
	if life < 3600 || life > 5400 || life != resp.body["ext_expires_in"].(float64) {
		t.Errorf("got expires_in %v, ext_expires_in %v", life, resp.body["ext_expires_in"])
	}
	if got := c["exp"].(float64) - c["iat"].(float64); got != life+300 {
		t.Errorf("got exp-iat %v for lifetime %v, want iat five minutes in the past", got, life)
	}
	if resp.stringField("token_type") != "Bearer" {
		t.Errorf("got token_type %q", resp.stringField("token_type"))
	}
	if cc := resp.header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
		t.Errorf("got Cache-Control %q", cc)
	}
	other := wantToken(t, tokenRequest(t, s, fabrikam, "grant_type", "client_credentials", "client_id", daemon,
		"client_secret", "daemon-secret", "scope", apiB+"/.default"))
	if other.stringClaim("tid") != fabrikam || other.stringClaim("oid") == c.stringClaim("oid") {
		t.Errorf("in another tenant: got tid %q and oid %q", other.stringClaim("tid"), other.stringClaim("oid"))
	}
}

func TestAuthorizationCode(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant), alice)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(cb.String(), callback+"?") || cb.Query().Get("state") != "a state" ||
		cb.Query().Get("session_state") == "" {
		t.Fatalf("got callback %s", cb)
	}
	resp := redeem(t, s, cb.Query().Get("code"))
	c := wantToken(t, resp)
	for name, want := range map[string]string{
		"aud": apiA, "iss": authHost + tenant + "/v2.0", "tid": tenant, "azp": webapp, "azpacr": "1", "scp": "access_as_user",
		"oid": s.User(alice).ObjectID, "preferred_username": alice, "name": "Alice Adams", "idtyp": "",
	} {
		if c.stringClaim(name) != want {
			t.Errorf("%s is %q, want %q", name, c.stringClaim(name), want)
		}
	}
	if got := c.joined("roles"); got != "Orders.Approve" {
		t.Errorf("got roles %q", got)
	}
	if resp.stringField("scope") != "api://api-a/access_as_user" {
		t.Errorf("got scope %q", resp.stringField("scope"))
	}
	id := decode(t, resp.stringField("id_token"))
	for name, want := range map[string]string{
		"aud": webapp, "iss": authHost + tenant + "/v2.0", "nonce": "a nonce", "ver": "2.0", "tid": tenant,
		"oid": s.User(alice).ObjectID, "preferred_username": alice, "c_hash": "", "at_hash": "",
	} {
		if id.stringClaim(name) != want {
			t.Errorf("ID token: %s is %q, want %q", name, id.stringClaim(name), want)
		}
	}
	if id.stringClaim("sub") == c.stringClaim("sub") || id.stringClaim("sub") == "" {
		t.Error("sub is not pairwise")
	}
	info, err := base64.RawURLEncoding.DecodeString(resp.stringField("client_info"))
	var who struct{ UID, UTID string }
	if err != nil || json.Unmarshal(info, &who) != nil || who.UID != s.User(alice).ObjectID || who.UTID != tenant {
		t.Errorf("got client_info %s", info)
	}
	wantError(t, redeem(t, s, cb.Query().Get("code")), 400, "invalid_grant", 54005)
}

func TestRefreshToken(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	first := redeem(t, s, signIn(t, s, carol))
	refresh := func(token string, pairs ...string) response {
		f := []string{"grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret",
			"refresh_token", token, "client_info", "1"}
		return tokenRequest(t, s, "organizations", append(f, pairs...)...)
	}
	second := refresh(first.stringField("refresh_token"))
	c := wantToken(t, second)
	if c.stringClaim("preferred_username") != carol || c.stringClaim("tid") != fabrikam ||
		c.stringClaim("scp") != "access_as_user" {
		t.Errorf("got claims %v", c)
	}
	if second.stringField("refresh_token") == "" ||
		second.stringField("refresh_token") == first.stringField("refresh_token") {
		t.Error("the refresh token did not rotate")
	}
	wantToken(t, refresh(first.stringField("refresh_token"))) // the old one goes on
	graph := refresh(second.stringField("refresh_token"), "scope", "openid profile")
	if c := wantToken(t, graph); c.stringClaim("aud") != "00000003-0000-0000-c000-000000000000" ||
		c.stringClaim("scp") != "openid profile" || c.stringClaim("ver") != "1.0" {
		t.Errorf("another resource: got %v", c)
	}
	wantError(t, refresh(first.stringField("refresh_token"), "scope", "api://api-b/Orders.Read"), 400, "invalid_grant",
		65001)

	cfg := entratest.Sample()
	cfg.Users[2].Guest = map[string]string{tenant: ""}
	cfg.Apps[1].Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
	for _, test := range []struct {
		server *entratest.Server
		aadsts int
	}{{entratest.NewServer(cfg), 0}, {s, 50020}} { // a guest, and a user of another tenant only
		raw := redeem(t, test.server, signIn(t, test.server, carol)).stringField("refresh_token")
		resp := tokenRequest(t, test.server, tenant, "grant_type", "refresh_token", "client_id", webapp,
			"client_secret", "webapp-secret", "refresh_token", raw, "scope", "api://api-a/access_as_user offline_access")
		if test.aadsts != 0 {
			wantError(t, resp, 400, "interaction_required", test.aadsts)
			continue
		}
		if c := wantToken(t, resp); c.stringClaim("tid") != tenant || c.stringClaim("oid") == test.server.User(carol).ObjectID {
			t.Errorf("another tenant: got tid %q and oid %q", c.stringClaim("tid"), c.stringClaim("oid"))
		}
		if resp.stringField("refresh_token") == "" {
			t.Error("another tenant: got no refresh token")
		}
	}

	s.RevokeSessions(carol)
	wantError(t, refresh(second.stringField("refresh_token")), 400, "invalid_grant", 50173)
	wantToken(t, refresh(redeem(t, s, signIn(t, s, carol)).stringField("refresh_token")))
}

func TestOnBehalfOf(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	resp := onBehalfOf(t, s, userToken(t, s, alice))
	c := wantToken(t, resp)
	for name, want := range map[string]string{
		"aud": apiB, "azp": apiA, "scp": "Orders.Read", "oid": s.User(alice).ObjectID, "preferred_username": alice,
		"tid": tenant,
	} {
		if c.stringClaim(name) != want {
			t.Errorf("%s is %q, want %q", name, c.stringClaim(name), want)
		}
	}
	if c["roles"] != nil {
		t.Error("a user's token has roles the user does not have")
	}
	if resp.stringField("scope") != "api://api-b/Orders.Read" || resp.stringField("refresh_token") == "" ||
		resp.stringField("id_token") == "" || resp.stringField("client_info") == "" {
		t.Errorf("got response %v", resp.body)
	}
	all := onBehalfOf(t, s, userToken(t, s, carol), "scope", "api://api-b/.default")
	if wantToken(t, all); all.stringField("scope") != "api://api-b/Orders.Read api://api-b/.default" {
		t.Errorf("got scope %q", all.stringField("scope"))
	}
	wantError(t, onBehalfOf(t, s, userToken(t, s, alice), "scope", "api://api-b/Orders.Write"), 400, "invalid_grant",
		65001)
}

func TestTokenVersion1(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.TokenVersion = 1 }))
	raw := onBehalfOf(t, s, userToken(t, s, alice)).stringField("access_token")
	c := decode(t, raw)
	for name, want := range map[string]string{
		"aud": "api://api-b", "iss": "https://sts.windows.net/" + tenant + "/", "ver": "1.0", "appid": apiA, "appidacr": "1",
		"upn": alice, "unique_name": alice, "azp": "", "preferred_username": "", "scp": "Orders.Read", "acr": "1",
	} {
		if c.stringClaim(name) != want {
			t.Errorf("%s is %q, want %q", name, c.stringClaim(name), want)
		}
	}
	if c.joined("amr") != "pwd" {
		t.Errorf("got amr %v", c["amr"])
	}
	if h := decodePart(t, raw, 0); h.stringClaim("x5t") == "" || h.stringClaim("x5t") != h.stringClaim("kid") ||
		h.stringClaim("typ") != "JWT" || h.stringClaim("alg") != "RS256" {
		t.Errorf("got header %v", h)
	}
}
