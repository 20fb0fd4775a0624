package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/cap/oidc"
	"github.com/hashicorp/cap/oidc/callback"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra/entratest"
)

// hashicorp/cap signs Alice in with the authorization code flow and PKCE, and queries UserInfo.
func TestHashiCorpCap(t *testing.T) {
	if offline(t) == nil {
		return
	}
	f := newFake(t, withEmail(nil))
	listener, origin := listen(t)
	redirect := origin + "/callback"
	ca := string(must[[]byte](t)(os.ReadFile(f.caFile)))
	config := must[*oidc.Config](t)(oidc.NewConfig(f.issuer(), webappID, webappSecret, []oidc.Alg{oidc.RS256},
		[]string{redirect}, oidc.WithProviderCA(ca), oidc.WithScopes("profile", "email", "offline_access")))
	provider := must[*oidc.Provider](t)(oidc.NewProvider(config))
	t.Cleanup(provider.Done)
	verifier := must[*oidc.S256Verifier](t)(oidc.NewCodeVerifier())
	request := must[*oidc.Req](t)(oidc.NewRequest(time.Minute, redirect, oidc.WithPKCE(verifier)))

	type claims struct{ Sub, OID, Name, Email string }
	var idToken, info claims
	handler := must[http.HandlerFunc](t)(callback.AuthCode(t.Context(), provider,
		&callback.SingleRequestReader{Request: request},
		func(_ string, token oidc.Token, w http.ResponseWriter, r *http.Request) {
			err := token.IDToken().Claims(&idToken)
			source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: string(token.AccessToken())})
			if err == nil && token.RefreshToken() == "" {
				err = fmt.Errorf("got no refresh token for offline_access")
			}
			if err == nil {
				err = provider.UserInfo(r.Context(), source, idToken.Sub, &info)
			}
			fmt.Fprint(w, err)
		},
		func(_ string, response *callback.AuthenErrorResponse, err error, w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, response, err)
		}))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)

	address := must[string](t)(provider.AuthURL(t.Context(), request))
	if _, page := f.newPerson(t, alice, alicePassword, nowhere).follow(t, address); page != "<nil>" {
		t.Fatalf("got error %s", page)
	}
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
