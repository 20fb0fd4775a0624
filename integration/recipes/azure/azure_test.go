package azure_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/integration/recipes/azure"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/internal/testkit"
)

// service is a resource of Azure. Its response contains the token of the request. A request without a token is
// challenged, and so is one with a token if claims is set.
type service struct {
	resource, tenant string

	mu     sync.Mutex // guards the fields below
	claims string     // sent once
	tokens []string
}

func (s *service) Do(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return testkit.Response(req, 401, "application/json", "{}", "WWW-Authenticate",
			`Bearer authorization="https://login.microsoftonline.com/`+s.tenant+`", resource="`+s.resource+`"`), nil
	}
	s.tokens = append(s.tokens, token)
	if claims := s.claims; claims != "" {
		s.claims = ""
		return testkit.Response(req, 401, "application/json", "{}", "WWW-Authenticate",
			`Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(claims))+`"`), nil
	}
	if s.resource == recipetest.KeyVault {
		return testkit.Response(req, 200, "application/json", `{"value":"`+token+`"}`), nil
	}
	return testkit.Response(req, 200, "application/octet-stream", token), nil
}

// RoundTrip is like Do, for an http.Client.
func (s *service) RoundTrip(req *http.Request) (*http.Response, error) { return s.Do(req) }

func (s *service) options() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: s, Retry: policy.RetryOptions{MaxRetries: -1}}
}

func openSecrets(t *testing.T, client *entra.Client, s *service) func(context.Context) (string, error) {
	t.Helper()
	secrets, err := azure.NewSecrets(client, "https://contoso.vault.azure.net",
		&azsecrets.ClientOptions{ClientOptions: s.options()})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) (string, error) {
		resp, err := secrets.GetSecret(ctx, "db", "", nil)
		if err != nil {
			return "", err
		}
		return *resp.Value, nil
	}
}

func TestNewSecrets(t *testing.T) {
	recipetest.Fit{Resource: recipetest.KeyVault, InMemory: true, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		return openSecrets(t, client, &service{resource: recipetest.KeyVault, tenant: client.TenantID()})
	}}.Test(t)
}

func TestNewBlobs(t *testing.T) {
	recipetest.Fit{Resource: recipetest.Storage, InMemory: true, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		s := &service{resource: recipetest.Storage, tenant: client.TenantID()}
		blobs, err := azure.NewBlobs(client, "https://contoso.blob.core.windows.net",
			&azblob.ClientOptions{ClientOptions: s.options()})
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context) (string, error) {
			resp, err := blobs.DownloadStream(ctx, "container", "blob", nil)
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return string(body), err
		}
	}}.Test(t)
}

// A claims challenge of a resource reaches Entra, and the call succeeds with the next token.
func TestClaimsChallenge(t *testing.T) {
	for resource, open := range map[string]func(*testing.T, *entra.Client, *service) func(context.Context) (string, error){
		recipetest.KeyVault: openSecrets, recipetest.Graph: openGraph,
	} {
		t.Run(resource, func(t *testing.T) {
			e := recipetest.New()
			s := &service{
				resource: resource, tenant: entratest.SampleTenant,
				claims: recipetest.Challenge,
			}
			use := open(t, e.Client(t, entra.CapabilityCAE), s)
			token, err := use(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(s.tokens) != 2 || s.tokens[0] == token || s.tokens[1] != token {
				t.Errorf("got %d requests with tokens, want 2, the second with the next token", len(s.tokens))
			}
			e.WantChallenge(t)
		})
	}
}

// A vault cannot choose the tenant of the token.
func TestOtherTenantIsRejected(t *testing.T) {
	e := recipetest.New()
	use := openSecrets(t, e.Client(t), &service{resource: recipetest.KeyVault, tenant: entratest.SampleOtherTenant})
	_, err := use(t.Context())
	if got := testkit.Error(t, err).Code; got != "invalid_request" {
		t.Errorf("got code %q, want invalid_request", got)
	}
	if n := e.TokenRequests(); n != 0 {
		t.Errorf("got %d token requests, want none", n)
	}
}
