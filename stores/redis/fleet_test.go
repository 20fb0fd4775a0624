package redisstore_test

import (
	"fmt"
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
}

func newFleet(t *testing.T, lifetime time.Duration, tenants int) *fleet {
	t.Helper()
	s := testkit.Server(func(c *entratest.Config) {
		c.Lifetime = func() time.Duration { return lifetime }
		for i := range tenants {
			c.Tenants = append(c.Tenants, entratest.Tenant{ID: tenant(i)})
		}
	})
	return &fleet{s, servers.Redis(t)}
}

func tenant(i int) string { return fmt.Sprintf("cccccccc-0000-4000-8000-%012d", i) }

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
	cfg.Cache = cache.New(cache.Options{
		Store: redisstore.New(newClient(t, f.server.Addr), nil),
		Keys:  []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
	})
	return testkit.Client(t, cfg)
}

// Twenty processes with fifty goroutines each need one token. They send one request.
func TestColdFleetSendsOneRequest(t *testing.T) {
	f := newFleet(t, time.Hour, 0)
	var wg sync.WaitGroup
	for range 20 {
		c := f.process(t)
		for range 50 {
			wg.Go(func() {
				if _, err := clientcreds.TokenSource(c, "api://api-b/.default").Token(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if n := f.entra.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
}
