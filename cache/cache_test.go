package cache_test

import (
	"context"
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

// authority stands for the token endpoint: it counts requests, takes its time and
// fails when told to.
type authority struct {
	takes time.Duration
	life  func() time.Duration

	requests atomic.Int64
	mu       sync.Mutex // guards err
	err      error
}

func (a *authority) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *authority) fetch(ctx context.Context, claims string, state any) (cache.Response, error) {
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
	life := time.Hour
	if a.life != nil {
		life = a.life()
	}
	return response(fmt.Sprintf("token %d", n), life), nil
}

type fetchFunc = func(ctx context.Context, claims string, state any) (cache.Response, error)

// purge drops the sessions of a subject.
func purge(c *cache.Cache, subject string) int {
	n, _ := c.Purge(context.Background(), subject)
	return n
}

func key(tenant, subject string) cache.Key {
	return cache.Key{Authority: "https://login.microsoftonline.com/" + tenant, ClientID: "app", Flow: "flow", Subject: subject}
}

func withSession(k cache.Key, session string) cache.Key {
	k.Session = session
	return k
}

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
		t.Errorf("stats are\n%+v, want\n%+v", got, want)
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
					t.Errorf("got %q", got)
				}
			})
		}
		wg.Wait()
		wantStats(t, c, cache.Stats{Misses: 100, Fetches: 1, Sessions: 1})
	})
}

func TestKeysDoNotWaitForEachOther(t *testing.T) {
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

func TestCallerLeavesFlightGoesOn(t *testing.T) {
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
				t.Errorf("left after %v with %v, want 1s and the context's error", time.Since(start), err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if got := get(t, cache.NewHandle(c, key("t", ""), "s"), a.fetch); got != "token 1" {
				t.Errorf("got %q", got)
			}
		})
		wg.Wait()
		wantStats(t, c, cache.Stats{Misses: 2, Fetches: 1, Sessions: 1})
	})
}

func TestFlightEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Hour}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		start := time.Now()
		_, err := h.Token(context.Background(), "", a.fetch)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestRefreshIsUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: 2 * time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		get(t, h, a.fetch)
		tok := h.Current()
		time.Sleep(time.Until(tok.RefreshAt()))
		for range 100 { // all of them get the old token at once, and one refresh runs
			start := time.Now()
			if got := get(t, h, a.fetch); got != "token 1" || time.Since(start) != 0 {
				t.Fatalf("got %q after %v", got, time.Since(start))
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := get(t, h, a.fetch); got != "token 2" {
			t.Errorf("got %q", got)
		}
		wantStats(t, c, cache.Stats{Hits: 101, Misses: 1, Fetches: 2, Sessions: 1})
	})
}

// Where the refresh point is drawn from: the wide range is for an app's token that callers
// waited for, and for anybody's after a failure.
func TestRefreshPoint(t *testing.T) {
	const wide, narrow = 6 * time.Minute, 36 * time.Minute // of a life of an hour; both ranges end at 42 minutes
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		drawn := func(what string, from time.Duration, next func(h *cache.Handle, a *authority), subject string) {
			t.Helper()
			lowest := time.Hour
			for i := range 300 {
				a := &authority{}
				h := cache.NewHandle(c, key(fmt.Sprint(what, i), subject), "s")
				get(t, h, a.fetch)
				next(h, a)
				early := h.Current().RefreshAt().Sub(h.Current().ObtainedAt())
				if early < from || early > 42*time.Minute {
					t.Fatalf("%s: early after %v", what, early)
				}
				lowest = min(lowest, early)
			}
			// 300 draws all miss the first tenth of the range once in 10^13 times.
			if lowest > from+(42*time.Minute-from)/10 {
				t.Errorf("%s: lowest of 300 draws is %v, want one near %v", what, lowest, from)
			}
		}
		refreshed := func(h *cache.Handle, a *authority) {
			t.Helper()
			old := h.Current()
			time.Sleep(time.Until(old.RefreshAt()))
			get(t, h, a.fetch)
			synctest.Wait()
			if h.Current() == old {
				t.Fatal("not refreshed")
			}
		}
		drawn("the app's first token", wide, func(*cache.Handle, *authority) {}, "")
		drawn("the app's refreshed token", narrow, refreshed, "")
		drawn("the app's token after a long silence", wide, func(h *cache.Handle, a *authority) {
			time.Sleep(2 * time.Hour)
			get(t, h, a.fetch)
		}, "")
		drawn("the app's token after a refusal", wide, func(h *cache.Handle, a *authority) {
			h.Invalidate(h.Current().Text(), "")
			get(t, h, a.fetch)
		}, "")
		drawn("a user's first token", narrow, func(*cache.Handle, *authority) {}, "user")
		drawn("a user's token that was put", narrow, func(h *cache.Handle, _ *authority) {
			if _, err := h.Put(response("put", time.Hour)); err != nil {
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

// One call a second for a day, tokens of 60 to 90 minutes, an endpoint that takes two
// seconds: only the first call waits, and each token is replaced at its refresh point.
func TestDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lives := []time.Duration{60, 90, 75, 63, 87, 71}
		n := 0
		a := &authority{takes: 2 * time.Second, life: func() time.Duration {
			n++
			return lives[n%len(lives)] * time.Minute
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
				predicted++ // the request that brought it
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute) // a refresh may be under way
		synctest.Wait()
		if waited != 1 {
			t.Errorf("%d calls waited, want 1", waited)
		}
		got := int(a.requests.Load())
		if got != predicted && got != predicted+1 { // one may still be on its way
			t.Errorf("%d requests for %d tokens", got, predicted)
		}
		// The lives' mean is 74 1/3 minutes, so a request is due every 44.6 to 52 minutes, but
		// for the first, which comes earlier.
		if got < 27 || got > 34 {
			t.Errorf("%d requests in a day, want 27 to 34", got)
		}
	})
}

func TestOutageInEarlyWindow(t *testing.T) {
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
					t.Error("a caller waited for a failing request")
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
				t.Fatal("a call waited")
			}
			time.Sleep(100 * time.Millisecond)
			if time.Since(down) > 10*time.Minute {
				a.fail(nil)
			}
		}
		if got := get(t, h, a.fetch); got == "token 1" {
			t.Error("not refreshed before the token's end")
		}
		// Each wait ends while nine tenths of what was left of the token are not over.
		if len(failures) < 1 || len(failures) > 12 { // a back-off of a minute would make some twenty
			t.Errorf("%d failures in ten minutes", len(failures))
		}
		for _, f := range failures {
			if left := end.Sub(f.at); f.wait < time.Second || f.wait > left*9/10 {
				t.Errorf("waits %v, with %v left", f.wait, left)
			}
		}
	})
}

type throttled struct{ after time.Duration }

func (throttled) Error() string                    { return "throttled" }
func (e throttled) RetryAfterDelay() time.Duration { return e.after }

// A refresh that is throttled for longer than the token lasts does not make it last longer.
func TestThrottledPastTheEnd(t *testing.T) {
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
			t.Errorf("got %q", got)
		}
		time.Sleep(time.Nanosecond)
		if tok := h.Hit(); tok != nil {
			t.Error("a token is served past its end")
		}
		if _, err := h.Token(t.Context(), "", a.fetch); err != (throttled{2 * time.Hour}) {
			t.Errorf("got %v", err)
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("%d requests, want 2", got)
		}
	})
}

func TestFailureIsRemembered(t *testing.T) {
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
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if got := a.requests.Load(); got != 1 {
			t.Errorf("%d requests in %v, want 1", got, time.Since(start))
		}
		a.fail(nil)
		time.Sleep(time.Until(start.Add(time.Minute + 2*time.Second + 11*time.Millisecond))) // Retry-After, and up to 2 s drawn
		if got := get(t, cache.NewHandle(c, key("t", ""), "s"), a.fetch); got != "token 2" {
			t.Errorf("got %q", got)
		}
		wantStats(t, c, cache.Stats{Misses: 1001, Fetches: 2, Failures: 1, Sessions: 1})
	})
}

func TestInvalidateNamesTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		old := get(t, h, a.fetch)
		var wg sync.WaitGroup
		for range 100 { // a burst of 401s
			wg.Go(func() {
				h := cache.NewHandle(c, key("t", ""), "S")
				h.Invalidate(old, "")
				if got := get(t, h, a.fetch); got != "token 2" {
					t.Errorf("got %q", got)
				}
			})
		}
		wg.Wait()
		if h.Invalidate(old, "") {
			t.Error("a token was dropped for another")
		}
		wantStats(t, c, cache.Stats{Misses: 101, Fetches: 2, Invalidations: 1, Sessions: 1})
	})
}

func TestInvalidateClearsTheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		old := get(t, h, a.fetch)
		time.Sleep(time.Until(h.Current().RefreshAt()))
		a.fail(throttled{time.Hour})
		get(t, h, a.fetch)
		synctest.Wait() // the refresh has failed and is to wait an hour
		a.fail(nil)
		h.Invalidate(old, "")
		if got := get(t, h, a.fetch); got != "token 3" {
			t.Errorf("got %q", got)
		}
	})
}

func TestChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var challenges []string
		fetch := func(ctx context.Context, claims string, state any) (cache.Response, error) {
			challenges = append(challenges, claims)
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
					t.Errorf("got %v, %v", tok.AccessToken, err)
				}
			})
		}
		wg.Wait()
		if got := get(t, h, fetch); got != "token 2" { // it has replaced the old one for everybody
			t.Errorf("got %q", got)
		}
		if _, err := h.Token(t.Context(), "mfa", fetch); err != nil { // and is not asked for again
			t.Error(err)
		}
		if got := h.Current().Claims(); got != "mfa" {
			t.Errorf("the held token was got with %q", got)
		}
		time.Sleep(time.Until(h.Current().RefreshAt()))
		get(t, h, fetch) // starts a refresh, which has nothing to satisfy any more
		time.Sleep(time.Second)
		synctest.Wait()
		if got := strings.Join(challenges, ","); got != ",mfa," {
			t.Errorf("challenges sent: %q", got)
		}
	})
}

// A challenge that comes while a plain refresh is under way is not answered by it.
func TestChallengeDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		go h.Token(t.Context(), "", a.fetch)
		synctest.Wait()
		tok, err := h.Token(t.Context(), "mfa", a.fetch)
		if err != nil || tok.AccessToken != "token 2" {
			t.Errorf("got %v, %v", tok, err)
		}
	})
}

func TestNewChallengePassesRememberedFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		down := errors.New("down")
		a.fail(down)
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		for range 10 { // a failure of one kind is not forgotten for one of the other
			for _, challenge := range []string{"", "mfa"} {
				if _, err := h.Token(t.Context(), challenge, a.fetch); err != down {
					t.Errorf("challenge %q: %v", challenge, err)
				}
			}
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("%d requests, want one of each kind", got)
		}
	})
}

// When the authority wants to be left alone, no challenge passes.
func TestThrottlingHoldsForChallenges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		a.fail(throttled{time.Hour})
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		for i := range 100 {
			for _, challenge := range []string{"", fmt.Sprint("challenge ", i)} {
				if _, err := h.Token(t.Context(), challenge, a.fetch); err != (throttled{time.Hour}) {
					t.Errorf("challenge %q: %v", challenge, err)
				}
			}
		}
		if got := a.requests.Load(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

// A resource that asks again and again for what only the user can do costs a request for
// each back-off, and the plain token stays as it is.
func TestChallengeThatCannotBeMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain, challenged := 0, 0
		fetch := func(_ context.Context, claims string, _ any) (cache.Response, error) {
			if claims != "" {
				challenged++
				return cache.Response{}, errors.New("only the user can")
			}
			plain++
			return response("plain", time.Hour), nil
		}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", "user"), "s") // whose token becomes early after 36 minutes
		for range 30 * 60 {
			get(t, h, fetch)
			if _, err := h.Token(t.Context(), "step up", fetch); err == nil {
				t.Fatal("no error")
			}
			time.Sleep(time.Second)
		}
		if plain != 1 || challenged < 30 || challenged > 120 {
			t.Errorf("%d plain requests and %d challenges in half an hour", plain, challenged)
		}
	})
}

// Without a token, a plain caller that waited for a challenge's request does not get
// that one's failure.
func TestFailedChallengeIsNoAnswerToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := func(_ context.Context, claims string, _ any) (cache.Response, error) {
			time.Sleep(time.Second)
			if claims != "" {
				return cache.Response{}, errors.New("only the user can")
			}
			return response("plain", time.Hour), nil
		}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		go h.Token(t.Context(), "step up", fetch)
		synctest.Wait()
		if got := get(t, h, fetch); got != "plain" {
			t.Errorf("got %q", got)
		}
	})
}

// A token that was got with a challenge and is refused with the same one is replaced, but
// not more than once a minute.
func TestRefusedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
		plain := get(t, h, a.fetch)
		if h.Invalidate(plain, "mfa") {
			t.Error("a token without the challenge was dropped")
		}
		for minute := range 10 {
			tok, err := h.Token(t.Context(), "mfa", a.fetch)
			if err != nil || tok.AccessToken != fmt.Sprint("token ", 2+minute) {
				t.Fatalf("%v, %v", tok, err)
			}
			for range 59 {
				if h.Invalidate(tok.AccessToken, "mfa") {
					t.Fatal("dropped at once")
				}
				time.Sleep(time.Second)
			}
			time.Sleep(time.Second)
			if h.Invalidate("another", "mfa") || h.Invalidate(tok.AccessToken, "other") || !h.Invalidate(tok.AccessToken, "mfa") {
				t.Fatal("not dropped, or for another")
			}
		}
	})
}

// However a fetch ends, or if it never does, the flight lands.
func TestFlightsLand(t *testing.T) {
	for name, fetch := range map[string]fetchFunc{
		"ends its goroutine": func(context.Context, string, any) (cache.Response, error) { runtime.Goexit(); panic("unreached") },
		"ignores its context": func(context.Context, string, any) (cache.Response, error) {
			time.Sleep(time.Hour)
			return response("late", time.Hour), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cache.New(cache.Options{})
				h := cache.NewHandle(c, key("t", ""), "s")
				if _, err := h.Token(t.Context(), "", fetch); err == nil {
					t.Fatal("no error")
				}
				time.Sleep(2 * time.Second)
				if got := get(t, h, (&authority{}).fetch); got != "token 1" {
					t.Errorf("got %q", got)
				}
				time.Sleep(2 * time.Hour)
				if got := h.Current().Text(); got != "token 1" {
					t.Errorf("what came late is held: %q", got)
				}
				wantStats(t, c, cache.Stats{Misses: 2, Fetches: 2, Failures: 1, Sessions: 1})
			})
		})
	}
}

// A sign-in is newer than a refresh that was under way: its token and what it keeps stay,
// those who waited get its token, and what fails later of the old does not count.
func TestSignInDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		old := func(_ context.Context, claims string, _ any) (cache.Response, error) {
			time.Sleep(10 * time.Second)
			if claims == "fails" {
				return cache.Response{}, errors.New("revoked")
			}
			a := response("old", time.Hour)
			a.State = "old refresh token"
			return a, nil
		}
		same, other, challenged := cache.NewHandle(c, key("t", "u"), "a"), cache.NewHandle(c, key("t", "u"), "b"), cache.NewHandle(c, key("t", "u"), "c")
		waited := make(chan string)
		go func() { waited <- get(t, same, old) }()
		go other.Token(t.Context(), "", old)
		go challenged.Token(t.Context(), "fails", old)
		synctest.Wait()
		start := time.Now()
		signIn := response("new", time.Hour)
		signIn.State = "new refresh token"
		same.Put(signIn)
		if got := <-waited; got != "new" || time.Since(start) != 0 {
			t.Errorf("who waited got %q after %v", got, time.Since(start))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait() // all that was under way has ended just now
		if _, err := challenged.Token(t.Context(), "fails", (&authority{}).fetch); err != nil {
			t.Errorf("a failure of before the sign-in is remembered: %v", err)
		}
		if got := get(t, same, nil); got != "new" {
			t.Errorf("held: %q", got)
		}
		other.Invalidate("old", "")
		if _, err := other.Token(t.Context(), "", func(_ context.Context, _ string, state any) (cache.Response, error) {
			if state != "new refresh token" {
				t.Errorf("kept: %v", state)
			}
			return response("x", time.Hour), nil
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicIsAFailure(t *testing.T) {
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
			_, err := h.Token(t.Context(), "", func(context.Context, string, any) (cache.Response, error) { panic(tt.value) })
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			time.Sleep(time.Minute)
		}
		if got := get(t, h, (&authority{}).fetch); got != "token 1" {
			t.Errorf("got %q", got)
		}
		wantStats(t, c, cache.Stats{Misses: 3, Fetches: 3, Failures: 2, Sessions: 1})
	})
}

func TestUnusableAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		past := response("x", time.Hour)
		past.NotAfter = time.Now()
		for _, a := range []cache.Response{response("", time.Hour), response("x", 0), response("x", -time.Hour), past} {
			h := cache.NewHandle(cache.New(cache.Options{}), key("t", ""), "s")
			if _, err := h.Put(a); err == nil || h.Current() != nil {
				t.Errorf("answer of life %v was taken", a.Lifetime)
			}
		}
	})
}

func TestTokenIsNotServedAfterTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", "hash"), "s")
		a := response("x", time.Hour)
		a.NotAfter = time.Now().Add(10 * time.Minute)
		if _, err := h.Put(a); err != nil {
			t.Fatal(err)
		}
		if got := h.Hit().Expiry; !got.Equal(a.NotAfter) {
			t.Errorf("expires %v, want %v", got, a.NotAfter)
		}
		time.Sleep(10*time.Minute - time.Nanosecond)
		if h.Hit() == nil {
			t.Error("not served up to its end")
		}
		time.Sleep(time.Nanosecond)
		if h.Hit() != nil {
			t.Error("served past its end")
		}
	})
}

func TestEarlyExpiredFetchesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", ""), "s")
		get(t, h, a.fetch)
		time.Sleep(59 * time.Minute) // nobody asked in the early window
		start := time.Now()
		if got := get(t, h, a.fetch); got != "token 2" || time.Since(start) != time.Second {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
	})
}

func TestWhatIsKeptGoesToEveryScopeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		signIn := response("first", time.Hour)
		signIn.State = "refresh token"
		if _, err := cache.NewHandle(c, key("t", "user"), "a").Put(signIn); err != nil {
			t.Fatal(err)
		}
		var got any
		fetch := func(ctx context.Context, claims string, state any) (cache.Response, error) {
			got = state
			a := response("second", time.Hour)
			a.State = "rotated"
			return a, nil
		}
		get(t, cache.NewHandle(c, key("t", "user"), "b"), fetch)
		if got != "refresh token" {
			t.Errorf("kept %v", got)
		}
		get(t, cache.NewHandle(c, key("t", "user"), "c"), fetch)
		if got != "rotated" {
			t.Errorf("kept %v", got)
		}
		get(t, cache.NewHandle(c, key("t", "other"), "b"), fetch)
		if got != nil {
			t.Errorf("another subject got %v", got)
		}
	})
}

func TestSignInForgivesEarlierFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		a.fail(throttled{time.Hour})
		c := cache.New(cache.Options{})
		b := cache.NewHandle(c, key("t", "user"), "b")
		if _, err := b.Token(t.Context(), "", a.fetch); err == nil {
			t.Fatal("no error")
		}
		a.fail(nil)
		if _, err := cache.NewHandle(c, key("t", "user"), "a").Put(response("x", time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, b, a.fetch); got != "token 2" {
			t.Errorf("got %q", got)
		}
	})
}

func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{takes: time.Second}
		c := cache.New(cache.Options{})
		h := cache.NewHandle(c, key("t", "user"), "a")
		kept := response("x", time.Hour)
		kept.State = "refresh token"
		h.Put(kept)
		cache.NewHandle(c, key("t2", "user"), "a").Put(kept)
		other := cache.NewHandle(c, key("t", "user's other"), "a")
		other.Put(kept)
		for _, session := range []string{"phone", "laptop"} {
			cache.NewHandle(c, withSession(key("t", "user"), session), "a").Put(kept)
			cache.NewHandle(c, withSession(key("t", "other"), session), "a").Put(kept)
		}
		late := cache.NewHandle(c, key("t", "user"), "b") // a request under way
		go late.Token(t.Context(), "", a.fetch)
		synctest.Wait()

		if got := purge(c, "user"); got != 4 {
			t.Errorf("purged %d, want 4", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, h := range []*cache.Handle{h, late} {
			if h.Hit() != nil || h.Current() != nil {
				t.Error("a purged session still has a token")
			}
			if _, err := h.Token(t.Context(), "", func(_ context.Context, claims string, state any) (cache.Response, error) {
				if claims != "" || state != nil {
					t.Errorf("kept %v, %v", claims, state)
				}
				return response("new", time.Hour), nil
			}); err != nil {
				t.Error(err)
			}
		}
		if other.Hit() == nil {
			t.Error("another subject was purged")
		}
		if got := c.Stats().Sessions; got != 4 {
			t.Errorf("%d sessions, want 4", got)
		}
	})
}

// An evicted session has lost its tokens, also for callers that have a handle to it: their memory is bounded, and a
// purge need not find it. The handle finds the new session.
func TestHandleOutlivesEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		c := cache.New(cache.Options{Size: 1})
		first := cache.NewHandle(c, key("t", "1"), "s")
		signIn := response("first", time.Hour)
		signIn.State = "refresh token"
		first.Put(signIn)
		get(t, cache.NewHandle(c, key("t", "2"), "s"), a.fetch)
		if got := c.Stats(); got.Evictions != 1 || got.Sessions != 1 {
			t.Errorf("got %+v, want one eviction and one session", got)
		}
		if first.Hit() != nil || first.Current() != nil {
			t.Error("an evicted session has a token")
		}
		if _, err := first.Token(t.Context(), "", func(_ context.Context, _ string, state any) (cache.Response, error) {
			if state != nil {
				t.Errorf("an evicted session has the state %v", state)
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
			t.Errorf("purged %d sessions, want 1", n)
		}
	})
}

// A session whose tokens are in use through a handle is not evicted before idle ones, although its handle does not look it
// up again. Its refresh token would be lost.
func TestSessionInUseStays(t *testing.T) {
	for _, size := range []int{10, 2048} {
		for name, use := range map[string]func(*testing.T, *cache.Handle){
			"hits": func(t *testing.T, h *cache.Handle) {
				if h.Hit() == nil {
					t.Fatal("evicted while in use")
				}
			},
			"calls of Token": func(t *testing.T, h *cache.Handle) {
				if _, err := h.Token(t.Context(), "", nil); err != nil {
					t.Fatal("evicted while in use")
				}
			},
		} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := cache.New(cache.Options{Size: size})
					inUse := cache.NewHandle(c, key("t", "in use"), "s")
					inUse.Put(response("x", time.Hour))
					for i := range 10 * size {
						use(t, inUse)
						cache.NewHandle(c, key("t", fmt.Sprint(i)), "s").Put(response("y", time.Hour))
						if i%(size/4) == 0 {
							time.Sleep(2 * time.Second)
						}
					}
					// Without further use it is evicted like the others.
					for i := range 10 * size {
						cache.NewHandle(c, key("t", fmt.Sprint("late", i)), "s").Put(response("z", time.Hour))
					}
					if inUse.Current() != nil {
						t.Error("an idle session was not evicted")
					}
					if got := c.Stats().Sessions; got != size {
						t.Errorf("%d sessions, want %d", got, size)
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
			t.Error("65 scope sets are held")
		}
		get(t, first, a.fetch)
		if first.Hit() == nil {
			t.Error("the handle does not work any more")
		}
		wantStats(t, c, cache.Stats{Hits: 1, Misses: 66, Fetches: 66, Sessions: 1})
	})
}

// A place with a request under way is not given up, so there is never a second request.
func TestFlyingScopeSetsStay(t *testing.T) {
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
			t.Errorf("%d requests for 200 scope sets", got)
		}
		get(t, cache.NewHandle(c, key("t", ""), "one more"), a.fetch) // now there is no reason to hold so many
		held := 0
		for i := range 200 {
			if cache.NewHandle(c, key("t", ""), fmt.Sprint(i)).Current() != nil {
				held++
			}
		}
		if held != 63 {
			t.Errorf("%d others are held, want 63", held)
		}
	})
}

// A panic in the caller's own function leaves the cache usable.
func TestPurgePanics(t *testing.T) {
	c := cache.New(cache.Options{})
	h := cache.NewHandle(c, key("t", "u"), "s")
	h.Put(response("x", time.Hour))
	func() {
		defer func() { _ = recover() }()
		c.PurgeFunc(func(cache.Key) bool { panic("x") })
	}()
	if purge(c, "u") != 1 || h.Current() != nil {
		t.Error("not purged")
	}
}

// A tenant that makes many sessions pushes out its own, whether the cache is divided
// into shards or not; those of small tenants stay.
func TestNoisyTenant(t *testing.T) {
	for _, size := range []int{100, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := cache.New(cache.Options{Size: size})
			const tenants = 10
			for i := range tenants {
				for j := range size / tenants / 4 {
					cache.NewHandle(c, key(fmt.Sprint("quiet", i), fmt.Sprint(j)), "s").Put(response("x", time.Hour))
				}
			}
			for i := range 20 * size {
				cache.NewHandle(c, key("noisy", fmt.Sprint(i)), "s").Put(response("x", time.Hour))
			}
			if got := c.Stats().Sessions; got != size {
				t.Errorf("%d sessions, want %d", got, size)
			}
			lost := 0
			for i := range tenants {
				for j := range size / tenants / 4 {
					if cache.NewHandle(c, key(fmt.Sprint("quiet", i), fmt.Sprint(j)), "s").Current() == nil {
						lost++
					}
				}
			}
			if lost > 0 {
				t.Errorf("%d sessions of quiet tenants were pushed out", lost)
			}
		})
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := cache.New(cache.Options{Size: 3})
	put := func(tenant string) { cache.NewHandle(c, key(tenant, ""), "s").Put(response("x", time.Hour)) }
	put("a")
	put("b")
	put("c")
	put("a") // used again
	put("d")
	var held []string
	for _, tenant := range []string{"a", "c", "d", "b"} {
		if cache.NewHandle(c, key(tenant, ""), "s").Current() != nil {
			held = append(held, tenant)
		}
	}
	if got := strings.Join(held, " "); got != "a c d" {
		t.Errorf("held: %s, want a c d", got)
	}
}

// Tokens reach only the key and scopes that they were fetched for, also while
// everything is refreshed, evicted, invalidated and purged at once.
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
					got := get(t, h, func(context.Context, string, any) (cache.Response, error) {
						time.Sleep(time.Second)
						return response(mine, time.Minute), nil
					})
					if got != mine {
						t.Errorf("%s got %s", mine, got)
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
			t.Errorf("%d hits and %d misses in %d calls", s.Hits, s.Misses, 200*50)
		}
		if s.Sessions > 5 {
			t.Errorf("%d sessions", s.Sessions)
		}
	})
}

func TestNothingSecretIsPrinted(t *testing.T) {
	c := cache.New(cache.Options{})
	h := cache.NewHandle(c, withSession(key("t", "a.person@example.com"), "person's browser"), "s")
	r := response("s3cret", time.Hour)
	r.State = "s3cret"
	h.Put(r)
	cached, _, _ := h.Cached()
	for _, v := range []any{r, &r, cached, []cache.Response{r}, h, c, h.Key(), cache.Event{Key: h.Key()}} {
		printed := []string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			printed = append(printed, fmt.Sprintf(verb, v))
		}
		if text, err := json.Marshal(v); err == nil {
			printed = append(printed, string(text))
		}
		for _, got := range printed {
			if strings.Contains(got, "s3cret") || strings.Contains(got, "7333637265") || strings.Contains(got, "person") {
				t.Errorf("%T prints %.300s", v, got)
			}
		}
	}
}

// The zero Cache works like one with default options. A Handle that was not bound says so.
func TestZeroValues(t *testing.T) {
	var c cache.Cache
	if n := purge(&c, "user"); n != 0 || c.Stats() != (cache.Stats{}) {
		t.Errorf("purged %d sessions, stats %+v", n, c.Stats())
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
	if _, err := h.Put(response("x", time.Hour)); err == nil || err.Error() != want {
		t.Errorf("Put: got %v, want %s", err, want)
	}
	if _, _, ok := h.Cached(); ok || h.Hit() != nil || h.Invalidate("x", "") {
		t.Error("a zero Handle has a token")
	}
	if got := fmt.Sprint(&h); got != "cache.Handle{}" {
		t.Errorf("printed %q", got)
	}
}

// A handle that is bound like another one shares a lookup with it, but only a token of its own key.
func TestBindLike(t *testing.T) {
	c := cache.New(cache.Options{})
	k := key("t", "user")
	first := cache.NewHandle(c, k, "s")
	first.Put(response("first", time.Hour))
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
			t.Errorf("%s: bound to %v, want %v", name, h.Key(), other)
		}
		if got := h.Hit() != nil; got != tt.want {
			t.Errorf("%s: hit = %v, want %v", name, got, tt.want)
		}
	}
}

func TestCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := cache.NewHandle(cache.New(cache.Options{}), key("t", "user"), "s")
		if _, _, ok := h.Cached(); ok {
			t.Error("an empty entry has a token")
		}
		r := response("x", time.Hour)
		r.Scope, r.RefreshIn, r.State = "a b", 20*time.Minute, "refresh token"
		now := time.Now()
		h.Put(r)
		time.Sleep(2 * time.Hour) // also of an expired token
		want := cache.Response{AccessToken: "x", TokenType: "Bearer", Scope: "a b", Lifetime: time.Hour, RefreshIn: 20 * time.Minute}
		if got, at, ok := h.Cached(); got != want || !at.Equal(now) || !ok {
			t.Errorf("got %#v at %v, %v", got, at, ok)
		}
		// A token that ends with its grant is not refreshed early.
		r.NotAfter = time.Now().Add(30 * time.Minute)
		h.Put(r)
		if got, _, _ := h.Cached(); got.Lifetime != 30*time.Minute || got.RefreshIn != 0 {
			t.Errorf("lifetime %v, refresh in %v, want 30m and 0", got.Lifetime, got.RefreshIn)
		}
	})
}

// Parallel hits are all counted.
func TestHitsAreCounted(t *testing.T) {
	c := cache.New(cache.Options{})
	h := cache.NewHandle(c, key("t", ""), "s")
	h.Put(response("x", time.Hour))
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
