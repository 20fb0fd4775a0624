package entra_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// users are many callers of an API, each with an access token.
type users struct {
	*estate
	client     *entra.Client
	assertions []string
}

func newUsers(t *testing.T, n int, c entra.Credential) *users {
	u := &users{estate: newEstate(hour)}
	cfg := u.config("api-a")
	cfg.Credential, cfg.Cache = c, cache.New(cache.Options{Size: 2 * n})
	u.client = testkit.Client(t, cfg)
	for i := range n {
		u.assertions = append(u.assertions, u.Mint(entratest.MintOptions{
			Resource: "api-a", Client: "webapp", User: alice, Lifetime: 24 * time.Hour, Claims: map[string]any{"n": i},
		}))
	}
	return u
}

// secret sets the API's secrets: good works, and the other has expired.
func (u *users) secret(good, expired string) {
	u.UpdateCredentials("api-a", func(a *entratest.App) {
		a.Secrets, a.ExpiredSecrets = []string{good},
			[]string{expired}
	})
}

// call calls once for every user, concurrently or one after the other, and returns the
// number of failed calls. Every failure must be a rejection of the credential.
func (u *users) call(t *testing.T, atOnce bool) (failed int) {
	t.Helper()
	var wg sync.WaitGroup
	var n atomic.Int64
	for _, assertion := range u.assertions {
		one := func() {
			_, err := obo.TokenSource(u.client, assertion, "api://api-b/Orders.Read").TokenContext(t.Context())
			if err == nil {
				return
			}
			n.Add(1)
			if e := testkit.Error(t, err); e.Code != "invalid_client" || !e.Has(7000222) {
				t.Errorf("got %v", err)
			}
		}
		if atOnce {
			wg.Go(one)
		} else {
			one()
		}
	}
	wg.Wait()
	synctest.Wait()
	return int(n.Load())
}

// An expired secret is not sent for every user. Some requests find out, and then single probes
// test whether it works again.
func TestExpiredSecretIsNotSentForEveryUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		u := newUsers(t, n, entra.Secret("old-secret"))
		u.secret("new-secret", "old-secret")
		if failed := u.call(t, false); failed != n {
			t.Errorf("%d calls failed, want %d", failed, n)
		}
		if got := len(u.Forms()); got != 8 {
			t.Errorf("%d requests for %d users, want 8", got, n)
		}
		slow := u.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second}) // during which others come
		for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(time.Second) {
			u.call(t, true)
		}
		// Waits grow from a second to a mean of half a minute.
		if got := len(u.Forms()); got < 20 || got > 45 {
			t.Errorf("%d requests in ten minutes", got)
		}
		slow()
		// The same secret works again.
		u.secret("old-secret", "new-secret")
		time.Sleep(2 * time.Minute) // past every back-off
		before := len(u.Forms())
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed", failed)
		}
		if got := len(u.Forms()) - before; got != n {
			t.Errorf("%d requests, want one for each user", got)
		}
	})
}

// A new secret is used at once, however often the old one was rejected.
func TestNewSecretClosesTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		var current atomic.Value
		current.Store("old-secret")
		u := newUsers(t, n, entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return entra.Secret(current.Load().(string)), nil
		}))
		u.secret("new-secret", "old-secret")
		if failed := u.call(t, false); failed != n {
			t.Errorf("%d calls failed, want %d", failed, n)
		}
		if got := len(u.Forms()); got != 8 {
			t.Errorf("%d requests, want 8", got)
		}
		current.Store("new-secret")
		time.Sleep(2 * time.Second) // past the back-off of each user's own failure
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed", failed)
		}
		if got := len(u.Forms()); got != 8+n {
			t.Errorf("%d requests, want %d", got, 8+n)
		}
	})
}

// The breaker identifies an assertion by its text. A rejected one is not sent for every user,
// and the next one is sent at once.
func TestRejectedAssertionIsNotSentForEveryUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		var calls, version atomic.Int64
		u := newUsers(t, n, entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			calls.Add(1)
			return fmt.Sprintf("e30.e30.%d", version.Load()), nil
		}))
		u.Intercept(respondWith(401, "application/json",
			`{"error":"invalid_client","error_description":"AADSTS7000222: no","error_codes":[7000222]}`))
		u.call(t, false)
		if got := len(u.Forms()); got != 8 {
			t.Errorf("%d requests, want 8", got)
		}
		if got := calls.Load(); got != 2*n { // only the callback knows whether it has another
			t.Errorf("got %d calls of the callback, want %d", got, 2*n)
		}
		version.Add(1)
		time.Sleep(2 * time.Second)
		u.call(t, false)
		if got := len(u.Forms()); got != 8+8 {
			t.Errorf("%d requests, want %d", got, 8+8)
		}
	})
}

// Single rejections among many accepted requests, or in another tenant, do not open the
// breaker.
func TestBreakerCountsRejectionsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		u := newUsers(t, n, entra.Secret("api-a-secret"))
		remove := u.Inject(entratest.Fault{Endpoint: "token", Status: 401, Error: "invalid_client", AADSTS: 7000222,
			Times: 7})
		if failed := u.call(t, false); failed != 7 {
			t.Errorf("%d calls failed, want 7", failed)
		}
		remove()
		u.Inject(entratest.Fault{Endpoint: "token", Tenant: entratest.SampleOtherTenant, Status: 401, Error: "invalid_client",
			AADSTS: 7000222})
		other, err := u.client.WithTenant(entratest.SampleOtherTenant)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			carol := u.Mint(entratest.MintOptions{Tenant: entratest.SampleOtherTenant, Resource: "api-a", Client: "webapp",
				User: "carol@fabrikam.onmicrosoft.com", Claims: map[string]any{"n": i}})
			if _, err := obo.TokenSource(other, carol, "api://api-b/Orders.Read").Token(); !testkit.Error(t, err).Has(7000222) {
				t.Errorf("got %v", err)
			}
		}
		u.assertions = append(u.assertions, u.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice,
			Claims: map[string]any{"n": n}}))
		if failed := u.call(t, false); failed != 7 {
			t.Errorf("%d calls failed, want the seven", failed)
		}
		time.Sleep(2 * time.Second)
		if failed := u.call(t, false); failed != 0 { // the seven are tried again
			t.Errorf("%d calls failed because of another tenant", failed)
		}
	})
}

// invalid_client with another number, as for an unknown scope, concerns one request. No other
// request is rejected for it.
func TestBreakerIgnoresOtherErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		u := newUsers(t, n, entra.Secret("api-a-secret"))
		remove := u.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: "invalid_client", AADSTS: 650053})
		for _, assertion := range u.assertions {
			if _, err := obo.TokenSource(u.client, assertion, "api://api-b/Orders.Raed").Token(); !testkit.Error(t,
				err).Has(650053) {
				t.Errorf("got %v", err)
			}
		}
		remove()
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed because of others' scopes", failed)
		}
	})
}

// An error that requires the user to sign in shows that the credential works, just as a token
// does.
func TestBreakerClosesWhenAUserMustInteract(t *testing.T) {
	for _, code := range []string{"invalid_grant", "interaction_required"} {
		synctest.Test(t, func(t *testing.T) {
			const n = 20
			u := newUsers(t, n, entra.Secret("old-secret"))
			u.secret("new-secret", "old-secret")
			if failed := u.call(t, false); failed != n {
				t.Errorf("%d calls failed, want %d", failed, n)
			}
			u.secret("old-secret", "new-secret")
			time.Sleep(2 * time.Minute) // past every back-off
			u.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: code, AADSTS: 50076, Times: 1})
			if _, err := obo.TokenSource(u.client, u.assertions[0], "api://api-b/Orders.Read").Token(); testkit.Error(t,
				err).Code != code {
				t.Errorf("got %v", err)
			}
			u.assertions = u.assertions[1:]
			if failed := u.call(t, false); failed != 0 {
				t.Errorf("%s: %d calls failed", code, failed)
			}
		})
	}
}

// A region that rejects a credential, perhaps because it does not know a new secret yet, does
// not affect users, whose tokens come from the global endpoint.
func TestBreakerOfARegionIsSeparate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(t, 20, entra.Secret("api-a-secret"))
		cfg := u.config("api-a")
		cfg.Region = "westeurope"
		u.client = testkit.Client(t, cfg)
		reject := respondWith(401, "application/json",
			`{"error":"invalid_client","error_description":"AADSTS7000215: no","error_codes":[7000215]}`)
		u.Intercept(func(r *http.Request, form url.Values) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Host, "westeurope.") {
				return nil, nil
			}
			return reject(r, form)
		})
		for i := range 10 {
			if _, err := clientcreds.TokenSource(u.client, fmt.Sprintf("api://%d/.default", i)).Token(); !testkit.Error(t,
				err).Has(7000215) {
				t.Errorf("got %v", err)
			}
		}
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed because of the region", failed)
		}
	})
}

// Rejections of requests that were in flight when the breaker opened do not delay the probe:
// many rejections at one moment count like eight.
func TestConcurrentRejectionsCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300
		u := newUsers(t, n, entra.Secret("new-secret"))
		u.secret("old-secret", "new-secret")
		slow := u.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second})
		if failed := u.call(t, true); failed != n {
			t.Errorf("%d calls failed, want %d", failed, n)
		}
		slow()
		u.secret("new-secret", "old-secret") // Entra knows it everywhere now
		time.Sleep(2 * time.Second)          // past the back-off of each user's own failure
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed", failed)
		}
	})
}

// A probe without a response, or one that was never sent, does not keep another request from
// probing.
func TestAbandonedProbeAllowsTheNext(t *testing.T) {
	for name, fetch := range map[string]func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error){
		"not sent": func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			return nil, errors.New("nothing to send")
		},
		"panic": func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) { panic("no") },
		"no response": func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return r.OnBehalfOf(ctx, "e30.e30.e30")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 20
				u := newUsers(t, n, entra.Secret("old-secret"))
				u.secret("new-secret", "old-secret")
				if failed := u.call(t, false); failed != n {
					t.Errorf("%d calls failed, want %d", failed, n)
				}
				u.secret("old-secret", "new-secret")
				time.Sleep(2 * time.Minute) // past every back-off
				before := len(u.Forms())
				if _, err := u.client.TokenSource(entra.Grant{Flow: "x", Subject: "y", Scope: "z",
					Fetch: fetch}).Token(); err == nil || testkit.Error(t, err).Code == "invalid_client" {
					t.Errorf("got %v", err)
				}
				if failed := u.call(t, false); failed != 0 {
					t.Errorf("%d calls failed", failed)
				}
				if got := len(u.Forms()) - before; got > n+1 {
					t.Errorf("%d requests", got)
				}
			})
		})
	}
}
