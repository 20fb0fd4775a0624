// Daemon calls an API as itself, without a user, with the client credentials flow. Its token
// carries the app roles that an administrator granted to the app.
//
// It runs as an app of a live tenant if these environment variables are set:
//
//	AZURE_TENANT_ID, AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or another credential
//	               that credentials.FromEnvironment supports
//	ENTRA_SCOPE    the default scope of an API (default https://graph.microsoft.com/.default)
//	ENTRA_API_URL  a URL of that API to GET; if not set, the daemon only acquires a token
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
	var network http.RoundTripper // if nil, http.DefaultTransport is used
	if live {
		fmt.Fprintf(out, "The tenant is live: %s.\n", config.TenantID)
	} else {
		fmt.Fprintln(out, "The tenant is a fake in this process; "+
			"set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.")
		fakeConfig, api, err := fake()
		if err != nil {
			return err
		}
		defer api.Close()
		config, scope, url, network = fakeConfig, "api://api-b/.default", api.URL, api.Client().Transport
	}

	client, err := entra.New(config) // create it once
	if err != nil {
		return err
	}
	source := clientcreds.TokenSource(client, scope)
	token, err := source.TokenContext(ctx) // a wrong configuration causes an error here
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Acquired a token for %s. It expires in %.0f minutes.\n", scope,
		time.Until(token.Expiry).Minutes())
	if url == "" {
		return nil
	}

	// The transport adds a token to each request and refreshes it before it expires.
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
		fmt.Fprintf(out, "The API returned %s: %s\n", resp.Status, strings.TrimSpace(string(body)))
	}
	fmt.Fprintf(out, "Calls: %d. Token requests: %d.\n", calls, client.Cache().Stats().Fetches)
	return nil
}

// settings reads the app registration and its credential from the environment. live is false
// if the environment does not name an app.
func settings() (config entra.Config, live bool, err error) {
	if os.Getenv("AZURE_TENANT_ID") == "" && os.Getenv("AZURE_CLIENT_ID") == "" {
		return entra.Config{}, false, nil
	}
	config, err = credentials.FromEnvironment(nil)
	return config, true, err
}

// fake creates a tenant with this daemon and an API that accepts it. Your own program needs
// this only in its tests.
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
	requireRole := verify.RequireRole("Orders.Read.All")
	server := httptest.NewTLSServer(verifier.Middleware(requireRole(http.HandlerFunc(orders))))
	return entra.Config{
		TenantID:   daemon.TenantID,
		ClientID:   daemon.ClientID,
		Credential: entra.Secret(daemon.Secrets[0]),
		HTTPClient: tenant.Client(),
	}, server, nil
}
