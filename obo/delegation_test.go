package obo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

const (
	aliceID = "aaaaaaaa-1111-4000-8000-00000000a11c"
	bob     = "bob@contoso.onmicrosoft.com"
	bobID   = "aaaaaaaa-1111-4000-8000-000000000b0b"
	scopeB  = "api://api-b/Orders.Read"
	day     = 24 * time.Hour
)

// An estate is a fake Entra and a store that processes share.
type estate struct {
	*entratest.Server
	store *storetest.Memory
}

// newEstate returns an estate whose tokens live for an hour.
func newEstate(changes ...func(*entratest.Config)) *estate {
	hour := func(c *entratest.Config) { c.Lifetime = func() time.Duration { return time.Hour } }
	return &estate{testkit.Server(append([]func(*entratest.Config){hour}, changes...)...), storetest.NewMemory()}
}

// runBubble runs f with a fake clock, and waits until the goroutines of the caches have ended.
func runBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(time.Minute)
	})
}

// process returns a client of api-a with a cache of its own, and the recorder of its requests.
func (e *estate) process(t testing.TB, changes ...func(*cache.Options)) (*entra.Client, *testkit.Recorder) {
	t.Helper()
	return e.processOf(t, "api-a", changes...)
}

func (e *estate) processOf(t testing.TB, app string, changes ...func(*cache.Options),
) (*entra.Client, *testkit.Recorder) {
	t.Helper()
	o := cache.Options{
		Store: e.store, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
	}
	for _, change := range changes {
		change(&o)
	}
	r := testkit.NewRecorder(e.Client().Transport)
	cfg := testkit.ClientConfig(e.Server, app, r)
	cfg.Cache = cache.New(o)
	return testkit.Client(t, cfg), r
}

// withoutStore keeps the tokens of a process in memory.
func withoutStore(o *cache.Options) { o.Store, o.Keys = nil, nil }

// caller returns a validated token of a user for api-a, which is valid for an hour.
func (e *estate) caller(user string) validated {
	return validated{assertionOf(e.Server, user, time.Hour)}
}

func begin(t testing.TB, c *entra.Client, caller obo.Verified) obo.Delegation {
	t.Helper()
	d, err := obo.Begin(context.Background(), c, caller, scopeB)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// userOf returns the oid of the source's token, and fails the test without one.
func userOf(t testing.TB, s *entra.TokenSource) string {
	t.Helper()
	tok, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	if tok.RefreshToken != "" {
		t.Error("the caller got a refresh token")
	}
	oid, _ := testkit.Claims(t, tok.AccessToken)["oid"].(string)
	return oid
}

// expectEnded fails the test unless the source reports a delegation that has ended.
func expectEnded(t testing.TB, when string, s *entra.TokenSource) {
	t.Helper()
	_, err := s.Token()
	if err == nil {
		t.Errorf("%s: got a token, want ErrEnded", when)
		return
	}
	e := testkit.Error(t, err)
	if !errors.Is(err, obo.ErrEnded) || e.Code != "login_required" || !e.Local() || !e.InteractionRequired() ||
		e.Temporary() {
		t.Errorf("%s: got %v, want ErrEnded", when, err)
	}
}

// A delegation needs two kinds of requests: one exchange of the caller's token, then redemptions of refresh tokens,
// which do not contain it.
func TestDelegationRequests(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, r := e.process(t)
		caller := e.caller(alice)
		created := time.Now().UTC().Truncate(time.Second)
		d, err := obo.Begin(t.Context(), c, caller, scopeB, "offline_access")
		if err != nil {
			t.Fatal(err)
		}
		want := obo.Delegation{
			ID: d.ID, ClientID: e.App("api-a").ClientID, TenantID: entratest.SampleTenant, ObjectID: aliceID,
			HomeAccountID: aliceID + "." + entratest.SampleTenant, CreatedAt: created,
		}
		if d != want || len(d.ID) != 26 {
			t.Errorf("got %+v with ID %q, want %+v", d, d.ID, want)
		}
		if got := userOf(t, obo.Resume(c, d, scopeB)); got != aliceID { // already cached
			t.Errorf("got a token of %s, want %s", got, aliceID)
		}
		time.Sleep(2 * time.Hour)
		var refreshToken string
		r.ChangeResponses(func(_ url.Values, body map[string]any) { refreshToken, _ = body["refresh_token"].(string) })
		userOf(t, obo.Resume(c, d, scopeB))
		time.Sleep(2 * time.Hour)
		redeemed := refreshToken
		userOf(t, obo.Resume(c, d, scopeB))
		forms := r.Forms()
		if len(forms) != 3 {
			t.Fatalf("got %d requests, want 3", len(forms))
		}
		exchange := url.Values{
			"grant_type":          {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"requested_token_use": {"on_behalf_of"},
			"client_id":           {d.ClientID},
			"client_secret":       {"api-a-secret"},
			"client_info":         {"1"},
			"assertion":           {caller.raw},
			"scope":               {scopeB + " openid offline_access profile"},
		}
		redemption := url.Values{
			"grant_type":    {"refresh_token"},
			"client_id":     {d.ClientID},
			"client_secret": {"api-a-secret"},
			"client_info":   {"1"},
			"refresh_token": {redeemed},
			"scope":         {scopeB + " openid offline_access profile"},
		}
		if !reflect.DeepEqual(forms[0], exchange) {
			t.Errorf("got %v, want %v", forms[0], exchange)
		}
		if redeemed == "" || !reflect.DeepEqual(forms[2], redemption) {
			t.Errorf("got %v, want %v", forms[2], redemption)
		}
	})
}

// A worker gets the delegation as JSON. It has the token without a request, refreshes it early in the background, and
// works for months after the caller's token has expired.
func TestResumeInAnotherProcess(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate(func(c *entratest.Config) {
			c.RefreshIn = func(time.Duration) time.Duration { return 30 * time.Minute }
		})
		api, _ := e.process(t)
		job, err := json.Marshal(begin(t, api, e.caller(alice)))
		if err != nil {
			t.Fatal(err)
		}
		worker, r := e.process(t)
		var d obo.Delegation
		if err := json.Unmarshal(job, &d); err != nil {
			t.Fatal(err)
		}
		source := obo.Resume(worker, d, scopeB)
		if got := userOf(t, source); got != aliceID || len(r.Posts()) != 0 {
			t.Errorf("got a token of %s and %d requests, want %s and 0", got, len(r.Posts()), aliceID)
		}
		first, _ := source.Token()
		time.Sleep(32 * time.Minute)
		early, err := source.Token()
		if err != nil || early.AccessToken != first.AccessToken {
			t.Errorf("got another token or %v, want the old one during the refresh", err)
		}
		synctest.Wait()
		refreshed, err := source.Token()
		if err != nil || refreshed.AccessToken == first.AccessToken || len(r.Posts()) != 1 {
			t.Errorf("got the old token or %v and %d requests, want a new one and 1", err, len(r.Posts()))
		}
		for range 12 { // with new processes, as after deploys
			time.Sleep(30 * day)
			if worker, r = e.process(t); userOf(t, obo.Resume(worker, d, scopeB)) != aliceID || len(r.Posts()) != 1 {
				t.Errorf("got %d requests, want 1", len(r.Posts()))
			}
		}
	})
}

// The refresh token is for every API that the app may call for the user.
func TestResumeForAnotherAPI(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate(func(c *entratest.Config) {
			for i := range c.Apps {
				if c.Apps[i].Name == "api-a" {
					c.Apps[i].Permissions = append(c.Apps[i].Permissions,
						entratest.Permission{Resource: "api://api-a", Scopes: []string{"access_as_user"}})
				}
			}
		})
		c, _ := e.process(t)
		d := begin(t, c, e.caller(alice))
		tok, err := obo.Resume(c, d, "api://api-a/access_as_user").Token()
		if err != nil {
			t.Fatal(err)
		}
		if got := testkit.Claims(t, tok.AccessToken)["aud"]; got != d.ClientID {
			t.Errorf("got audience %v, want %s", got, d.ClientID)
		}
	})
}

// Twenty processes with ten goroutines each use one delegation whose token has expired. They send one request.
func TestWorkersSendOneRequest(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		api, _ := e.process(t)
		d := begin(t, api, e.caller(alice))
		time.Sleep(24 * time.Hour)
		before := e.TokenRequests()
		var wg sync.WaitGroup
		for range 20 {
			c, _ := e.process(t)
			for range 10 {
				wg.Go(func() {
					if tok, err := obo.Resume(c, d, scopeB).Token(); err != nil || tok.AccessToken == "" {
						t.Errorf("got error %v, want a token", err)
					}
				})
			}
		}
		wg.Wait()
		if n := e.TokenRequests() - before; n != 1 {
			t.Errorf("got %d token requests, want 1", n)
		}
	})
}

// A claims challenge of the next API is sent with the refresh token.
func TestResumeSendsClaims(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, r := e.process(t)
		d := begin(t, c, e.caller(alice))
		const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
		if _, err := obo.Resume(c, d, scopeB).WithClaims(claims).Token(); err == nil {
			t.Error("got a token without the second factor")
		} else if e := testkit.Error(t, err); !e.InteractionRequired() || e.Claims == "" || errors.Is(err, obo.ErrEnded) {
			t.Errorf("got %v, want a claims challenge", err)
		}
		if form := r.Forms()[1]; form.Get("claims") != claims || form.Get("grant_type") != "refresh_token" {
			t.Errorf("got claims %q, grant type %q", form.Get("claims"), form.Get("grant_type"))
		}
		userOf(t, obo.Resume(c, d, scopeB)) // a policy of one API does not end the delegation
	})
}

// Begin fails without a request if Entra cannot accept the token or its user is unknown, and stores nothing.
func TestBeginRejects(t *testing.T) {
	e := newEstate()
	c, r := e.process(t)
	header := segment(`{"alg":"RS256","typ":"JWT"}`)
	claims := func(text string) obo.Verified { return validated{header + "." + segment(text) + ".x"} }
	domain, err := c.WithTenant("contoso.onmicrosoft.com")
	if err != nil {
		t.Fatal(err)
	}
	common, err := c.WithTenant("common")
	if err != nil {
		t.Fatal(err)
	}
	valid := e.caller(alice)
	for _, tt := range []struct {
		name      string
		c         *entra.Client
		t         obo.Verified
		scopes    []string
		code, sub string
	}{
		{"no client", nil, valid, []string{scopeB}, "invalid_request", "created with entra.New"},
		{"zero client", new(entra.Client), valid, []string{scopeB}, "invalid_request", "created with entra.New"},
		{"client of a domain", domain, valid, []string{scopeB}, "invalid_request", "is not an ID"},
		{"client of all tenants", common, valid, []string{scopeB}, "invalid_request", "is not an ID"},
		{"no token", c, nil, []string{scopeB}, "invalid_request", "the assertion is empty"},
		{"expired", c, validated{assertionOf(e.Server, alice, -time.Minute)}, []string{scopeB}, "invalid_grant", "expired"},
		{"app-only", c, validated{e.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon"})}, []string{scopeB},
			"invalid_request", "app-only"},
		{"other tenant", c, validated{e.Mint(entratest.MintOptions{Tenant: entratest.SampleOtherTenant, Resource: "api-a",
			Client: "webapp", User: "carol@fabrikam.onmicrosoft.com"})}, []string{scopeB}, "invalid_request", "another tenant"},
		{"encrypted", c, validated{segment(`{"alg":"RSA-OAEP","enc":"A256GCM"}`) + ".a.b.c.d"}, []string{scopeB},
			"invalid_request", "does not name its user"},
		{"without tid", c, claims(`{"scp":"x","oid":"` + aliceID + `"}`), []string{scopeB}, "invalid_request",
			"does not name its user"},
		{"without oid", c, claims(`{"scp":"x","tid":"` + entratest.SampleTenant + `"}`), []string{scopeB}, "invalid_request",
			"does not name its user"},
		{"strange oid", c, claims(`{"scp":"x","tid":"` + entratest.SampleTenant + `","oid":"x"}`), []string{scopeB},
			"invalid_request", "does not name its user"},
		{"no scopes", c, valid, nil, "invalid_scope", "at least one scope"},
		{"only OpenID Connect", c, valid, []string{"openid", "offline_access"}, "invalid_scope", "at least one scope"},
		{"two scopes in one", c, valid, []string{"a b"}, "invalid_scope", "is not a scope"},
	} {
		d, err := obo.Begin(t.Context(), tt.c, tt.t, tt.scopes...)
		if got := testkit.Error(t, err); d != (obo.Delegation{}) || got.Code != tt.code || !got.Local() ||
			!strings.Contains(got.Description, tt.sub) {
			t.Errorf("%s: got %v, %v, want %s with %q", tt.name, d, err, tt.code, tt.sub)
		}
	}
	if len(r.Sent()) != 0 || c.Cache().Stats().Sessions != 0 || len(e.store.Records()) != 0 {
		t.Errorf("got %d requests, %d sessions, %d records, want 0", len(r.Sent()), c.Cache().Stats().Sessions,
			len(e.store.Records()))
	}
}

// The response must have a refresh token, and must be for the user of the assertion.
func TestBeginChecksTheResponse(t *testing.T) {
	e := newEstate()
	c, r := e.process(t)
	account := func(uid, utid string) string { return segment(`{"uid":"` + uid + `","utid":"` + utid + `"}`) }
	for _, tt := range []struct {
		name   string
		change func(_ url.Values, body map[string]any)
		want   string
	}{
		{"no refresh token", func(_ url.Values, body map[string]any) { delete(body, "refresh_token") },
			"the response lacks a refresh token, so the app cannot act for the user later"},
		{"empty refresh token", func(_ url.Values, body map[string]any) { body["refresh_token"] = "" },
			"the response lacks a refresh token, so the app cannot act for the user later"},
		{"another user", func(_ url.Values, body map[string]any) {
			body["client_info"] = account(bobID, entratest.SampleTenant)
		}, "the response is a token for another user than that of the assertion"},
		{"not a user", func(_ url.Values, body map[string]any) { body["client_info"] = account("x", "y") },
			"the response does not name the user's home account"},
	} {
		r.ChangeResponses(tt.change)
		d, err := obo.Begin(t.Context(), c, e.caller(alice), scopeB)
		if got := testkit.Error(t, err); d != (obo.Delegation{}) || got.Code != entra.CodeInvalidResponse ||
			got.Description != tt.want {
			t.Errorf("%s: got %v, %v, want %q", tt.name, d, err, tt.want)
		}
	}
	if s := c.Cache().Stats(); s.Sessions != 0 || len(e.store.Records()) != 0 || len(r.Posts()) != 4 {
		t.Errorf("got %d sessions, %d records, %d requests, want 0, 0, 4", s.Sessions, len(e.store.Records()), len(r.Posts()))
	}
}

// An error of Entra leads to the response that the caller of the API needs.
func TestBeginReportsMissingConsent(t *testing.T) {
	e := newEstate()
	c, _ := e.process(t)
	e.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Status: 400, Error: "invalid_grant", AADSTS: 65001,
		SubError: "consent_required"})
	_, err := obo.Begin(t.Context(), c, e.caller(alice), scopeB)
	w := httptest.NewRecorder()
	if obo.WriteError(w, err); w.Code != http.StatusForbidden {
		t.Errorf("got %v and status %d, want 403", err, w.Code)
	}
}

// A delegation that other processes cannot resume is not begun. Begin reads the store before it sends a request, so
// the request is sent only if the store fails after that.
func TestBeginFailsWithTheStore(t *testing.T) {
	down := errors.New("connection reset")
	for name, tt := range map[string]struct {
		fault func(storetest.Call) storetest.Fault
		sent  int // requests of the first of ten calls
	}{
		"down":  {func(storetest.Call) storetest.Fault { return storetest.Fault{Err: down} }, 0},
		"hangs": {func(storetest.Call) storetest.Fault { return storetest.Fault{Hang: true} }, 0},
		"read-only": {func(c storetest.Call) storetest.Fault {
			if c.Op == storetest.OpSave {
				return storetest.Fault{Err: down}
			}
			return storetest.Fault{}
		}, 1},
	} {
		runBubble(t, func(t *testing.T) {
			e := newEstate()
			c, r := e.process(t)
			e.store.Inject(tt.fault)
			for range 10 { // the first failure opens the breaker
				d, err := obo.Begin(t.Context(), c, e.caller(alice), scopeB)
				const want = "the store of the cache failed, so the refresh token cannot be saved"
				if got := testkit.Error(t, err); d != (obo.Delegation{}) || got.Code != "temporarily_unavailable" ||
					!got.Temporary() || got.Err == nil || got.Description != want {
					t.Errorf("%s: got %v, %v, want temporarily_unavailable: %s", name, d, err, want)
				}
			}
			if n := len(r.Posts()); n != tt.sent {
				t.Errorf("%s: got %d requests, want %d", name, n, tt.sent)
			}
			e.store.Inject(nil)
			time.Sleep(10 * time.Second)
			if s := c.Cache().Stats(); s.Sessions != 0 || s.StoreUnsaved != 0 || len(e.store.Records()) != 0 {
				t.Errorf("%s: got %d sessions, %d unsaved, %d records, want 0", name, s.Sessions, s.StoreUnsaved,
					len(e.store.Records()))
			}
			begin(t, c, e.caller(alice))
			if s := c.Cache().Stats(); s.Sessions != 1 {
				t.Errorf("%s: got %d sessions, want that of the delegation", name, s.Sessions)
			}
		})
	}
}

// docs/design/fleet.md has these figures. The record and the marks are read in parallel, and the two records of marks
// one after the other.
func TestStoreCallsOfBegin(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		const trip = 20 * time.Millisecond
		e := newEstate()
		c, _ := e.process(t)
		e.store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: trip} })
		start := time.Now()
		begin(t, c, e.caller(alice))
		loads, saves, took := e.store.Calls(storetest.OpLoad), e.store.Calls(storetest.OpSave), time.Since(start)
		if loads != 6 || saves != 1 || took != 5*trip {
			t.Errorf("got %d loads and %d saves in %v, want 6 and 1 in %v", loads, saves, took, 5*trip)
		}
	})
}

// Before the exchange, the user is not known. The read of the store does not use one key for all delegations: their
// sessions would evict others from one part of the cache.
func TestBeginReadsTheStoreUnderItsOwnSubject(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, _ := e.process(t)
		var mu sync.Mutex
		begins := map[string]map[int]bool{} // by the name of the record
		n := 0
		e.store.Inject(func(c storetest.Call) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if begins[c.Key] == nil {
				begins[c.Key] = map[int]bool{}
			}
			begins[c.Key][n] = true
			return storetest.Fault{}
		})
		for n = range 2 {
			begin(t, c, e.caller(alice))
		}
		mu.Lock()
		defer mu.Unlock()
		shared := 0
		for _, b := range begins {
			if len(b) == 2 {
				shared++
			}
		}
		if shared != 1 {
			t.Errorf("got %d records that both read, want 1: the marks of the user", shared)
		}
	})
}

// If the context ends while Begin reads the store, the error is the context's and not one of the store.
func TestBeginWhoseContextEndsDuringTheRead(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, r := e.process(t)
		e.store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Hang: true} })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := obo.Begin(ctx, c, e.caller(alice), scopeB)
		got := testkit.Error(t, err)
		if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(got.Description, "store") || len(r.Posts()) != 0 {
			t.Errorf("got %v and %d requests, want the error of the context and 0", err, len(r.Posts()))
		}
		e.store.Inject(nil)
	})
}

// A worker with another store or other keys takes the delegation for ended. The error names them, so that a wrong
// configuration can be found.
func TestErrorForAMisconfiguredWorker(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		api, _ := e.process(t)
		d := begin(t, api, e.caller(alice))
		for name, change := range map[string]func(*cache.Options){
			"other keys": func(o *cache.Options) {
				o.Keys = []cache.SealKey{cache.NewSealKey([]byte("another key 0123456789abcdef0123"))}
			},
			"other store": func(o *cache.Options) { o.Store = storetest.NewMemory() },
		} {
			worker, _ := e.process(t, change)
			_, err := obo.Resume(worker, d, scopeB).Token()
			const want = "the delegation has ended, expired or was evicted, or it was begun with another store, " +
				"other keys of the cache, another cloud or other capabilities; the user must call the API again"
			if got := testkit.Error(t, err); !errors.Is(err, obo.ErrEnded) || got.Description != want {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
		}
		userOf(t, obo.Resume(api, d, scopeB))
	})
}

// A worker whose store fails does not take the delegation for ended, and continues when the store is back.
func TestFailingStoreDoesNotEndDelegations(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{
		"down": {Err: errors.New("connection reset")}, "hangs": {Hang: true},
	} {
		runBubble(t, func(t *testing.T) {
			e := newEstate()
			api, _ := e.process(t)
			d := begin(t, api, e.caller(alice))
			worker, r := e.process(t)
			e.store.Inject(func(storetest.Call) storetest.Fault { return fault })
			for range 20 { // the first failure opens the breaker
				_, err := obo.Resume(worker, d, scopeB).Token()
				if got := testkit.Error(t, err); got.Code != "temporarily_unavailable" || !got.Temporary() ||
					got.InteractionRequired() || errors.Is(err, obo.ErrEnded) {
					t.Errorf("%s: got %v, want temporarily_unavailable", name, err)
				}
				time.Sleep(time.Second)
			}
			if len(r.Posts()) != 0 {
				t.Errorf("%s: got %d requests, want 0", name, len(r.Posts()))
			}
			userOf(t, obo.Resume(api, d, scopeB)) // still in memory
			e.store.Inject(nil)
			time.Sleep(5 * time.Second)
			userOf(t, obo.Resume(worker, d, scopeB))
		})
	}
}

// End works in every process: at once with push, and otherwise within Options.Recheck.
func TestEndReachesAllProcesses(t *testing.T) {
	for name, push := range map[string]bool{"with push": true, "without push": false} {
		runBubble(t, func(t *testing.T) {
			e := newEstate()
			store := func(o *cache.Options) {
				if !push {
					o.Store = e.store.WithoutPush()
				}
			}
			api, _ := e.process(t, store)
			d, other := begin(t, api, e.caller(alice)), begin(t, api, e.caller(alice))
			worker, r := e.process(t, store)
			source := obo.Resume(worker, d, scopeB)
			userOf(t, source)
			if err := obo.End(t.Context(), api, d); err != nil {
				t.Fatal(err)
			}
			expectEnded(t, name+": same process", obo.Resume(api, d, scopeB))
			if push {
				time.Sleep(time.Second)
			} else {
				time.Sleep(time.Minute)
			}
			expectEnded(t, name+": other process", source)
			newcomer, _ := e.process(t, store)
			expectEnded(t, name+": new process", obo.Resume(newcomer, d, scopeB))
			if err := obo.End(t.Context(), worker, d); err != nil {
				t.Errorf("%s: second End: got %v", name, err)
			}
			if len(r.Posts()) != 0 {
				t.Errorf("%s: got %d requests, want 0", name, len(r.Posts()))
			}
			userOf(t, obo.Resume(worker, other, scopeB)) // of the same user
		})
	}
}

// A refresh in flight does not bring an ended delegation back.
func TestEndWinsOverRefreshInFlight(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, _ := e.process(t)
		worker, r := e.process(t)
		d := begin(t, c, e.caller(alice))
		time.Sleep(2 * time.Hour)
		r.Intercept(func(*http.Request, url.Values) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return nil, nil
		})
		go obo.Resume(worker, d, scopeB).Token()
		time.Sleep(time.Second)
		if err := obo.End(t.Context(), c, d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for i, process := range []*entra.Client{c, worker} {
			expectEnded(t, fmt.Sprint("process ", i), obo.Resume(process, d, scopeB))
		}
		newcomer, _ := e.process(t)
		expectEnded(t, "new process", obo.Resume(newcomer, d, scopeB))
	})
}

// If the store fails, End reports it, ends the delegation in its own process, and in the others when the store is back.
func TestEndWithFailingStore(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, _ := e.process(t)
		d := begin(t, c, e.caller(alice))
		worker, _ := e.process(t)
		userOf(t, obo.Resume(worker, d, scopeB))
		e.store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
		err := obo.End(t.Context(), c, d)
		if got := testkit.Error(t, err); got.Code != "temporarily_unavailable" || got.Err == nil {
			t.Errorf("got %v, want temporarily_unavailable", err)
		}
		if _, err := obo.Resume(c, d, scopeB).Token(); err == nil {
			t.Error("got a token in the process that ended the delegation")
		}
		e.store.Inject(nil)
		time.Sleep(10 * time.Second)
		expectEnded(t, "worker", obo.Resume(worker, d, scopeB))
		expectEnded(t, "own process", obo.Resume(c, d, scopeB))
	})
}

// Without a store, a delegation works in its own process.
func TestDelegationWithoutStore(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, r := e.process(t, withoutStore)
		d := begin(t, c, e.caller(alice))
		time.Sleep(30 * day)
		if got := userOf(t, obo.Resume(c, d, scopeB)); got != aliceID || len(r.Posts()) != 2 {
			t.Errorf("got a token of %s and %d requests, want %s and 2", got, len(r.Posts()), aliceID)
		}
		other, _ := e.process(t, withoutStore)
		expectEnded(t, "another process", obo.Resume(other, d, scopeB))
		if err := obo.End(t.Context(), c, d); err != nil {
			t.Fatal(err)
		}
		expectEnded(t, "after End", obo.Resume(c, d, scopeB))
	})
}

// If the user's sessions were revoked, the next refresh reports it, and the delegation ends everywhere.
func TestRevocationEndsTheDelegation(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		api, _ := e.process(t)
		d := begin(t, api, e.caller(alice))
		worker, r := e.process(t)
		source := obo.Resume(worker, d, scopeB)
		userOf(t, source)
		time.Sleep(45 * time.Minute) // a refresh is due
		e.RevokeSessions(alice)
		if _, err := source.Token(); err != nil { // the current token, while the refresh runs
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		expectEnded(t, "after a background refresh", source)
		if len(r.Posts()) != 1 {
			t.Errorf("got %d requests, want 1", len(r.Posts()))
		}

		d = begin(t, api, e.caller(alice))
		time.Sleep(2 * time.Hour)
		e.RevokeSessions(alice)
		_, err := obo.Resume(worker, d, scopeB).Token()
		if got := testkit.Error(t, err); got.Code != "invalid_grant" || !got.Has(50173) || !got.InteractionRequired() {
			t.Errorf("got %v, want AADSTS50173", err)
		}
		before := e.TokenRequests()
		time.Sleep(2 * time.Second)
		expectEnded(t, "worker", obo.Resume(worker, d, scopeB))
		expectEnded(t, "API", obo.Resume(api, d, scopeB))
		if n := e.TokenRequests() - before; n != 0 {
			t.Errorf("got %d requests after the revocation, want 0", n)
		}
	})
}

// Only an error about the refresh token itself ends the delegation.
func TestWhichErrorsEndTheDelegation(t *testing.T) {
	for _, tt := range []struct {
		fault entratest.Fault
		ends  bool
	}{
		{entratest.Fault{Error: "invalid_grant", AADSTS: 50173}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 50132}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 50133}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 70008}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 70043}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 700082}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 700084}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 999999, SubError: "bad_token"}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 999999, SubError: "token_expired"}, true},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 999999}, false},
		{entratest.Fault{Error: "invalid_grant", AADSTS: 65001, SubError: "consent_required"}, false},
		{entratest.Fault{Error: "interaction_required", AADSTS: 50076}, false},
		{entratest.Fault{Error: "interaction_required", AADSTS: 50173}, false},
	} {
		runBubble(t, func(t *testing.T) {
			e := newEstate()
			c, _ := e.process(t)
			d := begin(t, c, e.caller(alice))
			time.Sleep(2 * time.Hour)
			tt.fault.Endpoint, tt.fault.Status, tt.fault.Times = entratest.EndpointToken, 400, 1
			e.Inject(tt.fault)
			_, err := obo.Resume(c, d, scopeB).Token()
			if got := testkit.Error(t, err); got.Code != tt.fault.Error || !got.Has(tt.fault.AADSTS) ||
				!got.InteractionRequired() {
				t.Errorf("%+v: got %v, want the error of Entra", tt.fault, err)
			}
			time.Sleep(time.Hour)
			if tt.ends {
				expectEnded(t, fmt.Sprint(tt.fault), obo.Resume(c, d, scopeB))
			} else {
				userOf(t, obo.Resume(c, d, scopeB))
			}
		})
	}
}

// A delegation ends when it is not used for Options.DelegationTTL. Each use starts the time again.
func TestUnusedDelegationEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		ttl  time.Duration // of Options; 0 is the default
		want time.Duration
	}{{"default", 0, 90 * day}, {"a week", 7 * day, 7 * day}, {"a day and a second", day + time.Second, day + time.Second}} {
		for name, options := range map[string]func(*cache.Options){
			"in memory": withoutStore, "in the store": func(*cache.Options) {},
		} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				runBubble(t, func(t *testing.T) {
					e := newEstate()
					set := func(o *cache.Options) { o.DelegationTTL = tt.ttl }
					c, r := e.process(t, options, set)
					d := begin(t, c, e.caller(alice))
					for range 3 {
						time.Sleep(tt.want - time.Second)
						userOf(t, obo.Resume(c, d, scopeB))
					}
					time.Sleep(2 * time.Second) // the session is saved
					requests := len(r.Posts())
					time.Sleep(tt.want - 2*time.Second)
					expectEnded(t, "unused", obo.Resume(c, d, scopeB))
					fresh, _ := e.process(t, options, set)
					expectEnded(t, "unused, in a new process", obo.Resume(fresh, d, scopeB))
					if len(r.Posts()) != requests || requests != 4 {
						t.Errorf("got %d requests, then %d, want 4 and 4", requests, len(r.Posts()))
					}
					if n := len(e.store.Records()); n != 0 {
						time.Sleep(time.Hour) // a failure is kept for a while
						if n = len(e.store.Records()); n != 0 {
							t.Errorf("got %d records in the store, want 0", n)
						}
					}
				})
			})
		}
	}
}

// Failed refreshes do not extend the life of a delegation.
func TestFailuresDoNotExtendTheDelegation(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		week := func(o *cache.Options) { o.DelegationTTL = 7 * day }
		c, _ := e.process(t, week)
		d := begin(t, c, e.caller(alice))
		remove := e.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Status: 400, Error: "interaction_required",
			AADSTS: 50076})
		for range 6 {
			time.Sleep(day)
			if _, err := obo.Resume(c, d, scopeB).Token(); errors.Is(err, obo.ErrEnded) || err == nil {
				t.Errorf("got %v, want the error of Entra", err)
			}
		}
		time.Sleep(day)
		remove()
		expectEnded(t, "after a week", obo.Resume(c, d, scopeB))
		fresh, _ := e.process(t, week)
		expectEnded(t, "in a new process", obo.Resume(fresh, d, scopeB))
	})
}

// The user's sign-out does not end a delegation. Purge does, in all processes and for as long as the delegation could
// otherwise be used.
func TestPurgeEndsDelegationsOfTheUser(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, 45 * day, 90*day - time.Minute} {
		runBubble(t, func(t *testing.T) { testPurge(t, wait) })
	}
}

func testPurge(t *testing.T, wait time.Duration) {
	t.Helper()
	e := newEstate()
	api, _ := e.process(t)
	d, ofBob := begin(t, api, e.caller(alice)), begin(t, api, e.caller(bob))
	idle, _ := e.process(t)
	userOf(t, obo.Resume(idle, d, scopeB))
	_, err := api.Cache().PurgeSession(t.Context(), cache.Key{
		Authority: "https://login.microsoftonline.com/" + d.TenantID, ClientID: d.ClientID, Flow: authcode.FlowName,
		Subject: d.HomeAccountID,
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Hour)
	userOf(t, obo.Resume(api, d, scopeB))
	if n, err := api.Cache().Purge(t.Context(), d.HomeAccountID); err != nil || n != 1 {
		t.Fatalf("got %d, %v, want 1", n, err)
	}
	time.Sleep(wait)
	fresh, _ := e.process(t)
	for i, c := range []*entra.Client{fresh, api, idle} {
		expectEnded(t, fmt.Sprint("after ", wait, " in process ", i), obo.Resume(c, d, scopeB))
	}
	if wait < 80*day {
		userOf(t, obo.Resume(api, ofBob, scopeB))
	}
}

// If the tokens of an ended delegation cannot be removed from the store, the tombstone outlives them.
func TestEndedDelegationStaysEnded(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, 45 * day, 90*day - time.Second} {
		runBubble(t, func(t *testing.T) { testTombstone(t, wait) })
	}
}

func testTombstone(t *testing.T, wait time.Duration) {
	t.Helper()
	e := newEstate()
	c, _ := e.process(t)
	before := e.store.Records()
	d := begin(t, c, e.caller(alice))
	var session string
	for name := range e.store.Records() {
		if _, old := before[name]; !old {
			session = name
		}
	}
	e.store.Inject(func(call storetest.Call) storetest.Fault {
		return storetest.Fault{LoseWrite: call.Op == storetest.OpSave && call.Key == session}
	})
	if err := obo.End(t.Context(), c, d); err != nil {
		t.Fatal(err)
	}
	e.store.Inject(nil)
	time.Sleep(wait)
	if _, stored := e.store.Records()[session]; !stored {
		t.Errorf("the record is gone after %v, so the test proves nothing", wait)
	}
	fresh, _ := e.process(t)
	expectEnded(t, fmt.Sprint("after ", wait), obo.Resume(fresh, d, scopeB))
}

// A Delegation works only as Begin has returned it: with its app, tenant, user, ID and time.
func TestDelegationIsBound(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, r := e.process(t)
		webapp, _ := e.processOf(t, "webapp")
		fabrikam, err := c.WithTenant(entratest.SampleOtherTenant)
		if err != nil {
			t.Fatal(err)
		}
		domain, err := c.WithTenant("contoso.onmicrosoft.com")
		if err != nil {
			t.Fatal(err)
		}
		carol := validated{e.Mint(entratest.MintOptions{Tenant: entratest.SampleOtherTenant, Resource: "api-a",
			Client: "webapp", User: "carol@fabrikam.onmicrosoft.com"})}
		ofAlice, ofBob := begin(t, c, e.caller(alice)), begin(t, c, e.caller(bob))
		ofCarol := begin(t, fabrikam, carol)
		if got := userOf(t, obo.Resume(c, ofBob, scopeB)); got != bobID {
			t.Fatalf("got a token of %s, want %s", got, bobID)
		}
		sent := len(r.Posts())
		change := func(d obo.Delegation, f func(*obo.Delegation)) obo.Delegation {
			f(&d)
			return d
		}
		const ended, app, tenant, damaged = "the delegation has ended", "belongs to another app",
			"is from another tenant", "is empty or was damaged"
		for _, tt := range []struct {
			name string
			c    *entra.Client
			d    obo.Delegation
			want string
		}{
			{"Alice's with Bob's ID", c, change(ofAlice, func(d *obo.Delegation) { d.ID = ofBob.ID }), ended},
			{"Alice's with Bob's object ID", c, change(ofAlice, func(d *obo.Delegation) { d.ObjectID = bobID }), damaged},
			{"Alice's with Bob's IDs", c, change(ofAlice, func(d *obo.Delegation) {
				d.ObjectID, d.HomeAccountID = ofBob.ObjectID, ofBob.HomeAccountID
			}), ended},
			{"Alice's as a guest's with Bob's object ID", c, change(ofAlice, func(d *obo.Delegation) {
				d.HomeAccountID, d.ObjectID = ofCarol.HomeAccountID, bobID
			}), ended},
			{"Alice's with Bob's time", c, change(ofAlice, func(d *obo.Delegation) {
				d.CreatedAt = d.CreatedAt.Add(time.Second)
			}), ended},
			{"Alice's, for the web app", webapp, ofAlice, app},
			{"Alice's with the web app's ID", c, change(ofAlice, func(d *obo.Delegation) { d.ClientID = webapp.ClientID() }),
				app},
			{"Alice's as the web app's", webapp, change(ofAlice, func(d *obo.Delegation) { d.ClientID = webapp.ClientID() }),
				ended},
			{"Alice's, for Fabrikam", fabrikam, ofAlice, tenant},
			{"Alice's as Fabrikam's", fabrikam, change(ofAlice, func(d *obo.Delegation) {
				d.TenantID = entratest.SampleOtherTenant
			}), ended},
			{"Carol's, for Contoso", c, ofCarol, tenant},
			{"Alice's, for a domain", domain, ofAlice, "is not an ID"},
			{"empty", c, obo.Delegation{}, damaged},
			{"without an ID", c, change(ofAlice, func(d *obo.Delegation) { d.ID = "" }), damaged},
			{"without a time", c, change(ofAlice, func(d *obo.Delegation) { d.CreatedAt = time.Time{} }), damaged},
		} {
			for range 2 { // the second error is cached
				_, err := obo.Resume(tt.c, tt.d, scopeB).Token()
				if err == nil {
					t.Fatalf("%s: got a token", tt.name)
				}
				got := testkit.Error(t, err)
				code := "invalid_request"
				if tt.want == ended {
					code = "login_required"
				}
				if got.Code != code || !got.Local() || !strings.Contains(got.Description, tt.want) ||
					errors.Is(err, obo.ErrEnded) != (tt.want == ended) {
					t.Errorf("%s: got %v, want %s with %q", tt.name, err, code, tt.want)
				}
			}
			err := obo.End(t.Context(), tt.c, tt.d)
			if tt.want == ended {
				if err != nil {
					t.Errorf("%s: End: got %v", tt.name, err)
				}
			} else if got := testkit.Error(t, err); got.Code != "invalid_request" || !strings.Contains(got.Description, tt.want) {
				t.Errorf("%s: End: got %v, want %q", tt.name, err, tt.want)
			}
		}
		if n := len(r.Posts()) - sent; n != 0 {
			t.Errorf("got %d requests, want 0", n)
		}
		// None of these calls has ended a delegation.
		for d, client := range map[obo.Delegation]*entra.Client{ofAlice: c, ofBob: c, ofCarol: fabrikam} {
			if got := userOf(t, obo.Resume(client, d, scopeB)); got != d.ObjectID {
				t.Errorf("got a token of %s, want %s", got, d.ObjectID)
			}
		}
	})
}

// A guest's delegation is under the home account, and its tokens are of the tenant that was called.
func TestDelegationOfGuest(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		const guestID = "cccccccc-1111-4000-8000-00000000ca01"
		e := newEstate(func(c *entratest.Config) {
			for i := range c.Users {
				if c.Users[i].Username == "carol@fabrikam.onmicrosoft.com" {
					c.Users[i].Guest = map[string]string{entratest.SampleTenant: guestID}
				}
			}
		})
		c, _ := e.process(t)
		d := begin(t, c, e.caller("carol@fabrikam.onmicrosoft.com"))
		if d.ObjectID != guestID || d.HomeAccountID != "bbbbbbbb-2222-4000-8000-00000000ca01."+entratest.SampleOtherTenant {
			t.Errorf("got %v with home account %s", d, d.HomeAccountID)
		}
		time.Sleep(2 * time.Hour)
		tok, err := obo.Resume(c, d, scopeB).Token()
		if err != nil {
			t.Fatal(err)
		}
		claims := testkit.Claims(t, tok.AccessToken)
		if claims["oid"] != guestID || claims["tid"] != entratest.SampleTenant {
			t.Errorf("got oid %v, tid %v, want %s, %s", claims["oid"], claims["tid"], guestID, entratest.SampleTenant)
		}
		d.ObjectID = aliceID
		expectEnded(t, "with the object ID of another user", obo.Resume(c, d, scopeB))
	})
}

func TestResumeRequiresScopes(t *testing.T) {
	e := newEstate()
	c, _ := e.process(t)
	d := begin(t, c, e.caller(alice))
	for _, scopes := range [][]string{nil, {"openid"}} {
		_, err := obo.Resume(c, d, scopes...).Token()
		if got := testkit.Error(t, err); got.Code != "invalid_scope" || !got.Local() {
			t.Errorf("%v: got %v, want invalid_scope", scopes, err)
		}
	}
	for _, c := range []*entra.Client{nil, new(entra.Client)} {
		if _, err := obo.Resume(c, d, scopeB).Token(); testkit.Error(t, err).Code != "invalid_request" {
			t.Errorf("got %v, want invalid_request", err)
		}
		if err := obo.End(t.Context(), c, d); testkit.Error(t, err).Code != "invalid_request" {
			t.Errorf("got %v, want invalid_request", err)
		}
	}
}

// Sign-ins and delegations share the bound of the cache: each evicts its own sessions first.
func TestDelegationsAndSignInsAreEvictedApart(t *testing.T) {
	const size = 10
	signIn := func(t *testing.T, e *estate, c *entra.Client, i int) *entra.TokenSource {
		t.Helper()
		g := entra.Grant{Flow: authcode.FlowName, Session: fmt.Sprint(i), Scope: scopeB, RefreshToken: true}
		g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			return r.OnBehalfOf(ctx, e.caller(alice).raw)
		}
		result, err := c.Exchange(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		g.Subject = result.HomeAccountID()
		if err := result.Store(t.Context(), c, g.Subject); err != nil {
			t.Fatal(err)
		}
		return c.TokenSource(g)
	}
	cached := func(sources []*entra.TokenSource) (n int) {
		for _, s := range sources {
			if _, ok := s.Cached(); ok {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct{ signIns, delegations, wantSignIns, wantDelegations int }{
		{4, 30, 4, 6}, {30, 4, 6, 4}, {30, 30, 5, 5},
	} {
		for _, delegationsFirst := range []bool{false, true} {
			e := newEstate()
			c, _ := e.process(t, withoutStore, func(o *cache.Options) { o.Size = size })
			var signIns, delegations []*entra.TokenSource
			steps := []func(){
				func() {
					for i := range tt.signIns {
						signIns = append(signIns, signIn(t, e, c, i))
					}
				},
				func() {
					for range tt.delegations {
						delegations = append(delegations, obo.Resume(c, begin(t, c, e.caller(alice)), scopeB))
					}
				},
			}
			if delegationsFirst {
				slices.Reverse(steps)
			}
			for _, step := range steps {
				step()
			}
			a, b := cached(signIns), cached(delegations)
			if a != tt.wantSignIns || b != tt.wantDelegations {
				t.Errorf("%d sign-ins and %d delegations, delegations first %v: got %d and %d in the cache, want %d and %d",
					tt.signIns, tt.delegations, delegationsFirst, a, b, tt.wantSignIns, tt.wantDelegations)
			}
			if newest := delegations[len(delegations)-tt.wantDelegations:]; cached(newest) != len(newest) {
				t.Errorf("got %d of the %d newest delegations in the cache", cached(newest), len(newest))
			}
		}
	}
}

// A delegation that is evicted from memory is still in the store.
func TestEvictedDelegationIsInTheStore(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		c, r := e.process(t, func(o *cache.Options) { o.Size = 2 })
		var all []obo.Delegation
		for range 5 {
			all = append(all, begin(t, c, e.caller(alice)))
		}
		for _, d := range all {
			userOf(t, obo.Resume(c, d, scopeB))
		}
		if len(r.Posts()) != 5 || c.Cache().Stats().Sessions != 2 {
			t.Errorf("got %d requests, %d sessions, want 5 and 2", len(r.Posts()), c.Cache().Stats().Sessions)
		}
	})
}

// A store that has lost its data gets the delegation back from a process that has it in memory.
func TestFlushedStoreDoesNotEndDelegations(t *testing.T) {
	runBubble(t, func(t *testing.T) {
		e := newEstate()
		api, _ := e.process(t)
		d, ended := begin(t, api, e.caller(alice)), begin(t, api, e.caller(alice))
		if err := obo.End(t.Context(), api, ended); err != nil {
			t.Fatal(err)
		}
		e.store.Flush()
		worker, _ := e.process(t)
		if got := userOf(t, obo.Resume(worker, d, scopeB)); got != aliceID {
			t.Errorf("got a token of %s, want %s", got, aliceID)
		}
		expectEnded(t, "after the flush", obo.Resume(worker, ended, scopeB))
	})
}

// The JSON form has these members. Other values are rejected when they are decoded.
func TestDelegationJSON(t *testing.T) {
	const id, home = "ABCDEFGHIJKLMNOPQRSTUV2345", aliceID + "." + entratest.SampleTenant
	const valid = `{"id":"` + id + `","client_id":"aaaaaaaa-0000-4000-8000-00000000000a","tenant_id":"` +
		entratest.SampleTenant + `","object_id":"` + aliceID + `","home_account_id":"` + home +
		`","created_at":"2026-11-27T08:00:00Z"}`
	var d obo.Delegation
	if err := json.Unmarshal([]byte(valid), &d); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(d); err != nil || string(got) != valid {
		t.Errorf("got %s, %v, want %s", got, err, valid)
	}
	later := strings.Replace(valid, "{", `{"added":{"later":[1]},`, 1)
	if err := json.Unmarshal([]byte(later), &d); err != nil {
		t.Errorf("unknown member: got %v", err)
	}
	for name, text := range map[string]string{
		"null": "null", "empty object": "{}", "array": "[]", "string": `"x"`,
		"id of another length":    strings.Replace(valid, id, id[1:], 1),
		"id of other characters":  strings.Replace(valid, id, "abcdefghijklmnopqrstuv2345", 1),
		"id with a space":         strings.Replace(valid, id, " "+id[1:], 1),
		"id with an inner symbol": strings.Replace(valid, id, id[:5]+"-"+id[6:], 1),
		"id is a number":          strings.Replace(valid, `"`+id+`"`, "7", 1),
		"no id":                   strings.Replace(valid, `"id"`, `"x"`, 1),
		"client in capitals":      strings.Replace(valid, "aaaaaaaa-0000", "AAAAAAAA-0000", 1),
		"client is not an ID":     strings.Replace(valid, "aaaaaaaa-0000-4000", "x", 1),
		"tenant is a domain": strings.Replace(valid, `"tenant_id":"`+entratest.SampleTenant, `"tenant_id":"contoso.com`,
			1),
		"tenant common":        strings.Replace(valid, `"tenant_id":"`+entratest.SampleTenant, `"tenant_id":"common`, 1),
		"no user":              strings.Replace(valid, `"object_id":"`+aliceID, `"object_id":"`, 1),
		"another user":         strings.Replace(valid, `"object_id":"`+aliceID, `"object_id":"`+bobID, 1),
		"another home account": strings.Replace(valid, home, bobID+"."+entratest.SampleTenant, 1),
		"half a home account":  strings.Replace(valid, home, aliceID, 1),
		"two dots":             strings.Replace(valid, home, home+".x", 1),
		"no time":              strings.Replace(valid, "2026-11-27T08:00:00Z", "0001-01-01T00:00:00Z", 1),
		"not a time":           strings.Replace(valid, "2026-11-27T08:00:00Z", "today", 1),
		"huge":                 strings.Replace(valid, "{", `{"x":"`+strings.Repeat("x", 4<<10)+`",`, 1),
	} {
		before := d
		err := json.Unmarshal([]byte(text), &d)
		if err == nil {
			t.Errorf("%s: decoded %s", name, text)
			continue
		}
		if got := testkit.Error(t, err); got.Code != "invalid_request" || !got.Local() || d != before {
			t.Errorf("%s: got %v and %+v, want invalid_request", name, err, d)
		}
	}
}

// No log line tells which entry of the cache a delegation names.
func TestDelegationDoesNotPrintItsID(t *testing.T) {
	e := newEstate()
	c, _ := e.process(t)
	d := begin(t, c, e.caller(alice))
	want := "obo.Delegation{client=" + d.ClientID + " tid=" + d.TenantID + " oid=" + aliceID + "}"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, d); got != want {
			t.Errorf("%s: got %s, want %s", verb, got, want)
		}
	}
	var log testkit.Log
	log.Logger().Info("x", "delegation", d)
	lines := log.Lines(t)
	if got := fmt.Sprint(lines[0]["delegation"]); got != fmt.Sprint(map[string]any{
		"client": d.ClientID, "tid": d.TenantID, "oid": aliceID}) {
		t.Errorf("got %s", got)
	}
	testkit.NoSecrets(t, obo.Resume(c, d, scopeB), d.ID)
	expired := d
	expired.CreatedAt = expired.CreatedAt.Add(time.Second)
	_, err := obo.Resume(c, expired, scopeB).Token()
	testkit.NoSecrets(t, err, d.ID, "api-a-secret")
}

func FuzzDelegation(f *testing.F) {
	e := newEstate()
	c, r := e.process(f)
	d := begin(f, c, e.caller(alice))
	b, err := json.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("null"))
	f.Add([]byte(`{"id":"` + d.ID + `"}`))
	f.Add([]byte(strings.Replace(string(b), aliceID, bobID, 2)))
	sent := len(r.Posts())
	f.Fuzz(func(t *testing.T, b []byte) {
		var decoded obo.Delegation
		if err := json.Unmarshal(b, &decoded); err != nil {
			decoded = obo.Delegation{}
		} else if again, err := json.Marshal(decoded); err != nil {
			t.Fatalf("decoded %s, which cannot be encoded: %v", b, err)
		} else if len(again) > len(b)+len(`"created_at"`)*100 {
			t.Fatalf("encoded %d bytes as %d", len(b), len(again))
		}
		same := decoded.CreatedAt.Equal(d.CreatedAt)
		decoded.CreatedAt = decoded.CreatedAt.UTC()
		same = same && decoded == d
		_, err := obo.Resume(c, decoded, scopeB).Token()
		if (err == nil) != same || len(r.Posts()) != sent {
			t.Fatalf("%s: got %v and %d requests, want a token only for the same delegation", b, err, len(r.Posts())-sent)
		}
	})
}
