package authcode_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

func TestSignIn(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{ReturnTo: "/orders"})
	kept := change(t, login, func(*stored) {}) // as the app keeps it
	params := e.callback(t, login, alice)
	signIn, err := f.Exchange(t.Context(), kept, params)
	if err != nil {
		t.Fatal(err)
	}
	sent := e.requests()
	if len(sent) != 1 {
		t.Fatalf("%d token requests, want 1", len(sent))
	}
	if want := "https://login.microsoftonline.com/" + entratest.SampleTenant + "/oauth2/v2.0/token"; sent[0].url != want {
		t.Errorf("asked %s, want %s", sent[0].url, want)
	}
	expectParameters(t, sent[0].form, map[string]string{
		"grant_type":    "authorization_code",
		"client_id":     webapp,
		"client_secret": "webapp-secret",
		"code":          params.Get("code"),
		"code_verifier": unmarshal(t, login).Verifier,
		"redirect_uri":  redirect,
		"scope":         scopeA + " openid offline_access profile",
		"client_info":   "1",
	})
	want := authcode.Account{
		HomeAccountID: "aaaaaaaa-1111-4000-8000-00000000a11c." + entratest.SampleTenant,
		TenantID:      entratest.SampleTenant,
		ObjectID:      "aaaaaaaa-1111-4000-8000-00000000a11c",
		Username:      alice,
		Name:          "Alice Adams",
	}
	if signIn.Account != want {
		t.Errorf("the account is %+v %q %q", signIn.Account, signIn.Account.Username, signIn.Account.Name)
	}
	if signIn.ReturnTo != "/orders" || signIn.Claims.ObjectID != want.ObjectID || signIn.Claims.Nonce != unmarshal(t, login).Nonce {
		t.Errorf("returns to %q with %v", signIn.ReturnTo, signIn.Claims)
	}
	for name, source := range map[string]*entra.TokenSource{
		"SignIn.Source": signIn.Source, "TokenSource": f.TokenSource(want), "TokenSource with scope": f.TokenSource(want, scopeA),
	} {
		claims := claimsOf(t, token(t, source))
		if claims["scp"] != "access_as_user" || claims["oid"] != want.ObjectID || claims["azp"] != webapp {
			t.Errorf("%s: the token is for %v by %v with %v", name, claims["oid"], claims["azp"], claims["scp"])
		}
	}
	tok, err := signIn.Source.Token()
	if err != nil || tok.RefreshToken != "" {
		t.Errorf("got a refresh token or %v", err)
	}
	if n := e.TokenRequests(); n != 1 {
		t.Errorf("%d token requests, want 1: the token is kept", n)
	}
}

// A sign-in without an API: no scope of a resource is asked for.
func TestSignInAlone(t *testing.T) {
	e := newEstate()
	f := e.flow(t, func(c *authcode.Config) { c.Scopes = nil })
	signIn := e.signIn(t, f, bob, authcode.Request{})
	if got := e.last(t).Get("scope"); got != "openid offline_access profile" {
		t.Errorf("scope = %q", got)
	}
	u, err := url.Parse(begin(t, f, authcode.Request{}).URL())
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("scope"); got != "openid profile offline_access" {
		t.Errorf("the authorization endpoint is asked for %q", got)
	}
	for _, s := range []*entra.TokenSource{signIn.Source, f.TokenSource(signIn.Account), f.TokenSource(signIn.Account, "openid")} {
		token(t, s)
	}
	if n := e.TokenRequests(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
	if signIn.Account.Name != "Bob Brown" {
		t.Errorf("signed in %q", signIn.Account.Name)
	}
}

func TestCertificateCredentialSignsIn(t *testing.T) {
	e := newEstate()
	cfg := e.clientConfig()
	cfg.Credential = entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) { return "not.an.assertion", nil })
	f := newFlow(t, newClient(t, cfg))
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	if got := entraError(t, err); got.Code != "invalid_client" {
		t.Errorf("got %v", err)
	}
	form := e.last(t)
	if form.Get("client_assertion") != "not.an.assertion" || form.Has("client_secret") {
		t.Error("the credential is not the assertion")
	}
}

// nothingKept fails if the account has a session in the client's cache.
func nothingKept(t *testing.T, c *entra.Client) {
	t.Helper()
	if n := c.Cache().Stats().Sessions; n != 0 {
		t.Errorf("%d sessions are kept, want none", n)
	}
}

// Each check of an answer, broken once. mint makes another ID token in place of the true one.
func TestExchangeRefuses(t *testing.T) {
	const state = "state"
	for _, test := range []struct {
		name   string
		login  func(*stored)
		params func(url.Values)
		mint   *entratest.MintOptions // Nonce "" stands for the right one
		tamper func(map[string]any)
		want   error
		sent   int // token requests
	}{
		{name: "no state in the login", login: func(s *stored) { s.State = "" }, want: authcode.ErrNoLogin},
		{name: "no state at all", login: func(s *stored) { s.State = "" }, params: func(q url.Values) { q.Del(state) }, want: authcode.ErrNoLogin},
		{name: "no nonce in the login", login: func(s *stored) { s.Nonce = "" }, want: authcode.ErrNoLogin},
		{name: "no verifier in the login", login: func(s *stored) { s.Verifier = "" }, want: authcode.ErrNoLogin},
		{name: "bad return in the login", login: func(s *stored) { s.ReturnTo = "//evil.example" }, want: authcode.ErrNoLogin},
		{name: "of another tenant", login: func(s *stored) {
			s.Authority = "https://login.microsoftonline.com/" + entratest.SampleOtherTenant
		}, want: authcode.ErrNoLogin},
		{name: "of another cloud", login: func(s *stored) { s.Authority = "https://login.microsoftonline.us/" + entratest.SampleTenant }, want: authcode.ErrNoLogin},
		{name: "of another app", login: func(s *stored) { s.ClientID = "aaaaaaaa-0000-4000-8000-00000000000a" }, want: authcode.ErrNoLogin},
		{name: "of another redirect URL", login: func(s *stored) { s.RedirectURL += "2" }, want: authcode.ErrNoLogin},
		{name: "of no flow", login: func(s *stored) { s.Authority, s.ClientID, s.RedirectURL = "", "", "" }, want: authcode.ErrNoLogin},
		{name: "good for too long", login: func(s *stored) { s.Expires = s.Expires.Add(time.Minute + time.Second) }, want: authcode.ErrNoLogin},
		{name: "expired", login: func(s *stored) { s.Expires = time.Now() }, want: authcode.ErrExpired},
		{name: "expired and another state", login: func(s *stored) { s.Expires = time.Now() }, params: func(q url.Values) { q.Set(state, "x") }, want: authcode.ErrExpired},
		{name: "another state", params: func(q url.Values) { q.Set(state, unmarshalState) }, want: authcode.ErrState},
		{name: "state missing", params: func(q url.Values) { q.Del(state) }, want: authcode.ErrState},
		{name: "state empty", params: func(q url.Values) { q.Set(state, "") }, want: authcode.ErrState},
		{name: "state shortened", params: func(q url.Values) { q.Set(state, q.Get(state)[:42]) }, want: authcode.ErrState},
		{name: "state twice", params: func(q url.Values) { q.Add(state, q.Get(state)) }, want: authcode.ErrParameters},
		{name: "code twice", params: func(q url.Values) { q.Add("code", "x") }, want: authcode.ErrParameters},
		{name: "error twice", params: func(q url.Values) { q["error"] = []string{"", "x"} }, want: authcode.ErrParameters},
		{name: "anything twice", params: func(q url.Values) { q["x"] = []string{"1", "1"} }, want: authcode.ErrParameters},
		{name: "another issuer", params: func(q url.Values) { q.Set("iss", "https://evil.example/") }, want: authcode.ErrParameters},
		{name: "another cloud's issuer", params: func(q url.Values) {
			q.Set("iss", "https://login.microsoftonline.us/"+entratest.SampleTenant+"/v2.0")
		}, want: authcode.ErrParameters},
		{name: "issuer of no tenant", params: func(q url.Values) { q.Set("iss", "https://login.microsoftonline.com/evil.example/x/v2.0") }, want: authcode.ErrParameters},
		{name: "issuer of another kind", params: func(q url.Values) { q.Set("iss", "https://login.microsoftonline.com/"+entratest.SampleTenant) }, want: authcode.ErrParameters},
		{name: "issuer empty", params: func(q url.Values) { q.Set("iss", "") }, want: authcode.ErrParameters},
		{name: "code missing", params: func(q url.Values) { q.Del("code") }, want: authcode.ErrParameters},
		{name: "code empty", params: func(q url.Values) { q.Set("code", "") }, want: authcode.ErrParameters},
		{name: "empty", params: func(q url.Values) { clear(q) }, want: authcode.ErrState},

		{name: "another nonce", login: func(s *stored) { s.Nonce = "another" }, want: &verify.Error{Reason: verify.ReasonBadNonce}, sent: 1},
		{name: "token of another sign-in", mint: &entratest.MintOptions{Nonce: "another"}, want: &verify.Error{Reason: verify.ReasonBadNonce}, sent: 1},
		{name: "token without nonce", mint: &entratest.MintOptions{Claims: map[string]any{"nonce": nil}}, want: &verify.Error{Reason: verify.ReasonBadNonce}, sent: 1},
		{name: "issuer", mint: &entratest.MintOptions{Claims: map[string]any{"iss": "https://evil.example/" + entratest.SampleTenant + "/v2.0"}}, want: &verify.Error{Reason: verify.ReasonBadIssuer}, sent: 1},
		{name: "issuer of another tenant", mint: &entratest.MintOptions{Claims: map[string]any{"iss": "https://login.microsoftonline.com/" + entratest.SampleOtherTenant + "/v2.0"}}, want: &verify.Error{Reason: verify.ReasonTenantMismatch}, sent: 1},
		{name: "another tenant", mint: &entratest.MintOptions{Tenant: entratest.SampleOtherTenant, User: carol}, want: &verify.Error{Reason: verify.ReasonTenantNotAllowed}, sent: 1},
		{name: "audience", mint: &entratest.MintOptions{Resource: "api-a"}, want: &verify.Error{Reason: verify.ReasonBadAudience}, sent: 1},
		{name: "expired token", mint: &entratest.MintOptions{Lifetime: -2 * time.Minute}, want: &verify.Error{Reason: verify.ReasonExpired}, sent: 1},
		{name: "token of the future", mint: &entratest.MintOptions{Claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}}, want: &verify.Error{Reason: verify.ReasonNotYetValid}, sent: 1},
		{name: "signature", mint: &entratest.MintOptions{UnpublishedKey: true}, want: &verify.Error{Reason: verify.ReasonBadSignature}, sent: 1},
		{name: "unsigned", mint: &entratest.MintOptions{Header: map[string]any{"alg": "none"}}, want: &verify.Error{Reason: verify.ReasonMalformed}, sent: 1},
		{name: "signed with the public key", mint: &entratest.MintOptions{Header: map[string]any{"alg": "HS256"}}, want: &verify.Error{Reason: verify.ReasonBadAlgorithm}, sent: 1},
		{name: "no oid", mint: &entratest.MintOptions{Claims: map[string]any{"oid": nil}}, want: authcode.ErrAccount, sent: 1},
		{name: "another user's token", mint: &entratest.MintOptions{User: bob}, want: authcode.ErrAccount, sent: 1},
		{name: "access token as ID token", tamper: func(a map[string]any) { a["id_token"] = a["access_token"] }, want: &verify.Error{Reason: verify.ReasonBadAudience}, sent: 1},
		{name: "another user's client_info", tamper: func(a map[string]any) {
			a["client_info"] = base64JSON(`{"uid":"aaaaaaaa-1111-4000-8000-000000000b0b","utid":"` + entratest.SampleTenant + `"}`)
		}, want: authcode.ErrAccount, sent: 1},
		{name: "no client_info", tamper: func(a map[string]any) { delete(a, "client_info") }, want: authcode.ErrAccount, sent: 1},
		{name: "strange client_info", tamper: func(a map[string]any) { a["client_info"] = base64JSON(`{"uid":"a.b","utid":"c"}`) }, want: authcode.ErrAccount, sent: 1},
		{name: "client_info of no object", tamper: func(a map[string]any) {
			a["client_info"] = base64JSON(`{"uid":"x y\u0000","utid":"` + entratest.SampleOtherTenant + `"}`)
		}, want: authcode.ErrAccount, sent: 1},
		{name: "client_info of no tenant", tamper: func(a map[string]any) {
			a["client_info"] = base64JSON(`{"uid":"aaaaaaaa-1111-4000-8000-000000000b0b","utid":"contoso"}`)
		}, want: authcode.ErrAccount, sent: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate()
			c := newClient(t, e.clientConfig())
			f := newFlow(t, c)
			login := begin(t, f, authcode.Request{})
			params := e.callback(t, login, alice)
			nonce := unmarshal(t, login).Nonce
			if test.login != nil {
				login = change(t, login, test.login)
			}
			if test.params != nil {
				test.params(params)
			}
			if m := test.mint; m != nil {
				o := *m
				o.IDToken = true
				if o.Resource == "" {
					o.Resource = "webapp"
				}
				if o.User == "" {
					o.User = alice
				}
				if o.Nonce == "" {
					o.Nonce = nonce
				}
				test.tamper = func(a map[string]any) { a["id_token"] = e.Mint(o) }
			}
			if test.tamper != nil {
				e.tamper = func(_ url.Values, a map[string]any) { test.tamper(a) }
			}
			signIn, err := f.Exchange(t.Context(), login, params)
			if !errors.Is(err, test.want) || signIn != nil {
				t.Fatalf("got %v and %v, want %v", signIn, err, test.want)
			}
			if n := len(e.requests()); n != test.sent {
				t.Errorf("%d token requests, want %d", n, test.sent)
			}
			nothingKept(t, c)
		})
	}
}

const unmarshalState = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // as long as a state

// What Entra itself refuses in redeeming the code.
func TestRedemptionRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		login  func(*stored)
		params func(url.Values)
		code   string
		aadsts int
	}{
		{"another verifier", func(s *stored) { s.Verifier = strings.Repeat("v", 43) }, nil, "invalid_grant", 501481},
		{"no code of Entra's", nil, func(q url.Values) { q.Set("code", "made-up") }, "invalid_grant", 9002313},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate()
			c := newClient(t, e.clientConfig())
			f := newFlow(t, c)
			login := begin(t, f, authcode.Request{})
			params := e.callback(t, login, alice)
			if test.login != nil {
				login = change(t, login, test.login)
			}
			if test.params != nil {
				test.params(params)
			}
			_, err := f.Exchange(t.Context(), login, params)
			got := entraError(t, err)
			if got.Code != test.code || !slices.Equal(got.AADSTS, []int{test.aadsts}) || got.StatusCode != http.StatusBadRequest {
				t.Errorf("got %v %v %d", got, got.AADSTS, got.StatusCode)
			}
			nothingKept(t, c)
		})
	}
}

// A login of one flow is nobody's at another: neither its code nor its verifier go to
// another authority, and it stays good for its own.
func TestLoginOfAnotherFlow(t *testing.T) {
	e := newEstate()
	c := newClient(t, e.clientConfig())
	home := newFlow(t, c)
	app := e.clientConfig()
	app.ClientID, app.Credential = "aaaaaaaa-0000-4000-8000-00000000000a", entra.Secret("api-a-secret")
	government := e.clientConfig()
	government.Cloud = "login.microsoftonline.us"
	login := begin(t, home, authcode.Request{})
	params := e.callback(t, login, alice)
	for name, f := range map[string]*authcode.Flow{
		"tenant":       newFlow(t, must(c.WithTenant(entratest.SampleOtherTenant))),
		"app":          newFlow(t, newClient(t, app)),
		"cloud":        newFlow(t, newClient(t, government)),
		"redirect URL": newFlow(t, c, func(c *authcode.Config) { c.RedirectURL = "http://localhost:8080/other" }),
	} {
		if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, authcode.ErrNoLogin) {
			t.Errorf("another %s: got %v, want ErrNoLogin", name, err)
		}
	}
	if n := len(e.requests()); n != 0 {
		t.Errorf("%d token requests, want none", n)
	}
	if _, err := e.flow(t).Exchange(t.Context(), login, params); err != nil {
		t.Errorf("another instance of its own flow: %v", err)
	}
}

// An answer that names its issuer (RFC 9207) is taken if that is the cloud's, and one
// that names another does not use the login up.
func TestIssuerOfTheAnswer(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{})
	params := e.callback(t, login, alice)
	params.Set("iss", "https://evil.example/"+entratest.SampleTenant+"/v2.0")
	if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, authcode.ErrParameters) {
		t.Errorf("got %v, want ErrParameters", err)
	}
	params.Set("iss", "https://login.microsoftonline.com/"+entratest.SampleTenant+"/v2.0")
	if _, err := f.Exchange(t.Context(), login, params); err != nil {
		t.Error(err)
	}
}

// An instance whose clock is a little ahead begins logins that are good elsewhere.
func TestClocksOfInstances(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{})
	params := e.callback(t, login, alice)
	login = change(t, login, func(s *stored) { s.Expires = s.Expires.Add(30 * time.Second) })
	if _, err := f.Exchange(t.Context(), login, params); err != nil {
		t.Error(err)
	}
}

// The key of the account's tokens is one, however Entra writes it.
func TestHomeAccountIDInLowerCase(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	e.tamper = func(_ url.Values, a map[string]any) {
		a["client_info"] = base64JSON(`{"uid":"AAAAAAAA-1111-4000-8000-00000000A11C","utid":"` + entratest.SampleTenant + `"}`)
	}
	signIn := e.signIn(t, f, alice, authcode.Request{})
	if got := signIn.Account.HomeAccountID; got != "aaaaaaaa-1111-4000-8000-00000000a11c."+entratest.SampleTenant {
		t.Errorf("the account is %s", got)
	}
	signIn.Source.Invalidate(must(signIn.Source.Token()))
	token(t, signIn.Source)
}

// An answer without an ID token is no sign-in.
func TestNoIDToken(t *testing.T) {
	e := newEstate()
	c := newClient(t, e.clientConfig())
	f := newFlow(t, c)
	e.tamper = func(_ url.Values, a map[string]any) { delete(a, "id_token") }
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	if got := entraError(t, err); got.Code != entra.CodeInvalidResponse {
		t.Errorf("got %v", err)
	}
	nothingKept(t, c)
}

// A login that was never begun, in each form in which it may arrive.
func TestExchangeWithoutLogin(t *testing.T) {
	f := newEstate().flow(t)
	for _, login := range []*authcode.Login{nil, {}, new(authcode.Login)} {
		if _, err := f.Exchange(t.Context(), login, url.Values{"code": {"x"}, "state": {""}}); !errors.Is(err, authcode.ErrNoLogin) {
			t.Errorf("got %v, want ErrNoLogin", err)
		}
	}
}

// A login is good once, however many callbacks arrive at the same time.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second})
		f := e.flow(t)
		login := begin(t, f, authcode.Request{})
		params := e.callback(t, login, alice)
		errs := make(chan error, 20)
		for range cap(errs) {
			go func() {
				_, err := f.Exchange(t.Context(), login, params)
				errs <- err
			}()
		}
		succeeded := 0
		for range cap(errs) {
			switch err := <-errs; {
			case err == nil:
				succeeded++
			case !errors.Is(err, authcode.ErrUsed):
				t.Errorf("got %v, want ErrUsed", err)
			}
		}
		if succeeded != 1 || e.TokenRequests() != 1 {
			t.Errorf("%d succeeded with %d token requests, want one of each", succeeded, e.TokenRequests())
		}
		if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, authcode.ErrUsed) {
			t.Errorf("got %v, want ErrUsed", err)
		}
	})
}

// A wrong state is nobody's answer: it does not use the login up. An error is one.
func TestWhatUsesALogin(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{})
	params := e.callback(t, login, alice)
	if _, err := f.Exchange(t.Context(), login, url.Values{"state": {"forged"}, "error": {"access_denied"}}); !errors.Is(err, authcode.ErrState) {
		t.Fatalf("got %v, want ErrState", err)
	}
	if _, err := f.Exchange(t.Context(), login, params); err != nil {
		t.Fatalf("a forged answer has used the login up: %v", err)
	}
	login = begin(t, f, authcode.Request{})
	params = e.callback(t, login, alice)
	_, err := f.Exchange(t.Context(), login, url.Values{"state": {login.State()}, "error": {"access_denied"}})
	if got := entraError(t, err); got.Code != "access_denied" {
		t.Fatalf("got %v", err)
	}
	if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, authcode.ErrUsed) {
		t.Errorf("got %v, want ErrUsed", err)
	}
}

func TestLoginExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		f := e.flow(t)
		early, late := begin(t, f, authcode.Request{}), begin(t, f, authcode.Request{})
		time.Sleep(15*time.Minute - time.Second)
		if _, err := f.Exchange(t.Context(), early, e.callback(t, early, alice)); err != nil {
			t.Errorf("a second before the end: %v", err)
		}
		params := e.callback(t, late, alice)
		time.Sleep(time.Second)
		if _, err := f.Exchange(t.Context(), late, params); !errors.Is(err, authcode.ErrExpired) {
			t.Errorf("at the end: got %v, want ErrExpired", err)
		}
		if _, err := f.Exchange(t.Context(), early, params); !errors.Is(err, authcode.ErrExpired) {
			t.Errorf("a used login at its end: got %v, want ErrExpired", err)
		}
	})
}

// Two tabs: both logins are finished, in the other order; neither takes the other's answer.
func TestTwoLogins(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	one, two := begin(t, f, authcode.Request{ReturnTo: "/one"}), begin(t, f, authcode.Request{ReturnTo: "/two"})
	first, second := e.callback(t, one, alice), e.callback(t, two, alice)
	if _, err := f.Exchange(t.Context(), one, second); !errors.Is(err, authcode.ErrState) {
		t.Errorf("crossed: got %v, want ErrState", err)
	}
	for _, tab := range []struct {
		login  *authcode.Login
		params url.Values
		want   string
	}{{two, second, "/two"}, {one, first, "/one"}} {
		signIn, err := f.Exchange(t.Context(), tab.login, tab.params)
		if err != nil {
			t.Fatal(err)
		}
		if signIn.ReturnTo != tab.want {
			t.Errorf("returns to %s, want %s", signIn.ReturnTo, tab.want)
		}
	}
}

// A code of one login is no good in another: PKCE and the nonce tie it to its own.
func TestInjectedCode(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	mine, theirs := begin(t, f, authcode.Request{}), begin(t, f, authcode.Request{})
	params := e.callback(t, theirs, bob)
	params.Set("state", mine.State())
	_, err := f.Exchange(t.Context(), mine, params)
	if got := entraError(t, err); got.Code != "invalid_grant" || !got.Has(501481) {
		t.Errorf("got %v", err)
	}
}

// What the authorization endpoint reports.
func TestErrorAnswers(t *testing.T) {
	e := newEstate(func(c *entratest.Config) {
		for i := range c.Apps {
			if c.Apps[i].Name == "api-a" {
				c.Apps[i].RequireMFA = true
			}
		}
	})
	f := e.flow(t)

	t.Run("login_required", func(t *testing.T) {
		login := begin(t, f, authcode.Request{Prompt: "none"})
		_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
		got := entraError(t, err)
		if got.Code != "login_required" || !slices.Equal(got.AADSTS, []int{50058}) || !got.InteractionRequired() || got.StatusCode != 0 {
			t.Errorf("got %v %v", got, got.AADSTS)
		}
		journal := e.Requests()
		if last := journal[len(journal)-1]; last.AADSTS != 50058 {
			t.Errorf("the journal says %d", last.AADSTS)
		}
		if len(got.TraceID) != 36 || len(got.CorrelationID) != 36 || got.TraceID == got.CorrelationID {
			t.Errorf("trace %q, correlation %q", got.TraceID, got.CorrelationID)
		}
	})
	for _, test := range []struct {
		name string
		in   url.Values
		want entra.Error
		text string
		ask  bool
	}{
		{
			"access_denied",
			url.Values{"error": {"access_denied"}, "error_subcode": {"cancel"}, "error_description": {"AADSTS65004: User declined to consent to access the app.\r\nTrace ID: 0e8b6f3c-1111-4222-8333-444455556666\r\nCorrelation ID: 77777777-1111-4222-8333-444455556666\r\nTimestamp: 2026-01-02 03:04:05Z"}},
			entra.Error{
				Code: "access_denied", SubError: "cancel", AADSTS: []int{65004},
				TraceID: "0e8b6f3c-1111-4222-8333-444455556666", CorrelationID: "77777777-1111-4222-8333-444455556666",
			},
			"entra: access_denied (cancel): AADSTS65004: User declined to consent to access the app. Trace ID: 0e8b6f3c-1111-4222-8333-444455556666 Correlation ID: 77777777-1111-4222-8333-444455556666 Timestamp: 2026-01-02 03:04:05Z",
			false,
		},
		{
			"two suberrors", url.Values{"error": {"x"}, "error_subcode": {"cancel"}, "suberror": {"basic_action"}},
			entra.Error{Code: "x", SubError: "basic_action"}, "entra: x (basic_action)", false,
		},
		{
			"secrets in pieces",
			url.Values{"error": {"SPLIT"}, "error_description": {"the state SPLIT"}, "suberror": {"0.AXk\x00AcEd\r"}, "code": {"0.AXkAcEd"}},
			entra.Error{Code: "[redacted]", SubError: "[redacted]"}, "entra: [redacted] ([redacted]): [redacted]", false,
		},
		{
			"a short code", url.Values{"error": {"server_error"}, "error_description": {"code=0.AXkAcEd&x=1"}, "code": {"0.AXkAcEd"}},
			entra.Error{Code: "server_error"}, "entra: server_error: code=[redacted]&x=1", false,
		},
		{
			"a code that is a word", url.Values{"error": {"server_error"}, "code": {"error"}},
			entra.Error{Code: "server_error"}, "entra: server_error", false,
		},
		{
			"consent_required",
			url.Values{"error": {"consent_required"}, "suberror": {"consent_required"}, "error_description": {"AADSTS65001: not consented"}},
			entra.Error{Code: "consent_required", SubError: "consent_required", AADSTS: []int{65001}},
			"entra: consent_required (consent_required): AADSTS65001: not consented", true,
		},
		{
			"interaction_required with claims",
			url.Values{"error": {"interaction_required"}, "error_description": {"AADSTS50076: multi-factor"}, "claims": {`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`}},
			entra.Error{Code: "interaction_required", AADSTS: []int{50076}, Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`},
			"entra: interaction_required: AADSTS50076: multi-factor", true,
		},
		{
			"error and code", url.Values{"error": {"server_error"}, "code": {"x"}, "claims": {"nonsense"}},
			entra.Error{Code: "server_error"}, "entra: server_error", false,
		},
		{
			"temporarily_unavailable", url.Values{"error": {"temporarily_unavailable"}, "error_description": {"AADSTS: later"}},
			entra.Error{Code: "temporarily_unavailable"}, "entra: temporarily_unavailable: AADSTS: later", false,
		},
		{
			"junk",
			url.Values{"error": {"a\r\nSet-Cookie: x\x00" + strings.Repeat("e ", 200)}, "error_description": {"\x1b[31m" + strings.Repeat("x ", 5000)}, "claims": {"null"}},
			entra.Error{Code: "a Set-Cookie: x " + strings.Repeat("e ", 42) + "..."},
			"", false,
		},
		{
			"secrets",
			url.Values{"error": {"x"}, "error_description": {"eyJhbGciOiJSUzI1NiJ9.e30.c2ln and " + strings.Repeat("1.AXkA", 20) + " and STATE and NONCE"}},
			entra.Error{Code: "x"}, "entra: x: [redacted] and [redacted] and [redacted] and [redacted]", false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			login := begin(t, f, authcode.Request{})
			test.in.Set("state", login.State())
			s := unmarshal(t, login)
			for _, values := range test.in {
				values[0] = strings.NewReplacer("STATE", s.State, "NONCE", s.Nonce, "SPLIT", s.State[:20]+"\r\x00\u00a0"+s.State[20:]).Replace(values[0])
			}
			before := len(e.requests())
			_, err := f.Exchange(t.Context(), login, test.in)
			got := entraError(t, err)
			if got.Code != test.want.Code || got.SubError != test.want.SubError || !slices.Equal(got.AADSTS, test.want.AADSTS) || got.Claims != test.want.Claims ||
				got.TraceID != test.want.TraceID || got.CorrelationID != test.want.CorrelationID || got.StatusCode != 0 || got.RetryAfter != 0 {
				t.Errorf("got %q %v %q", got, got.AADSTS, got.Claims)
			}
			if test.text != "" && got.Error() != test.text {
				t.Errorf("got  %s\nwant %s", got, test.text)
			}
			if len(got.Error()) > 2300 || strings.ContainsAny(got.Error(), "\r\n\x00\x1b") {
				t.Errorf("the text has %d bytes: %.200q", len(got.Error()), got)
			}
			if got.InteractionRequired() != test.ask {
				t.Errorf("InteractionRequired is %t", got.InteractionRequired())
			}
			if len(e.requests()) != before {
				t.Error("a token request was sent")
			}
		})
	}
}

// Conditional access: the code is refused with a challenge, which a new login satisfies.
func TestStepUp(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	remove := e.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: "interaction_required", AADSTS: 50076, SubError: "basic_action", Claims: claims, Times: 1})
	defer remove()
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	got := entraError(t, err)
	if got.Code != "interaction_required" || got.Claims != claims || !got.Has(50076) || !got.InteractionRequired() {
		t.Fatalf("got %v with claims %q", err, got.Claims)
	}
	signIn := e.signIn(t, f, alice, authcode.Request{Claims: got.Claims})
	if acrs := fmt.Sprint(claimsOf(t, token(t, signIn.Source))["acrs"]); acrs != "[c1]" {
		t.Errorf("acrs = %s, want [c1]", acrs)
	}
}

// The app's context ends the redemption; nothing is kept.
func TestExchangeContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Minute})
		c := newClient(t, e.clientConfig())
		f := newFlow(t, c)
		login := begin(t, f, authcode.Request{})
		params := e.callback(t, login, alice)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := f.Exchange(ctx, login, params)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		nothingKept(t, c)
	})
}

// The signing keys cannot be had: the sign-in fails as temporary, and nothing is kept.
func TestKeysUnavailable(t *testing.T) {
	e := newEstate()
	e.Inject(entratest.Fault{Endpoint: "keys", Status: 503})
	c := newClient(t, e.clientConfig())
	f := newFlow(t, c)
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	var refused *verify.Error
	if !errors.As(err, &refused) || refused.Reason != verify.ReasonKeysUnavailable || !refused.Temporary() {
		t.Errorf("got %v", err)
	}
	nothingKept(t, c)
}

// Sign-ins at the same time, of different users, don't touch each other.
func TestConcurrentSignIns(t *testing.T) {
	e := newEstate()
	shared := cache.New(cache.Options{})
	cfg := e.clientConfig()
	cfg.Cache = shared
	f := newFlow(t, newClient(t, cfg))
	var wg sync.WaitGroup
	for i := range 20 {
		user, oid := alice, "aaaaaaaa-1111-4000-8000-00000000a11c"
		if i%2 == 1 {
			user, oid = bob, "aaaaaaaa-1111-4000-8000-000000000b0b"
		}
		wg.Go(func() {
			login, err := f.Begin(t.Context(), authcode.Request{})
			if err != nil {
				t.Error(err)
				return
			}
			u, err := e.SignIn(t.Context(), login.URL(), user)
			if err != nil {
				t.Error(err)
				return
			}
			signIn, err := f.Exchange(t.Context(), login, u.Query())
			if err != nil {
				t.Error(err)
				return
			}
			tok, err := signIn.Source.TokenContext(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if got := claimsOf(t, tok.AccessToken)["oid"]; got != oid || signIn.Account.ObjectID != oid {
				t.Errorf("%s got a token of %v as %v", user, got, signIn.Account)
			}
		})
	}
	wg.Wait()
	if n := shared.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions, want one for each user", n)
	}
}
