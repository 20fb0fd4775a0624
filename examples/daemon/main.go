// Daemon calls an API as itself, with the client credentials flow: no user is there, and
// the token has the app roles that an administrator granted to the app.
//
// With these in the environment it is an app of a live tenant:
//
//	AZURE_TENANT_ID, AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or another credential
//	               that credentials.FromEnvironment knows
//	ENTRA_SCOPE    the default scope of an API; unset: https://graph.microsoft.com/.default
//	ENTRA_API_URL  an address of that API to GET; unset: only a token is got
//
// Without the first two it runs against a fake Entra and a fake API in its own process.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "daemon:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	config, live, err := settings()
	if err != nil {
		return err
	}
	scope, url := cmp.Or(os.Getenv("ENTRA_SCOPE"), "https://graph.microsoft.com/.default"), os.Getenv("ENTRA_API_URL")
	var network http.RoundTripper // nil: http.DefaultTransport
	if live {
		fmt.Fprintf(out, "The tenant is live: %s.\n", config.TenantID)
	} else {
		fmt.Fprintln(out, "The tenant is a fake in this process; set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.")
		fakeConfig, api, err := fake()
		if err != nil {
			return err
		}
		defer api.Close()
		config, scope, url, network = fakeConfig, "api://api-b/.default", api.URL, api.Client().Transport
	}

	client, err := entra.New(config) // once, for the life of the program
	if err != nil {
		return err
	}
	source := clientcreds.TokenSource(client, scope)
	token, err := source.TokenContext(ctx) // a wrong setting shows here
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The app has a token for %s, for %.0f minutes.\n", scope, time.Until(token.Expiry).Minutes())
	if url == "" {
		return nil
	}

	// The transport puts a token on each request, and gets a new one before the old one ends.
	api := &http.Client{Transport: &entra.Transport{Source: source, Base: network}, Timeout: 30 * time.Second}
	const calls = 3
	for range calls {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := api.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "The API answers %s: %s\n", resp.Status, strings.TrimSpace(string(body)))
	}
	fmt.Fprintf(out, "%d calls, %d request for a token.\n", calls, client.Cache().Stats().Fetches)
	return nil
}

// settings reads the app's registration and its credential from the environment. live is
// false if there is none.
func settings() (config entra.Config, live bool, err error) {
	if os.Getenv("AZURE_TENANT_ID") == "" && os.Getenv("AZURE_CLIENT_ID") == "" {
		return entra.Config{}, false, nil
	}
	config, err = credentials.FromEnvironment(nil)
	return config, true, err
}

// fake makes a tenant with this daemon in it, and an API that lets it in. A program of
// your own does without it, except in its tests.
func fake() (entra.Config, *httptest.Server, error) {
	tenant := entratest.NewServer(entratest.Sample())
	daemon, api := tenant.App("daemon"), tenant.App("api-b")
	verifier, err := verify.New(verify.Config{
		Audiences: []string{api.ClientID, api.AppIDURI}, Tenants: []string{api.TenantID}, HTTPClient: tenant.Client(),
	})
	if err != nil {
		return entra.Config{}, nil, err
	}
	orders := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "1017 Ladder, 1018 Rope") }
	server := httptest.NewTLSServer(verifier.Middleware(verify.RequireRole("Orders.Read.All")(http.HandlerFunc(orders))))
	return entra.Config{
		TenantID: daemon.TenantID, ClientID: daemon.ClientID, Credential: entra.Secret(daemon.Secrets[0]), HTTPClient: tenant.Client(),
	}, server, nil
}
