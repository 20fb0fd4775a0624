// Observability is a web app, an API and a daemon whose tokens, verifications and sign-ins are exported as Prometheus
// metrics. It runs on a fake Entra ID, makes its own traffic with some failures, and needs neither a tenant nor a
// network.
//
//	go run ./examples/observability          # and open http://127.0.0.1:9464/metrics
//	go run ./examples/observability -once    # write the metrics after ten rounds of traffic, and exit
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9464", "`address` of the metrics; port 0 picks a free one")
	once := flag.Bool("once", false, "write the metrics to the standard output and exit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *once); err != nil {
		fmt.Fprintln(os.Stderr, "observability:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, addr string, once bool) error {
	c, err := newCompany()
	if err != nil {
		return err
	}
	if once {
		return c.once(ctx, out)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for Prometheus: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", c.metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	defer server.Close()
	fmt.Fprintf(out, "Metrics: http://%s/metrics\n", listener.Addr())
	for n := 0; ; n++ {
		if err := c.round(ctx, n); err != nil {
			return err
		}
		select {
		default:
		case err := <-failed:
			return fmt.Errorf("serve the metrics: %w", err)
		case <-ctx.Done():
			return nil
		}
	}
}

// once writes the metrics after one round of each kind.
func (c *company) once(ctx context.Context, out io.Writer) error {
	for n := range rounds {
		if err := c.round(ctx, n); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, c.scrape())
	return err
}

// scrape returns the metrics as Prometheus gets them.
func (c *company) scrape() string {
	w := httptest.NewRecorder()
	c.metrics.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}
