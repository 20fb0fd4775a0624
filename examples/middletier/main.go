// Middletier is an API that calls the next API for the user that it was called for, with the
// on-behalf-of flow. It validates its caller's token, requires a scope, and exchanges the
// token.
//
// Without settings it runs against a fake Entra with a fake next API, calls itself once as
// a web app would, and ends. With these in the environment it is an API of a real tenant
// and serves until interrupted:
//
//	ENTRA_TENANT_ID (the ID, not a domain), ENTRA_CLIENT_ID, ENTRA_CLIENT_SECRET
//	ENTRA_REQUIRED_SCOPE  the scope that callers need; unset: access_as_user
//	ENTRA_SCOPE           the scope of the next API; unset: https://graph.microsoft.com/User.Read
//	ENTRA_API_URL         the next API; unset: https://graph.microsoft.com/v1.0/me
//
// It speaks plain HTTP on this machine alone: outside of it, put TLS in front.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/internal/apis"
	"github.com/entratoken/entra/examples/internal/contoso"
	"github.com/entratoken/entra/examples/internal/live"
	"github.com/entratoken/entra/verify"
)

func main() {
	addr := flag.String("addr", "localhost:8081", "where the API of a real tenant listens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "middletier:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, addr string) error {
	config, isLive := live.Config()
	api := &apis.MiddleTier{
		Scope:    live.Get("ENTRA_REQUIRED_SCOPE", "access_as_user"),
		NextWant: live.Get("ENTRA_SCOPE", "https://graph.microsoft.com/User.Read"),
		Next:     live.Get("ENTRA_API_URL", "https://graph.microsoft.com/v1.0/me"),
	}
	call := func(string) error { <-ctx.Done(); return nil }
	if !isLive {
		company, err := contoso.Start()
		if err != nil {
			return err
		}
		defer company.Stop()
		config, addr = company.Config("api-a"), "localhost:0"
		api.NextWant, api.Next, api.Base = contoso.OrdersScope, company.Orders, company.Network
		call = func(url string) error { return callAsWebApp(ctx, out, company, url) }
	}

	var err error
	if api.Client, err = entra.New(config); err != nil {
		return err
	}
	api.Verifier, err = verify.New(verify.Config{
		Audiences: []string{config.ClientID}, Tenants: []string{config.TenantID}, Cloud: config.Cloud, HTTPClient: config.HTTPClient,
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: api.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	defer server.Close()
	url := "http://" + l.Addr().String() + "/desk"
	fmt.Fprintf(out, "The API serves %s to callers with the scope %s and calls %s for them.\n", url, api.Scope, api.Next)
	return call(url)
}

// callAsWebApp calls the API once without and once with a user's token.
func callAsWebApp(ctx context.Context, out io.Writer, company *contoso.Contoso, url string) error {
	token := company.Entra.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})
	for _, authorization := range []string{"", "Bearer " + token} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		who := "Alice"
		if authorization == "" {
			who = "nobody"
		}
		fmt.Fprintf(out, "Called for %s it answers %s: %s", who, resp.Status, body)
		if want := map[string]int{"Alice": http.StatusOK, "nobody": http.StatusUnauthorized}[who]; resp.StatusCode != want {
			return fmt.Errorf("called for %s it should have answered with status %d", who, want)
		}
	}
	return nil
}
