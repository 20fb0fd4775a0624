// Webapp signs users in and calls APIs for them. It requests consent and a second factor when an API needs them, and
// shows the lifetimes of the tokens. Its pages are in the package site.
//
// With these environment variables it is an app of a real tenant. Register it with the platform "Web" and the redirect
// URIs http://localhost:8080/callback and http://localhost:8080/ (for signing out).
//
//	AZURE_TENANT_ID (the ID, not a domain), AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or
//	               another credential that credentials.FromEnvironment supports
//	ENTRA_SCOPE    a scope of an API, requested at sign-in; defaults to https://graph.microsoft.com/User.Read
//	ENTRA_API_URL  that API, which responds with JSON; defaults to https://graph.microsoft.com/v1.0/me
//
// Optional variables for incremental consent and for a step-up:
//
//	ENTRA_MORE_SCOPE, ENTRA_MORE_API_URL  another scope and API; default to Graph's Contacts.Read and /me/contacts
//	ENTRA_STEPUP                          an authentication context of the tenant, such as c1; no such page by default
//
// Optional variable for the users who may use the app:
//
//	ENTRA_USERS  object IDs of users, separated by commas; by default all users of the tenant
//
// Without AZURE_TENANT_ID and AZURE_CLIENT_ID it uses a fake Entra and fake APIs in its own process.
//
// To start your own app from it, copy this directory without fake.go, remove the call of fakeApp from run, and import
// your copy of site. Then edit liveApp: set your address as the redirect URL, list your APIs, and change the texts of
// the pages. Sessions are in the memory of the process. docs/webapps.md explains proxies, restarts and several
// machines.
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
	"syscall"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/examples/webapp/site"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "address of the web app, on this machine")
	lifetime := flag.Duration("life", 0,
		"lifetime of the fake's tokens, at least 6m (default 60 to 90 minutes, like Entra)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *lifetime); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves the web app until ctx ends.
func run(ctx context.Context, out io.Writer, addr string, lifetime time.Duration) error {
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
		fmt.Fprintf(out, "Using the tenant %s.\n", config.TenantID)
		if handler, err = liveApp(config, url); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(out, "Using a fake Entra in this process. For a real tenant, set AZURE_TENANT_ID, AZURE_CLIENT_ID "+
			"and a credential.")
		var stop func()
		if handler, hint, stop, err = fakeApp(url, lifetime); err != nil {
			return err
		}
		defer stop()
	}

	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	defer server.Close()
	fmt.Fprintf(out, "Open %s and %s.\n", url, hint)
	<-ctx.Done()
	shutdown, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return server.Shutdown(shutdown) // a callback in progress may have redeemed its code
}

// liveApp returns the web app for a real tenant. Start here if you copy this program.
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
		Path: "/api", Name: "API", About: "Data from an API. You consented to it when you signed in.",
		URL: cmp.Or(os.Getenv("ENTRA_API_URL"), graph+"v1.0/me"), Scope: scope,
	}, {
		Path: "/more", Name: "Another API",
		About: "Data from another API. You are prompted for your consent when you first open the page.",
		URL:   cmp.Or(os.Getenv("ENTRA_MORE_API_URL"), graph+"v1.0/me/contacts?$select=displayName&$top=10"),
		Scope: cmp.Or(os.Getenv("ENTRA_MORE_SCOPE"), graph+"Contacts.Read"),
	}}
	if context := os.Getenv("ENTRA_STEPUP"); context != "" {
		step := apis[0]
		step.Path, step.Name, step.Context = "/step-up", "Step-up", context
		step.About = "The same data, after the step-up that the tenant's policy for " + context + " requires."
		apis = append(apis, step)
	}
	return site.New(site.Config{Flow: flow, SignIn: signInConfig(), APIs: apis})
}

// settings reads the app's registration and its credential from the environment. live is false if the environment has
// neither.
func settings() (config entra.Config, live bool, err error) {
	if os.Getenv("AZURE_TENANT_ID") == "" && os.Getenv("AZURE_CLIENT_ID") == "" {
		return entra.Config{}, false, nil
	}
	config, err = credentials.FromEnvironment(nil)
	return config, true, err
}
