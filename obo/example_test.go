package obo_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

// exampleClient returns a client for API A of a fake Entra.
func exampleClient(server *entratest.Server) *entra.Client {
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   server.App("api-a").ClientID,
		Credential: entra.Secret("api-a-secret"),
		HTTPClient: server.Client(), // the fake Entra; leave out HTTPClient in production
	})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// exampleVerifier returns a verifier for the tokens of an API of a fake Entra.
func exampleVerifier(server *entratest.Server, api string) *verify.Verifier {
	verifier, err := verify.New(verify.Config{
		Audiences:  []string{server.App(api).ClientID},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: server.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	return verifier
}

// All sources for one assertion share one token.
func ExampleTokenSource() {
	server := entratest.NewServer(entratest.Sample())
	client := exampleClient(server)
	// The token that API A was called with. Validate it before you exchange it.
	assertion := server.Mint(entratest.MintOptions{
		Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com",
	})
	for range 3 {
		source := obo.TokenSource(client, assertion, "api://api-b/Orders.Read")
		if _, err := source.Token(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("requests to Entra:", server.TokenRequests())
	// Output: requests to Entra: 1
}

// API A validates its caller's token and calls API B for the same user.
func ExampleForToken() {
	server := entratest.NewServer(entratest.Sample())

	apiB := httptest.NewTLSServer(exampleVerifier(server, "api-b").Middleware(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			token, _ := verify.TokenFromContext(r.Context())
			fmt.Fprintf(w, "orders of %s, with scope %v", token.Claims().Name, token.Claims().Scopes)
		})))
	defer apiB.Close()

	client := exampleClient(server)
	apiA := httptest.NewServer(exampleVerifier(server, "api-a").Middleware(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			caller, _ := verify.TokenFromContext(r.Context())
			source := obo.ForToken(client, caller, "api://api-b/Orders.Read")
			next := &http.Client{Transport: &entra.Transport{Source: source, Base: apiB.Client().Transport}}
			req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, apiB.URL, nil)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			resp, err := next.Do(req)
			if err != nil {
				http.Error(w, "API B is not available", http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			io.Copy(w, resp.Body)
		})))
	defer apiA.Close()

	req, err := http.NewRequest(http.MethodGet, apiA.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+server.Mint(entratest.MintOptions{
		Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com",
	}))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %s\n", resp.StatusCode, body)
	// Output: 200 orders of Alice Adams, with scope Orders.Read
}
