package integration_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra/entratest"
)

// msal returns a client of MSAL for Go in the sample tenant.
func (f *fake) msal(t *testing.T, client string, credential confidential.Credential,
	options ...confidential.Option) confidential.Client {
	t.Helper()
	options = append(options, confidential.WithHTTPClient(f.client), confidential.WithInstanceDiscovery(false))
	return must[confidential.Client](t)(confidential.New(f.authority(), client, credential, options...))
}

func TestMSALGoForApps(t *testing.T) {
	f := newFake(t)
	credential := must[confidential.Credential](t)
	for _, test := range []struct {
		name, client string
		credential   confidential.Credential
		options      []confidential.Option
	}{
		{"secret", daemonID, credential(confidential.NewCredFromSecret(daemonSecret)), nil},
		{"certificate", certID, credential(confidential.NewCredFromCert(f.cert, f.key)), nil},
		{"certificate with its chain", certID, credential(confidential.NewCredFromCert(f.cert, f.key)),
			[]confidential.Option{confidential.WithX5C()}},
		{"certificate by subject name and issuer", certSNIID, credential(confidential.NewCredFromCert(f.certChain, f.key)),
			[]confidential.Option{confidential.WithX5C()}},
		{"assertion", federatedID, confidential.NewCredFromAssertionCallback(
			func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
				return f.federatedToken(ctx)
			}), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := f.msal(t, test.client, test.credential, test.options...)
			result, err := app.AcquireTokenByCredential(t.Context(), []string{appScope})
			if err != nil {
				t.Fatal(err)
			}
			f.wantApp(t, result.AccessToken, test.client)
			if life := time.Until(result.ExpiresOn); life < 59*time.Minute || life > 91*time.Minute {
				t.Errorf("lifetime: got %v, want 60 to 90 minutes", life)
			}
		})
	}
}

// An app that trusts a subject name requires the certificate chain.
func TestMSALGoReportsRejections(t *testing.T) {
	f := newFake(t)
	app := f.msal(t, certSNIID, must[confidential.Credential](t)(confidential.NewCredFromCert(f.certChain, f.key)))
	_, err := app.AcquireTokenByCredential(t.Context(), []string{appScope})
	var failed msalerrors.CallErr
	if !errors.As(err, &failed) {
		t.Fatalf("got error %v, want a CallErr", err)
	}
	body, readErr := io.ReadAll(failed.Resp.Body)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if failed.Resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "AADSTS700027:") {
		t.Errorf("got status %d, body %s; want 401, AADSTS700027", failed.Resp.StatusCode, body)
	}
}

// Alice signs in to a web app with tokens so short-lived that MSAL refreshes them at once. The API that she calls calls
// the next one for her.
func TestMSALGoForUsers(t *testing.T) {
	var life atomic.Int64              // in nanoseconds
	life.Store(int64(4 * time.Minute)) // less than the five minutes before expiry in which MSAL refreshes
	f := newFake(t, func(estate *entratest.Config) {
		estate.Lifetime = func() time.Duration { return time.Duration(life.Load()) }
	})
	webapp := f.msal(t, webappID, must[confidential.Credential](t)(confidential.NewCredFromSecret(webappSecret)))
	apiA := f.msal(t, apiAID, must[confidential.Credential](t)(confidential.NewCredFromSecret(apiASecret)))

	const redirect = "http://localhost/callback"
	scopes := []string{apiAScope}
	address := must[*url.URL](t)(url.Parse(must[string](t)(webapp.AuthCodeURL(t.Context(), webappID, redirect, scopes))))
	verifier := oauth2.GenerateVerifier()
	params := address.Query()
	params.Set("state", "a-state")
	params.Set("code_challenge", oauth2.S256ChallengeFromVerifier(verifier))
	params.Set("code_challenge_method", "S256")
	address.RawQuery = params.Encode()
	back, _ := f.newPerson(t, alice, f.away).follow(t, address.String())

	signedIn, err := webapp.AcquireTokenByAuthCode(t.Context(), authResponse(t, back, "a-state").Get("code"), redirect,
		scopes,
		confidential.WithChallenge(verifier))
	if err != nil {
		t.Fatal(err)
	}
	f.wantAlice(t, signedIn.AccessToken, apiAID, webappID, "access_as_user")
	if signedIn.Account.HomeAccountID != aliceID+"."+tenant || signedIn.Account.PreferredUsername != alice {
		t.Errorf("got account %+v, want that of Alice", signedIn.Account)
	}
	if signedIn.IDToken.Name != aliceName || signedIn.IDToken.Oid != aliceID {
		t.Errorf("got name %q and oid %q, want those of Alice", signedIn.IDToken.Name, signedIn.IDToken.Oid)
	}

	life.Store(int64(time.Hour)) // MSAL rejects shorter-lived tokens on behalf of a user
	refreshed, err := webapp.AcquireTokenSilent(t.Context(), scopes, confidential.WithSilentAccount(signedIn.Account))
	if err != nil {
		t.Fatal(err)
	}
	if refreshed.AccessToken == signedIn.AccessToken {
		t.Error("got the old token, want a refreshed one")
	}
	f.wantAlice(t, refreshed.AccessToken, apiAID, webappID, "access_as_user")

	next, err := apiA.AcquireTokenOnBehalfOf(t.Context(), refreshed.AccessToken, []string{ordersScope})
	if err != nil {
		t.Fatal(err)
	}
	f.wantAlice(t, next.AccessToken, apiBID, apiAID, "Orders.Read")
}
