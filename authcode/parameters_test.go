package authcode_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// authorizeQuery returns the parameters of the login's authorization request.
func authorizeQuery(t testing.TB, l *authcode.Login) url.Values {
	t.Helper()
	u, err := url.Parse(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// Config.Parameters go to the authorize endpoint. Request.Parameters replace or remove them
// (AzureAD/microsoft-authentication-library-for-android#1422).
func TestExtraAuthorizeParameters(t *testing.T) {
	configured := map[string]string{"mkt": "de-DE", "domain_hint": "contoso.com", "login_hint": "app", "x-Campaign": "a b&c"}
	flow := newEstate().flow(t, func(c *authcode.Config) { c.Parameters = configured })
	plain := authorizeQuery(t, begin(t, newEstate().flow(t), authcode.Request{}))
	configured["mkt"] = "changed later"
	for _, test := range []struct {
		name    string
		request authcode.Request
		want    map[string]string
	}{
		{"of the Config", authcode.Request{},
			map[string]string{"mkt": "de-DE", "domain_hint": "contoso.com", "login_hint": "app", "x-Campaign": "a b&c"}},
		{"replaced, removed and added",
			authcode.Request{Parameters: map[string]string{"MKT": "fr", "domain_hint": "", "ui_locales": "fr de", "login_hint": "x"}},
			map[string]string{"MKT": "fr", "ui_locales": "fr de", "login_hint": "x", "x-Campaign": "a b&c"}},
		{"fields of the Request",
			authcode.Request{Parameters: map[string]string{"Login_Hint": "x"}, LoginHint: alice, DomainHint: "b.example", Prompt: "create"},
			map[string]string{"mkt": "de-DE", "domain_hint": "b.example", "login_hint": alice, "prompt": "create", "x-Campaign": "a b&c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := maps.Clone(test.want)
			for _, name := range []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "code_challenge_method"} {
				want[name] = plain.Get(name)
			}
			expectParameters(t, authorizeQuery(t, begin(t, flow, test.request)), want, "state", "nonce", "code_challenge")
		})
	}
}

// No parameter of the flow can be overridden, in any case of letters.
func TestParametersOfTheFlowCannotBeOverridden(t *testing.T) {
	e := newEstate()
	client, flow := testkit.Client(t, e.clientConfig()), e.flow(t)
	type params = map[string]string
	for _, test := range []struct {
		params params
		want   string // after the name of the field
	}{
		{params{"a": "", "client_id": "x"}, " contains client_id, which the flow sets itself"},
		{params{"redirect_uri": "https://evil.example/"}, " contains redirect_uri, which the flow sets itself"},
		{params{"Redirect_URI": "https://evil.example/"}, " contains redirect_uri, which the flow sets itself"},
		{params{"response_type": "token"}, " contains response_type, which the flow sets itself"},
		{params{"response_mode": "fragment"}, " contains response_mode, which the flow sets itself"},
		{params{"scope": "x"}, " contains scope, which the flow sets itself"},
		{params{"STATE": "x"}, " contains state, which the flow sets itself"},
		{params{"nonce": "x"}, " contains nonce, which the flow sets itself"},
		{params{"nonce": ""}, " contains nonce, which the flow sets itself"},
		{params{"code_challenge": "x"}, " contains code_challenge, which the flow sets itself"},
		{params{"code_challenge_method": "plain"}, " contains code_challenge_method, which the flow sets itself"},
		{params{"claims": "{}"}, " contains claims, which the flow sets itself"},
		{params{"prompt": "none"}, " contains prompt, which the flow sets itself"},
		{params{"request": "x"}, " contains request, which the flow sets itself"},
		{params{"request_uri": "x"}, " contains request_uri, which the flow sets itself"},
		{params{"registration": "x"}, " contains registration, which the flow sets itself"},
		{params{"resource": "x"}, " contains resource, which the flow sets itself"},
		{params{"client_secret": "x"}, " contains client_secret, which the flow sets itself"},
		{params{"mkt": "de", "MKT": "fr"}, " contains mkt twice"},
		{params{"": "x"}, ` has the name ""; names must be in printable ASCII without spaces`},
		{params{"state ": "x"}, ` has the name "state "; names must be in printable ASCII without spaces`},
		{params{"\u017ftate": "x"}, " has the name \"\u017ftate\"; names must be in printable ASCII without spaces"},
		{params{"max_age": "-1"}, ": max_age must be a number of seconds, up to ten years"},
		{params{"Max_Age": "1h"}, ": max_age must be a number of seconds, up to ten years"},
		{params{"max_age": "315360001"}, ": max_age must be a number of seconds, up to ten years"},
		{params{"max_age": "315360000", "id_token_hint": "x"}, ""},
		{params{"max_age": ""}, ""},
	} {
		_, newErr := authcode.New(client, authcode.Config{RedirectURL: redirect, Parameters: test.params})
		_, beginErr := flow.Begin(t.Context(), authcode.Request{Parameters: test.params})
		for field, err := range map[string]error{"Config.Parameters": newErr, "Request.Parameters": beginErr} {
			if test.want == "" {
				if err != nil {
					t.Errorf("%q: got %v, want no error", test.params, err)
				}
				continue
			}
			if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != field+test.want {
				t.Errorf("%q: got %v, want %s%s", test.params, err, field, test.want)
			}
		}
	}
}

// With max_age, the time at which the user authenticated is checked, because the browser can remove the parameter
// (OpenID Connect Core, sections 3.1.2.1 and 3.1.3.7; AzureAD/microsoft-authentication-library-for-python#381).
func TestMaxAgeIsChecked(t *testing.T) {
	for _, test := range []struct {
		name   string
		maxAge string
		age    time.Duration // of the authentication when the sign-in begins; negative for later
		wait   time.Duration // of the user at Entra
		claim  any           // replaces auth_time
		ok     bool
	}{
		{"authenticated during the sign-in", "0", -time.Second, time.Second, nil, true},
		{"long consent", "0", -time.Second, 14 * time.Minute, nil, true},
		{"recent enough", "3600", time.Hour, 0, nil, true},
		{"within the tolerance for clocks", "3600", time.Hour + time.Minute, 0, nil, true},
		{"too old", "3600", time.Hour + time.Minute + time.Second, 0, nil, false},
		{"not again", "0", time.Hour, 0, nil, false},
		{"not a number", "3600", 0, 0, "now", false},
		{"no auth_time", "3600", 0, 0, false, false},
		{"no max_age", "", 1000 * time.Hour, 0, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEstate()
				client := testkit.Client(t, e.clientConfig())
				flow := newFlow(t, client)
				login := begin(t, flow, authcode.Request{Parameters: map[string]string{"max_age": test.maxAge}})
				claims := map[string]any{"auth_time": time.Now().Add(-test.age).Unix()}
				if test.claim != nil {
					claims["auth_time"] = test.claim
				}
				if test.claim == false {
					claims = nil
				}
				e.ChangeResponses(func(_ url.Values, body map[string]any) {
					body["id_token"] = e.Mint(entratest.MintOptions{
						IDToken: true, Resource: "webapp", User: alice, Nonce: unmarshal(t, login).Nonce, Claims: claims,
					})
				})
				time.Sleep(test.wait)
				q := e.callback(t, login, alice)
				again := new(authcode.Login)
				b, err := json.Marshal(login)
				if err == nil {
					err = json.Unmarshal(b, again)
				}
				if err != nil {
					t.Fatal(err)
				}
				_, err = flow.Exchange(t.Context(), again, q)
				if test.ok && err != nil || !test.ok && !errors.Is(err, authcode.ErrMaxAge) {
					t.Errorf("got %v, want success: %t", err, test.ok)
				}
				if n := client.Cache().Stats().Sessions; !test.ok && n != 0 {
					t.Errorf("got tokens of %d sessions, want none", n)
				}
			})
		})
	}
}
