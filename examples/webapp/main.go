// Webapp signs users in, calls APIs for them, asks for consent and for a second factor
// when an API needs it, and shows what happens to the tokens. Its pages are in the package
// site, beside this one; here they are given a tenant.
//
// With these in the environment it is an app of a live tenant, registered with the
// platform "Web" and the redirect URIs http://localhost:8080/callback and
// http://localhost:8080/ (for signing out):
//
//	AZURE_TENANT_ID (the ID, not a domain), AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or
//	               another credential that credentials.FromEnvironment knows
//	ENTRA_SCOPE    an API's scope, asked for at sign-in; unset: https://graph.microsoft.com/User.Read
//	ENTRA_API_URL  that API, which answers JSON; unset: https://graph.microsoft.com/v1.0/me
//
// and, for consent that is asked only when it is needed, and for a step-up:
//
//	ENTRA_MORE_SCOPE, ENTRA_MORE_API_URL  another scope and API; unset: Graph's Contacts.Read and /me/contacts
//	ENTRA_STEPUP                          an authentication context that the tenant has, such as c1; unset: no such page
//
// Without the first two it runs against a fake Entra and fake APIs in its own process,
// whose sign-in page is on this machine.
//
// To make it yours, copy this directory without fake.go, take the call of fakeApp out of run,
// and import your copy of site. Then begin with liveApp: put your address into the redirect
// URL, your APIs into the list, and your words into the pages. Sessions are in the process as
// it is here; docs/webapps.md says what several machines, a proxy and a restart ask for.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/examples/webapp/site"
	"github.com/entratoken/entra/signin"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "where the web app listens, on this machine")
	life := flag.Duration("life", 0, "how long the fake's tokens live, at least 6m; 0: 60 to 90 minutes, as Entra's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *life); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves the web app until ctx ends.
func run(ctx context.Context, out io.Writer, addr string, life time.Duration) error {
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
	url := "http://localhost:" + port

	var handler http.Handler
	hint := "sign in with an account of your tenant"
	if live {
		fmt.Fprintf(out, "The tenant is live: %s.\n", config.TenantID)
		if handler, err = liveApp(config, url); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(out, "The tenant is a fake in this process; set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.")
		var stop func()
		if handler, hint, stop, err = fakeApp(url, life); err != nil {
			return err
		}
		defer stop()
	}

	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	defer server.Close()
	fmt.Fprintf(out, "The web app is at %s - %s.\n", url, hint)
	<-ctx.Done()
	return nil
}

// liveApp is the web app of a live tenant: what to begin with when you copy it.
func liveApp(config entra.Config, url string) (http.Handler, error) {
	client, err := entra.New(config)
	if err != nil {
		return nil, err
	}
	const graph = "https://graph.microsoft.com/"
	scope := cmp.Or(os.Getenv("ENTRA_SCOPE"), graph+"User.Read")
	flow, err := authcode.New(client, authcode.Config{RedirectURL: url + "/callback", Scopes: []string{scope}})
	if err != nil {
		return nil, err
	}
	apis := []site.API{{
		Path: "/api", Name: "API", About: "What an API has for you. You consented to it when you signed in.",
		URL: cmp.Or(os.Getenv("ENTRA_API_URL"), graph+"v1.0/me"), Scope: scope,
	}, {
		Path: "/more", Name: "Another API", About: "What another API has for you. You are asked for your consent the first time you look, and not before.",
		URL:   cmp.Or(os.Getenv("ENTRA_MORE_API_URL"), graph+"v1.0/me/contacts?$select=displayName&$top=10"),
		Scope: cmp.Or(os.Getenv("ENTRA_MORE_SCOPE"), graph+"Contacts.Read"),
	}}
	if context := os.Getenv("ENTRA_STEPUP"); context != "" {
		step := apis[0]
		step.Path, step.Name, step.Context = "/step-up", "Step-up", context
		step.About = "The same, for those who have just shown who they are: the tenant's policy for " + context + " says how."
		apis = append(apis, step)
	}
	return site.New(site.Config{Flow: flow, SignIn: signin.Config{Logger: slog.Default()}, APIs: apis})
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
