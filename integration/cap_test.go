package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/cap/oidc"
	"github.com/hashicorp/cap/oidc/azure"
	"github.com/hashicorp/cap/oidc/callback"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra/entratest"
)

// signInWithCap signs Alice in with hashicorp/cap: the authorization code flow with PKCE. It calls received with her
// tokens.
func (f *fake) signInWithCap(
	t *testing.T, received func(context.Context, *oidc.Provider, oidc.Token) error, scopes ...string,
) {
	t.Helper()
	listener, origin := listen(t)
	redirect := origin + "/callback"
	ca := string(must[[]byte](t)(os.ReadFile(f.caFile)))
	config := must[*oidc.Config](t)(oidc.NewConfig(f.issuer(), webappID, webappSecret, []oidc.Alg{oidc.RS256},
		[]string{redirect}, oidc.WithProviderCA(ca), oidc.WithScopes(scopes...)))
	provider := must[*oidc.Provider](t)(oidc.NewProvider(config))
	t.Cleanup(provider.Done)
	verifier := must[*oidc.S256Verifier](t)(oidc.NewCodeVerifier())
	request := must[*oidc.Req](t)(oidc.NewRequest(time.Minute, redirect, oidc.WithPKCE(verifier)))
	handler := must[http.HandlerFunc](t)(callback.AuthCode(t.Context(), provider,
		&callback.SingleRequestReader{Request: request},
		func(_ string, token oidc.Token, w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, received(r.Context(), provider, token))
		},
		func(_ string, response *callback.AuthenErrorResponse, err error, w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, response, err)
		}))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)

	address := must[string](t)(provider.AuthURL(t.Context(), request))
	if _, page := f.newPerson(t, alice, nowhere).follow(t, address); page != "<nil>" {
		t.Fatalf("got error %s", page)
	}
}

// accessTokenOf returns the access token of a sign-in with hashicorp/cap.
func accessTokenOf(token oidc.Token) *oauth2.Token {
	return &oauth2.Token{AccessToken: string(token.AccessToken())}
}

// hashicorp/cap signs Alice in and queries UserInfo.
func TestHashiCorpCap(t *testing.T) {
	if offline(t) == nil {
		return
	}
	f := newFake(t, withEmail(nil))
	type claims struct{ Sub, OID, Name, Email string }
	var idToken, info claims
	f.signInWithCap(t, func(ctx context.Context, provider *oidc.Provider, token oidc.Token) error {
		if token.RefreshToken() == "" {
			return errors.New("got no refresh token for offline_access")
		}
		if err := token.IDToken().Claims(&idToken); err != nil {
			return err
		}
		return provider.UserInfo(ctx, oauth2.StaticTokenSource(accessTokenOf(token)), idToken.Sub, &info)
	}, "profile", "email", "offline_access")
	want := claims{Sub: idToken.Sub, OID: aliceID, Name: aliceName, Email: aliceEmail}
	if idToken != want {
		t.Errorf("ID token: got claims %+v, want %+v", idToken, want)
	}
	want.OID = "" // not in UserInfo
	if info != want {
		t.Errorf("UserInfo: got %+v, want %+v", info, want)
	}
	if n := f.Count(entratest.Match{Endpoint: entratest.EndpointUserInfo}); n != 1 {
		t.Errorf("requests of UserInfo: got %d, want 1", n)
	}
}

// hashicorp/cap replaces the overage claim of an ID token by the groups, from Microsoft Graph at its own name.
func TestHashiCorpCapResolvesGroups(t *testing.T) {
	network := offline(t)
	if network == nil {
		return
	}
	f := newFake(t, withEmail(manyGroups()))
	f.serveGraph(t, network)
	var resolved map[string]any
	f.signInWithCap(t, func(ctx context.Context, provider *oidc.Provider, token oidc.Token) error {
		var claims map[string]any
		if err := token.IDToken().Claims(&claims); err != nil {
			return err
		}
		client, err := provider.HTTPClient()
		if err != nil {
			return err
		}
		resolved, err = azure.ResolveGroupClaims(ctx, client, accessTokenOf(token), claims)
		return err
	}, "profile", "User.Read")
	if groups, _ := resolved["groups"].([]string); !slices.Equal(groups, manyGroups()) {
		t.Errorf("got claims %v, want %d groups", resolved, len(manyGroups()))
	}
}
