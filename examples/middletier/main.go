// Middletier is an API that calls the next API on behalf of the user of its caller. It
// validates the caller's token, requires a scope, and exchanges the token with the
// on-behalf-of flow.
//
// It runs as an API of a live tenant if these environment variables are set. It then serves
// until interrupted, in plain HTTP and only on this machine. Put a TLS proxy in front of it.
//
//	AZURE_TENANT_ID (the ID, not a domain), AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or
//	               another credential that credentials.FromEnvironment supports
//	ENTRA_REQUIRED_SCOPE  the scope that callers need (default access_as_user)
//	ENTRA_SCOPE           the scope of the next API (default https://graph.microsoft.com/User.Read)
//	ENTRA_API_URL         the URL of the next API (default https://graph.microsoft.com/v1.0/me)
//
// Without the first two it runs against a fake Entra and a fake next API in its own process,
// calls itself as a web app would, and exits.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "middletier:", err)
		os.Exit(1)
	}
}

// api is the middle tier.
type api struct {
	client  *entra.Client // the API's own app registration
	scope   string        // of the next API
	next    string        // the URL of the next API
	network http.RoundTripper
}

// newAPI returns the middle tier, which accepts only callers with a valid token and the scope.
func newAPI(config entra.Config, required, scope, next string, network http.RoundTripper) (http.Handler, error) {
	client, err := entra.New(config) // create it once
	if err != nil {
		return nil, err
	}
	verifier, err := verify.New(verify.Config{
		Audiences:  []string{config.ClientID, "api://" + config.ClientID}, // of v2.0 and v1.0 tokens
		Tenants:    []string{config.TenantID},
		HTTPClient: config.HTTPClient,
	})
	if err != nil {
		return nil, err
	}
	return verifier.Middleware(verify.RequireScope(required)(&api{client, scope, next, network})), nil
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller, ok := verify.TokenFromContext(r.Context())
	if !ok { // the handler was not wrapped in Verifier.Middleware
		http.Error(w, "the caller's token was not validated", http.StatusInternalServerError)
		return
	}
	// A token must be exchanged in its own tenant. An API of one tenant can use a.client.
	client, err := a.client.WithTenant(caller.Claims().TenantID)
	if err != nil {
		writeError(w, err)
		return
	}
	source := obo.ForToken(client, caller, a.scope)
	next := &http.Client{Transport: &entra.Transport{Source: source, Base: a.network}, Timeout: 30 * time.Second}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, a.next, nil)
	if err != nil {
		writeError(w, err)
		return
	}
	resp, err := next.Do(req)
	if err != nil {
		writeError(w, err)
		return
	}
	defer resp.Body.Close()
	if claims, ok := entra.ClaimsChallenge(resp.Header); ok { // the user's token does not satisfy a policy
		writeError(w, &entra.Error{Code: "interaction_required", Claims: claims})
		return
	}
	if resp.StatusCode != http.StatusOK {
		writeError(w, errors.New("the next API returned "+resp.Status))
		return
	}
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.Copy(w, resp.Body) // fails only if the caller disconnects
}

// writeError tells the caller how it can react to err. An API cannot prompt the user, but its
// caller can.
func writeError(w http.ResponseWriter, err error) {
	slog.Warn("call of the next API failed", "error", err) // errors of entra contain no secrets
	obo.WriteError(w, err)
}

func run(ctx context.Context, out io.Writer) error {
	required := cmp.Or(os.Getenv("ENTRA_REQUIRED_SCOPE"), "access_as_user")
	config, live, err := settings()
	switch {
	case err != nil:
		return err
	case !live:
		fmt.Fprintln(out, "The tenant is a fake in this process; "+
			"set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.")
		return runFake(ctx, out)
	}
	fmt.Fprintf(out, "The tenant is live: %s.\n", config.TenantID)
	handler, err := newAPI(config, required, cmp.Or(os.Getenv("ENTRA_SCOPE"), "https://graph.microsoft.com/User.Read"),
		cmp.Or(os.Getenv("ENTRA_API_URL"), "https://graph.microsoft.com/v1.0/me"), nil)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: "localhost:8081", Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	fmt.Fprintf(out, "The API listens at http://%s for callers with the scope %s.\n", server.Addr, required)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
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

// runFake calls the API once without a token and once with a user's token. Your own program
// needs this only in its tests.
func runFake(ctx context.Context, out io.Writer) error {
	tenant := entratest.NewServer(entratest.Sample())
	own, last := tenant.App("api-a"), tenant.App("api-b")
	verifier, err := verify.New(verify.Config{
		Audiences:  []string{last.ClientID},
		Tenants:    []string{last.TenantID},
		HTTPClient: tenant.Client(),
	})
	if err != nil {
		return err
	}
	orders := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "1017 Ladder, 1018 Rope") }
	next := httptest.NewTLSServer(verifier.Middleware(verify.RequireScope("Orders.Read")(http.HandlerFunc(orders))))
	defer next.Close()
	config := entra.Config{
		TenantID:   own.TenantID,
		ClientID:   own.ClientID,
		Credential: entra.Secret(own.Secrets[0]),
		HTTPClient: tenant.Client(),
	}
	handler, err := newAPI(config, "access_as_user", "api://api-b/Orders.Read", next.URL, next.Client().Transport)
	if err != nil {
		return err
	}
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	alice := tenant.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})
	for _, call := range []struct{ name, token string }{{"without a token", ""}, {"with Alice's token", alice}} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			return err
		}
		if call.token != "" {
			req.Header.Set("Authorization", "Bearer "+call.token)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "A call %s returned %s: %s", call.name, resp.Status, body)
	}
	return nil
}
