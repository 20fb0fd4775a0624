// Daemon calls an API as itself, with the client credentials flow: no user is there, and
// the token has the app roles that an administrator granted to the app.
//
// Without settings it runs against a fake Entra and a fake API in its own process. With
// these in the environment it is an app of a real tenant:
//
//	ENTRA_TENANT_ID, ENTRA_CLIENT_ID, ENTRA_CLIENT_SECRET
//	ENTRA_SCOPE    the default scope of an API; unset: https://graph.microsoft.com/.default
//	ENTRA_API_URL  an address of that API to GET as JSON; unset: only a token is got
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/examples/internal/contoso"
	"github.com/entratoken/entra/examples/internal/hops"
	"github.com/entratoken/entra/examples/internal/live"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "daemon:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	config, isLive := live.Config()
	scope, api := live.Get("ENTRA_SCOPE", "https://graph.microsoft.com/.default"), os.Getenv("ENTRA_API_URL")
	var network http.RoundTripper // nil: http.DefaultTransport
	if !isLive {
		company, err := contoso.Start()
		if err != nil {
			return err
		}
		defer company.Stop()
		config, scope, api, network = company.Config("daemon"), contoso.OrdersAll, company.Orders, company.Network
	}

	client, err := entra.New(config)
	if err != nil {
		return err
	}
	source := clientcreds.TokenSource(client, scope)
	for range 2 { // the second time the token is held
		start := time.Now()
		if _, err := source.TokenContext(ctx); err != nil {
			return err
		}
		token := hops.TokenOf(clientcreds.FlowName, source)
		from := "the cache"
		if token.Obtained.After(start) {
			from = "Entra"
		}
		fmt.Fprintf(out, "A token for %s from %s, which lives for %.0f minutes.\n", scope, from, token.Expires.Sub(token.Obtained).Minutes())
		if api == "" {
			continue
		}
		answer, err := hops.Get(ctx, source, network, api)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "The API answers: %s\n", answer)
	}
	return nil
}
