package signin_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

// bothModes runs a test in each response mode.
func bothModes(t *testing.T, test func(t *testing.T, mode func(*settings))) {
	t.Helper()
	for name, mode := range map[string]func(*settings){"query": func(*settings) {}, "form_post": formPost} {
		t.Run(name, func(t *testing.T) { test(t, mode) })
	}
}

// The cookies of a browser name no record but sessions. A user who knows the tid and oid of another one cannot delete
// the record that has ended that user's sessions.
func TestCookiesNameOnlySessions(t *testing.T) {
	bothModes(t, func(t *testing.T, mode func(*settings)) {
		for _, record := range []string{"user change", "user epoch", "user"} {
			w := newWebApp(t, mode)
			stolen, mallory := w.browser(t), w.browser(t)
			own := w.browser(t)
			own.signIn("/private/x", alice)
			stolen.setCookie(own.cookie("__Host-session-"))
			end := func() {
				t.Helper()
				if err := w.site.EndSessions(t.Context(), entratest.SampleTenant, aliceID); err != nil {
					t.Fatal(err)
				}
			}
			if record != "user" {
				end()
			}
			mallory.signIn("/private/x", bob)
			sum := sha256.Sum256([]byte(record + "\x00" + entratest.SampleTenant + " " + aliceID))
			key := base64.RawURLEncoding.EncodeToString(sum[:])
			name := mallory.cookie("__Host-login-").Name
			mallory.setCookie(&http.Cookie{Name: name[:len("__Host-login-12345678-")] + "session", Value: key})
			mallory.wantEntra(mallory.post("/logout", nil))
			if record == "user" {
				end()
			}
			stolen.wantUser("")
			if n := w.tokens.Stats().Sessions; n != 0 {
				t.Errorf("%s: got tokens of %d sessions, want 0", record, n)
			}
		}
	})
}

// twoTabs are two tabs of a browser that both start a sign-in before the browser has a session, and finish it one after
// the other.
type twoTabs struct {
	*webApp
	browser       *browser
	firstCookie   *http.Cookie // the session cookie after the first sign-in
	first, second authcode.Account
}

func newTwoTabs(t *testing.T, between func(*twoTabs), changes ...func(*settings)) *twoTabs {
	t.Helper()
	w := newWebApp(t, changes...)
	w.withClaims(map[string]any{"sid": nil}) // with it, the end of Entra's session would end both
	tabs := &twoTabs{webApp: w, browser: w.browser(t)}
	b := tabs.browser
	account := func() (a authcode.Account) {
		w.calls = func(_ http.ResponseWriter, r *http.Request) { a, _ = signin.AccountFromContext(r.Context()) }
		b.get("/call")
		w.calls = nil
		return a
	}
	one := b.signInAtEntra(b.get("/private/1"), alice)
	two := b.signInAtEntra(b.get("/private/2"), alice)
	b.wantStatus(b.callback(one), http.StatusSeeOther, "/private/1")
	tabs.firstCookie, tabs.first = b.cookie("__Host-session-"), account()
	if between != nil {
		between(tabs)
	}
	b.callback(two)
	tabs.second = account()
	return tabs
}

// wantEnded requires that neither tab is signed in and that no tokens are left.
func (tabs *twoTabs) wantEnded(t *testing.T) {
	t.Helper()
	tabs.browser.wantUser("")
	other := tabs.webApp.browser(t)
	other.setCookie(tabs.firstCookie)
	other.wantUser("")
	if n := tabs.tokens.Stats().Sessions; n != 0 {
		t.Errorf("got tokens of %d sessions, want 0", n)
	}
}

// Two tabs that started a sign-in before the browser had a session belong to one session, with one set of tokens. They
// end together.
func TestTabsShareOneSession(t *testing.T) {
	bothModes(t, func(t *testing.T, mode func(*settings)) {
		tabs := newTwoTabs(t, nil, mode)
		if tabs.first.Session == "" || tabs.first != tabs.second {
			t.Errorf("got the accounts %+v and %+v, want the same", tabs.first, tabs.second)
		}
		tabs.browser.wantEntra(tabs.browser.post("/logout", nil))
		tabs.wantEnded(t)

		for _, second := range []bool{false, true} {
			tabs = newTwoTabs(t, nil, mode)
			a := tabs.first
			if second {
				a = tabs.second
			}
			if err := tabs.site.EndSession(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			tabs.wantEnded(t)
		}

		var result error
		tabs = newTwoTabs(t, func(*twoTabs) { result = &signin.RejectionError{} }, mode, func(s *settings) {
			s.site.OnSignIn = func(context.Context, *authcode.SignIn) error { return result }
		})
		tabs.wantEnded(t)
	})
}

// A session that the app has named keeps its name.
func TestAppNamesSession(t *testing.T) {
	w := newWebApp(t, func(s *settings) {
		s.site.BeforeSignIn = func(_ *http.Request, req *authcode.Request) { req.Session = rand.Text() }
	})
	var names []string
	w.calls = func(_ http.ResponseWriter, r *http.Request) {
		a, _ := signin.AccountFromContext(r.Context())
		names = append(names, a.Session)
	}
	b := w.browser(t)
	for range 2 {
		b.callback(b.signInAtEntra(b.get("/login"), alice))
		b.get("/call")
	}
	if len(names) != 2 || names[0] == names[1] {
		t.Errorf("got the sessions %q, want two", names)
	}
}

// A sign-out also ends the session that the current one has replaced, and the one before, although requests in flight
// may use both for 30 seconds.
func TestSignOutEndsReplacedSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		w.withClaims(map[string]any{"sid": nil})
		b := w.browser(t)
		var old []*browser
		for range 3 {
			b.callback(b.signInAtEntra(b.get("/login"), alice))
			o := w.browser(t)
			o.setCookie(b.cookie("__Host-session-"))
			old = append(old, o)
			time.Sleep(5 * time.Second)
		}
		for _, o := range old {
			o.wantUser("Alice Adams")
		}
		b.wantEntra(b.post("/logout", nil))
		for _, o := range old {
			o.wantUser("")
		}
		for _, failing := range []string{"Find", "Commit", "Delete"} {
			b.callback(b.signInAtEntra(b.get("/login"), alice))
			b.callback(b.signInAtEntra(b.get("/login"), alice))
			store.setError(failing, errStore)
			b.wantStatus(b.post("/logout", nil), http.StatusServiceUnavailable, "")
			store.setError(failing, nil)
			b.wantEntra(b.post("/logout", nil))
			b.wantUser("")
		}
	})
}

// A sign-in that fails because of the session store leaves no tokens behind, unless they belong to a session.
func TestFailedSignInLeavesNoTokens(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/private/x"), alice)
	store.setError("Commit", errStore)
	b.wantStatus(b.callback(callback), http.StatusServiceUnavailable, "")
	if n := w.tokens.Stats().Sessions; n != 0 {
		t.Errorf("got tokens of %d sessions, want 0", n)
	}
	store.setError("Commit", nil)
	b.signIn("/private/x", alice)
	callback = b.signInAtEntra(b.get("/login"), alice)
	store.setError("Commit", errStore)
	b.wantStatus(b.callback(callback), http.StatusServiceUnavailable, "")
	store.setError("Commit", nil)
	if a := b.get("/call"); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
	callback = b.signInAtEntra(b.get("/login"), bob)
	store.setError("Commit", errStore)
	b.wantStatus(b.callback(callback), http.StatusServiceUnavailable, "")
	store.setError("Commit", nil)
	b.wantUser("Alice Adams")
	if n := w.tokens.Stats().Sessions; n != 1 {
		t.Errorf("got tokens of %d sessions, want Alice's", n)
	}
}

// A sign-in may fail after it has started to replace the session of the browser. The session of the same user then ends
// after its grace period or when its next use is recorded, and that of another user at once.
func TestFailedSignInMayEndOldSession(t *testing.T) {
	for _, test := range []struct {
		user    string
		commits int           // the last of which fails
		name    string        // of the signed-in user after the failure
		tokens  int           // sessions with tokens after the failure
		lasts   time.Duration // how long the old session lasts at most without a request
	}{
		{alice, 3, "Alice Adams", 1, time.Minute}, // has written the successor of the old session
		{alice, 4, "Alice Adams", 1, 30 * time.Second},
		{bob, 4, "", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newSharedStore()
			w := newWebApp(t, withStore(store))
			b := w.browser(t)
			b.signIn("/private/x", alice)
			callback := b.signInAtEntra(b.get("/login"), test.user)
			commits := 0
			store.before = func(method, _ string) {
				if method != "Commit" {
					return
				}
				if commits++; commits == test.commits {
					store.setError("Commit", errStore)
				}
			}
			b.wantStatus(b.callback(callback), http.StatusServiceUnavailable, "")
			store.setError("Commit", nil)
			if commits != test.commits {
				t.Errorf("%s: got %d commits, want %d", test.user, commits, test.commits)
			}
			b.wantUser(test.name)
			if n := w.tokens.Stats().Sessions; n != test.tokens {
				t.Errorf("%s, commit %d: got tokens of %d sessions, want %d", test.user, commits, n, test.tokens)
			}
			if a := b.get("/call"); test.name != "" && a.body != "token true" {
				t.Errorf("%s, commit %d: got status %d, want a token", test.user, commits, a.StatusCode)
			}
			time.Sleep(test.lasts)
			b.get("/")
			b.wantUser("")
		})
	}
}

// Browsers may share a session that the app has named. A failed sign-in in one of them does not affect the others,
// unless the app rejects the user.
func TestFailedSignInKeepsSharedSession(t *testing.T) {
	bothModes(t, func(t *testing.T, mode func(*settings)) {
		store, tokens := newSharedStore(), storetest.NewMemory()
		var result error
		w := newWebApp(t, mode, withStore(store), func(s *settings) {
			s.site.BeforeSignIn = func(_ *http.Request, req *authcode.Request) { req.Session = "shared" }
			s.site.OnSignIn = func(context.Context, *authcode.SignIn) error { return result }
			s.client.Cache = cache.New(cache.Options{
				Store: tokens, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
			})
		})
		first := w.browser(t)
		first.signIn("/private/x", alice)
		wantToken := func() {
			t.Helper()
			if a := first.get("/call"); a.StatusCode != http.StatusOK || a.body != "token true" {
				t.Errorf("got status %d in the first browser, want 200 and a token", a.StatusCode)
			}
		}
		wantToken()
		fail := func(status int) {
			t.Helper()
			second := w.browser(t)
			second.wantStatus(second.callback(second.signInAtEntra(second.get("/private/x"), alice)), status, "")
			second.wantUser("")
		}
		store.setError("Commit", errStore)
		fail(http.StatusServiceUnavailable)
		store.setError("Commit", nil)
		wantToken()
		result = errors.New("database failed")
		fail(http.StatusServiceUnavailable)
		wantToken()

		result = &signin.RejectionError{}
		before := tokens.Calls(storetest.OpNotify)
		fail(http.StatusForbidden)
		first.wantUser("")
		if n := w.tokens.Stats().Sessions; n != 0 {
			t.Errorf("got tokens of %d sessions after the rejection, want 0", n)
		}
		if n := tokens.Calls(storetest.OpNotify) - before; n != 1 {
			t.Errorf("got %d messages about the rejection, want 1", n)
		}
	})
}

// If the session cannot be read, the code is not redeemed. The user can load the callback again.
func TestCallbackCanBeLoadedAgainAfterStoreFailure(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	callback := b.signInAtEntra(b.get("/login?return_to=/private/y"), alice)
	before := w.Posts()
	store.setError("Find", errStore)
	b.wantStatus(b.callback(callback), http.StatusServiceUnavailable, "")
	store.setError("Find", nil)
	if n := w.Posts(); len(n) != len(before) {
		t.Errorf("got %d token requests, want 0", len(n)-len(before))
	}
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/y")
}
