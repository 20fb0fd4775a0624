package entratest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// Test a daemon: it is configured as in production, but for its HTTP client,
// and the test sees what it asked Entra for.
func Example_daemon() {
	s := entratest.NewServer(entratest.Sample())
	daemon := s.App("daemon")

	client, err := entra.New(entra.Config{
		TenantID:   daemon.TenantID,
		ClientID:   daemon.ClientID,
		Credential: entra.Secret(daemon.Secrets[0]),
		HTTPClient: s.Client(),
	})
	if err != nil {
		panic(err)
	}
	source := clientcreds.TokenSource(client, "api://api-b/.default")
	for range 100 {
		if _, err := source.Token(); err != nil {
			panic(err)
		}
	}
	fmt.Println(s.TokenRequests(), "request")
	// Output:
	// 1 request
}

// Test an API: it fetches the keys from the fake, and gets tokens that are in
// order and tokens that are not.
func Example_api() {
	s := entratest.NewServer(entratest.Sample())
	verifier, err := verify.New(verify.Config{
		Audiences:  []string{s.App("api-a").ClientID},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: s.Client(),
	})
	if err != nil {
		panic(err)
	}
	api := verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	}))

	alice := entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"}
	forged := alice
	forged.UnpublishedKey = true
	for _, options := range []entratest.MintOptions{alice, forged} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+s.Mint(options))
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 401
}
