package cache_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

// A resource sends another challenge for every token, or two in turn.
func TestClaimsChallengesAreLimited(t *testing.T) {
	for name, challenge := range map[string]func(i int) string{
		"another each time": func(i int) string { return fmt.Sprint("challenge ", i) },
		"two in turn":       func(i int) string { return fmt.Sprint("challenge ", i%2) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &authority{}
				h := cache.NewHandle(cache.New(cache.Options{}), key("t", "user"), "s")
				get(t, h, a.fetch)
				for i := range 600 { // ten minutes
					_, err := h.Token(t.Context(), challenge(i), a.fetch)
					var limit interface{ RetryAfterDelay() time.Duration }
					if err != nil && !(errors.As(err, &limit) && limit.RetryAfterDelay() > 0 &&
						limit.RetryAfterDelay() <= time.Minute) {
						t.Fatalf("got %v, want an error with a Retry-After of at most a minute", err)
					}
					get(t, h, a.fetch) // callers without a challenge are not affected
					time.Sleep(time.Second)
				}
				if got := a.requests.Load(); got < 1+3+8 || got > 1+3+10 {
					t.Errorf("got %d requests, want one, three, and one a minute", got)
				}
			})
		})
	}
}

// A resource rejects the token while a background refresh is throttled.
func TestRetryAfterOutlivesInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := early(t, cache.New(cache.Options{}), "s", "")
		a := &authority{}
		a.fail(throttled{10 * time.Minute})
		get(t, h, a.fetch)
		synctest.Wait()
		a.fail(nil)
		time.Sleep(time.Minute)
		if !h.Invalidate(h.Current().Text(), "") {
			t.Fatal("Invalidate: got false, want true")
		}
		time.Sleep(9*time.Minute - time.Second)
		if _, err := h.Token(t.Context(), "", a.fetch); err != (throttled{10 * time.Minute}) || a.requests.Load() != 1 {
			t.Errorf("got %v and %d requests, want the cached error and 1", err, a.requests.Load())
		}
		time.Sleep(2 * time.Second)
		get(t, h, a.fetch)
	})
}

// A listener that panics on a goroutine of the cache would end the program.
func TestPanicInOnEventIsDiscarded(t *testing.T) {
	c := cache.New(cache.Options{Size: 1, OnEvent: func(e cache.Event) { panic(e.Kind) }})
	a := &authority{}
	h := cache.NewHandle(c, key("t", ""), "s")
	get(t, h, a.fetch)
	h.Invalidate("token 1", "")
	get(t, cache.NewHandle(c, key("t", "user"), "s"), a.fetch) // evicts
	wantStats(t, c, cache.Stats{Misses: 2, Fetches: 2, Evictions: 1, Invalidations: 1, Sessions: 1})
}
