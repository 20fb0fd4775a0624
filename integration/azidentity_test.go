package integration_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra/entratest"
)

// azureOptions returns options with the authority and an HTTP client that trusts its certificate.
func (f *fake) azureOptions() azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: f.url},
		Transport: f.client,
	}
}

// federatedToken returns a token of the cluster that the app federatedID trusts.
func (f *fake) federatedToken(context.Context) (string, error) {
	return f.federatedTokenFor(10 * time.Minute)
}

func (f *fake) federatedTokenFor(lifetime time.Duration) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": federatedIssuer, "sub": federatedSubject, "aud": "api://AzureADTokenExchange",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}).SignedString(f.key)
}

func TestAzidentityForApps(t *testing.T) {
	f := newFake(t)
	for _, test := range []struct {
		name   string
		client string
		make   func() (azcore.TokenCredential, error)
	}{
		{"secret", daemonID, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(tenant, daemonID, daemonSecret,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: f.azureOptions(), DisableInstanceDiscovery: true})
		}},
		{"certificate", certID, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(tenant, certID, f.cert, f.key,
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: f.azureOptions(), DisableInstanceDiscovery: true})
		}},
		{"certificate by subject name and issuer", certSNIID, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(tenant, certSNIID, f.certChain, f.key,
				&azidentity.ClientCertificateCredentialOptions{
					ClientOptions: f.azureOptions(), DisableInstanceDiscovery: true, SendCertificateChain: true,
				})
		}},
		{"assertion", federatedID, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(tenant, federatedID, f.federatedToken,
				&azidentity.ClientAssertionCredentialOptions{ClientOptions: f.azureOptions(), DisableInstanceDiscovery: true})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			credential, err := test.make()
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{appScope}})
			if err != nil {
				t.Fatal(err)
			}
			f.wantApp(t, token.Token, test.client)
			if life := time.Until(token.ExpiresOn); life < 59*time.Minute || life > 91*time.Minute {
				t.Errorf("lifetime: got %v, want 60 to 90 minutes", life)
			}
			again, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{appScope}})
			if err != nil {
				t.Fatal(err)
			}
			if again.Token != token.Token {
				t.Error("second call: got a new token, want the cached one")
			}
		})
	}
}

func TestAzidentityOnBehalfOf(t *testing.T) {
	f := newFake(t)
	assertion := f.aliceAtAPIA(t)
	credential, err := azidentity.NewOnBehalfOfCredentialWithSecret(tenant, apiAID, assertion, apiASecret,
		&azidentity.OnBehalfOfCredentialOptions{ClientOptions: f.azureOptions(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{ordersScope}})
	if err != nil {
		t.Fatal(err)
	}
	f.wantAlice(t, token.Token, apiBID, apiAID, "Orders.Read")
}

// With the in-process client, azidentity uses the authority of the public cloud. It requests instance discovery, the
// endpoints, and a token.
func TestAzidentityInProcess(t *testing.T) {
	server := entratest.NewServer(entratest.Sample())
	credential, err := azidentity.NewClientSecretCredential(tenant, daemonID, daemonSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: server.Client()}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{appScope}})
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(token.ExpiresOn); life < 59*time.Minute || life > 91*time.Minute {
		t.Errorf("lifetime: got %v, want 60 to 90 minutes", life)
	}
	for _, endpoint := range []string{"instance", "discovery", "token"} {
		if n := server.Count(entratest.Match{Endpoint: endpoint}); n != 1 {
			t.Errorf("requests to %s: got %d, want 1", endpoint, n)
		}
	}
}

func TestAzidentityReportsRejections(t *testing.T) {
	f := newFake(t)
	assertion := f.aliceAtAPIA(t)
	options := f.azureOptions()
	options.Retry.MaxRetries = -1
	for _, test := range []struct {
		name   string
		scope  string
		want   string // as in Microsoft's documentation
		status int
		make   func() (azcore.TokenCredential, error)
	}{
		{"wrong secret", appScope, "AADSTS7000215", http.StatusUnauthorized, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(tenant, daemonID, "not-the-secret",
				&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}},
		{"unknown app", appScope, "AADSTS700016", http.StatusBadRequest, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(tenant, "aaaaaaaa-0000-4000-8000-000000000999", "secret",
				&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}},
		{"certificate of another app", appScope, "AADSTS700027", http.StatusUnauthorized,
			func() (azcore.TokenCredential, error) {
				return azidentity.NewClientCertificateCredential(tenant, certSNIID, f.cert, f.key,
					&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
			}},
		{"no consent for the next API", "api://api-b/Orders.Write", "AADSTS65001", http.StatusBadRequest,
			func() (azcore.TokenCredential, error) {
				return azidentity.NewOnBehalfOfCredentialWithSecret(tenant, apiAID, assertion, apiASecret,
					&azidentity.OnBehalfOfCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			credential, err := test.make()
			if err != nil {
				t.Fatal(err)
			}
			_, err = credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{test.scope}})
			var failed *azidentity.AuthenticationFailedError
			if !errors.As(err, &failed) {
				t.Fatalf("got error %v, want an AuthenticationFailedError", err)
			}
			if failed.RawResponse == nil || failed.RawResponse.StatusCode != test.status {
				t.Errorf("got response %v, want status %d", failed.RawResponse, test.status)
			}
			if !strings.Contains(err.Error(), test.want+":") {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

// azidentity declares the capability as CP1, in capitals. A resource with continuous access evaluation then issues
// tokens for a day.
func TestAzidentityContinuousAccess(t *testing.T) {
	f := newFake(t, func(estate *entratest.Config) {
		for i := range estate.Apps {
			estate.Apps[i].ContinuousAccess = estate.Apps[i].ClientID == apiBID
		}
	})
	credential, err := azidentity.NewClientSecretCredential(tenant, daemonID, daemonSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: f.azureOptions(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		enable   bool
		min, max time.Duration
	}{
		{false, 59 * time.Minute, 91 * time.Minute},
		{true, 23 * time.Hour, 28 * time.Hour},
	} {
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{appScope},
			EnableCAE: test.enable})
		if err != nil {
			t.Fatal(err)
		}
		if life := time.Until(token.ExpiresOn); life < test.min || life > test.max {
			t.Errorf("EnableCAE %v: got lifetime %v, want %v to %v", test.enable, life, test.min, test.max)
		}
	}
}
