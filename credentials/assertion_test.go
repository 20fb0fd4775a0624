package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// countingFunc is a callback that counts its calls.
type countingFunc struct {
	calls atomic.Int64
	next  func(context.Context) (string, error)
}

func (s *countingFunc) get(ctx context.Context) (string, error) {
	s.calls.Add(1)
	return s.next(ctx)
}

func (s *countingFunc) wantCalls(t testing.TB, want int64) {
	t.Helper()
	if got := s.calls.Load(); got != want {
		t.Errorf("got %d calls, want %d", got, want)
	}
}

// tokens returns a callback that returns tokens with the given lifetime.
func (p *idp) tokens(life time.Duration) *countingFunc {
	return &countingFunc{next: func(context.Context) (string, error) { return p.sign(time.Now().Add(life)) }}
}

// An assertion is refreshed in the background after four fifths of its lifetime. It is not
// used in its last minute, or in the last tenth of a short lifetime.
func TestAssertionSchedule(t *testing.T) {
	for _, test := range []struct{ life, refresh, expire time.Duration }{
		{5 * time.Minute, 4 * time.Minute, 4*time.Minute + 30*time.Second},
		{time.Hour, 48 * time.Minute, 59 * time.Minute},
		{24 * time.Hour, time.Hour, 24*time.Hour - time.Minute},
	} {
		t.Run(test.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFakeEntra().trust(t)
				s := p.tokens(test.life)
				c := credentials.AssertionFunc(s.get)
				s.wantCalls(t, 0)
				p.mustUse(t, c)
				time.Sleep(test.refresh - time.Second)
				p.mustUse(t, c)
				synctest.Wait()
				s.wantCalls(t, 1)
				time.Sleep(time.Second)
				p.mustUse(t, c)
				synctest.Wait()
				s.wantCalls(t, 2)
				p.mustUse(t, c)
				sent := p.sent("client_assertion")
				if sent[0] != sent[1] || sent[0] != sent[2] || sent[0] == sent[3] {
					t.Error("the new assertion must be used as soon as it is available, and not before")
				}
				// After a long pause there was no background refresh.
				time.Sleep(test.expire)
				p.mustUse(t, c)
				s.wantCalls(t, 3)
				if sent = p.sent("client_assertion"); sent[4] == sent[3] {
					t.Error("an expired assertion was used")
				}
			})
		})
	}
}

// While the callback fails, an assertion is used until it expires. The callback is called
// at most every thirty seconds, and no caller waits for it. Then its error is returned.
func TestAssertionFuncIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		s := p.tokens(time.Hour)
		c := credentials.AssertionFunc(s.get)
		p.mustUse(t, c)
		down := errors.New("the issuer is down")
		s.next = func(context.Context) (string, error) {
			time.Sleep(2 * time.Second)
			return "", down
		}
		time.Sleep(48 * time.Minute)
		for range 66 {
			start := time.Now()
			p.mustUse(t, c)
			if waited := time.Since(start); waited != 0 {
				t.Fatalf("waited %v", waited)
			}
			time.Sleep(10 * time.Second)
		}
		s.wantCalls(t, 1+17) // every forty seconds; each call takes two
		err := p.use(c)
		e, ok := err.(*entra.Error)
		if !ok || e.Code != "invalid_client" ||
			e.Description != "failed to load the credential: client assertion: the issuer is down" || !errors.Is(err, down) ||
			e.Temporary() {
			t.Errorf("got %#v", err)
		}
		s.next = p.tokens(time.Hour).next
		p.mustUse(t, c)
	})
}

// A temporary error of the callback is a temporary error of the client.
func TestTemporaryErrorOfCallback(t *testing.T) {
	throttled := &entra.Error{Code: "temporarily_unavailable", StatusCode: 503, Description: "come back later",
		RetryAfter: 7 * time.Second}
	for _, c := range []entra.Credential{
		credentials.AssertionFunc(func(context.Context) (string, error) { return "", throttled }),
		credentials.SecretFunc(func(context.Context) (string, error) { return "", throttled }),
	} {
		e, ok := newFakeEntra().use(c).(*entra.Error)
		if !ok || !e.Temporary() || e.RetryAfter != 7*time.Second ||
			e.Description != "failed to load the credential: come back later" {
			t.Errorf("got %#v", e)
		}
	}
}

// Concurrent callers share one call. A caller whose context ends returns, and the others
// get the result.
func TestConcurrentCallersShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		s := p.tokens(time.Hour)
		next := s.next
		s.next = func(ctx context.Context) (string, error) {
			select {
			case <-time.After(10 * time.Second):
				return next(ctx)
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		c := credentials.AssertionFunc(s.get)
		client, err := p.client(c)
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		// A code is redeemed in its caller's context, not in the cache's.
		_, err = client.Exchange(short, entra.Grant{
			Flow: "authorization_code", Scopes: []string{scope},
			Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
				return r.AuthorizationCode(ctx, "code", "https://app.example/callback", "")
			},
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := p.use(c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("got a duration of %v, want 10s", took)
		}
		s.wantCalls(t, 1)
	})
}

// A callback that hangs delays its callers by twenty seconds.
func TestAssertionFuncHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		c := credentials.AssertionFunc(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		start := time.Now()
		err := p.use(c)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 20*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

// A rejected assertion is replaced. For a hundred requests that are rejected with the same
// one, the callback is called once, and each request is retried.
func TestRejectedAssertionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		s := p.tokens(time.Hour)
		next := s.next
		s.next = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return next(ctx) }
		c := credentials.AssertionFunc(s.get)
		p.mustUse(t, c)
		p.newKey(t)
		p.onlyKey() // Entra trusts only the new key
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := p.use(c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s.wantCalls(t, 2)
		sent := p.sent("client_assertion")
		slices.Sort(sent)
		if len(sent) != 201 || len(slices.Compact(sent)) != 2 {
			t.Errorf("%d requests", len(sent))
		}
		if n := p.Count(entratest.Match{AADSTS: 700027}); n != 100 {
			t.Errorf("got %d rejected requests, want 100", n)
		}
	})
}

// If the callback returns a rejected assertion again, requests are not retried, and the
// callback is called at most once per second.
func TestRejectedAssertionIsReturnedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		token := p.token(t, time.Hour)
		s := &countingFunc{next: func(context.Context) (string, error) { return token, nil }}
		c := credentials.AssertionFunc(s.get)
		p.mustUse(t, c)
		p.newKey(t)
		p.onlyKey()
		for range 10 {
			if e, ok := p.use(c).(*entra.Error); !ok || !e.Has(700027) {
				t.Errorf("got %v", e)
			}
		}
		s.wantCalls(t, 2)
		if n := len(p.sent("client_assertion")); n != 11 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(time.Second)
		if e, ok := p.use(c).(*entra.Error); !ok || !e.Has(700027) {
			t.Errorf("got %v", e)
		}
		s.wantCalls(t, 3)
	})
}

// An assertion without expiry, or expired by the local clock, is sent but not cached. Only
// Entra decides whether it is valid.
func TestAssertionIsNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		for name, expiry := range map[string]time.Time{
			"no exp":  {}, // entratest requires an exp, as Entra does
			"expired": time.Now().Add(-time.Minute),
		} {
			s := &countingFunc{next: func(context.Context) (string, error) { return p.sign(expiry) }}
			c := credentials.AssertionFunc(s.get)
			for range 2 {
				if e, ok := p.use(c).(*entra.Error); !ok || !e.Has(700024) {
					t.Errorf("%s: got %v", name, e)
				}
			}
			s.wantCalls(t, 4) // two for each request
		}
	})
}

// A missing callback is an error of entra.New.
func TestNilCallbacks(t *testing.T) {
	for want, c := range map[string]entra.Credential{
		"the function that returns client assertions is nil": credentials.AssertionFunc(nil),
		"the function that loads the credential is nil":      credentials.SecretFunc(nil),
	} {
		_, err := entra.New(entra.Config{TenantID: entratest.SampleTenant, ClientID: entratest.SampleOtherTenant,
			Credential: c})
		if e := testkit.Error(t, err); e.Code != "invalid_client" || e.Description != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The error for an invalid result of a callback does not repeat the result.
func TestInvalidCallbacks(t *testing.T) {
	for name, test := range map[string]struct {
		credential entra.Credential
		want       string
	}{
		"empty": {credentials.AssertionFunc(func(context.Context) (string, error) { return "", nil }),
			"client assertion: the assertion is not a JWT"},
		"not a JWT": {credentials.AssertionFunc(func(context.Context) (string, error) { return "s3cr3t.s3cr3t", nil }),
			"client assertion: the assertion is not a JWT"},
		"empty secret": {credentials.SecretFunc(func(context.Context) (string, error) { return "", nil }),
			"the client secret that the callback returned is empty"},
		"secret with a line feed": {credentials.SecretFunc(func(context.Context) (string, error) { return "s3cr3t\n", nil }),
			"the client secret that the callback returned contains a control character, such as a line feed, or invalid " +
				"UTF-8; it must be the secret's Value and nothing else"},
		"panic": {credentials.AssertionFunc(func(context.Context) (string, error) { panic("s3cr3t") }),
			"client assertion: the function panicked with a value of type string"},
		"panic, secret": {credentials.SecretFunc(func(context.Context) (string, error) { panic(errors.New("s3cr3t")) }),
			"client secret: the function panicked with a value of type *errors.errorString"},
	} {
		err := newFakeEntra().use(test.credential)
		e, ok := err.(*entra.Error)
		if want := "failed to load the credential: " + test.want; !ok || e.Code != "invalid_client" || e.Description != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
		if text := fmt.Sprintf("%+v %#v", err, e); strings.Contains(text, "s3cr3t") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// A secret is refreshed in the background after five minutes, and at once when Entra rejects
// it.
func TestSecretFuncRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEntra()
		e.secrets("secret-1", "secret-2", "secret-3")
		now := "secret-1"
		s := &countingFunc{next: func(context.Context) (string, error) { time.Sleep(time.Second); return now, nil }}
		c := credentials.SecretFunc(s.get)
		e.mustUse(t, c)
		now = "secret-2"
		time.Sleep(5*time.Minute - time.Second)
		e.mustUse(t, c)
		s.wantCalls(t, 1)
		time.Sleep(time.Second)
		start := time.Now()
		e.mustUse(t, c) // calls get and does not wait
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		e.mustUse(t, c)
		s.wantCalls(t, 2)
		now = "secret-3"
		e.secrets("secret-3")
		e.mustUse(t, c)
		s.wantCalls(t, 3)
		// While the vault is down for a day, the secret is still used.
		s.next = func(context.Context) (string, error) { return "", errors.New("down") }
		time.Sleep(24 * time.Hour)
		e.mustUse(t, c)
		synctest.Wait()
		s.wantCalls(t, 4)
		// Until Entra rejects it.
		time.Sleep(time.Second)
		e.secrets("secret-4")
		got := e.use(c)
		if f, ok := got.(*entra.Error); !ok || !f.Has(7000215) ||
			!strings.HasSuffix(f.Description,
				"; no other credential was tried: failed to load the credential: client secret: down") {
			t.Errorf("got %v", got)
		}
		e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-2", "secret-2", "secret-3", "secret-3", "secret-3")
	})
}

// A text that cannot be a secret is treated like an error. The cached secret stays in use,
// and once it is rejected, the next request calls the callback again.
func TestSecretFuncReturnsInvalidSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, bad := range []string{"secret-2\n", "secret-2 ", ""} {
			e := newFakeEntra()
			e.secrets("secret-1")
			now := "secret-1"
			s := &countingFunc{next: func(context.Context) (string, error) { return now, nil }}
			c := credentials.SecretFunc(s.get)
			e.mustUse(t, c)
			now = bad
			time.Sleep(5 * time.Minute)
			e.mustUse(t, c) // calls get
			synctest.Wait()
			e.mustUse(t, c)
			s.wantCalls(t, 2)
			time.Sleep(time.Second)
			e.secrets("secret-2")
			if f, ok := e.use(c).(*entra.Error); !ok || !f.Has(7000215) ||
				!strings.Contains(f.Description,
					"; no other credential was tried: failed to load the credential: the client secret ") {
				t.Errorf("got %v", f)
			}
			now = "secret-2"
			time.Sleep(time.Second)
			e.mustUse(t, c)
			e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-1", "secret-1", "secret-2")
		}
	})
}

// A callback that ends its goroutine does not block its caller.
func TestCallbackEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := credentials.SecretFunc(func(context.Context) (string, error) { runtime.Goexit(); return "", nil })
		err := newFakeEntra().use(c)
		if e, ok := err.(*entra.Error); !ok ||
			e.Description != "failed to load the credential: client secret: the function called runtime.Goexit" {
			t.Errorf("got %v", err)
		}
	})
}
