package entra_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// A service is ten callers that call for a token every second.
type service struct {
	t      *testing.T
	estate *estate
	cache  *cache.Cache
	source *entra.TokenSource

	calls, failed, waited atomic.Int64
}

func newService(t *testing.T, change ...func(*entratest.Config)) *service {
	e := newEstate(append([]func(*entratest.Config){hour}, change...)...)
	cfg := e.config("daemon")
	cfg.Cache = cache.New(cache.Options{})
	return &service{t: t, estate: e, cache: cfg.Cache, source: clientcreds.TokenSource(testkit.Client(t, cfg),
		"api://api-b/.default")}
}

// run lets the service work for d. After it, nothing is left running, and every call is
// counted: synctest fails a test that leaves a goroutine blocked.
func (s *service) run(d time.Duration) {
	s.t.Helper()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				start := time.Now()
				s.calls.Add(1)
				tok, err := s.source.TokenContext(s.t.Context())
				if err != nil {
					testkit.Error(s.t, err)
					s.failed.Add(1)
				} else if !tok.Valid() {
					s.t.Errorf("served a token that ended at %v", tok.Expiry)
				}
				if time.Since(start) > 0 {
					s.waited.Add(1)
				}
			}
		})
	}
	wg.Wait()
	synctest.Wait()
	if stats := s.cache.Stats(); int64(stats.Hits+stats.Misses) != s.calls.Load() {
		s.t.Errorf("%d hits and %d misses in %d calls", stats.Hits, stats.Misses, s.calls.Load())
	}
}

func (s *service) want(failed, waited int64, minRequests, maxRequests int) {
	s.t.Helper()
	if s.failed.Load() != failed || s.waited.Load() != waited {
		s.t.Errorf("%d calls failed and %d waited, want %d and %d", s.failed.Load(), s.waited.Load(), failed, waited)
	}
	if n := len(s.estate.Forms()); n < minRequests || n > maxRequests {
		s.t.Errorf("%d requests, want %d to %d", n, minRequests, maxRequests)
	}
}

// Every second request fails. No caller notices, and each refresh takes two attempts.
func TestEverySecondRequestFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var n atomic.Int64
		s.estate.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
			if req.Method == http.MethodPost && n.Add(1)%2 == 0 {
				return respondWith(503, "application/json", `{"error":"temporarily_unavailable"}`)(req, form)
			}
			return nil, nil
		})
		s.run(12 * time.Hour)
		// A refresh that failed once is followed by a token with a refresh point between 6 and 42
		// minutes, and comes up to 53 minutes later: 12 hours have some 18 of them.
		s.want(0, 0, 1+2*12, 1+2*30)
	})
}

// An endpoint takes 29 seconds. Only the first callers wait for it.
func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.estate.Inject(entratest.Fault{Endpoint: "token", Delay: 29 * time.Second})
		s.run(6 * time.Hour)
		time.Sleep(time.Minute) // a refresh may be in flight
		// The first token, after 6 to 42 minutes, then one every 36 to 42.
		s.want(0, 10, 1+1+7, 1+1+9)
	})
}

// A connection that is open but silent is closed after 30 seconds. The cached token is served
// until the endpoint works again.
func TestHalfOpenConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.run(time.Minute)
		remove := s.estate.Inject(entratest.Fault{Endpoint: "token", Delay: 1000 * time.Hour})
		old := cached(t, s.source)
		s.run(50 * time.Minute)
		remove()
		s.run(time.Until(old.ExpiresAt.Add(-time.Minute)) + time.Minute)
		s.want(0, 0, 3, 30)
		if cached(t, s.source).ObtainedAt.Equal(old.ObtainedAt) {
			t.Error("the token has not been replaced")
		}
	})
}

// On a silent connection without a cached token, all callers wait 30 seconds and get the cause.
func TestHalfOpenCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.estate.Inject(entratest.Fault{Endpoint: "token", Delay: 1000 * time.Hour, Times: 1})
		start := time.Now()
		_, err := s.source.TokenContext(context.Background())
		if got := testkit.Error(t, err); got.Code != entra.CodeRequestFailed || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A Retry-After date is honored. The next request follows one or two seconds later, so that
// clients with the same date do not return at once.
func TestRetryAfterDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		until := time.Now().Add(5 * time.Minute).UTC()
		s.estate.Inject(entratest.Fault{Endpoint: "token", Status: 429, RetryAfter: until.Format(http.TimeFormat), Times: 1})
		s.run(5*time.Minute + 2*time.Second)
		s.want(10*(5*60+2), 0, 1, 1)
		s.run(time.Second)
		s.want(10*(5*60+2), 0, 2, 2)
	})
}

// A Retry-After longer than the remaining lifetime of the token is honored, too.
func TestThrottledUntilExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.run(time.Second)
		time.Sleep(time.Until(cached(t, s.source).ExpiresAt) - 2*time.Minute)
		s.estate.Inject(entratest.Fault{Endpoint: "token", Status: 429, RetryAfter: "120", Times: 1})
		s.run(time.Minute)
		s.want(0, 0, 2, 2)
		s.run(time.Minute + 2*time.Second)
		s.want(10*62, 0, 2, 2)
		s.run(time.Second)
		s.want(10*62, 0, 3, 3)
	})
}

// Tokens that have expired when they arrive are failures with a back-off, not a loop.
func TestExpiredOnArrival(t *testing.T) {
	for _, body := range []string{
		`{"access_token":"x","token_type":"Bearer","expires_in":0}`,
		`{"access_token":"x","token_type":"Bearer","expires_in":"-3600"}`,
		`{"access_token":"x","token_type":"Bearer"}`,
		`{"access_token":"x","token_type":"Bearer","expires_in":"soon"}`,
		`{"access_token":"x","token_type":"Bearer","expires_in":1e99}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			s.estate.Intercept(respondWith(200, "application/json", body))
			s.run(10 * time.Minute)
			s.want(10*600, 0, 15, 60)
		})
	}
}

// expires_in may be a string that contains a number.
func TestExpiresInAsString(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.estate.Intercept(respondWith(200, "application/json",
			`{"access_token":"x","token_type":"bearer","expires_in":"3600","refresh_in":"1800"}`))
		s.run(time.Second)
		s.want(0, 0, 1, 1)
		tok := cached(t, s.source)
		if life, early := tok.ExpiresAt.Sub(tok.ObtainedAt), tok.RefreshAt.Sub(tok.ObtainedAt); life != time.Hour ||
			early != 30*time.Minute {
			t.Errorf("life %v, early after %v", life, early)
		}
	})
}

// A Fetch that panics is an error for its callers. The program and the source continue to work.
func TestPanickingFetchIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		c := e.client(t, "api-a")
		g := entra.Grant{Flow: "f", Subject: "s", Scopes: []string{"api://api-b/Orders.Read"},
			Fetch: oboFetch(e, "api://api-b/Orders.Read")}
		good, panics := g.Fetch, true
		g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			if panics {
				panic("s3cret")
			}
			return good(ctx, r)
		}
		source := c.TokenSource(g)
		_, err := source.Token()
		if got := testkit.Error(t, err); got.Code != "invalid_request" || !strings.Contains(got.Description, "panicked") {
			t.Errorf("got %v", err)
		}
		leaks(t, err, "s3cret")
		panics = false
		time.Sleep(2 * time.Second)
		if _, err := source.Token(); err != nil {
			t.Error(err)
		}
	})
}

// The HTTP client belongs to the user: it may panic, end its goroutine or hang. The discovery
// document is requested in a goroutine that callers share, where a panic would end the program.
func TestBrokenTransportInDiscovery(t *testing.T) {
	for name, test := range map[string]struct {
		fail func()
		want string
		took time.Duration
	}{
		"panics":       {func() { panic("s3cret") }, "the function panicked with a value of type string", 0},
		"exits":        {runtime.Goexit, "the function called runtime.Goexit", 0},
		"hangs for 1m": {func() { time.Sleep(time.Minute) }, "context deadline exceeded", 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEstate()
				var broken atomic.Bool // a request that hangs reads it later
				broken.Store(true)
				cfg := e.config("daemon")
				cfg.HTTPClient = &http.Client{Transport: testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
					if broken.Load() && r.Method == http.MethodGet {
						test.fail()
					}
					return e.RoundTrip(r)
				})}
				source := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
				start := time.Now()
				_, err := source.Token()
				got := testkit.Error(t, err)
				if want := "discovery request to login.microsoftonline.com failed: " +
					test.want; got.Code != entra.CodeRequestFailed ||
					got.Description != want || time.Since(start) != test.took {
					t.Errorf("got %v after %v, want %q after %v", got, time.Since(start), want, test.took)
				}
				leaks(t, err, "s3cret")
				broken.Store(false)
				time.Sleep(time.Minute)
				if _, err := source.Token(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Ten thousand callers leave during a request. It goes on and serves later callers.
func TestManyCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.estate.Inject(entratest.Fault{Endpoint: "token", Delay: 10 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				s.calls.Add(1)
				if _, err := s.source.TokenContext(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
		time.Sleep(5 * time.Second)
		cancel()
		wg.Wait()
		s.run(10 * time.Second)
		s.want(0, 10, 1, 1)
	})
}
