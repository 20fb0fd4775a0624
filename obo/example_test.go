package obo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
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

// sharingClient returns a client for API A that shares its tokens with other processes.
func sharingClient(server *entratest.Server, store cache.Store) *entra.Client {
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   server.App("api-a").ClientID,
		Credential: entra.Secret("api-a-secret"),
		HTTPClient: server.Client(), // the fake Entra; leave out HTTPClient in production
		Cache: cache.New(cache.Options{
			Store: store,
			Keys:  []cache.SealKey{cache.NewSealKey([]byte("32 random bytes of a secret file"))},
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// beginJob returns a delegation for Alice, as a handler of API A would.
func beginJob(server *entratest.Server, client *entra.Client) obo.Delegation {
	caller, err := exampleVerifier(server, "api-a").Verify(context.Background(), server.Mint(entratest.MintOptions{
		Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com",
	}))
	if err != nil {
		log.Fatal(err)
	}
	d, err := obo.Begin(context.Background(), client, caller, "api://api-b/Orders.Read")
	if err != nil {
		log.Fatal(err)
	}
	return d
}

// The handler of an API begins a delegation and stores it with the job that a worker will run.
func ExampleBegin() {
	server := entratest.NewServer(entratest.Sample())
	client := sharingClient(server, storetest.NewMemory()) // redisstore or postgresstore in production
	jobs := make(chan []byte, 1)                           // a queue to which only the app has access

	handler := exampleVerifier(server, "api-a").Middleware(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			caller, _ := verify.TokenFromContext(r.Context())
			d, err := obo.Begin(r.Context(), client, caller, "api://api-b/Orders.Read")
			if obo.WriteError(w, err) {
				return
			}
			job, err := json.Marshal(d)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			jobs <- job
			w.WriteHeader(http.StatusAccepted)
		}))

	r := httptest.NewRequest(http.MethodPost, "/reports", nil)
	r.Header.Set("Authorization", "Bearer "+server.Mint(entratest.MintOptions{
		Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com",
	}))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)

	var d obo.Delegation
	if err := json.Unmarshal(<-jobs, &d); err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Code, "for", d.ObjectID)
	// Output: 202 for aaaaaaaa-1111-4000-8000-00000000a11c
}

// A worker resumes the delegation in another process. It needs the credential of the API and the store.
func ExampleResume() {
	server, store := entratest.NewServer(entratest.Sample()), storetest.NewMemory()
	d := beginJob(server, sharingClient(server, store)) // in the API

	worker := sharingClient(server, store)
	source := obo.Resume(worker, d, "api://api-b/Orders.Read")
	_, err := source.Token()
	switch e, ok := errors.AsType[*entra.Error](err); {
	case err == nil:
		fmt.Println("token requests of API and worker:", server.TokenRequests())
	case ok && e.InteractionRequired():
		fmt.Println("stop the job until the user calls the API again")
	default:
		fmt.Println("try again later:", err)
	}
	// Output: token requests of API and worker: 1
}

// After the last use, the worker ends the delegation for all processes.
func ExampleEnd() {
	server, store := entratest.NewServer(entratest.Sample()), storetest.NewMemory()
	api, worker := sharingClient(server, store), sharingClient(server, store)
	d := beginJob(server, api)
	if err := obo.End(context.Background(), worker, d); err != nil {
		log.Fatal(err)
	}
	_, err := obo.Resume(api, d, "api://api-b/Orders.Read").Token()
	fmt.Println(errors.Is(err, obo.ErrEnded))
	// Output: true
}
