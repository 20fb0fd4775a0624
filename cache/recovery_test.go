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

// early returns a handle whose held token, got with challenge, has just become early.
func early(t *testing.T, c *cache.Cache, scope, challenge string) *cache.Handle {
	t.Helper()
	h := cache.NewHandle(c, key("t", "user"), scope)
	if _, err := h.Token(t.Context(), challenge, (&authority{}).fetch); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(h.Current().RefreshAt()))
	return h
}

// A refresh that was started by a caller with a challenge, which the held token satisfies,
// and fails, is not the last one before the token's end.
func TestFailedRefreshWithChallenge(t *testing.T) {
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
				t.Fatal("not refreshed before the token's end")
			}
			get(t, h, a.fetch)
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("%d requests, want 2: one that fails, and another", got)
		}
	})
}

// What a sign-in makes of no account is the failure of a refresh, not the token that is
// served meanwhile: it is still early.
func TestRefreshFailsAfterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := early(t, c, "s", "")
		a := &authority{takes: time.Second}
		a.fail(errors.New("revoked"))
		get(t, h, a.fetch)
		synctest.Wait()
		if _, err := cache.NewHandle(c, key("t", "user"), "another").Put(response("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.fail(nil)
		get(t, h, a.fetch)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := get(t, h, a.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2 of a second refresh", got)
		}
	})
}

// But throttling is no less true after a sign-in.
func TestThrottledAfterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := early(t, c, "s", "")
		a := &authority{takes: time.Second}
		a.fail(throttled{5 * time.Minute})
		get(t, h, a.fetch)
		synctest.Wait()
		if _, err := cache.NewHandle(c, key("t", "user"), "another").Put(response("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		get(t, h, a.fetch)
		synctest.Wait()
		if got := a.requests.Load(); got != 1 {
			t.Errorf("%d requests within Retry-After, want 1", got)
		}
	})
}

// The patience of those who have a token does not outlast it: a shorter one that came with a
// challenge can be refreshed at its own end.
func TestPatienceEndsWithTheToken(t *testing.T) {
	for range 20 { // the patient wait is drawn; at least nine in ten outlast a token of three minutes
		synctest.Test(t, func(t *testing.T) {
			c := cache.New(cache.Options{})
			h := cache.NewHandle(c, key("t", "user"), "s")
			day := &authority{life: func() time.Duration { return 28 * time.Hour }}
			get(t, h, day.fetch)
			time.Sleep(time.Until(h.Current().RefreshAt()))
			day.fail(errors.New("down"))
			get(t, h, day.fetch)
			synctest.Wait()
			short := &authority{life: func() time.Duration { return 3 * time.Minute }}
			if _, err := h.Token(t.Context(), "mfa", short.fetch); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Minute)
			get(t, h, short.fetch) // fails the test on any error
		})
	}
}

// A request that a sign-in has overtaken is still one: it is counted and told when it ends.
func TestOvertakenRequestIsCounted(t *testing.T) {
	for _, fails := range []error{nil, errors.New("revoked")} {
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
			a.fail(fails)
			go h.Token(t.Context(), "", a.fetch)
			synctest.Wait()
			if _, err := h.Put(response("signed in", 2*time.Hour)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := get(t, h, a.fetch); got != "signed in" {
				t.Errorf("held: %q", got)
			}
			want := []string{"fetch started 0s err=<nil> retry=0s", "waited 0s err=<nil> retry=0s", "fetch done 1h0m0s err=<nil> retry=0s"}
			stats := cache.Stats{Hits: 1, Misses: 1, Fetches: 1, Sessions: 1}
			if fails != nil {
				want[2] = "fetch failed 0s err=revoked retry=0s"
				stats.Failures = 1
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("events\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			wantStats(t, c, stats)
		})
	}
}

// A refresh that began in the background and fails when the token has ended, or was refused,
// is one that callers notice.
func TestBackgroundEnds(t *testing.T) {
	for _, refused := range []bool{false, true} {
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
			if refused {
				h.Invalidate(h.Current().Text(), "")
			}
			time.Sleep(2 * time.Second)
			if _, err := h.Token(t.Context(), "", a.fetch); err == nil {
				t.Error("no error")
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

// Who waits for a request that turns out to be no answer has waited, whatever comes then.
func TestWaitsAreCountedWhole(t *testing.T) {
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
			t.Errorf("waits %v, want %v", waits, want)
		}
		wantStats(t, c, cache.Stats{Misses: 2, Fetches: 2, Sessions: 1})
	})
}

// Whatever an OnEvent does, the flight lands.
func TestFlightsLandWhateverOnEventDoes(t *testing.T) {
	for name, tell := range map[string]func(){
		"ends the goroutine": runtime.Goexit,
		"hangs":              func() { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
				h.OnEvent = func(e cache.Event) {
					if e.Kind == cache.EventFetchStarted {
						tell()
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := h.Token(ctx, "", (&authority{}).fetch)
				if err == nil || ctx.Err() != nil {
					t.Errorf("got %v", err)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// A handle whose session was purged finds what another one has put there since.
func TestHeldAfterPurge(t *testing.T) {
	c := cache.New(cache.Options{})
	a, b := cache.NewHandle(c, key("t", "user"), "s"), cache.NewHandle(c, key("t", "user"), "s")
	get(t, a, (&authority{}).fetch)
	purge(c, "user")
	if a.Current() != nil {
		t.Error("held after a purge")
	}
	get(t, b, (&authority{}).fetch)
	if got := a.Current(); got == nil || got != b.Current() {
		t.Errorf("held: %v, want %v", got, b.Current())
	}
}

// To invalidate what is not held pushes nobody out.
func TestInvalidateMakesNoSession(t *testing.T) {
	c := cache.New(cache.Options{Size: 1})
	h := cache.NewHandle(c, key("t", "user"), "s")
	get(t, h, (&authority{}).fetch)
	if cache.NewHandle(c, key("t", "other"), "s").Invalidate("token 1", "") {
		t.Error("another's token was dropped")
	}
	wantStats(t, c, cache.Stats{Misses: 1, Fetches: 1, Sessions: 1})
	if !cache.NewHandle(c, key("t", "user"), "s").Invalidate("token 1", "") || h.Current() != nil {
		t.Error("a new handle does not drop the token")
	}
}

// A Retry-After that makes no sense silences nobody for ever, nor does it undo the back-off.
func TestRetryAfterNonsense(t *testing.T) {
	for _, after := range []time.Duration{-time.Hour, 1<<63 - 1, -1 << 63} {
		synctest.Test(t, func(t *testing.T) {
			h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
			a := &authority{}
			a.fail(throttled{after})
			for range 2 {
				if _, err := h.Token(t.Context(), "", a.fetch); err != (throttled{after}) {
					t.Fatalf("got %v", err)
				}
			}
			if got := a.requests.Load(); got != 1 {
				t.Errorf("%v: %d requests at once, want 1", after, got)
			}
			a.fail(nil)
			time.Sleep(24*time.Hour + 2*time.Second)
			get(t, h, a.fetch)
		})
	}
}
