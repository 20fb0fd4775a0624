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
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

func TestSignIn(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{ReturnTo: "/orders"})
	restored := change(t, login, func(*stored) {}) // as an app stores it
	params := e.callback(t, login, alice)
	signIn, err := f.Exchange(t.Context(), restored, params)
	if err != nil {
		t.Fatal(err)
	}
	sent := e.Posts()
	if len(sent) != 1 {
		t.Fatalf("got %d token requests, want 1", len(sent))
	}
	if want := "https://login.microsoftonline.com/" + entratest.SampleTenant +
		"/oauth2/v2.0/token"; sent[0].URL != want {
		t.Errorf("got a request to %s, want %s", sent[0].URL, want)
	}
	expectParameters(t, sent[0].Form, map[string]string{
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
		t.Errorf("got account %+v %q %q, want %+v", signIn.Account, signIn.Account.Username, signIn.Account.Name, want)
	}
	if signIn.ReturnTo != "/orders" || signIn.Claims.ObjectID != want.ObjectID ||
		signIn.Claims.Nonce != unmarshal(t, login).Nonce {
		t.Errorf("got ReturnTo %q and claims %v, want /orders and the claims of the account and the nonce",
			signIn.ReturnTo, signIn.Claims)
	}
	for name, source := range map[string]*entra.TokenSource{
		"SignIn.Source":          signIn.Source,
		"TokenSource":            f.TokenSource(want),
		"TokenSource with scope": f.TokenSource(want, scopeA),
	} {
		claims := testkit.Claims(t, token(t, source))
		if claims["scp"] != "access_as_user" || claims["oid"] != want.ObjectID || claims["azp"] != webapp {
			t.Errorf("%s: got a token with oid %v, azp %v, scp %v", name, claims["oid"], claims["azp"], claims["scp"])
		}
	}
	tok, err := signIn.Source.Token()
	if err != nil || tok.RefreshToken != "" {
		t.Errorf("got a token with a refresh token, or %v", err)
	}
	if n := e.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1, since the token is cached", n)
	}
}

// A sign-in without an API requests only OpenID Connect scopes.
func TestSignInWithoutScopes(t *testing.T) {
	e := newEstate()
	f := e.flow(t, func(c *authcode.Config) { c.Scopes = nil })
	signIn := e.signIn(t, f, bob, authcode.Request{})
	if got := e.last(t).Get("scope"); got != "openid offline_access profile" {
		t.Errorf("got scope %q at the token endpoint", got)
	}
	u, err := url.Parse(begin(t, f, authcode.Request{}).URL())
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("scope"); got != "openid profile offline_access" {
		t.Errorf("got scope %q at the authorization endpoint", got)
	}
	for _, s := range []*entra.TokenSource{signIn.Source, f.TokenSource(signIn.Account),
		f.TokenSource(signIn.Account, "openid")} {
		token(t, s)
	}
	if n := e.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
	if signIn.Account.Name != "Bob Brown" {
		t.Errorf("got %q, want Bob Brown", signIn.Account.Name)
	}
}

func TestAssertionCredentialSignsIn(t *testing.T) {
	e := newEstate()
	cfg := e.clientConfig()
	cfg.Credential = entra.Assertion(func(context.Context, entra.AssertionRequest) (string,
		error) {
		return "not.an.assertion", nil
	})
	f := newFlow(t, testkit.Client(t, cfg))
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	if got := testkit.Error(t, err); got.Code != "invalid_client" {
		t.Errorf("got %v, want invalid_client", err)
	}
	form := e.last(t)
	if form.Get("client_assertion") != "not.an.assertion" || form.Has("client_secret") {
		t.Error("the request does not authenticate with the assertion")
	}
}

// expectEmptyCache fails the test if the client's cache has a session.
func expectEmptyCache(t *testing.T, c *entra.Client) {
	t.Helper()
	if n := c.Cache().Stats().Sessions; n != 0 {
		t.Errorf("got %d sessions in the cache, want 0", n)
	}
}

// Each check of Exchange rejects a response that violates it, and nothing is cached.
func TestExchangeRejectsInvalidResponses(t *testing.T) {
	const state = "state"
	for _, test := range []struct {
		name   string
		login  func(*stored)
		params func(url.Values)
		mint   *entratest.MintOptions // mints another ID token; an empty Nonce means the login's
		tamper func(map[string]any)
		want   error
		sent   int // expected token requests
	}{
		{name: "no state in the login", login: func(s *stored) { s.State = "" }, want: authcode.ErrNoLogin},
		{name: "no state in login and response", login: func(s *stored) { s.State = "" },
			params: func(q url.Values) { q.Del(state) }, want: authcode.ErrNoLogin},
		{name: "no nonce in the login", login: func(s *stored) { s.Nonce = "" }, want: authcode.ErrNoLogin},
		{name: "no verifier in the login", login: func(s *stored) { s.Verifier = "" }, want: authcode.ErrNoLogin},
		{name: "invalid ReturnTo in the login", login: func(s *stored) { s.ReturnTo = "//evil.example" },
			want: authcode.ErrNoLogin},
		{name: "login of another tenant", login: func(s *stored) {
			s.Authority = "https://login.microsoftonline.com/" + entratest.SampleOtherTenant
		}, want: authcode.ErrNoLogin},
		{name: "login of another cloud",
			login: func(s *stored) {
				s.Authority = "https://login.microsoftonline.us/" +
					entratest.SampleTenant
			}, want: authcode.ErrNoLogin},
		{name: "login of another app", login: func(s *stored) { s.ClientID = "aaaaaaaa-0000-4000-8000-00000000000a" },
			want: authcode.ErrNoLogin},
		{name: "login of another redirect URL", login: func(s *stored) { s.RedirectURL += "2" },
			want: authcode.ErrNoLogin},
		{name: "login without a flow", login: func(s *stored) { s.Authority, s.ClientID, s.RedirectURL = "", "", "" },
			want: authcode.ErrNoLogin},
		{name: "login that expires too late",
			login: func(s *stored) { s.Expires = s.Expires.Add(time.Minute + time.Second) }, want: authcode.ErrNoLogin},
		{name: "expired", login: func(s *stored) { s.Expires = time.Now() }, want: authcode.ErrExpired},
		{name: "expired, and another state", login: func(s *stored) { s.Expires = time.Now() },
			params: func(q url.Values) { q.Set(state, "x") }, want: authcode.ErrExpired},
		{name: "another state", params: func(q url.Values) { q.Set(state, otherState) }, want: authcode.ErrState},
		{name: "state missing", params: func(q url.Values) { q.Del(state) }, want: authcode.ErrState},
		{name: "state empty", params: func(q url.Values) { q.Set(state, "") }, want: authcode.ErrState},
		{name: "state shortened", params: func(q url.Values) { q.Set(state, q.Get(state)[:42]) },
			want: authcode.ErrState},
		{name: "state twice", params: func(q url.Values) { q.Add(state, q.Get(state)) }, want: authcode.ErrParameters},
		{name: "code twice", params: func(q url.Values) { q.Add("code", "x") }, want: authcode.ErrParameters},
		{name: "error twice", params: func(q url.Values) { q["error"] = []string{"", "x"} },
			want: authcode.ErrParameters},
		{name: "unknown parameter twice", params: func(q url.Values) { q["x"] = []string{"1", "1"} },
			want: authcode.ErrParameters},
		{name: "another issuer", params: func(q url.Values) { q.Set("iss", "https://evil.example/") },
			want: authcode.ErrParameters},
		{name: "another cloud's issuer", params: func(q url.Values) {
			q.Set("iss", "https://login.microsoftonline.us/"+entratest.SampleTenant+"/v2.0")
		}, want: authcode.ErrParameters},
		{name: "another tenant's issuer", params: func(q url.Values) {
			q.Set("iss", "https://login.microsoftonline.com/"+entratest.SampleOtherTenant+"/v2.0")
		}, want: authcode.ErrParameters},
		{name: "issuer without a tenant",
			params: func(q url.Values) {
				q.Set("iss",
					"https://login.microsoftonline.com/evil.example/x/v2.0")
			}, want: authcode.ErrParameters},
		{name: "issuer without v2.0",
			params: func(q url.Values) {
				q.Set("iss",
					"https://login.microsoftonline.com/"+entratest.SampleTenant)
			}, want: authcode.ErrParameters},
		{name: "issuer empty", params: func(q url.Values) { q.Set("iss", "") }, want: authcode.ErrParameters},
		{name: "code missing", params: func(q url.Values) { q.Del("code") }, want: authcode.ErrParameters},
		{name: "code empty", params: func(q url.Values) { q.Set("code", "") }, want: authcode.ErrParameters},
		{name: "no parameters", params: func(q url.Values) { clear(q) }, want: authcode.ErrState},

		{name: "another nonce", login: func(s *stored) { s.Nonce = "another" },
			want: &verify.Error{Reason: verify.ReasonBadNonce}, sent: 1},
		{name: "ID token of another sign-in", mint: &entratest.MintOptions{Nonce: "another"},
			want: &verify.Error{Reason: verify.ReasonBadNonce}, sent: 1},
		{name: "ID token without nonce", mint: &entratest.MintOptions{Claims: map[string]any{"nonce": nil}},
			want: &verify.Error{Reason: verify.ReasonBadNonce}, sent: 1},
		{name: "ID token of another issuer",
			mint: &entratest.MintOptions{Claims: map[string]any{"iss": "https://evil.example/" +
				entratest.SampleTenant + "/v2.0"}}, want: &verify.Error{Reason: verify.ReasonBadIssuer}, sent: 1},
		{name: "ID token with another tenant's issuer",
			mint: &entratest.MintOptions{Claims: map[string]any{"iss": "https://login.microsoftonline.com/" +
				entratest.SampleOtherTenant + "/v2.0"}}, want: &verify.Error{Reason: verify.ReasonTenantMismatch}, sent: 1},
		{name: "ID token of another tenant",
			mint: &entratest.MintOptions{Tenant: entratest.SampleOtherTenant,
				User: carol}, want: &verify.Error{Reason: verify.ReasonTenantNotAllowed}, sent: 1},
		{name: "ID token for another audience", mint: &entratest.MintOptions{Resource: "api-a"},
			want: &verify.Error{Reason: verify.ReasonBadAudience}, sent: 1},
		{name: "expired ID token", mint: &entratest.MintOptions{Lifetime: -2 * time.Minute},
			want: &verify.Error{Reason: verify.ReasonExpired}, sent: 1},
		{name: "ID token not valid yet",
			mint: &entratest.MintOptions{Claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}},
			want: &verify.Error{Reason: verify.ReasonNotYetValid}, sent: 1},
		{name: "ID token signed with another key", mint: &entratest.MintOptions{UnpublishedKey: true},
			want: &verify.Error{Reason: verify.ReasonBadSignature}, sent: 1},
		{name: "unsigned ID token", mint: &entratest.MintOptions{Header: map[string]any{"alg": "none"}},
			want: &verify.Error{Reason: verify.ReasonMalformed}, sent: 1},
		{name: "ID token signed with the public key",
			mint: &entratest.MintOptions{Header: map[string]any{"alg": "HS256"}},
			want: &verify.Error{Reason: verify.ReasonBadAlgorithm}, sent: 1},
		{name: "ID token without oid", mint: &entratest.MintOptions{Claims: map[string]any{"oid": nil}},
			want: authcode.ErrAccount, sent: 1},
		{name: "ID token of another user", mint: &entratest.MintOptions{User: bob}, want: authcode.ErrAccount, sent: 1},
		{name: "access token as ID token", tamper: func(a map[string]any) { a["id_token"] = a["access_token"] },
			want: &verify.Error{Reason: verify.ReasonBadAudience}, sent: 1},
		{name: "another user's client_info", tamper: func(a map[string]any) {
			a["client_info"] = base64JSON(`{"uid":"aaaaaaaa-1111-4000-8000-000000000b0b","utid":"` +
				entratest.SampleTenant + `"}`)
		}, want: authcode.ErrAccount, sent: 1},
		{name: "no client_info", tamper: func(a map[string]any) { delete(a, "client_info") }, want: authcode.ErrAccount,
			sent: 1},
		{name: "malformed client_info",
			tamper: func(a map[string]any) { a["client_info"] = base64JSON(`{"uid":"a.b","utid":"c"}`) },
			want:   authcode.ErrAccount, sent: 1},
		{name: "client_info without an object ID", tamper: func(a map[string]any) {
			a["client_info"] = base64JSON(`{"uid":"x y\u0000","utid":"` + entratest.SampleOtherTenant + `"}`)
		}, want: authcode.ErrAccount, sent: 1},
		{name: "client_info without a tenant ID", tamper: func(a map[string]any) {
			a["client_info"] = base64JSON(`{"uid":"aaaaaaaa-1111-4000-8000-000000000b0b","utid":"contoso"}`)
		}, want: authcode.ErrAccount, sent: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate()
			c := testkit.Client(t, e.clientConfig())
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
				e.ChangeResponses(func(_ url.Values, a map[string]any) { test.tamper(a) })
			}
			signIn, err := f.Exchange(t.Context(), login, params)
			if !errors.Is(err, test.want) || signIn != nil {
				t.Fatalf("got %v and %v, want %v", signIn, err, test.want)
			}
			if n := len(e.Posts()); n != test.sent {
				t.Errorf("got %d token requests, want %d", n, test.sent)
			}
			expectEmptyCache(t, c)
		})
	}
}

const otherState = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // as long as a state

// Errors of the token endpoint are returned.
func TestExchangeReturnsErrorsOfEntra(t *testing.T) {
	for _, test := range []struct {
		name   string
		login  func(*stored)
		params func(url.Values)
		code   string
		aadsts int
	}{
		{"another verifier", func(s *stored) { s.Verifier = strings.Repeat("v", 43) }, nil, "invalid_grant", 501481},
		{"unknown code", nil, func(q url.Values) { q.Set("code", "made-up") }, "invalid_grant", 9002313},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate()
			c := testkit.Client(t, e.clientConfig())
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
			got := testkit.Error(t, err)
			if got.Code != test.code || !slices.Equal(got.AADSTS, []int{test.aadsts}) ||
				got.StatusCode != http.StatusBadRequest {
				t.Errorf("got %v, %v, status %d, want %s, %d, status 400", got, got.AADSTS, got.StatusCode, test.code,
					test.aadsts)
			}
			expectEmptyCache(t, c)
		})
	}
}

// A flow rejects the login of another flow, so that its code and verifier reach no other
// authority. The login stays valid for its own flow.
func TestExchangeRejectsLoginOfAnotherFlow(t *testing.T) {
	e := newEstate()
	c := testkit.Client(t, e.clientConfig())
	home := newFlow(t, c)
	app := e.clientConfig()
	app.ClientID, app.Credential = "aaaaaaaa-0000-4000-8000-00000000000a", entra.Secret("api-a-secret")
	government := e.clientConfig()
	government.Cloud = "login.microsoftonline.us"
	login := begin(t, home, authcode.Request{})
	params := e.callback(t, login, alice)
	for name, f := range map[string]*authcode.Flow{
		"tenant":       newFlow(t, must(c.WithTenant(entratest.SampleOtherTenant))),
		"app":          newFlow(t, testkit.Client(t, app)),
		"cloud":        newFlow(t, testkit.Client(t, government)),
		"redirect URL": newFlow(t, c, func(c *authcode.Config) { c.RedirectURL = "http://localhost:8080/other" }),
	} {
		if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, authcode.ErrNoLogin) {
			t.Errorf("another %s: got %v, want ErrNoLogin", name, err)
		}
	}
	if n := len(e.Posts()); n != 0 {
		t.Errorf("got %d token requests, want 0", n)
	}
	if _, err := e.flow(t).Exchange(t.Context(), login, params); err != nil {
		t.Errorf("another instance of its own flow: %v", err)
	}
}

// A response of another issuer (RFC 9207) is rejected and does not use the login. A response of
// the cloud's issuer is accepted.
func TestExchangeChecksIssuerParameter(t *testing.T) {
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

// A login is valid in other processes even if the clock of its own is up to a minute ahead.
func TestLoginFromProcessWithFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		f := e.flow(t)
		for ahead, want := range map[time.Duration]error{
			30 * time.Second:              nil,
			time.Minute:                   nil,
			time.Minute + time.Nanosecond: authcode.ErrNoLogin,
		} {
			login := begin(t, f, authcode.Request{})
			params := e.callback(t, login, alice)
			login = change(t, login, func(s *stored) { s.Expires = s.Expires.Add(ahead) })
			if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, want) {
				t.Errorf("%v ahead: got %v, want %v", ahead, err, want)
			}
		}
	})
}

// The case of client_info does not change the cache key of the account.
func TestHomeAccountIDIsLowerCase(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	e.ChangeResponses(func(_ url.Values, a map[string]any) {
		a["client_info"] = base64JSON(`{"uid":"AAAAAAAA-1111-4000-8000-00000000A11C","utid":"` +
			entratest.SampleTenant + `"}`)
	})
	signIn := e.signIn(t, f, alice, authcode.Request{})
	if got := signIn.Account.HomeAccountID; got != "aaaaaaaa-1111-4000-8000-00000000a11c."+entratest.SampleTenant {
		t.Errorf("got home account ID %s, want lower case", got)
	}
	signIn.Source.Invalidate(must(signIn.Source.Token()))
	token(t, signIn.Source)
}

// A token response without an ID token is rejected.
func TestExchangeRequiresIDToken(t *testing.T) {
	e := newEstate()
	c := testkit.Client(t, e.clientConfig())
	f := newFlow(t, c)
	e.ChangeResponses(func(_ url.Values, a map[string]any) { delete(a, "id_token") })
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	if got := testkit.Error(t, err); got.Code != entra.CodeInvalidResponse {
		t.Errorf("got %v, want %s", err, entra.CodeInvalidResponse)
	}
	expectEmptyCache(t, c)
}

func TestExchangeWithoutLogin(t *testing.T) {
	f := newEstate().flow(t)
	for _, login := range []*authcode.Login{nil, {}, new(authcode.Login)} {
		if _, err := f.Exchange(t.Context(), login, url.Values{"code": {"x"}, "state": {""}}); !errors.Is(err,
			authcode.ErrNoLogin) {
			t.Errorf("got %v, want ErrNoLogin", err)
		}
	}
}

// Of many concurrent callbacks for one login, one succeeds.
func TestLoginIsUsedOnce(t *testing.T) {
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
			t.Errorf("got %d sign-ins and %d token requests, want 1 and 1", succeeded, e.TokenRequests())
		}
		if _, err := f.Exchange(t.Context(), login, params); !errors.Is(err, authcode.ErrUsed) {
			t.Errorf("got %v, want ErrUsed", err)
		}
	})
}

// A response with a wrong state does not use the login. An error response does.
func TestOnlyMatchingStateUsesTheLogin(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{})
	params := e.callback(t, login, alice)
	if _, err := f.Exchange(t.Context(), login,
		url.Values{"state": {"forged"}, "error": {"access_denied"}}); !errors.Is(err, authcode.ErrState) {
		t.Fatalf("got %v, want ErrState", err)
	}
	if _, err := f.Exchange(t.Context(), login, params); err != nil {
		t.Fatalf("got %v, want success after the forged response", err)
	}
	login = begin(t, f, authcode.Request{})
	params = e.callback(t, login, alice)
	_, err := f.Exchange(t.Context(), login, url.Values{"state": {login.State()}, "error": {"access_denied"}})
	if got := testkit.Error(t, err); got.Code != "access_denied" {
		t.Fatalf("got %v, want access_denied", err)
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
			t.Errorf("one second before the expiry: %v", err)
		}
		params := e.callback(t, late, alice)
		time.Sleep(time.Second)
		if _, err := f.Exchange(t.Context(), late, params); !errors.Is(err, authcode.ErrExpired) {
			t.Errorf("at the expiry: got %v, want ErrExpired", err)
		}
		if _, err := f.Exchange(t.Context(), early, params); !errors.Is(err, authcode.ErrExpired) {
			t.Errorf("a used login at its expiry: got %v, want ErrExpired", err)
		}
	})
}

// Logins in two tabs complete in either order, each only with its own response.
func TestLoginsInTwoTabs(t *testing.T) {
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
			t.Errorf("got ReturnTo %s, want %s", signIn.ReturnTo, tab.want)
		}
	}
}

// PKCE binds a code to its login, so a code injected into another login is rejected.
func TestInjectedCodeIsRejected(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	mine, theirs := begin(t, f, authcode.Request{}), begin(t, f, authcode.Request{})
	params := e.callback(t, theirs, bob)
	params.Set("state", mine.State())
	_, err := f.Exchange(t.Context(), mine, params)
	if got := testkit.Error(t, err); got.Code != "invalid_grant" || !got.Has(501481) {
		t.Errorf("got %v, want invalid_grant with AADSTS501481", err)
	}
}

// Errors of the authorization endpoint become an *entra.Error.
func TestErrorResponses(t *testing.T) {
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
		got := testkit.Error(t, err)
		if got.Code != "login_required" || !slices.Equal(got.AADSTS, []int{50058}) || !got.InteractionRequired() ||
			got.StatusCode != 0 {
			t.Errorf("got %v %v, want login_required with AADSTS50058", got, got.AADSTS)
		}
		journal := e.Requests()
		if last := journal[len(journal)-1]; last.AADSTS != 50058 {
			t.Errorf("got AADSTS%d in the fake's journal, want AADSTS50058", last.AADSTS)
		}
		if len(got.TraceID) != 36 || len(got.CorrelationID) != 36 || got.TraceID == got.CorrelationID {
			t.Errorf("got trace ID %q and correlation ID %q, want two different GUIDs", got.TraceID, got.CorrelationID)
		}
	})
	for _, test := range []struct {
		name     string
		in       url.Values
		want     entra.Error
		text     string // of the error; not compared if empty
		interact bool
	}{
		{
			"access_denied",
			url.Values{"error": {"access_denied"}, "error_subcode": {"cancel"},
				"error_description": {"AADSTS65004: User declined to consent to access the app.\r\n" +
					"Trace ID: 0e8b6f3c-1111-4222-8333-444455556666\r\n" +
					"Correlation ID: 77777777-1111-4222-8333-444455556666\r\nTimestamp: 2026-01-02 03:04:05Z"}},
			entra.Error{
				Code: "access_denied", SubError: "cancel", AADSTS: []int{65004},
				TraceID: "0e8b6f3c-1111-4222-8333-444455556666", CorrelationID: "77777777-1111-4222-8333-444455556666",
			},
			"entra: access_denied (cancel): AADSTS65004: User declined to consent to access the app. " +
				"Trace ID: 0e8b6f3c-1111-4222-8333-444455556666 " +
				"Correlation ID: 77777777-1111-4222-8333-444455556666 Timestamp: 2026-01-02 03:04:05Z",
			false,
		},
		{
			"two suberrors", url.Values{"error": {"x"}, "error_subcode": {"cancel"}, "suberror": {"basic_action"}},
			entra.Error{Code: "x", SubError: "basic_action"}, "entra: x (basic_action)", false,
		},
		{
			"secrets in pieces",
			url.Values{"error": {"SPLIT"}, "error_description": {"the state SPLIT"}, "suberror": {"0.AXk\x00AcEd\r"},
				"code": {"0.AXkAcEd"}},
			entra.Error{Code: "[redacted]",
				SubError: "[redacted]"}, "entra: [redacted] ([redacted]): the state [redacted]", false,
		},
		{
			"a short code", url.Values{"error": {"server_error"}, "error_description": {"code=0.AXkAcEd&x=1"},
				"code": {"0.AXkAcEd"}},
			entra.Error{Code: "server_error"}, "entra: server_error: code=[redacted]&x=1", false,
		},
		{
			"a code that is a word", url.Values{"error": {"server_error"}, "code": {"error"}},
			entra.Error{Code: "server_error"}, "entra: server_error", false,
		},
		{
			"consent_required",
			url.Values{"error": {"consent_required"}, "suberror": {"consent_required"},
				"error_description": {"AADSTS65001: not consented"}},
			entra.Error{Code: "consent_required", SubError: "consent_required", AADSTS: []int{65001}},
			"entra: consent_required (consent_required): AADSTS65001: not consented", true,
		},
		{
			"interaction_required with claims",
			url.Values{"error": {"interaction_required"}, "error_description": {"AADSTS50076: multi-factor"},
				"claims": {`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`}},
			entra.Error{Code: "interaction_required", AADSTS: []int{50076},
				Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`},
			"entra: interaction_required: AADSTS50076: multi-factor", true,
		},
		{
			"error and code", url.Values{"error": {"server_error"}, "code": {"x"}, "claims": {"nonsense"}},
			entra.Error{Code: "server_error"}, "entra: server_error", false,
		},
		{
			"temporarily_unavailable", url.Values{"error": {"temporarily_unavailable"},
				"error_description": {"AADSTS: later"}},
			entra.Error{Code: "temporarily_unavailable"}, "entra: temporarily_unavailable: AADSTS: later", false,
		},
		{
			"junk",
			url.Values{"error": {"a\r\nSet-Cookie: x\x00" + strings.Repeat("e ", 200)},
				"error_description": {"\x1b[31m" + strings.Repeat("x ", 5000)}, "claims": {"null"}},
			entra.Error{Code: "a Set-Cookie: x " + strings.Repeat("e ", 42) + "..."},
			"", false,
		},
		{
			"secrets",
			url.Values{"error": {"x"},
				"error_description": {"eyJhbGciOiJSUzI1NiJ9.e30.c2ln and " + strings.Repeat("1.AXkA", 20) +
					" and STATE and NONCE"}},
			entra.Error{Code: "x"}, "entra: x: [redacted] and [redacted] and [redacted] and [redacted]", false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			login := begin(t, f, authcode.Request{})
			test.in.Set("state", login.State())
			s := unmarshal(t, login)
			for _, values := range test.in {
				values[0] = strings.NewReplacer("STATE", s.State, "NONCE", s.Nonce, "SPLIT",
					s.State[:20]+"\r\x00\u00a0"+s.State[20:]).Replace(values[0])
			}
			before := len(e.Posts())
			_, err := f.Exchange(t.Context(), login, test.in)
			got := testkit.Error(t, err)
			if got.Code != test.want.Code || got.SubError != test.want.SubError ||
				!slices.Equal(got.AADSTS, test.want.AADSTS) || got.Claims != test.want.Claims ||
				got.TraceID != test.want.TraceID || got.CorrelationID != test.want.CorrelationID ||
				got.StatusCode != 0 || got.RetryAfter != 0 {
				t.Errorf("got %q %v %q, want %q %v %q", got, got.AADSTS, got.Claims, &test.want, test.want.AADSTS,
					test.want.Claims)
			}
			if test.text != "" && got.Error() != test.text {
				t.Errorf("got  %s\nwant %s", got, test.text)
			}
			if len(got.Error()) > 2300 || strings.ContainsAny(got.Error(), "\r\n\x00\x1b") {
				t.Errorf("got a text of %d bytes, want one line of at most 2300: %.200q", len(got.Error()), got)
			}
			if got.InteractionRequired() != test.interact {
				t.Errorf("got InteractionRequired %t, want %t", got.InteractionRequired(), test.interact)
			}
			if len(e.Posts()) != before {
				t.Error("got a token request, want none")
			}
		})
	}
}

// Entra rejects a code with a claims challenge, and a new login with that challenge succeeds.
func TestStepUp(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	remove := e.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: "interaction_required", AADSTS: 50076,
		SubError: "basic_action", Claims: claims, Times: 1})
	defer remove()
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	got := testkit.Error(t, err)
	if got.Code != "interaction_required" || got.Claims != claims || !got.Has(50076) || !got.InteractionRequired() {
		t.Fatalf("got %v with claims %q, want interaction_required with the challenge", err, got.Claims)
	}
	signIn := e.signIn(t, f, alice, authcode.Request{Claims: got.Claims})
	if acrs := fmt.Sprint(testkit.Claims(t, token(t, signIn.Source))["acrs"]); acrs != "[c1]" {
		t.Errorf("got acrs %s, want [c1]", acrs)
	}
}

// Exchange returns when its context ends, and nothing is cached.
func TestExchangeHonorsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Minute})
		c := testkit.Client(t, e.clientConfig())
		f := newFlow(t, c)
		login := begin(t, f, authcode.Request{})
		params := e.callback(t, login, alice)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := f.Exchange(ctx, login, params)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want DeadlineExceeded after 1s", err, time.Since(start))
		}
		expectEmptyCache(t, c)
	})
}

// If the signing keys are unavailable, the error is temporary and nothing is cached.
func TestExchangeWithoutSigningKeys(t *testing.T) {
	e := newEstate()
	e.Inject(entratest.Fault{Endpoint: "keys", Status: 503})
	c := testkit.Client(t, e.clientConfig())
	f := newFlow(t, c)
	login := begin(t, f, authcode.Request{})
	_, err := f.Exchange(t.Context(), login, e.callback(t, login, alice))
	var invalid *verify.Error
	if !errors.As(err, &invalid) || invalid.Reason != verify.ReasonKeysUnavailable || !invalid.Temporary() {
		t.Errorf("got %v, want a temporary verify.ReasonKeysUnavailable", err)
	}
	expectEmptyCache(t, c)
}

// Concurrent sign-ins of two users do not mix their tokens.
func TestConcurrentSignIns(t *testing.T) {
	e := newEstate()
	shared := cache.New(cache.Options{})
	cfg := e.clientConfig()
	cfg.Cache = shared
	f := newFlow(t, testkit.Client(t, cfg))
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
			if got := testkit.Claims(t, tok.AccessToken)["oid"]; got != oid || signIn.Account.ObjectID != oid {
				t.Errorf("%s: got a token of %v for %v, want %s", user, got, signIn.Account, oid)
			}
		})
	}
	wg.Wait()
	if n := shared.Stats().Sessions; n != 2 {
		t.Errorf("got %d sessions, want 2", n)
	}
}

// An app with a custom signing key, as claims mapping may require, signs users in. Its key differs in
// each tenant (Widen/cloudfront-auth#85, VirtoCommerce/vc-platform#2142).
func TestCustomSigningKey(t *testing.T) {
	custom := func(c *entratest.Config) {
		for i := range c.Apps {
			c.Apps[i].CustomSigningKey = c.Apps[i].ClientID == webapp
		}
	}
	for _, test := range []struct {
		name    string
		change  func(*authcode.Config)
		users   []string
		want    error
		tenants []string // of the key documents
	}{
		{"own tenant", func(c *authcode.Config) { c.CustomSigningKey = true }, []string{alice}, nil,
			[]string{entratest.SampleTenant}},
		{"listed tenants", func(c *authcode.Config) {
			c.CustomSigningKey, c.Tenants = true, []string{entratest.SampleTenant, entratest.SampleOtherTenant}
		}, []string{alice, carol}, nil, []string{entratest.SampleTenant, entratest.SampleOtherTenant}},
		{"any organization", func(c *authcode.Config) {
			c.CustomSigningKey, c.Tenants = true, []string{verify.AnyOrganization}
		}, []string{alice, carol}, nil, []string{entratest.SampleTenant, entratest.SampleOtherTenant}},
		{"without the setting", func(*authcode.Config) {}, []string{alice},
			&verify.Error{Reason: verify.ReasonUnknownKey}, []string{entratest.SampleTenant}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate(custom)
			cfg := e.clientConfig()
			if len(test.users) > 1 {
				cfg.TenantID = "organizations"
			}
			flow := newFlow(t, testkit.Client(t, cfg), test.change)
			for _, user := range test.users {
				login := begin(t, flow, authcode.Request{})
				signIn, err := flow.Exchange(t.Context(), login, e.callback(t, login, user))
				if !errors.Is(err, test.want) {
					t.Fatalf("got error %v, want %v", err, test.want)
				}
				if err == nil && signIn.Claims.PreferredUsername != user {
					t.Errorf("got %v, want the claims of %s", signIn.Claims, user)
				}
				if err != nil && !strings.Contains(err.Error(), "Config.CustomSigningKey") {
					t.Errorf("got %q, want the setting", err)
				}
			}
			var tenants []string
			for _, r := range e.Requests() {
				if r.Endpoint != entratest.EndpointKeys {
					continue
				}
				tenants = append(tenants, r.Tenant)
				if got := r.Form.Get("appid"); (got == webapp) != (test.want == nil) {
					t.Errorf("got appid %q", got)
				}
			}
			if !slices.Equal(tenants, test.tenants) {
				t.Errorf("got keys of tenants %q, want %q", tenants, test.tenants)
			}
		})
	}
}

// A login can get the session that its browser has got since. The code is redeemed once.
func TestWithSession(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	first := e.signIn(t, f, alice, authcode.Request{Session: "desk"})
	login := begin(t, f, authcode.Request{Session: "tab", ReturnTo: "/orders"})
	params := e.callback(t, login, alice)
	_, err := f.Exchange(t.Context(), login.WithSession("two words"), params)
	if e := testkit.Error(t, err); e.Code != "invalid_request" ||
		e.Description != "the session of the Login must be at most 64 bytes of printable ASCII without spaces" {
		t.Errorf("got %v, want invalid_request", err)
	}
	second, err := f.Exchange(t.Context(), login.WithSession("desk"), params)
	if err != nil {
		t.Fatal(err)
	}
	if second.Account != first.Account || second.ReturnTo != "/orders" {
		t.Errorf("got %+v with %s, want the account %+v with /orders", second.Account, second.ReturnTo, first.Account)
	}
	if n := f.TokenSource(first.Account); token(t, n) != token(t, second.Source) {
		t.Error("got two tokens, want one")
	}
	for _, l := range []*authcode.Login{login, login.WithSession("other")} {
		if _, err := f.Exchange(t.Context(), l, params); !errors.Is(err, authcode.ErrUsed) {
			t.Errorf("got %v, want ErrUsed", err)
		}
	}
	var none *authcode.Login
	if _, err := f.Exchange(t.Context(), none.WithSession("desk"), params); !errors.Is(err, authcode.ErrNoLogin) {
		t.Errorf("got %v, want ErrNoLogin", err)
	}
}
