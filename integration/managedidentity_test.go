package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/managedidentity"
)

const vaultScope = "https://vault.azure.net/.default"

// A hundred callers that find no token send one request to the metadata service, which takes 100 ms. Callers of MSAL
// and of azidentity, which calls MSAL, send one each (microsoft-authentication-library-for-go#569).
func TestManagedIdentityNextToPeers(t *testing.T) {
	const callers = 100
	testkit.NoPlatform(t)
	service := func() *testkit.Recorder {
		return testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return testkit.PlatformToken(req, "a-token", 24*time.Hour), nil
		}))
	}
	start := func(t *testing.T, get func(context.Context) (string, error)) {
		t.Helper()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if token, err := get(t.Context()); token != "a-token" || err != nil {
					t.Errorf("got the token %q and error %v, want a-token", token, err)
				}
			})
		}
		wg.Wait()
	}
	want := func(t *testing.T, s *testkit.Recorder, requests int) {
		t.Helper()
		if n := len(s.Sent()); n != requests {
			t.Errorf("got %d requests, want %d", n, requests)
		}
	}
	t.Run("entra", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := service()
			id := must[*managedidentity.Identity](t)(managedidentity.New(managedidentity.Config{
				HTTPClient: &http.Client{Transport: s},
			}))
			start(t, id.TokenSource(vaultScope).AccessToken)
			want(t, s, 1)
		})
	})
	t.Run("MSAL", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := service()
			// MSAL's cache belongs to the program, so this identity must be new.
			client := must[msal.Client](t)(msal.New(msal.UserAssignedObjectID(rand.Text()),
				msal.WithHTTPClient(&http.Client{Transport: s})))
			start(t, func(ctx context.Context) (string, error) {
				r, err := client.AcquireToken(ctx, vaultScope)
				return r.AccessToken, err
			})
			want(t, s, callers)
		})
	})
	t.Run("azidentity", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := service()
			credential := must[*azidentity.ManagedIdentityCredential](t)(azidentity.NewManagedIdentityCredential(
				&azidentity.ManagedIdentityCredentialOptions{
					ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: s}},
					ID:            azidentity.ObjectID(rand.Text()),
				}))
			start(t, func(ctx context.Context) (string, error) {
				r, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vaultScope}})
				return r.Token, err
			})
			want(t, s, callers)
		})
	})
}

// A program with package managedidentity links the same modules as one with package clientcreds.
func TestManagedIdentityNeedsNoOtherModule(t *testing.T) {
	modules := func(pkg string) string {
		list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "github.com/entratoken/entra/"+pkg)
		list.Stderr = t.Output()
		lines := strings.Fields(string(must[[]byte](t)(list.Output())))
		slices.Sort(lines)
		return strings.Join(slices.Compact(lines), "\n")
	}
	if got, want := modules("managedidentity"), modules("clientcreds"); got != want || !strings.Contains(got, "golang-lru") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// On Azure Arc, the first response names a file whose text authenticates the second request. The directory of the file
// is fixed. If this process may not write there, the error says who may read it.
func TestManagedIdentityOnArc(t *testing.T) {
	testkit.NoPlatform(t)
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:40342/metadata/identity/oauth2/token")
	t.Setenv("IMDS_ENDPOINT", "http://127.0.0.1:40342")
	const id = "33333333-3333-3333-3333-333333333333"
	file := filepath.Join("/var/opt/azcmagent/tokens", rand.Text()+".key")
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte("the-key"), 0o600)
	}
	readable := err == nil
	if !readable && !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file) })
	for _, test := range []struct{ name, echo, code string }{
		{"the agent confirms the identity", id, ""},
		{"an old agent ignores the ID", "", entra.CodeInvalidResponse},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
				if req.Header.Get("Authorization") != "Basic the-key" {
					return testkit.Response(req, http.StatusUnauthorized, "text/plain", "", "WWW-Authenticate",
						"Basic realm="+file), nil
				}
				return testkit.PlatformToken(req, "a-token", time.Hour, "client_id", test.echo), nil
			}))
			identity := must[*managedidentity.Identity](t)(managedidentity.New(managedidentity.Config{
				ClientID: id, HTTPClient: &http.Client{Transport: s},
			}))
			token, err := identity.TokenSource(vaultScope).AccessToken(t.Context())
			switch {
			case !readable:
				if e := testkit.Error(t, err); e.Code != "invalid_client" || e.StatusCode != http.StatusUnauthorized {
					t.Errorf("got %v, want invalid_client", err)
				}
			case test.code == "":
				if token != "a-token" || err != nil || len(s.Sent()) != 2 {
					t.Errorf("got the token %q and error %v after %d requests, want a-token after 2", token, err, len(s.Sent()))
				}
			default:
				want := fmt.Sprintf("no token for the user-assigned identity with the client ID %s: the managed identity service "+
					"(AzureArc) returned a token of another identity or did not confirm the identity, so the token is not used", id)
				if e := testkit.Error(t, err); e.Code != test.code || e.Description != want || token != "" {
					t.Errorf("got the token %q and %v, want %s", token, err, want)
				}
			}
		})
	}
}
