package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// No other site signs the user out, and no link, image or prefetch does.
func TestSignOutIsAsked(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	a := b.get("/logout")
	b.wantStatus(a, http.StatusMethodNotAllowed, "")
	if a.Header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", a.Header.Get("Allow"))
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, // a subdomain
		{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "", "Origin", "null"},
	} {
		a := b.post("/logout", nil, header...)
		b.wantStatus(a, http.StatusForbidden, "")
		if !strings.Contains(a.body, "request came from another site") {
			t.Errorf("the page is\n%s", a.body)
		}
	}
	b.wantUser("Alice Adams")
}

// The app's own handlers are protected likewise, but for the exceptions of the Config.
func TestCrossOrigin(t *testing.T) {
	protection := http.NewCrossOriginProtection()
	protection.AddInsecureBypassPattern("/private/hook")
	w := newWebApp(t, func(s *settings) { s.site.CrossOrigin = protection })
	b := w.browser(t)
	b.signIn("/private/x", alice)
	for path, status := range map[string]int{"/private/x": http.StatusForbidden, "/private/hook": http.StatusOK} {
		b.wantStatus(b.post(path, url.Values{"amount": {"1000"}}, "Sec-Fetch-Site", "cross-site"), status, "")
	}
	a := b.post("/private/x", nil, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors")
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, `"error":"cross_origin"`) {
		t.Errorf("a script gets %d %s", a.StatusCode, a.body)
	}
	b.wantStatus(b.post("/private/x", nil), http.StatusOK, "")
}

// Signing out forgets the session's tokens, and leaves alone who else is signed in, were it
// the same user.
func TestSignOutForgetsTokens(t *testing.T) {
	w := newWebApp(t)
	cached := w.flowCache
	b, desk, other := w.browser(t), w.browser(t), w.browser(t)
	b.signIn("/private/x", alice)
	desk.signIn("/private/x", alice) // her other browser
	other.signIn("/private/x", bob)
	if n := cached.Stats().Sessions; n != 3 {
		t.Errorf("tokens of %d sessions are held", n)
	}
	b.wantEntra(b.post("/logout", nil))
	b.wantUser("")
	if n := cached.Stats().Sessions; n != 2 {
		t.Errorf("after the sign-out tokens of %d sessions are held", n)
	}
	if a := desk.get("/call"); a.body != "token true" {
		t.Errorf("the call says %q", a.body)
	}
	if a := other.get("/call"); a.body != "token true" {
		t.Errorf("Bob's call says %q", a.body)
	}
	if n := w.Count(entratest.Match{GrantType: "refresh_token"}); n != 0 {
		t.Errorf("%d refreshes", n)
	}
}

// Whoever has been signed out here is still sent to Entra, so that the session there ends.
func TestSignOutWithoutSession(t *testing.T) {
	w := newWebApp(t, func(s *settings) { s.site.SignedOutURL = "/bye" })
	b := w.browser(t)
	a := b.post("/logout", nil)
	if q := b.wantEntraQuery(a); q.Get("post_logout_redirect_uri") != origin+"/bye" || q.Has("logout_hint") {
		t.Errorf("signs out with %v", q)
	}
}

// The user signs out at Entra, which tells the app through the browser, without cookies.
func TestFrontChannelLogout(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b, other := w.browser(t), w.browser(t)
	callback := b.signInAtEntra(b.get("/private/x"), alice)
	b.callback(callback)
	other.signIn("/private/x", bob)
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	sid := u.Query().Get("session_state") // which the fake makes of it
	frame := w.browser(t)
	open := func(query string) *response {
		t.Helper()
		rec := httptest.NewRecorder()
		rec.Header().Set("X-Frame-Options", "DENY") // some middleware's
		r := httptest.NewRequest(http.MethodGet, origin+"/logout/frontchannel"+query, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Dest", "iframe")
		w.app.ServeHTTP(rec, r)
		return &response{rec.Result(), rec.Body.String()}
	}
	_, commits, deletes := store.counts()
	for _, query := range []string{"", "?sid=", "?sid=00000000-0000-0000-0000-000000000000", "?sid=" + sid + "&sid=" + sid, "?sid=" + strings.Repeat("x", 5000)} {
		frame.wantStatus(open(query), http.StatusOK, "")
	}
	if _, c, d := store.counts(); c != commits || d != deletes {
		t.Error("what anybody can send is written down")
	}
	b.wantUser("Alice Adams")

	a := open("?iss=" + url.QueryEscape(entraHost+"/"+entratest.SampleTenant+"/v2.0") + "&sid=" + sid)
	frame.wantStatus(a, http.StatusOK, "")
	if h := a.Header; a.body != "" || h.Get("X-Frame-Options") != "" || strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors") ||
		h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie") != "" {
		t.Errorf("%v %q", h, a.body)
	}
	b.wantUser("")
	other.wantUser("Bob Brown")
	before := len(w.Requests())
	frame.wantStatus(open("?sid="+sid), http.StatusOK, "") // again
	frame.wantStatus(frame.post("/logout/frontchannel?sid="+sid, nil), http.StatusMethodNotAllowed, "")
	if len(w.Requests()) != before {
		t.Error("Entra was asked")
	}
}

// With one session at Entra several can be here, in several processes: all end.
func TestFrontChannelLogoutEndsAll(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	w.withClaims(map[string]any{"sid": "one-session"})
	first, second := w.browser(t), w.browser(t)
	first.signIn("/private/x", alice)
	second.signIn("/private/x", alice)
	first.wantUser("Alice Adams")
	elsewhere := newWebApp(t, withStore(store))
	elsewhere.browser(t).get("/logout/frontchannel?sid=one-session")
	w.app = elsewhere.app
	first.wantUser("")
	second.wantUser("")

	w.app = w.site.Handler(w.routes())
	second.signIn("/private/x", alice) // with the same session of Entra's, as it happens
	second.wantUser("Alice Adams")
	first.wantUser("")
}

// A sign-out that failed half-way ends, when the user tries again, all that it would have
// ended at once: tokens and other sessions of the same session at Entra.
func TestSignOutTriedAgain(t *testing.T) {
	for _, path := range []string{"/logout", "/logout/frontchannel?sid=the-session"} {
		for point, made := 1, true; made; point++ {
			made = false
			store := newSharedStore()
			w := newWebApp(t, withStore(store))
			w.withClaims(map[string]any{"sid": "the-session"})
			b, other := w.browser(t), w.browser(t)
			other.signIn("/private/x", alice)
			b.signIn("/private/x", alice)
			held := w.flowCache.Stats().Sessions
			send := func() *response {
				if path == "/logout" {
					return b.post(path, nil)
				}
				return b.get(path)
			}
			calls := 0
			store.mu.Lock()
			store.before = func(method, _ string) {
				calls++
				for _, m := range []string{"Find", "Commit", "Delete"} {
					store.setError(m, nil)
				}
				if calls == point {
					made = true
					store.setError(method, errStore)
				}
			}
			store.mu.Unlock()
			if a := send(); made && a.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: when call %d fails: status %d", path, point, a.StatusCode)
			}
			send()
			other.wantUser("")
			b.wantUser("")
			if n := w.flowCache.Stats().Sessions; n != held-1 {
				t.Errorf("%s: when call %d fails, tokens of %d sessions are held, want %d", path, point, n, held-1)
			}
		}
	}
}
