package entra_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// failFirst lets the first n requests of a method fail.
func failFirst(n int64, method string, fail func(*http.Request, url.Values) (*http.Response, error)) func(*http.Request,
	url.Values) (*http.Response, error) {
	var requests atomic.Int64
	return func(req *http.Request, form url.Values) (*http.Response, error) {
		if req.Method != method || requests.Add(1) > n {
			return nil, nil
		}
		return fail(req, form)
	}
}

func failWith(status int, body string, header ...string) func(*http.Request, url.Values) (*http.Response, error) {
	return func(req *http.Request, _ url.Values) (*http.Response, error) {
		return testkit.Response(req, status, "application/json", body, header...), nil
	}
}

func dropped(*http.Request, url.Values) (*http.Response, error) {
	return nil, errors.New("connection reset by peer")
}

const unavailable = `{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error has occurred."}`

// A failure that passes within a second is not the caller's. On behalf of users every new assertion is a cold call
// (databricks/databricks-sdk-go#256).
func TestTransientFailureIsRetriedWhileCallersWait(t *testing.T) {
	for _, tt := range []struct {
		name     string
		failures int64
		method   string
		fail     func(*http.Request, url.Values) (*http.Response, error)
		requests int // with the given method
		ok       bool
		longest  time.Duration
	}{
		{"one 503", 1, "POST", failWith(503, unavailable), 2, true, time.Second},
		{"one 504", 1, "POST", failWith(504, ""), 2, true, time.Second},
		{"one dropped connection", 1, "POST", dropped, 2, true, time.Second},
		{"429 with Retry-After: 1", 1, "POST", failWith(429, unavailable, "Retry-After", "1"), 2, true, 2 * time.Second},
		{"two 503", 2, "POST", failWith(503, unavailable), 3, true, 2 * time.Second},
		{"three 503", 3, "POST", failWith(503, unavailable), 3, false, 2 * time.Second},
		{"429 with Retry-After: 30", 1, "POST", failWith(429, unavailable, "Retry-After", "30"), 1, false, 0},
		{"500 in discovery", 2, "GET", failWith(500, ""), 3, true, 2 * time.Second},
		{"503 in discovery three times", 3, "GET", failWith(503, ""), 3, false, 2 * time.Second},
		{"dropped connection in discovery", 1, "GET", dropped, 2, true, time.Second},
	} {
		for _, flow := range []string{"client credentials", "on-behalf-of"} {
			t.Run(tt.name+", "+flow, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := newEstate(hour)
					source := e.daemonWith(t, entra.Secret(e.App("daemon").Secrets[0]))
					if flow == "on-behalf-of" {
						assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
						source = obo.TokenSource(e.client(t, "api-a"), assertion, "api://api-b/Orders.Read")
					}
					e.Intercept(failFirst(tt.failures, tt.method, tt.fail))
					start := time.Now()
					errs := make(chan error)
					for range 100 {
						go func() { _, err := source.Token(); errs <- err }()
					}
					for range 100 {
						if err := <-errs; (err == nil) != tt.ok {
							t.Errorf("got %v, want success %t", err, tt.ok)
						}
					}
					if took := time.Since(start); took > tt.longest || tt.longest > 0 && took < 100*time.Millisecond {
						t.Errorf("took %v, want 100ms to %v", took, tt.longest)
					}
					n := 0
					for _, r := range e.Sent() {
						if r.Method == tt.method {
							n++
						}
					}
					if n != tt.requests {
						t.Errorf("got %d requests for 100 callers, want %d", n, tt.requests)
					}
				})
			})
		}
	}
}

// A background refresh has all the time that its token has left, so it is not repeated at once. Nor is a request whose
// callers have left.
func TestNoRetryWithoutCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		source := e.daemonWith(t, entra.Secret(e.App("daemon").Secrets[0]))
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second, Status: 503})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := source.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		time.Sleep(time.Minute)
		if n := len(e.Forms()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		source := e.daemonWith(t, entra.Secret(e.App("daemon").Secrets[0]))
		wantToken(t, source)
		time.Sleep(time.Until(cached(t, source).RefreshAt))
		e.Inject(entratest.Fault{Endpoint: "token", Status: 503})
		wantToken(t, source)
		time.Sleep(500 * time.Millisecond)
		if n := len(e.Forms()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// Retries never multiply the requests to an authority that fails: ten are free, and then there is one for every ten
// requests.
func TestRetriesStayWithinTheBudget(t *testing.T) {
	for name, failure := range map[string]func(*http.Request, url.Values) (*http.Response, error){
		"503": failWith(503, unavailable), "dropped": dropped,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 500
				e := newEstate(hour)
				c := e.client(t, "api-a")
				e.Intercept(failFirst(1<<62, "POST", failure))
				errs := make(chan error)
				for i := range n {
					assertion := fmt.Sprintf("e30.e30.%d", i)
					go func() {
						_, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read").Token()
						errs <- err
					}()
				}
				for range n {
					if err := <-errs; !testkit.Error(t, err).Temporary() {
						t.Errorf("got %v, want a temporary error", err)
					}
				}
				if got := len(e.Forms()); got < n || got > n+10+n/10 {
					t.Errorf("got %d requests for %d users, want at most %d", got, n, n+10+n/10)
				}
				// The tenants of a client share its budget.
				before := len(e.Forms())
				other, err := c.WithTenant(entratest.SampleOtherTenant)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := obo.TokenSource(other, "e30.e30.e30", "api://api-b/Orders.Read").Token(); err == nil {
					t.Error("got a token, want an error")
				}
				if got := len(e.Forms()) - before; got != 1 {
					t.Errorf("got %d requests in another tenant, want 1", got)
				}
			})
		})
	}
}

// An authorization code that may have been sent is not sent again.
func TestCodeIsNotSentTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		fail     func(*http.Request, url.Values) (*http.Response, error)
		requests int
	}{
		"503":                     {failWith(503, unavailable), 1},
		"429 with Retry-After":    {failWith(429, unavailable, "Retry-After", "1"), 1},
		"dropped connection":      {dropped, 1},
		"no federated credential": {failWith(401, `{"error":"invalid_client","error_codes":[70021]}`), 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEstate(hour)
				c := e.client(t, "webapp")
				e.Intercept(failFirst(1<<62, "POST", tt.fail))
				_, err := c.Exchange(t.Context(), entra.Grant{Flow: "code", Scope: "api://api-a/access",
					Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
						return r.AuthorizationCode(ctx, "code", "https://app.example/callback", "verifier")
					}})
				testkit.Error(t, err)
				if got := len(e.Forms()); got != tt.requests {
					t.Errorf("%v: got %d requests, want %d", err, got, tt.requests)
				}
			})
		})
	}
}

// A source never caches a token with fewer scopes than it promises. Exchange accepts such a token,
// because the code cannot be redeemed again, and its caller reads the granted scopes.
func TestSourceOfCodesRejectsFewerScopes(t *testing.T) {
	e := newEstate(hour)
	c := e.client(t, "webapp")
	scopes := []string{"api://api-b/Orders.Read", "api://api-b/Orders.Write"}
	e.ChangeResponses(func(_ url.Values, body map[string]any) { body["scope"] = "openid profile " + scopes[0] })
	grant := func() entra.Grant {
		const redirect = "http://localhost/callback"
		callback, err := e.SignIn(t.Context(), "https://login.microsoftonline.com/"+entratest.SampleTenant+
			"/oauth2/v2.0/authorize?"+url.Values{
			"client_id": {c.ClientID()}, "response_type": {"code"}, "redirect_uri": {redirect},
			"scope": {"openid profile offline_access " + strings.Join(scopes, " ")},
		}.Encode(), alice)
		if err != nil {
			t.Fatal(err)
		}
		return entra.Grant{Flow: "code", Subject: alice, Scopes: scopes,
			Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
				return r.AuthorizationCode(ctx, callback.Query().Get("code"), redirect, "")
			}}
	}
	for range 2 { // the failure is cached, and no token
		tok, err := c.TokenSource(grant()).Token()
		if got := testkit.Error(t, err); tok != nil || got.Code != "consent_required" ||
			got.Description != "Entra granted fewer scopes than requested; missing: "+scopes[1] {
			t.Errorf("got %v, %v, want consent_required", tok, err)
		}
	}
	if _, err := c.Exchange(t.Context(), grant()); err != nil {
		t.Errorf("Exchange: %v", err)
	}
}

// Discovery comes before the code, and may be retried.
func TestDiscoveryOfCodeIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		c := e.client(t, "webapp")
		e.Intercept(failFirst(2, "GET", failWith(503, "")))
		_, err := c.Exchange(t.Context(), entra.Grant{Flow: "code", Scope: "api://api-a/access",
			Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
				return r.AuthorizationCode(ctx, "code", "https://app.example/callback", "verifier")
			}})
		if got := testkit.Error(t, err); got.StatusCode == 503 || len(e.Forms()) != 1 {
			t.Errorf("got %v and %d token requests, want a rejected code and 1", err, len(e.Forms()))
		}
	})
}

// While a new federated credential spreads, Entra returns AADSTS70021 now and then (kedacore/keda#8152). One retry
// follows in the same flight, and the first errors are temporary.
func TestNewFederatedCredentialSpreads(t *testing.T) {
	for _, number := range []int{70021, 700211, 700213} {
		synctest.Test(t, func(t *testing.T) {
			e := newEstate(hour)
			calls := 0
			issued := entra.Assertion(func(_ context.Context, r entra.AssertionRequest) (string, error) {
				calls++
				return "e30.e30.e30", nil
			})
			source := e.daemonWith(t, issued)
			body := fmt.Sprintf(`{"error":"invalid_client","error_description":"AADSTS%d: x","error_codes":[%d]}`, number, number)
			e.Intercept(failFirst(1<<62, "POST", failWith(401, body)))
			for i := range 5 {
				before := len(e.Forms())
				_, err := source.Token()
				if got := wantError(t, err, "invalid_client", "", number); got.Temporary() != (i < 4) {
					t.Errorf("call %d: got Temporary %t, want %t", i, got.Temporary(), i < 4)
				}
				want := 2
				if i == 4 { // a probe of the open circuit breaker
					want = 1
				}
				if got := len(e.Forms()) - before; got != want {
					t.Errorf("call %d: got %d requests, want %d", i, got, want)
				}
				time.Sleep(2 * time.Minute) // past every back-off
			}
			e.Intercept(failFirst(1, "POST", failWith(401, body)))
			time.Sleep(2 * time.Minute)
			source.Token()              // a probe
			time.Sleep(2 * time.Minute) // past every back-off
			e.Intercept(failFirst(1, "POST", failWith(200, `{"access_token":"a","token_type":"Bearer","expires_in":3600}`)))
			wantToken(t, source)
			invalidate(t, source)
			ok := failWith(200, `{"access_token":"b","token_type":"Bearer","expires_in":3600}`)
			first := failFirst(1, "POST", failWith(401, body))
			e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
				if resp, err := first(req, form); resp != nil || req.Method != "POST" {
					return resp, err
				}
				return ok(req, form)
			})
			before := len(e.Forms())
			wantToken(t, source)
			if got := len(e.Forms()) - before; got != 2 {
				t.Errorf("AADSTS%d: got %d requests, want 2", number, got)
			}
		})
	}
}

// After a transient failure, a new assertion is sent again, although it is the last text.
func TestReplacedAssertionIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		source := e.daemonWith(t, entra.Assertion(func(_ context.Context, r entra.AssertionRequest) (string, error) {
			if r.Rejected {
				return "e30.e30.new", nil
			}
			return "e30.e30.old", nil
		}))
		var sent []string
		e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
			if req.Method != "POST" {
				return nil, nil
			}
			sent = append(sent, form.Get("client_assertion"))
			return []func(*http.Request, url.Values) (*http.Response, error){
				failWith(401, `{"error":"invalid_client","error_codes":[700024]}`), failWith(503, unavailable),
				failWith(200, `{"access_token":"a","token_type":"Bearer","expires_in":3600}`),
			}[len(sent)-1](req, form)
		})
		wantToken(t, source)
		if got := fmt.Sprint(sent); got != "[e30.e30.old e30.e30.new e30.e30.new]" {
			t.Errorf("sent %s", got)
		}
	})
}

// A probe of the circuit breaker that gets a 503 says nothing about the credential. The next request probes at once.
func TestProbeWithoutOutcomeAllowsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		u := newUsers(t, n, entra.Secret("old-secret"))
		u.secret("new-secret", "old-secret")
		u.call(t, false)
		u.secret("old-secret", "new-secret")
		time.Sleep(2 * time.Minute) // past every back-off
		u.Intercept(failFirst(1, "POST", failWith(503, unavailable)))
		before := len(u.Forms())
		if failed := u.call(t, false); failed != 0 {
			t.Errorf("%d calls failed, want 0", failed)
		}
		if got := len(u.Forms()) - before; got != n+1 {
			t.Errorf("got %d requests, want %d", got, n+1)
		}
	})
}
