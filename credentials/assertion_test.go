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
)

// A source is a callback that counts.
type source struct {
	calls atomic.Int64
	next  func(context.Context) (string, error)
}

func (s *source) get(ctx context.Context) (string, error) {
	s.calls.Add(1)
	return s.next(ctx)
}

func (s *source) wantCalls(t testing.TB, want int64) {
	t.Helper()
	if got := s.calls.Load(); got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
}

// tokens returns tokens of an issuer that live so long.
func (p *idp) tokens(life time.Duration) *source {
	return &source{next: func(context.Context) (string, error) { return p.sign(time.Now().Add(life)) }}
}

// An assertion is used for four fifths of its life, then another one is got while it
// serves, and it is never used in its last minute, or the last tenth of a short life.
func TestAssertionIsHeld(t *testing.T) {
	for _, test := range []struct{ life, early, end time.Duration }{
		{5 * time.Minute, 4 * time.Minute, 4*time.Minute + 30*time.Second},
		{time.Hour, 48 * time.Minute, 59 * time.Minute},
		{24 * time.Hour, time.Hour, 24*time.Hour - time.Minute},
	} {
		t.Run(test.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newEstate().trust(t)
				s := p.tokens(test.life)
				c := credentials.AssertionFunc(s.get)
				s.wantCalls(t, 0)
				p.mustUse(t, c)
				time.Sleep(test.early - time.Second)
				p.mustUse(t, c)
				synctest.Wait()
				s.wantCalls(t, 1)
				time.Sleep(time.Second)
				p.mustUse(t, c)
				synctest.Wait()
				s.wantCalls(t, 2)
				p.mustUse(t, c)
				sent := p.proofs("client_assertion")
				if sent[0] != sent[1] || sent[0] != sent[2] || sent[0] == sent[3] {
					t.Error("the new assertion is to be used once it is there, and not before")
				}
				// After a long pause nobody has got one early.
				time.Sleep(test.end)
				p.mustUse(t, c)
				s.wantCalls(t, 3)
				if sent = p.proofs("client_assertion"); sent[4] == sent[3] {
					t.Error("an assertion was used to its end")
				}
			})
		})
	}
}

// While its source is down an assertion is used to its end, and the source is asked every
// thirty seconds at most, and nobody waits for it. Then its error is the error.
func TestAssertionSourceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
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
		s.wantCalls(t, 1+17) // every forty seconds: each call takes two
		err := p.use(c)
		e, ok := err.(*entra.Error)
		if !ok || e.Code != "invalid_client" || e.Description != "failed to load the credential: the issuer is down" || !errors.Is(err, down) || e.Temporary() {
			t.Errorf("got %#v", err)
		}
		s.next = p.tokens(time.Hour).next
		p.mustUse(t, c)
	})
}

// An error that is temporary makes the client's temporary.
func TestTemporaryErrorOfASource(t *testing.T) {
	throttled := &entra.Error{Code: "temporarily_unavailable", StatusCode: 503, Description: "come back later", RetryAfter: 7 * time.Second}
	for _, c := range []entra.Credential{
		credentials.AssertionFunc(func(context.Context) (string, error) { return "", throttled }),
		credentials.SecretFunc(func(context.Context) (string, error) { return "", throttled }),
	} {
		e, ok := newEstate().use(c).(*entra.Error)
		if !ok || !e.Temporary() || e.RetryAfter != 7*time.Second || e.Description != "failed to load the credential: come back later" {
			t.Errorf("got %#v", e)
		}
	}
}

// However many need an assertion, the source is asked once; who gives up leaves, and the
// others get what was asked for.
func TestAssertionIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
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
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		// A code is redeemed in its caller's own time, not in a cache's.
		_, err = client.Exchange(hasty, entra.Grant{
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
			t.Errorf("took %v", took)
		}
		s.wantCalls(t, 1)
	})
}

// A source that never answers costs its callers twenty seconds.
func TestAssertionSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
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

// What Entra refuses is dropped: for a hundred requests that were refused with the same
// one, its source is asked once, and each of them is made once more.
func TestRefusedAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
		s := p.tokens(time.Hour)
		next := s.next
		s.next = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return next(ctx) }
		c := credentials.AssertionFunc(s.get)
		p.mustUse(t, c)
		p.newKey(t)
		p.onlyKey() // the issuer has lost its key; Entra trusts the new one alone
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
		sent := p.proofs("client_assertion")
		slices.Sort(sent)
		if len(sent) != 201 || len(slices.Compact(sent)) != 2 {
			t.Errorf("%d requests", len(sent))
		}
		if n := p.Count(entratest.Match{AADSTS: 700027}); n != 100 {
			t.Errorf("%d were refused", n)
		}
	})
}

// A source that repeats what was refused is not asked again by everybody at once, and the
// request is not repeated.
func TestRefusedAssertionThatIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
		token := p.token(t, time.Hour)
		s := &source{next: func(context.Context) (string, error) { return token, nil }}
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
		if n := len(p.proofs("client_assertion")); n != 11 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(time.Second)
		if e, ok := p.use(c).(*entra.Error); !ok || !e.Has(700027) {
			t.Errorf("got %v", e)
		}
		s.wantCalls(t, 3)
	})
}

// An assertion whose end is unknown, or past by our clock, is sent and not held: whether it
// is good is for Entra to say.
func TestAssertionThatCannotBeHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newEstate().trust(t)
		for aadsts, end := range map[int]time.Time{
			700024: {},                           // entratest wants an exp, as Entra does
			700025: time.Now().Add(-time.Minute), // the same refusal, another key for the map
		} {
			s := &source{next: func(context.Context) (string, error) { return p.sign(end) }}
			c := credentials.AssertionFunc(s.get)
			for range 2 {
				if e, ok := p.use(c).(*entra.Error); !ok || !e.Has(700024) {
					t.Errorf("%d: got %v", aadsts, e)
				}
			}
			s.wantCalls(t, 4) // refused, asked again, each time
		}
	})
}

// What a callback does wrong is said without what it returned.
func TestBadSources(t *testing.T) {
	for name, test := range map[string]struct {
		credential entra.Credential
		want       string
	}{
		"no callback":         {credentials.AssertionFunc(nil), "the callback for the client assertion is missing"},
		"no callback, secret": {credentials.SecretFunc(nil), "the callback for the client secret is missing"},
		"empty":               {credentials.AssertionFunc(func(context.Context) (string, error) { return "", nil }), "what was returned as a client assertion is no JWT"},
		"no JWT":              {credentials.AssertionFunc(func(context.Context) (string, error) { return "s3cr3t.s3cr3t", nil }), "what was returned as a client assertion is no JWT"},
		"empty secret":        {credentials.SecretFunc(func(context.Context) (string, error) { return "", nil }), "it returned an empty client secret"},
		"secret with a line feed": {credentials.SecretFunc(func(context.Context) (string, error) { return "s3cr3t\n", nil }),
			"the client secret that was returned has white space, a control character or something other than text in it; it is to be the value of the secret and nothing else"},
		"ID of a secret": {credentials.SecretFunc(func(context.Context) (string, error) { return "7d1c5a0e-1111-4a7b-9c9f-0123456789ab", nil }),
			"the client secret that was returned consists of a GUID, so it is the ID of a secret, or the client's or the tenant's ID; " +
				"it is to be the secret's Value, which the Entra admin center shows only when it is made (make a new one if it is lost)"},
		"panic":         {credentials.AssertionFunc(func(context.Context) (string, error) { panic("s3cr3t") }), "the callback for the client assertion panicked with a value of type string"},
		"panic, secret": {credentials.SecretFunc(func(context.Context) (string, error) { panic(errors.New("s3cr3t")) }), "the callback for the client secret panicked with a value of type *errors.errorString"},
	} {
		err := newEstate().use(test.credential)
		e, ok := err.(*entra.Error)
		if want := "failed to load the credential: " + test.want; !ok || e.Code != "invalid_client" || e.Description != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
		if text := fmt.Sprintf("%+v %#v", err, e); strings.Contains(text, "s3cr3t") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// A secret is asked for again after five minutes, while the one that is held serves, and
// at once when Entra refuses it.
func TestSecretFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.secrets("secret-1", "secret-2", "secret-3")
		now := "secret-1"
		s := &source{next: func(context.Context) (string, error) { time.Sleep(time.Second); return now, nil }}
		c := credentials.SecretFunc(s.get)
		e.mustUse(t, c)
		now = "secret-2"
		time.Sleep(5*time.Minute - time.Second)
		e.mustUse(t, c)
		s.wantCalls(t, 1)
		time.Sleep(time.Second)
		start := time.Now()
		e.mustUse(t, c) // asks, and does not wait
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
		// A vault that is down for a day changes nothing.
		s.next = func(context.Context) (string, error) { return "", errors.New("down") }
		time.Sleep(24 * time.Hour)
		e.mustUse(t, c)
		synctest.Wait()
		s.wantCalls(t, 4)
		// Until the secret is refused.
		time.Sleep(time.Second)
		e.secrets("secret-4")
		got := e.use(c)
		if f, ok := got.(*entra.Error); !ok || !f.Has(7000215) || !strings.HasSuffix(f.Description, "; no other credential was tried: failed to load the credential: down") {
			t.Errorf("got %v", got)
		}
		e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-2", "secret-2", "secret-3", "secret-3", "secret-3")
	})
}

// What cannot be a secret is a failure of the callback like any other: what is held stays
// in use, and when that is refused the callback is asked again for the next request.
func TestSecretFuncReturnsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, bad := range []string{"secret-2\n", "7d1c5a0e-1111-4a7b-9c9f-0123456789ab"} {
			e := newEstate()
			e.secrets("secret-1")
			now := "secret-1"
			s := &source{next: func(context.Context) (string, error) { return now, nil }}
			c := credentials.SecretFunc(s.get)
			e.mustUse(t, c)
			now = bad
			time.Sleep(5 * time.Minute)
			e.mustUse(t, c) // asks
			synctest.Wait()
			e.mustUse(t, c)
			s.wantCalls(t, 2)
			time.Sleep(time.Second)
			e.secrets("secret-2")
			if f, ok := e.use(c).(*entra.Error); !ok || !f.Has(7000215) || !strings.Contains(f.Description, "; no other credential was tried: failed to load the credential: the client secret ") {
				t.Errorf("got %v", f)
			}
			now = "secret-2"
			time.Sleep(time.Second)
			e.mustUse(t, c)
			e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-1", "secret-1", "secret-2")
		}
	})
}

// A callback that ends its goroutine makes nobody wait for ever.
func TestSourceEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := credentials.SecretFunc(func(context.Context) (string, error) { runtime.Goexit(); return "", nil })
		err := newEstate().use(c)
		if e, ok := err.(*entra.Error); !ok || e.Description != "failed to load the credential: the callback for the client secret ended its goroutine" {
			t.Errorf("got %v", err)
		}
	})
}
