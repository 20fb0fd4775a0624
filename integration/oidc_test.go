package integration_test

import (
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// A relying party of zitadel/oidc signs Alice in. go-oidc reads the same ID token and accepts the access token for the
// API.
func TestZitadelSignsIn(t *testing.T) {
	f := newFake(t)
	party := f.newRelyingParty(t, "openid", "profile", "offline_access", apiAScope)
	_, page := f.newPerson(t, alice, nowhere).follow(t, party.url+"/login")
	got := details(t, page)

	if got.Claims.Issuer != f.issuer() || got.Claims.Name != aliceName || got.Claims.PreferredUsername != alice {
		t.Errorf("got claims %+v, want those of Alice", got.Claims)
	}
	if got.Claims.Claims["oid"] != aliceID || got.Claims.Claims["tid"] != tenant {
		t.Errorf("got oid %v, tid %v, want those of Alice", got.Claims.Claims["oid"], got.Claims.Claims["tid"])
	}
	if c := f.verified(t, got.IDToken, webappID); c.Subject != got.Claims.Subject || c.ObjectID != aliceID ||
		c.Scope != "" {
		t.Errorf("go-oidc: got ID token %+v", c)
	}
	if !got.Refreshable {
		t.Error("got no refresh token for offline_access")
	}
	f.wantAlice(t, got.AccessToken, apiAID, webappID, "access_as_user")
}

// x/oauth2 acquires a token with the secret in the body or in the header (RFC 6749, section 2.3.1), and go-oidc accepts
// it.
func TestOAuth2ClientCredentials(t *testing.T) {
	f := newFake(t)
	ctx := oidc.ClientContext(t.Context(), f.client)
	provider, err := oidc.NewProvider(ctx, f.issuer())
	if err != nil {
		t.Fatal(err)
	}
	for name, style := range map[string]oauth2.AuthStyle{"body": oauth2.AuthStyleInParams,
		"header": oauth2.AuthStyleInHeader} {
		t.Run(name, func(t *testing.T) {
			config := clientcredentials.Config{
				ClientID: daemonID, ClientSecret: daemonSecret, AuthStyle: style,
				TokenURL: provider.Endpoint().TokenURL,
				Scopes:   []string{appScope},
			}
			token, err := config.Token(ctx)
			if err != nil {
				t.Fatal(err)
			}
			f.wantApp(t, token.AccessToken, daemonID)
		})
	}
}

// go-oidc rejects a token for another audience, so the tests that rely on it can fail.
func TestGoOIDCRejectsAnotherAudience(t *testing.T) {
	f := newFake(t)
	raw := f.aliceAtAPIA(t)
	provider, err := oidc.NewProvider(oidc.ClientContext(t.Context(), f.client), f.issuer())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: apiBID}).Verify(t.Context(), raw); err == nil {
		t.Error("got a token for api-a accepted for api-b")
	}
}
