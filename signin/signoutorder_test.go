package signin_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
)

// slowBrowser is a browser whose requests and responses take their time. Cookies are read when a request is sent and
// stored when its response arrives.
type slowBrowser struct {
	w   *webApp
	jar map[string]string
}

// call is a request in three steps.
type call struct {
	cookies  map[string]string
	response *http.Response
}

// send reads the cookies of a request. A POST of another site carries only those with SameSite=None.
func (b *slowBrowser) send(c *call, crossSitePost bool) {
	c.cookies = maps.Clone(b.jar)
	if crossSitePost {
		maps.DeleteFunc(c.cookies, func(name, _ string) bool { return !strings.HasPrefix(name, "__Host-login-") })
	}
}

func (b *slowBrowser) process(c *call, method, target string, form url.Values) {
	r := httptest.NewRequest(method, origin+target, strings.NewReader(form.Encode()))
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, name := range slices.Sorted(maps.Keys(c.cookies)) {
		r.AddCookie(&http.Cookie{Name: name, Value: c.cookies[name]})
	}
	rec := httptest.NewRecorder()
	b.w.app.ServeHTTP(rec, r)
	c.response = rec.Result()
}

func (b *slowBrowser) store(c *call) {
	for _, cookie := range c.response.Cookies() {
		if b.jar[cookie.Name] = cookie.Value; cookie.MaxAge < 0 {
			delete(b.jar, cookie.Name)
		}
	}
}

// signedIn reports whether a user is signed in with those cookies.
func (b *slowBrowser) signedIn(cookies map[string]string) bool {
	c := &call{cookies: cookies}
	b.process(c, http.MethodGet, "/", nil)
	body := make([]byte, 4)
	_, _ = c.response.Body.Read(body)
	return string(body) == "true"
}

// Steps of two sign-ins and a sign-out. Tab 1 signs in and then signs out. Some steps read or write cookies of the
// browser, and the site processes the others. Only the order within each of the two groups matters.
var (
	tab1 = []string{"1 login arrives", "1 callback sent", "1 callback processed", "1 callback arrives",
		"logout sent", "logout processed", "logout arrives"}
	tab2 = []string{"2 login processed", "2 login arrives", "2 callback sent", "2 callback processed", "2 callback arrives"}
)

// signOutOrders returns one order of the steps for each pair of orders in the browser and at the site.
func signOutOrders() (orders [][]string) {
	seen := map[string]bool{}
	var merge func(done, a, b []string)
	merge = func(done, a, b []string) {
		if len(a) == 0 && len(b) == 0 {
			browser := slices.DeleteFunc(slices.Clone(done), func(s string) bool {
				return strings.HasSuffix(s, "processed") && s != "2 login processed"
			})
			site := slices.DeleteFunc(slices.Clone(done), func(s string) bool { return !strings.HasSuffix(s, "processed") })
			if key := fmt.Sprint(browser, site); !seen[key] {
				seen[key] = true
				orders = append(orders, slices.Clone(done))
			}
			return
		}
		if len(a) > 0 {
			merge(append(slices.Clip(done), a[0]), a[1:], b)
		}
		if len(b) > 0 {
			merge(append(slices.Clip(done), b[0]), a, b[1:])
		}
	}
	merge(nil, tab1, tab2)
	return orders
}

// The user signs out in tab 1 while a sign-in in tab 2, which may have begun before any user was signed in, is on its
// way. In every order of the requests and responses, the browser is signed out afterwards, unless tab 2's sign-in began
// after the sign-out.
func TestSignOutWinsInEveryOrder(t *testing.T) {
	orders := signOutOrders()
	if len(orders) != 272 {
		t.Fatalf("got %d orders, want 272", len(orders))
	}
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		for _, second := range []string{alice, bob} {
			t.Run(mode+", "+second, func(t *testing.T) {
				w := newWebApp(t, withStore(newSharedStore()), func(s *settings) { s.flow.ResponseMode = mode })
				w.withClaims(map[string]any{"sid": nil}) // which would end both sessions by itself
				for _, order := range orders {
					w.signOutInOrder(t, order, mode == authcode.ResponseModeFormPost, second)
				}
			})
		}
	}
}

func (w *webApp) signOutInOrder(t *testing.T, order []string, formPost bool, second string) {
	b := &slowBrowser{w: w, jar: map[string]string{}}
	var logins, callbacks [3]call
	var logout call
	login := func(tab int) {
		b.send(&logins[tab], false)
		b.process(&logins[tab], http.MethodGet, fmt.Sprintf("/login?return_to=/private/%d", tab), nil)
	}
	processCallback := func(tab int, user string) {
		to, err := w.SignIn(t.Context(), logins[tab].response.Header.Get("Location"), user)
		if err != nil {
			t.Fatal(err)
		}
		if formPost {
			b.process(&callbacks[tab], http.MethodPost, to.Path, to.Query())
		} else {
			b.process(&callbacks[tab], http.MethodGet, to.RequestURI(), nil)
		}
	}
	login(1)
	for _, step := range order {
		switch step {
		case "1 login arrives":
			b.store(&logins[1])
		case "1 callback sent":
			b.send(&callbacks[1], formPost)
		case "1 callback processed":
			processCallback(1, alice)
		case "1 callback arrives":
			b.store(&callbacks[1])
		case "logout sent":
			b.send(&logout, false)
		case "logout processed":
			b.process(&logout, http.MethodPost, "/logout", nil)
		case "logout arrives":
			b.store(&logout)
		case "2 login processed":
			for login(2); logins[2].response.Cookies()[0].Name == logins[1].response.Cookies()[0].Name; {
				login(2) // two sign-ins in one slot are another test
			}
		case "2 login arrives":
			b.store(&logins[2])
		case "2 callback sent":
			b.send(&callbacks[2], formPost)
		case "2 callback processed":
			processCallback(2, second)
		case "2 callback arrives":
			b.store(&callbacks[2])
		}
	}
	want := slices.Index(order, "2 login processed") > slices.Index(order, "logout arrives")
	if got := b.signedIn(b.jar); got != want {
		t.Errorf("got signed in %t, want %t, after\n%s", got, want, strings.Join(order, "\n"))
	}
}

// The same holds for a sign-in in tab 2 that began before any user was signed in. Tab 1 signs out before each store
// call of tab 2's callback in turn, and tab 2's callback arrives before each store call of the sign-out in turn.
func TestSignOutEndsFirstSignIn(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		for _, outer := range []string{"callback", "sign-out"} {
			for point, made := 0, true; made; point++ {
				made = false
				store := newSharedStore()
				w := newWebApp(t, withStore(store), func(s *settings) { s.flow.ResponseMode = mode })
				w.withClaims(map[string]any{"sid": nil})
				tab1 := w.browser(t)
				first := tab1.get("/private/a")
				second := tab1.get("/private/b")
				callback := tab1.signInAtEntra(second, alice)
				tab2 := w.browser(t) // sends its callback before tab 1 is signed in
				tab2.jar.SetCookies(tab2.url(), slices.Concat(first.Cookies(), second.Cookies()))
				tab1.wantStatus(tab1.callback(tab1.signInAtEntra(first, alice)), http.StatusSeeOther, "/private/a")
				signOut := func() { tab1.wantEntra(tab1.post("/logout", nil)) }
				signIn := func() { tab2.callback(callback) }
				if outer == "sign-out" {
					signOut, signIn = signIn, signOut
				}
				calls := 0
				store.mu.Lock()
				store.before = func(string, string) {
					if calls++; !made && calls == point+1 {
						made = true
						signOut()
					}
				}
				store.mu.Unlock()
				signIn()
				if !made {
					signOut()
				}
				for name, b := range map[string]*browser{"tab 1": tab1, "tab 2": tab2} {
					if a := b.get("/"); a.body != "false  " {
						t.Errorf("%s, during the %s, before call %d: %s: got page %q, want no user", mode, outer, point, name, a.body)
					}
				}
				if n := w.tokens.Stats().Sessions; n != 0 {
					t.Errorf("%s, during the %s, before call %d: got tokens of %d sessions, want 0", mode, outer, point, n)
				}
			}
		}
	}
}
