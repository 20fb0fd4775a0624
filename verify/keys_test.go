package verify_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

// longLived returns a token with a long lifetime, for tests of outages.
func longLived(n int) string {
	return sign(n, headerOf(n), userV2().with("exp", time.Now().Unix()+28*3600))
}

// unknown returns a token with an unpublished kid.
func unknown(n int) string {
	return sign(0, headerOf(0).with("kid", fmt.Sprintf("made-up-%d", n)), userV2())
}

// However many tokens have unknown keys, they cause one fetch per interval.
func TestUnknownKeysCauseOneFetchPerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		good := longLived(0)
		accept(t, v, good) // the first fetch
		template := strings.Split(unknown(0), ".")
		flood := func(n int) {
			var wg sync.WaitGroup
			var rejected atomic.Int64
			for i := range n {
				wg.Go(func() {
					head := part(headerOf(0).with("kid", fmt.Sprintf("made-up-%d", i)).text())
					_, err := v.Verify(t.Context(), head+"."+template[1]+"."+template[2])
					if errors.Is(err, &verify.Error{Reason: verify.ReasonUnknownKey}) {
						rejected.Add(1)
					}
				})
			}
			wg.Wait()
			if rejected.Load() != int64(n) {
				t.Errorf("got %d rejected for their key, want %d", rejected.Load(), n)
			}
		}
		for i := range 3 {
			flood(10_000)
			flood(100)
			if got, want := a.fetches.Load(), int64(2+i); got != want {
				t.Fatalf("got %d fetches after %d floods, want %d", got, i+1, want)
			}
			accept(t, v, good)
			advance(10 * time.Second)
		}
	})
}

// Concurrent callers share the first fetch, and a flood of unknown keys adds one more.
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
			t.Errorf("got %d fetches, want 1", got)
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
			t.Errorf("got %d fetches, want 2: the first, and one for the unknown keys", got)
		}
	})
}

// slow delays the responses of the authority.
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

// A caller whose context is done returns at once with the context's error. The fetch continues
// for other callers.
func TestCanceledCallersDoNotCancelTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 5*time.Second)
		v := mustNew(t, a.config())
		good := longLived(0)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, good); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		accept(t, v, good)
		if d := time.Since(start); d != 5*time.Second || a.fetches.Load() != 1 {
			t.Errorf("got a token after %v and %d fetches, want 5s and 1", d, a.fetches.Load())
		}
	})
}

// A request times out after ten seconds, and a fetch with its retries after 25 seconds.
func TestKeyFetchTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, 24*time.Hour)
		v := mustNew(t, a.config())
		start := time.Now()
		_, err := v.Verify(t.Context(), longLived(0))
		if reason(t, err) != verify.ReasonKeysUnavailable || time.Since(start) != 25*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if got := a.fetches.Load(); got != 3 {
			t.Errorf("got %d requests, want 3", got)
		}
		var e *verify.Error
		if errors.As(err, &e) && !e.Temporary() {
			t.Error("got Temporary false, want true")
		}
	})
}

// A transport that does not return when its context ends delays callers for 25 seconds. Later
// fetches are made all the same.
func TestHangingKeyFetchIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		hang := make(chan struct{})
		defer close(hang)
		a.do(func(*http.Request) (*http.Response, error) {
			<-hang
			return nil, errors.New("too late")
		})
		v := mustNew(t, a.config())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := v.Verify(ctx, longLived(0))
		if time.Since(start) != 25*time.Second || !errors.Is(err, context.DeadlineExceeded) ||
			reason(t, err) != verify.ReasonKeysUnavailable {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		a.publish(jwk(0))
		advance(time.Minute)
		accept(t, v, longLived(0))
	})
}

// A transport that panics or ends its goroutine fails the fetch. It does not end the program.
func TestPanickingKeyFetchFails(t *testing.T) {
	for name, respond := range map[string]func(*http.Request) (*http.Response, error){
		"panic":  func(*http.Request) (*http.Response, error) { panic("s3cret") },
		"Goexit": func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(jwk(0))
			a.do(respond)
			v := mustNew(t, a.config())
			_, err := v.Verify(t.Context(), longLived(0))
			if reason(t, err) != verify.ReasonKeysUnavailable || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: got %v, want %s", name, err, verify.ReasonKeysUnavailable)
			}
			a.publish(jwk(0))
			advance(time.Minute)
			accept(t, v, longLived(0))
		})
	}
}

// Lookups refresh the keys once an hour in the background, so callers wait only for the first
// fetch.
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
		advance(10 * time.Second) // for the fetch in flight
		if got := a.fetches.Load(); got < 24 || got > 28 {
			t.Errorf("got %d fetches in a day, want one every 54 to 61 minutes", got)
		}
	})
}

// In an outage the current keys are used for a week, and fetches are retried with pauses.
func TestKeysOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		accept(t, v, longLived(0))
		a.respondWith(http.StatusBadGateway, "<html>bad gateway</html>")
		for range 7*24 - 1 {
			advance(time.Hour)
			accept(t, v, longLived(0))
		}
		synctest.Wait()
		if got := a.fetches.Load(); got != 7*24 {
			t.Errorf("got %d fetches, want 1 and one for each hour's lookup", got)
		}
		advance(time.Hour)
		_, err := v.Verify(t.Context(), longLived(0))
		var e *verify.Error
		if !errors.As(err, &e) || e.Reason != verify.ReasonKeysUnavailable || e.StatusCode != http.StatusBadGateway {
			t.Errorf("after a week: got %v, want %s with status 502", err, verify.ReasonKeysUnavailable)
		}
		a.publish(jwk(0))
		advance(time.Minute)
		accept(t, v, longLived(0))
	})
}

// After an outage an unknown key is unknown again, and a refresh keeps the cached tokens of the keys it confirms.
func TestRefreshEndsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		cfg := a.config()
		hits := countHits(&cfg)
		v := mustNew(t, cfg)
		good := longLived(0)
		accept(t, v, good)
		a.respondWith(http.StatusBadGateway, "")
		advance(time.Hour)
		accept(t, v, good) // starts a refresh, which fails
		synctest.Wait()
		a.publish(jwk(0))
		advance(time.Minute)
		accept(t, v, good) // starts another
		synctest.Wait()
		if got := a.fetches.Load(); got != 3 {
			t.Fatalf("got %d fetches, want 3", got)
		}
		if accept(t, v, good); *hits != 3 {
			t.Errorf("the refresh evicted the token: got %d hits of the cache, want 3", *hits)
		}
		for i := range 2 { // the first causes a fetch, the second does not
			if _, err := v.Verify(t.Context(), unknown(i)); reason(t, err) != verify.ReasonUnknownKey {
				t.Errorf("got %v, want %s", err, verify.ReasonUnknownKey)
			}
		}
	})
}

// A failure of the authority that passes within a second is not the caller's. Callers share the retries.
func TestTransientFailureOfKeysIsRetried(t *testing.T) {
	respond := func(status int, retryAfter string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			h := http.Header{}
			if retryAfter != "" {
				h.Set("Retry-After", retryAfter)
			}
			return &http.Response{StatusCode: status, Header: h, Body: http.NoBody}, nil
		}
	}
	fail := func(err error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for _, tt := range []struct {
		name     string
		failures int64
		fail     func(*http.Request) (*http.Response, error)
		requests int64
		ok       bool
		longest  time.Duration
	}{
		{"one 503", 1, respond(503, ""), 2, true, time.Second},
		{"one 500", 1, respond(500, ""), 2, true, time.Second},
		{"one broken connection", 1, fail(syscall.ECONNRESET), 2, true, time.Second},
		{"two 504", 2, respond(504, ""), 3, true, 2 * time.Second},
		{"three 502", 3, respond(502, ""), 3, false, 2 * time.Second},
		{"429 with Retry-After: 1", 1, respond(429, "1"), 2, true, 2 * time.Second},
		{"429 with Retry-After: 30", 1, respond(429, "30"), 1, false, 0},
		{"404", 1, respond(404, ""), 1, false, 0},
		{"an empty document", 1, respond(200, ""), 1, false, 0},
		{"an untrusted certificate", 1, fail(x509.UnknownAuthorityError{}), 1, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(jwk(0))
				publish := a.respond
				a.do(func(r *http.Request) (*http.Response, error) {
					if a.fetches.Load() <= tt.failures {
						return tt.fail(r)
					}
					return publish(r)
				})
				v := mustNew(t, a.config())
				good, start := longLived(0), time.Now()
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() {
						if _, err := v.Verify(t.Context(), good); (err == nil) != tt.ok {
							t.Errorf("got %v, want success %t", err, tt.ok)
						}
					})
				}
				wg.Wait()
				if took := time.Since(start); took > tt.longest || tt.longest > 0 && took < 100*time.Millisecond {
					t.Errorf("took %v, want 100ms to %v", took, tt.longest)
				}
				if got := a.fetches.Load(); got != tt.requests {
					t.Errorf("got %d requests for 100 callers, want %d", got, tt.requests)
				}
			})
		})
	}
}

// The keys of a rollover arrive in spite of one failed request. A background refresh is not retried. Nor is that of an
// idle verifier, which uses its old keys.
func TestWhichFetchesOfKeysAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		accept(t, v, longLived(0))
		failOnce := func(keys ...object) {
			last := a.fetches.Load()
			a.publish(keys...)
			publish := a.respond
			a.do(func(r *http.Request) (*http.Response, error) {
				if a.fetches.Load() == last+1 {
					return nil, syscall.ECONNRESET
				}
				return publish(r)
			})
		}
		for _, test := range []struct {
			name     string
			after    time.Duration
			token    string
			requests int64
		}{
			{"unknown key", time.Minute, longLived(1), 2},
			{"background refresh", time.Hour, longLived(1), 1},
			{"idle verifier", 3 * time.Hour, longLived(1), 1},
		} {
			advance(test.after)
			failOnce(jwk(0), jwk(1))
			before := a.fetches.Load()
			accept(t, v, test.token)
			synctest.Wait()
			if got := a.fetches.Load() - before; got != test.requests {
				t.Errorf("%s: got %d requests, want %d", test.name, got, test.requests)
			}
		}
	})
}

// Without keys, a failure is cached: a thousand callers cause one fetch, which is one request and two retries. The
// pause between fetches doubles up to a minute, and a budget bounds the retries.
func TestFailuresAreCachedOnAColdStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.respondWith(http.StatusServiceUnavailable, "")
		v := mustNew(t, a.config())
		good := longLived(0)
		for range 1000 {
			if _, err := v.Verify(t.Context(), good); reason(t, err) != verify.ReasonKeysUnavailable {
				t.Fatal(err)
			}
		}
		if got := a.fetches.Load(); got != 3 {
			t.Errorf("got %d requests, want 3", got)
		}
		start := time.Now()
		for time.Since(start) < 10*time.Minute {
			advance(time.Second)
			_, err := v.Verify(t.Context(), good)
			if reason(t, err) != verify.ReasonKeysUnavailable {
				t.Fatal(err)
			}
		}
		// Fetches after about 0, 1, 3, 7, 15, 31, 63 s and then every 60 s until 600, and 13 retries: ten at first, one for
		// these requests, and two for the time. The last ones may not be reached.
		if got := a.fetches.Load(); got < 26 || got > 28 {
			t.Errorf("got %d requests in ten minutes, want 26 to 28", got)
		}
		a.publish(jwk(0))
		advance(time.Minute)
		accept(t, v, good)
	})
}

// All valid requests are accepted during a key rollover under load, and tokens of the withdrawn
// key are rejected after the next refresh.
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
						t.Errorf("a valid token was rejected: %v", err)
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
			t.Errorf("got %d fetches, want one more for the new key", got)
		}
		a.publish(jwk(1))
		advance(time.Minute)
		accept(t, v, tokens[0]) // the keys are two minutes old
		close(stop)
		wg.Wait()
		advance(time.Hour)
		accept(t, v, tokens[1]) // starts the refresh
		synctest.Wait()
		if _, err := v.Verify(t.Context(), tokens[0]); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a token of the withdrawn key: got %v, want %s", err, verify.ReasonUnknownKey)
		}
		if served.Load() < 1000 {
			t.Errorf("got %d requests, want at least 1000", served.Load())
		}
		if got := a.fetches.Load(); got != 4 {
			t.Errorf("got %d fetches, want 4: the first, for the new key, after an hour, and for the withdrawn key's token", got)
		}
	})
}

// After two hours without a fetch, the next caller waits for one, and the old keys are used only
// if it fails.
func TestIdleVerifierWaitsForNewKeys(t *testing.T) {
	for _, quiet := range []time.Duration{2 * time.Hour, 6 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(jwk(0), jwk(1))
			v := mustNew(t, a.config())
			accept(t, v, longLived(1))
			a.publish(jwk(1))
			slow(a, 2*time.Second)
			advance(quiet)
			start := time.Now()
			if _, err := v.Verify(t.Context(), longLived(0)); reason(t, err) != verify.ReasonUnknownKey ||
				time.Since(start) != 2*time.Second {
				t.Errorf("a token of a key withdrawn %v ago: got %v after %v, want %s after 2s", quiet, err, time.Since(start),
					verify.ReasonUnknownKey)
			}
			accept(t, v, longLived(1))
			if d := time.Since(start); d != 2*time.Second || a.fetches.Load() != 2 {
				t.Errorf("got %v and %d fetches, want 2s and 2", d, a.fetches.Load())
			}
		})
	}
	// A cached token waits, too.
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v := mustNew(t, a.config())
		raw := longLived(0)
		accept(t, v, raw)
		a.publish(jwk(1))
		advance(2 * time.Hour)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a cached token of a withdrawn key: got %v, want %s", err, verify.ReasonUnknownKey)
		}
	})
	// In an outage only the first callers wait, for one attempt.
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
			t.Errorf("got %v and %d fetches, want 10s and 2", d, a.fetches.Load())
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

// Tokens of a withdrawn key are rejected after the next refresh, even if they are cached.
func TestTokensOfWithdrawnKeysAreRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0), jwk(1))
		v := mustNew(t, a.config())
		withdrawn, current := longLived(0), longLived(1)
		accept(t, v, withdrawn)
		accept(t, v, current)
		a.publish(jwk(1))
		advance(time.Hour)
		accept(t, v, current) // starts the refresh
		synctest.Wait()
		if _, err := v.Verify(t.Context(), withdrawn); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a token of a withdrawn key: got %v, want %s", err, verify.ReasonUnknownKey)
		}
		accept(t, v, current)
	})
	// Another key with the same kid withdraws the first.
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
			t.Errorf("a token of a replaced key: got %v, want %s", err, verify.ReasonBadSignature)
		}
		accept(t, v, sign(1, headerOf(0), userV2()))
	})
}

// The documents are the response to the first fetch. The reason is that for a token signed with key 0.
func TestKeyDocuments(t *testing.T) {
	k := jwk(0)
	manyKeys := func(n int) []object {
		keys := []object{}
		for i := range n {
			keys = append(keys, k.with("kid", fmt.Sprintf("k%d", i)))
		}
		return keys
	}
	set := func(keys ...object) string { return object{"keys": keys}.text() }
	other := jwk(1)
	for _, test := range []struct {
		name string
		body string
		want verify.Reason
	}{
		{"one key", set(k), ""},
		{"no issuer", set(k.without("issuer")), ""},
		{"no use", set(k.without("use")), ""},
		{"for verifying", set(k.with("key_ops", []string{"verify"})), ""},
		{"for RS256", set(k.with("alg", "RS256")), ""},
		{"many keys", set(append(manyKeys(150), k)...), ""},
		{"with unusable keys", set(object{}, object{"kty": "EC", "kid": "e"}, object{"kty": 1}, k), ""},
		{"the same key twice", set(k, k), ""},
		{"unknown members", set(k.with("x5c", []string{"MII"}).with("cloud_instance_name", "microsoftonline.com")), ""},
		{"nothing", "", verify.ReasonKeysUnavailable},
		{"HTML", "<html></html>", verify.ReasonKeysUnavailable},
		{"cut short", set(k)[:100], verify.ReasonKeysUnavailable},
		{"a list", "[]", verify.ReasonKeysUnavailable},
		{"no keys", set(), verify.ReasonKeysUnavailable},
		{"keys is null", `{"keys":null}`, verify.ReasonKeysUnavailable},
		{"keys is a string", `{"keys":"none"}`, verify.ReasonKeysUnavailable},
		{"keys are strings", `{"keys":["none"]}`, verify.ReasonKeysUnavailable},
		{"the maximum number of keys", set(append(manyKeys(199), k)...), ""},
		{"the maximum length", set(k) + strings.Repeat(" ", 1<<20-len(set(k))), ""},
		{"too many keys", set(append(manyKeys(200), k)...), verify.ReasonKeysUnavailable},
		{"too long", set(k) + strings.Repeat(" ", 1<<20), verify.ReasonKeysUnavailable},
		{"a kid for two keys", set(k, other.with("kid", kid(0)), other), verify.ReasonUnknownKey},
		{"a kid for two issuers", set(k, k.with("issuer", "https://"+host+"/"+tenantA+"/v2.0"), other),
			verify.ReasonUnknownKey},
		{"a kid for two algorithms", set(k.with("alg", "RS256"), k.with("alg", "PS256"), other), verify.ReasonUnknownKey},
		{"for encryption", set(k.with("use", "enc"), other), verify.ReasonUnknownKey},
		{"for signing", set(k.with("key_ops", []string{"sign"}), other), verify.ReasonUnknownKey},
		{"for HS256", set(k.with("alg", "HS256"), other), verify.ReasonUnknownKey},
		{"for RS512", set(k.with("alg", "RS512"), other), verify.ReasonUnknownKey},
		{"for PS256", set(k.with("alg", "PS256"), other), verify.ReasonKeyAlgorithm},
		{"not RSA", set(k.with("kty", "oct"), other), verify.ReasonUnknownKey},
		{"no kid", set(k.without("kid"), other), verify.ReasonUnknownKey},
		{"kid is a number", set(k.with("kid", 0), other), verify.ReasonUnknownKey},
		{"issuer is a number", set(k.with("issuer", 0), other), verify.ReasonUnknownKey},
		{"n is a number", set(k.with("n", 5), other), verify.ReasonUnknownKey},
		{"n is padded", set(k.with("n", k["n"].(string)+"=="), other), verify.ReasonUnknownKey},
		{"n is short", set(k.with("n", b64.EncodeToString(make([]byte, 128))), other), verify.ReasonUnknownKey},
		{"n has 1024 bits", set(k.with("n", b64.EncodeToString([]byte(strings.Repeat("\xff", 128)))), other),
			verify.ReasonUnknownKey},
		{"n is even", set(k.with("n", b64.EncodeToString(append([]byte{0xff}, make([]byte, 255)...))), other),
			verify.ReasonUnknownKey},
		{"n is huge", set(k.with("n", b64.EncodeToString([]byte(strings.Repeat("\xff", 1025)))), other),
			verify.ReasonUnknownKey},
		{"e is one", set(k.with("e", "AQ"), other), verify.ReasonUnknownKey},
		{"e is even", set(k.with("e", "Ag"), other), verify.ReasonUnknownKey},
		{"e is empty", set(k.with("e", ""), other), verify.ReasonUnknownKey},
		{"e is padded", set(k.with("e", "AQAB="), other), verify.ReasonUnknownKey},
		{"e is huge", set(k.with("e", "AQABAQAB"), other), verify.ReasonUnknownKey},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority()
			a.respondWith(http.StatusOK, test.body)
			_, err := mustNew(t, a.config()).Verify(context.Background(), sign(0, headerOf(0), userV2()))
			if got := reason(t, err); got != test.want {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// A key with alg is for that algorithm only (RFC 7517, section 4.4), and the error says so. The
// algorithm itself is supported.
func TestKeyForAnotherAlgorithm(t *testing.T) {
	for _, test := range []struct{ key, token string }{{"RS256", "PS256"}, {"PS256", "RS256"}} {
		v := mustNew(t, newAuthority(jwk(0).with("alg", test.key)).config())
		_, err := v.Verify(t.Context(), sign(0, headerOf(0).with("alg", test.token), userV2()))
		const want = "verify: the signing key of the token does not allow its signature algorithm"
		if reason(t, err) != verify.ReasonKeyAlgorithm || err.Error() != want {
			t.Errorf("a %s token and a key for %s: got %v, want %s", test.token, test.key, err, want)
		}
		accept(t, v, sign(0, headerOf(0).with("alg", test.key), userV2()))
	}
}

// An unusable document does not replace the current keys.
func TestUnusableDocumentsReplaceNothing(t *testing.T) {
	for _, body := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","kid":"key-0","k":"AAAA"}]}`} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(jwk(0))
			v := mustNew(t, a.config())
			good := longLived(0)
			accept(t, v, good)
			a.respondWith(http.StatusOK, body)
			for range 3 {
				advance(time.Hour)
				accept(t, v, good)
				synctest.Wait()
			}
			if got := a.fetches.Load(); got < 3 {
				t.Errorf("got %d fetches, want at least 3", got)
			}
		})
	}
}

// Redirects are not followed, even if Config.HTTPClient follows them. That client is not changed.
func TestRedirectsAreNotFollowed(t *testing.T) {
	a := newAuthority()
	elsewhere := newAuthority(jwk(0))
	a.do(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != host {
			return elsewhere.RoundTrip(r)
		}
		return &http.Response{
			StatusCode: http.StatusFound,
			Header:     http.Header{"Location": {"https://evil.example/keys"}},
			Body:       io.NopCloser(strings.NewReader("")),
			Request:    r,
		}, nil
	})
	client := a.client()
	cfg := a.config()
	cfg.HTTPClient = client
	_, err := mustNew(t, cfg).Verify(context.Background(), sign(0, headerOf(0), userV2()))
	var e *verify.Error
	if !errors.As(err, &e) || e.Reason != verify.ReasonKeysUnavailable || e.StatusCode != http.StatusFound {
		t.Errorf("got %v, want %s with status 302", err, verify.ReasonKeysUnavailable)
	}
	if elsewhere.fetches.Load() != 0 || client.CheckRedirect != nil {
		t.Error("the redirect was followed, or Config.HTTPClient was changed")
	}
}

// Key fetches neither send nor store cookies.
func TestKeyFetchesHaveNoCookies(t *testing.T) {
	a := newAuthority()
	var sent []string
	a.do(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Header["Cookie"]...)
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{"Set-Cookie": {"x=from-the-keys; Path=/"}},
			Body:       io.NopCloser(strings.NewReader(object{"keys": []object{jwk(0)}}.text())),
			Request:    r,
		}, nil
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	authority := &url.URL{Scheme: "https", Host: host, Path: "/"}
	jar.SetCookies(authority, []*http.Cookie{{Name: "session", Value: "mine"}})
	client := a.client()
	client.Jar = jar
	cfg := a.config()
	cfg.HTTPClient = client
	accept(t, mustNew(t, cfg), sign(0, headerOf(0), userV2()))
	if len(sent) != 0 || len(jar.Cookies(authority)) != 1 || client.Jar != http.CookieJar(jar) {
		t.Errorf("got cookies %q in requests and %v in the jar", sent, jar.Cookies(authority))
	}
}

// Operators read why the keys are not available. Callers do not, and texts of the transport, which
// may quote a server or a proxy, stay inside.
func TestErrorsSayWhyKeysAreUnavailable(t *testing.T) {
	const prefix = "verify: failed to fetch the signing keys of the authority: "
	respond := func(status int, body io.Reader) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}, nil
		}
	}
	fail := func(err error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for _, test := range []struct {
		name      string
		respond   func(*http.Request) (*http.Response, error)
		text      string
		cause     error // found by errors.Is
		temporary bool
	}{
		{"status", respond(502, strings.NewReader("secret-thing")), host + " responded with HTTP status 502", nil, true},
		{"certificate", fail(x509.UnknownAuthorityError{}),
			"request to " + host + " failed: x509: certificate signed by unknown authority; " +
				"if a proxy or a private cloud uses its own certificate authority, trust it in the HTTPClient that sends the request",
			x509.UnknownAuthorityError{}, false},
		{"refused connection", fail(syscall.ECONNREFUSED), "request to " + host + " failed: connection refused",
			syscall.ECONNREFUSED, true},
		{"time-out", fail(context.DeadlineExceeded), "request to " + host + " timed out", context.DeadlineExceeded, true},
		{"other", fail(errors.New("proxy says secret-thing")),
			"request to " + host + " failed: the connection or a proxy failed", nil, true},
		{"broken body", respond(200, iotest.ErrReader(errors.New("secret-thing"))),
			"request to " + host + " failed: the connection or a proxy failed", nil, true},
		{"long body", respond(200, strings.NewReader(strings.Repeat(" ", 1<<20+1))),
			"the key document of " + host + " is too large", nil, true},
		{"HTML", respond(200, strings.NewReader("<html>")),
			"the key document of " + host + " is not a JSON object with an array of keys (6 bytes, without a content type, " +
				"status 200); check whether a proxy sent it", nil, true},
		{"HTML of a proxy", func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, 200, "text/html; charset=utf-8", "<p>secret-thing"), nil
		}, "the key document of " + host + " is not a JSON object with an array of keys (15 bytes, text/html, " +
			"status 200); check whether a proxy sent it", nil, true},
		{"no keys", respond(200, strings.NewReader(`{"keys":[]}`)),
			"the key document of " + host + " does not have a usable signing key", nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				a.do(test.respond)
				var log bytes.Buffer
				cfg := a.config()
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				v := mustNew(t, cfg)
				raw := sign(0, headerOf(0), userV2())
				_, err := v.Verify(t.Context(), raw)
				var e *verify.Error
				if !errors.As(err, &e) || e.Reason != verify.ReasonKeysUnavailable || e.Error() != prefix+test.text {
					t.Fatalf("got %v, want %s", err, prefix+test.text)
				}
				if e.Temporary() != test.temporary {
					t.Errorf("got Temporary %v, want %v", e.Temporary(), test.temporary)
				}
				if test.cause != nil && !errors.Is(err, test.cause) {
					t.Errorf("errors.Is does not find %v", test.cause)
				}
				const message = `level=WARN msg="verify: failed to fetch the signing keys"`
				if want := fmt.Sprintf("error.cause=%q", test.text); !strings.Contains(log.String(), want) ||
					!strings.Contains(log.String(), message) {
					t.Errorf("got log %s, want %s and %s", log.String(), message, want)
				}
				if strings.Contains(fmt.Sprintf("%+v %#v", err, err)+log.String(), "secret-thing") {
					t.Errorf("the error or the log quotes the transport: %#v %s", err, log.String())
				}
				w := request(v.Middleware(welcome), "Bearer "+raw)
				if want := "failed to fetch the signing keys of the authority\n"; w.Code != 503 || w.Body.String() != want {
					t.Errorf("got response %d %q, want 503 %q", w.Code, w.Body, want)
				}
			})
		})
	}
}
