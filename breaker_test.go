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

// users are many callers of an API, each with a token of his own.
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

// secret makes the API's secrets so that good works and the other has expired.
func (u *users) secret(good, expired string) {
	u.UpdateCredentials("api-a", func(a *entratest.App) { a.Secrets, a.ExpiredSecrets = []string{good}, []string{expired} })
}

// call has every user call once, all at a time or one after the other, and returns how many
// calls failed. What fails is refused for the credential.
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

// A secret that has ended is not sent for every user: some requests find out, and then one
// after the other whether it works again.
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
		// It works again, as where somebody had registered it by mistake elsewhere.
		u.secret("old-secret", "new-secret")
		time.Sleep(2 * time.Minute) // past everybody's back-off
		before := len(u.Forms())
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed", failed)
		}
		if got := len(u.Forms()) - before; got != n {
			t.Errorf("%d requests, want one for each user", got)
		}
	})
}

// What takes its place passes at once, whatever was refused.
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

// An assertion is known by its text: one that was refused is not sent for everybody, and
// the next one passes.
func TestRejectedAssertionIsNotSentForEveryUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		var asked, version atomic.Int64
		u := newUsers(t, n, entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			asked.Add(1)
			return fmt.Sprintf("e30.e30.%d", version.Load()), nil
		}))
		u.Intercept(answerWith(401, "application/json", `{"error":"invalid_client","error_description":"AADSTS7000222: no","error_codes":[7000222]}`))
		u.call(t, false)
		if got := len(u.Forms()); got != 8 {
			t.Errorf("%d requests, want 8", got)
		}
		if got := asked.Load(); got != 2*n { // it is for the callback to say that it has another
			t.Errorf("asked %d times, want %d", got, 2*n)
		}
		version.Add(1)
		time.Sleep(2 * time.Second)
		u.call(t, false)
		if got := len(u.Forms()); got != 8+8 {
			t.Errorf("%d requests, want %d", got, 8+8)
		}
	})
}

// A refusal in between many that work, or of another tenant, stands for itself.
func TestBreakerCountsRejectionsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		u := newUsers(t, n, entra.Secret("api-a-secret"))
		remove := u.Inject(entratest.Fault{Endpoint: "token", Status: 401, Error: "invalid_client", AADSTS: 7000222, Times: 7})
		if failed := u.call(t, false); failed != 7 {
			t.Errorf("%d calls failed, want 7", failed)
		}
		remove()
		u.Inject(entratest.Fault{Endpoint: "token", Tenant: entratest.SampleOtherTenant, Status: 401, Error: "invalid_client", AADSTS: 7000222})
		other, err := u.client.WithTenant(entratest.SampleOtherTenant)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			carol := u.Mint(entratest.MintOptions{Tenant: entratest.SampleOtherTenant, Resource: "api-a", Client: "webapp", User: "carol@fabrikam.onmicrosoft.com", Claims: map[string]any{"n": i}})
			if _, err := obo.TokenSource(other, carol, "api://api-b/Orders.Read").Token(); !testkit.Error(t, err).Has(7000222) {
				t.Errorf("got %v", err)
			}
		}
		u.assertions = append(u.assertions, u.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Claims: map[string]any{"n": n}}))
		if failed := u.call(t, false); failed != 7 {
			t.Errorf("%d calls failed, want the seven", failed)
		}
		time.Sleep(2 * time.Second)
		if failed := u.call(t, false); failed != 0 { // the seven are tried again
			t.Errorf("%d calls failed because of another tenant", failed)
		}
	})
}

// invalid_client with another number, as for a scope that nobody has, is about one request:
// nobody else is refused for it.
func TestBreakerIgnoresOtherErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		u := newUsers(t, n, entra.Secret("api-a-secret"))
		remove := u.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: "invalid_client", AADSTS: 650053})
		for _, assertion := range u.assertions {
			if _, err := obo.TokenSource(u.client, assertion, "api://api-b/Orders.Raed").Token(); !testkit.Error(t, err).Has(650053) {
				t.Errorf("got %v", err)
			}
		}
		remove()
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed because of others' scopes", failed)
		}
	})
}

// A user who has to sign in anew shows as well as a token that the credential works.
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
			time.Sleep(2 * time.Minute) // past everybody's back-off
			u.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: code, AADSTS: 50076, Times: 1})
			if _, err := obo.TokenSource(u.client, u.assertions[0], "api://api-b/Orders.Read").Token(); testkit.Error(t, err).Code != code {
				t.Errorf("got %v", err)
			}
			u.assertions = u.assertions[1:]
			if failed := u.call(t, false); failed != 0 {
				t.Errorf("%s: %d calls failed", code, failed)
			}
		})
	}
}

// What a region refuses, which may not know a new secret yet, is not refused to users, who
// are served elsewhere.
func TestBreakerOfARegionIsSeparate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(t, 20, entra.Secret("api-a-secret"))
		cfg := u.config("api-a")
		cfg.Region = "westeurope"
		u.client = testkit.Client(t, cfg)
		refuse := answerWith(401, "application/json", `{"error":"invalid_client","error_description":"AADSTS7000215: no","error_codes":[7000215]}`)
		u.Intercept(func(r *http.Request, form url.Values) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Host, "westeurope.") {
				return nil, nil
			}
			return refuse(r, form)
		})
		for i := range 10 {
			if _, err := clientcreds.TokenSource(u.client, fmt.Sprintf("api://%d/.default", i)).Token(); !testkit.Error(t, err).Has(7000215) {
				t.Errorf("got %v", err)
			}
		}
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed because of the region", failed)
		}
	})
}

// Requests that were under way when the gate closed make nobody wait longer: what Entra
// refused to many in one moment is tried again as soon as what it refused to eight.
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

// A request that was to find out and that Entra did not answer, or was not even sent, keeps
// nobody else from finding out.
func TestAbandonedProbeAllowsTheNext(t *testing.T) {
	for name, fetch := range map[string]func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error){
		"not sent": func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			return nil, errors.New("nothing to ask with")
		},
		"panic": func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) { panic("no") },
		"no answer": func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
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
				time.Sleep(2 * time.Minute) // past everybody's back-off
				before := len(u.Forms())
				if _, err := u.client.TokenSource(entra.Grant{Flow: "x", Subject: "y", Scope: "z", Fetch: fetch}).Token(); err == nil || testkit.Error(t, err).Code == "invalid_client" {
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
