package redisstore_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
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

// The callers of eight processes notice no fault of Redis, and no token reaches another tenant. Without a fault, the
// processes send hardly more requests than one would.
func TestFleetSurvivesFaults(t *testing.T) {
	const tenants, processes, lifetime, duration = 20, 8, 5 * time.Second, 15 * time.Second
	for _, fault := range []struct {
		name string
		act  func(t *testing.T, s *servers.Server)
	}{
		{"none", func(*testing.T, *servers.Server) {}},
		{"killed and restarted empty", func(_ *testing.T, s *servers.Server) {
			s.Kill()
			time.Sleep(time.Second)
			s.Start()
		}},
		{"stopped for three seconds", func(_ *testing.T, s *servers.Server) {
			s.Signal(syscall.SIGSTOP)
			time.Sleep(3 * time.Second)
			s.Signal(syscall.SIGCONT)
		}},
		{"flushed", func(t *testing.T, s *servers.Server) {
			if err := newClient(t, s.Addr).FlushAll(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, lifetime, tenants)
			clients := make([]*entra.Client, processes)
			for i := range clients {
				clients[i] = f.process(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), duration)
			defer cancel()
			var calls, failures atomic.Int64
			var slowest atomic.Int64
			var wg sync.WaitGroup
			for i := range tenants {
				wg.Go(func() {
					for n := i; ctx.Err() == nil; n++ {
						client, err := clients[n%processes].WithTenant(tenant(i))
						if err != nil {
							t.Error(err)
							return
						}
						start := time.Now()
						tok, err := clientcreds.TokenSource(client, "api://api-b/.default").Token()
						slowest.Store(max(slowest.Load(), int64(time.Since(start))))
						calls.Add(1)
						if err != nil {
							failures.Add(1)
							t.Error(err)
						} else if got := testkit.Claims(t, tok.AccessToken)["tid"]; got != tenant(i) {
							t.Errorf("got a token of tenant %v, want %v", got, tenant(i))
						}
						time.Sleep(20 * time.Millisecond)
					}
				})
			}
			time.Sleep(4 * time.Second)
			fault.act(t, f.server)
			wg.Wait()
			requests := f.entra.TokenRequests()
			t.Logf("%d calls, %d failed, slowest %v, %d token requests", calls.Load(), failures.Load(),
				time.Duration(slowest.Load()).Round(time.Millisecond), requests)
			// A token is refreshed after 60 % of its lifetime, and the first one maybe earlier.
			if most := tenants * int(duration/(lifetime*6/10)+2); fault.name == "none" && requests > most {
				t.Errorf("got %d token requests, want at most %d", requests, most)
			}
		})
	}
}
