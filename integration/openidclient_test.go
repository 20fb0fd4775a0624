package integration_test

import (
	"testing"

	"github.com/entratoken/entra/entratest"
)

const aliceEmail = "alice.adams@contoso.example"

// withEmail gives Alice an email address and puts her groups into ID tokens of the web app, with further redirect
// URIs.
func withEmail(groups []string, redirectURIs ...string) func(*entratest.Config) {
	return func(estate *entratest.Config) {
		for i := range estate.Users {
			if estate.Users[i].Username == alice {
				estate.Users[i].Email, estate.Users[i].Groups = aliceEmail, groups
			}
		}
		for i := range estate.Apps {
			if estate.Apps[i].ClientID == webappID {
				estate.Apps[i].GroupClaims = len(groups) > 0
				estate.Apps[i].RedirectURIs = append(estate.Apps[i].RedirectURIs, redirectURIs...)
			}
		}
	}
}

// openid-client discovers the endpoints, signs Alice in with PKCE, refreshes, and queries UserInfo.
func TestOpenIDClient(t *testing.T) {
	if offline(t) == nil {
		return
	}
	f := newFake(t, withEmail(nil))
	node := f.newNode(t, "openid.mjs")
	var address string
	node.must(t, call("", "start", f.issuer(), webappID, webappSecret, map[string]string{
		"redirect_uri": "http://localhost/callback", "scope": "openid profile email offline_access",
	}), &address)
	back, _ := f.newPerson(t, alice, f.away).follow(t, address)

	type tokens struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		IDToken      string `json:"id_token"`
		Claims       struct{ Sub, OID, Name, Email string }
	}
	var first, second tokens
	node.must(t, call("", "finish", back.String()), &first)
	if first.Claims.OID != aliceID || first.Claims.Name != aliceName || first.Claims.Email != aliceEmail {
		t.Errorf("got claims %+v, want those of Alice", first.Claims)
	}
	node.must(t, call("", "refresh"), &second)
	if second.AccessToken == first.AccessToken || second.RefreshToken == first.RefreshToken || second.IDToken == "" {
		t.Error("refresh: got an old token, want new ones")
	}
	var info struct{ Sub, Name, Email string }
	node.must(t, call("", "userinfo"), &info)
	if info.Sub != first.Claims.Sub || info.Name != aliceName || info.Email != aliceEmail {
		t.Errorf("UserInfo: got %+v, want Alice with the sub %q of the ID token", info, first.Claims.Sub)
	}
	if n := f.Count(entratest.Match{Endpoint: entratest.EndpointUserInfo}); n != 1 {
		t.Errorf("requests of UserInfo: got %d, want 1", n)
	}
	if failed := node.do(t, call("", "finish", back.String()), nil); failed == nil {
		t.Error("second use of the code: got no error")
	}
}
