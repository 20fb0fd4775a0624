// Webapp signs users in with the authorization code flow and calls an API for them. The web
// app itself is in the package site, beside this one; here it is put together.
//
// With these in the environment it is an app of a live tenant, with the redirect URIs
// http://localhost:8080/callback and http://localhost:8080/ (for signing out) of the
// platform "Web":
//
//	ENTRA_TENANT_ID (the ID, not a domain), ENTRA_CLIENT_ID, ENTRA_CLIENT_SECRET
//	ENTRA_SCOPE    the API's scope; unset: https://graph.microsoft.com/User.Read
//	ENTRA_API_URL  the API, which answers JSON; unset: https://graph.microsoft.com/v1.0/me
//
// Without the first three it runs against a fake Entra and fake APIs in its own process,
// whose sign-in page is on this machine.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/internal/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "where the web app listens, on this machine")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves the web app until ctx ends.
func run(ctx context.Context, out io.Writer, addr string) error {
	config, live, err := settings()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	app := site.Config{URL: "http://localhost:" + port, API: cmp.Or(os.Getenv("ENTRA_API_URL"), "https://graph.microsoft.com/v1.0/me")}
	scope, hint := cmp.Or(os.Getenv("ENTRA_SCOPE"), "https://graph.microsoft.com/User.Read"), "sign in with an account of your tenant"

	browser := func(h http.Handler) (http.Handler, func(), error) { return h, func() {}, nil }
	if live {
		fmt.Fprintf(out, "The tenant is live: %s.\n", config.TenantID)
	} else {
		fmt.Fprintln(out, "The tenant is a fake in this process; set ENTRA_TENANT_ID, ENTRA_CLIENT_ID and ENTRA_CLIENT_SECRET for a live one.")
		company, err := contoso.Start()
		if err != nil {
			return err
		}
		defer company.Stop()
		config, scope, app.API, app.Network = company.Config("webapp"), contoso.DeskScope, company.Desk, company.Network
		browser = company.Browser
		hint = "sign in as alice@contoso.onmicrosoft.com with the password " + company.Entra.User("alice@contoso.onmicrosoft.com").Password
	}

	client, err := entra.New(config)
	if err != nil {
		return err
	}
	app.Flow, err = authcode.New(client, authcode.Config{RedirectURL: app.URL + "/callback", Scopes: []string{scope}})
	if err != nil {
		return err
	}
	handler, stop, err := browser(site.New(app))
	if err != nil {
		return err
	}
	defer stop()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	defer server.Close()
	fmt.Fprintf(out, "The web app is at %s - %s.\n", app.URL, hint)
	<-ctx.Done()
	return nil
}

// settings reads the app's registration from the environment. live is false if there is none.
func settings() (config entra.Config, live bool, err error) {
	var missing []string
	for _, name := range []string{"ENTRA_TENANT_ID", "ENTRA_CLIENT_ID", "ENTRA_CLIENT_SECRET"} {
		if os.Getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	switch len(missing) {
	case 3:
		return entra.Config{}, false, nil
	case 0:
		return entra.Config{
			TenantID:   os.Getenv("ENTRA_TENANT_ID"),
			ClientID:   os.Getenv("ENTRA_CLIENT_ID"),
			Credential: entra.Secret(os.Getenv("ENTRA_CLIENT_SECRET")),
		}, true, nil
	}
	return entra.Config{}, false, fmt.Errorf("missing in the environment: %s (for the fake, set none of the three)", strings.Join(missing, " and "))
}
