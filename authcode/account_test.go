package authcode_test

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

// From its refresh point a token is refreshed in the background with the refresh token.
func TestTokenIsRefreshedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(lifetime(time.Hour))
		f := e.flow(t)
		signIn := e.signIn(t, f, alice, authcode.Request{})
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 2 * time.Second})
		first := token(t, signIn.Source)
		for range 3 { // each response replaces the refresh token
			cached, _ := signIn.Source.Cached()
			if early := cached.RefreshAt.Sub(cached.ObtainedAt); early < 36*time.Minute || early > 42*time.Minute {
				t.Fatalf("got a refresh point after %v of an hour, want 36 to 42 minutes", early)
			}
			time.Sleep(time.Until(cached.RefreshAt))
			before := time.Now()
			if token(t, signIn.Source) != first || time.Now() != before {
				t.Fatal("the caller that starts the refresh waited or got another token")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			second := token(t, signIn.Source)
			if second == first {
				t.Fatal("got the same token after the refresh")
			}
			if claims := testkit.Claims(t, second); claims["oid"] != signIn.Account.ObjectID ||
				claims["scp"] != "access_as_user" {
				t.Fatalf("got a refreshed token for %v with scp %v", claims["oid"], claims["scp"])
			}
			first = second
		}
		sent := e.Posts()
		if len(sent) != 4 {
			t.Fatalf("got %d token requests, want 4", len(sent))
		}
		expectParameters(t, sent[1].Form, map[string]string{
			"grant_type":    "refresh_token",
			"client_id":     webapp,
			"client_secret": "webapp-secret",
			"scope":         scopeA + " openid offline_access profile",
			"client_info":   "1",
		}, "refresh_token")
		if sent[1].Form.Get("refresh_token") == sent[2].Form.Get("refresh_token") {
			t.Error("the second refresh sent the old refresh token")
		}
	})
}

// One refresh token acquires tokens for every API that the user consented to.
func TestRefreshTokenServesSecondAPI(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	signIn := e.signIn(t, f, alice, authcode.Request{ExtraScopes: []string{scopeB}})
	b := f.TokenSource(signIn.Account, scopeB)
	if claims := testkit.Claims(t, token(t, b)); claims["scp"] != "Orders.Read" ||
		claims["aud"] != "aaaaaaaa-0000-4000-8000-00000000000b" {
		t.Errorf("got a token for %v with scp %v, want API B and Orders.Read", claims["aud"], claims["scp"])
	}
	if claims := testkit.Claims(t, token(t, signIn.Source)); claims["scp"] != "access_as_user" {
		t.Errorf("got scp %v for the first API, want access_as_user", claims["scp"])
	}
	form := e.last(t)
	expectParameters(t, form, map[string]string{
		"grant_type":    "refresh_token",
		"client_id":     webapp,
		"client_secret": "webapp-secret",
		"scope":         scopeB + " openid offline_access profile",
		"client_info":   "1",
	}, "refresh_token")
}

// A scope without consent requires interaction. After consent its source returns the token.
func TestIncrementalConsent(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	signIn := e.signIn(t, f, alice, authcode.Request{})
	b := f.TokenSource(signIn.Account, scopeB)
	_, err := b.TokenContext(t.Context())
	got := testkit.Error(t, err)
	if got.Code != "invalid_grant" || got.SubError != "consent_required" || !got.Has(65001) ||
		!got.InteractionRequired() {
		t.Fatalf("got %v, want AADSTS65001, which requires interaction", err)
	}
	again := e.signIn(t, f, alice, authcode.Request{Scopes: []string{scopeB}, LoginHint: alice})
	if claims := testkit.Claims(t, token(t, again.Source)); claims["scp"] != "Orders.Read" {
		t.Errorf("got scp %v after consent, want Orders.Read", claims["scp"])
	}
	if token(t, b) != token(t, again.Source) {
		t.Error("the source that had failed returned another token")
	}
	if n := e.TokenRequests(); n != 3 {
		t.Errorf("got %d token requests, want 3", n)
	}
}

// Concurrent refreshes for two users never mix their tokens.
func TestConcurrentRefreshesKeepUsersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(lifetime(10 * time.Minute))
		f := e.flow(t)
		users := []*authcode.SignIn{
			e.signIn(t, f, alice, authcode.Request{ExtraScopes: []string{scopeB}}),
			e.signIn(t, f, bob, authcode.Request{ExtraScopes: []string{scopeB}}),
		}
		for round := range 12 {
			var wg sync.WaitGroup
			for i := range 40 {
				a, scope, scp := users[i%2].Account, scopeA, "access_as_user"
				if i%4 >= 2 {
					scope, scp = scopeB, "Orders.Read"
				}
				wg.Go(func() {
					tok, err := f.TokenSource(a, scope).TokenContext(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if claims := testkit.Claims(t, tok.AccessToken); claims["oid"] != a.ObjectID || claims["scp"] != scp {
						t.Errorf("round %d: %v got a token for %v with scp %v, want scp %s", round, a, claims["oid"],
							claims["scp"], scp)
					}
				})
			}
			wg.Wait()
			time.Sleep(4 * time.Minute)
		}
	})
}

// A user's source never requests or returns an app-only token, for every refresh_in. (Versions
// 1.4.2, 1.5.0 and 1.9.0 of microsoft-authentication-library-for-go did.)
func TestUserTokensAreNeverAppOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(lifetime(time.Hour), func(c *entratest.Config) {
			c.RefreshIn = func(time.Duration) time.Duration { return 10 * time.Minute }
		})
		f := e.flow(t)
		signIn := e.signIn(t, f, alice, authcode.Request{})
		for range 50 {
			if claims := testkit.Claims(t, token(t, signIn.Source)); claims["idtyp"] == "app" ||
				claims["oid"] != signIn.Account.ObjectID || claims["scp"] == nil {
				t.Fatalf("got a token that is not the user's: %v", claims)
			}
			time.Sleep(3 * time.Minute)
			synctest.Wait()
		}
		for _, s := range e.Posts()[1:] {
			if got := s.Form.Get("grant_type"); got != "refresh_token" {
				t.Errorf("got grant_type %s, want refresh_token", got)
			}
		}
		if n := len(e.Posts()); n != 13 {
			t.Errorf("got %d token requests in 150 minutes with a refresh_in of 10, want 13", n)
		}
		e.ChangeResponses(func(_ url.Values, a map[string]any) { delete(a, "client_info"); delete(a, "id_token") })
		signIn.Source.Invalidate(must(signIn.Source.Token()))
		if _, err := signIn.Source.TokenContext(t.Context()); testkit.Error(t, err).Code != entra.CodeInvalidResponse {
			t.Errorf("got %v for a response without a user, want %s", err, entra.CodeInvalidResponse)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A refresh response for another account is rejected.
func TestRefreshRejectsAnotherUser(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	signIn := e.signIn(t, f, alice, authcode.Request{})
	e.ChangeResponses(func(_ url.Values, a map[string]any) {
		a["client_info"] = base64JSON(`{"uid":"aaaaaaaa-1111-4000-8000-000000000b0b","utid":"` +
			entratest.SampleTenant + `"}`)
	})
	signIn.Source.Invalidate(must(signIn.Source.Token()))
	if _, err := signIn.Source.TokenContext(t.Context()); testkit.Error(t, err).Code != entra.CodeInvalidResponse {
		t.Errorf("got %v, want %s", err, entra.CodeInvalidResponse)
	}
}

func TestRevokedRefreshToken(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	signIn := e.signIn(t, f, alice, authcode.Request{})
	e.RevokeSessions(alice)
	signIn.Source.Invalidate(must(signIn.Source.Token()))
	_, err := signIn.Source.TokenContext(t.Context())
	if got := testkit.Error(t, err); got.Code != "invalid_grant" || !got.Has(50173) || !got.InteractionRequired() {
		t.Errorf("got %v, want AADSTS50173, which requires interaction", err)
	}
	again := e.signIn(t, f, alice, authcode.Request{})
	if token(t, signIn.Source) != token(t, again.Source) {
		t.Error("the old source returned another token after the new sign-in")
	}
}

// Without a refresh token, and with an invalid account, the user must sign in.
func TestLoginRequired(t *testing.T) {
	e := newEstate()
	organizations := must(testkit.Client(t, e.clientConfig()).WithTenant("organizations"))
	known := authcode.Account{HomeAccountID: "a." + entratest.SampleTenant, TenantID: entratest.SampleTenant,
		ObjectID: "a"}
	for name, f := range map[string]*authcode.Flow{
		"tenant":        e.flow(t),
		"organizations": newFlow(t, organizations, func(c *authcode.Config) { c.Tenants = []string{verify.AnyTenant} }),
	} {
		for _, a := range []authcode.Account{
			{},
			{TenantID: entratest.SampleTenant},
			{HomeAccountID: "a.b"},
			{HomeAccountID: "a.b", TenantID: "contoso.onmicrosoft.com"},
			{HomeAccountID: "a.b", TenantID: "common"},
			{HomeAccountID: "a.b", TenantID: "../x"},
			known,
		} {
			want := "the tenant of the Account is not one of Config.Tenants; the user must sign in"
			switch a.HomeAccountID {
			case "":
				want = "the Account is empty: no user is signed in; with package signin, admit only signed-in users to the " +
					"page with Site.RequireSignIn"
			case known.HomeAccountID:
				want = "the cache has no refresh token for the user; the user must sign in"
			}
			_, err := f.TokenSource(a).TokenContext(t.Context())
			if got := testkit.Error(t, err); got.Code != "login_required" || !got.InteractionRequired() ||
				got.StatusCode != 0 || got.Description != want {
				t.Errorf("%s, %v: got %v, want login_required and %q", name, a, err, want)
			}
		}
	}
	if n := e.TokenRequests(); n != 0 {
		t.Errorf("got %d token requests, want 0", n)
	}
}

// A flow returns no tokens for an account of a tenant that it excludes, not even tokens that
// another flow of the same app has cached.
func TestTokenSourceChecksTenant(t *testing.T) {
	e := newEstate()
	c := testkit.Client(t, e.clientConfig())
	wide := newFlow(t, must(c.WithTenant("organizations")),
		func(c *authcode.Config) { c.Tenants = []string{verify.AnyOrganization} })
	signIn := e.signIn(t, wide, carol, authcode.Request{})
	narrow := newFlow(t, c)
	if _, err := narrow.TokenSource(signIn.Account).TokenContext(t.Context()); err == nil ||
		!testkit.Error(t, err).InteractionRequired() {
		t.Errorf("got %v, want an error that requires interaction", err)
	}
	token(t, wide.TokenSource(signIn.Account))
	if n := e.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
}

// SignOut removes the account's tokens of all APIs and tenants, and no other tokens.
func TestSignOut(t *testing.T) {
	e := newEstate(guests)
	c := testkit.Client(t, e.clientConfig())
	home := newFlow(t, c)
	away := newFlow(t, must(c.WithTenant(entratest.SampleOtherTenant)))
	one := e.signIn(t, home, alice, authcode.Request{ExtraScopes: []string{scopeB}})
	token(t, home.TokenSource(one.Account, scopeB))
	guest := e.signIn(t, away, alice, authcode.Request{})
	other := e.signIn(t, home, bob, authcode.Request{})
	if one.Account.HomeAccountID != guest.Account.HomeAccountID || one.Account.TenantID == guest.Account.TenantID ||
		one.Account.ObjectID == guest.Account.ObjectID {
		t.Fatalf("got accounts %v at home and %v as a guest, want one home account ID", one.Account, guest.Account)
	}
	if err := home.SignOut(t.Context(), one.Account); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*entra.TokenSource{
		"existing source":            one.Source,
		"new source":                 home.TokenSource(one.Account),
		"other API":                  home.TokenSource(one.Account, scopeB),
		"other tenant":               guest.Source,
		"new source of other tenant": away.TokenSource(guest.Account),
	} {
		_, err := s.TokenContext(t.Context())
		if got := testkit.Error(t, err); got.Code != "login_required" {
			t.Errorf("%s: got %v, want login_required", name, err)
		}
	}
	before := e.TokenRequests()
	token(t, other.Source)
	if e.TokenRequests() != before {
		t.Error("the other user's token was removed")
	}
	if err := home.SignOut(t.Context(), authcode.Account{}); testkit.Error(t, err).Code != "invalid_request" {
		t.Errorf("got %v for the zero Account, want invalid_request", err)
	}
	token(t, other.Source)
}

// The result of a refresh in flight is discarded after SignOut.
func TestSignOutDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(lifetime(time.Hour))
		f := e.flow(t)
		signIn := e.signIn(t, f, alice, authcode.Request{})
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 2 * time.Second})
		cached, _ := signIn.Source.Cached()
		time.Sleep(time.Until(cached.RefreshAt))
		token(t, signIn.Source)
		time.Sleep(time.Second)
		if err := f.SignOut(t.Context(), signIn.Account); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := e.Count(entratest.Match{GrantType: "refresh_token"}); n != 1 {
			t.Fatalf("got %d refreshes, want 1", n)
		}
		if cached, ok := signIn.Source.Cached(); ok {
			t.Errorf("got the cached token %v, want none", cached)
		}
		if _, err := signIn.Source.TokenContext(t.Context()); testkit.Error(t, err).Code != "login_required" {
			t.Errorf("got %v, want login_required", err)
		}
	})
}

// SignOut does not affect a sign-in in progress.
func TestSignOutDuringSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		f := e.flow(t)
		one := e.signIn(t, f, alice, authcode.Request{})
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 2 * time.Second})
		login := begin(t, f, authcode.Request{})
		params := e.callback(t, login, alice)
		done := make(chan error)
		go func() {
			_, err := f.Exchange(t.Context(), login, params)
			done <- err
		}()
		time.Sleep(time.Second)
		if err := f.SignOut(t.Context(), one.Account); err != nil {
			t.Fatal(err)
		}
		err := <-done
		if _, ok := f.TokenSource(one.Account).Cached(); err != nil || !ok {
			t.Errorf("got %v, want a completed sign-in with a cached token", err)
		}
	})
}

// SignOut does not remove tokens of the same subject in another app, flow or cloud.
func TestSignOutAffectsOneApp(t *testing.T) {
	e := newEstate()
	shared := cache.New(cache.Options{})
	cfg := e.clientConfig()
	cfg.Cache = shared
	f := newFlow(t, testkit.Client(t, cfg))
	signIn := e.signIn(t, f, alice, authcode.Request{})
	own := cache.Key{Authority: "https://login.microsoftonline.com/" + entratest.SampleTenant, ClientID: webapp,
		Flow: authcode.FlowName, Subject: signIn.Account.HomeAccountID}
	var handles []*cache.Handle
	for _, change := range []func(*cache.Key){
		func(k *cache.Key) { k.ClientID = "aaaaaaaa-0000-4000-8000-00000000000a" },
		func(k *cache.Key) { k.Flow = "on_behalf_of" },
		func(k *cache.Key) { k.Authority = "https://login.microsoftonline.us/" + entratest.SampleTenant },
	} {
		k := own
		change(&k)
		h := new(cache.Handle)
		h.Bind(shared, k, []string{"x"}, nil)
		must(h.Put(t.Context(), cache.Response{AccessToken: "x", Lifetime: time.Hour}))
		handles = append(handles, h)
	}
	if err := f.SignOut(t.Context(), signIn.Account); err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		if h.Hit() == nil {
			t.Errorf("%v was removed", h)
		}
	}
	var h cache.Handle
	h.Bind(shared, own, []string{scopeA}, nil)
	if _, _, ok := h.Cached(); ok {
		t.Error("the account's token is still cached")
	}
}

func guests(c *entratest.Config) {
	c.Users[0].Guest = map[string]string{entratest.SampleOtherTenant: "bbbbbbbb-2222-4000-8000-00000000a11c"}
}

// Users of several tenants sign in at "organizations". Their own tenants issue their tokens.
func TestSignInAtOrganizations(t *testing.T) {
	e := newEstate()
	c := must(testkit.Client(t, e.clientConfig()).WithTenant("organizations"))
	f := newFlow(t, c, func(c *authcode.Config) {
		c.Tenants = []string{entratest.SampleTenant,
			entratest.SampleOtherTenant}
	})
	login := begin(t, f, authcode.Request{})
	if want := "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize?"; !strings.HasPrefix(login.URL(),
		want) {
		t.Errorf("got URL %s, want prefix %s", login.URL(), want)
	}
	signIn, err := f.Exchange(t.Context(), login, e.callback(t, login, carol))
	if err != nil {
		t.Fatal(err)
	}
	if a := signIn.Account; a.TenantID != entratest.SampleOtherTenant ||
		a.HomeAccountID != "bbbbbbbb-2222-4000-8000-00000000ca01."+entratest.SampleOtherTenant {
		t.Errorf("got account %v, want Carol of the other tenant", a)
	}
	signIn.Source.Invalidate(must(signIn.Source.Token()))
	if claims := testkit.Claims(t, token(t, signIn.Source)); claims["tid"] != entratest.SampleOtherTenant ||
		claims["oid"] != signIn.Account.ObjectID {
		t.Errorf("got a token for oid %v of tenant %v", claims["oid"], claims["tid"])
	}
	sent := e.Posts()
	for i, want := range []string{"organizations", entratest.SampleOtherTenant} {
		if got := sent[i].URL; got != "https://login.microsoftonline.com/"+want+"/oauth2/v2.0/token" {
			t.Errorf("got request %d to %s, want tenant %s", i, got, want)
		}
	}
	if got := e.signIn(t, f, alice, authcode.Request{}).Account.TenantID; got != entratest.SampleTenant {
		t.Errorf("got tenant %s for Alice, want %s", got, entratest.SampleTenant)
	}
	if got, want := f.SignOutURL(""), "https://login.microsoftonline.com/organizations/oauth2/v2.0/logout"; got != want {
		t.Errorf("got sign-out URL %s, want %s", got, want)
	}
}

func TestExchangeRejectsOtherTenants(t *testing.T) {
	e := newEstate()
	c := must(testkit.Client(t, e.clientConfig()).WithTenant("common"))
	f := newFlow(t, c, func(c *authcode.Config) { c.Tenants = []string{entratest.SampleTenant} })
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, carol))
	if !errors.Is(err, &verify.Error{Reason: verify.ReasonTenantNotAllowed}) {
		t.Errorf("got %v, want verify.ReasonTenantNotAllowed", err)
	}
	expectEmptyCache(t, c)
}

// A guest is identified by the home account and gets tokens of the inviting tenant.
func TestGuest(t *testing.T) {
	e := newEstate(guests)
	f := newFlow(t, must(testkit.Client(t, e.clientConfig()).WithTenant(entratest.SampleOtherTenant)))
	signIn := e.signIn(t, f, alice, authcode.Request{})
	want := authcode.Account{
		HomeAccountID: "aaaaaaaa-1111-4000-8000-00000000a11c." + entratest.SampleTenant,
		TenantID:      entratest.SampleOtherTenant, ObjectID: "bbbbbbbb-2222-4000-8000-00000000a11c",
		Username: alice, Name: "Alice Adams",
	}
	if signIn.Account != want {
		t.Errorf("got account %v, want %v", signIn.Account, want)
	}
	signIn.Source.Invalidate(must(signIn.Source.Token()))
	if claims := testkit.Claims(t, token(t, signIn.Source)); claims["tid"] != want.TenantID ||
		claims["oid"] != want.ObjectID {
		t.Errorf("got a token for oid %v of tenant %v", claims["oid"], claims["tid"])
	}
}

// A refresh sends a claims challenge together with the capabilities, and the new token
// replaces the old one.
func TestClaimsChallenge(t *testing.T) {
	e := newEstate(func(c *entratest.Config) {
		for i := range c.Apps {
			c.Apps[i].ContinuousAccess = c.Apps[i].Name == "api-a"
		}
	})
	cfg := e.clientConfig()
	cfg.Capabilities = []string{"cp1"}
	f := newFlow(t, testkit.Client(t, cfg))
	signIn := e.signIn(t, f, alice, authcode.Request{})
	if got := e.last(t).Get("claims"); got != `{"access_token":{"xms_cc":{"values":["cp1"]}}}` {
		t.Errorf("got claims %s with the code, want the capabilities", got)
	}
	old := token(t, signIn.Source)
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	renewed := token(t, signIn.Source.WithClaims(claims))
	if renewed == old || token(t, f.TokenSource(signIn.Account)) != renewed {
		t.Error("other sources did not return the new token")
	}
	expectParameters(t, e.last(t), map[string]string{
		"grant_type":    "refresh_token",
		"client_id":     webapp,
		"client_secret": "webapp-secret",
		"scope":         scopeA + " openid offline_access profile",
		"client_info":   "1",
		"claims":        `{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"xms_cc":{"values":["cp1"]}}}`,
	}, "refresh_token")
}

// After eviction the user must sign in again.
func TestEvictedSession(t *testing.T) {
	e := newEstate()
	cfg := e.clientConfig()
	cfg.Cache = cache.New(cache.Options{Size: 1})
	f := newFlow(t, testkit.Client(t, cfg))
	one := e.signIn(t, f, alice, authcode.Request{}).Account
	e.signIn(t, f, bob, authcode.Request{})
	runtime.GC()
	if _, err := f.TokenSource(one).TokenContext(t.Context()); testkit.Error(t, err).Code != "login_required" {
		t.Errorf("got %v, want login_required", err)
	}
}

func TestAccountPrintsNoNames(t *testing.T) {
	a := authcode.Account{HomeAccountID: "h.t", TenantID: "t", ObjectID: "o", Username: alice, Name: "Alice"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, a); got != "authcode.Account{tid=t oid=o}" {
			t.Errorf("%s: got %s, want authcode.Account{tid=t oid=o}", format, got)
		}
	}
}
