package entra_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// A permission may have any character of a scope-token (RFC 6749, section 3.3).
func TestScopeWithSpecialCharacters(t *testing.T) {
	id := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"oid":"o","tid":"t","sub":"s"}`)) + ".x"
	info := base64.RawURLEncoding.EncodeToString([]byte(`{"uid":"o","utid":"t"}`))
	const scope = "api://api-b/R&D.<Read>"
	e := newEstate()
	e.Intercept(respondWith(200, "application/json", fmt.Sprintf(`{"access_token":"tok","token_type":"Bearer",`+
		`"expires_in":3600,"scope":%q,"id_token":%q,"client_info":%q}`, scope, id, info)))
	tok, err := e.client(t, "api-a").TokenSource(entra.Grant{
		Flow: "on_behalf_of", Subject: "a", Scopes: []string{scope}, Fetch: oboFetch(e, scope),
	}).Token()
	if err != nil || tok.AccessToken != "tok" {
		t.Errorf("got %v, %v, want the token", tok, err)
	}
}

// MSAL has a cache, which a Fetch with several requests could reach. Its results are not used.
func TestResultOfEarlierRequestIsRejected(t *testing.T) {
	e := newEstate()
	mint := func(user string) string {
		return e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: user})
	}
	alices, bobs := mint(alice), mint("bob@contoso.onmicrosoft.com")
	tok, err := e.client(t, "api-a").TokenSource(entra.Grant{Flow: "several", Subject: "s", Scope: "api://api-b/Orders.Read",
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (resp *entra.TokenResponse, err error) {
			for _, assertion := range []string{alices, bobs, alices} {
				if resp, err = r.OnBehalfOf(ctx, assertion); err != nil {
					return nil, err
				}
			}
			return resp, nil
		}}).Token()
	if got := testkit.Error(t, err); tok != nil || got.Code != entra.CodeInvalidResponse ||
		got.Description != "MSAL returned the result of another request" {
		t.Errorf("got %v, %v, want invalid_response", tok, err)
	}
	if n := len(e.Forms()); n != 2 {
		t.Errorf("got %d requests, want 2", n)
	}
}
