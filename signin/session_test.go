package signin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/signin"
)

var testKey = signin.NewKey([]byte("0123456789abcdef0123456789abcdef"))

func withStore(store signin.Store) func(*settings) {
	return func(s *settings) { s.site.Store, s.site.Keys = store, []signin.Key{testKey} }
}

func TestIdleLimit(t *testing.T) {
	for name, change := range map[string]func(*settings){"in memory": func(*settings) {}, "in a store": withStore(newSharedStore())} {
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

// However busy, a session ends.
func TestAbsoluteLimit(t *testing.T) {
	for name, change := range map[string]func(*settings){"in memory": func(*settings) {}, "in a store": withStore(newSharedStore())} {
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

// The limits are kept here, whatever the store thinks of expiry.
func TestStoreWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		store.mu.Lock()
		for token, e := range store.entries {
			e.expiry = time.Now().Add(1000 * time.Hour)
			store.entries[token] = e
		}
		store.mu.Unlock()
		time.Sleep(time.Hour - time.Second)
		b.get("/style.css") // asks nobody who is signed in
		time.Sleep(time.Second)
		b.wantUser("")
	})
}

// A session is written at sign-in and then at most once a minute, and read only when
// somebody asks who is signed in.
func TestStoreTraffic(t *testing.T) {
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
			t.Errorf("%d reads for pages that ask nothing", f-finds)
		}
		for range 600 { // ten minutes
			b.wantUser("Alice Adams")
			time.Sleep(time.Second)
		}
		f, c, d := store.counts()
		if c-commits != 9 || d != deletes || f-finds != 2*600+3*9 {
			t.Errorf("%d reads, %d writes, %d deletions", f-finds, c-commits, d-deletes)
		}
	})
}

// What is in the store is sealed, under a name that is no session's ID, and cannot be
// moved to another name.
func TestStoreIsSealed(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store), func(s *settings) { s.site.KeepClaims = true })
	a, b := w.browser(t), w.browser(t)
	a.signIn("/private/x", alice)
	b.signIn("/private/x", bob)
	entries := store.all()
	if len(entries) != 4 {
		t.Fatalf("%d entries for two sessions", len(entries))
	}
	for token, e := range entries {
		for _, hidden := range []string{"Alice", "alice", "Bob", aliceID, a.session(), b.session(), "tid", "home_account_id"} {
			if bytes.Contains(e.b, []byte(hidden)) || strings.Contains(token, hidden) {
				t.Errorf("the store shows %q", hidden)
			}
		}
	}
	// Every entry under every other's name.
	for token := range entries {
		for _, other := range entries {
			if bytes.Equal(entries[token].b, other.b) {
				continue
			}
			store.mu.Lock()
			store.entries[token] = other
			store.mu.Unlock()
			if got := a.get("/"); strings.Contains(got.body, "Bob") {
				t.Fatal("Alice is Bob")
			}
			store.mu.Lock()
			store.entries[token] = entries[token]
			store.mu.Unlock()
		}
	}
	a.wantUser("Alice Adams")
	// The name under which a session is kept is not the ID that opens it.
	thief := w.browser(t)
	name := a.cookie("__Host-session-").Name
	for token := range entries {
		for _, value := range []string{token, token[:26], strings.ToUpper(token)[:26]} {
			thief.setCookie(&http.Cookie{Name: name, Value: value})
			thief.wantUser("")
		}
	}
	// A byte that is changed.
	store.mu.Lock()
	for token, e := range store.entries {
		changed := bytes.Clone(e.b)
		changed[len(changed)/2] ^= 1
		store.entries[token] = item{changed, e.expiry}
	}
	store.mu.Unlock()
	a.wantUser("")
}

// If the store fails nobody is signed in, and the user is told that it is not them.
func TestStoreFailures(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)

	store.setError("Find", errStore)
	b.wantUser("")
	a := b.get("/private/x")
	b.wantStatus(a, http.StatusServiceUnavailable, "")
	if strings.Contains(a.body, "192.0.2.1") || !strings.Contains(a.body, "not responding") || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page is\n%s", a.body)
	}
	a = b.get("/private/x", "Sec-Fetch-Mode", "cors", "Accept", "application/json")
	if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `"error":"unavailable"`) {
		t.Errorf("a script gets %d %s", a.StatusCode, a.body)
	}
	b.wantStatus(b.post("/logout", nil), http.StatusServiceUnavailable, "")
	store.setError("Find", nil)
	b.wantUser("Alice Adams")

	for _, method := range []string{"Commit", "Delete"} {
		store.setError(method, errStore)
		b.wantStatus(b.post("/logout", nil), http.StatusServiceUnavailable, "")
		if b.session() == "" {
			t.Error("the browser has lost its session, so the user cannot try again")
		}
		store.setError(method, nil)
		if method == "Commit" {
			b.wantUser("Alice Adams")
			continue
		}
		b.wantUser("") // it was written down that Entra's session has ended, so this one has
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
		t.Errorf("front-channel logout: %d %q", a.StatusCode, a.body)
	}
	if log := w.log.String(); strings.Count(log, "connection refused") != 11 {
		t.Errorf("the log has the cause %d times:\n%s", strings.Count(log, "connection refused"), log)
	}
}

// A browser that has left is no fault of the store's: its request fails, and no operator is
// called.
func TestBrowserHasLeft(t *testing.T) {
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
		t.Errorf("status %d; the log says %s", rec.Code, strings.TrimPrefix(w.log.String(), before))
	}
}

// Whichever of its calls to the store fails, a sign-in, a sign-out and a front-channel
// logout say so, and a sign-in gives the browser nothing.
func TestStoreFailsAtAnyCall(t *testing.T) {
	for _, sid := range []bool{true, false} {
		for name, request := range map[string]func(b *browser, callback string) *response{
			"callback":      func(b *browser, callback string) *response { return b.callback(callback) },
			"logout":        func(b *browser, _ string) *response { return b.post("/logout", nil) },
			"front channel": func(b *browser, _ string) *response { return b.get("/logout/frontchannel?sid=the-session") },
			"interact":      func(b *browser, _ string) *response { return b.get("/call?scope=" + scopeB) },
			"page":          func(b *browser, _ string) *response { return b.get("/private/x") },
		} {
			calls := 0
			for point := 1; point == 1 || point <= calls; point++ {
				store := newSharedStore()
				w := newWebApp(t, withStore(store))
				w.withClaims(map[string]any{"sid": "the-session"})
				if !sid {
					w.withClaims(map[string]any{"sid": nil})
				}
				b := w.browser(t)
				b.signIn("/private/x", alice)
				callback, id := b.signInAtEntra(b.get("/login"), alice), b.session()
				calls = 0
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
				if a.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%s, sid %t: when call %d fails: status %d", name, sid, point, a.StatusCode)
				}
				if b.session() != id {
					t.Errorf("%s, sid %t: when call %d fails the browser gets another session", name, sid, point)
				}
				if calls == 0 {
					break
				}
			}
		}
	}
}

// A session goes on if it cannot be written down that it is in use; it may end early.
func TestTouchFails(t *testing.T) {
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

// A request that is under way when the session ends does not bring it back, at whichever
// of its calls to the store the end comes.
func TestEndedStaysEnded(t *testing.T) {
	for _, sid := range []bool{true, false} {
		for _, end := range []string{"logout", "another account", "the same account"} {
			t.Run(fmt.Sprintf("%s, sid %t", end, sid), func(t *testing.T) {
				point := 0
				for endDuringTouch(t, sid, end, point) {
					point++
				}
				if want := map[bool]int{true: 6, false: 4}[sid]; point != want {
					t.Errorf("the request made %d calls, want %d", point, want)
				}
			})
		}
	}
}

// endDuringTouch ends a session before the given call of a request that writes down that
// it is in use. It is false if the request makes fewer calls.
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
		time.Sleep(2 * time.Minute) // the next use is written down

		other := w.browser(t)
		other.setCookie(cookie)
		calls := 0
		store.mu.Lock()
		store.before = func(string, string) {
			if calls++; made || calls != point+1 {
				return
			}
			made = true // what ends it calls the store, too
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

// A sign-in of the same account that replaces a session does not bring it back either, when
// the user signs out meanwhile.
func TestSignOutDuringSignIn(t *testing.T) {
	for _, sid := range []bool{true, false} {
		point := 0
		for signOutDuringSignIn(t, sid, point) {
			point++
		}
		if want := map[bool]int{true: 11, false: 7}[sid]; point != want {
			t.Errorf("the callback makes %d calls to the store, want %d", point, want)
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

// Requests of one session at once lose nothing of each other's and do not sign each
// other out.
func TestConcurrentRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, withStore(newSharedStore()))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		for range 3 {
			time.Sleep(5 * time.Minute) // so that all want to write it down
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					switch i % 13 {
					case 0:
						if a := b.get("/call"); a.body != "token true" {
							t.Errorf("the call says %q", a.body)
						}
					case 1: // another tab signs in
						a := b.callback(b.signInAtEntra(b.get("/login?return_to=/private/y"), alice))
						if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/private/y" {
							t.Errorf("status %d to %q", a.StatusCode, a.Header.Get("Location"))
						}
					default:
						if a := b.get("/"); !strings.HasPrefix(a.body, "true Alice Adams") {
							t.Errorf("the page says %q", a.body)
						}
					}
				})
			}
			wg.Wait()
			b.wantUser("Alice Adams")
		}
	})
}

// A store that takes contexts gets the request's.
func TestStoreContext(t *testing.T) {
	store := &contextStore{sharedStore: newSharedStore()}
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	b.post("/logout", nil)
	finds, commits, deletes := store.counts()
	if len(store.contexts) != finds+commits+deletes || finds == 0 || commits == 0 || deletes == 0 {
		t.Errorf("%d contexts for %d, %d and %d calls", len(store.contexts), finds, commits, deletes)
	}
}

// When the allow-list gets shorter, sessions that were begun before end with it.
func TestTenantNoLongerAllowed(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store), anyOrganization)
	b := w.browser(t)
	b.signIn("/private/x", carol)
	b.wantUser("Carol Clark")
	w.app = newWebApp(t, withStore(store)).app // Contoso alone
	b.wantUser("")
}

// The claims of the ID token are all there, if they are to be kept.
func TestClaims(t *testing.T) {
	for _, keep := range []bool{true, false} {
		w := newWebApp(t, func(s *settings) { s.site.KeepClaims = keep })
		b := w.browser(t)
		b.signIn("/call", alice)
		w.calls = func(out http.ResponseWriter, r *http.Request) {
			c, ok := signin.ClaimsFromContext(r.Context())
			if ok != keep {
				t.Errorf("claims: %t, want %t", ok, keep)
			}
			if !ok {
				return
			}
			var at int64
			if c.Name != "Alice Adams" || c.ObjectID != aliceID || c.Audience != webapp || c.SessionID == "" || c.Has("nonce") ||
				c.Decode("auth_time", &at) != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute || time.Until(c.Expires) < 0 {
				t.Errorf("the claims are %v", c)
			}
			user, ok := c.User()
			if !ok || user.ObjectID != aliceID {
				t.Errorf("the user is %v, %t", user, ok)
			}
		}
		b.wantStatus(b.get("/call"), http.StatusOK, "")
	}
}

// Outside of Handler, and where nobody is signed in, there is nobody.
func TestNobody(t *testing.T) {
	w := newWebApp(t)
	if a, ok := signin.AccountFromContext(t.Context()); ok || a.HomeAccountID != "" {
		t.Errorf("an account: %v", a)
	}
	if c, ok := signin.ClaimsFromContext(t.Context()); ok || c != nil {
		t.Errorf("claims: %v", c)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.site.TokenSource(req, scopeA).TokenContext(t.Context())
	if e := entraError(t, err); e.Code != "login_required" || !e.InteractionRequired() {
		t.Errorf("got %v", err)
	}
	if n := len(w.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// The store's own error is typed and can be found.
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
		t.Errorf("the page is told %v", failed)
	}
}

// Whoever signs out while a sign-in that the session began is on its way back is signed out,
// at whichever of the callback's calls to the store it happens, and whichever answer comes
// last.
func TestSignOutEndsSignInUnderWay(t *testing.T) {
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
			if !made { // signed out when all is done, with the session that was there before
				tab.wantEntra(tab.post("/logout", nil))
			}
			if a := b.get("/"); a.body != "false  " {
				t.Errorf("sid %q: signed out before call %d, and the page says %q", sid, point, a.body)
			}
			if n := w.flowCache.Stats().Sessions; n != 0 {
				t.Errorf("sid %q: signed out before call %d, and tokens of %d sessions are held", sid, point, n)
			}
		}
	}
}

// Likewise if somebody else signs in, up to the moment at which the session ends with that.
func TestSignOutEndsSignInOfAnother(t *testing.T) {
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
			t.Errorf("signed out before call %d, and the page says %q", point, a.body)
		}
	}
}
