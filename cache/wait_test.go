package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

// A retrier is an endpoint that takes a second and fails. Its fetch repeats the request twice, after ten seconds each.
type retrier struct {
	authority
	waited []time.Duration // how long each call of Wait took
}

func (r *retrier) fetch(ctx context.Context, req *cache.Request) (cache.Response, error) {
	for retries := 0; ; retries++ {
		resp, err := r.authority.fetch(ctx, req)
		if err == nil || retries == 2 {
			return resp, err
		}
		start := time.Now()
		again := req.Wait(ctx, 10*time.Second)
		r.waited = append(r.waited, time.Since(start))
		if !again {
			return resp, err
		}
	}
}

func newRetrier() *retrier {
	r := &retrier{authority: authority{takes: time.Second}}
	r.fail(errors.New("down"))
	return r
}

// call calls for a token of h and returns its error and how long it took. If within is 0, it has no deadline.
func call(h *cache.Handle, claims string, within time.Duration, f fetchFunc) (time.Duration, error) {
	ctx := context.Background()
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	start := time.Now()
	_, err := h.Token(ctx, claims, f)
	return time.Since(start), err
}

// A retry is worth waiting for as long as a caller waits: until its context ends, or for the time of the fetch.
func TestRetryWaitsWithinTheCallersTime(t *testing.T) {
	for _, tt := range []struct {
		name     string
		callers  []time.Duration // their time-outs
		cancel   time.Duration   // when all leave; if 0, at their time-outs
		requests int64
	}{
		{name: "no time-out", callers: []time.Duration{0}, requests: 3},
		{name: "a long time-out", callers: []time.Duration{time.Minute}, requests: 3},
		{name: "one wait ends in time", callers: []time.Duration{15 * time.Second}, requests: 2},
		{name: "the wait would end with the context", callers: []time.Duration{11 * time.Second}, requests: 1},
		{name: "no wait ends in time", callers: []time.Duration{5 * time.Second}, requests: 1},
		{name: "the last one counts", callers: []time.Duration{5 * time.Second, 15 * time.Second, 2 * time.Second}, requests: 2},
		{name: "one without a time-out counts", callers: []time.Duration{5 * time.Second, 0}, requests: 3},
		{name: "all leave in the first wait", callers: []time.Duration{0, 0, time.Minute}, cancel: 6 * time.Second, requests: 1},
		{name: "all leave in the second request", callers: []time.Duration{0}, cancel: 11*time.Second + 500*time.Millisecond,
			requests: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRetrier()
				h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
				all, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				var wg sync.WaitGroup
				for _, within := range tt.callers {
					wg.Go(func() {
						ctx, cancel := all, context.CancelFunc(func() {})
						if within > 0 {
							ctx, cancel = context.WithTimeout(all, within)
						}
						defer cancel()
						if _, err := h.Token(ctx, "", r.fetch); err == nil {
							t.Error("got a token, want an error")
						}
					})
				}
				wg.Wait()
				time.Sleep(time.Minute)
				if got := r.requests.Load(); got != tt.requests {
					t.Errorf("got %d requests, want %d", got, tt.requests)
				}
			})
		})
	}
}

// When the last caller leaves, the wait ends at once.
func TestRetryWaitEndsWhenTheLastCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier()
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(4*time.Second, cancel)
		if _, err := h.Token(ctx, "", r.fetch); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		synctest.Wait()
		if len(r.waited) != 1 || r.waited[0] != 3*time.Second {
			t.Errorf("waits took %v, want [3s]", r.waited)
		}
		// The failure is cached for a back-off of one to two seconds.
		if took, err := call(h, "", 0, r.fetch); err == nil || took != 0 || r.requests.Load() != 1 {
			t.Errorf("got %v after %v and %d requests, want the cached error after 0s and 1", err, took, r.requests.Load())
		}
	})
}

// A caller that comes during the wait shares it, and keeps it going when the first one leaves.
func TestRetryWaitContinuesForAnotherCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier()
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(6*time.Second, cancel)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := h.Token(ctx, "", r.fetch); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		})
		time.Sleep(3 * time.Second)
		r.fail(nil)
		if got := get(t, h, r.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2", got)
		}
		wg.Wait()
	})
}

// No caller waits for a background refresh, so it is not repeated at once. The cache repeats it at a random moment.
// When the old token expires during the refresh, callers wait.
func TestBackgroundRefreshDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier()
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		get(t, h, (&authority{}).fetch)
		time.Sleep(time.Until(h.Current().RefreshAt()))
		if got := get(t, h, r.fetch); got != "token 1" {
			t.Errorf("got %q, want token 1", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := r.requests.Load(); got != 1 || len(r.waited) != 1 || r.waited[0] != 0 {
			t.Errorf("got %d requests and waits of %v, want 1 and [0s]", got, r.waited)
		}

		h = cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		get(t, h, (&authority{}).fetch)
		time.Sleep(time.Until(h.Current().UsableUntil()) - 500*time.Millisecond)
		r = newRetrier()
		get(t, h, r.fetch) // starts the refresh
		time.Sleep(500 * time.Millisecond)
		if _, err := call(h, "", 0, r.fetch); err == nil || r.requests.Load() != 3 {
			t.Errorf("got %v and %d requests for a caller after the expiry, want an error and 3", err, r.requests.Load())
		}
	})
}

// A caller with a challenge cannot use the outcome of a request without it, so it does not prolong that.
func TestRetryDoesNotWaitForOtherClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier()
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		var wg sync.WaitGroup
		wg.Go(func() { call(h, "", 5*time.Second, r.fetch) })
		synctest.Wait()
		good := &authority{takes: time.Second}
		if took, err := call(h, "mfa", 0, good.fetch); err != nil || took != 2*time.Second {
			t.Errorf("got %v after %v, want a token after 2s", err, took)
		}
		wg.Wait()
		if got := r.requests.Load(); got != 1 {
			t.Errorf("got %d requests, want 1", got)
		}
	})
}

// A sign-in gives the callers their token. The request that it overtakes is not repeated.
func TestRetryDoesNotWaitAfterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier()
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", "user"), "s")
		var wg sync.WaitGroup
		wg.Go(func() {
			if got := get(t, h, r.fetch); got != "signed in" {
				t.Errorf("got %q, want signed in", got)
			}
		})
		time.Sleep(3 * time.Second)
		if _, err := h.Put(t.Context(), response("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		synctest.Wait()
		if got := r.requests.Load(); got != 1 || len(r.waited) != 1 || r.waited[0] != 2*time.Second {
			t.Errorf("got %d requests and waits of %v, want 1 and [2s]", got, r.waited)
		}
	})
}
