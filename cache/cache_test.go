package cache_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

// An authority is a fake token endpoint. It counts requests.
type authority struct {
	takes    time.Duration        // the duration of a request
	lifetime func() time.Duration // of the next token; if nil, one hour

	requests atomic.Int64
	mu       sync.Mutex // guards err
	err      error
}

// fail sets the error of all later requests. If err is nil, they succeed.

func (a *authority) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *authority) fetch(ctx context.Context, r *cache.Request) (cache.Response, error) {
	n := a.requests.Add(1)
	select {
	case <-time.After(a.takes):
	case <-ctx.Done():
		return cache.Response{}, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return cache.Response{}, a.err
	}
	lifetime := time.Hour
	if a.lifetime != nil {
		lifetime = a.lifetime()
	}
	return response(fmt.Sprintf("token %d", n), lifetime), nil
}

type fetchFunc = func(context.Context, *cache.Request) (cache.Response, error)

func purge(c *cache.Cache, subject string) int {
	n, _ := c.Purge(context.Background(), subject)
	return n
}

func key(tenant, subject string) cache.Key {
	return cache.Key{
		Authority: "https://login.microsoftonline.com/" + tenant, ClientID: "app", Flow: "flow", Subject: subject,
	}
}

func withSession(k cache.Key, session string) cache.Key {
	k.Session = session
	return k
}

// get returns the cached token. f fetches a missing or expired token.
func get(t *testing.T, h *cache.Handle, f fetchFunc) string {
	t.Helper()
	tok := h.Hit()
	if tok == nil {
		var err error
		if tok, err = h.Token(t.Context(), "", f); err != nil {
			t.Fatal(err)
		}
	}
	return tok.AccessToken
}

func wantStats(t *testing.T, c *cache.Cache, want cache.Stats) {
	t.Helper()
	if got := c.Stats(); got != want {
		t.Errorf("stats: got\n%+v, want\n%+v", got, want)
	}
}

func TestColdCallersMakeOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := get(t, cache.NewHandle(c, key("t", ""), "s"), a.fetch); got != "token 1" {
					t.Errorf("got %q, want token 1", got)
				}
			})
		}
		wg.Wait()
		wantStats(t, c, cache.Stats{Misses: 100, Fetches: 1, Sessions: 1})
	})
}

func TestKeysFetchInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { get(t, cache.NewHandle(c, key(fmt.Sprint(i), ""), "s"), a.fetch) })
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("20 keys took %v, want 1s", took)
		}
		wantStats(t, c, cache.Stats{Misses: 20, Fetches: 20, Sessions: 20})
	})
}

func TestFetchContinuesWhenItsCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: 10 * time.Second}
		c := cache.New(cache.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { // starts the flight and leaves first
			_, err := cache.NewHandle(c, key("t", ""), "s").Token(ctx, "", a.fetch)
			if err != context.DeadlineExceeded || time.Since(start) != time.Second {
				t.Errorf("got %v after %v, want %v after 1s", err, time.Since(start), context.DeadlineExceeded)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if got := get(t, cache.NewHandle(c, key("t", ""), "s"), a.fetch); got != "token 1" {
				t.Errorf("got %q, want token 1", got)
			}
		})
		wg.Wait()
		wantStats(t, c, cache.Stats{Misses: 2, Fetches: 1, Sessions: 1})
	})
}

func TestFetchTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Hour}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		start := time.Now()
		_, err := h.Token(context.Background(), "", a.fetch)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("got %v after %v, want %v after 30s", err, time.Since(start), context.DeadlineExceeded)
		}
	})
}

// A fetch may return up to five seconds after its time limit, if the response arrived before the limit.
func TestFetchHasGraceToReturn(t *testing.T) {
	for _, tt := range []struct {
		takes time.Duration
		want  string
	}{
		{35*time.Second - 1, "x"},
		{35*time.Second + 1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
			start, got := time.Now(), ""
			tok, err := h.Token(t.Context(), "", func(context.Context, *cache.Request) (cache.Response, error) {
				time.Sleep(tt.takes)
				return response("x", time.Hour), nil
			})
			if err == nil {
				got = tok.AccessToken
			}
			if took := min(tt.takes, 35*time.Second); got != tt.want || time.Since(start) != took {
				t.Errorf("got %q, %v after %v, want %q after %v", got, err, time.Since(start), tt.want, took)
			}
			time.Sleep(time.Minute)
		})
	}
}

func TestEarlyRefreshDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: 2 * time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		get(t, h, a.fetch)
		tok := h.Current()
		time.Sleep(time.Until(tok.RefreshAt()))
		for range 100 { // all get the old token at once, and one refresh runs
			start := time.Now()
			if got := get(t, h, a.fetch); got != "token 1" || time.Since(start) != 0 {
				t.Fatalf("got %q after %v, want token 1 after 0s", got, time.Since(start))
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := get(t, h, a.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2", got)
		}
		wantStats(t, c, cache.Stats{Hits: 101, Misses: 1, Fetches: 2, Sessions: 1})
	})
}

// The wide range is for an app's token that callers waited for, and for any token after a failure.
func TestRefreshPoint(t *testing.T) {
	const wide, narrow = 6 * time.Minute, 36 * time.Minute // of a lifetime of an hour; both ranges end at 42 minutes
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		drawn := func(name string, from time.Duration, next func(h *cache.Handle, a *authority), subject string) {
			t.Helper()
			lowest := time.Hour
			for i := range 300 {
				a := &authority{}
				h := cache.NewHandle(c, key(fmt.Sprint(name, i), subject), "s")
				get(t, h, a.fetch)
				next(h, a)
				early := h.Current().RefreshAt().Sub(h.Current().ObtainedAt())
				if early < from || early > 42*time.Minute {
					t.Fatalf("%s: got early after %v, want %v to 42m", name, early, from)
				}
				lowest = min(lowest, early)
			}
			// 300 draws all miss the first tenth of the range once in 10^13 times.
			if lowest > from+(42*time.Minute-from)/10 {
				t.Errorf("%s: got %v as the lowest of 300 draws, want about %v", name, lowest, from)
			}
		}
		refreshed := func(h *cache.Handle, a *authority) {
			t.Helper()
			old := h.Current()
			time.Sleep(time.Until(old.RefreshAt()))
			get(t, h, a.fetch)
			synctest.Wait()
			if h.Current() == old {
				t.Fatal("got the old token, want a new one")
			}
		}
		drawn("the app's first token", wide, func(*cache.Handle, *authority) {}, "")
		drawn("the app's refreshed token", narrow, refreshed, "")
		drawn("the app's token after two hours without a call", wide, func(h *cache.Handle, a *authority) {
			time.Sleep(2 * time.Hour)
			get(t, h, a.fetch)
		}, "")
		drawn("the app's token after Invalidate", wide, func(h *cache.Handle, a *authority) {
			h.Invalidate(h.Current().Text(), "")
			get(t, h, a.fetch)
		}, "")
		drawn("a user's first token", narrow, func(*cache.Handle, *authority) {}, "user")
		drawn("a user's token of Put", narrow, func(h *cache.Handle, _ *authority) {
			if _, err := h.Put(t.Context(), response("put", time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, "user")
		drawn("a user's token after a failure", wide, func(h *cache.Handle, a *authority) {
			time.Sleep(time.Until(h.Current().RefreshAt()))
			a.fail(errors.New("down"))
			get(t, h, a.fetch)
			synctest.Wait()
			a.fail(nil)
			time.Sleep(time.Until(h.Current().UsableUntil()))
			get(t, h, a.fetch)
		}, "user")
	})
}

// A day has one call a second, tokens of 60 to 90 minutes, and an endpoint that takes two seconds. Each token is
// replaced at its refresh point.
func TestOnlyTheFirstCallOfADayWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lifetimes := []time.Duration{60, 90, 75, 63, 87, 71}
		n := 0
		a := &authority{takes: 2 * time.Second, lifetime: func() time.Duration {
			n++
			return lifetimes[n%len(lifetimes)] * time.Minute
		}}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		waited, predicted := 0, 0
		start := time.Now()
		var seen *cache.Token
		for time.Since(start) < 24*time.Hour {
			before := time.Now()
			get(t, h, a.fetch)
			if time.Since(before) > 0 {
				waited++
			}
			if tok := h.Current(); tok != seen {
				seen = tok
				predicted++ // its request
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute) // a refresh may be in flight
		synctest.Wait()
		if waited != 1 {
			t.Errorf("got %d calls that waited, want 1", waited)
		}
		got := int(a.requests.Load())
		if got != predicted && got != predicted+1 { // the last may be in flight
			t.Errorf("got %d requests, want %d or one more", got, predicted)
		}
		// The mean lifetime is 74 1/3 minutes, so a refresh is due every 44.6 to 52 minutes. The first is earlier.
		if got < 27 || got > 34 {
			t.Errorf("got %d requests in a day, want 27 to 34", got)
		}
	})
}

func TestRefreshIsRetriedDuringOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		type failure struct {
			at   time.Time
			wait time.Duration
		}
		var failures []failure
		var mu sync.Mutex
		c := cache.New(cache.Options{OnEvent: func(e cache.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == cache.EventFetchFailed {
				failures = append(failures, failure{time.Now(), e.RetryIn})
				if !e.Background {
					t.Error("got a failed fetch that callers wait for, want one in the background")
				}
			}
		}})
		h := cache.NewHandle(c, key("t", ""), "s")
		get(t, h, a.fetch)
		time.Sleep(time.Until(h.Current().RefreshAt()))
		a.fail(errors.New("down"))
		down, end := time.Now(), h.Current().UsableUntil()
		for time.Until(end) > 200*time.Millisecond {
			before := time.Now()
			get(t, h, a.fetch) // fails the test on any error
			if time.Since(before) > 0 {
				t.Fatalf("got the token after %v, want it at once", time.Since(before))
			}
			time.Sleep(100 * time.Millisecond)
			if time.Since(down) > 10*time.Minute {
				a.fail(nil)
			}
		}
		if got := get(t, h, a.fetch); got == "token 1" {
			t.Error("got token 1, want a new token before its expiry")
		}
		// Each wait is at most nine tenths of the time that the token has left.
		if len(failures) < 1 || len(failures) > 12 { // a back-off of a minute would cause about twenty
			t.Errorf("got %d failures in ten minutes, want 1 to 12", len(failures))
		}
		for _, f := range failures {
			if left := end.Sub(f.at); f.wait < time.Second || f.wait > left*9/10 {
				t.Errorf("got a wait of %v, want 1s to %v", f.wait, left*9/10)
			}
		}
	})
}

type throttled struct{ after time.Duration }

func (throttled) Error() string                    { return "throttled" }
func (e throttled) RetryAfterDelay() time.Duration { return e.after }

// A Retry-After beyond the expiry of a token does not extend the token's lifetime.
func TestThrottlingDoesNotExtendToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		get(t, h, a.fetch)
		end := h.Current().UsableUntil()
		time.Sleep(time.Until(h.Current().RefreshAt()))
		a.fail(throttled{2 * time.Hour})
		get(t, h, a.fetch)
		synctest.Wait()
		time.Sleep(time.Until(end) - time.Nanosecond)
		if got := get(t, h, a.fetch); got != "token 1" {
			t.Errorf("got %q, want token 1", got)
		}
		time.Sleep(time.Nanosecond)
		if tok := h.Hit(); tok != nil {
			t.Errorf("got %q, want no token after its expiry", tok.AccessToken)
		}
		if _, err := h.Token(t.Context(), "", a.fetch); err != (throttled{2 * time.Hour}) {
			t.Errorf("got %v, want throttled", err)
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("got %d requests, want 2", got)
		}
	})
}

func TestFailureIsCachedForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: 10 * time.Millisecond}
		a.fail(throttled{time.Minute})
		c := cache.New(cache.Options{})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 59 * time.Millisecond)
				_, err := cache.NewHandle(c, key("t", ""), "s").Token(t.Context(), "", a.fetch)
				if err != (throttled{time.Minute}) {
					t.Errorf("got %v, want throttled", err)
				}
			})
		}
		wg.Wait()
		if got := a.requests.Load(); got != 1 {
			t.Errorf("got %d requests in %v, want 1", got, time.Since(start))
		}
		a.fail(nil)
		// Retry-After, up to two random seconds, and the request itself.
		time.Sleep(time.Until(start.Add(time.Minute + 2*time.Second + 11*time.Millisecond)))
		if got := get(t, cache.NewHandle(c, key("t", ""), "s"), a.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2", got)
		}
		wantStats(t, c, cache.Stats{Misses: 1001, Fetches: 2, Failures: 1, Sessions: 1})
	})
}

func TestInvalidateDropsOnlyTheGivenToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		old := get(t, h, a.fetch)
		var wg sync.WaitGroup
		for range 100 { // a burst of responses with status 401
			wg.Go(func() {
				h := cache.NewHandle(c, key("t", ""), "S")
				h.Invalidate(old, "")
				if got := get(t, h, a.fetch); got != "token 2" {
					t.Errorf("got %q, want token 2", got)
				}
			})
		}
		wg.Wait()
		if h.Invalidate(old, "") {
			t.Error("Invalidate of an old token: got true, want false")
		}
		wantStats(t, c, cache.Stats{Misses: 101, Fetches: 2, Invalidations: 1, Sessions: 1})
	})
}

func TestInvalidateClearsTheCachedFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		old := get(t, h, a.fetch)
		time.Sleep(time.Until(h.Current().RefreshAt()))
		a.fail(errors.New("down"))
		get(t, h, a.fetch)
		synctest.Wait() // the refresh has failed and the next one waits
		a.fail(nil)
		h.Invalidate(old, "")
		if got := get(t, h, a.fetch); got != "token 3" {
			t.Errorf("got %q, want token 3", got)
		}
	})
}

func TestChallengedTokenReplacesTheCachedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var challenges []string
		fetch := func(ctx context.Context, r *cache.Request) (cache.Response, error) {
			challenges = append(challenges, r.Claims)
			time.Sleep(time.Second)
			return response(fmt.Sprint("token ", len(challenges)), time.Hour), nil
		}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		get(t, h, fetch)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				tok, err := h.Token(t.Context(), "mfa", fetch)
				if err != nil || tok.AccessToken != "token 2" {
					t.Errorf("got %v, %v, want token 2", tok, err)
				}
			})
		}
		wg.Wait()
		if got := get(t, h, fetch); got != "token 2" { // it has replaced the old one for all callers
			t.Errorf("got %q, want token 2", got)
		}
		if _, err := h.Token(t.Context(), "mfa", fetch); err != nil { // without another request
			t.Error(err)
		}
		if got := h.Current().Claims(); got != "mfa" {
			t.Errorf("got the claims %q, want mfa", got)
		}
		time.Sleep(time.Until(h.Current().RefreshAt()))
		get(t, h, fetch) // starts a refresh without claims
		time.Sleep(time.Second)
		synctest.Wait()
		if got := strings.Join(challenges, ","); got != ",mfa," {
			t.Errorf("got requests with the claims %q, want %q", got, ",mfa,")
		}
	})
}

// The response to a request without claims in flight does not satisfy a challenge.
func TestChallengeDuringFetchMakesItsOwnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		go h.Token(t.Context(), "", a.fetch)
		synctest.Wait()
		tok, err := h.Token(t.Context(), "mfa", a.fetch)
		if err != nil || tok.AccessToken != "token 2" {
			t.Errorf("got %v, %v, want token 2", tok, err)
		}
	})
}

func TestFailuresWithAndWithoutClaimsAreCachedSeparately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		down := errors.New("down")
		a.fail(down)
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		for range 10 { // a failure of one kind does not replace one of the other
			for _, challenge := range []string{"", "mfa"} {
				if _, err := h.Token(t.Context(), challenge, a.fetch); err != down {
					t.Errorf("challenge %q: got %v, want %v", challenge, err, down)
				}
			}
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("got %d requests, want one of each kind", got)
		}
	})
}

// Retry-After applies to requests with other claims, too.
func TestThrottlingStopsChallenges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		a.fail(throttled{time.Hour})
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		for i := range 100 {
			for _, challenge := range []string{"", fmt.Sprint("challenge ", i)} {
				if _, err := h.Token(t.Context(), challenge, a.fetch); err != (throttled{time.Hour}) {
					t.Errorf("challenge %q: got %v, want throttled", challenge, err)
				}
			}
		}
		if got := a.requests.Load(); got != 1 {
			t.Errorf("got %d requests, want 1", got)
		}
	})
}

// A challenge that only the user can satisfy causes one request for each back-off, even if the resource repeats it
// every second. The cached token stays.
func TestFailingChallengeBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain, challenged := 0, 0
		fetch := func(_ context.Context, r *cache.Request) (cache.Response, error) {
			if r.Claims != "" {
				challenged++
				return cache.Response{}, errors.New("interaction required")
			}
			plain++
			return response("plain", time.Hour), nil
		}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", "user"), "s") // its token is fresh for 36 minutes
		for range 30 * 60 {
			get(t, h, fetch)
			if _, err := h.Token(t.Context(), "step up", fetch); err == nil {
				t.Fatal("got nil, want an error")
			}
			time.Sleep(time.Second)
		}
		if plain != 1 || challenged < 30 || challenged > 120 {
			t.Errorf("got %d requests without claims and %d with, want 1 and 30 to 120", plain, challenged)
		}
	})
}

// A caller without claims that waited for a request with claims does not get its failure.
func TestFailedChallengeDoesNotFailOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := func(_ context.Context, r *cache.Request) (cache.Response, error) {
			time.Sleep(time.Second)
			if r.Claims != "" {
				return cache.Response{}, errors.New("interaction required")
			}
			return response("plain", time.Hour), nil
		}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		go h.Token(t.Context(), "step up", fetch)
		synctest.Wait()
		if got := get(t, h, fetch); got != "plain" {
			t.Errorf("got %q, want plain", got)
		}
	})
}

// A resource may reject a token with the challenge that it was acquired with.
func TestRepeatedChallengeReplacesTokenOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		plain := get(t, h, a.fetch)
		if h.Invalidate(plain, "mfa") {
			t.Error("Invalidate of a token without the challenge: got true, want false")
		}
		for minute := range 10 {
			tok, err := h.Token(t.Context(), "mfa", a.fetch)
			if err != nil || tok.AccessToken != fmt.Sprint("token ", 2+minute) {
				t.Fatalf("got %v, %v, want token %d", tok, err, 2+minute)
			}
			for range 59 {
				if h.Invalidate(tok.AccessToken, "mfa") {
					t.Fatal("Invalidate within a minute: got true, want false")
				}
				time.Sleep(time.Second)
			}
			time.Sleep(time.Second)
			if h.Invalidate("another", "mfa") || h.Invalidate(tok.AccessToken, "other") {
				t.Fatal("Invalidate of another token or challenge: got true, want false")
			}
			if !h.Invalidate(tok.AccessToken, "mfa") {
				t.Fatal("Invalidate after a minute: got false, want true")
			}
		}
	})
}

// A fetch that calls runtime.Goexit or ignores its context counts as a failure.
func TestCallersReturnHoweverFetchEnds(t *testing.T) {
	for name, fetch := range map[string]fetchFunc{
		"ends its goroutine": func(context.Context, *cache.Request) (cache.Response, error) {
			runtime.Goexit()
			panic("unreachable")
		},
		"ignores its context": func(context.Context, *cache.Request) (cache.Response, error) {
			time.Sleep(time.Hour)
			return response("late", time.Hour), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cache.New(cache.Options{})
				h := cache.NewHandle(c, key("t", ""), "s")
				if _, err := h.Token(t.Context(), "", fetch); err == nil {
					t.Fatal("got nil, want an error")
				}
				time.Sleep(2 * time.Second)
				if got := get(t, h, (&authority{}).fetch); got != "token 1" {
					t.Errorf("got %q, want token 1", got)
				}
				time.Sleep(2 * time.Hour)
				if got := h.Current().Text(); got != "token 1" {
					t.Errorf("got %q after a late response, want token 1", got)
				}
				wantStats(t, c, cache.Stats{Misses: 2, Fetches: 2, Failures: 1, Sessions: 1})
			})
		})
	}
}

// A sign-in is newer than a refresh in flight. Its token and state stay, and callers that wait get its token. The later
// failure of an old request is ignored.
func TestSignInOvertakesRefreshInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		old := func(_ context.Context, r *cache.Request) (cache.Response, error) {
			time.Sleep(10 * time.Second)
			if r.Claims == "fails" {
				return cache.Response{}, errors.New("revoked")
			}
			a := response("old", time.Hour)
			a.State = "old refresh token"
			return a, nil
		}
		same := cache.NewHandle(c, key("t", "u"), "a")
		other := cache.NewHandle(c, key("t", "u"), "b")
		challenged := cache.NewHandle(c, key("t", "u"), "c")
		waited := make(chan string)
		go func() { waited <- get(t, same, old) }()
		go other.Token(t.Context(), "", old)
		go challenged.Token(t.Context(), "fails", old)
		synctest.Wait()
		start := time.Now()
		signIn := response("new", time.Hour)
		signIn.State = "new refresh token"
		same.Put(t.Context(), signIn)
		if got := <-waited; got != "new" || time.Since(start) != 0 {
			t.Errorf("waiting caller: got %q after %v, want new after 0s", got, time.Since(start))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait() // the old requests have just ended
		if _, err := challenged.Token(t.Context(), "fails", (&authority{}).fetch); err != nil {
			t.Errorf("got %v of a request from before the sign-in, want nil", err)
		}
		if got := get(t, same, nil); got != "new" {
			t.Errorf("got %q, want new", got)
		}
		other.Invalidate("old", "")
		if _, err := other.Token(t.Context(), "", func(_ context.Context, r *cache.Request) (cache.Response, error) {
			if r.State != "new refresh token" {
				t.Errorf("got state %q, want new refresh token", r.State)
			}
			return response("x", time.Hour), nil
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicOfFetchIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		for _, tt := range []struct {
			value any
			want  string
		}{
			{"s3cret", "cache: fetch did not return a result: the function panicked with a value of type string"},
			{nil, "cache: fetch did not return a result: the function panicked: "},
		} {
			fetch := func(context.Context, *cache.Request) (cache.Response, error) { panic(tt.value) }
			_, err := h.Token(t.Context(), "", fetch)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			time.Sleep(time.Minute)
		}
		if got := get(t, h, (&authority{}).fetch); got != "token 1" {
			t.Errorf("got %q, want token 1", got)
		}
		wantStats(t, c, cache.Stats{Misses: 3, Fetches: 3, Failures: 2, Sessions: 1})
	})
}

func TestUnusableResponsesAreRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		past := response("x", time.Hour)
		past.NotAfter = time.Now()
		for _, r := range []cache.Response{response("", time.Hour), response("x", 0), response("x", -time.Hour), past} {
			h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
			if _, err := h.Put(t.Context(), r); err == nil || h.Current() != nil {
				t.Errorf("Put of %q with a lifetime of %v: got %v, want an error", r.AccessToken, r.Lifetime, err)
			}
		}
	})
}

func TestTokenExpiresWithItsGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", "hash"), "s")
		a := response("x", time.Hour)
		a.NotAfter = time.Now().Add(10 * time.Minute)
		if _, err := h.Put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if got := h.Hit().Expiry; !got.Equal(a.NotAfter) {
			t.Errorf("got expiry %v, want %v", got, a.NotAfter)
		}
		time.Sleep(10*time.Minute - time.Nanosecond)
		if h.Hit() == nil {
			t.Error("got no token before its expiry, want a hit")
		}
		time.Sleep(time.Nanosecond)
		if h.Hit() != nil {
			t.Error("got a hit after the expiry, want none")
		}
	})
}

func TestExpiredTokenIsReplacedBeforeTokenReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		get(t, h, a.fetch)
		time.Sleep(59 * time.Minute) // without a call in the early window
		start := time.Now()
		if got := get(t, h, a.fetch); got != "token 2" || time.Since(start) != time.Second {
			t.Errorf("got %q after %v, want token 2 after 1s", got, time.Since(start))
		}
	})
}

func TestScopeSetsShareTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		signIn := response("first", time.Hour)
		signIn.State = "refresh token"
		if _, err := cache.NewHandle(c, key("t", "user"), "a").Put(t.Context(), signIn); err != nil {
			t.Fatal(err)
		}
		var got string
		fetch := func(ctx context.Context, r *cache.Request) (cache.Response, error) {
			got = r.State
			a := response("second", time.Hour)
			a.State = "rotated"
			return a, nil
		}
		get(t, cache.NewHandle(c, key("t", "user"), "b"), fetch)
		if got != "refresh token" {
			t.Errorf("got state %v, want refresh token", got)
		}
		get(t, cache.NewHandle(c, key("t", "user"), "c"), fetch)
		if got != "rotated" {
			t.Errorf("got state %v, want rotated", got)
		}
		get(t, cache.NewHandle(c, key("t", "other"), "b"), fetch)
		if got != "" {
			t.Errorf("another subject: got state %v, want none", got)
		}
	})
}

func TestSignInClearsCachedFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		a.fail(throttled{time.Hour})
		c := cache.New(cache.Options{})
		b := cache.NewHandle(c, key("t", "user"), "b")
		if _, err := b.Token(t.Context(), "", a.fetch); err == nil {
			t.Fatal("got nil, want an error")
		}
		a.fail(nil)
		if _, err := cache.NewHandle(c, key("t", "user"), "a").Put(t.Context(), response("x", time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, b, a.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2", got)
		}
	})
}

func TestPurgeDropsAllSessionsOfSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", "user"), "a")
		signIn := response("x", time.Hour)
		signIn.State = "refresh token"
		h.Put(t.Context(), signIn)
		cache.NewHandle(c, key("t2", "user"), "a").Put(t.Context(), signIn)
		other := cache.NewHandle(c, key("t", "user's other"), "a")
		other.Put(t.Context(), signIn)
		for _, session := range []string{"phone", "laptop"} {
			cache.NewHandle(c, withSession(key("t", "user"), session), "a").Put(t.Context(), signIn)
			cache.NewHandle(c, withSession(key("t", "other"), session), "a").Put(t.Context(), signIn)
		}
		late := cache.NewHandle(c, key("t", "user"), "b") // a request in flight
		go late.Token(t.Context(), "", a.fetch)
		synctest.Wait()

		if got := purge(c, "user"); got != 4 {
			t.Errorf("got %d purged sessions, want 4", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, h := range []*cache.Handle{h, late} {
			if h.Hit() != nil || h.Current() != nil {
				t.Error("got a token of a purged session, want none")
			}
			fetch := func(_ context.Context, r *cache.Request) (cache.Response, error) {
				if r.Claims != "" || r.State != "" {
					t.Errorf("got claims %q and state %v, want none", r.Claims, r.State)
				}
				return response("new", time.Hour), nil
			}
			if _, err := h.Token(t.Context(), "", fetch); err != nil {
				t.Error(err)
			}
		}
		if other.Hit() == nil {
			t.Error("got no token of another subject, want a hit")
		}
		if got := c.Stats().Sessions; got != 4 {
			t.Errorf("got %d sessions, want 4", got)
		}
	})
}

// An evicted session has lost its tokens, also for its handles. A handle then finds the new session.
func TestHandleStaysUsableAfterEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		c := cache.New(cache.Options{Size: 1})
		first := cache.NewHandle(c, key("t", "1"), "s")
		signIn := response("first", time.Hour)
		signIn.State = "refresh token"
		first.Put(t.Context(), signIn)
		get(t, cache.NewHandle(c, key("t", "2"), "s"), a.fetch)
		if got := c.Stats(); got.Evictions != 1 || got.Sessions != 1 {
			t.Errorf("got %+v, want one eviction and one session", got)
		}
		if first.Hit() != nil || first.Current() != nil {
			t.Error("got a token of an evicted session, want none")
		}
		if _, err := first.Token(t.Context(), "", func(_ context.Context, r *cache.Request) (cache.Response, error) {
			if r.State != "" {
				t.Errorf("got state %v of an evicted session, want nil", r.State)
			}
			return response("second", time.Hour), nil
		}); err != nil {
			t.Error(err)
		}
		// The handle and the cache agree on the session.
		if got := get(t, cache.NewHandle(c, key("t", "1"), "s"), nil); got != "second" {
			t.Errorf("another handle got %q, want second", got)
		}
		if n := purge(c, "1"); n != 1 || first.Hit() != nil {
			t.Errorf("got %d purged sessions, want 1", n)
		}
	})
}

// A handle does not look up its session again, which still counts as used.
func TestSessionInUseIsNotEvicted(t *testing.T) {
	for _, size := range []int{10, 2048} {
		for name, use := range map[string]func(*testing.T, *cache.Handle){
			"hits": func(t *testing.T, h *cache.Handle) {
				if h.Hit() == nil {
					t.Fatal("got no token of a session in use, want a hit")
				}
			},
			"calls of Token": func(t *testing.T, h *cache.Handle) {
				if _, err := h.Token(t.Context(), "", nil); err != nil {
					t.Fatal("got no token of a session in use, want a hit")
				}
			},
		} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := cache.New(cache.Options{Size: size})
					inUse := cache.NewHandle(c, key("t", "in use"), "s")
					inUse.Put(t.Context(), response("x", time.Hour))
					for i := range 10 * size {
						use(t, inUse)
						cache.NewHandle(c, key("t", fmt.Sprint(i)), "s").Put(t.Context(), response("y", time.Hour))
						if i%(size/4) == 0 {
							time.Sleep(2 * time.Second)
						}
					}
					// Without further use it is evicted like the others.
					for i := range 10 * size {
						cache.NewHandle(c, key("t", fmt.Sprint("late", i)), "s").Put(t.Context(), response("z", time.Hour))
					}
					if inUse.Current() != nil {
						t.Error("got a token of an idle session, want it evicted")
					}
					if got := c.Stats().Sessions; got != size {
						t.Errorf("got %d sessions, want %d", got, size)
					}
				})
			})
		}
	}
}

func TestScopeSetsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		c := cache.New(cache.Options{})
		first := cache.NewHandle(c, key("t", ""), "first")
		get(t, first, a.fetch)
		for i := range 64 {
			get(t, cache.NewHandle(c, key("t", ""), fmt.Sprint(i)), a.fetch)
		}
		if first.Hit() != nil {
			t.Error("got a token of the first of 65 scope sets, want it evicted")
		}
		get(t, first, a.fetch)
		if first.Hit() == nil {
			t.Error("got no token through the old handle, want a hit")
		}
		wantStats(t, c, cache.Stats{Hits: 1, Misses: 66, Fetches: 66, Sessions: 1})
	})
}

func TestScopeSetsWithRequestInFlightAreNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: 20 * time.Second}
		c := cache.New(cache.Options{})
		var wg sync.WaitGroup
		for range 2 {
			for i := range 200 {
				wg.Go(func() { get(t, cache.NewHandle(c, key("t", ""), fmt.Sprint(i)), a.fetch) })
			}
			synctest.Wait()
		}
		wg.Wait()
		if got := a.requests.Load(); got != 200 {
			t.Errorf("got %d requests, want 200", got)
		}
		get(t, cache.NewHandle(c, key("t", ""), "one more"), a.fetch) // evicts all over the bound
		cached := 0
		for i := range 200 {
			if cache.NewHandle(c, key("t", ""), fmt.Sprint(i)).Current() != nil {
				cached++
			}
		}
		if cached != 63 {
			t.Errorf("got %d other cached tokens, want 63", cached)
		}
	})
}

// If all other entries have a request in flight, the entry of the last lookup is evicted.
func TestOnlyScopeSetWithoutRequestIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		var wg sync.WaitGroup
		for i := range 63 {
			wg.Go(func() { get(t, cache.NewHandle(c, key("t", ""), fmt.Sprint(i)), a.fetch) })
		}
		synctest.Wait()
		last := cache.NewHandle(c, key("t", ""), "last")
		last.Put(t.Context(), response("x", time.Hour))
		if last.Hit() == nil {
			t.Error("got no token of the 64th scope set, want a hit")
		}
		cache.NewHandle(c, key("t", ""), "new").Put(t.Context(), response("y", time.Hour))
		if got := last.Current(); got != nil {
			t.Errorf("got %q after the 65th scope set, want no token", got.Text())
		}
		wg.Wait()
	})
}

// A session is purged in all tenants of its cloud, and the sessions of other apps, flows, clouds and subjects stay.
func TestPurgeSessionIsForOneApp(t *testing.T) {
	k := withSession(key("t1", "user"), "browser 1")
	changed := func(change func(*cache.Key)) cache.Key {
		c := k
		change(&c)
		return c
	}
	all := map[string]struct {
		key       cache.Key
		one, each bool // dropped with k.Session, and without
	}{
		"the session":    {k, true, true},
		"another tenant": {withSession(key("t2", "user"), "browser 1"), true, true},
		"a credential":   {changed(func(k *cache.Key) { k.Variant = "x" }), true, true},
		"a capability":   {changed(func(k *cache.Key) { k.Capabilities = "cp1" }), true, true},
		"a browser":      {withSession(k, "browser 2"), false, true},
		"no session":     {withSession(k, ""), false, true},
		"an app":         {changed(func(k *cache.Key) { k.ClientID = "app 2" }), false, false},
		"a flow":         {changed(func(k *cache.Key) { k.Flow = "flow 2" }), false, false},
		"a cloud":        {changed(func(k *cache.Key) { k.Authority = "https://login.microsoftonline.us/t1" }), false, false},
		"a subject":      {withSession(key("t1", "user 2"), "browser 1"), false, false},
	}
	for _, size := range []int{0, 100} {
		for _, session := range []string{"browser 1", ""} {
			c := cache.New(cache.Options{Size: size})
			want := 0
			for name, s := range all {
				if _, err := cache.NewHandle(c, s.key, "s").Put(t.Context(), response(name, time.Hour)); err != nil {
					t.Fatal(err)
				}
				if s.each && (session == "" || s.one) {
					want++
				}
			}
			if n, err := c.PurgeSession(t.Context(), withSession(k, session)); n != want || err != nil {
				t.Errorf("session %q: got %d, error %v; want %d", session, n, err, want)
			}
			for name, s := range all {
				dropped := s.each && (session == "" || s.one)
				if got := cache.NewHandle(c, s.key, "s").Current() == nil; got != dropped {
					t.Errorf("session %q, %s: got dropped = %t, want %t", session, name, got, dropped)
				}
			}
			if got := c.Stats().Sessions; got != len(all)-want {
				t.Errorf("session %q: got %d sessions, want %d", session, got, len(all)-want)
			}
		}
	}
}

// A tenant with very many sessions evicts its own, in a cache with and without shards. Sessions of small tenants stay.
func TestNoisyTenantEvictsItself(t *testing.T) {
	for _, size := range []int{100, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := cache.New(cache.Options{Size: size})
			const tenants = 10
			for i := range tenants {
				for j := range size / tenants / 4 {
					cache.NewHandle(c, key(fmt.Sprint("quiet", i), fmt.Sprint(j)), "s").Put(t.Context(), response("x", time.Hour))
				}
			}
			for i := range 20 * size {
				cache.NewHandle(c, key("noisy", fmt.Sprint(i)), "s").Put(t.Context(), response("x", time.Hour))
			}
			if got := c.Stats().Sessions; got != size {
				t.Errorf("got %d sessions, want %d", got, size)
			}
			evicted := 0
			for i := range tenants {
				for j := range size / tenants / 4 {
					if cache.NewHandle(c, key(fmt.Sprint("quiet", i), fmt.Sprint(j)), "s").Current() == nil {
						evicted++
					}
				}
			}
			if evicted > 0 {
				t.Errorf("got %d evicted sessions of quiet tenants, want 0", evicted)
			}
		})
	}
}

func TestLeastRecentlyUsedIsEvictedFirst(t *testing.T) {
	c := cache.New(cache.Options{Size: 3})
	put := func(tenant string) {
		cache.NewHandle(c, key(tenant, ""), "s").Put(t.Context(), response("x", time.Hour))
	}
	put("a")
	put("b")
	put("c")
	put("a") // a second use
	put("d")
	var cached []string
	for _, tenant := range []string{"a", "c", "d", "b"} {
		if cache.NewHandle(c, key(tenant, ""), "s").Current() != nil {
			cached = append(cached, tenant)
		}
	}
	if got := strings.Join(cached, " "); got != "a c d" {
		t.Errorf("got %s, want a c d", got)
	}
}

// A token is returned only for the key and scopes that it was fetched for, even during concurrent refreshes, evictions
// and purges.
func TestNeverAnothersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{Size: 5})
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				k := key(fmt.Sprint("tenant", i%2), fmt.Sprint("user", i/2%5))
				scope := fmt.Sprint("scope", i%3)
				mine := fmt.Sprint(k.Authority, k.Subject, scope)
				h := cache.NewHandle(c, k, scope)
				for j := range 50 {
					got := get(t, h, func(context.Context, *cache.Request) (cache.Response, error) {
						time.Sleep(time.Second)
						return response(mine, time.Minute), nil
					})
					if got != mine {
						t.Errorf("got %s, want %s", got, mine)
					}
					switch j % 10 {
					case 3:
						h.Invalidate(got, "")
					case 7:
						purge(c, k.Subject)
					}
					time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		s := c.Stats()
		if s.Hits+s.Misses != 200*50 {
			t.Errorf("got %d hits and %d misses, want %d in all", s.Hits, s.Misses, 200*50)
		}
		if s.Sessions > 5 {
			t.Errorf("got %d sessions, want at most 5", s.Sessions)
		}
	})
}

func TestNothingSecretIsPrinted(t *testing.T) {
	c := cache.New(cache.Options{})
	h := cache.NewHandle(c, withSession(key("t", "a.person@example.com"), "person's browser"), "s")
	r := response("s3cret", time.Hour)
	r.State = "s3cret"
	h.Put(t.Context(), r)
	cached, _, _ := h.Cached()
	for _, v := range []any{
		r, &r, cached, []cache.Response{r}, cache.Request{State: "s3cret"}, h, c, h.Key(), cache.Event{Key: h.Key()},
	} {
		printed := []string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			printed = append(printed, fmt.Sprintf(verb, v))
		}
		if text, err := json.Marshal(v); err == nil {
			printed = append(printed, string(text))
		}
		var binary bytes.Buffer // gob may write a part before it fails
		_ = gob.NewEncoder(&binary).Encode(v)
		if strings.Contains(binary.String(), "s3cret") {
			t.Errorf("%T: gob writes %.300q, want it without the secret", v, binary.String())
		}
		for _, got := range printed {
			if strings.Contains(got, "s3cret") || strings.Contains(got, "7333637265") || strings.Contains(got, "person") {
				t.Errorf("%T: got %.300s, want it without the secret and the person", v, got)
			}
		}
	}
}

// The zero Cache has default options. The zero Handle returns an error.
func TestZeroValuesDoNotPanic(t *testing.T) {
	var c cache.Cache
	if n := purge(&c, "user"); n != 0 || c.Stats() != (cache.Stats{}) {
		t.Errorf("got %d purged sessions and stats %+v, want none", n, c.Stats())
	}
	if got := get(t, cache.NewHandle(&c, key("t", ""), "s"), (&authority{}).fetch); got != "token 1" {
		t.Errorf("got %q, want token 1", got)
	}
	wantStats(t, &c, cache.Stats{Misses: 1, Fetches: 1, Sessions: 1})

	var h cache.Handle
	const want = "cache: Handle must be initialized with Handle.Bind"
	if _, err := h.Token(t.Context(), "", (&authority{}).fetch); err == nil || err.Error() != want {
		t.Errorf("Token: got %v, want %s", err, want)
	}
	if _, err := h.Put(t.Context(), response("x", time.Hour)); err == nil || err.Error() != want {
		t.Errorf("Put: got %v, want %s", err, want)
	}
	if _, _, ok := h.Cached(); ok || h.Hit() != nil || h.Invalidate("x", "") {
		t.Error("got a token of a zero Handle, want none")
	}
	if got := fmt.Sprint(&h); got != "cache.Handle{}" {
		t.Errorf("got %q, want cache.Handle{}", got)
	}
}

// A handle that is bound like another one shares a lookup with it only for the same entry.
func TestBindLikeSharesOnlyTheSameEntry(t *testing.T) {
	c := cache.New(cache.Options{})
	k := key("t", "user")
	first := cache.NewHandle(c, k, "s")
	first.Put(t.Context(), response("first", time.Hour))
	for name, tt := range map[string]struct {
		c      *cache.Cache
		change func(*cache.Key)
		scope  string
		want   bool
	}{
		"same":              {c, func(*cache.Key) {}, "s", true},
		"same, in capitals": {c, func(*cache.Key) {}, "S", true},
		"scope":             {c, func(*cache.Key) {}, "other", false},
		"cache":             {cache.New(cache.Options{}), func(*cache.Key) {}, "s", false},
		"authority":         {c, func(k *cache.Key) { k.Authority = "other" }, "s", false},
		"client":            {c, func(k *cache.Key) { k.ClientID = "other" }, "s", false},
		"flow":              {c, func(k *cache.Key) { k.Flow = "other" }, "s", false},
		"variant":           {c, func(k *cache.Key) { k.Variant = "other" }, "s", false},
		"subject":           {c, func(k *cache.Key) { k.Subject = "other" }, "s", false},
		"session":           {c, func(k *cache.Key) { k.Session = "other" }, "s", false},
	} {
		other := k
		tt.change(&other)
		var h cache.Handle
		h.Bind(tt.c, other, []string{tt.scope}, first)
		if h.Key() != other {
			t.Errorf("%s: got key %v, want %v", name, h.Key(), other)
		}
		if got := h.Hit() != nil; got != tt.want {
			t.Errorf("%s: got hit = %v, want %v", name, got, tt.want)
		}
	}
}

func TestCachedReturnsTheStoredResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", "user"), "s")
		if _, _, ok := h.Cached(); ok {
			t.Error("got a token of an empty entry, want none")
		}
		r := response("x", time.Hour)
		r.Scope, r.RefreshIn, r.State = "a b", 20*time.Minute, "refresh token"
		now := time.Now()
		h.Put(t.Context(), r)
		time.Sleep(2 * time.Hour) // also of an expired token
		want := cache.Response{
			AccessToken: "x", TokenType: "Bearer", Scope: "a b", Lifetime: time.Hour, RefreshIn: 20 * time.Minute,
		}
		if got, at, ok := h.Cached(); got != want || !at.Equal(now) || !ok {
			t.Errorf("got %#v at %v, %v, want %#v at %v, true", got, at, ok, want, now)
		}
		// A token that ends with its grant is not refreshed early.
		r.NotAfter = time.Now().Add(30 * time.Minute)
		h.Put(t.Context(), r)
		if got, _, _ := h.Cached(); got.Lifetime != 30*time.Minute || got.RefreshIn != 0 {
			t.Errorf("got lifetime %v and refresh in %v, want 30m and 0", got.Lifetime, got.RefreshIn)
		}
	})
}

func TestParallelHitsAreCounted(t *testing.T) {
	c := cache.New(cache.Options{})
	h := cache.NewHandle(c, key("t", ""), "s")
	h.Put(t.Context(), response("x", time.Hour))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10_000 {
				h.Hit()
			}
		})
	}
	wg.Wait()
	wantStats(t, c, cache.Stats{Hits: 80_000, Sessions: 1})
}
