package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
)

// A forwarder is a firewall that forgets connections: it acknowledges their packets and forwards nothing. New
// connections work.
type forwarder struct {
	net.Listener
	target string

	mu         sync.Mutex // guards the fields below
	generation int
	accepted   int
}

func newForwarder(t *testing.T, target string) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{Listener: l, target: target}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.forward(c)
		}
	}()
	return f
}

func (f *forwarder) forward(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	defer server.Close()
	f.mu.Lock()
	born := f.generation
	f.accepted++
	f.mu.Unlock()
	pipe := func(to, from net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			f.mu.Lock()
			forgotten := f.generation != born
			f.mu.Unlock()
			if !forgotten {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
	}
	go pipe(client, server)
	pipe(server, client)
}

// forget makes the present connections silent.
func (f *forwarder) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation++
}

// An HTTP/2 connection goes silent under forty users at a time, each of whom is new and needs a token. A ping finds it,
// and all of them get their token from a retry on a new connection (Azure/azure-sdk-for-go#22412, golang/go#36026,
// golang/go#59690).
func TestSilentConnectionIsReplaced(t *testing.T) {
	f := newFake(t)
	pem, err := os.ReadFile(f.caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })
	tr := original.(*http.Transport).Clone()
	tr.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	tr.ForceAttemptHTTP2 = true
	http.DefaultTransport = tr

	firewall := newForwarder(t, f.host)
	resp, err := http.Get("https://" + firewall.Addr().String() + "/" + tenant + "/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("got %s, want HTTP/2", resp.Proto)
	}
	client, err := entra.New(entra.Config{
		TenantID: tenant, ClientID: apiAID, Credential: entra.Secret(apiASecret),
		Cloud: entra.Cloud(firewall.Addr().String()),
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var failed, slow, calls int
	var longest time.Duration
	round := func(name string) {
		var wg sync.WaitGroup
		for i := range 40 {
			assertion := f.Mint(entratest.MintOptions{
				Host: firewall.Addr().String(), Resource: "api-a", Client: "webapp", User: alice,
				Claims: map[string]any{"n": fmt.Sprint(name, i)},
			})
			wg.Go(func() {
				start := time.Now()
				_, err := obo.TokenSource(client, assertion, ordersScope).Token()
				took := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				calls++
				longest = max(longest, took)
				if err != nil {
					failed++
					t.Errorf("%s: %v after %v", name, err, took)
				}
				if took > 15*time.Second {
					slow++
				}
			})
		}
		wg.Wait()
	}
	round("before")
	firewall.forget()
	round("silent")
	round("after")
	t.Logf("%d calls, %d failed, %d took more than 15s, the longest %v; %d connections", calls, failed, slow, longest,
		firewall.accepted)
	if slow > 1 {
		t.Errorf("got %d calls slower than 15s, want at most 1", slow)
	}
}
