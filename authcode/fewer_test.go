package authcode_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/testkit"
)

const scopeWrite = "api://api-b/Orders.Write"

// grant makes Entra's responses name only these scopes.
func (e *estate) grant(scopes string) {
	e.ChangeResponses(func(_ url.Values, body map[string]any) { body["scope"] = scopes })
}

// Entra may grant fewer scopes than requested, for example to personal accounts. The user is signed in, and only the
// missing scope fails when it is used (AzureAD/microsoft-authentication-library-for-objc#1482,
// AzureAD/microsoft-authentication-library-for-dotnet#1278).
func TestSignInWithFewerScopesThanRequested(t *testing.T) {
	e := newEstate()
	f := e.flow(t, func(c *authcode.Config) { c.Scopes = []string{scopeB, scopeWrite} })
	e.grant("openid profile API://API-B/orders.read")
	signIn := e.signIn(t, f, alice, authcode.Request{})
	if signIn.Account.Username != alice || signIn.Claims == nil {
		t.Errorf("got account %v, want alice", signIn.Account)
	}
	if got := token(t, f.TokenSource(signIn.Account, scopeB)); got == "" || e.TokenRequests() != 1 {
		t.Errorf("got token %q after %d token requests, want the one of the sign-in", got, e.TokenRequests())
	}
	for _, s := range []*entra.TokenSource{signIn.Source, f.TokenSource(signIn.Account, scopeWrite)} {
		_, err := s.TokenContext(t.Context())
		if got := testkit.Error(t, err); got.Code != "consent_required" || !got.InteractionRequired() ||
			got.Description != "Entra granted fewer scopes than requested; missing: "+scopeWrite {
			t.Errorf("got %v, want consent_required for %s", err, scopeWrite)
		}
	}
	if got := e.last(t).Get("grant_type"); got != "refresh_token" || e.TokenRequests() != 3 {
		t.Errorf("got %s as request %d, want refresh_token as request 3", got, e.TokenRequests())
	}
	token(t, f.TokenSource(signIn.Account, scopeB))

	// After consent, the whole set is granted.
	e.ChangeResponses(nil)
	again := e.signIn(t, f, alice, authcode.Request{LoginHint: alice})
	scp := strings.Fields(testkit.Claims(t, token(t, again.Source))["scp"].(string))
	if slices.Sort(scp); !slices.Equal(scp, []string{"Orders.Read", "Orders.Write"}) || e.TokenRequests() != 4 {
		t.Errorf("got scp %q after %d token requests, want both scopes after 4", scp, e.TokenRequests())
	}
}

// A response that grants none of the requested scopes is an error, and stores no tokens.
func TestSignInWithoutAnyRequestedScope(t *testing.T) {
	e := newEstate()
	client := testkit.Client(t, e.clientConfig())
	f := newFlow(t, client, func(c *authcode.Config) { c.Scopes = []string{scopeB, scopeWrite} })
	e.grant("openid profile")
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	if got := testkit.Error(t, err); got.Code != "consent_required" ||
		got.Description != "Entra granted fewer scopes than requested; missing: "+scopeB+" "+scopeWrite {
		t.Errorf("got %v, want consent_required", err)
	}
	if n := client.Cache().Stats().Sessions; n != 0 {
		t.Errorf("got tokens of %d sessions, want none", n)
	}
}

// The checks of a sign-in are the same if fewer scopes are granted.
func TestFewerScopesDoNotWeakenASignIn(t *testing.T) {
	for name, change := range map[string]func(body map[string]any){
		"no ID token":          func(body map[string]any) { delete(body, "id_token") },
		"ID token of a login":  func(body map[string]any) { body["id_token"] = body["id_token"].(string) + "x" },
		"client_info of other": func(body map[string]any) { body["client_info"] = base64JSON(`{"uid":"x","utid":"y"}`) },
		"no expiry":            func(body map[string]any) { delete(body, "expires_in") },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate()
			client := testkit.Client(t, e.clientConfig())
			f := newFlow(t, client, func(c *authcode.Config) { c.Scopes = []string{scopeB, scopeWrite} })
			e.ChangeResponses(func(_ url.Values, body map[string]any) {
				body["scope"] = scopeB
				change(body)
			})
			login := begin(t, f, authcode.Request{})
			if _, err := f.Exchange(t.Context(), login, e.callback(t, login, alice)); err == nil {
				t.Error("got no error")
			}
			if n := client.Cache().Stats().Sessions; n != 0 {
				t.Errorf("got tokens of %d sessions, want none", n)
			}
		})
	}
}
