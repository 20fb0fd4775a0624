package bench_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/obo"
)

// refreshing is a library that refreshes a token before it expires. due is the latest age at which a token with a
// lifetime of an hour is due.
type refreshing struct {
	library string
	due     time.Duration
	make    func(*testing.T, *endpoint) func(context.Context) error
}

var (
	refreshingEntra = refreshing{"entra", 48 * time.Minute, func(t *testing.T, e *endpoint) func(context.Context) error {
		return appToken(t, e)
	}}
	refreshingGoogle = refreshing{"Google", 57 * time.Minute, func(t *testing.T, e *endpoint) func(context.Context) error {
		p := newGoogle(e.send)
		return func(ctx context.Context) error { _, err := p.Token(ctx); return err }
	}}
	// MSAL refreshes early only with refresh_in, here half an hour.
	refreshingMSAL = refreshing{"MSAL", 31 * time.Minute, func(t *testing.T, e *endpoint) func(context.Context) error {
		e.refreshIn = 30 * time.Minute
		c := newMSAL(t, e)
		return func(ctx context.Context) error {
			_, err := c.AcquireTokenByCredential(ctx, []string{scope})
			return err
		}
	}}
)

func appToken(t *testing.T, e *endpoint) func(context.Context) error {
	s := clientcreds.TokenSource(newEntra(t, e, nil), scope)
	return func(ctx context.Context) error { _, err := s.TokenContext(ctx); return err }
}

// A refresh takes 100 ms. The test records how long the caller waits that finds the token due.
func TestCallerThatRefreshes(t *testing.T) {
	for _, test := range []struct {
		refreshing
		want int
	}{{refreshingEntra, 0}, {refreshingGoogle, 0}, {refreshingMSAL, 100}} {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{before: func(*http.Request) int { time.Sleep(100 * time.Millisecond); return 0 }}
			call := test.make(t, e)
			if err := call(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(test.due)
			start := time.Now()
			if err := call(t.Context()); err != nil {
				t.Error(err)
			}
			waited := time.Since(start)
			synctest.Wait()
			time.Sleep(time.Second)
			if e.requests() != 2 {
				t.Errorf("%s: got %d requests, want 2", test.library, e.requests())
			}
			record(t, test.library, int(waited/time.Millisecond), test.want)
		})
	}
}

// One background refresh fails, and later ones succeed. The test counts the calls, one each second, that wait.
func TestOneFailedRefresh(t *testing.T) {
	for _, test := range []struct {
		refreshing
		want int
	}{{refreshingEntra, 0}, {refreshingGoogle, 1}} {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{}
			e.before = func(*http.Request) int {
				time.Sleep(100 * time.Millisecond)
				if e.requests() == 2 {
					return http.StatusServiceUnavailable
				}
				return 0
			}
			call := test.make(t, e)
			if err := call(t.Context()); err != nil {
				t.Fatal(err)
			}
			waited := 0
			for begin := time.Now(); time.Since(begin) < 61*time.Minute; time.Sleep(time.Second) {
				start := time.Now()
				if err := call(t.Context()); err != nil {
					t.Errorf("%s: %v", test.library, err)
				}
				if time.Since(start) > 0 {
					waited++
				}
			}
			time.Sleep(time.Second)
			if e.requests() < 3 {
				t.Errorf("%s: got %d requests, want at least 3", test.library, e.requests())
			}
			record(t, test.library, waited, test.want)
		})
	}
}

// A token is due for refresh, and the endpoint responds with status 429 after 100 ms. The test counts the waiting calls
// and the requests of twenty consecutive calls.
func TestThrottledRefresh(t *testing.T) {
	for _, test := range []struct {
		refreshing
		want, requests int
	}{{refreshingEntra, 0, 1}, {refreshingGoogle, 0, 1}, {refreshingMSAL, 20, 20}} {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{}
			call := test.make(t, e)
			if err := call(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(test.due)
			e.before = func(*http.Request) int { time.Sleep(100 * time.Millisecond); return http.StatusTooManyRequests }
			before, waited := e.requests(), 0
			for range 20 {
				start := time.Now()
				if err := call(t.Context()); err != nil {
					t.Errorf("%s: %v", test.library, err)
				}
				if time.Since(start) > 0 {
					waited++
				}
			}
			time.Sleep(500 * time.Millisecond)
			requests := e.requests() - before
			if requests != test.requests || waited != test.want {
				t.Errorf("%s: got %d waiting calls, %d requests; want %d, %d", test.library, waited, requests, test.want,
					test.requests)
			}
			t.Attr(test.library, fmt.Sprintf("%d / %d", waited, requests))
		})
	}
}

// The test measures the memory of a thousand users, a day after one call for each.
func TestForgottenUsers(t *testing.T) {
	const users, bound, size = 1000, 100, 1500
	synctest.Test(t, func(t *testing.T) {
		weigh := func(library string, op func(i int) error) int {
			if err := op(users); err != nil { // allocations that happen once
				t.Fatal(err)
			}
			before := heap()
			for i := range users {
				if err := op(i); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(24 * time.Hour)
			if err := op(users + 1); err != nil {
				t.Fatal(err)
			}
			size := int(heap() - before)
			runtime.KeepAlive(op)
			return size
		}
		c := newEntra(t, &endpoint{tokenSize: size}, cache.New(cache.Options{Size: bound}))
		ours := weigh("entra", func(i int) error { _, err := obo.TokenSource(c, assertion(i), scope).Token(); return err })
		if limit := bound * (size + 2000); ours > limit {
			t.Errorf("entra: got %d bytes, want at most %d with a bound of %d sessions", ours, limit, bound)
		}
		t.Attr("entra", fmt.Sprintf("%d, the bound", bound))
		msal := newMSAL(t, &endpoint{tokenSize: size})
		theirs := weigh("MSAL", func(i int) error {
			_, err := msal.AcquireTokenOnBehalfOf(context.Background(), assertion(i), []string{scope})
			return err
		})
		if theirs < users*size {
			t.Errorf("MSAL: got %d bytes, want at least the %d of all tokens", theirs, users*size)
		}
		t.Attr("MSAL", fmt.Sprint(users))
	})
}
