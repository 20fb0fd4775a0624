package integration_test

import (
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
)

// claims that the tests check.
type claims struct {
	Issuer            string   `json:"iss"`
	Audience          string   `json:"aud"`
	Subject           string   `json:"sub"`
	TenantID          string   `json:"tid"`
	ObjectID          string   `json:"oid"`
	Scope             string   `json:"scp"`
	Roles             []string `json:"roles"`
	AuthorizedParty   string   `json:"azp"`
	IDType            string   `json:"idtyp"`
	Name              string   `json:"name"`
	PreferredUsername string   `json:"preferred_username"`
	Nonce             string   `json:"nonce"`
	Version           string   `json:"ver"`
}

// verified returns the claims of a token after go-oidc has validated its issuer, signature, audience and times.
func (f *fake) verified(t *testing.T, raw, audience string) claims {
	t.Helper()
	ctx := oidc.ClientContext(t.Context(), f.client)
	provider, err := oidc.NewProvider(ctx, f.issuer())
	if err != nil {
		t.Fatal(err)
	}
	token, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: audience}).Verify(ctx, raw)
	if err != nil {
		t.Fatalf("go-oidc: %v", err)
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// wantApp fails the test unless the token is app-only, for api-b, with the daemon's role.
func (f *fake) wantApp(t *testing.T, raw, client string) {
	t.Helper()
	c := f.verified(t, raw, apiBID)
	if len(c.Roles) != 1 || c.Roles[0] != "Orders.Read.All" {
		t.Errorf("got roles %q, want Orders.Read.All", c.Roles)
	}
	if c.Scope != "" {
		t.Errorf("got scp %q in an app-only token, want none", c.Scope)
	}
	for _, claim := range []struct{ name, got, want string }{
		{"iss", c.Issuer, f.issuer()},
		{"aud", c.Audience, apiBID},
		{"azp", c.AuthorizedParty, client},
		{"tid", c.TenantID, tenant},
		{"idtyp", c.IDType, "app"},
		{"sub", c.Subject, c.ObjectID},
		{"ver", c.Version, "2.0"},
	} {
		if claim.got != claim.want {
			t.Errorf("%s: got %q, want %q", claim.name, claim.got, claim.want)
		}
	}
}

// wantAlice fails the test unless the token is Alice's, for the given API, client and scope.
func (f *fake) wantAlice(t *testing.T, raw, audience, client, scope string) {
	t.Helper()
	c := f.verified(t, raw, audience)
	for _, claim := range []struct{ name, got, want string }{
		{"iss", c.Issuer, f.issuer()},
		{"aud", c.Audience, audience},
		{"azp", c.AuthorizedParty, client},
		{"tid", c.TenantID, tenant},
		{"oid", c.ObjectID, aliceID},
		{"scp", c.Scope, scope},
		{"ver", c.Version, "2.0"},
	} {
		if claim.got != claim.want {
			t.Errorf("%s: got %q, want %q", claim.name, claim.got, claim.want)
		}
	}
	if c.IDType == "app" {
		t.Error("got idtyp app in a user's token")
	}
}
