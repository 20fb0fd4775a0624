package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"
	"time"
)

// A balancer distributes requests among processes in turn, without sticky sessions. Like nginx, it sends a request to
// the next process if one does not respond.
type balancer struct {
	url string

	mu      sync.Mutex // guards the fields below
	targets []string
	next    int

	transport http.Transport
	server    *http.Server
}

// newBalancer listens on a free port of host.
func newBalancer(host string) (*balancer, error) {
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	b := &balancer{url: "http://" + net.JoinHostPort(host, port)}
	b.transport.MaxIdleConnsPerHost = 100
	proxy := &httputil.ReverseProxy{
		Transport: b,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.Host = "http", r.In.Host // package signin compares Host with Origin
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	b.server = &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go b.server.Serve(l) //nolint:errcheck // close ends it
	return b, nil
}

func (b *balancer) close() {
	b.server.Close()
	b.transport.CloseIdleConnections()
}

// replace replaces the target old by another. If old is empty, it adds a target.
func (b *balancer) replace(old, target string) {
	defer b.transport.CloseIdleConnections() // or the old process waits for requests on them
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.targets, old); i >= 0 {
		b.targets[i] = target
	} else {
		b.targets = append(b.targets, target)
	}
}

// order returns the targets in the order in which to try them.
func (b *balancer) order() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = (b.next + 1) % len(b.targets)
	return slices.Concat(b.targets[b.next:], b.targets[:b.next])
}

// RoundTrip implements [http.RoundTripper].
func (b *balancer) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	for _, target := range b.order() {
		resp, err = b.send(r, target)
		if err == nil || r.Context().Err() != nil || !repeatable(r, err) {
			return resp, err
		}
	}
	return nil, err
}

// repeatable reports whether r may be sent again after err. A code can be redeemed only once, so the process must not
// have received it.
func repeatable(r *http.Request, err error) bool {
	var failed *net.OpError
	return r.ContentLength == 0 && r.URL.Path != "/callback" || errors.As(err, &failed) && failed.Op == "dial"
}

// servedBy is a response header that names the process.
const servedBy = "X-Served-By"

// send returns the response of a process once it is complete.
func (b *balancer) send(r *http.Request, target string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	out := r.Clone(ctx)
	out.URL.Host = target
	resp, err := b.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.Header.Set(servedBy, target)
	return resp, nil
}
