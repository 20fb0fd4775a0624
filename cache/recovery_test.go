package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

// early returns a handle whose token was acquired with challenge and is due for a refresh now.
func early(t *testing.T, c *cache.Cache, scope, challenge string) *cache.Handle {
	t.Helper()
	h := cache.NewHandle(c, key("t", "user"), scope)
	if _, err := h.Token(t.Context(), challenge, (&authority{}).fetch); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(h.Current().RefreshAt()))
	return h
}

// The caller that starts the first refresh has a challenge, which the cached token satisfies.
func TestFailedRefreshWithChallengeIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := early(t, cache.New(cache.Options{}), "s", "mfa")
		a := &authority{takes: time.Second}
		a.fail(errors.New("down"))
		if _, err := h.Token(t.Context(), "mfa", a.fetch); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.fail(nil)
		for old := h.Current(); h.Current() == old; time.Sleep(time.Second) {
			if !time.Now().Before(old.UsableUntil()) {
				t.Fatal("got the old token until its expiry, want a new one before")
			}
			get(t, h, a.fetch)
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("got %d requests, want 2", got)
		}
	})
}

// A refresh that began before a sign-in and fails after it does not delay the next one.
func TestRefreshFailureFromBeforeSignInIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := early(t, c, "s", "")
		a := &authority{takes: time.Second}
		a.fail(errors.New("revoked"))
		get(t, h, a.fetch)
		synctest.Wait()
		if _, err := cache.NewHandle(c, key("t", "user"), "another").Put(t.Context(), response("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.fail(nil)
		get(t, h, a.fetch)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := get(t, h, a.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2", got)
		}
	})
}

func TestRetryAfterFromBeforeSignInApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := early(t, c, "s", "")
		a := &authority{takes: time.Second}
		a.fail(throttled{5 * time.Minute})
		get(t, h, a.fetch)
		synctest.Wait()
		if _, err := cache.NewHandle(c, key("t", "user"), "another").Put(t.Context(), response("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		get(t, h, a.fetch)
		synctest.Wait()
		if got := a.requests.Load(); got != 1 {
			t.Errorf("got %d requests within Retry-After, want 1", got)
		}
	})
}

// The wait after a failed refresh was drawn for a token of 28 hours. A challenge then replaces that token by one of
// three minutes, whose own refresh does not wait so long.
func TestNewTokenResetsTheWait(t *testing.T) {
	for range 20 { // of the random waits, at least nine in ten are over three minutes
		synctest.Test(t, func(t *testing.T) {
			c := cache.New(cache.Options{})
			h := cache.NewHandle(c, key("t", "user"), "s")
			day := &authority{lifetime: func() time.Duration { return 28 * time.Hour }}
			get(t, h, day.fetch)
			time.Sleep(time.Until(h.Current().RefreshAt()))
			day.fail(errors.New("down"))
			get(t, h, day.fetch)
			synctest.Wait()
			short := &authority{lifetime: func() time.Duration { return 3 * time.Minute }}
			if _, err := h.Token(t.Context(), "mfa", short.fetch); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Minute)
			get(t, h, short.fetch) // fails the test on any error
		})
	}
}

// A request that a sign-in has overtaken is counted, and its events are emitted.
func TestOvertakenRequestIsCounted(t *testing.T) {
	for _, failure := range []error{nil, errors.New("revoked")} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			c := cache.New(cache.Options{OnEvent: func(e cache.Event) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%s %v err=%v retry=%v", e.Kind, e.Lifetime, e.Err, e.RetryIn))
			}})
			h := cache.NewHandle(c, key("t", "user"), "s")
			a := &authority{takes: time.Second}
			a.fail(failure)
			go h.Token(t.Context(), "", a.fetch)
			synctest.Wait()
			if _, err := h.Put(t.Context(), response("signed in", 2*time.Hour)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := get(t, h, a.fetch); got != "signed in" {
				t.Errorf("got %q, want signed in", got)
			}
			want := []string{
				"fetch started 0s err=<nil> retry=0s",
				"waited 0s err=<nil> retry=0s",
				"fetch done 1h0m0s err=<nil> retry=0s",
			}
			stats := cache.Stats{Hits: 1, Misses: 1, Fetches: 1, Sessions: 1}
			if failure != nil {
				want[2] = "fetch failed 0s err=revoked retry=0s"
				stats.Failures = 1
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("got events\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			wantStats(t, c, stats)
		})
	}
}

// Callers notice the failure of a background refresh if the old token has expired or was rejected in the meantime.
func TestFailureIsNotInBackgroundWithoutUsableToken(t *testing.T) {
	for _, rejected := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			c := cache.New(cache.Options{})
			early(t, c, "s", "")
			h := cache.NewHandle(c, key("t", "user"), "s")
			h.OnEvent = func(e cache.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Kind != cache.EventInvalidated && e.Kind != cache.EventWaited {
					got = append(got, fmt.Sprint(e.Kind, " background=", e.Background))
				}
			}
			a := &authority{takes: 10 * time.Second}
			a.fail(errors.New("down"))
			time.Sleep(time.Until(h.Current().UsableUntil()) - time.Second)
			get(t, h, a.fetch)
			if rejected {
				h.Invalidate(h.Current().Text(), "")
			}
			time.Sleep(2 * time.Second)
			if _, err := h.Token(t.Context(), "", a.fetch); err == nil {
				t.Error("got nil, want an error")
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if want := []string{"fetch started background=true", "fetch failed background=false"}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// A caller that waits for two requests emits one event, with the whole wait.
func TestWaitedCoversBothRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var waits []time.Duration
		c := cache.New(cache.Options{OnEvent: func(e cache.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == cache.EventWaited {
				waits = append(waits, e.Took)
			}
		}})
		h := cache.NewHandle(c, key("t", "user"), "s")
		a := &authority{takes: time.Second}
		go h.Token(t.Context(), "", a.fetch)
		synctest.Wait()
		if _, err := h.Token(t.Context(), "mfa", a.fetch); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := []time.Duration{time.Second, 2 * time.Second}; !slices.Equal(waits, want) {
			t.Errorf("got waits %v, want %v", waits, want)
		}
		wantStats(t, c, cache.Stats{Misses: 2, Fetches: 2, Sessions: 1})
	})
}

func TestCallersReturnHoweverOnEventEnds(t *testing.T) {
	for name, onStart := range map[string]func(){
		"ends the goroutine": runtime.Goexit,
		"hangs":              func() { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
				h.OnEvent = func(e cache.Event) {
					if e.Kind == cache.EventFetchStarted {
						onStart()
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := h.Token(ctx, "", (&authority{}).fetch)
				if err == nil || ctx.Err() != nil {
					t.Errorf("got %v and the context's error %v, want an error before the context ends", err, ctx.Err())
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// A handle whose session was purged finds the new session of another handle.
func TestHandleFindsNewSessionAfterPurge(t *testing.T) {
	c := cache.New(cache.Options{})
	a, b := cache.NewHandle(c, key("t", "user"), "s"), cache.NewHandle(c, key("t", "user"), "s")
	get(t, a, (&authority{}).fetch)
	purge(c, "user")
	if a.Current() != nil {
		t.Errorf("got %v after a purge, want nil", a.Current())
	}
	get(t, b, (&authority{}).fetch)
	if got := a.Current(); got == nil || got != b.Current() {
		t.Errorf("got %v, want %v", got, b.Current())
	}
}

func TestInvalidateAddsNoSession(t *testing.T) {
	c := cache.New(cache.Options{Size: 1})
	h := cache.NewHandle(c, key("t", "user"), "s")
	get(t, h, (&authority{}).fetch)
	if cache.NewHandle(c, key("t", "other"), "s").Invalidate("token 1", "") {
		t.Error("Invalidate for another subject: got true, want false")
	}
	wantStats(t, c, cache.Stats{Misses: 1, Fetches: 1, Sessions: 1})
	if !cache.NewHandle(c, key("t", "user"), "s").Invalidate("token 1", "") || h.Current() != nil {
		t.Errorf("got the token %v after Invalidate of a new handle, want nil", h.Current())
	}
}

// A Retry-After is at least 0, which leaves the back-off, and at most a day.
func TestRetryAfterIsBounded(t *testing.T) {
	for _, after := range []time.Duration{-time.Hour, 1<<63 - 1, -1 << 63} {
		synctest.Test(t, func(t *testing.T) {
			h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
			a := &authority{}
			a.fail(throttled{after})
			for range 2 {
				if _, err := h.Token(t.Context(), "", a.fetch); err != (throttled{after}) {
					t.Fatalf("got %v, want throttled", err)
				}
			}
			if got := a.requests.Load(); got != 1 {
				t.Errorf("%v: got %d requests, want 1", after, got)
			}
			a.fail(nil)
			time.Sleep(24*time.Hour + 2*time.Second)
			get(t, h, a.fetch)
		})
	}
}
