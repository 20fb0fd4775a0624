package entratest_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// After a revocation, the resource rejects the token with a claims challenge and accepts
// the token of the next sign-in.
func TestContinuousAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(sample("api-a", func(a *entratest.App) { a.ContinuousAccess = true }))
		const cp1 = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`
		first := redeem(t, s, signIn(t, s, alice), "claims", cp1)
		other := redeem(t, s, signIn(t, s, bob)).stringField("access_token")
		if c := wantToken(t, first); c.joined("xms_cc") != "cp1" || first.body["expires_in"].(float64) < 24*3600 {
			t.Fatalf("got claims %v", c)
		}
		old := first.stringField("access_token")
		time.Sleep(time.Hour)
		if s.IsRevoked(old) {
			t.Error("IsRevoked before revocation: got true, want false")
		}
		s.RevokeSessions(alice)
		if !s.IsRevoked(old) || s.IsRevoked(other) {
			t.Error("IsRevoked of another user: got true, want false")
		}
		var challenge struct {
			AccessToken struct {
				Nbf struct {
					Essential bool
					Value     string
				}
			} `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(entratest.ClaimsChallenge(time.Unix(1604106651, 0))), &challenge); err != nil ||
			!challenge.AccessToken.Nbf.Essential || challenge.AccessToken.Nbf.Value != "1604106651" {
			t.Errorf("got challenge %+v, %v", challenge, err)
		}
		refresh := []string{"grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret",
			"refresh_token", first.stringField("refresh_token"), "claims", entratest.ClaimsChallenge(time.Now())}
		wantError(t, tokenRequest(t, s, tenant, refresh...), 400, "invalid_grant", 50173)
		again := redeem(t, s, signIn(t, s, alice, "claims", entratest.ClaimsChallenge(time.Now())), "claims",
			entratest.ClaimsChallenge(time.Now()))
		if wantToken(t, again); s.IsRevoked(again.stringField("access_token")) {
			t.Error("IsRevoked of the new token: got true, want false")
		}
	})
}

func TestRevokeTokenKeepsOtherTokens(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	one, two := userToken(t, s, alice), userToken(t, s, alice)
	app := clientCredentials(t, s).stringField("access_token")
	if !s.RevokeToken(one) || !s.RevokeToken(app) {
		t.Fatal("RevokeToken: got false, want true")
	}
	if !s.IsRevoked(one) || s.IsRevoked(two) || !s.IsRevoked(app) || s.IsRevoked("nonsense") {
		t.Error("RevokeToken revoked another token")
	}
	wantError(t, onBehalfOf(t, s, one), 400, "invalid_grant", 50173)
	wantToken(t, onBehalfOf(t, s, two))
	if s.RevokeToken(s.Mint(entratest.MintOptions{Resource: "api-a", Header: map[string]any{"kid": "x"}})) {
		t.Error("RevokeToken of another server's token: got true, want false")
	}
}

func TestOnRequest(t *testing.T) {
	cfg := entratest.Sample()
	var got []entratest.Request
	cfg.OnRequest = func(r entratest.Request) { got = append(got, r) }
	s := entratest.NewServer(cfg)
	clientCredentials(t, s, "client_secret", "wrong")
	if len(got) != 1 || got[0].AADSTS != 7000215 || got[0].Form.Get("client_secret") != "REDACTED" {
		t.Errorf("got %+v", got)
	}
}
