package redisstore_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/internal/testkit/servers"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// fleet is some processes of an app that share a Redis server.
type fleet struct {
	entra  *entratest.Server
	server *servers.Server
	caches []*cache.Cache
}

// slow responds like a distant server.
type slow struct{ next http.RoundTripper }

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(50 * time.Millisecond)
	return s.next.RoundTrip(r)
}

// process returns a client with a cache and a Redis client of its own.
func (f *fleet) process(t *testing.T) *entra.Client {
	t.Helper()
	cfg := testkit.ClientConfig(f.entra, "daemon", slow{f.entra.Client().Transport})
	client := newClient(t, f.server.Addr)
	if err := client.Ping(t.Context()).Err(); err != nil { // the first call of the store has a connection
		t.Fatal(err)
	}
	cfg.Cache = cache.New(cache.Options{
		Store: redisstore.New(client, nil),
		Keys:  []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
	})
	f.caches = append(f.caches, cfg.Cache)
	return testkit.Client(t, cfg)
}

// storeErrors counts the calls of Redis that failed. On a busy machine some take longer than 250 ms.
func (f *fleet) storeErrors() (n uint64) {
	for _, c := range f.caches {
		n += c.Stats().StoreErrors
	}
	return n
}

// Twenty processes with fifty goroutines each need one token. They send one request. A process that cannot read the
// store in time sends its own, so the test is repeated then. On a busy machine, that needs fewer processes.
func TestColdFleetSendsOneRequest(t *testing.T) {
	tries := []int{20, 20, 10, 5, 2}
	for try, processes := range tries {
		f := &fleet{entra: testkit.Server(func(*entratest.Config) {}), server: servers.Redis(t)}
		var clients []*entra.Client
		for range processes {
			clients = append(clients, f.process(t))
		}
		var wg sync.WaitGroup
		for _, c := range clients {
			for range 50 {
				wg.Go(func() {
					if _, err := clientcreds.TokenSource(c, "api://api-b/.default").Token(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		n, failed := f.entra.TokenRequests(), f.storeErrors()
		switch {
		case n == 1:
			return
		case failed == 0:
			t.Fatalf("got %d token requests, want 1", n)
		case uint64(n) > 1+failed || try == len(tries)-1:
			t.Fatalf("got %d token requests and %d failed calls of the store, want 1 request and at most one more for each",
				n, failed)
		}
	}
}
