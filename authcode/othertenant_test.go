package authcode_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const (
	fabrikam   = entratest.SampleOtherTenant
	aliceGuest = "cccccccc-2222-4000-8000-00000000a11c" // the oid of Alice in Fabrikam
)

// invited makes Alice a guest in Fabrikam. An administrator there has consented to the use of both APIs by the web app.
func invited(c *entratest.Config) {
	c.Users[0].Guest = map[string]string{fabrikam: aliceGuest}
	c.Apps[1].Permissions = []entratest.Permission{
		{Resource: "api://api-a", Scopes: []string{"access_as_user"}},
		{Resource: "api://api-b", Scopes: []string{"Orders.Read"}},
	}
}

// A guest's token for another tenant comes from the refresh token of the sign-in, in one request to that tenant. It has
// an entry of its own in the cache, is refreshed early and does not change the token of the home tenant.
func TestTokenInAnotherTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(lifetime(time.Hour), invited)
		f := e.flow(t)
		signIn := e.signIn(t, f, alice, authcode.Request{Session: "desk"})
		home, a := token(t, signIn.Source), signIn.Account
		before := len(e.Forms())
		var wg sync.WaitGroup
		tokens := make([]string, 10)
		for i := range tokens {
			wg.Go(func() { tokens[i] = token(t, f.TokenSourceIn(a, strings.ToUpper(fabrikam))) })
		}
		wg.Wait()
		if n := len(e.Forms()) - before; n != 1 {
			t.Errorf("got %d token requests, want 1", n)
		}
		posts := e.Posts()
		if got := posts[len(posts)-1].URL; got != "https://login.microsoftonline.com/"+fabrikam+"/oauth2/v2.0/token" {
			t.Errorf("got a request to %s, want one to the other tenant", got)
		}
		expectParameters(t, e.last(t), map[string]string{
			"grant_type": "refresh_token", "client_id": webapp, "client_secret": "webapp-secret", "client_info": "1",
			"scope": scopeA + " openid offline_access profile",
		}, "refresh_token")
		if len(slices.Compact(tokens)) != 1 || tokens[0] == home {
			t.Error("got different tokens, or that of the home tenant")
		}
		for raw, want := range map[string][2]string{
			home: {entratest.SampleTenant, a.ObjectID}, tokens[0]: {fabrikam, aliceGuest},
		} {
			if c := testkit.Claims(t, raw); c["tid"] != want[0] || c["oid"] != want[1] {
				t.Errorf("got tid %v and oid %v, want %v", c["tid"], c["oid"], want)
			}
		}
		if got := token(t, f.TokenSource(a)); got != home {
			t.Error("got another token in the home tenant, want the same")
		}
		if got := token(t, f.TokenSourceIn(a, entratest.SampleTenant)); got != home {
			t.Error("got another token for the account's own tenant, want that of TokenSource")
		}
		other := testkit.Claims(t, token(t, f.TokenSourceIn(a, fabrikam, scopeB)))
		if other["tid"] != fabrikam || other["scp"] != "Orders.Read" {
			t.Errorf("another API: got tid %v and scp %v", other["tid"], other["scp"])
		}
		time.Sleep(50 * time.Minute)
		if got := token(t, f.TokenSourceIn(a, fabrikam)); got != tokens[0] {
			t.Error("got another token at once, want the cached one during its refresh")
		}
		synctest.Wait()
		if got := token(t, f.TokenSourceIn(a, fabrikam)); got == tokens[0] {
			t.Error("got the same token after 50 minutes, want the next one")
		}
	})
}

// The scopes of another API need no new sign-in. The refresh token is not tied to a resource.
func TestTokenForAnotherResource(t *testing.T) {
	e := newEstate(invited)
	f := e.flow(t)
	signIn := e.signIn(t, f, alice, authcode.Request{})
	a, b := token(t, signIn.Source), token(t, f.TokenSource(signIn.Account, scopeB))
	expectParameters(t, e.last(t), map[string]string{
		"grant_type": "refresh_token", "client_id": webapp, "client_secret": "webapp-secret", "client_info": "1",
		"scope": scopeB + " openid offline_access profile",
	}, "refresh_token")
	if n := len(e.Forms()); n != 2 {
		t.Errorf("got %d token requests, want the code and one for the second API", n)
	}
	for raw, app := range map[string]string{a: "api-a", b: "api-b"} {
		if c := testkit.Claims(t, raw); c["aud"] != e.App(app).ClientID || c["tid"] != entratest.SampleTenant {
			t.Errorf("got aud %v and tid %v, want those of %s", c["aud"], c["tid"], app)
		}
	}
}

// The error says why a tenant does not issue a token.
func TestAnotherTenantRejects(t *testing.T) {
	for _, test := range []struct {
		name        string
		change      func(*entratest.Config)
		user        string
		aadsts      int
		interaction bool
		consent     bool
	}{
		{"not a guest", invited, bob, 50020, true, false},
		{"app of one tenant", func(c *entratest.Config) { invited(c); c.Apps[1].MultiTenant = false },
			alice, 700016, false, false},
		{"no consent", func(c *entratest.Config) { invited(c); c.Apps[1].Permissions = nil }, alice, 65001, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate(test.change)
			f := e.flow(t)
			a := e.signIn(t, f, test.user, authcode.Request{}).Account
			_, err := f.TokenSourceIn(a, fabrikam).TokenContext(t.Context())
			got := testkit.Error(t, err)
			if !got.Has(test.aadsts) || got.InteractionRequired() != test.interaction || got.ConsentRequired() != test.consent ||
				got.Temporary() {
				t.Errorf("got %v, InteractionRequired %v, ConsentRequired %v; want AADSTS%d, %v, %v", err,
					got.InteractionRequired(), got.ConsentRequired(), test.aadsts, test.interaction, test.consent)
			}
			token(t, f.TokenSource(a)) // the home tenant is not affected
		})
	}
	t.Run("second factor", func(t *testing.T) {
		e := newEstate(invited, func(c *entratest.Config) { c.Apps[2].RequireMFA = true })
		f := e.flow(t, func(c *authcode.Config) { c.Scopes = []string{scopeB} })
		a := e.signIn(t, f, alice, authcode.Request{}).Account
		_, err := f.TokenSourceIn(a, fabrikam, scopeA).TokenContext(t.Context())
		if got := testkit.Error(t, err); !got.Has(50076) || !got.InteractionRequired() || got.Claims == "" {
			t.Errorf("got %v with claims %q, want AADSTS50076 with claims", err, got.Claims)
		}
	})
}

// Without a refresh token the user must sign in again, as in the tenant of the sign-in.
func TestAnotherTenantNeedsRefreshToken(t *testing.T) {
	e := newEstate(invited)
	e.ChangeResponses(func(_ url.Values, r map[string]any) { delete(r, "refresh_token") })
	f := e.flow(t)
	a := e.signIn(t, f, alice, authcode.Request{}).Account
	_, err := f.TokenSourceIn(a, fabrikam).TokenContext(t.Context())
	if got := testkit.Error(t, err); got.Code != "login_required" || !got.InteractionRequired() {
		t.Errorf("got %v, want login_required", err)
	}
}

// Nothing is sent for an account or a tenant that is invalid.
func TestTokenSourceInRejectsInvalidArguments(t *testing.T) {
	e := newEstate(invited)
	f := e.flow(t)
	a := e.signIn(t, f, alice, authcode.Request{}).Account
	before := len(e.Forms())
	carolAccount := authcode.Account{
		HomeAccountID: "bbbbbbbb-2222-4000-8000-00000000ca01." + fabrikam, TenantID: fabrikam,
		ObjectID: "bbbbbbbb-2222-4000-8000-00000000ca01",
	}
	for _, test := range []struct {
		name    string
		account authcode.Account
		tenant  string
		scopes  []string
		code    string
	}{
		{"no account", authcode.Account{}, fabrikam, nil, "login_required"},
		{"account of a tenant that is not allowed", carolAccount, entratest.SampleTenant, nil, "login_required"},
		{"account without tokens", authcode.Account{HomeAccountID: a.HomeAccountID, TenantID: a.TenantID, Session: "x"},
			fabrikam, nil, "login_required"},
		{"no tenant", a, "", nil, "invalid_request"},
		{"many tenants", a, "common", nil, "invalid_request"},
		{"a domain", a, "fabrikam.onmicrosoft.com", nil, "invalid_request"},
		{"a path", a, fabrikam + "/x", nil, "invalid_request"},
		{"two APIs", a, fabrikam, []string{scopeA, scopeB}, "invalid_scope"},
	} {
		_, err := f.TokenSourceIn(test.account, test.tenant, test.scopes...).TokenContext(t.Context())
		if got := testkit.Error(t, err).Code; got != test.code {
			t.Errorf("%s: got %q, want %q", test.name, got, test.code)
		}
	}
	if _, err := new(authcode.Flow).TokenSourceIn(a, fabrikam).Token(); err == nil {
		t.Error("zero Flow: got a token")
	}
	if n := len(e.Forms()); n != before {
		t.Errorf("got %d token requests, want none", n-before)
	}
}

// A response for another user is rejected.
func TestAnotherTenantCannotChangeTheUser(t *testing.T) {
	e := newEstate(invited)
	f := e.flow(t)
	a := e.signIn(t, f, alice, authcode.Request{}).Account
	e.ChangeResponses(func(_ url.Values, response map[string]any) {
		response["client_info"] = "eyJ1aWQiOiJhYWFhYWFhYS0xMTExLTQwMDAtODAwMC0wMDAwMDAwMDBiMGIiLCJ1dGlkIjoi" +
			"MTExMTExMTEtMTExMS00MTExLTgxMTEtMTExMTExMTExMTExIn0" // Bob
	})
	_, err := f.TokenSourceIn(a, fabrikam).TokenContext(t.Context())
	if got := testkit.Error(t, err); got.Code != entra.CodeInvalidResponse {
		t.Errorf("got %v, want %s", err, entra.CodeInvalidResponse)
	}
}

// A sign-out removes the tokens of the account in all tenants, and no later request brings one back.
func TestSignOutReachesOtherTenants(t *testing.T) {
	for name, signOut := range map[string]func(*testing.T, *entra.Client, *authcode.Flow, authcode.Account){
		"sign-out": func(t *testing.T, _ *entra.Client, f *authcode.Flow, a authcode.Account) {
			if err := f.SignOut(t.Context(), a); err != nil {
				t.Error(err)
			}
		},
		"purge": func(t *testing.T, c *entra.Client, _ *authcode.Flow, a authcode.Account) {
			if _, err := c.Cache().Purge(t.Context(), a.HomeAccountID); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate(invited)
			c := testkit.Client(t, e.clientConfig())
			f := newFlow(t, c)
			desk := e.signIn(t, f, alice, authcode.Request{Session: "desk"}).Account
			source := f.TokenSourceIn(desk, fabrikam)
			token(t, source)
			signOut(t, c, f, desk)
			before := len(e.Forms())
			for _, s := range []*entra.TokenSource{
				source, f.TokenSourceIn(desk, fabrikam), f.TokenSourceIn(desk, fabrikam, scopeB),
			} {
				_, err := s.TokenContext(t.Context())
				if got := testkit.Error(t, err).Code; got != "login_required" {
					t.Errorf("got %v, want login_required", err)
				}
			}
			if n := len(e.Forms()); n != before {
				t.Errorf("got %d token requests after the sign-out, want none", n-before)
			}
		})
	}
}

// Another process finds the refresh token in the store. After a sign-out there, a process that still has the sign-in in
// memory acquires no token in another tenant.
func TestAnotherTenantInAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := newEstate(invited), storetest.NewMemory()
		c1, _ := sharing(t, e.Server, "webapp", store)
		c2, requests := sharing(t, e.Server, "webapp", store)
		f1, f2 := newFlow(t, c1), newFlow(t, c2)
		a := e.signIn(t, f1, alice, authcode.Request{Session: "desk"}).Account
		if got := testkit.Claims(t, token(t, f2.TokenSourceIn(a, fabrikam))); got["tid"] != fabrikam {
			t.Errorf("got tid %v, want %s", got["tid"], fabrikam)
		}
		token(t, f2.TokenSource(a))
		if n := len(requests.Posts()); n != 1 {
			t.Errorf("got %d token requests of the second process, want 1", n)
		}
		time.Sleep(2 * time.Second)
		if got := testkit.Claims(t, token(t, f1.TokenSourceIn(a, fabrikam))); got["tid"] != fabrikam {
			t.Errorf("first process: got tid %v, want %s", got["tid"], fabrikam)
		}
		if n := e.TokenRequests(); n != 2 {
			t.Errorf("got %d token requests of the fleet, want the code and one", n)
		}
		if err := f1.SignOut(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		_, err := f2.TokenSourceIn(a, fabrikam, scopeB).TokenContext(t.Context())
		if got := testkit.Error(t, err).Code; got != "login_required" {
			t.Errorf("after the sign-out in another process: got %v, want login_required", err)
		}
		if n := e.TokenRequests(); n != 2 {
			t.Errorf("got %d token requests after the sign-out, want none", n-2)
		}
	})
}

// If the store fails, the sign-in may have ended, so no token of another tenant is acquired with it. A cached one is
// served.
func TestAnotherTenantWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := newEstate(lifetime(time.Hour), invited), storetest.NewMemory()
		c, _ := sharing(t, e.Server, "webapp", store)
		f := newFlow(t, c)
		a := e.signIn(t, f, alice, authcode.Request{Session: "desk"}).Account
		cached := token(t, f.TokenSourceIn(a, fabrikam))
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: http.ErrServerClosed} })
		if got := token(t, f.TokenSourceIn(a, fabrikam)); got != cached {
			t.Error("got another token, want the cached one")
		}
		_, err := f.TokenSourceIn(a, fabrikam, scopeB).TokenContext(t.Context())
		if got := testkit.Error(t, err); got.Code != "temporarily_unavailable" || !got.Temporary() {
			t.Errorf("got %v, want temporarily_unavailable", err)
		}
	})
}

// A new sign-in ends the failures of the earlier one in another tenant. Otherwise an app that redirects the user to
// sign in on such a failure would do so repeatedly. Until then, and for other sessions, the failure is cached.
func TestSignInEndsFailureInAnotherTenant(t *testing.T) {
	end := map[string]func(*testing.T, *estate, *authcode.Flow, authcode.Account) string{
		"signed out": func(t *testing.T, _ *estate, f *authcode.Flow, a authcode.Account) string {
			if err := f.SignOut(t.Context(), a); err != nil {
				t.Error(err)
			}
			return "login_required"
		},
		"revoked": func(_ *testing.T, e *estate, _ *authcode.Flow, _ authcode.Account) string {
			e.RevokeSessions(alice)
			return "invalid_grant"
		},
	}
	flows := map[string]func(*testing.T, *estate) (here, there *authcode.Flow){
		"without a store": func(t *testing.T, e *estate) (here, there *authcode.Flow) {
			f := e.flow(t)
			return f, f
		},
		"with a store": func(t *testing.T, e *estate) (here, there *authcode.Flow) {
			c, _ := sharing(t, e.Server, "webapp", storetest.NewMemory())
			f := newFlow(t, c)
			return f, f
		},
		"at another process": func(t *testing.T, e *estate) (here, there *authcode.Flow) {
			store := storetest.NewMemory()
			c1, _ := sharing(t, e.Server, "webapp", store)
			c2, _ := sharing(t, e.Server, "webapp", store)
			return newFlow(t, c1), newFlow(t, c2)
		},
	}
	for ended, end := range end {
		for where, flows := range flows {
			t.Run(ended+", "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := newEstate(invited)
					here, there := flows(t, e)
					a := e.signIn(t, here, alice, authcode.Request{Session: "desk"}).Account
					code := end(t, e, here, a)
					expect := func(when string) {
						t.Helper()
						_, err := here.TokenSourceIn(a, fabrikam).TokenContext(t.Context())
						if got := testkit.Error(t, err); got.Code != code || !got.InteractionRequired() {
							t.Errorf("%s: got %v, want %s", when, err, code)
						}
					}
					for range 6 { // the wait after a failure becomes longer
						expect("before the sign-in")
						time.Sleep(time.Minute)
					}
					expect("before the sign-in")
					time.Sleep(time.Second / 2) // it is cached for a second or longer
					e.signIn(t, there, alice, authcode.Request{Session: "phone"})
					before := e.TokenRequests()
					expect("after a sign-in with another Session")
					if n := e.TokenRequests() - before; n != 0 {
						t.Errorf("got %d token requests, want the cached failure", n)
					}
					e.signIn(t, there, alice, authcode.Request{Session: "desk"})
					if c := testkit.Claims(t, token(t, here.TokenSourceIn(a, fabrikam))); c["oid"] != aliceGuest {
						t.Errorf("got oid %v, want %s", c["oid"], aliceGuest)
					}
				})
			})
		}
	}
}

// A failure of the current sign-in is cached. A new process finds that of an earlier sign-in in the store and does not
// return it.
func TestFailureInAnotherTenantIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := newEstate(invited), storetest.NewMemory()
		for i := range 2 {
			c, requests := sharing(t, e.Server, "webapp", store)
			f := newFlow(t, c)
			a := e.signIn(t, f, bob, authcode.Request{Session: "desk"}).Account
			time.Sleep(time.Second / 4)
			before := len(requests.Posts())
			for range 3 {
				_, err := f.TokenSourceIn(a, fabrikam).TokenContext(t.Context())
				if got := testkit.Error(t, err); !got.Has(50020) {
					t.Errorf("process %d: got %v, want AADSTS50020", i, err)
				}
			}
			if n := len(requests.Posts()) - before; n != 1 {
				t.Errorf("process %d: got %d token requests, want 1", i, n)
			}
			time.Sleep(time.Second / 4) // the failure is cached for a second or longer
		}
	})
}

// A sign-out erases the records of the session in the store, in all tenants. Records of other sessions stay.
func TestSignOutErasesRecordsOfOtherTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := newEstate(lifetime(time.Hour), invited), storetest.NewMemory()
		var mu sync.Mutex // guards names
		names := make(map[string]bool)
		store.Inject(func(c storetest.Call) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			names[c.Key] = names[c.Key] || c.Op == storetest.OpSave
			return storetest.Fault{}
		})
		large := func() (n int) { // a record with a token
			t.Helper()
			synctest.Wait()
			mu.Lock()
			saved := maps.Clone(names)
			mu.Unlock()
			for name := range saved {
				r, err := store.Load(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				if len(r.Value) > 500 {
					n++
				}
			}
			return n
		}
		c, _ := sharing(t, e.Server, "webapp", store)
		f := newFlow(t, c)
		desk := e.signIn(t, f, alice, authcode.Request{Session: "desk"}).Account
		phone := e.signIn(t, f, alice, authcode.Request{Session: "phone"}).Account
		token(t, f.TokenSourceIn(desk, fabrikam))
		token(t, f.TokenSourceIn(phone, fabrikam))
		if n := large(); n != 4 {
			t.Fatalf("got %d records with tokens, want 4", n)
		}
		if err := f.SignOut(t.Context(), desk); err != nil {
			t.Fatal(err)
		}
		if n := large(); n != 2 {
			t.Errorf("got %d records with tokens after the sign-out, want the 2 of the other session", n)
		}
		token(t, f.TokenSourceIn(phone, fabrikam))
	})
}
