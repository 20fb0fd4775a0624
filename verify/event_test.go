package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/verify"
)

// recorder collects events.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) record(e verify.Event) { r.add("", e) }

func (r *recorder) add(prefix string, e verify.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s%s %s cached=%v took=%v err=%v", prefix, e.Kind, e.Reason, e.Cached, e.Took, e.Err))
}

func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// countHits returns the number of tokens that a Verifier with cfg accepts from its cache.
func countHits(cfg *verify.Config) *int {
	hits := new(int)
	cfg.OnEvent = func(e verify.Event) {
		if e.Kind == verify.EventVerified && e.Cached { // on the goroutine of the caller
			*hits++
		}
	}
	return hits
}

func TestEventsDescribeEachVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		keys := a.config().HTTPClient.Transport
		cfg := a.config()
		cfg.HTTPClient = &http.Client{Transport: delayed{keys}}
		var r recorder
		cfg.OnEvent = r.record
		cfg.Trace = func(ctx context.Context) (context.Context, func(verify.Event)) {
			return ctx, func(e verify.Event) { r.add("trace: ", e) }
		}
		v := mustNew(t, cfg)
		good, id := sign(0, headerOf(0), userV2()), sign(0, headerOf(0), idV2().with("nonce", "n"))
		h := v.Middleware(verify.RequireScope("Tasks.Read")(welcome))
		admin := v.Middleware(verify.RequireScope("Tasks.Admin")(welcome))
		for _, step := range []struct {
			name string
			do   func()
			want []string
		}{
			{"first token", func() { request(h, "Bearer "+good) }, []string{
				"keys fetched  cached=false took=1s err=<nil>", "trace: verified  cached=false took=1s err=<nil>",
				"verified  cached=false took=1s err=<nil>"}},
			{"cached token", func() { request(h, "Bearer "+good) }, []string{"verified  cached=true took=0s err=<nil>"}},
			{"denied", func() { request(admin, "Bearer "+good) }, []string{"denied missing_scope cached=false took=0s err=<nil>",
				"verified  cached=true took=0s err=<nil>"}},
			{"no token", func() { request(h) }, []string{"rejected no_token cached=false took=0s err=<nil>"}},
			{"two tokens", func() { request(h, "Bearer a", "Bearer b") },
				[]string{"rejected bad_authorization cached=false took=0s err=<nil>"}},
			{"malformed", func() { request(h, "Bearer a") }, []string{"rejected malformed cached=false took=0s err=<nil>",
				"trace: rejected malformed cached=false took=0s err=<nil>"}},
			{"too large", func() { _, _ = v.Verify(t.Context(), string(make([]byte, verify.MaxTokenSize+1))) },
				[]string{"rejected too_large cached=false took=0s err=<nil>"}},
			{"ID token", func() { _, _ = v.IDToken(t.Context(), id, "n") }, []string{
				"trace: verified  cached=false took=0s err=<nil>", "verified  cached=false took=0s err=<nil>"}},
			{"nonce", func() { _, _ = v.IDToken(t.Context(), id, "m") }, []string{
				"rejected bad_nonce cached=false took=0s err=<nil>", "trace: rejected bad_nonce cached=false took=0s err=<nil>"}},
			{"no nonce", func() { _, _ = v.IDToken(t.Context(), id, "") },
				[]string{"rejected bad_nonce cached=false took=0s err=<nil>"}},
			{"rules", func() {
				tok, err := v.Verify(t.Context(), good)
				if err != nil {
					t.Fatal(err)
				}
				if err := verify.Check(tok, verify.Scope("Tasks.Read")); err != nil {
					t.Errorf("Check: got %v, want nil", err)
				}
				denied := &verify.Error{Reason: verify.ReasonDenied}
				err = verify.Check(tok, verify.Scope("Tasks.Read"), func(*verify.Token) error { return errors.New("no") })
				if !errors.Is(err, denied) {
					t.Errorf("Check: got %v, want denied", err)
				}
				if err := verify.Check(nil, verify.Scope("x")); !errors.Is(err, &verify.Error{Reason: verify.ReasonNotVerified}) {
					t.Errorf("Check of nil: got %v, want not_verified", err)
				}
			}, []string{"denied denied cached=false took=0s err=<nil>", "verified  cached=true took=0s err=<nil>"}},
			{"unknown key, and no response", func() {
				a.respondWith(500, "")
				request(h, "Bearer "+sign(1, headerOf(1), userV2()))
			}, []string{
				"keys failed keys_unavailable cached=false took=3s err=verify: failed to fetch the signing keys of the " +
					"authority: login.microsoftonline.com responded with HTTP status 500",
				"rejected keys_unavailable cached=false took=3s err=<nil>",
				"trace: rejected keys_unavailable cached=false took=3s err=<nil>"}},
			{"caller leaves", func() {
				time.Sleep(time.Minute)
				a.publish(jwk(0), jwk(1))
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if _, err := v.Verify(ctx, sign(1, headerOf(1), userV2())); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the error of the context", err)
				}
				time.Sleep(time.Second)
			}, []string{"canceled  cached=false took=100ms err=<nil>", "keys fetched  cached=false took=1s err=<nil>",
				"trace: canceled  cached=false took=100ms err=<nil>"}},
		} {
			step.do()
			got := r.take()
			slices.Sort(got) // the fetch of keys has a goroutine of its own
			for i, line := range got {
				got[i] = jitter.ReplaceAllString(line, "took=3s")
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("%s: got\n%q\nwant\n%q", step.name, got, step.want)
			}
		}
	})
}

// The event of a token goes to the Verifier that it fits, and one without a token to the first.
func TestEventsOfAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, two recorder
		first, second := newAuthority(jwk(0)).config(), newAuthority(jwk(0)).config()
		first.OnEvent, second.OnEvent = one.record, two.record
		second.Audiences = []string{otherID}
		v := verify.Any(mustNew(t, first), mustNew(t, second))
		h := v.Middleware(welcome)
		request(h, "Bearer "+sign(0, headerOf(0), userV2().with("aud", otherID)))
		request(h)
		want := []string{"rejected no_token cached=false took=0s err=<nil>"}
		if got := one.take(); !slices.Equal(got, want) {
			t.Errorf("first: got %q, want %q", got, want)
		}
		if got := two.take(); len(got) != 2 {
			t.Errorf("second: got %q, want the fetch of keys and the verification", got)
		}
	})
}

// Panics of listeners do not reach callers.
func TestPanicsOfListenersAreDiscarded(t *testing.T) {
	cfg := newAuthority(jwk(0)).config()
	cfg.OnEvent = func(verify.Event) { panic("event") }
	cfg.Trace = func(context.Context) (context.Context, func(verify.Event)) { panic("trace") }
	v := mustNew(t, cfg)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+sign(0, headerOf(0), userV2()))
	v.Middleware(verify.RequireScope("Tasks.Admin")(welcome)).ServeHTTP(rec, r)
	if rec.Code != http.StatusForbidden {
		t.Errorf("got status %d, want 403", rec.Code)
	}
}

// jitter is the duration of a fetch of keys with two retries.
var jitter = regexp.MustCompile(`took=[345]\.[0-9]+s`)

// delayed responds after a second.
type delayed struct{ next http.RoundTripper }

func (s delayed) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Second)
	return s.next.RoundTrip(r)
}
