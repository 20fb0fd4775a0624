package signin_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
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

const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`

// wantEntraQuery requires a redirect to Entra and returns its query.
func (b *browser) wantEntraQuery(a *response) url.Values {
	b.t.Helper()
	u, err := url.Parse(b.wantEntra(a))
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Query()
}

func loginHint(user string) string { return base64.RawURLEncoding.EncodeToString([]byte(user)) }

// Interact requests consent when it is needed, and the browser returns to the page.
func TestIncrementalConsent(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	path := "/call?scope=" + url.QueryEscape(scopeB)
	a := b.get(path)
	q := b.wantEntraQuery(a)
	if q.Get("scope") != scopeB+" openid profile offline_access" || q.Get("login_hint") != loginHint(alice) ||
		q.Get("prompt") != "" || q.Has("claims") {
		t.Errorf("got authorization request %v", q)
	}
	id := b.session()
	b.wantStatus(b.callback(b.signInAtEntra(a, alice)), http.StatusSeeOther, path)
	if b.session() == id {
		t.Error("the session ID did not change")
	}
	for _, p := range []string{path, "/call"} { // of both APIs
		if a := b.get(p); a.body != "token true" {
			t.Errorf("%s: got body %q, want \"token true\"", p, a.body)
		}
	}
}

// Interact signs the user in again after Entra revoked the session, and after a restart lost the tokens.
func TestInteractAcquiresLostTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		b.get("/call")
		w.RevokeSessions(alice)
		for range 7 { // tokens expire after at most 90 minutes
			time.Sleep(15 * time.Minute)
			b.wantUser("Alice Adams")
		}
		a := b.get("/call")
		if q := b.wantEntraQuery(a); q.Get("login_hint") != loginHint(alice) || q.Get("prompt") != "" {
			t.Errorf("got authorization request %v", q)
		}
		b.wantStatus(b.callback(b.signInAtEntra(a, alice)), http.StatusSeeOther, "/call")
		if a := b.get("/call"); a.body != "token true" {
			t.Errorf("after the revocation: got body %q, want \"token true\"", a.body)
		}

		restarted := newWebApp(t, withStore(store))
		b.w, w.app = restarted, restarted.app
		b.wantUser("Alice Adams")
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/call"), alice)), http.StatusSeeOther, "/call")
		if a := b.get("/call"); a.body != "token true" {
			t.Errorf("after the restart: got body %q, want \"token true\"", a.body)
		}
	})
}

// A policy demands a second factor, through the claims of the token endpoint or through the API's own challenge.
func TestInteractPassesClaimsChallenge(t *testing.T) {
	w := newWebApp(t, func(s *settings) { s.entra.Apps[3].RequireMFA = true })
	b := w.browser(t)
	b.signIn("/private/x", alice)
	b.callback(b.signInAtEntra(b.get("/call?scope="+url.QueryEscape(scopeB)), alice))

	done := false
	w.calls = func(out http.ResponseWriter, r *http.Request) {
		resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}}
		entra.SetClaimsChallenge(resp.Header, challenge)
		if done {
			resp.StatusCode = http.StatusOK
		}
		if err := signin.Challenge(resp); w.site.Interact(out, r, err, scopeB) != (err != nil) {
			t.Error("Interact does not handle the error of Challenge")
		}
	}
	a := b.get("/call?x=1")
	if q := b.wantEntraQuery(a); q.Get("claims") != challenge ||
		q.Get("scope") != scopeB+" openid profile offline_access" {
		t.Errorf("got authorization request %v", q)
	}
	b.wantStatus(b.callback(b.signInAtEntra(a, alice)), http.StatusSeeOther, "/call?x=1")
	done = true
	b.wantStatus(b.get("/call?x=1"), http.StatusOK, "")
}

// A second factor in one browser does not count in another browser of the same user, even after token refreshes.
func TestStepUpBelongsToSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, func(s *settings) { s.entra.Apps[3].RequireMFA = true })
		desk, thief := w.browser(t), w.browser(t)
		desk.signIn("/private/x", alice)
		thief.signIn("/private/x", alice)
		path := "/call?scope=" + url.QueryEscape(scopeB)
		desk.wantStatus(desk.callback(desk.signInAtEntra(desk.get(path), alice)), http.StatusSeeOther, path)
		for range 3 {
			if a := desk.get(path); a.body != "token true" {
				t.Fatalf("got body %q, want \"token true\"", a.body)
			}
			thief.wantEntraQuery(thief.get(path))
			time.Sleep(50 * time.Minute)
		}
	})
}

// A sign-in for more scopes keeps the tokens of the session.
func TestTokensStayWithTheSession(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/call", alice)
	for range 3 {
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/login?return_to=/call"), alice)), http.StatusSeeOther, "/call")
	}
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/call?scope="+url.QueryEscape(scopeB)), alice)), http.StatusSeeOther,
		"")
	if a := b.get("/call"); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
	if n := w.tokens.Stats().Sessions; n != 1 {
		t.Errorf("got tokens of %d sessions in the cache", n)
	}
	// A sign-in of another user removes the tokens of the first.
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), bob)), http.StatusSeeOther, "/")
	if n := w.tokens.Stats().Sessions; n != 1 {
		t.Errorf("after Bob signed in: got tokens of %d sessions in the cache, want 1", n)
	}
}

// SignIn uses the Session of the Request, and otherwise the one of the current session or a new one.
func TestSignInUsesSessionOfRequest(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	session := ""
	w.app = w.site.Handler(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/start" {
			w.site.SignIn(out, r, authcode.Request{Session: r.URL.Query().Get("session"), ReturnTo: "/page"})
			return
		}
		a, _ := signin.AccountFromContext(r.Context())
		session = a.Session
	}))
	signIn := func(request string) string {
		t.Helper()
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/start?session="+request), alice)), http.StatusSeeOther, "/page")
		b.wantStatus(b.get("/page"), http.StatusOK, "")
		return session
	}
	first := signIn("")
	if len(first) != 26 {
		t.Errorf("got session %q, want a random one", first)
	}
	for _, test := range []struct{ request, want string }{
		{"", first}, {"desk", "desk"}, {"", "desk"}, {"phone", "phone"},
	} {
		if got := signIn(test.request); got != test.want {
			t.Errorf("request %q: got session %q, want %q", test.request, got, test.want)
		}
	}
}

func TestChallengeReadsClaims(t *testing.T) {
	if err := signin.Challenge(nil); err != nil {
		t.Errorf("without a response: got %v, want nil", err)
	}
	for name, test := range map[string]struct {
		status int
		header string
		claims string
	}{
		"a challenge": {401, `Bearer error="insufficient_claims", claims="` +
			base64.StdEncoding.EncodeToString([]byte(challenge)) + `"`, challenge},
		"status 403": {403, `Bearer error="insufficient_claims", claims="` +
			base64.StdEncoding.EncodeToString([]byte(challenge)) + `"`, ""},
		"no claims":         {401, `Bearer error="invalid_token"`, ""},
		"claims are a list": {401, `Bearer error="insufficient_claims", claims="W10="`, ""},
		"nothing":           {200, "", ""},
	} {
		err := signin.Challenge(&http.Response{StatusCode: test.status,
			Header: http.Header{"Www-Authenticate": {test.header}}})
		if test.claims == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if e := testkit.Error(t, err); e.Claims != test.claims || !e.InteractionRequired() {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// Interact ignores errors that the user cannot fix.
func TestInteractIgnoresOtherErrors(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/call", alice)
	for _, err := range []error{nil, (*entra.Error)(nil), fmt.Errorf("other"), &entra.Error{Code: "invalid_client"},
		&entra.Error{Code: entra.CodeRequestFailed}, &entra.Error{Code: "invalid_grant", AADSTS: []int{50013}}} {
		w.calls = func(out http.ResponseWriter, r *http.Request) {
			if w.site.Interact(out, r, err) || len(out.Header()["Set-Cookie"]) > 0 {
				t.Errorf("Interact responded to %v", err)
			}
		}
		b.wantStatus(b.get("/call"), http.StatusOK, "")
	}
}

// If an error remains after the user signed in as requested, Interact shows a page instead of redirecting again.
func TestInteractStopsLoops(t *testing.T) {
	for name, test := range map[string]struct {
		err  *entra.Error
		kind signin.Kind
		log  string
	}{
		"policy": {&entra.Error{Code: "interaction_required", Claims: challenge, AADSTS: []int{50076}},
			signin.KindStillRequired, `"aadsts":[50076]`},
		"no token": {&entra.Error{Code: "login_required"}, signin.KindTokensLost,
			"the same cache.Options.Store and Keys, or route each browser to one process"},
		"consent": {&entra.Error{Code: "invalid_grant", SubError: "consent_required", AADSTS: []int{65001}},
			signin.KindAdminConsent, `"aadsts":[65001]`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWebApp(t)
				b := w.browser(t)
				b.signIn("/call", alice)
				w.calls = func(out http.ResponseWriter, r *http.Request) {
					if !w.site.Interact(out, r, fmt.Errorf("wrapped: %w", test.err), scopeB) {
						t.Error("Interact returned false")
					}
				}
				for range 2 {
					b.wantStatus(b.callback(b.signInAtEntra(b.get("/call?a=1"), alice)), http.StatusSeeOther, "/call?a=1")
				}
				a := b.get("/call?a=1")
				b.wantStatus(a, map[bool]int{true: 500, false: 403}[test.kind == signin.KindTokensLost], "")
				if !strings.Contains(w.log.String(), test.log) {
					t.Errorf("got no %q in the log:\n%s", test.log, w.log)
				}
				if !strings.Contains(a.body, `href="/login?return_to=%2Fcall%3Fa%3D1"`) {
					t.Errorf("got no link to sign in again in page\n%s", a.body)
				}
				admin := entraHost + "/" + entratest.SampleTenant + "/v2.0/adminconsent?client_id=" + webapp
				if strings.Contains(strings.ReplaceAll(a.body, "&amp;", "&"), admin) != (test.kind == signin.KindAdminConsent) {
					t.Errorf("link for administrators: got page\n%s", a.body)
				}
				b.wantStatus(b.get("/call?b=2"), a.StatusCode, "") // on every page
				if kinds := fmt.Sprint(w.log.rejections(t)); kinds != fmt.Sprintf("[%s %s]", test.kind, test.kind) {
					t.Errorf("got rejections %s", kinds)
				}
				w.wantSignIns(t, 3)
				time.Sleep(time.Minute)
				b.wantEntra(b.get("/call?a=1")) // the cause may be fixed
			})
		})
	}
}

// Interact also stops a loop in which every challenge is different.
func TestInteractStopsLoopOfDifferentChallenges(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/call", alice)
	n := 0
	w.calls = func(out http.ResponseWriter, r *http.Request) {
		n++
		w.site.Interact(out, r, &entra.Error{Code: "interaction_required",
			Claims: fmt.Sprintf(`{"access_token":{"nbf":{"value":"%d"}}}`, n)})
	}
	for range 4 {
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/call"), alice)), http.StatusSeeOther, "/call")
	}
	b.wantStatus(b.get("/call"), http.StatusForbidden, "")
	w.wantSignIns(t, 5)
}

// wantSignIns checks the number of redeemed codes.
func (w *webApp) wantSignIns(t *testing.T, n int) {
	t.Helper()
	if got := w.Count(entratest.Match{GrantType: "authorization_code"}); got != n {
		t.Errorf("got %d sign-ins, want %d", got, n)
	}
}

// A browser whose session cookie never arrives is not redirected in a loop, and neither is one whose session is lost.
// The pages differ, because only one of them is about the browser.
func TestRequireSignInStopsLoops(t *testing.T) {
	for name, test := range map[string]struct {
		lose              func(b *browser)
		status            int
		kind, text, about string
	}{
		"cookie": {func(b *browser) { b.deleteCookie(b.cookie("__Host-session-").Name) },
			400, "no_cookies", "Allow them", "does not send the session cookie"},
		"session": {func(b *browser) {
			c := b.cookie("__Host-session-")
			c.Value = strings.Repeat("A", len(c.Value))
			b.setCookie(c)
		}, 500, "session_lost", "does not remember it", "give all processes the same Config.Store and Config.Keys"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWebApp(t)
				b := w.browser(t)
				for i := range 2 {
					b.signIn("/private/x", alice)
					test.lose(b)
					time.Sleep(time.Second)
					if i == 0 {
						b.wantEntra(b.get("/private/x"))
					}
				}
				a := b.get("/private/x")
				b.wantStatus(a, test.status, "")
				if !strings.Contains(a.body, test.text) {
					t.Errorf("got page\n%s", a.body)
				}
				if !strings.Contains(w.log.String(), test.about) {
					t.Errorf("got no %q in the log:\n%s", test.about, w.log)
				}
				b.wantEntra(b.get("/login?return_to=/private/x")) // an explicit retry is allowed
				time.Sleep(time.Minute)
				b.wantEntra(b.get("/private/x"))
				if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "["+test.kind+"]" {
					t.Errorf("got rejections %s, want %s", kinds, test.kind)
				}
			})
		})
	}
}

// If another user comes back from Interact, that user gets a new session and not the page of the first user.
func TestInteractWithAnotherUserGoesHome(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b := w.browser(t)
		b.signIn("/private/x", alice)
		old := b.cookie("__Host-session-")
		a := b.get("/call?secret-of=alice&scope=" + url.QueryEscape(scopeB))
		b.wantStatus(b.callback(b.signInAtEntra(a, bob)), http.StatusSeeOther, "/")
		b.wantUser("Bob Brown")
		other := w.browser(t)
		other.setCookie(old)
		other.wantUser("")
		if strings.Contains(w.log.String(), "secret-of") {
			t.Error("the log contains the page address")
		}
	}
}

// Scripts and programs get 401 instead of a redirect.
func TestScriptsGetUnauthorized(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	for name, header := range map[string][]string{
		"fetch":      {"Sec-Fetch-Mode", "cors", "Accept", "*/*"},
		"same fetch": {"Sec-Fetch-Mode", "same-origin", "Accept", "text/html"},
		"image":      {"Sec-Fetch-Mode", "no-cors", "Accept", "image/*"},
		"program":    {"Sec-Fetch-Mode", "", "Accept", "application/json"},
		"curl":       {"Sec-Fetch-Mode", "", "Accept", "*/*"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			a := b.send(method, "/private/x", nil, header...)
			if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" ||
				a.Header.Get("Content-Type") != "application/json" ||
				len(a.Cookies()) != 0 || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: got status %d and headers %v", name, method, a.StatusCode, a.Header)
			}
			var body struct{ Error string }
			if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Error != "login_required" {
				t.Errorf("%s %s: got body %s", name, method, a.body)
			}
		}
	}
	old := b.get("/private/x", "Sec-Fetch-Mode", "") // a browser from 2022
	b.wantEntra(old)

	// Interact responds in the same way.
	b.signIn("/private/x", alice)
	a := b.get("/call?scope="+url.QueryEscape(scopeB), "Sec-Fetch-Mode", "cors", "Accept", "*/*")
	if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, `"error":"invalid_grant"`) {
		t.Errorf("a script got status %d, %s", a.StatusCode, a.body)
	}
}

// A form posted after the session ended gets a page that says so. A redirect would lose it silently.
func TestFormAfterSessionEndGetsPage(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	a := b.post("/private/pay", url.Values{"amount": {"1000"}}, "Referer", origin+"/private/form?id=7")
	b.wantStatus(a, http.StatusUnauthorized, "")
	if a.Header.Get("WWW-Authenticate") != `Cookie realm="sign-in"` {
		t.Errorf("got WWW-Authenticate %q", a.Header.Get("WWW-Authenticate"))
	}
	if !strings.Contains(a.body, "was not saved") || !strings.Contains(a.body,
		`href="/login?return_to=%2Fprivate%2Fform%3Fid%3D7"`) {
		t.Errorf("got page\n%s", a.body)
	}
}

// notSavedLink requires the page that says that nothing was saved, and returns its link.
func (b *browser) notSavedLink(a *response) *response {
	b.t.Helper()
	b.wantStatus(a, http.StatusUnauthorized, "")
	_, rest, ok := strings.Cut(a.body, `<a href="`)
	link, _, _ := strings.Cut(rest, `"`)
	if !ok || !strings.Contains(a.body, "What you sent was not saved") || strings.Count(a.body, "<a ") != 1 {
		b.t.Fatalf("got page\n%s", a.body)
	}
	return &response{Response: &http.Response{
		StatusCode: http.StatusSeeOther, Header: http.Header{"Location": {html.UnescapeString(link)}},
	}}
}

// A form is posted after a restart lost the tokens. The user gets a page that says that nothing was saved, and whose
// link leads through Entra back to the form.
// (OpenIDC/mod_auth_openidc#165: the browser sends a GET after the sign-in, and the form is empty.)
func TestFormPostedAfterTokensWereLost(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	restart := func() {
		b.w = newWebApp(t, withStore(store))
		w.app = b.w.app
	}
	restart()
	form, referer := url.Values{"amount": {"1000"}}, origin+"/private/form?id=7"

	a := b.post("/call", form, "Referer", referer)
	link := b.notSavedLink(a)
	if a.Header.Get("WWW-Authenticate") != `Cookie realm="sign-in"` || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got headers %v", a.Header)
	}
	if q := b.wantEntraQuery(link); q.Get("login_hint") != loginHint(alice) {
		t.Errorf("got authorization request %v", q)
	}
	b.wantStatus(b.callback(b.signInAtEntra(link, alice)), http.StatusSeeOther, "/private/form?id=7")
	if a := b.post("/call", form, "Referer", referer); a.body != "token true" {
		t.Errorf("sent again: got status %d and page\n%s", a.StatusCode, a.body)
	}
	if kinds := fmt.Sprint(b.w.log.rejections(t)); kinds != "[not_saved]" {
		t.Errorf("got rejections %s, want not_saved", kinds)
	}

	// In a frame of the site, the page is shown, and its link opens in the whole window.
	restart()
	a = b.post("/call", form, "Referer", referer, "Sec-Fetch-Dest", "iframe")
	b.notSavedLink(a)
	if !strings.Contains(a.body, ` target="_top">Continue</a>`) ||
		!strings.HasSuffix(a.Header.Get("Content-Security-Policy"), "; frame-ancestors 'self'") {
		t.Errorf("in a frame: got headers %v and page\n%s", a.Header, a.body)
	}
	// A script that posts gets JSON, and no login starts.
	a = b.post("/call", form, "Referer", referer, "Sec-Fetch-Mode", "cors")
	if a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.body, `{"error":"login_required",`) ||
		len(a.Cookies()) != 0 {
		t.Errorf("a script got status %d, %s", a.StatusCode, a.body)
	}
}

// If the handler of a form calls Interact, the sign-in is for the missing scopes and claims. The browser returns to the
// page with the form, if that is on this site.
func TestInteractAfterFormReturnsToReferer(t *testing.T) {
	for referer, to := range map[string]string{
		origin + "/private/form?id=7":            "/private/form?id=7",
		"":                                       "/",
		"https://evil.example/private/form":      "/",
		"http://webapp.contoso.example/private/": "/",
		origin + "//evil.example/":               "/",
		origin + "/login?return_to=/x":           "/",
		origin + "@evil.example/":                "/",
		origin + "/a%0d%0aX: y":                  "/",
		"%":                                      "/",
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			w := newWebApp(t)
			b := w.browser(t)
			b.signIn("/private/x", alice)
			w.calls = func(out http.ResponseWriter, r *http.Request) {
				w.site.Interact(out, r, &entra.Error{Code: "consent_required", Claims: challenge}, scopeB)
			}
			link := b.notSavedLink(b.send(method, "/call", url.Values{"amount": {"1000"}}, "Referer", referer))
			if q := b.wantEntraQuery(link); q.Get("scope") != scopeB+" openid profile offline_access" ||
				q.Get("claims") != challenge {
				t.Errorf("%s from %q: got authorization request %v", method, referer, q)
			}
			b.wantStatus(b.callback(b.signInAtEntra(link, alice)), http.StatusSeeOther, to)
		}
	}
}

// A form that fails again after the sign-ins gets the page of a loop, as a page load does.
func TestFormThatFailsAgainIsALoop(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	w.calls = func(out http.ResponseWriter, r *http.Request) {
		w.site.Interact(out, r, &entra.Error{Code: "interaction_required", StatusCode: 400, Claims: challenge}, scopeB)
	}
	for range 2 {
		link := b.notSavedLink(b.post("/call", nil, "Referer", origin+"/private/form"))
		b.wantStatus(b.callback(b.signInAtEntra(link, alice)), http.StatusSeeOther, "/private/form")
	}
	a := b.post("/call", nil, "Referer", origin+"/private/form")
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "Signing in was not enough") {
		t.Errorf("got status %d and page\n%s", a.StatusCode, a.body)
	}
}

// SignIn accepts options and shows a page if they are invalid.
func TestSignInOptions(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	req := authcode.Request{Prompt: "login", LoginHint: bob, ExtraScopes: []string{scopeB}}
	w.calls = func(out http.ResponseWriter, r *http.Request) { w.site.SignIn(out, r, req) }
	a := b.get("/call?x=1")
	if q := b.wantEntraQuery(a); q.Get("prompt") != "login" || q.Get("login_hint") != bob ||
		!strings.Contains(q.Get("scope"), scopeB) {
		t.Errorf("got authorization request %v", q)
	}
	b.wantStatus(b.callback(b.signInAtEntra(a, bob)), http.StatusSeeOther, "/call?x=1")
	b.wantUser("Bob Brown")
	req = authcode.Request{Prompt: "nonsense"}
	b.wantStatus(b.get("/call"), http.StatusInternalServerError, "")
	req = authcode.Request{ReturnTo: "//evil.example"}
	b.wantStatus(b.get("/call"), http.StatusBadRequest, "")
	if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[misconfigured invalid_return_to]" {
		t.Errorf("got rejections %s", kinds)
	}
}

// A page that needs five APIs prompts for five consents within a minute. That is not a loop, unlike the same consent
// repeatedly (AzureAD/microsoft-identity-web#847, AzureAD/microsoft-identity-web#985).
func TestFiveConsentsAreNotALoop(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	missing, n := "", 0
	w.calls = func(out http.ResponseWriter, r *http.Request) {
		if missing == "" {
			return
		}
		n++
		err := &entra.Error{Code: "invalid_grant", SubError: "consent_required", AADSTS: []int{65001}, StatusCode: 400}
		w.site.Interact(out, r, err, missing)
	}
	scopes := []string{scopeA, scopeB, "https://graph.microsoft.com/User.Read", "openid", scopeA}
	for i, scope := range scopes[:4] {
		missing = scope
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/call"), alice)), http.StatusSeeOther, "/call")
		if n != i+1 {
			t.Errorf("%s: got %d calls, want %d", scope, n, i+1)
		}
	}
	missing = scopes[4]
	b.wantEntra(b.get("/call")) // the fifth
}
