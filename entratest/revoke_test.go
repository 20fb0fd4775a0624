package entratest_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// TestContinuousAccess follows a revocation: the resource learns of it, rejects
// the token with a claims challenge, and accepts the one that answers it.
func TestContinuousAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(sample("api-a", func(a *entratest.App) { a.ContinuousAccess = true }))
		const cp1 = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`
		first := redeem(t, s, signIn(t, s, alice), "claims", cp1)
		other := redeem(t, s, signIn(t, s, bob)).text("access_token")
		if c := wantToken(t, first); c.list("xms_cc") != "cp1" || first.body["expires_in"].(float64) < 24*3600 {
			t.Fatalf("claims %v", c)
		}
		old := first.text("access_token")
		time.Sleep(time.Hour)
		if s.IsRevoked(old) {
			t.Error("revoked too early")
		}
		s.RevokeSessions(alice)
		if !s.IsRevoked(old) || s.IsRevoked(other) {
			t.Error("the resource learns of the wrong user")
		}
		var challenge struct {
			AccessToken struct {
				Nbf struct {
					Essential bool
					Value     string
				}
			} `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(entratest.ClaimsChallenge(time.Unix(1604106651, 0))), &challenge); err != nil || !challenge.AccessToken.Nbf.Essential || challenge.AccessToken.Nbf.Value != "1604106651" {
			t.Errorf("challenge %+v, %v", challenge, err)
		}
		refresh := []string{"grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret", "refresh_token", first.text("refresh_token"), "claims", entratest.ClaimsChallenge(time.Now())}
		wantError(t, ask(t, s, tenant, refresh...), 400, "invalid_grant", 50173)
		again := redeem(t, s, signIn(t, s, alice, "claims", entratest.ClaimsChallenge(time.Now())), "claims", entratest.ClaimsChallenge(time.Now()))
		if wantToken(t, again); s.IsRevoked(again.text("access_token")) {
			t.Error("the new token is revoked")
		}
	})
}

func TestRevokeOneToken(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	one, two := userToken(t, s, alice), userToken(t, s, alice)
	app := credentials(t, s).text("access_token")
	if !s.RevokeToken(one) || !s.RevokeToken(app) {
		t.Fatal("a token is not known")
	}
	if !s.IsRevoked(one) || s.IsRevoked(two) || !s.IsRevoked(app) || s.IsRevoked("nonsense") {
		t.Error("another token is revoked")
	}
	wantError(t, onBehalfOf(t, s, one), 400, "invalid_grant", 50173)
	wantToken(t, onBehalfOf(t, s, two))
	if s.RevokeToken(s.Mint(entratest.MintOptions{Resource: "api-a", Header: map[string]any{"kid": "x"}})) {
		t.Error("a stranger's token is known")
	}
}

func TestOnRequest(t *testing.T) {
	cfg := entratest.Sample()
	var got []entratest.Request
	cfg.OnRequest = func(r entratest.Request) { got = append(got, r) }
	s := entratest.NewServer(cfg)
	credentials(t, s, "client_secret", "wrong")
	if len(got) != 1 || got[0].AADSTS != 7000215 || got[0].Form.Get("client_secret") != "REDACTED" {
		t.Errorf("got %+v", got)
	}
}
