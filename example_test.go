package entra_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

func ExampleNew() {
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-4111-8111-111111111111",
		ClientID:   "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: entra.Secret("copied with a line feed\n"),
	})
	fmt.Println(client, err)
	client, err = entra.New(entra.Config{
		TenantID:   "11111111-1111-4111-8111-111111111111",
		ClientID:   "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: entra.Secret("value"),
	})
	fmt.Println(client, err)
	// Output:
	// <nil> entra: invalid_client: the client secret contains a control character, such as a line feed, or invalid UTF-8; it must be the secret's Value and nothing else
	// entra.Client{https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111 client=aaaaaaaa-0000-4000-8000-00000000000d} <nil>
}

// A certificate and its key from a PEM file that is read once. CertificateFile in package
// credentials reads a file again when it changes.
func ExampleCertificate() {
	pem, err := os.ReadFile("/etc/daemon/certificate.pem")
	if err != nil {
		log.Fatal(err)
	}
	certs, key, err := confidential.CertFromPEM(pem, "") // from MSAL
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-4111-8111-111111111111",
		ClientID:   "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: entra.Certificate(certs, key, nil),
	})
	_, _ = client, err
}

// A token that Kubernetes projects into the pod and renews there.
func ExampleAssertion() {
	client, err := entra.New(entra.Config{
		TenantID: os.Getenv("AZURE_TENANT_ID"),
		ClientID: os.Getenv("AZURE_CLIENT_ID"),
		Credential: entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			b, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
			return string(b), err
		}),
	})
	_, _ = client, err
}

// The response of an API whose token for the next API could not be acquired.
func ExampleError() {
	writeError := func(w http.ResponseWriter, err error) {
		var e *entra.Error
		switch {
		case !errors.As(err, &e): // the caller's context has ended
			w.WriteHeader(http.StatusServiceUnavailable)
		case e.InteractionRequired():
			entra.SetClaimsChallenge(w.Header(), e.Claims)
			w.WriteHeader(http.StatusUnauthorized)
		case e.Temporary():
			w.Header().Set("Retry-After", strconv.Itoa(int(max(e.RetryAfter, time.Second).Seconds())))
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			slog.Error("no token for the next API", "error", e) // a fault of this API; e, not err, has no names of users
			w.WriteHeader(http.StatusBadGateway)
		}
	}
	_ = writeError
}

// One app in two tenants: two tokens, one cache.
func ExampleClient_WithTenant() {
	fake := entratest.NewServer(entratest.Sample()) // in production, leave HTTPClient nil
	contoso, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("daemon").ClientID,
		Credential: entra.Secret(fake.App("daemon").Secrets[0]),
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fabrikam, err := contoso.WithTenant(entratest.SampleOtherTenant)
	if err != nil {
		log.Fatal(err)
	}
	for range 10 {
		for _, client := range []*entra.Client{contoso, fabrikam} {
			if _, err := clientcreds.TokenSource(client, "api://api-b/.default").Token(); err != nil {
				log.Fatal(err)
			}
		}
	}
	s := contoso.Cache().Stats()
	fmt.Printf("%d sessions, %d requests, %d hits\n", s.Sessions, s.Fetches, s.Hits)
	// Output: 2 sessions, 2 requests, 18 hits
}

// A custom flow. Its own failures are *entra.Error values.
func ExampleClient_TokenSource() {
	fake := entratest.NewServer(entratest.Sample())
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("api-a").ClientID,
		Credential: entra.Secret(fake.App("api-a").Secrets[0]),
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	vault := func() (assertion string, err error) { return "", errors.New("the vault is sealed") }
	scopes := []string{"api://api-b/Orders.Read"}
	source := client.TokenSource(entra.Grant{
		Flow:    "vault",
		Subject: "the user whose assertion is in the vault",
		Scopes:  scopes,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			assertion, err := vault()
			if err != nil {
				return nil, &entra.Error{Code: "temporarily_unavailable", Description: err.Error(), Err: err}
			}
			return r.OnBehalfOf(ctx, assertion)
		},
	})
	_, err = source.Token()
	fmt.Println(err)
	// Output: entra: temporarily_unavailable: the vault is sealed
}

// A fake Entra that listens on a port for other processes.
func ExampleCloud() {
	fake := entratest.NewServer(entratest.Sample())
	address, ca, stop := fake.StartTLS()
	defer stop()
	u, err := url.Parse(address)
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("daemon").ClientID,
		Credential: entra.Secret(fake.App("daemon").Secrets[0]),
		Cloud:      entra.Cloud(u.Host),
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}},
			Timeout: 30 * time.Second},
	})
	if err != nil {
		log.Fatal(err)
	}
	tok, err := clientcreds.TokenSource(client, "api://api-b/.default").Token()
	fmt.Println(tok.Type(), err)
	// Output: Bearer <nil>
}

// A client of an API. The token is added to each request, and claims challenges are handled.
func ExampleTransport() {
	fake := entratest.NewServer(entratest.Sample())
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("daemon").ClientID,
		Credential: entra.Secret(fake.App("daemon").Secrets[0]),
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	orders := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Fprintf(w, "authorized with a %s token", scheme)
	}))
	defer orders.Close()

	api := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &entra.Transport{
			Source: clientcreds.TokenSource(client, "api://api-b/.default"),
			Base:   orders.Client().Transport, // trusts the test server; if nil, http.DefaultTransport is used
		},
	}
	resp, err := api.Get(orders.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
	// Output: authorized with a Bearer token
}

// A resource rejects a token until the user has used a second factor. The claims are for
// TokenSource.WithClaims, or for a new sign-in.
func ExampleClaimsChallenge() {
	resp := httptest.NewRecorder()
	entra.SetClaimsChallenge(resp.Header(), `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`)
	resp.WriteHeader(http.StatusUnauthorized)

	claims, ok := entra.ClaimsChallenge(resp.Result().Header)
	fmt.Println(ok, claims)
	// Output: true {"access_token":{"acrs":{"essential":true,"value":"c1"}}}
}
