package signin_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

// An attacker (Bob) starts or finishes a sign-in and makes the browser of the victim (Alice) do the rest, or the other
// way round. The victim's browser must not be signed in, and the attacker's must not be signed in as Alice.
func TestLoginAttacksFail(t *testing.T) {
	for name, attack := range map[string]func(w *webApp, mallory, victim *browser){
		"login CSRF: the victim opens the attacker's callback": func(_ *webApp, mallory, victim *browser) {
			victim.wantRejected(mallory.signInAtEntra(mallory.get("/login"), bob), http.StatusBadRequest)
		},
		"login CSRF, while the victim signs in": func(_ *webApp, mallory, victim *browser) {
			victim.get("/private/x")
			victim.wantRestarted(mallory.signInAtEntra(mallory.get("/login"), bob))
		},
		"the attacker opens the victim's callback": func(_ *webApp, mallory, victim *browser) {
			callback := victim.signInAtEntra(victim.get("/login"), alice)
			mallory.wantRejected(callback, http.StatusBadRequest)
		},
		"state fixation: the victim signs in with the attacker's state": func(w *webApp, mallory, victim *browser) {
			start := mallory.wantEntra(mallory.get("/login")) // a link that the attacker sends
			callback, err := w.SignIn(victim.t.Context(), start, alice)
			if err != nil {
				victim.t.Fatal(err)
			}
			victim.wantRejected(callback.String(), http.StatusBadRequest)
		},
		"code injection: the victim's code under the attacker's state": func(_ *webApp, mallory, victim *browser) {
			theirs := query(victim.signInAtEntra(victim.get("/login"), alice))
			mine := query(mallory.signInAtEntra(mallory.get("/login"), bob))
			mine.Set("code", theirs.Get("code"))
			mallory.wantRejected(origin+"/callback?"+mine.Encode(), http.StatusForbidden) // PKCE
		},
		"code injection: the attacker's code under the victim's state": func(_ *webApp, mallory, victim *browser) {
			theirs := query(victim.signInAtEntra(victim.get("/login"), alice))
			theirs.Set("code", query(mallory.signInAtEntra(mallory.get("/login"), bob)).Get("code"))
			victim.wantRejected(origin+"/callback?"+theirs.Encode(), http.StatusForbidden)
		},
		"the attacker's login cookie under the victim's name": func(_ *webApp, mallory, victim *browser) {
			callback := victim.signInAtEntra(victim.get("/login"), bob)
			mallory.get("/login")
			name := victim.cookie("__Host-login-").Name
			victim.deleteCookie(name)
			victim.setCookie(&http.Cookie{Name: name, Value: mallory.cookie("__Host-login-").Value})
			victim.wantRestarted(callback)
		},
		"a login cookie as a session": func(w *webApp, mallory, victim *browser) {
			mallory.signIn("/login", bob)
			name := mallory.cookie("__Host-session-").Name
			mallory.get("/login")
			victim.setCookie(&http.Cookie{Name: name, Value: mallory.cookie("__Host-login-").Value})
		},
		"a finished login cookie as one in progress": func(_ *webApp, mallory, victim *browser) {
			callback := mallory.signInAtEntra(mallory.get("/login"), bob)
			mallory.callback(callback)
			for _, c := range mallory.cookies() {
				if strings.HasPrefix(c.Name, "__Host-login-") {
					victim.setCookie(c)
				}
			}
			victim.wantRejected(callback, http.StatusBadRequest)
		},
		"a callback for another of the victim's tabs": func(_ *webApp, mallory, victim *browser) {
			victim.signInAtEntra(victim.get("/login"), alice)
			other := query(victim.signInAtEntra(victim.get("/login"), alice))
			other.Set("state", query(mallory.wantEntra(mallory.get("/login"))).Get("state"))
			victim.wantRestarted(origin + "/callback?" + other.Encode())
		},
	} {
		for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
			t.Run(name+", "+mode, func(t *testing.T) {
				w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
				mallory, victim := w.browser(t), w.browser(t)
				attack(w, mallory, victim)
				victim.wantUser("")
				if a := mallory.get("/"); strings.Contains(a.body, "Alice") {
					t.Error("the attacker is signed in as Alice")
				}
			})
		}
	}
}

// wantRejected sends the callback and wants that status. With form_post the response may be a redirect first, because
// the POST carries no session cookie.
func (b *browser) wantRejected(callback string, status int) {
	b.t.Helper()
	b.wantStatus(b.finishCallback(callback), status, "")
}

// finishCallback sends the callback. With form_post it also follows the redirect of the POST to the same path.
func (b *browser) finishCallback(callback string) *response {
	b.t.Helper()
	a := b.callback(callback)
	if to := a.Header.Get("Location"); to == "/callback" || strings.HasPrefix(to, "/callback?") {
		a = b.get(to)
	}
	return a
}

// wantRestarted sends the callback and wants that the browser, which has a sign-in in progress, starts a new one. The
// response of Entra is not used.
func (b *browser) wantRestarted(callback string) {
	b.t.Helper()
	before := b.w.Count(entratest.Match{Endpoint: "token"})
	a := b.finishCallback(callback)
	was, now := query(callback), b.wantEntraQuery(a)
	for _, c := range a.Cookies() {
		if strings.HasPrefix(c.Name, "__Host-session-") {
			b.t.Error("got a session cookie")
		}
	}
	if now.Get("state") == was.Get("state") || now.Get("nonce") == "" || now.Get("prompt") != "" {
		b.t.Errorf("got authorization request %v, want a new one", now)
	}
	if n := b.w.Count(entratest.Match{Endpoint: "token"}); n != before {
		b.t.Errorf("got %d token requests, want 0", n-before)
	}
}

func query(address string) url.Values {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u.Query()
}

// Mix-up attacks (RFC 9700, section 4.4): a login at one authority cannot be finished at another, or with an issuer or
// an ID token of another.
func TestMixUpFails(t *testing.T) {
	oneKey := func(s *settings) { s.site.Keys = []signin.Key{testKey} }
	w := newWebApp(t, anyOrganization, oneKey)
	contoso := newWebApp(t, oneKey)
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/login"), alice)
	many := w.app
	w.app = contoso.app // has the same key
	b.wantRejected(callback, http.StatusBadRequest)
	if n := contoso.Count(entratest.Match{}); n != 0 {
		t.Errorf("got %d requests to the other authority, want 0", n)
	}
	w.app = many
	b.wantRejected(callback, http.StatusBadRequest) // a login can be used once
	b.wantUser("")

	for _, iss := range []string{"https://login.microsoftonline.us/" + entratest.SampleTenant + "/v2.0",
		"https://evil.example/" + entratest.SampleTenant + "/v2.0", "x"} {
		b.wantRejected(b.signInAtEntra(b.get("/login"), alice)+"&iss="+url.QueryEscape(iss), http.StatusBadRequest)
		b.wantUser("")
	}
	if n := w.Count(entratest.Match{GrantType: "authorization_code"}); n != 0 {
		t.Errorf("got %d redeemed codes, want 0", n)
	}

	w = newWebApp(t)
	w.ChangeResponses(func(_ url.Values, body map[string]any) {
		w.remintIDToken(body, func(o *entratest.MintOptions) { o.User, o.Tenant = carol, entratest.SampleOtherTenant })
	})
	b = w.browser(t)
	b.wantRejected(b.signInAtEntra(b.get("/login"), alice), http.StatusForbidden)
	b.wantUser("")
}

// Return addresses that lead to another site, or that some parser could read as another site, are rejected.
func TestReturnToOtherSitesIsRejected(t *testing.T) {
	w := newWebApp(t)
	for _, to := range openRedirects {
		b := w.browser(t)
		a := b.get("/login?return_to=" + url.QueryEscape(to))
		b.wantStatus(a, http.StatusBadRequest, "")
		if len(a.Cookies()) != 0 || !strings.Contains(a.body, "This link is not valid") || strings.Contains(a.body, "evil") {
			t.Errorf("%q: got %d cookies and page\n%s", to, len(a.Cookies()), a.body)
		}
		if a.Header.Get("Location") != "" {
			t.Errorf("%q redirects to %s", to, a.Header.Get("Location"))
		}
	}
	b := w.browser(t)
	b.wantStatus(b.get("/login?return_to=/a&return_to=/b"), http.StatusBadRequest, "")
	for _, to := range []string{"/", "/a", "/a/b?c=//evil.example", "/a?x=http://evil.example#y", "/a@evil.example",
		"/:80", "/;//x"[:2]} {
		b := w.browser(t)
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/login?return_to="+url.QueryEscape(to)), alice)), http.StatusSeeOther,
			to)
	}
}

var openRedirects = []string{
	"", "//evil.example", "///evil.example", "////evil.example", `/\evil.example`, `\/evil.example`, `\\evil.example`,
	`/\/evil.example`,
	"https://evil.example", "https:evil.example", "https:/evil.example", "https:\\\\evil.example",
	"http://webapp.contoso.example/", "HTTPS://evil.example",
	"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>alert(1)</script>",
	"vbscript:x",
	"evil.example", "@evil.example", ".evil.example", "?evil", "#evil",
	"/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%2f%2fevil.example", "%2f%2fevil.example",
	"/%252fevil.example",
	"/\t/evil.example", "/\n/evil.example", "/\r\n/evil.example", "/\x00/evil.example", "/ /evil.example",
	"\t//evil.example", " //evil.example",
	"/./evil.example/..//evil.example", "/..//evil.example", "/../evil", "/./evil", "/x/..//evil.example",
	"/x//evil.example", "/%2e%2e/evil.example", "/%2e/evil",
	"/\u2215/evil.example", "/\uff0fevil.example", "//\u3002evil", "/x\u0000", "/é", "/%00evil",
	"/%0d%0aSet-Cookie:evil=1", "/%09/evil.example", "/evil%",
	"//evil.example/%2f..", "//evil.example@webapp.contoso.example/", "//webapp.contoso.example/", origin + "/",
	origin + "//evil.example",
	"//[::1]/", "//0x7f.1/",
}

// A page behind RequireSignIn can have any address. If it could be read as another site, a page says so before the
// sign-in. https://github.com/causalens/dara/pull/640
func TestAmbiguousPagesAreExplained(t *testing.T) {
	w := newWebApp(t)
	w.app = w.site.Handler(w.site.RequireSignIn(http.NotFoundHandler()))
	for _, target := range []string{
		"//evil.example/", "/%2fevil.example", "/%5cevil.example", "/\\evil.example", "///evil.example", "/x//evil.example",
		"/%2e%2e//evil.example",
		"/..//evil.example", "/%09/evil.example", "/%0d%0aX:y", "/caf%C3%A9//x", "//evil.example@x/",
		"/login/../..//evil.example",
	} {
		r := httptest.NewRequest(http.MethodGet, origin+"/", nil)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		var err error
		if r.URL, err = url.ParseRequestURI(target); err != nil {
			r.URL = &url.URL{Path: target}
		}
		rec := httptest.NewRecorder()
		w.app.ServeHTTP(rec, r)
		if rec.Code != http.StatusBadRequest || len(rec.Result().Cookies()) != 0 ||
			!strings.Contains(rec.Body.String(), "This link is not valid") || strings.Contains(rec.Body.String(), "evil") ||
			!strings.Contains(rec.Body.String(), `<a href="/login">Sign in without it</a>`) {
			t.Errorf("%s: got status %d, %d cookies and page\n%s", target, rec.Code, len(rec.Result().Cookies()), rec.Body)
		}
	}
}

// Line breaks in a request cannot add response headers.
func TestHeaderInjectionFails(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	for _, target := range []string{
		"/login?return_to=/x%0d%0aSet-Cookie:%20evil=1", "/login?return_to=/x%0aevil:1",
		"/login?return_to=/x%250d%250aevil:1",
		"/callback?state=%0d%0aevil:1&code=x", "/callback?error=%0d%0aevil:1&state=x", "/private/x%0d%0aevil:1",
		"/logout/frontchannel?sid=%0d%0aevil:1",
	} {
		out := w.browser(t)
		a := out.get(target)
		for name, values := range a.Header {
			if strings.EqualFold(name, "evil") {
				t.Errorf("%s sets the header %s", target, name)
			}
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n") || name == "Set-Cookie" && !strings.HasPrefix(v, "__Host-") {
					t.Errorf("%s: %s: %q", target, name, v)
				}
			}
		}
	}
}

// A subdomain may set a cookie for the site (cookie tossing). Browsers prevent that for names with __Host-. If a second
// cookie of the name arrives all the same, it does not help an attacker.
func TestCookieTossingFails(t *testing.T) {
	w := newWebApp(t)
	mallory, victim := w.browser(t), w.browser(t)
	mallory.signIn("/private/x", bob)
	victim.signIn("/private/x", alice)
	name := victim.cookie("__Host-session-").Name
	send := func(path string, cookies ...string) *response {
		r := httptest.NewRequest(http.MethodGet, origin+path, nil)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
		rec := httptest.NewRecorder()
		w.app.ServeHTTP(rec, r)
		return &response{rec.Result(), rec.Body.String()}
	}
	session := func(b *browser) string { return name + "=" + b.session() }
	for _, cookies := range [][]string{
		{session(mallory), session(victim)}, {session(victim), session(mallory)}, {session(victim), name + "="},
		{name + "=x", session(victim)}, {session(victim), session(victim)},
	} {
		if a := send("/", cookies...); a.body != "false  " {
			t.Errorf("two session cookies: got page %q, want no user", a.body)
		}
	}
	// A foreign login cookie is invalid and does not hide the valid one.
	start := victim.get("/login?return_to=/private/y")
	callback := victim.signInAtEntra(start, alice)
	mallory.get("/login")
	right := victim.newCookie(start)
	junk := right.Name + "=" + mallory.cookie("__Host-login-").Value
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	a := send(u.RequestURI(), junk, right.Name+"=x", right.Name+"="+right.Value)
	victim.wantStatus(a, http.StatusSeeOther, "/private/y")
}

// newCookie returns the cookie that a response sets.
func (b *browser) newCookie(a *response) *http.Cookie {
	for _, c := range a.Cookies() {
		if c.MaxAge > 0 {
			return c
		}
	}
	b.t.Fatal("the response sets no cookie")
	return nil
}

// Session fixation: if an attacker plants a session cookie, the victim's sign-in creates a new session and ends the
// planted one.
func TestSessionFixationFails(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		mallory, victim := w.browser(t), w.browser(t)
		mallory.signIn("/private/x", bob)
		planted := mallory.cookie("__Host-session-")
		victim.setCookie(planted)
		victim.wantUser("Bob Brown") // the __Host- prefix prevents this in browsers
		callback := victim.signInAtEntra(victim.get("/login"), alice)
		victim.callback(callback)
		victim.wantUser("Alice Adams")
		if victim.session() == planted.Value {
			t.Error("the session ID is the planted one")
		}
		mallory.wantUser("") // neither Alice nor Bob
		for _, id := range []string{"", "A", strings.Repeat("A", 26), rand.Text(), strings.ToLower(victim.session()),
			victim.session() + "A", victim.session()[:25]} {
			guess := w.browser(t)
			guess.setCookie(&http.Cookie{Name: planted.Name, Value: id})
			guess.wantUser("")
		}
	}
}

// A login cookie is rejected if it was changed or truncated, or if it is of another login, another key or another site.
// The sign-in then starts again.
func TestForgedCookiesAreRejected(t *testing.T) {
	w := newWebApp(t)
	foreign := newWebApp(t)
	elsewhere := newWebApp(t, func(s *settings) {
		s.entra.Apps[1].RedirectURIs = []string{origin + "/other"}
		s.flow.RedirectURL = origin + "/other"
		s.site.Keys = []signin.Key{testKey}
	})
	samekey := newWebApp(t, func(s *settings) { s.site.Keys = []signin.Key{testKey} })
	for name, forge := range map[string]func(b *browser, c *http.Cookie) string{
		"a bit": func(_ *browser, c *http.Cookie) string {
			raw, err := base64.RawURLEncoding.DecodeString(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			return base64.RawURLEncoding.EncodeToString(raw)
		},
		"cut":        func(_ *browser, c *http.Cookie) string { return c.Value[:len(c.Value)-4] },
		"longer":     func(_ *browser, c *http.Cookie) string { return c.Value + "AAAA" },
		"empty":      func(*browser, *http.Cookie) string { return "" },
		"not base64": func(*browser, *http.Cookie) string { return "!!!" },
		"huge":       func(*browser, *http.Cookie) string { return strings.Repeat("A", 100_000) },
		"not sealed": func(*browser, *http.Cookie) string {
			return base64.RawURLEncoding.EncodeToString([]byte(`{"login":{}}`))
		},
		"of another login": func(b *browser, _ *http.Cookie) string { return b.newCookie(w.browser(t).get("/login")).Value },
		"with another key": func(b *browser, _ *http.Cookie) string {
			return b.newCookie(foreign.browser(t).get("/login")).Value
		},
	} {
		b := w.browser(t)
		callback := b.signInAtEntra(b.get("/login"), alice)
		c := b.cookie("__Host-login-")
		b.setCookie(&http.Cookie{Name: c.Name, Value: forge(b, c)})
		if name == "empty" {
			b.wantRejected(callback, http.StatusBadRequest)
		} else {
			b.wantRestarted(callback)
		}
		b.wantUser("")
	}
	// Two sites with one key on one host cannot use each other's cookies.
	b := elsewhere.browser(t)
	theirs := b.newCookie(b.get("/login"))
	own := samekey.browser(t)
	callback := own.signInAtEntra(own.get("/login"), alice)
	ours := own.cookie("__Host-login-")
	if theirs.Name[:len("__Host-login-")+8] == ours.Name[:len("__Host-login-")+8] {
		t.Error("two sites on one host have the same cookie names")
	}
	own.setCookie(&http.Cookie{Name: ours.Name, Value: theirs.Value})
	own.wantRestarted(callback)
}

// A state parameter is rejected if it was changed, truncated or moved to another ID, or if it was sealed with another
// key or for another site.
func TestForgedStatesAreRejected(t *testing.T) {
	oneKey := func(s *settings) { s.site.Keys = []signin.Key{testKey} }
	w := newWebApp(t, oneKey)
	foreign := newWebApp(t)
	elsewhere := newWebApp(t, oneKey, func(s *settings) {
		s.entra.Apps[1].RedirectURIs = []string{origin + "/other"}
		s.flow.RedirectURL = origin + "/other"
	})
	state := func(w *webApp) string {
		b := w.browser(t)
		return b.wantEntraQuery(b.get("/login")).Get("state")
	}
	for name, forge := range map[string]func(state string) string{
		"a bit": func(state string) string {
			raw, err := base64.RawURLEncoding.DecodeString(state[27:])
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			return state[:27] + base64.RawURLEncoding.EncodeToString(raw)
		},
		"cut":           func(state string) string { return state[:len(state)-4] },
		"longer":        func(state string) string { return state + "AAAA" },
		"another ID":    func(own string) string { return state(w)[:27] + own[27:] },
		"lower-case ID": func(state string) string { return strings.ToLower(state[:27]) + state[27:] },
		"no ID":         func(state string) string { return state[26:] },
		"not sealed": func(state string) string {
			return state[:27] + base64.RawURLEncoding.EncodeToString([]byte(`{"login":{}}`))
		},
		"another key":     func(string) string { return state(foreign) },
		"another site":    func(string) string { return state(elsewhere) },
		"the inner state": func(string) string { return strings.Repeat("A", 43) },
	} {
		b := w.browser(t)
		callback := b.signInAtEntra(b.get("/login"), alice)
		q := query(callback)
		q.Set("state", forge(q.Get("state")))
		b.wantRejected(origin+"/callback?"+q.Encode(), http.StatusBadRequest)
		b.wantUser("")
		if kinds := w.log.rejections(t); kinds[len(kinds)-1] != "state_mismatch" {
			t.Errorf("%s: got rejections %v, want last state_mismatch", name, kinds)
		}
		b.wantStatus(b.callback(callback), http.StatusSeeOther, "/") // the sign-in can still be finished
	}
}

// Each state parameter has exactly one valid encoding.
func TestStateEncodingIsStrict(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	var q url.Values
	for page := "/login?return_to=/x"; len(q.Get("state")) == 0 || (len(q.Get("state"))-27)%4 == 0; page += "x" {
		q = query(b.signInAtEntra(b.get(page), alice))
	}
	state := q.Get("state")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.Index(alphabet, state[len(state)-1:])
	q.Set("state", state[:len(state)-1]+string(alphabet[last^1]))
	b.wantRejected(origin+"/callback?"+q.Encode(), http.StatusBadRequest)
	q.Set("state", state)
	b.wantStatus(b.callback(origin+"/callback?"+q.Encode()), http.StatusSeeOther, "")
}

// Oversized requests are rejected with a page.
func TestOversizedRequestsAreRejected(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	big := strings.Repeat("x", 200_000)
	for _, target := range []string{"/callback?state=" + big, "/callback?code=" + big + "&state=x",
		"/login?return_to=/" + big} {
		b.wantStatus(b.get(target), http.StatusBadRequest, "")
	}
	b.wantStatus(b.get("/logout/frontchannel?sid="+big), http.StatusOK, "")
	if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[state_mismatch state_mismatch return_to_too_long]" {
		t.Errorf("got rejections %s", kinds)
	}
	for size, kind := range map[int]string{64 << 10: "no_cookies", 64<<10 + 1: "state_mismatch"} {
		b.wantStatus(b.get("/callback?state="+strings.Repeat("x", size-len("state="))), http.StatusBadRequest, "")
		if kinds := w.log.rejections(t); kinds[len(kinds)-1] != kind {
			t.Errorf("query of %d bytes: got rejections %v, want last %s", size, kinds, kind)
		}
	}
	prefix := b.newCookie(b.get("/login")).Name
	prefix = prefix[:len(prefix)-2]
	cookies := make([]string, 0, 2000)
	for i := range 2000 {
		cookies = append(cookies, fmt.Sprintf("%s%s=%s", prefix, []string{"finished", "page", "01"}[i%3], strings.Repeat("A", 100)))
	}
	r := httptest.NewRequest(http.MethodGet, origin+"/private/x", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Cookie", strings.Join(cookies, "; "))
	rec := httptest.NewRecorder()
	w.app.ServeHTTP(rec, r)
	if rec.Code != http.StatusSeeOther || len(rec.Result().Cookies()) != 1 {
		t.Errorf("got status %d and %d cookies, want 303 and 1", rec.Code, len(rec.Result().Cookies()))
	}

	w = newWebApp(t, formPost)
	b = w.browser(t)
	q := query(b.signInAtEntra(b.get("/login"), alice))
	q.Set("x", big)
	b.wantStatus(b.crossSitePost(origin+"/callback", q), http.StatusBadRequest, "")
	b.wantUser("")
}

// A callback can be used once, even if the browser keeps its cookies, and even in another process.
func TestReplayedCallbackIsRejected(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/login"), alice)
	login := b.cookie("__Host-login-")
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
	id := b.session()

	thief := w.browser(t)
	thief.setCookie(login)
	thief.wantEntra(thief.callback(callback)) // this process remembers the login, and starts another one
	thief.wantUser("")

	second := newWebApp(t, withStore(store), func(s *settings) { s.server = w.Server })
	w.app = second.app
	thief.setCookie(login)
	thief.wantEntra(thief.callback(callback)) // Entra remembers the code
	thief.wantUser("")
	if b.wantUser("Alice Adams"); b.session() != id {
		t.Error("the session has changed")
	}
}

// Frames and subresources do not start a sign-in, neither those of another site nor those of this one. A dashboard
// would otherwise start as many as it has frames. https://github.com/oauth2-proxy/oauth2-proxy/issues/2163
func TestEmbeddedRequestsStartNoSignIn(t *testing.T) {
	w := newWebApp(t, formPost)
	for name, header := range map[string][]string{
		"image":                    {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		"script":                   {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"frame":                    {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		"object":                   {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object"},
		"own frame":                {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "iframe"},
		"frame in an old frameset": {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "frame"},
		"frame of a subdomain":     {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Dest", "iframe"},
		"own embed":                {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "embed"},
		"own fenced frame":         {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "fencedframe"},
		"own script":               {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
	} {
		for _, path := range []string{"/login", "/private/x", "/call"} {
			b := w.browser(t)
			callback := b.signInAtEntra(b.get("/login"), alice)
			for range 6 {
				a := b.get(path, header...)
				if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" || len(a.Cookies()) != 0 {
					t.Errorf("%s of %s: got status %d and cookies %v", name, path, a.StatusCode, a.Cookies())
				}
			}
			b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
		}
	}
	// A link on another site does.
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "document"},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Dest", "document"},
	} {
		b := w.browser(t)
		b.wantEntra(b.get("/login", header...))
	}
}

// In a frame, the page says what to do. Its link leaves the frame and leads back to the page with the frame.
func TestFrameGetsPageWithLink(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	for referer, link := range map[string]string{
		origin + "/dashboard?tab=2": `href="/login?return_to=%2Fdashboard%3Ftab%3D2" target="_top"`,
		"https://intranet.example/": `href="/login?return_to=%2F" target="_top"`,
	} {
		a := b.get("/private/part", "Sec-Fetch-Dest", "iframe", "Referer", referer)
		b.wantStatus(a, http.StatusUnauthorized, "")
		if !strings.Contains(a.body, "You are signed out") || !strings.Contains(a.body, link) ||
			!strings.HasSuffix(a.Header.Get("Content-Security-Policy"), "; frame-ancestors 'self'") {
			t.Errorf("got policy %s and page\n%s", a.Header.Get("Content-Security-Policy"), a.body)
		}
	}
	b.signIn("/private/x", alice)
	b.wantStatus(b.get("/private/part", "Sec-Fetch-Dest", "iframe"), http.StatusOK, "")
	// A page in a frame that requires more, such as consent, does not start a sign-in either.
	b.wantStatus(b.get("/call?scope="+url.QueryEscape(scopeB), "Sec-Fetch-Dest", "iframe"), http.StatusUnauthorized, "")
}

// A link with a return_to of the site's own paths cannot cause a redirect loop.
func TestReturnToLoginGoesHome(t *testing.T) {
	w := newWebApp(t)
	for _, to := range []string{
		"/login", "/login?return_to=/login?return_to=/login", "/%6cogin", "/login#x", "/callback?state=x", "/logout",
		"/logout/frontchannel?sid=x",
	} {
		b := w.browser(t)
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/login?return_to="+url.QueryEscape(to)), alice)), http.StatusSeeOther,
			"/")
	}
	b := w.browser(t)
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login?return_to=/login/help"), alice)), http.StatusSeeOther,
		"/login/help")
}
