package entra_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const scopeB = "api://api-b/.default"

// expire sets the daemon's secrets: good works, and the others have expired.
func (e *estate) expire(good string, expired ...string) {
	e.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets, a.ExpiredSecrets = []string{good}, expired })
}

// daemonWith returns a source of the daemon's tokens with a credential.
func (e *estate) daemonWith(t testing.TB, c entra.Credential) *entra.TokenSource {
	t.Helper()
	cfg := e.config("daemon")
	cfg.Credential = c
	return clientcreds.TokenSource(testkit.Client(t, cfg), scopeB)
}

// secretsSent returns the client secrets of all token requests.
func (e *estate) secretsSent() (secrets []string) {
	for _, form := range e.Forms() {
		secrets = append(secrets, form.Get("client_secret"))
	}
	return secrets
}

func (e *estate) wantSecrets(t testing.TB, want ...string) {
	t.Helper()
	if got := e.secretsSent(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func wantToken(t testing.TB, source *entra.TokenSource) {
	t.Helper()
	if _, err := source.Token(); err != nil {
		t.Error(err)
	}
}

// wantError compares an error's code, text and AADSTS numbers.
func wantError(t testing.TB, err error, code, text string, aadsts ...int) *entra.Error {
	t.Helper()
	e := testkit.Error(t, err)
	if e.Code != code || !strings.Contains(e.Description, text) || !slices.Equal(e.AADSTS, aadsts) {
		t.Errorf("got %v %v, want %s %v with %q", err, e.AADSTS, code, aadsts, text)
	}
	return e
}

// loader is the function of a CredentialFunc that returns one credential of a list, and the
// next one after each rejection.
type loader struct {
	list  []entra.Credential
	calls []int // for each call the index of the rejected credential, or -1
}

func (l *loader) load(_ context.Context, rejected entra.Credential) (entra.Credential, error) {
	i := slices.IndexFunc(l.list, rejected.Equal)
	l.calls = append(l.calls, i)
	if i == 0 && len(l.list) > 1 {
		l.list = l.list[1:]
	}
	return l.list[0], nil
}

func TestCredentialFuncReloadsOnRejection(t *testing.T) {
	e := newEstate()
	e.expire("new", "old")
	l := &loader{list: []entra.Credential{entra.Secret("old"), entra.Secret("new")}}
	source := e.daemonWith(t, entra.CredentialFunc(l.load))
	wantToken(t, source)
	form := func(secret string) url.Values {
		return url.Values{
			"grant_type": {"client_credentials"}, "client_id": {e.App("daemon").ClientID}, "client_secret": {secret},
			"scope": {scopeB + " openid offline_access profile"},
		}
	}
	wantForms(t, e, form("old"), form("new"))
	invalidate(t, source)
	wantToken(t, source)
	wantForms(t, e, form("old"), form("new"), form("new"))
	if want := []int{-1, 0, -1}; !slices.Equal(l.calls, want) {
		t.Errorf("loaded with %v, want %v", l.calls, want)
	}
}

// A permanent rejection costs one request, or one for each credential that can be tried. Then
// it is cached for all callers.
func TestRejectionIsCached(t *testing.T) {
	cert, key := selfSigned(t)
	reloading := func(list ...entra.Credential) entra.Credential {
		return entra.CredentialFunc((&loader{list: list}).load)
	}
	issued := func(text string) entra.Credential {
		return entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			if text == "" {
				return rand.Text(), nil
			}
			return text, nil
		})
	}
	old, wrong, good := entra.Secret("old"), entra.Secret("wrong"), entra.Secret("new")
	for _, tt := range []struct {
		name       string
		credential entra.Credential
		requests   int
		aadsts     []int
	}{
		{"secret", old, 1, []int{7000222}},
		{"certificate", entra.Certificate([]*x509.Certificate{cert}, key, nil), 1, []int{700027}},
		{"certificate in a module", entra.Certificate([]*x509.Certificate{cert}, vault{key: key}, nil), 1, []int{700027}},
		{"the same assertion", issued("x"), 1, []int{50027}},
		{"another assertion each time", issued(""), 2, []int{50027}},
		{"the same credential is loaded", reloading(old), 1, []int{7000222}},
		{"the loaded credential is rejected, too", reloading(old, wrong), 2, []int{7000215}},
		{"and another one is not tried", reloading(old, wrong, good), 2, []int{7000215}},
		{"a chain", entra.CredentialChain(old, wrong), 2, []int{7000222, 7000215}},
		{"a chain of loaded credentials", entra.CredentialChain(reloading(old, wrong), reloading(wrong, old)), 4,
			[]int{7000215, 7000222}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(cert.NotBefore.Add(time.Hour)))
				e := newEstate()
				e.expire("new", "old")
				source := e.daemonWith(t, tt.credential)
				errs := make(chan error)
				for range 1000 {
					go func() { _, err := source.Token(); errs <- err }()
				}
				for range 1000 {
					wantError(t, <-errs, "invalid_client", "", tt.aadsts...)
				}
				if n := e.TokenRequests(); n != tt.requests {
					t.Errorf("%d requests for a thousand callers, want %d", n, tt.requests)
				}
				if _, err := source.Token(); err == nil {
					t.Error("got a token")
				}
				if n := e.TokenRequests(); n != tt.requests {
					t.Errorf("%d requests, want %d", n, tt.requests)
				}
			})
		})
	}
}

// A newly loaded credential is tried when the cached failure expires, even after rejections.
func TestRejectionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.expire("new", "old")
		current := entra.Secret("old")
		source := e.daemonWith(t, entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential,
			error) {
			return current, nil
		}))
		if _, err := source.Token(); err == nil {
			t.Fatal("got a token")
		}
		current = entra.Secret("new")
		time.Sleep(2 * time.Second)
		wantToken(t, source)
		e.wantSecrets(t, "old", "new")
	})
}

// A response with Retry-After is not followed by another request.
func TestRejectionWithRetryAfterIsNotRetried(t *testing.T) {
	e := newEstate()
	e.Intercept(respondWith(401, "application/json", `{"error":"invalid_client","error_codes":[7000215]}`, "Retry-After",
		"30"))
	_, err := e.daemonWith(t, entra.CredentialChain(entra.Secret("one"), entra.Secret("two"))).Token()
	if got := wantError(t, err, "invalid_client", "", 7000215); got.RetryAfter != 30*time.Second {
		t.Errorf("got %+v", got)
	}
	e.wantSecrets(t, "one")
}

// Another credential is tried only after errors that it may fix.
func TestWhichErrorsRejectACredential(t *testing.T) {
	for _, tt := range []struct {
		code   string
		aadsts int
		status int
		want   int // requests
	}{
		{"invalid_client", 7000215, 401, 2},
		{"invalid_client", 7000222, 401, 2},
		{"invalid_client", 700027, 401, 2},
		{"invalid_client", 700024, 401, 2},
		{"invalid_client", 700021, 401, 2},
		{"invalid_client", 700023, 401, 2},
		{"invalid_client", 700211, 401, 3}, // a retry of the second
		{"invalid_client", 7002138, 401, 2},
		{"invalid_client", 0, 401, 2},
		{"invalid_client", 123456, 400, 2},
		{"invalid_request", 70021, 400, 3}, // the same
		{"unauthorized_client", 700027, 400, 2},

		{"invalid_client", 7000218, 401, 1},
		{"invalid_client", 700025, 401, 1},
		{"invalid_client", 500112, 400, 1},
		{"invalid_client", 7000215, 503, 3}, // two retries of the first
		{"unauthorized_client", 700016, 400, 1},
		{"unauthorized_client", 7000112, 400, 1},
		{"invalid_request", 90002, 400, 1},
		{"invalid_grant", 70008, 400, 1},
		{"invalid_scope", 70011, 400, 1},
		{"invalid_resource", 500011, 400, 1},
		{"interaction_required", 50076, 400, 1},
		{"temporarily_unavailable", 90033, 503, 3}, // the same
		{"temporarily_unavailable", 90055, 429, 1},
		{"invalid_request", 0, 400, 1},
	} {
		e := newEstate()
		numbers := ""
		if tt.aadsts != 0 {
			numbers = fmt.Sprint(tt.aadsts)
		}
		e.Intercept(respondWith(tt.status, "application/json", fmt.Sprintf(`{"error":%q,"error_codes":[%s]}`, tt.code,
			numbers)))
		_, err := e.daemonWith(t, entra.CredentialChain(entra.Secret("one"), entra.Secret("two"))).Token()
		if err == nil {
			t.Errorf("%s %d: got a token", tt.code, tt.aadsts)
		}
		if n := len(e.Forms()); n != tt.want {
			t.Errorf("%s %d (%d): %d requests, want %d", tt.code, tt.aadsts, tt.status, n, tt.want)
		}
	}
}

func TestLoadErrorIsReported(t *testing.T) {
	gone := errors.New("the vault is sealed,\nnot eyJhbGciOiJub25lIn0.s3cret.")
	type load = func(context.Context, entra.Credential) (entra.Credential, error)
	for _, tt := range []struct {
		name, text string
		load       load
		is         error
	}{
		{"with an error", "the vault is sealed, not [redacted]", func(context.Context, entra.Credential) (entra.Credential,
			error) {
			return entra.Credential{}, gone
		}, gone},
		{"with nothing", "the function returned the zero Credential",
			func(context.Context, entra.Credential) (entra.Credential, error) { return entra.Credential{}, nil }, nil},
		{"with what cannot be", "the client secret is empty", func(context.Context, entra.Credential) (entra.Credential,
			error) {
			return entra.Secret(""), nil
		}, nil},
		{"with a list of such", "credential 2 of CredentialChain: the client secret is empty",
			func(context.Context, entra.Credential) (entra.Credential, error) {
				return entra.CredentialChain(entra.Secret("x"), entra.Secret("")), nil
			}, nil},
		{"with a panic of the runtime's", "the function panicked: runtime error: index out of range [1] with length 0",
			func(context.Context, entra.Credential) (entra.Credential, error) {
				var none []entra.Credential
				return none[len(none)+1], nil
			}, nil},
		{"by leaving", "the function called runtime.Goexit", func(context.Context, entra.Credential) (entra.Credential,
			error) {
			runtime.Goexit()
			return entra.Credential{}, nil
		}, nil},
		{"with a panic", "the function panicked with a value of type string",
			func(context.Context, entra.Credential) (entra.Credential, error) { panic("s3cret") }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEstate()
			_, err := e.daemonWith(t, entra.CredentialFunc(tt.load)).Token()
			got := testkit.Error(t, err)
			if want := "failed to load the credential: " + tt.text; got.Code != "invalid_client" || got.Description != want ||
				got.StatusCode != 0 || got.Temporary() {
				t.Errorf("got %v, want %s", err, want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v has a secret", err)
			}
			wantForms(t, e)

			// The same while replacing a rejected one: the rejection stays the error.
			e = newEstate()
			_, err = e.daemonWith(t, entra.CredentialFunc(func(ctx context.Context, rejected entra.Credential) (entra.Credential,
				error) {
				if rejected.Equal(entra.Credential{}) {
					return entra.Secret("old"), nil
				}
				return tt.load(ctx, rejected)
			})).Token()
			got = wantError(t, err, "invalid_client", "; no other credential was tried: failed to load the credential: "+tt.text,
				7000215)
			if got.StatusCode != 401 || got.TraceID == "" || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %+v", got)
			}
			e.wantSecrets(t, "old")
		})
	}
}

func TestTemporaryLoadErrorIsTemporary(t *testing.T) {
	e := newEstate()
	_, err := e.daemonWith(t, entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
		return entra.Credential{}, &entra.Error{Code: entra.CodeRequestFailed, Description: "the vault does not respond",
			RetryAfter: time.Minute}
	})).Token()
	got := wantError(t, err, entra.CodeRequestFailed, "failed to load the credential: the vault does not respond")
	if !got.Temporary() || got.RetryAfter != time.Minute {
		t.Errorf("got %+v", got)
	}
}

// Nothing is retried for a caller who has left.
func TestNoRetryAfterCallerLeft(t *testing.T) {
	synctest.Test(t, testNoRetryAfterCallerLeft)
}

func testNoRetryAfterCallerLeft(t *testing.T) {
	called := 0
	for name, c := range map[string]entra.Credential{
		"reloading": entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			called++
			return entra.Secret(fmt.Sprint("secret", called)), nil
		}),
		"list": entra.CredentialChain(entra.Secret("old"), entra.CredentialFunc(func(context.Context,
			entra.Credential) (entra.Credential, error) {
			called++
			return entra.Secret("api-a-secret"), nil
		})),
		"assertion": entra.Assertion(func(_ context.Context, r entra.AssertionRequest) (string, error) {
			called++
			return fmt.Sprint("assertion", called), nil
		}),
	} {
		called = 0
		e := newEstate()
		cfg := e.config("api-a")
		cfg.Credential = c
		ctx, cancel := context.WithCancel(t.Context())
		reject := respondWith(401, "application/json", `{"error":"invalid_client","error_codes":[7000215]}`)
		e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
			resp, err := reject(req, form)
			if resp != nil {
				cancel()
			}
			return resp, err
		})
		_, err := testkit.Client(t, cfg).Exchange(ctx, entra.Grant{Flow: "x", Scopes: []string{scopeB},
			Fetch: oboFetch(e, scopeB)})
		wantError(t, err, "invalid_client", "", 7000215)
		synctest.Wait()
		if n := len(e.Forms()); n != 1 || called > 1 || name == "list" && called > 0 {
			t.Errorf("%s: %d requests, %d calls of a function", name, n, called)
		}
	}
}

// A load that hangs and ignores its context delays callers until the context ends, and can work
// again later.
func TestHangingLoadEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		repaired := make(chan struct{})
		cfg := e.config("daemon")
		cfg.Credential = entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			<-repaired
			return entra.Secret("daemon-secret"), nil
		})
		c := testkit.Client(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Exchange(ctx, entra.Grant{Flow: "x", Scopes: []string{scopeB}, Fetch: oboFetch(e, scopeB)})
		if took := time.Since(start); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
		source := clientcreds.TokenSource(c, scopeB)
		start = time.Now()
		_, err = source.Token()
		if took := time.Since(start); took != 30*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
		close(repaired)
		time.Sleep(10 * time.Second)
		wantToken(t, source)
		e.wantSecrets(t, "daemon-secret")
	})
}

// However many exchanges run while a function hangs, the number of its calls is bounded.
func TestHangingLoadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		repaired := make(chan struct{})
		var running atomic.Int64
		cfg := e.config("daemon")
		cfg.Credential = entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			running.Add(1)
			<-repaired
			running.Add(-1)
			return entra.Secret("daemon-secret"), nil
		})
		c := testkit.Client(t, cfg)
		for range 3 {
			errs := make(chan error)
			for i := range 200 {
				go func() {
					_, err := clientcreds.TokenSource(c, fmt.Sprintf("api://%d/.default", i)).Token()
					errs <- err
				}()
			}
			for range 200 {
				if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			}
			time.Sleep(2 * time.Minute) // the failures are forgotten
		}
		if n := running.Load(); n != 256 {
			t.Errorf("%d calls hang", n)
		}
		close(repaired)
		synctest.Wait()
		wantToken(t, clientcreds.TokenSource(c, scopeB))
		if n := running.Load(); n != 0 {
			t.Errorf("%d calls hang", n)
		}
	})
}

// A credential that hangs leaves time for the next one, which is then tried first.
func TestHangingCredentialLeavesTimeForTheNext(t *testing.T) {
	cert, key := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		repaired := make(chan struct{})
		for name, hangs := range map[string]entra.Credential{
			"load": entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
				<-repaired
				return entra.Credential{}, errors.New("too late")
			}),
			"callback": entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
				<-repaired
				return "", errors.New("too late")
			}),
			"signer": entra.Certificate([]*x509.Certificate{cert}, vault{key,
				func() error { <-repaired; return errors.New("too late") }}, nil),
		} {
			e := newEstate()
			source := e.daemonWith(t, entra.CredentialChain(hangs, entra.Secret("daemon-secret")))
			for i, want := range []time.Duration{15 * time.Second, 0} { // of thirty
				start := time.Now()
				tok, err := source.Token()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if took := time.Since(start); took != want {
					t.Errorf("%s: call %d took %v, want %v", name, i+1, took, want)
				}
				source.Invalidate(tok)
			}

			e = newEstate()
			_, err := e.daemonWith(t, entra.CredentialChain(hangs, entra.Secret("wrong"))).Token()
			got := wantError(t, err, entra.CodeRequestFailed, ": context deadline exceeded; 2: AADSTS7000215", 7000215)
			if !got.Temporary() || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		close(repaired)
	})
}

// A CredentialFunc that loads itself fails instead of recursing.
func TestCredentialFuncThatLoadsItselfFails(t *testing.T) {
	e := newEstate()
	var c entra.Credential
	c = entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) { return c, nil })
	_, err := e.daemonWith(t, c).Token()
	wantError(t, err, "invalid_client", "CredentialFunc loads itself")
	wantForms(t, e)
}

// A CredentialFunc may load another one.
func TestCredentialFuncLoadsAnother(t *testing.T) {
	e := newEstate()
	e.expire("new", "old")
	inner := entra.CredentialFunc((&loader{list: []entra.Credential{entra.Secret("old"), entra.Secret("new")}}).load)
	outer := entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) { return inner, nil })
	wantToken(t, e.daemonWith(t, outer))
	e.wantSecrets(t, "old", "new")
}

func TestCredentialChainStartsWithTheOneThatWorked(t *testing.T) {
	e := newEstate()
	e.expire("two", "one")
	source := e.daemonWith(t, entra.CredentialChain(entra.Secret("zero"), entra.Secret("one"), entra.Secret("two"),
		entra.Secret("three")))
	again := func() {
		t.Helper()
		if _, ok := source.Cached(); ok {
			invalidate(t, source)
		}
		wantToken(t, source)
	}
	again()
	e.wantSecrets(t, "zero", "one", "two")
	again() // the last one that worked comes first
	e.wantSecrets(t, "zero", "one", "two", "two")
	e.expire("one", "two")
	again() // then the others in their order
	e.wantSecrets(t, "zero", "one", "two", "two", "two", "zero", "one")
	again()
	e.wantSecrets(t, "zero", "one", "two", "two", "two", "zero", "one", "one")
}

// If no credential works, the error describes the failure of each, in their order.
func TestCredentialChainReportsEachFailure(t *testing.T) {
	e := newEstate()
	e.expire("good", "old")
	gone := errors.New("the file is gone")
	broken := entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential,
		error) {
		return entra.Credential{}, gone
	})
	renewed := entra.CredentialFunc((&loader{list: []entra.Credential{entra.Secret("stolen~secret"),
		entra.Secret("old")}}).load)
	_, err := e.daemonWith(t, entra.CredentialChain(broken, renewed, entra.Secret("wrong~secret"))).Token()
	got := testkit.Error(t, err)
	if got.Code != "invalid_client" || !slices.Equal(got.AADSTS, []int{7000222, 7000215}) || got.StatusCode != 401 ||
		!errors.Is(err, gone) || got.TraceID == "" {
		t.Errorf("got %+v", got)
	}
	e.wantSecrets(t, "stolen~secret", "old", "wrong~secret")
	for _, want := range []string{
		"no credential works: 1: failed to load the credential: the file is gone; 2: AADSTS7000222: ", "; 3: AADSTS7000215: ",
	} {
		if !strings.Contains(got.Description, want) {
			t.Errorf("%q has no %q", got.Description, want)
		}
	}
	leaks(t, err, "stolen~secret", "wrong~secret")
}

// If one credential may work later, the error is temporary.
func TestCredentialChainIsTemporaryIfOneIs(t *testing.T) {
	e := newEstate()
	out := entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
		return entra.Credential{}, &entra.Error{Code: "temporarily_unavailable", Description: "the vault is busy",
			StatusCode: 503, RetryAfter: time.Minute}
	})
	_, err := e.daemonWith(t, entra.CredentialChain(out, entra.Secret("wrong"))).Token()
	got := wantError(t, err, "temporarily_unavailable", "2: AADSTS7000215: ", 7000215)
	if !got.Temporary() || got.RetryAfter != time.Minute {
		t.Errorf("got %+v", got)
	}
	e.wantSecrets(t, "wrong")
}

func TestInvalidCredentialsAreRejected(t *testing.T) {
	for want, c := range map[string]entra.Credential{
		"CredentialChain has no credentials": entra.CredentialChain(),
		"credential 2 of CredentialChain is the zero Credential": entra.CredentialChain(entra.Secret("x"),
			entra.Credential{}),
		"credential 1 of CredentialChain: the client secret is empty": entra.CredentialChain(entra.Secret("")),
		"the function that loads the credential is nil":               entra.CredentialFunc(nil),
		"credential 1 of CredentialChain: the function that returns client assertions is nil": entra.CredentialChain(
			entra.Assertion(nil)),
	} {
		_, err := entra.New(entra.Config{TenantID: entratest.SampleTenant, ClientID: entratest.SampleOtherTenant,
			Credential: c})
		wantError(t, err, "invalid_client", want)
	}
}

func TestCredentialEqual(t *testing.T) {
	cert, key := selfSigned(t)
	renewed := testkit.Certificate(t, key)
	of := func(c *x509.Certificate, o entra.CertificateOptions) entra.Credential {
		return entra.Certificate([]*x509.Certificate{c}, key, &o)
	}
	callback := func(context.Context, entra.AssertionRequest) (string, error) { return "", nil }
	load := func(context.Context, entra.Credential) (entra.Credential, error) { return entra.Credential{}, nil }
	all := []entra.Credential{
		{}, entra.Secret("a"), entra.Secret("b"),
		of(cert, entra.CertificateOptions{}), of(renewed, entra.CertificateOptions{}),
		of(cert, entra.CertificateOptions{RS256: true}), of(cert, entra.CertificateOptions{SendChain: true}),
		entra.Assertion(callback), entra.Assertion(callback), entra.CredentialFunc(load), entra.CredentialFunc(load),
		entra.CredentialChain(entra.Secret("a")), entra.CredentialChain(entra.Secret("a")),
	}
	for i, c := range all {
		for j, d := range all {
			if got := c.Equal(d); got != (i == j) {
				t.Errorf("%d and %d: equal is %v", i, j, got)
			}
		}
	}
	copied := *key
	if !entra.Secret("a").Equal(all[1]) || !of(cert, entra.CertificateOptions{}).Equal(all[3]) ||
		!entra.Certificate([]*x509.Certificate{cert}, &copied, nil).Equal(all[3]) {
		t.Error("the same credential made twice is not equal")
	}
}

// The public part of a certificate does not open its owner's cached tokens, even if the key
// claims to belong to it.
func TestCertificateWithoutItsKeySharesNoToken(t *testing.T) {
	cert, key := selfSigned(t)
	crippled := rsa.PrivateKey{PublicKey: key.PublicKey, D: big.NewInt(3), Primes: key.Primes}
	for name, claimed := range map[string]crypto.PrivateKey{
		"a signer that names the certificate's public key": publicOnly{&key.PublicKey},
		"a key that is the certificate's in part":          &crippled,
	} {
		e := newEstate()
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{cert} })
		shared := cache.New(cache.Options{})
		source := func(key crypto.PrivateKey) *entra.TokenSource {
			cfg := e.config("daemon")
			cfg.Cache, cfg.Credential = shared, entra.Certificate([]*x509.Certificate{cert}, key, nil)
			return clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB)
		}
		if _, err := source(key).Token(); err != nil {
			t.Fatal(err)
		}
		if _, err := source(claimed).Token(); err == nil {
			t.Errorf("%s got a token (%d requests)", name, len(e.Forms()))
		}
	}
}

// An assertion callback is called again, once, after Entra has rejected its assertion.
func TestRejectedAssertionIsReplaced(t *testing.T) {
	for _, tt := range []struct {
		name   string
		second func() (string, error)
		sent   []string
		logged int
		text   string
		aadsts []int
	}{
		{"another", func() (string, error) { return "two", nil }, []string{"one", "two"}, 1, "AADSTS50027", []int{50027}},
		{"the same", func() (string, error) { return "one", nil }, []string{"one"}, 0, "AADSTS50027", []int{50027}},
		{"none", func() (string, error) { return "", errors.New("no more") }, []string{"one"}, 0,
			"; no other credential was tried: the assertion callback failed: no more", []int{50027}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEstate()
			var requests []entra.AssertionRequest
			cfg := e.config("daemon")
			var log counter
			cfg.Logger = slog.New(&log)
			cfg.Credential = entra.Assertion(func(_ context.Context, r entra.AssertionRequest) (string, error) {
				requests = append(requests, r)
				if r.Rejected {
					return tt.second()
				}
				return "one", nil
			})
			_, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeB).Token()
			wantError(t, err, "invalid_client", tt.text, tt.aadsts...)
			id := e.App("daemon").ClientID
			want := []entra.AssertionRequest{{ClientID: id, TokenEndpoint: tokenURL},
				{ClientID: id, TokenEndpoint: tokenURL, Rejected: true}}
			if !reflect.DeepEqual(requests, want) {
				t.Errorf("got requests %+v, want %+v", requests, want)
			}
			var sent []string
			for _, form := range e.Forms() {
				sent = append(sent, form.Get("client_assertion"))
			}
			if !slices.Equal(sent, tt.sent) {
				t.Errorf("sent %q, want %q", sent, tt.sent)
			}
			if n := log.Load(); n != int64(tt.logged) {
				t.Errorf("%d lines about another attempt, want %d", n, tt.logged)
			}
		})
	}
}

// counter counts the log records about another attempt.
type counter struct{ atomic.Int64 }

func (*counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler     { return c }
func (c *counter) WithGroup(string) slog.Handler          { return c }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	if strings.HasSuffix(r.Message, "trying another") {
		c.Add(1)
	}
	return nil
}
