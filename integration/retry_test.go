package integration_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
)

// A stumbling transport lets the first token request fail and counts all of them.
type stumbling struct {
	base     http.RoundTripper
	status   int // of the failure; if 0, the connection breaks
	header   http.Header
	requests atomic.Int64
}

func (s *stumbling) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || s.requests.Add(1) > 1 {
		return s.base.RoundTrip(req)
	}
	if s.status == 0 {
		return nil, errors.New("connection reset by peer")
	}
	return &http.Response{
		StatusCode: s.status, Header: s.header.Clone(), Body: io.NopCloser(strings.NewReader("{}")), Request: req,
	}, nil
}

// A failure that azidentity survives does not reach our callers either.
func TestPassingFailureNextToPeers(t *testing.T) {
	f := newFake(t)
	assertion := f.Mint(entratest.MintOptions{Host: f.host, Resource: "api-a", Client: "webapp", User: alice})
	for _, failure := range []struct {
		name   string
		status int
		header http.Header
	}{
		{"503", 503, http.Header{}},
		{"504", 504, http.Header{}},
		{"dropped connection", 0, nil},
		{"429 with Retry-After: 1", 429, http.Header{"Retry-After": {"1"}}},
	} {
		for _, flow := range []string{"client credentials", "on-behalf-of"} {
			app, secret := daemonID, daemonSecret
			if flow == "on-behalf-of" {
				app, secret = apiAID, apiASecret
			}
			outcome := func(call func(context.Context, *http.Client) error) (int64, error) {
				s := &stumbling{base: f.client.Transport, status: failure.status, header: failure.header}
				err := call(t.Context(), &http.Client{Transport: s})
				return s.requests.Load(), err
			}
			ours, ourErr := outcome(func(ctx context.Context, c *http.Client) error {
				client, err := entra.New(entra.Config{
					TenantID: tenant, ClientID: app, Credential: entra.Secret(secret), Cloud: entra.Cloud(f.host), HTTPClient: c,
				})
				if err != nil {
					return err
				}
				source := clientcreds.TokenSource(client, appScope)
				if flow == "on-behalf-of" {
					source = obo.TokenSource(client, assertion, ordersScope)
				}
				_, err = source.TokenContext(ctx)
				return err
			})
			azure, azureErr := outcome(func(ctx context.Context, c *http.Client) error {
				options := azcore.ClientOptions{
					Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: f.url}, Transport: c,
				}
				var credential azcore.TokenCredential
				var err error
				scope := appScope
				if flow == "on-behalf-of" {
					scope = ordersScope
					credential, err = azidentity.NewOnBehalfOfCredentialWithSecret(tenant, app, assertion, secret,
						&azidentity.OnBehalfOfCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
				} else {
					credential, err = azidentity.NewClientSecretCredential(tenant, app, secret,
						&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
				}
				if err != nil {
					return err
				}
				_, err = credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
				return err
			})
			msal, msalErr := outcome(func(ctx context.Context, c *http.Client) error {
				credential, err := confidential.NewCredFromSecret(secret)
				if err != nil {
					return err
				}
				client, err := confidential.New(f.authority(), app, credential, confidential.WithHTTPClient(c),
					confidential.WithInstanceDiscovery(false))
				if err != nil {
					return err
				}
				if flow == "on-behalf-of" {
					_, err = client.AcquireTokenOnBehalfOf(ctx, assertion, []string{ordersScope})
				} else {
					_, err = client.AcquireTokenByCredential(ctx, []string{appScope})
				}
				return err
			})
			t.Logf("%s, %s: token requests and success: entra %d %t, azidentity %d %t, MSAL Go %d %t", failure.name, flow,
				ours, ourErr == nil, azure, azureErr == nil, msal, msalErr == nil)
			if ourErr != nil && azureErr == nil || ours != 2 {
				t.Errorf("%s, %s: got %v after %d requests, want a token after 2, as azidentity has", failure.name, flow, ourErr,
					ours)
			}
		}
	}
}
