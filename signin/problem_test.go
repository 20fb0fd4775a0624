package signin_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

// failure is a failed callback.
type failure struct {
	kind   signin.Kind
	status int
	text   string // in the page
	level  string // of the log record

	// change modifies the callback before the browser sends it.
	change func(w *webApp, b *browser, callback url.Values)
}

func errorResponse(code, description string) func(*webApp, *browser, url.Values) {
	return func(_ *webApp, _ *browser, q url.Values) {
		q.Del("code")
		q.Set("error", code)
		q.Set("error_description", description)
	}
}

func idToken(change func(*entratest.MintOptions)) func(*webApp, *browser, url.Values) {
	return func(w *webApp, _ *browser, _ url.Values) {
		w.ChangeResponses(func(_ url.Values, body map[string]any) { w.remintIDToken(body, change) })
	}
}

func tokenEndpoint(status int, body string) func(*webApp, *browser, url.Values) {
	return func(w *webApp, _ *browser, _ url.Values) {
		w.Inject(entratest.Fault{Endpoint: "token", Status: status, Body: body})
	}
}

const codeUsed = `{"error":"invalid_grant","error_description":"AADSTS54005: used","error_codes":[54005]}`

// restarted replaces the callback with that of a sign-in that was started again, because the code of the first one was
// already redeemed.
func restarted(w *webApp, b *browser, q url.Values) {
	remove := w.Inject(entratest.Fault{Endpoint: "token", Status: 400, Body: codeUsed})
	a := b.callback(origin + "/callback?" + q.Encode())
	remove()
	u, err := url.Parse(b.signInAtEntra(a, alice))
	if err != nil {
		b.t.Fatal(err)
	}
	clear(q)
	maps.Copy(q, u.Query())
}

var failures = map[string]failure{
	"bad state": {kind: signin.KindStateMismatch, status: 400, text: "must be finished in the browser that started it",
		level:  "WARN",
		change: func(_ *webApp, _ *browser, q url.Values) { q.Set("state", q.Get("state")+"x") }},
	"cookies blocked": {kind: signin.KindNoCookies, status: 400, text: "Allow them", level: "INFO",
		change: func(_ *webApp, b *browser, _ url.Values) { b.deleteCookie(b.cookie("__Host-login-").Name) }},
	"no login": {kind: signin.KindNoLogin, status: 400, text: "started too long ago", level: "INFO",
		change: func(_ *webApp, b *browser, _ url.Values) {
			b.deleteCookie(b.cookie("__Host-login-").Name)
			b.setCookie(&http.Cookie{Name: "other", Value: "cookie"})
		}},
	"already finished": {kind: signin.KindUsed, status: 400, text: "a second time", level: "INFO",
		change: func(w *webApp, b *browser, q url.Values) {
			restarted(w, b, q)
			logins := b.cookies()
			b.callback(origin + "/callback?" + q.Encode())
			b.deleteCookie(b.cookie("__Host-session-").Name) // the first response did not arrive
			for _, c := range logins {
				b.setCookie(c)
			}
		}},
	"finished in another process": {kind: signin.KindUsed, status: 400, text: "a second time", level: "INFO",
		change: func(w *webApp, b *browser, q url.Values) {
			restarted(w, b, q)
			tokenEndpoint(400, codeUsed)(w, b, q)
		}},
	"expired code": {kind: signin.KindExpired, status: 400, text: "took too long", level: "INFO",
		change: tokenEndpoint(400, `{"error":"invalid_grant","error_description":"AADSTS70008: expired","error_codes":[70008]}`)},
	"nonce": {kind: signin.KindNonceMismatch, status: 400, text: "it was rejected", level: "WARN",
		change: idToken(func(o *entratest.MintOptions) { o.Nonce = "another" })},
	"clock behind": {kind: signin.KindClockSkew, status: 500, text: "clock", level: "ERROR",
		change: idToken(func(o *entratest.MintOptions) {
			later := time.Now().Add(time.Hour).Unix()
			o.Claims = map[string]any{"iat": later, "nbf": later, "exp": later + 3600}
		})},
	"clock ahead": {kind: signin.KindClockSkew, status: 500, text: "clock", level: "ERROR",
		change: idToken(func(o *entratest.MintOptions) { o.Lifetime = -time.Hour })},
	"clock of the assertion": {kind: signin.KindClockSkew, status: 500, text: "clock", level: "ERROR",
		change: tokenEndpoint(401, `{"error":"invalid_client","error_description":"AADSTS700024: times","error_codes":[700024]}`)},
	"forged": {kind: signin.KindInvalidIDToken, status: 502, text: "failed a check", level: "ERROR",
		change: idToken(func(o *entratest.MintOptions) { o.UnpublishedKey = true })},
	"for another app": {kind: signin.KindInvalidIDToken, status: 502, text: "failed a check", level: "ERROR",
		change: idToken(func(o *entratest.MintOptions) { o.Resource = "api-a" })},
	"of another user": {kind: signin.KindInvalidIDToken, status: 502, text: "failed a check", level: "ERROR",
		change: idToken(func(o *entratest.MintOptions) { o.User = bob })},
	"denied": {kind: signin.KindConsentDeclined, status: 403, text: "Nothing was changed", level: "INFO",
		change: errorResponse("access_denied",
			"AADSTS65004: The user declined. Trace ID: 0a1b2c3d-0000-0000-0000-000000000000 Correlation ID: 11111111-2222-3333-4444-555555555555")},
	"admin consent": {kind: signin.KindAdminConsent, status: 403, text: "/v2.0/adminconsent?client_id=" + webapp,
		level:  "WARN",
		change: errorResponse("access_denied", "AADSTS90094: The grant requires administrator permission.")},
	"admin consent by request": {kind: signin.KindAdminConsent, status: 403, text: "administrator of your organization",
		level:  "WARN",
		change: errorResponse("consent_required", "AADSTS90095: Admin consent is required.")},
	"blocked": {kind: signin.KindRejected, status: 403, text: "send the details", level: "WARN",
		change: errorResponse("interaction_required",
			"AADSTS53003: Access has been blocked by Conditional Access policies.")},
	"not assigned": {kind: signin.KindRejected, status: 403, text: "/login?prompt=select_account&", level: "WARN",
		change: errorResponse("access_denied",
			"AADSTS50105: The signed in user is not assigned to a role for the application.")},
	"canceled": {kind: signin.KindConsentDeclined, status: 403, text: "Nothing was changed", level: "INFO",
		change: errorResponse("access_denied", "the user canceled the authentication")},
	"misconfigured": {kind: signin.KindMisconfigured, status: 500, text: "not set up correctly", level: "ERROR",
		change: tokenEndpoint(401, `{"error":"invalid_client","error_description":"AADSTS7000222: The secret has expired","error_codes":[7000222]}`)},
	"Entra unavailable": {kind: signin.KindUnavailable, status: 503, text: "try again in a moment", level: "ERROR",
		change: tokenEndpoint(503, `{"error":"temporarily_unavailable"}`)},
	"keys unavailable": {kind: signin.KindUnavailable, status: 503, text: "try again in a moment", level: "ERROR",
		change: func(w *webApp, _ *browser, _ url.Values) { w.Inject(entratest.Fault{Endpoint: "keys", Status: 500}) }},
	"repeated parameter": {kind: signin.KindStateMismatch, status: 400,
		text: "must be finished in the browser that started it", level: "WARN",
		change: func(_ *webApp, _ *browser, q url.Values) { q.Add("code", "x") }},
	"no code": {kind: signin.KindStateMismatch, status: 400, text: "must be finished in the browser that started it",
		level:  "WARN",
		change: func(_ *webApp, _ *browser, q url.Values) { q.Del("code") }},
	"another issuer": {kind: signin.KindStateMismatch, status: 400,
		text: "must be finished in the browser that started it", level: "WARN",
		change: func(_ *webApp, _ *browser, q url.Values) { q.Set("iss", "https://evil.example/v2.0") }},
}

// Each failure has a page for the user and a log record for the operator. Neither contains a secret.
func TestFailuresHavePageAndLogRecord(t *testing.T) {
	for name, test := range failures {
		t.Run(name, func(t *testing.T) {
			w := newWebApp(t)
			b := w.browser(t)
			entered := b.get("/private/x?a=1&b=2")
			parameters := b.wantEntraQuery(entered)
			u, err := url.Parse(b.signInAtEntra(entered, alice))
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			login := b.cookie("__Host-login-").Value
			secrets := []string{q.Get("code"), q.Get("state"), parameters.Get("nonce"), login, "webapp-secret", "eyJ"}
			if test.change != nil {
				test.change(w, b, q)
			}
			before := w.log.String()
			a := b.get(origin + "/callback?" + q.Encode())
			b.wantStatus(a, test.status, "")
			if kinds := w.log.rejections(t); !slices.Equal(kinds, []string{string(test.kind)}) {
				t.Errorf("got rejections %v, want [%s]", kinds, test.kind)
			}
			page := html.UnescapeString(a.body)
			if !strings.Contains(page, test.text) || !strings.Contains(page, `href="/login`) || !strings.Contains(page, "<h1>") {
				t.Errorf("got page\n%s", page)
			}
			h := a.Header
			if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
				h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" ||
				h.Get("Referrer-Policy") != "no-referrer" || h.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("got headers %v", h)
			}
			if h.Get("WWW-Authenticate") != "" {
				t.Errorf("got WWW-Authenticate %q without status 401", h.Get("WWW-Authenticate"))
			}
			log := strings.TrimPrefix(w.log.String(), before)
			if !strings.Contains(log, `"level":"`+test.level+`"`) || !strings.Contains(log, `"error":`) {
				t.Errorf("got log record %s, want level %s and an error", log, test.level)
			}
			if advice := "https://login.microsoftonline.com/error?code=7000222"; strings.Contains(log,
				advice) != (name == "misconfigured") {
				t.Errorf("advice in the log: got %s", log)
			}
			for _, secret := range secrets {
				for where, text := range map[string]string{"the page": page, "the log": log, "a header": fmt.Sprint(h)} {
					if secret != "" && strings.Contains(text, secret) {
						t.Errorf("%s contains a secret", where)
					}
				}
			}
			if strings.Contains(log, "Alice") || strings.Contains(log, alice) {
				t.Errorf("the log contains the user's name: %s", log)
			}
			if b.wantUser(""); b.session() != "" {
				t.Error("got a session cookie, want none")
			}
			// A second response does not delete the cookies that the first one has set in the meantime.
			if c := b.cookie("__Host-login-"); c != nil && test.kind != signin.KindStateMismatch && test.kind != signin.KindUsed {
				t.Error("the login cookie was not deleted")
			}
			if test.kind == signin.KindUsed && len(a.Cookies()) != 0 {
				t.Errorf("got cookies %v, want none", a.Cookies())
			}
		})
	}
}

// A signed-in user who declines to consent to more stays signed in.
func TestDecliningConsentKeepsSession(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b := w.browser(t)
		b.signIn("/private/x", alice)
		path := "/call?scope=" + url.QueryEscape(scopeB)
		q := query(b.signInAtEntra(b.get(path), alice))
		failures["denied"].change(w, b, q)
		a := b.callback(origin + "/callback?" + q.Encode())
		b.wantStatus(a, http.StatusForbidden, "")
		if page := html.UnescapeString(a.body); !strings.Contains(page, "still signed in") ||
			!strings.Contains(page, `<a href="`+path+`">Try again</a>`) {
			t.Errorf("got page\n%s", page)
		}
		b.wantUser("Alice Adams")
		b.wantEntra(b.get(path))
	}
}

// The link for administrators names the scopes and the tenant of the user.
func TestAdminConsentLinkNamesScopesAndTenant(t *testing.T) {
	w := newWebApp(t, anyOrganization)
	b := w.browser(t)
	b.signIn("/private/x", carol)
	q := query(b.signInAtEntra(b.get("/call?scope="+url.QueryEscape(scopeB)), carol))
	failures["admin consent"].change(w, b, q)
	a := b.get(origin + "/callback?" + q.Encode())
	b.wantStatus(a, http.StatusForbidden, "")
	if want := w.flow.AdminConsentURL(entratest.SampleOtherTenant, scopeB); !strings.Contains(html.UnescapeString(a.body),
		`href="`+want+`"`) {
		t.Errorf("got no link to %s in page\n%s", want, a.body)
	}
}

// Details for support are in the page and in the log.
func TestPageAndLogHaveSupportDetails(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	u, err := url.Parse(b.signInAtEntra(b.get("/private/x"), alice))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	failures["denied"].change(w, b, q)
	a := b.get(origin + "/callback?" + q.Encode())
	for _, want := range []string{"access_denied", "AADSTS65004", "11111111-2222-3333-4444-555555555555",
		"0a1b2c3d-0000-0000-0000-000000000000"} {
		if !strings.Contains(a.body, want) || !strings.Contains(w.log.String(), strings.TrimPrefix(want, "AADSTS")) {
			t.Errorf("got no %s in the page or in the log:\n%s", want, w.log)
		}
	}
}

// Failures without Retry-After of Entra have no such header.
func TestNoRetryAfterWithoutOne(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	q := query(b.signInAtEntra(b.get("/login"), alice))
	failures["denied"].change(w, b, q)
	if a := b.get(origin + "/callback?" + q.Encode()); a.Header.Values("Retry-After") != nil {
		t.Errorf("got Retry-After %q", a.Header.Values("Retry-After"))
	}
}

// Parameters of the callback are escaped in the page.
func TestPageEscapesParameters(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	u, err := url.Parse(b.signInAtEntra(b.get("/login"), alice))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	errorResponse(`<script>alert(1)</script>"'`, "<img src=x onerror=alert(1)>\r\nSet-Cookie: x=y")(w, b, q)
	q.Set("error_uri", "javascript:alert(1)")
	a := b.get(origin + "/callback?" + q.Encode())
	if strings.Contains(a.body, "<script") || strings.Contains(a.body, "<img") ||
		strings.Contains(a.body, "javascript:") || len(a.Header["Set-Cookie"]) != 1 {
		t.Errorf("got headers %v and page\n%s", a.Header, a.body)
	}
}

// Config.Page receives the Problem, the account in the context, and a response with its headers set.
func TestConfigPageReceivesProblem(t *testing.T) {
	var got signin.Problem
	w := newWebApp(t, func(s *settings) {
		s.site.Page = func(w http.ResponseWriter, r *http.Request, p signin.Problem) {
			got = p
			a, ok := signin.AccountFromContext(r.Context())
			w.WriteHeader(p.Status)
			fmt.Fprintf(w, "%t %s", ok, a.Name)
		}
	})
	b := w.browser(t)
	b.signIn("/private/x", alice)
	a := b.get("/login?return_to=//evil.example")
	b.wantStatus(a, http.StatusBadRequest, "")
	if a.body != "true Alice Adams" || got.Kind != signin.KindInvalidReturnTo || got.Title == "" || got.Text == "" ||
		!slices.Equal(got.Links, []signin.Link{{Text: "Sign in without it", URL: "/login"}}) ||
		a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got page %q for %+v", a.body, got)
	}
}

// Retry-After of Entra is passed to the browser.
func TestRetryAfterIsPassedOn(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/login"), alice)
	w.Inject(entratest.Fault{Endpoint: "token", Status: 429, RetryAfter: "20",
		Body: `{"error":"temporarily_unavailable"}`})
	a := b.callback(callback)
	b.wantStatus(a, http.StatusServiceUnavailable, "")
	if got := a.Header.Get("Retry-After"); got != "20" {
		t.Errorf("got Retry-After %q, want 20", got)
	}
}

// New rejects an invalid Config.
func TestNewRejectsInvalidConfig(t *testing.T) {
	w := newWebApp(t)
	for name, test := range map[string]struct {
		config signin.Config
		want   string
	}{
		"store without keys": {signin.Config{Store: newSharedStore()}, "Config.Keys is empty"},
		"short key":          {signin.Config{Keys: []signin.Key{signin.NewKey([]byte("short"))}}, "not 32 bytes"},
		"no key":             {signin.Config{Keys: []signin.Key{{}}}, "not 32 bytes"},
		"key of zeros":       {signin.Config{Keys: []signin.Key{signin.NewKey(make([]byte, 32))}}, "repeats one byte"},
		"negative":           {signin.Config{IdleTimeout: -1}, "negative"},
		"relative path":      {signin.Config{LoginPath: "login"}, "Config.LoginPath"},
		"root":               {signin.Config{LogoutPath: "/"}, "Config.LogoutPath"},
		"query":              {signin.Config{FrontChannelLogoutPath: "/x?y"}, "Config.FrontChannelLogoutPath"},
		"callback twice":     {signin.Config{LoginPath: "/callback"}, "are the same"},
		"twice":              {signin.Config{LoginPath: "/x", LogoutPath: "/x"}, "are the same"},
		"home elsewhere":     {signin.Config{Home: "//evil.example"}, "Config.Home"},
		"home at the login":  {signin.Config{Home: "/login"}, "Config.Home"},
		"signed out nowhere": {signin.Config{SignedOutURL: "javascript:x"}, "Config.SignedOutURL"},
		"no host":            {signin.Config{SignedOutURL: "https:///bye"}, "Config.SignedOutURL"},
		"not a web page":     {signin.Config{SignedOutURL: "ftp://www.contoso.example/"}, "Config.SignedOutURL"},
		"not a URL":          {signin.Config{SignedOutURL: "https://[::1"}, "Config.SignedOutURL"},
	} {
		site, err := signin.New(w.flow, test.config)
		if site != nil || err == nil {
			t.Errorf("%s: got no error", name)
			continue
		}
		if e := testkit.Error(t, err); e.Code != "invalid_request" || !strings.Contains(e.Description, test.want) {
			t.Errorf("%s: got %v, want %q", name, e, test.want)
		}
	}
	for _, flow := range []*authcode.Flow{nil, new(authcode.Flow)} {
		site, err := signin.New(flow, signin.Config{})
		if e := testkit.Error(t, err); site != nil || e.Code != "invalid_request" ||
			e.Description != "flow is nil or a zero value; create it with authcode.New" {
			t.Errorf("without a flow: got %v, want invalid_request", err)
		}
	}
	for _, redirect := range []string{origin, origin + "/"} {
		client, err := entra.New(entra.Config{TenantID: entratest.SampleTenant, ClientID: webapp,
			Credential: entra.Secret("webapp-secret")})
		if err != nil {
			t.Fatal(err)
		}
		flow, err := authcode.New(client, authcode.Config{RedirectURL: redirect})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signin.New(flow, signin.Config{}); err == nil {
			t.Errorf("%s: got no error", redirect)
		}
	}
}

// A site works below a path and with its own paths.
func TestSiteBelowPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, func(s *settings) {
			s.entra.Apps[1].RedirectURIs = []string{origin + "/app/signin", origin + "/app/"}
			s.flow.RedirectURL = origin + "/app/signin"
			s.site.LoginPath, s.site.LogoutPath, s.site.FrontChannelLogoutPath, s.site.Home = "/app/login", "/app/logout",
				"/app/front", "/app/"
		})
		mux := http.NewServeMux()
		mux.Handle("/app/", http.StripPrefix("/app", w.routes()))
		w.app = w.site.Handler(mux)
		b := w.browser(t)
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/app/login"), alice)), http.StatusSeeOther, "/app/")
		b.wantEntra(b.post("/app/logout", nil))
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/app/private/x?y=1"), alice)), http.StatusSeeOther,
			"/app/private/x?y=1")
		if a := b.get("/app/"); !strings.HasPrefix(a.body, "true Alice Adams") {
			t.Errorf("got page %q", a.body)
		}
		b.wantStatus(b.get("/login"), http.StatusNotFound, "")
		if q := b.wantEntraQuery(b.post("/app/logout", nil)); q.Get("post_logout_redirect_uri") != origin+"/app/" {
			t.Errorf("got sign-out request %v", q)
		}
	})
}

// The credential callback of the app fails with a text that contains a JWT. No log record and no page has it.
func TestCredentialErrorWithToken(t *testing.T) {
	leak := errors.New("vault: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln was rejected")
	for name, credential := range map[string]entra.Credential{
		"Assertion": entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) { return "", leak }),
		"CredentialFunc": entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return entra.Credential{}, fmt.Errorf("load: %w", leak)
		}),
		"temporary": entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			return "", &entra.Error{Code: "temporarily_unavailable", StatusCode: 503, Description: leak.Error(), Err: leak}
		}),
	} {
		w := newWebApp(t, func(s *settings) { s.client.Credential = credential })
		b := w.browser(t)
		a := b.callback(b.signInAtEntra(b.get("/private/x"), alice))
		if a.StatusCode < 500 || strings.Contains(a.body, "eyJ") {
			t.Errorf("%s: got status %d and page\n%s", name, a.StatusCode, a.body)
		}
		log := w.log.String()
		if strings.Contains(log, "eyJ") || strings.Count(log, "vault: [redacted] was rejected") < 2 {
			t.Errorf("%s: got log\n%s\nwant the description and the cause without the token", name, log)
		}
	}
}
