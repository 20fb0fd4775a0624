package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
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

// trustByDefault makes clients without a client of their own trust the certificates of f, and more.
func trustByDefault(t *testing.T, f *fake, more ...*x509.Certificate) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(f.caFile)))
	for _, c := range more {
		roots.AddCert(c)
	}
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })
	tr := original.(*http.Transport).Clone()
	tr.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	tr.ForceAttemptHTTP2 = true
	http.DefaultTransport = tr
}

// An HTTP/2 connection goes silent under forty users at a time, each of whom is new and needs a token. A ping finds it,
// and all of them get their token from a retry on a new connection (Azure/azure-sdk-for-go#22412, golang/go#36026,
// golang/go#59690).
func TestSilentConnectionIsReplaced(t *testing.T) {
	f := newFake(t)
	trustByDefault(t, f)
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

// recovers calls get until it succeeds, and reports a failure after 30 seconds.
func recovers(t *testing.T, get func() error) {
	t.Helper()
	start := time.Now()
	for calls := 1; ; calls++ {
		err := get()
		took := time.Since(start)
		if err == nil {
			t.Logf("%d calls in %v", calls, took)
			return
		}
		if took > 30*time.Second {
			t.Fatalf("got %v after %d calls in %v, want a success", err, calls, took)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// The connection to the keys goes silent, and the authority signs with a new key. Tokens of the old key stay valid in
// the meantime, and those of the new key are valid after the next connection.
func TestSilentConnectionToTheKeysIsReplaced(t *testing.T) {
	f := newFake(t)
	trustByDefault(t, f)
	firewall := newForwarder(t, f.host)
	host := firewall.Addr().String()
	verifier := must[*verify.Verifier](t)(verify.New(verify.Config{
		Audiences: []string{apiAID, "api://api-a"}, Tenants: []string{tenant}, Cloud: entra.Cloud(host),
	}))
	check := func(raw string) error {
		_, err := verifier.Verify(t.Context(), raw)
		return err
	}
	mint := func() string {
		return f.Mint(entratest.MintOptions{Host: host, Resource: "api-a", Client: "webapp", User: alice})
	}
	old := mint()
	if err := check(old); err != nil {
		t.Fatal(err)
	}
	firewall.forget()
	f.RotateKeys()
	f.RotateKeys() // announced after the verifier has read the keys
	recovers(t, func() error {
		start := time.Now()
		if err := check(old); err != nil || time.Since(start) > 5*time.Second {
			t.Fatalf("old key: got %v after %v, want a valid token at once", err, time.Since(start))
		}
		return check(mint())
	})
}

// The connection to a source of client assertions goes silent, and the assertion expires.
func TestSilentConnectionToGitHubIsReplaced(t *testing.T) {
	f := newFake(t)
	var responses atomic.Int64
	github := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		responses.Add(1)
		if r.ProtoMajor != 2 {
			t.Errorf("got %s, want HTTP/2", r.Proto)
		}
		assertion, err := f.federatedTokenFor(4 * time.Second)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `{"value":%q}`, assertion)
	}))
	github.EnableHTTP2 = true
	github.StartTLS()
	t.Cleanup(github.Close)
	trustByDefault(t, f, github.Certificate())
	firewall := newForwarder(t, github.Listener.Addr().String())
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://"+firewall.Addr().String()+"/token?api-version=2.0")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
	credential := must[entra.Credential](t)(credentials.GitHubActions(nil))
	get := func() error { // without a cached token
		client := must[*entra.Client](t)(entra.New(entra.Config{
			TenantID: tenant, ClientID: federatedID, Credential: credential, Cloud: entra.Cloud(f.host),
		}))
		_, err := clientcreds.TokenSource(client, appScope).TokenContext(t.Context())
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	firewall.forget()
	time.Sleep(4 * time.Second) // the assertion expires
	recovers(t, get)
	if n := responses.Load(); n < 2 {
		t.Errorf("got %d responses of GitHub, want a second one", n)
	}
}
