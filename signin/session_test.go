package signin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

var testKey = signin.NewKey([]byte("0123456789abcdef0123456789abcdef"))

func withStore(store signin.Store) func(*settings) {
	return func(s *settings) { s.site.Store, s.site.Keys = store, []signin.Key{testKey} }
}

func TestIdleSessionExpires(t *testing.T) {
	for name, change := range map[string]func(*settings){"in memory": func(*settings) {},
		"in a store": withStore(newSharedStore())} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWebApp(t, change, func(s *settings) { s.site.IdleTimeout = 30 * time.Minute })
				b := w.browser(t)
				b.signIn("/private/x", alice)
				for range 5 { // in use
					time.Sleep(29*time.Minute - time.Second)
					b.wantUser("Alice Adams")
				}
				time.Sleep(30 * time.Minute)
				b.wantUser("")
				b.wantEntra(b.get("/private/x"))
			})
		})
	}
}

// Even a session in use expires after Lifetime.
func TestSessionExpiresAfterLifetime(t *testing.T) {
	for name, change := range map[string]func(*settings){"in memory": func(*settings) {},
		"in a store": withStore(newSharedStore())} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWebApp(t, change, func(s *settings) { s.site.Lifetime = 2 * time.Hour })
				b := w.browser(t)
				b.signIn("/private/x", alice)
				for range 11 {
					time.Sleep(10 * time.Minute)
					b.wantUser("Alice Adams")
				}
				time.Sleep(10*time.Minute - time.Millisecond)
				b.wantUser("Alice Adams")
				time.Sleep(time.Millisecond)
				b.wantUser("")
			})
		})
	}
}

// A new sign-in just before the end of Lifetime does not extend the replaced session.
func TestReplacedSessionExpiresAfterLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		store.noExpiry = true
		w := newWebApp(t, withStore(store), func(s *settings) { s.site.Lifetime = 30 * time.Minute })
		b, other := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		other.setCookie(b.cookie("__Host-session-"))
		time.Sleep(30*time.Minute - 10*time.Second)
		callback := b.signInAtEntra(b.get("/login"), alice)
		b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
		time.Sleep(9 * time.Second)
		other.wantUser("Alice Adams")
		time.Sleep(time.Second)
		other.wantUser("")
		b.wantUser("Alice Adams")
	})
}

// The store may drop each record only when no request needs it any longer: a tombstone and a successor after 10
// minutes, the mark of a sign-out also after LoginTimeout, and an epoch also after Lifetime.
func TestRecordsAreStoredLongEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		want := func(when string, lifetimes ...time.Duration) {
			t.Helper()
			var got []time.Duration
			for _, e := range store.all() {
				got = append(got, time.Until(e.expiry))
			}
			if slices.Sort(got); !slices.Equal(got, lifetimes) {
				t.Errorf("%s: got records for %v, want %v", when, got, lifetimes)
			}
		}
		const epoch = 8*time.Hour + 10*time.Minute
		b.signIn("/private/x", alice)
		// The successor of the login, session and Entra session.
		want("after the sign-in", 10*time.Minute, time.Hour, 8*time.Hour, 8*time.Hour)
		w.withClaims(map[string]any{"sid": "another"})
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), alice)), http.StatusSeeOther, "/")
		// The replaced session, its successor and those of two logins, the new session, two Entra sessions and the user.
		want("after the second sign-in", 30*time.Second, 10*time.Minute, 10*time.Minute, 10*time.Minute, time.Hour,
			8*time.Hour, 8*time.Hour, 8*time.Hour)
		b.wantEntra(b.post("/logout", nil))
		// Both sessions became tombstones. The mark of the sign-out and an epoch were added.
		want("after the sign-out", 10*time.Minute, 10*time.Minute, 10*time.Minute, 10*time.Minute, 10*time.Minute,
			25*time.Minute, 8*time.Hour, 8*time.Hour, 8*time.Hour, epoch)
	})
}

// Sessions expire even if the store ignores the expiry.
func TestSessionExpiresInStoreWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		store.noExpiry = true
		w := newWebApp(t, withStore(store), func(s *settings) { s.site.Lifetime = 2 * time.Hour })
		idle, busy := w.browser(t), w.browser(t)
		idle.signIn("/private/x", alice)
		busy.signIn("/private/x", alice)
		for range 2 {
			time.Sleep(30*time.Minute - time.Second)
			idle.get("/style.css") // does not load the session
			busy.wantUser("Alice Adams")
			time.Sleep(time.Second)
		}
		idle.wantUser("")
		for range 2 {
			busy.wantUser("Alice Adams")
			time.Sleep(30 * time.Minute)
		}
		busy.wantUser("")
	})
}

// A session is written at the sign-in and then at most once a minute. It is read only if the handler needs it.
func TestStoreTrafficIsLow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		finds, commits, deletes := store.counts()
		for range 100 {
			b.get("/style.css")
		}
		if f, _, _ := store.counts(); f != finds {
			t.Errorf("got %d reads for public pages, want 0", f-finds)
		}
		for range 600 { // 10 minutes
			b.wantUser("Alice Adams")
			time.Sleep(time.Second)
		}
		f, c, d := store.counts()
		if c-commits != 9 || d != deletes || f-finds != 3*600+3*9 {
			t.Errorf("got %d reads, %d writes, %d deletes", f-finds, c-commits, d-deletes)
		}
	})
}

// The use of a session is recorded once a minute, or more often if IdleTimeout is shorter than 8 minutes.
func TestTouchInterval(t *testing.T) {
	for idle, interval := range map[time.Duration]time.Duration{
		time.Hour: time.Minute, 8 * time.Minute: time.Minute, 4 * time.Minute: 30 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newSharedStore()
			w := newWebApp(t, withStore(store), func(s *settings) { s.site.IdleTimeout = idle })
			b := w.browser(t)
			b.signIn("/private/x", alice)
			_, before, _ := store.counts()
			time.Sleep(interval - time.Nanosecond)
			b.wantUser("Alice Adams")
			_, early, _ := store.counts()
			time.Sleep(time.Nanosecond)
			b.wantUser("Alice Adams")
			if _, after, _ := store.counts(); early != before || after != before+1 {
				t.Errorf("IdleTimeout %v: got %d writes before %v and %d at it, want 0 and 1", idle, early-before, interval,
					after-early)
			}
		})
	}
}

// Records in the store are sealed. Their keys are not session IDs, and a record cannot be moved to another key.
func TestStoreRecordsAreSealed(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store), func(s *settings) { s.site.KeepClaims = true })
	a, b := w.browser(t), w.browser(t)
	a.signIn("/private/x", alice)
	b.signIn("/private/x", bob)
	entries := store.all()
	if len(entries) != 8 { // each with an Entra session and the successor of its login
		t.Fatalf("got %d records for two sessions, want 8", len(entries))
	}
	for token, e := range entries {
		for _, hidden := range []string{"Alice", "alice", "Bob", aliceID, a.session(), b.session(), "tid",
			"home_account_id"} {
			if bytes.Contains(e.b, []byte(hidden)) || strings.Contains(token, hidden) {
				t.Errorf("the store contains %q in the clear", hidden)
			}
		}
	}
	// Each record under the key of each other.
	for token := range entries {
		for _, other := range entries {
			if bytes.Equal(entries[token].b, other.b) {
				continue
			}
			store.mu.Lock()
			store.entries[token] = other
			store.mu.Unlock()
			if got := a.get("/"); strings.Contains(got.body, "Bob") {
				t.Fatal("Alice is signed in as Bob")
			}
			store.mu.Lock()
			store.entries[token] = entries[token]
			store.mu.Unlock()
		}
	}
	a.wantUser("Alice Adams")
	// The key of a session is not accepted as its ID.
	thief := w.browser(t)
	name := a.cookie("__Host-session-").Name
	for token := range entries {
		for _, value := range []string{token, token[:26], strings.ToUpper(token)[:26]} {
			thief.setCookie(&http.Cookie{Name: name, Value: value})
			thief.wantUser("")
		}
	}
	// Records with a changed bit.
	store.mu.Lock()
	for token, e := range store.entries {
		changed := bytes.Clone(e.b)
		changed[len(changed)/2] ^= 1
		store.entries[token] = item{changed, e.expiry}
	}
	store.mu.Unlock()
	a.wantUser("")
}

// Two sites may share a host, a key and a store, and a user has the same sid at both. A session of one site is not
// valid at the other, and a front-channel logout of one does not affect the other.
func TestSitesWithOneStoreAreSeparate(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store), func(s *settings) {
		s.entra.Apps[1].RedirectURIs = append(s.entra.Apps[1].RedirectURIs, origin+"/other/callback")
	})
	other := newWebApp(t, withStore(store), func(s *settings) {
		s.server, s.flow.RedirectURL = w.Server, origin+"/other/callback"
		s.site.LoginPath, s.site.LogoutPath, s.site.FrontChannelLogoutPath = "/other/login", "/other/logout", "/other/front"
	})
	for _, app := range []*webApp{w, other} {
		app.withClaims(map[string]any{"sid": "the-session"})
	}
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	mux := http.NewServeMux()
	mux.Handle("/private", w.site.RequireSignIn(page))
	mux.Handle("/other/private", other.site.RequireSignIn(page))
	w.app = w.site.Handler(other.site.Handler(mux))

	first, second, thief := w.browser(t), w.browser(t), w.browser(t)
	for _, b := range []*browser{first, second} {
		b.signIn("/private", alice)
		own := b.cookie("__Host-session-")
		b.deleteCookie(own.Name)
		b.signIn("/other/private", alice)
		others := b.cookie("__Host-session-")
		b.setCookie(own)
		thief.setCookie(&http.Cookie{Name: others.Name, Value: own.Value})
		thief.setCookie(&http.Cookie{Name: own.Name, Value: others.Value})
		thief.wantEntra(thief.get("/private"))
		thief.wantEntra(thief.get("/other/private"))
	}
	wantStatus := func(own, others int) {
		t.Helper()
		for _, b := range []*browser{first, second} {
			b.wantStatus(b.get("/private"), own, "")
			b.wantStatus(b.get("/other/private"), others, "")
		}
	}
	wantStatus(http.StatusOK, http.StatusOK)
	w.browser(t).get("/logout/frontchannel?sid=the-session")
	wantStatus(http.StatusSeeOther, http.StatusOK)
	w.browser(t).get("/other/front?sid=the-session")
	wantStatus(http.StatusSeeOther, http.StatusSeeOther)
}

// Two sites in one app can both use form_post: the outer site passes Entra's POST to the inner one, and nothing else.
func TestTwoSitesWithFormPost(t *testing.T) {
	w := newWebApp(t, formPost, func(s *settings) {
		s.entra.Apps[1].RedirectURIs = append(s.entra.Apps[1].RedirectURIs, origin+"/other/callback")
	})
	other := newWebApp(t, formPost, func(s *settings) {
		s.server, s.flow.RedirectURL = w.Server, origin+"/other/callback"
		s.site.LoginPath, s.site.LogoutPath, s.site.FrontChannelLogoutPath = "/other/login", "/other/logout", "/other/front"
	})
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	mux := http.NewServeMux()
	mux.Handle("/private", w.site.RequireSignIn(page))
	mux.Handle("/other/private", other.site.RequireSignIn(page))
	for name, app := range map[string]http.Handler{
		"outer and inner": w.site.Handler(other.site.Handler(mux)), "the other way round": other.site.Handler(w.site.Handler(mux)),
	} {
		t.Run(name, func(t *testing.T) {
			w.app = app
			b := w.browser(t)
			for _, path := range []string{"/private", "/other/private"} {
				if to := b.signIn(path, alice); to != path {
					t.Errorf("%s returns to %s", path, to)
				}
			}
			for _, path := range []string{"/private", "/other/private"} {
				b.wantStatus(b.get(path), http.StatusOK, "")
				b.wantStatus(b.crossSitePost(origin+path, url.Values{}), http.StatusForbidden, "")
			}
			b.wantStatus(b.crossSitePost(origin+"/other/logout", url.Values{}), http.StatusForbidden, "")
		})
	}
}

// If the store fails, no user is signed in, and the response is 503.
func TestStoreFailureIsUnavailable(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)

	store.setError("Find", errStore)
	b.wantUser("")
	a := b.get("/private/x")
	b.wantStatus(a, http.StatusServiceUnavailable, "")
	if strings.Contains(a.body, "192.0.2.1") || !strings.Contains(a.body, "not responding") ||
		a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got page\n%s", a.body)
	}
	a = b.get("/private/x", "Sec-Fetch-Mode", "cors", "Accept", "application/json")
	if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `"error":"unavailable"`) {
		t.Errorf("a script got status %d, %s", a.StatusCode, a.body)
	}
	b.wantStatus(b.post("/logout", nil), http.StatusServiceUnavailable, "")
	store.setError("Find", nil)
	b.wantUser("Alice Adams")

	for _, method := range []string{"Commit", "Delete"} {
		store.setError(method, errStore)
		b.wantStatus(b.post("/logout", nil), http.StatusServiceUnavailable, "")
		if b.session() == "" {
			t.Error("the session cookie was deleted, so the user cannot retry")
		}
		store.setError(method, nil)
		if method == "Commit" {
			b.wantUser("Alice Adams")
			continue
		}
		b.wantUser("") // the new epoch of Entra's session was written, which ends this one
		b.signIn("/private/x", alice)
	}
	callback := b.signInAtEntra(b.get("/login?return_to=/private/y"), bob)
	store.setError("Commit", errStore)
	b.wantStatus(b.callback(callback), http.StatusServiceUnavailable, "")
	store.setError("Commit", nil)
	b.wantUser("Alice Adams")

	out := w.browser(t)
	store.setError("Find", errStore)
	if a := out.get("/logout/frontchannel?sid=x"); a.StatusCode != http.StatusServiceUnavailable || a.body != "" {
		t.Errorf("front-channel logout: got status %d, %q", a.StatusCode, a.body)
	}
	if log := w.log.String(); strings.Count(log, "connection refused") != 11 {
		t.Errorf("got the cause %d times in the log, want 11:\n%s", strings.Count(log, "connection refused"), log)
	}
}

// Tokens in an error of the store are not logged, and long errors are cut.
func TestLogRedactsStoreErrors(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzIn0.c2lnbmF0dXJl"
	store.setError("Find", errors.New("AUTH failed: "+token+strings.Repeat(" x", 1000)))
	b.wantStatus(b.get("/private/x"), http.StatusServiceUnavailable, "")
	log := w.log.Lines(t)
	cause, _ := log[len(log)-1]["cause"].(string)
	if !strings.HasPrefix(cause, "AUTH failed: [redacted] x") || strings.Contains(w.log.String(), token) ||
		len(cause) > 1003 {
		t.Errorf("got cause %q", cause)
	}
}

// If the client is gone, its request fails without a log record above debug level.
func TestCanceledRequestIsNotLogged(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	store.setError("Find", context.Canceled)
	before := w.log.String()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, origin+"/private/x", nil)
	r.AddCookie(b.cookie("__Host-session-"))
	rec := httptest.NewRecorder()
	w.app.ServeHTTP(rec, r)
	if rec.Code != http.StatusServiceUnavailable || w.log.String() != before {
		t.Errorf("got status %d and log %s", rec.Code, strings.TrimPrefix(w.log.String(), before))
	}
}

// If any call of the store fails, sign-in, sign-out and front-channel logout respond with 503, and the browser gets no
// new session.
func TestAnyStoreCallMayFail(t *testing.T) {
	for _, sid := range []bool{true, false} {
		for name, request := range map[string]func(b *browser, callback string) *response{
			"callback":      func(b *browser, callback string) *response { return b.callback(callback) },
			"logout":        func(b *browser, _ string) *response { return b.post("/logout", nil) },
			"front channel": func(b *browser, _ string) *response { return b.get("/logout/frontchannel?sid=the-session") },
			"interact":      func(b *browser, _ string) *response { return b.get("/call?scope=" + scopeB) },
			"page":          func(b *browser, _ string) *response { return b.get("/private/x") },
		} {
			for point := 1; ; point++ {
				store := newSharedStore()
				w := newWebApp(t, withStore(store))
				w.withClaims(map[string]any{"sid": "the-session"})
				if !sid {
					w.withClaims(map[string]any{"sid": nil})
				}
				b := w.browser(t)
				b.signIn("/private/x", alice)
				callback, id := b.signInAtEntra(b.get("/login"), alice), b.session()
				calls := 0
				store.mu.Lock()
				store.before = func(method, _ string) {
					calls++
					store.setError("Find", nil)
					store.setError("Commit", nil)
					store.setError("Delete", nil)
					if calls == point {
						store.setError(method, errStore)
					}
				}
				store.mu.Unlock()
				a := request(b, callback)
				if calls < point { // there is no such call
					if point == 1 {
						t.Errorf("%s, sid %t: got no call of the store", name, sid)
					}
					break
				}
				if a.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%s, sid %t: when call %d fails: got status %d, want 503", name, sid, point, a.StatusCode)
				}
				if b.session() != id {
					t.Errorf("%s, sid %t: when call %d fails: the browser has a new session", name, sid, point)
				}
			}
		}
	}
}

// If the use of a session cannot be recorded, the session continues but may expire early.
func TestFailedTouchKeepsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		store.setError("Commit", errStore)
		time.Sleep(40 * time.Minute)
		b.wantUser("Alice Adams")
		time.Sleep(40 * time.Minute)
		b.wantUser("")
	})
}

// If the client disconnects while the use of its session is recorded, the request still checks for a sign-out.
func TestTouchFinishesWithoutClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &contextStore{sharedStore: newSharedStore()}
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		time.Sleep(2 * time.Minute) // the next use is recorded
		ctx, disconnect := context.WithCancel(t.Context())
		store.before = func(method, _ string) {
			if method == "Commit" {
				disconnect()
			}
		}
		store.live = nil
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, origin+"/", nil)
		r.AddCookie(b.cookie("__Host-session-"))
		w.app.ServeHTTP(httptest.NewRecorder(), r)
		// Three finds of the session and two epochs, then those of the touch: a find, a commit, and a find for each mark.
		if want := slices.Repeat([]bool{true}, 7); !slices.Equal(store.live, want) {
			t.Errorf("got live contexts %v, want %v", store.live, want)
		}
	})
}

// A request in flight does not restore a session that ends at any of its store calls.
func TestEndedSessionStaysEnded(t *testing.T) {
	for _, sid := range []bool{true, false} {
		for _, end := range []string{"logout", "another account", "the same account"} {
			t.Run(fmt.Sprintf("%s, sid %t", end, sid), func(t *testing.T) {
				point := 0
				for endDuringTouch(t, sid, end, point) {
					point++
				}
				if want := map[bool]int{true: 7, false: 5}[sid]; point != want {
					t.Errorf("got %d store calls, want %d", point, want)
				}
			})
		}
	}
}

// endDuringTouch ends a session before the given store call of a request that records its use. It returns false if the
// request makes fewer calls.
func endDuringTouch(t *testing.T, sid bool, end string, point int) (made bool) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		if !sid {
			w.withClaims(map[string]any{"sid": nil})
		}
		b := w.browser(t)
		b.signIn("/private/x", alice)
		cookie := b.cookie("__Host-session-")
		next := map[string]string{"another account": bob, "the same account": alice}[end]
		callback := ""
		if next != "" {
			callback = b.signInAtEntra(b.get("/login"), next)
		}
		time.Sleep(2 * time.Minute) // the next use is recorded

		other := w.browser(t)
		other.setCookie(cookie)
		calls := 0
		store.mu.Lock()
		store.before = func(string, string) {
			if calls++; made || calls != point+1 {
				return
			}
			made = true // before ending the session, which calls the store, too
			if next == "" {
				b.wantEntra(b.post("/logout", nil))
			} else {
				b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
			}
		}
		store.mu.Unlock()
		other.get("/")
		if !made {
			return
		}
		if next != alice {
			other.wantUser("")
		}
		time.Sleep(31 * time.Second)
		other.wantUser("")
	})
	return made
}

// The old session is not restored if the user signs out during any store call of a new sign-in.
func TestSignOutDuringSignInEndsOldSession(t *testing.T) {
	for _, sid := range []bool{true, false} {
		point := 0
		for signOutDuringSignIn(t, sid, point) {
			point++
		}
		if want := map[bool]int{true: 19, false: 15}[sid]; point != want {
			t.Errorf("got %d store calls, want %d", point, want)
		}
	}
}

func signOutDuringSignIn(t *testing.T, sid bool, point int) (made bool) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		if !sid {
			w.withClaims(map[string]any{"sid": nil})
		}
		b, tab := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		old := b.cookie("__Host-session-")
		callback := b.signInAtEntra(b.get("/login"), alice)
		tab.setCookie(old)
		calls := 0
		store.mu.Lock()
		store.before = func(string, string) {
			if calls++; !made && calls == point+1 {
				made = true
				tab.wantEntra(tab.post("/logout", nil))
			}
		}
		store.mu.Unlock()
		a := b.callback(callback)
		if !made {
			b.wantStatus(a, http.StatusSeeOther, "/")
			return
		}
		b.wantStatus(a, http.StatusUnauthorized, "")
		other := w.browser(t)
		other.setCookie(old)
		other.wantUser("")
	})
	return made
}

// Concurrent requests of one session do not overwrite each other's changes or sign each other out.
func TestConcurrentRequestsKeepSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, withStore(newSharedStore()))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		for range 3 {
			time.Sleep(5 * time.Minute) // so that all of them record the use
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					switch i % 13 {
					case 0:
						if a := b.get("/call"); a.body != "token true" {
							t.Errorf("got body %q, want \"token true\"", a.body)
						}
					case 1: // another tab signs in
						a := b.callback(b.signInAtEntra(b.get("/login?return_to=/private/y"), alice))
						if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/private/y" {
							t.Errorf("got status %d to %q, want 303 to /private/y", a.StatusCode, a.Header.Get("Location"))
						}
					default:
						if a := b.get("/"); !strings.HasPrefix(a.body, "true Alice Adams") {
							t.Errorf("got page %q", a.body)
						}
					}
				})
			}
			wg.Wait()
			b.wantUser("Alice Adams")
		}
	})
}

// A store with context methods gets the context of the request.
func TestStoreGetsContext(t *testing.T) {
	store := &contextStore{sharedStore: newSharedStore()}
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	b.post("/logout", nil)
	finds, commits, deletes := store.counts()
	if len(store.live) != finds+commits+deletes || finds == 0 || commits == 0 || deletes == 0 {
		t.Errorf("got %d contexts for %d finds, %d commits and %d deletes", len(store.live), finds, commits, deletes)
	}
}

// Removing a tenant from the allow-list ends the sessions of its users.
func TestRemovedTenantEndsSessions(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store), anyOrganization)
	b := w.browser(t)
	b.signIn("/private/x", carol)
	b.wantUser("Carol Clark")
	w.app = newWebApp(t, withStore(store)).app // allows only Contoso
	b.wantUser("")
}

// With KeepClaims, all claims of the ID token are available.
func TestKeepClaims(t *testing.T) {
	for _, keep := range []bool{true, false} {
		w := newWebApp(t, func(s *settings) { s.site.KeepClaims = keep })
		b := w.browser(t)
		b.signIn("/call", alice)
		w.calls = func(out http.ResponseWriter, r *http.Request) {
			c, ok := signin.ClaimsFromContext(r.Context())
			if ok != keep {
				t.Errorf("got claims %t, want %t", ok, keep)
			}
			if !ok {
				return
			}
			var at int64
			if c.Name != "Alice Adams" || c.ObjectID != aliceID || c.Audience != webapp || c.SessionID == "" || c.Has("nonce") ||
				c.Decode("auth_time", &at) != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute || time.Until(c.Expires) < 0 {
				t.Errorf("got claims %v", c)
			}
			user, ok := c.User()
			if !ok || user.ObjectID != aliceID {
				t.Errorf("got user %v, %t", user, ok)
			}
		}
		b.wantStatus(b.get("/call"), http.StatusOK, "")
	}
}

// Without Handler, the context has neither account nor claims.
func TestContextWithoutHandlerHasNoUser(t *testing.T) {
	w := newWebApp(t)
	if a, ok := signin.AccountFromContext(t.Context()); ok || a.HomeAccountID != "" {
		t.Errorf("got account %v, want none", a)
	}
	if c, ok := signin.ClaimsFromContext(t.Context()); ok || c != nil {
		t.Errorf("got claims %v, want none", c)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.site.TokenSource(req, scopeA).TokenContext(t.Context())
	if e := testkit.Error(t, err); e.Code != "login_required" || !e.InteractionRequired() {
		t.Errorf("got %v, want login_required", err)
	}
	if n := len(w.Requests()); n != 0 {
		t.Errorf("got %d requests, want 0", n)
	}
}

// A failure of the store is an entra.Error; its cause is not in the Problem.
func TestStoreErrorIsTyped(t *testing.T) {
	store := newSharedStore()
	var failed error
	w := newWebApp(t, withStore(store), func(s *settings) {
		s.site.Page = func(w http.ResponseWriter, r *http.Request, p signin.Problem) {
			w.WriteHeader(p.Status)
			failed = fmt.Errorf("%s", p.Code)
		}
	})
	b := w.browser(t)
	b.signIn("/private/x", alice)
	store.setError("Find", errStore)
	b.wantStatus(b.get("/private/x"), http.StatusServiceUnavailable, "")
	if failed == nil || failed.Error() != "temporarily_unavailable" || errors.Is(failed, errStore) {
		t.Errorf("got code %v in the Problem, want temporarily_unavailable", failed)
	}
}

// A sign-out ends a sign-in in progress of the same browser, at any store call of its callback and in either
// order of the responses.
func TestSignOutEndsSignInInProgress(t *testing.T) {
	for _, sid := range []string{"", "the same", "another"} {
		for point, made := 0, true; made; point++ {
			made = false
			store := newSharedStore()
			w := newWebApp(t, withStore(store))
			switch sid {
			case "":
				w.withClaims(map[string]any{"sid": nil})
			case "the same":
				w.withClaims(map[string]any{"sid": "the-session"})
			}
			b, tab := w.browser(t), w.browser(t)
			b.signIn("/private/x", alice)
			callback := b.signInAtEntra(b.get("/login"), alice)
			tab.setCookie(b.cookie("__Host-session-"))
			calls := 0
			store.mu.Lock()
			store.before = func(string, string) {
				if calls++; !made && calls == point+1 {
					made = true
					tab.wantEntra(tab.post("/logout", nil))
				}
			}
			store.mu.Unlock()
			b.callback(callback)
			if !made { // sign out of the old session after the callback
				tab.wantEntra(tab.post("/logout", nil))
			}
			if a := b.get("/"); a.body != "false  " {
				t.Errorf("sid %q: sign-out before call %d: got page %q, want no user", sid, point, a.body)
			}
			if n := w.tokens.Stats().Sessions; n != 0 {
				t.Errorf("sid %q: sign-out before call %d: got tokens of %d sessions in the cache, want 0", sid, point, n)
			}
		}
	}
}

// A sign-out during the token request of a sign-in ends the sign-in, too, and leaves neither a session nor tokens.
func TestSignOutDuringTokenRequestEndsSignIn(t *testing.T) {
	for _, user := range []string{alice, bob} {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		noSID := func(_ url.Values, body map[string]any) {
			w.remintIDToken(body, func(o *entratest.MintOptions) { o.Claims = map[string]any{"sid": nil} })
		}
		w.ChangeResponses(noSID)
		b, tab := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		callback := b.signInAtEntra(b.get("/login"), user)
		tab.setCookie(b.cookie("__Host-session-"))
		w.ChangeResponses(func(form url.Values, body map[string]any) {
			noSID(form, body)
			tab.wantEntra(tab.post("/logout", nil))
		})
		b.wantStatus(b.callback(callback), http.StatusUnauthorized, "")
		b.wantUser("")
		if n := w.tokens.Stats().Sessions; n != 0 {
			t.Errorf("%s: got tokens of %d sessions in the cache, want 0", user, n)
		}
		for key, e := range store.all() { // a session is stored for an hour
			if left := time.Until(e.expiry); left > 30*time.Minute && left < 2*time.Hour {
				t.Errorf("%s: the session is still stored under %s", user, key)
			}
		}
	}
}

// The same holds in the other order, if the whole callback happens at any store call of the sign-out.
func TestSignInDuringSignOutEnds(t *testing.T) {
	for point, made := 0, true; made; point++ {
		made = false
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		w.withClaims(map[string]any{"sid": nil})
		b, tab := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		callback := b.signInAtEntra(b.get("/login"), alice)
		tab.setCookie(b.cookie("__Host-session-"))
		calls := 0
		store.mu.Lock()
		store.before = func(string, string) {
			if calls++; !made && calls == point+1 {
				made = true
				b.callback(callback)
			}
		}
		store.mu.Unlock()
		tab.wantEntra(tab.post("/logout", nil))
		if !made {
			break
		}
		if a := b.get("/"); a.body != "false  " {
			t.Errorf("callback before call %d: got page %q, want no user", point, a.body)
		}
		if n := w.tokens.Stats().Sessions; n != 0 {
			t.Errorf("callback before call %d: got tokens of %d sessions in the cache, want 0", point, n)
		}
	}
}

// A sign-out also ends a login that comes back at the end of LoginTimeout.
func TestSignOutEndsLateSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t)
		b, tab := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		start := b.get("/login")
		tab.setCookie(b.cookie("__Host-session-"))
		tab.wantEntra(tab.post("/logout", nil))
		time.Sleep(15*time.Minute - time.Second)
		b.wantStatus(b.callback(b.signInAtEntra(start, alice)), http.StatusUnauthorized, "")
		b.wantUser("")
	})
}

// The same holds for a sign-in of another user, until it has ended the old session.
func TestSignOutEndsSignInOfAnotherUser(t *testing.T) {
	for point := range 3 {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		w.withClaims(map[string]any{"sid": nil})
		b, tab := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		callback := b.signInAtEntra(b.get("/login"), bob)
		tab.setCookie(b.cookie("__Host-session-"))
		calls := 0
		store.mu.Lock()
		store.before = func(string, string) {
			if calls++; calls == point+1 {
				tab.wantEntra(tab.post("/logout", nil))
			}
		}
		store.mu.Unlock()
		b.wantStatus(b.callback(callback), http.StatusUnauthorized, "")
		if a := b.get("/"); a.body != "false  " {
			t.Errorf("sign-out before call %d: got page %q, want no user", point, a.body)
		}
	}
}
