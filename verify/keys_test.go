package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/verify"
)

// longLived is a token that outlives the tests of outages: how long the keys
// are kept has nothing to do with how long a token lives.
func longLived(n int) string {
	return sign(n, headerOf(n), userV2().with("exp", time.Now().Unix()+28*3600))
}

// unknown is a token that names a key nobody has.
func unknown(n int) string {
	return sign(0, headerOf(0).with("kid", fmt.Sprintf("made-up-%d", n)), userV2())
}

// 10,000 requests with unknown keys at once, and then more: one fetch for them
// per interval.
func TestUnknownKeysCauseOneFetchPerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		good := longLived(0)
		accept(t, v, good) // the first fetch
		template := strings.Split(unknown(0), ".")
		flood := func(n int) {
			var wg sync.WaitGroup
			var refused atomic.Int64
			for i := range n {
				wg.Go(func() {
					head := part(headerOf(0).with("kid", fmt.Sprintf("made-up-%d", i)).text())
					_, err := v.Verify(t.Context(), head+"."+template[1]+"."+template[2])
					if errors.Is(err, &verify.Error{Reason: verify.ReasonUnknownKey}) {
						refused.Add(1)
					}
				})
			}
			wg.Wait()
			if refused.Load() != int64(n) {
				t.Errorf("%d of %d were refused for their key", refused.Load(), n)
			}
		}
		for i := range 3 {
			flood(10_000)
			flood(100)
			if got, want := a.fetches.Load(), int64(2+i); got != want {
				t.Fatalf("%d fetches after %d floods, want %d", got, i+1, want)
			}
			accept(t, v, good)
			advance(10 * time.Second)
		}
	})
}

// The first fetch serves however many come at once, and a flood of unknown keys
// on a cold start adds one more.
func TestColdStartIsOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 2*time.Second)
		v := mustNew(t, a.config())
		good := longLived(0)
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if _, err := v.Verify(t.Context(), good); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := a.fetches.Load(); got != 1 {
			t.Errorf("%d fetches, want 1", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 2*time.Second)
		v := mustNew(t, a.config())
		var wg sync.WaitGroup
		for i := range 1000 {
			raw := unknown(i % 3)
			wg.Go(func() {
				if _, err := v.Verify(t.Context(), raw); reason(t, err) != verify.ReasonUnknownKey {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := a.fetches.Load(); got != 2 {
			t.Errorf("%d fetches, want 2: to have keys at all, and for the unknown ones", got)
		}
	})
}

// slow makes the authority take its time.
func slow(a *authority, d time.Duration) {
	a.mu.Lock()
	quick := a.respond
	a.mu.Unlock()
	a.do(func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			return quick(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	})
}

// A caller whose context ends leaves at once with its context's error; the fetch
// goes on and serves the others.
func TestCallersLeaveWhenTheyWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 5*time.Second)
		v := mustNew(t, a.config())
		good := longLived(0)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, good); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		accept(t, v, good)
		if d := time.Since(start); d != 5*time.Second || a.fetches.Load() != 1 {
			t.Errorf("served after %v and %d fetches, want 5s and 1", d, a.fetches.Load())
		}
	})
}

// An endpoint that hangs is given up after ten seconds.
func TestHangingKeyEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 24*time.Hour)
		v := mustNew(t, a.config())
		start := time.Now()
		_, err := v.Verify(t.Context(), longLived(0))
		if reason(t, err) != verify.ReasonKeysUnavailable || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		var e *verify.Error
		if errors.As(err, &e) && !e.Temporary() {
			t.Error("not temporary")
		}
	})
}

// Keys are refreshed by a read once an hour, in the background: with an endpoint
// that takes two seconds nobody ever waits after the first.
func TestKeysAreRefreshedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 2*time.Second)
		v := mustNew(t, a.config())
		good := longLived(0)
		accept(t, v, good)
		for range 24 * 60 {
			advance(time.Minute)
			start := time.Now()
			accept(t, v, good)
			if d := time.Since(start); d != 0 {
				t.Fatalf("a caller waited for %v", d)
			}
		}
		advance(10 * time.Second) // a fetch that has just begun ends
		if got := a.fetches.Load(); got < 24 || got > 28 {
			t.Errorf("%d fetches in a day, want one every 54 to 61 minutes", got)
		}
	})
}

// An outage keeps the keys that there are, asks again and again but not often,
// and ends after a week.
func TestKeysOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		accept(t, v, longLived(0))
		a.answer(http.StatusBadGateway, "<html>bad gateway</html>")
		for range 7*24 - 1 {
			advance(time.Hour)
			accept(t, v, longLived(0))
		}
		synctest.Wait()
		if got := a.fetches.Load(); got != 7*24 {
			t.Errorf("%d fetches, want 1 and one with each hour's read", got)
		}
		advance(time.Hour)
		_, err := v.Verify(t.Context(), longLived(0))
		var e *verify.Error
		if !errors.As(err, &e) || e.Reason != verify.ReasonKeysUnavailable || e.StatusCode != http.StatusBadGateway {
			t.Errorf("after a week without keys: %v", err)
		}
		a.publish(jwk(0))
		advance(time.Minute)
		accept(t, v, longLived(0))
	})
}

// With no keys at all a failure is remembered: a thousand callers ask once, and
// the pause between attempts doubles to a minute.
func TestFailuresAreRememberedOnAColdStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.answer(http.StatusServiceUnavailable, "")
		v := mustNew(t, a.config())
		good := longLived(0)
		for range 1000 {
			if _, err := v.Verify(t.Context(), good); reason(t, err) != verify.ReasonKeysUnavailable {
				t.Fatal(err)
			}
		}
		if got := a.fetches.Load(); got != 1 {
			t.Errorf("%d fetches, want 1", got)
		}
		for range 600 {
			advance(time.Second)
			_, err := v.Verify(t.Context(), good)
			if reason(t, err) != verify.ReasonKeysUnavailable {
				t.Fatal(err)
			}
		}
		// At 0, 1, 3, 7, 15, 31, 63 s and then every 60 s until 600.
		if got := a.fetches.Load(); got != 15 {
			t.Errorf("%d fetches in ten minutes, want 15", got)
		}
		a.publish(jwk(0))
		advance(time.Minute)
		accept(t, v, good)
	})
}

// Key rollover under load: no valid request is refused, before, while or after
// the key changes, and the retired key's tokens are refused once it is gone and
// the keys are refreshed.
func TestKeyRolloverUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 300*time.Millisecond)
		v := mustNew(t, a.config())
		var signing atomic.Int64
		tokens := []string{longLived(0), longLived(1)}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var served atomic.Int64
		for i := range 50 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(10+i) * time.Millisecond):
					}
					if _, err := v.Verify(t.Context(), tokens[signing.Load()]); err != nil {
						t.Errorf("a valid token was refused: %v", err)
						return
					}
					served.Add(1)
				}
			})
		}
		advance(time.Minute)
		a.publish(jwk(0), jwk(1))
		slow(a, 300*time.Millisecond)
		signing.Store(1)
		advance(time.Minute)
		if got := a.fetches.Load(); got != 2 {
			t.Errorf("%d fetches, want one more for the new key", got)
		}
		a.publish(jwk(1))
		advance(time.Minute)
		accept(t, v, tokens[0]) // the keys are still those of two minutes ago
		close(stop)
		wg.Wait()
		advance(time.Hour)
		accept(t, v, tokens[1]) // has the keys refreshed
		synctest.Wait()
		if _, err := v.Verify(t.Context(), tokens[0]); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a token of the retired key: %v", err)
		}
		if served.Load() < 1000 {
			t.Errorf("only %d requests", served.Load())
		}
		if got := a.fetches.Load(); got != 4 {
			t.Errorf("%d fetches, want 4: the first, for the new key, after an hour, and for the retired key's token", got)
		}
	})
}

// A quiet API hears of withdrawn keys, too: after two hours in which nobody needed
// the keys, the first caller waits for the authority, and the old keys serve only
// if it does not answer.
func TestKeysAfterAQuietTime(t *testing.T) {
	for _, quiet := range []time.Duration{2 * time.Hour, 6 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(jwk(0), jwk(1))
			v := mustNew(t, a.config())
			accept(t, v, longLived(1))
			a.publish(jwk(1))
			slow(a, 2*time.Second)
			advance(quiet)
			start := time.Now()
			if _, err := v.Verify(t.Context(), longLived(0)); reason(t, err) != verify.ReasonUnknownKey || time.Since(start) != 2*time.Second {
				t.Errorf("a token of a key withdrawn %v ago: after %v, %v", quiet, time.Since(start), err)
			}
			accept(t, v, longLived(1))
			if d := time.Since(start); d != 2*time.Second || a.fetches.Load() != 2 {
				t.Errorf("after %v and %d fetches, want 2s and 2", d, a.fetches.Load())
			}
		})
	}
	// A token that was seen before waits, too.
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		raw := longLived(0)
		accept(t, v, raw)
		a.publish(jwk(1))
		advance(2 * time.Hour)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a token of a withdrawn key that was seen before: %v", err)
		}
	})
	// In an outage the first callers wait for one attempt, and then nobody.
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		raw := longLived(0)
		accept(t, v, raw)
		slow(a, 24*time.Hour)
		advance(3 * time.Hour)
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := v.Verify(t.Context(), raw); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d != 10*time.Second || a.fetches.Load() != 2 {
			t.Errorf("after %v and %d fetches, want 10s and 2", d, a.fetches.Load())
		}
		for range 100 {
			accept(t, v, raw)
			advance(time.Minute)
		}
		if d := time.Since(start); d != 100*time.Minute+10*time.Second {
			t.Errorf("callers waited for %v", d-100*time.Minute)
		}
	})
}

// A key that is withdrawn takes the tokens it signed with it, those seen before
// included, once the keys are refreshed.
func TestWithdrawnKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0), jwk(1))
		v := mustNew(t, a.config())
		withdrawn, kept := longLived(0), longLived(1)
		accept(t, v, withdrawn)
		accept(t, v, kept)
		a.publish(jwk(1))
		advance(time.Hour)
		accept(t, v, kept) // has the keys refreshed
		synctest.Wait()
		if _, err := v.Verify(t.Context(), withdrawn); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a token of a withdrawn key: %v", err)
		}
		accept(t, v, kept)
	})
	// The same kid for another key withdraws the first.
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		first := longLived(0)
		accept(t, v, first)
		a.publish(jwk(1).with("kid", kid(0)))
		advance(time.Hour)
		accept(t, v, first)
		synctest.Wait()
		if _, err := v.Verify(t.Context(), first); reason(t, err) != verify.ReasonBadSignature {
			t.Errorf("a token of a replaced key: %v", err)
		}
		accept(t, v, sign(1, headerOf(0), userV2()))
	})
}
