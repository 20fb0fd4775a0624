package bench_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
)

// newEntra returns a client of this project.
func newEntra(t testing.TB, e *endpoint, tokens *cache.Cache) *entra.Client {
	t.Helper()
	c, err := entra.New(entra.Config{
		TenantID: tenant, ClientID: clientID, Credential: entra.Secret("s"), HTTPClient: e.client(), Cache: tokens,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newMSAL returns a client of MSAL Go, which callers reuse as its documentation recommends.
func newMSAL(t testing.TB, e *endpoint) confidential.Client {
	t.Helper()
	credential, err := confidential.NewCredFromSecret("s")
	if err != nil {
		t.Fatal(err)
	}
	c, err := confidential.New(authority, clientID, credential,
		confidential.WithHTTPClient(e.client()), confidential.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newMSALHolding returns a client of MSAL Go with a number of cached tokens for different scopes.
func newMSALHolding(t testing.TB, tokens int) confidential.Client {
	t.Helper()
	c := newMSAL(t, &endpoint{})
	for i := range tokens {
		// With claims, MSAL does not search its cache first, but stores the new token.
		_, err := c.AcquireTokenByCredential(context.Background(), []string{numbered(i)}, confidential.WithClaims(`{"a":{}}`))
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func numbered(i int) string { return fmt.Sprintf("api://next-%d/.default", i) }

// newAzidentity returns a credential that allows all tenants and does not retry.
func newAzidentity(t testing.TB, e *endpoint) *azidentity.ClientSecretCredential {
	t.Helper()
	o := azcore.ClientOptions{Transport: e.client()}
	o.Retry.MaxRetries = -1
	c, err := azidentity.NewClientSecretCredential(tenant, clientID, "s", &azidentity.ClientSecretCredentialOptions{
		ClientOptions: o, DisableInstanceDiscovery: true, AdditionallyAllowedTenants: []string{"*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func getToken(ctx context.Context, c *azidentity.ClientSecretCredential, tenantID string) error {
	_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: tenantID})
	return err
}

// provider is a source for peers that do not support Entra. Its tokens live for an hour.
type provider func(context.Context) error

// Token implements [auth.TokenProvider].
func (p provider) Token(ctx context.Context) (*auth.Token, error) {
	if err := p(ctx); err != nil {
		return nil, err
	}
	return &auth.Token{Value: "token", Expiry: time.Now().Add(time.Hour)}, nil
}

// Retrieve implements [aws.CredentialsProvider].
func (p provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if err := p(ctx); err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(time.Hour)},
		nil
}

// source is a provider for x/oauth2.
type source func() error

// Token implements [oauth2.TokenSource].
func (s source) Token() (*oauth2.Token, error) {
	if err := s(); err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: "token", Expiry: time.Now().Add(time.Hour)}, nil
}

func newGoogle(p provider) auth.TokenProvider { return auth.NewCachedTokenProvider(p, nil) }
func newAWS(p provider) *aws.CredentialsCache { return aws.NewCredentialsCache(p) }
func newXOAuth2(s source) oauth2.TokenSource  { return oauth2.ReuseTokenSource(nil, s) }
