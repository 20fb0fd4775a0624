// Quickstart runs the three flows end to end in one process, against a fake Entra ID. A user
// signs in to a web app. The web app calls API A for the user, and API A calls API B on behalf
// of the user. A daemon calls API B as itself. Then all of them repeat their calls, with tokens
// from the cache. Quickstart needs neither a tenant nor a network.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -serve   # and open the web app in a browser
package main

import (
	"context"
	"errors"
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
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/examples/webapp/site"
)

func main() {
	serve := flag.Bool("serve", false, "keep the web app running for a browser until interrupted")
	addr := flag.String("addr", "localhost:0", "`address` of the web app; port 0 picks a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *serve); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run performs two rounds of calls and writes a report to out.
func run(ctx context.Context, out io.Writer, addr string, serve bool) error {
	company, err := contoso.Start()
	if err != nil {
		return fmt.Errorf("start the fake Entra and the APIs: %w", err)
	}
	defer company.Stop()
	webApp, stop, err := startWebApp(company, addr)
	if err != nil {
		return fmt.Errorf("start the web app: %w", err)
	}
	defer stop()
	client, err := entra.New(company.Config("daemon"))
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	daemon := clientcreds.TokenSource(client, contoso.OrdersAll)
	user := newPerson(webApp)

	fmt.Fprintln(out, "A fake Entra, a web app, two APIs and a daemon run in this process and share one cache.")
	var requests [2]int
	for round := range requests {
		before, start := company.Entra.TokenRequests(), time.Now()
		calls, err := oneRound(ctx, company, user, daemon)
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		requests[round] = company.Entra.TokenRequests() - before
		report(out, company, round+1, calls, start)
		if want := []int{len(calls), 0}[round]; requests[round] != want {
			return fmt.Errorf("round %d: got %d token requests, want %d", round+1, requests[round], want)
		}
	}
	s := company.Cache.Stats()
	fmt.Fprintf(out, "\nEntra: %d token requests in round 1, %d in round 2\n", requests[0], requests[1])
	fmt.Fprintf(out, "Cache: %d sessions, %d hits, %d misses, %d fetches (the sign-in is not one), "+
		"%d failures, %d evictions\n",
		s.Sessions, s.Hits, s.Misses, s.Fetches, s.Failures, s.Evictions)
	if !serve {
		return nil
	}
	fmt.Fprintf(out, "\nThe web app is at %s - sign in as %s with the password %s.\n"+
		"The fake Entra on this machine serves the sign-in page. Press Ctrl-C to stop.\n",
		webApp, contoso.Alice, company.Entra.User(contoso.Alice).Password)
	<-ctx.Done()
	return nil
}

// oneRound makes one call for the user and one for the daemon, and returns the three hops.
func oneRound(ctx context.Context, company *contoso.Contoso, user *person, daemon *entra.TokenSource) ([]hops.Hop,
	error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	calls, err := user.seeOrders(ctx, company.Entra)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	response, err := hops.Get(ctx, daemon, company.Network, company.Orders)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	own, _ := hops.Follow("daemon", hops.TokenOf(clientcreds.FlowName, daemon), response)
	calls = append(calls, own...)
	if len(calls) != 3 || calls[0].Caller.Kind != "delegated" || calls[1].Caller.Kind != "delegated" ||
		calls[2].Caller.Kind != "app-only" {
		return nil, fmt.Errorf("got the calls %+v, want two for the user and one for the daemon", calls)
	}
	return calls, nil
}

// startWebApp serves the web app and returns its URL.
func startWebApp(company *contoso.Contoso, addr string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "", nil, errors.Join(err, l.Close())
	}
	url = "http://localhost:" + port
	app, err := company.WebApp(url)
	if err != nil {
		return "", nil, errors.Join(err, l.Close())
	}
	pages, err := site.New(app)
	if err != nil {
		return "", nil, errors.Join(err, l.Close())
	}
	handler, stopPages, err := company.Browser(pages)
	if err != nil {
		return "", nil, errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	return url, func() { server.Close(); stopPages() }, nil
}
