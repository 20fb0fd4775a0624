// Quickstart runs the three flows end to end in one process, against a fake Entra ID: a
// user signs in to a web app, which calls API A, which calls API B on behalf of the user; a
// daemon calls API B as itself. Then all do it again, and no token has to be got. It needs
// no tenant and no network.
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
	serve := flag.Bool("serve", false, "then keep the web app up for a browser, until interrupted")
	addr := flag.String("addr", "localhost:0", "where the web app listens; port 0: any")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *serve); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run does it all and writes the account of it to out.
func run(ctx context.Context, out io.Writer, addr string, serve bool) error {
	company, err := contoso.Start()
	if err != nil {
		return fmt.Errorf("starting the fake Entra and the APIs: %w", err)
	}
	defer company.Stop()
	webApp, stop, err := startWebApp(company, addr)
	if err != nil {
		return fmt.Errorf("starting the web app: %w", err)
	}
	defer stop()
	client, err := entra.New(company.Config("daemon"))
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	daemon := clientcreds.TokenSource(client, contoso.OrdersAll)
	user := newPerson(webApp)

	fmt.Fprintln(out, "A fake Entra, two APIs behind TLS, a web app and a daemon, in one process with one cache.")
	var asked [2]int
	for round := range asked {
		before, start := company.Entra.TokenRequests(), time.Now()
		calls, err := oneRound(ctx, company, user, daemon)
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		asked[round] = company.Entra.TokenRequests() - before
		report(out, company, round+1, calls, start)
		if want := []int{len(calls), 0}[round]; asked[round] != want {
			return fmt.Errorf("round %d: Entra was asked for %d tokens, not %d", round+1, asked[round], want)
		}
	}
	s := company.Cache.Stats()
	fmt.Fprintf(out, "\nEntra: %d token requests in round 1, %d in round 2\n", asked[0], asked[1])
	fmt.Fprintf(out, "Cache: %d sessions, %d hits, %d misses, %d fetches besides the sign-in, %d failures, %d evictions\n",
		s.Sessions, s.Hits, s.Misses, s.Fetches, s.Failures, s.Evictions)
	if !serve {
		return nil
	}
	fmt.Fprintf(out, "\nThe web app is at %s - sign in as %s with the password %s.\n"+
		"The sign-in page is the fake's, on this machine. Ctrl-C ends it all.\n", webApp, contoso.Alice, company.Entra.User(contoso.Alice).Password)
	<-ctx.Done()
	return nil
}

// oneRound has the user and the daemon do their work once.
func oneRound(ctx context.Context, company *contoso.Contoso, user *person, daemon *entra.TokenSource) ([]hops.Hop, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	calls, err := user.seeOrders(ctx, company.Entra)
	if err != nil {
		return nil, fmt.Errorf("the user: %w", err)
	}
	answer, err := hops.Get(ctx, daemon, company.Network, company.Orders)
	if err != nil {
		return nil, fmt.Errorf("the daemon: %w", err)
	}
	own, _ := hops.Of("daemon", hops.TokenOf(clientcreds.FlowName, daemon), answer)
	calls = append(calls, own...)
	if len(calls) != 3 || calls[0].Caller.Kind != "delegated" || calls[1].Caller.Kind != "delegated" || calls[2].Caller.Kind != "app-only" {
		return nil, fmt.Errorf("the calls are not two for the user and one for the daemon: %+v", calls)
	}
	return calls, nil
}

// startWebApp serves the web app and returns its address.
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
