package entratest_test

import (
	"crypto/tls"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// graph sends a request with a token and returns the response.
func graph(t *testing.T, c *http.Client, method, url, token string) response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return do(t, c, req)
}

// The UserInfo endpoint has the claims that the scopes of the token allow
// (https://learn.microsoft.com/entra/identity-platform/userinfo) and the subject of the ID
// token. The discovery document of a listener names the listener's own endpoint, so that test tokens do not leave the
// machine.
func TestUserInfo(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for scope, want := range map[string]string{
		"openid": "picture,sub", "openid profile": "family_name,given_name,name,picture,sub",
		"openid email": "email,picture,sub",
	} {
		resp := redeem(t, s, signIn(t, s, alice, "scope", scope), "scope", scope)
		sub := decode(t, resp.stringField("id_token")).stringClaim("sub")
		for _, method := range []string{"GET", "POST"} {
			info := graph(t, s.Client(), method, "https://graph.microsoft.com/oidc/userinfo", resp.stringField("access_token"))
			if got := strings.Join(names(info.body), ","); info.status != 200 || got != want || info.stringField("sub") != sub {
				t.Errorf("%s %s: got %d %v", method, scope, info.status, info.body)
			}
		}
	}
	base, ca, stop := s.StartTLS()
	defer stop()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
	var doc map[string]any
	get(t, client, base+"/"+tenant+"/v2.0/.well-known/openid-configuration", &doc)
	if doc["userinfo_endpoint"] != base+"/oidc/userinfo" || "https://"+doc["msgraph_host"].(string) != base {
		t.Errorf("got userinfo_endpoint %v, msgraph_host %v", doc["userinfo_endpoint"], doc["msgraph_host"])
	}
	token := redeem(t, s, signIn(t, s, alice, "scope", "openid"), "scope", "openid").stringField("access_token")
	if info := graph(t, client, "GET", base+"/oidc/userinfo", token); info.status != 200 {
		t.Errorf("listener: got %d %v", info.status, info.body)
	}
	minted := s.Mint(entratest.MintOptions{Resource: "00000003-0000-0000-c000-000000000000", User: alice,
		Scopes: []string{"openid"}, Claims: map[string]any{"appid": nil, "azp": nil}})
	if info := graph(t, client, "GET", base+"/oidc/userinfo", minted); info.status != 401 {
		t.Errorf("token without a client: got %d %v, want 401", info.status, info.body)
	}
}

// A few requests about the signed-in user are served
// (https://learn.microsoft.com/graph/api/user-get).
func TestGraph(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Users[0].Groups = []string{"00000000-0000-4000-8000-000000000001"}
	s := entratest.NewServer(cfg)
	const graphURL = "https://graph.microsoft.com/v1.0/me"
	resp := redeem(t, s, signIn(t, s, alice, "scope", "User.Read"), "scope", "User.Read")
	oid := wantToken(t, resp).stringClaim("oid")
	token := resp.stringField("access_token")
	me := graph(t, s.Client(), "GET", graphURL, token)
	if me.status != 200 || me.stringField("id") != oid || me.stringField("userPrincipalName") != alice ||
		me.stringField("givenName") != "Alice" || me.stringField("surname") != "Adams" ||
		me.stringField("mail") != "alice@contoso.example" {
		t.Errorf("me: got %d %v", me.status, me.body)
	}
	groups := graph(t, s.Client(), "GET", graphURL+"/memberOf", token)
	if list, _ := groups.body["value"].([]any); groups.status != 200 || len(list) != 1 {
		t.Errorf("memberOf: got %d %v", groups.status, groups.body)
	}
	app := clientCredentials(t, s, "scope", "https://graph.microsoft.com/.default").stringField("access_token")
	openid := redeem(t, s, signIn(t, s, alice, "scope", "openid"), "scope", "openid").stringField("access_token")
	for _, test := range []struct {
		name, path, token string
		status            int
		code              string
	}{
		{"no photo", "/photo/$value", token, 404, "ImageNotFound"},
		{"no photo of a size", "/photos/48x48/$value", token, 404, "ImageNotFound"},
		{"unknown resource", "/manager", token, 404, "ResourceNotFound"},
		{"no token", "", "", 401, "InvalidAuthenticationToken"},
		{"not a token", "", "x", 401, "InvalidAuthenticationToken"},
		{"another audience", "", clientCredentials(t, s).stringField("access_token"), 401, "InvalidAuthenticationToken"},
		{"modified", "", token[:len(token)-8] + "AAAAAAAA", 401, "InvalidAuthenticationToken"},
		{"no scope", "", openid, 403, "Authorization_RequestDenied"},
		{"app-only", "", app, 400, "BadRequest"},
	} {
		got := graph(t, s.Client(), "GET", graphURL+test.path, test.token)
		e, _ := got.body["error"].(map[string]any)
		if got.status != test.status || e["code"] != test.code {
			t.Errorf("%s: got %d %v, want %d %s", test.name, got.status, got.body, test.status, test.code)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (test.status == 401) {
			t.Errorf("%s: got WWW-Authenticate %q", test.name, challenge)
		}
	}
	if got := graph(t, s.Client(), "GET", "https://graph.microsoft.com/oidc/userinfo", token); got.status != 403 {
		t.Errorf("UserInfo without the scope openid: got %d %v", got.status, got.body)
	}
	s.RevokeSessions(alice)
	if got := graph(t, s.Client(), "GET", graphURL, token); got.status != 401 {
		t.Errorf("revoked: got %d", got.status)
	}
}

// names returns the sorted names of the members of an object.
func names(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }
