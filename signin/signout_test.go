package signin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

// Links, images, prefetches and other sites cannot sign the user out.
func TestSignOutRequiresSameOriginPost(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	a := b.get("/logout")
	b.wantStatus(a, http.StatusMethodNotAllowed, "")
	if a.Header.Get("Allow") != "POST" {
		t.Errorf("got Allow: %q", a.Header.Get("Allow"))
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, // a subdomain
		{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "", "Origin", "null"},
	} {
		a := b.post("/logout", nil, header...)
		b.wantStatus(a, http.StatusForbidden, "")
		if !strings.Contains(a.body, "request came from another site") {
			t.Errorf("got page\n%s", a.body)
		}
	}
	b.wantUser("Alice Adams")
}

// Handlers of the app are protected from other sites, except for the exceptions in Config.CrossOrigin.
func TestCrossOriginRequestsAreRejected(t *testing.T) {
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
		t.Errorf("a script got status %d, %s", a.StatusCode, a.body)
	}
	b.wantStatus(b.post("/private/x", nil), http.StatusOK, "")
}

// A sign-out removes the tokens of its session, and no others, not even those of the same user in another browser.
func TestSignOutRemovesTokensOfSession(t *testing.T) {
	w := newWebApp(t)
	cached := w.tokens
	b, desk, other := w.browser(t), w.browser(t), w.browser(t)
	b.signIn("/private/x", alice)
	desk.signIn("/private/x", alice) // her other browser
	other.signIn("/private/x", bob)
	if n := cached.Stats().Sessions; n != 3 {
		t.Errorf("got tokens of %d sessions in the cache", n)
	}
	b.wantEntra(b.post("/logout", nil))
	b.wantUser("")
	if n := cached.Stats().Sessions; n != 2 {
		t.Errorf("after the sign-out: got tokens of %d sessions in the cache, want 2", n)
	}
	if a := desk.get("/call"); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
	if a := other.get("/call"); a.body != "token true" {
		t.Errorf("Bob got body %q, want \"token true\"", a.body)
	}
	if n := w.Count(entratest.Match{GrantType: "refresh_token"}); n != 0 {
		t.Errorf("got %d refreshes, want 0", n)
	}
}

// Signing in and out repeatedly is not taken for a redirect loop.
func TestRepeatedSignOutsAreNoLoop(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	for range 5 {
		b.signIn("/private/x", alice)
		b.wantUser("Alice Adams")
		b.wantEntra(b.post("/logout", nil))
	}
}

// A sign-out without a session still redirects to Entra, to end the session there.
func TestSignOutWithoutSessionRedirects(t *testing.T) {
	w := newWebApp(t, func(s *settings) { s.site.SignedOutURL = "/bye" })
	b := w.browser(t)
	a := b.post("/logout", nil)
	if q := b.wantEntraQuery(a); q.Get("post_logout_redirect_uri") != origin+"/bye" || q.Has("logout_hint") {
		t.Errorf("got sign-out request %v", q)
	}
}

// The front-channel logout ends the session of its sid, without cookies.
func TestFrontChannelLogoutEndsSession(t *testing.T) {
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
	sid := u.Query().Get("session_state") // equals sid in the fake
	frame := w.browser(t)
	open := func(query string) *response {
		t.Helper()
		rec := httptest.NewRecorder()
		rec.Header().Set("X-Frame-Options", "DENY") // as middleware may
		r := httptest.NewRequest(http.MethodGet, origin+"/logout/frontchannel"+query, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Dest", "iframe")
		w.app.ServeHTTP(rec, r)
		return &response{rec.Result(), rec.Body.String()}
	}
	_, commits, deletes := store.counts()
	for _, query := range []string{"", "?sid=", "?sid=00000000-0000-0000-0000-000000000000", "?sid=" + sid + "&sid=" + sid,
		"?sid=" + strings.Repeat("x", 5000)} {
		frame.wantStatus(open(query), http.StatusOK, "")
	}
	if _, c, d := store.counts(); c != commits || d != deletes {
		t.Error("a logout without a known sid wrote to the store")
	}
	b.wantUser("Alice Adams")

	a := open("?iss=" + url.QueryEscape(entraHost+"/"+entratest.SampleTenant+"/v2.0") + "&sid=" + sid)
	frame.wantStatus(a, http.StatusOK, "")
	if h := a.Header; a.body != "" || h.Get("X-Frame-Options") != "" ||
		strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors") ||
		h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie") != "" {
		t.Errorf("got headers %v and body %q", h, a.body)
	}
	if _, _, d := store.counts(); d != deletes+1 {
		t.Errorf("got %d deletes, want 1, of the session", d-deletes)
	}
	b.wantUser("")
	other.wantUser("Bob Brown")
	before := len(w.Requests())
	frame.wantStatus(open("?sid="+sid), http.StatusOK, "") // again
	frame.wantStatus(frame.post("/logout/frontchannel?sid="+sid, nil), http.StatusMethodNotAllowed, "")
	if len(w.Requests()) != before {
		t.Error("the logout sent requests to Entra")
	}
}

// The front-channel logout ends all sessions of one session at Entra, in all processes.
func TestFrontChannelLogoutEndsAllSessions(t *testing.T) {
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
	second.signIn("/private/x", alice) // in the same session at Entra
	second.wantUser("Alice Adams")
	first.wantUser("")
}

// The end of a session at Entra is remembered as long as any session that belongs to it can last. Only the latest of
// them is deleted at once.
func TestFrontChannelLogoutIsRememberedForLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, func(s *settings) { s.site.IdleTimeout = s.site.Lifetime + 8*time.Hour })
		w.withClaims(map[string]any{"sid": "one-session"})
		first, second := w.browser(t), w.browser(t)
		first.signIn("/private/x", alice)
		second.signIn("/private/x", alice)
		first.get("/logout/frontchannel?sid=one-session")
		for range 8 {
			time.Sleep(time.Hour - time.Second)
			first.wantUser("")
			second.wantUser("")
		}
	})
}

// A sign-out does not stop half-way if the client disconnects.
func TestSignOutFinishesWithoutClient(t *testing.T) {
	for path, calls := range map[string]int{"/logout": 12, "/logout/frontchannel?sid=the-session": 5} {
		store := &contextStore{sharedStore: newSharedStore()}
		w := newWebApp(t, withStore(store))
		w.withClaims(map[string]any{"sid": "the-session"})
		b := w.browser(t)
		b.signIn("/private/x", alice)
		ctx, disconnect := context.WithCancel(t.Context())
		store.before = func(method, _ string) {
			if method == "Commit" {
				disconnect()
			}
		}
		store.live = nil
		method := http.MethodGet
		if path == "/logout" {
			method = http.MethodPost
		}
		r := httptest.NewRequestWithContext(ctx, method, origin+path, nil)
		r.AddCookie(b.cookie("__Host-session-"))
		w.app.ServeHTTP(httptest.NewRecorder(), r)
		if want := slices.Repeat([]bool{true}, calls); !slices.Equal(store.live, want) {
			t.Errorf("%s: got live contexts %v, want %v", path, store.live, want)
		}
		b.wantUser("")
		disconnect()
	}
}

// If a sign-out fails half-way, a retry ends everything: the tokens, and other sessions of the same session at Entra.
func TestSignOutCanBeRetried(t *testing.T) {
	for _, path := range []string{"/logout", "/logout/frontchannel?sid=the-session"} {
		for point, made := 1, true; made; point++ {
			made = false
			store := newSharedStore()
			w := newWebApp(t, withStore(store))
			w.withClaims(map[string]any{"sid": "the-session"})
			b, other := w.browser(t), w.browser(t)
			other.signIn("/private/x", alice)
			b.signIn("/private/x", alice)
			cached := w.tokens.Stats().Sessions
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
				t.Errorf("%s: when call %d fails: got status %d, want 503", path, point, a.StatusCode)
			}
			send()
			other.wantUser("")
			b.wantUser("")
			if n := w.tokens.Stats().Sessions; n != cached-1 {
				t.Errorf("%s: when call %d fails: got tokens of %d sessions in the cache, want %d", path, point, n, cached-1)
			}
		}
	}
}

// A repeated front-channel logout writes nothing: its URL is public and contains the sid.
func TestRepeatedFrontChannelLogoutWritesNothing(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	w.withClaims(map[string]any{"sid": "one-session"})
	b := w.browser(t)
	for range 2 { // the second session at Entra with this sid is ended, too
		b.signIn("/private/x", alice)
		b.wantUser("Alice Adams")
		_, before, _ := store.counts()
		b.get("/logout/frontchannel?sid=one-session")
		finds, commits, deletes := store.counts()
		if commits != before+2 { // the epoch and a tombstone
			t.Errorf("got %d writes, want 2", commits-before)
		}
		for range 5 {
			b.wantStatus(b.get("/logout/frontchannel?sid=one-session"), http.StatusOK, "")
		}
		if f, c, d := store.counts(); f != finds+10 || c != commits || d != deletes {
			t.Errorf("repeated: got %d reads, %d writes, %d deletes, want 10, 0, 0", f-finds, c-commits, d-deletes)
		}
		b.wantUser("")
	}
}

// The app ends all sessions of a user, for example of one who was dismissed, and removes the tokens.
func TestEndSessionsEndsAllSessionsOfUser(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	desk, phone, other := w.browser(t), w.browser(t), w.browser(t)
	desk.signIn("/private/x", alice)
	phone.signIn("/private/x", alice)
	other.signIn("/private/x", bob)
	if err := w.site.EndSessions(t.Context(), entratest.SampleTenant, strings.ToUpper(aliceID)); err != nil {
		t.Fatal(err)
	}
	desk.wantUser("")
	phone.wantUser("")
	other.wantUser("Bob Brown")
	if n := w.tokens.Stats().Sessions; n != 1 {
		t.Errorf("got tokens of %d sessions in the cache, want 1, of Bob", n)
	}
	desk.signIn("/private/x", alice) // the next sign-in counts
	desk.wantUser("Alice Adams")
	phone.wantUser("")
	for _, ids := range [][2]string{{"", aliceID}, {entratest.SampleTenant, ""}, {"contoso.example", aliceID}} {
		if err := w.site.EndSessions(t.Context(), ids[0], ids[1]); testkit.Error(t, err).Code != "invalid_request" {
			t.Errorf("EndSessions(%q): got error %v, want invalid_request", ids, err)
		}
	}
}

// A session that starts after EndSessions lasts as long as any other, although the record of EndSessions expires first.
func TestSessionOutlivesRecordOfEndSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, withStore(newSharedStore()))
		if err := w.site.EndSessions(t.Context(), entratest.SampleTenant, aliceID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		desk := w.browser(t)
		desk.signIn("/private/x", alice)
		for range 31 { // 7 hours and 45 minutes of 8 hours
			time.Sleep(15 * time.Minute)
			desk.wantUser("Alice Adams")
		}
		if err := w.site.EndSessions(t.Context(), entratest.SampleTenant, aliceID); err != nil {
			t.Fatal(err)
		}
		desk.wantUser("")
	})
}

// The app ends one session of a user, such as that of a lost phone, with all sessions that replaced it.
func TestEndSessionEndsOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		var account authcode.Account
		w.calls = func(_ http.ResponseWriter, r *http.Request) { account, _ = signin.AccountFromContext(r.Context()) }
		desk, phone := w.browser(t), w.browser(t)
		desk.signIn("/private/x", alice)
		phone.signIn("/call", alice)
		phone.get("/call")
		phone.callback(phone.signInAtEntra(phone.get("/login"), alice)) // replaces the session
		phone.wantUser("Alice Adams")
		if err := w.site.EndSession(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		phone.wantUser("")
		for range 3 {
			desk.wantUser("Alice Adams")
			time.Sleep(2 * time.Minute)
		}
		before, _, _ := store.counts()
		desk.wantUser("Alice Adams")
		if after, _, _ := store.counts(); after-before > 6 {
			t.Errorf("got %d reads for a session that has survived, want at most 6", after-before)
		}
		if n := w.tokens.Stats().Sessions; n != 1 {
			t.Errorf("got tokens of %d sessions in the cache, want 1", n)
		}
		for _, a := range []authcode.Account{
			{}, {HomeAccountID: account.HomeAccountID}, {Session: account.Session},
		} {
			if err := w.site.EndSession(t.Context(), a); testkit.Error(t, err).Code != "invalid_request" {
				t.Errorf("incomplete account %+v: got error %v, want invalid_request", a, err)
			}
		}
	})
}

// EndSession returns an error if any of its calls of the store fails.
func TestEndSessionReportsFailures(t *testing.T) {
	for point := 1; ; point++ {
		calls := 0
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		var account authcode.Account
		w.calls = func(_ http.ResponseWriter, r *http.Request) { account, _ = signin.AccountFromContext(r.Context()) }
		b := w.browser(t)
		b.signIn("/call", alice)
		b.get("/call")
		store.mu.Lock()
		store.before = func(method, _ string) {
			store.setError("Find", nil)
			store.setError("Commit", nil)
			if calls++; calls == point {
				store.setError(method, errStore)
			}
		}
		store.mu.Unlock()
		err := w.site.EndSession(t.Context(), account)
		if calls < point { // there is no such call
			if err != nil || calls != 2 {
				t.Errorf("got error %v after %d calls of the store, want no error after 2", err, calls)
			}
			break
		}
		if testkit.Error(t, err).Code != "temporarily_unavailable" {
			t.Errorf("call %d fails: got error %v, want temporarily_unavailable", point, err)
		}
	}
}

// A sign-out ends both the sign-in in progress and the session, even for another browser with the same cookie.
func TestSignOutWithSignInInProgressEndsSession(t *testing.T) {
	w := newWebApp(t)
	w.withClaims(map[string]any{"sid": nil})
	b, other := w.browser(t), w.browser(t)
	b.signIn("/private/x", alice)
	other.setCookie(b.cookie("__Host-session-"))
	b.wantEntra(b.get("/login"))
	b.wantEntra(b.get("/login"))
	other.wantUser("Alice Adams")
	b.wantEntra(b.post("/logout", nil))
	other.wantUser("")
}

// A sign-out of a browser whose session has expired ends the session of a login that has just been finished.
func TestSignOutWithoutSessionEndsFinishedLogin(t *testing.T) {
	w := newWebApp(t)
	b, tab := w.browser(t), w.browser(t)
	callback := b.signInAtEntra(b.get("/private/x"), alice)
	login := b.cookie("__Host-login-")
	b.callback(callback)
	expired := *b.cookie("__Host-session-")
	expired.Value = strings.Repeat("A", len(expired.Value))
	tab.setCookie(&expired)
	tab.setCookie(login)
	b.wantUser("Alice Adams")
	tab.wantEntra(tab.post("/logout", nil))
	b.wantUser("")
}

func TestFrontChannelLogoutAcceptsLongSIDs(t *testing.T) {
	for length, signedIn := range map[int]bool{256: false, 257: true} {
		w := newWebApp(t)
		sid := strings.Repeat("s", length)
		w.withClaims(map[string]any{"sid": sid})
		b := w.browser(t)
		b.signIn("/private/x", alice)
		w.browser(t).get("/logout/frontchannel?sid=" + sid)
		logged := strings.Contains(w.log.String(), `"signin: signed out by Entra"`)
		if got := strings.HasPrefix(b.get("/").body, "true"); got != signedIn || logged == signedIn {
			t.Errorf("a sid of %d bytes: got signed in = %v and a log record = %v, want %v, %v", length, got, logged,
				signedIn, !signedIn)
		}
	}
}
