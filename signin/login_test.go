package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

func formPost(s *settings) { s.flow.ResponseMode = authcode.ResponseModeFormPost }

// Cookies belong to this host alone and are not readable by scripts or over plain http.
func TestCookieAttributes(t *testing.T) {
	for mode, sameSite := range map[string]http.SameSite{"query": http.SameSiteLaxMode,
		authcode.ResponseModeFormPost: http.SameSiteNoneMode} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b := w.browser(t)
		a := b.get("/login")
		login := a.Cookies()
		if len(login) != 1 {
			t.Fatalf("got %d cookies, want 1", len(login))
		}
		if c := login[0]; !strings.HasPrefix(c.Name, "__Host-login-") || !c.Secure || !c.HttpOnly || c.Path != "/" ||
			c.Domain != "" ||
			c.SameSite != sameSite || c.MaxAge != 900 {
			t.Errorf("%s: got login cookie %s", mode, strings.Replace(c.String(), c.Value, "...", 1))
		}
		a = b.callback(b.signInAtEntra(a, alice))
		b.wantStatus(a, http.StatusSeeOther, "/")
		for _, c := range a.Cookies() {
			switch {
			case strings.HasPrefix(c.Name, "__Host-session-"):
				if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode ||
					c.MaxAge != 0 || len(c.Value) != 26 {
					t.Errorf("%s: got session cookie %s", mode, strings.Replace(c.String(), c.Value, "...", 1))
				}
			case c.Name == login[0].Name:
				if c.Value == login[0].Value || c.MaxAge != 300 || len(c.Value) > 250 {
					t.Errorf("%s: the login cookie still has the login after the sign-in", mode)
				}
			default:
				t.Errorf("%s: got cookie %s", mode, c.Name)
			}
		}
	}
}

// Redirects are not cached, and later requests do not name their address in the Referer header.
func TestRedirectsArePrivate(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	start := b.get("/login")
	responses := map[string]*response{"login": start, "protected page": b.get("/private/x")}
	responses["callback"] = b.callback(b.signInAtEntra(start, alice))
	responses["interaction"] = b.get("/call?scope=" + url.QueryEscape(scopeB))
	responses["stray callback"] = b.get("/callback")
	responses["logout"] = b.post("/logout", nil)
	for name, a := range responses {
		b.wantStatus(a, http.StatusSeeOther, "")
		for header, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		} {
			if got := a.Header.Values(header); len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %s %q, want %q", name, header, got, want)
			}
		}
	}
}

// On http://localhost, for development, cookies have no names or attributes that browsers reject there.
func TestCookiesOnLocalhost(t *testing.T) {
	for mode, secure := range map[string]bool{"query": false, authcode.ResponseModeFormPost: true} {
		w := newWebApp(t, func(s *settings) {
			s.flow.ResponseMode = mode
			s.flow.RedirectURL = "http://localhost:8080/callback"
		})
		b := w.browser(t)
		c := b.get("/login").Cookies()[0]
		if strings.HasPrefix(c.Name, "__") || c.Secure != secure || !c.HttpOnly {
			t.Errorf("%s: got cookie %s", mode, strings.Replace(c.String(), c.Value, "...", 1))
		}
	}
}

// Two tabs can sign in at the same time and finish in either order.
func TestTwoTabsSignIn(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
			b := w.browser(t)
			tabs := []string{b.signInAtEntra(b.get("/private/a"), alice), b.signInAtEntra(b.get("/private/b"), alice)}
			for _, i := range order {
				b.wantStatus(b.callback(tabs[i]), http.StatusSeeOther, []string{"/private/a", "/private/b"}[i])
				b.wantUser("Alice Adams")
			}
		}
	}
}

// If two tabs sign in as two users, the session of the first ends at once. With form_post the second callback carries
// no cookie of it.
func TestSecondUserEndsSessionOfFirst(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b, thief := w.browser(t), w.browser(t)
		first, second := b.signInAtEntra(b.get("/login"), alice), b.signInAtEntra(b.get("/login?return_to=/private/y"), bob)
		b.wantStatus(b.callback(first), http.StatusSeeOther, "/")
		b.wantUser("Alice Adams")
		thief.setCookie(b.cookie("__Host-session-"))
		b.wantStatus(b.callback(second), http.StatusSeeOther, "/private/y")
		b.wantUser("Bob Brown")
		thief.wantUser("")
	}
}

// If another tab signs in, requests in flight may use the replaced session for another 30 seconds.
func TestReplacedSessionHasGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t)
		b := w.browser(t)
		first, second := b.signInAtEntra(b.get("/private/a"), alice), b.signInAtEntra(b.get("/private/b"), alice)
		b.callback(first)
		old := b.cookie("__Host-session-")
		b.callback(second)
		if b.session() == old.Value {
			t.Fatal("the second sign-in reused the session ID of the first")
		}
		other := w.browser(t)
		other.setCookie(old)
		other.wantUser("Alice Adams")
		time.Sleep(31 * time.Second)
		other.wantUser("")
		b.wantUser("Alice Adams")
	})
}

// Requests that use a replaced session do not end it before the grace period does. With form_post, the callback that
// replaces the session does not record its use.
func TestReplacedSessionCanBeUsedRepeatedly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t, formPost)
		b, other := w.browser(t), w.browser(t)
		b.signIn("/private/x", alice)
		other.setCookie(b.cookie("__Host-session-"))
		callback := b.signInAtEntra(b.get("/login"), alice)
		time.Sleep(2 * time.Minute)
		b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
		for range 2 {
			other.wantUser("Alice Adams")
		}
		time.Sleep(31 * time.Second)
		other.wantUser("")
	})
}

func TestFormPostSignIn(t *testing.T) {
	w := newWebApp(t, formPost)
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/private/x?y=1"), alice)

	b.wantStatus(b.get(callback), http.StatusBadRequest, "") // parameters in the query are ignored
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/x?y=1")
	b.wantUser("Alice Adams")
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/x?y=1") // reloaded
	for _, c := range b.cookies() {
		if strings.HasPrefix(c.Name, "__Host-login-") {
			b.deleteCookie(c.Name)
		}
	}
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/callback") // reloaded after the login cookie expired
	b.wantStatus(b.get("/callback"), http.StatusSeeOther, "/")           // with the session cookie
	if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[state_mismatch]" {
		t.Errorf("got rejections %s", kinds)
	}
}

// Each response mode accepts one method.
func TestCallbackRejectsOtherMethods(t *testing.T) {
	for mode, allowed := range map[string]string{"query": "GET", authcode.ResponseModeFormPost: "POST"} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b := w.browser(t)
		methods := []string{"HEAD", "PUT", "DELETE", "OPTIONS"}
		if mode == "query" {
			methods = append(methods, "POST")
		}
		callback := b.signInAtEntra(b.get("/login"), alice)
		u, _ := url.Parse(callback)
		for _, method := range methods {
			a := b.send(method, callback, u.Query())
			b.wantStatus(a, http.StatusMethodNotAllowed, "")
			if a.Header.Get("Allow") != allowed {
				t.Errorf("got Allow: %q", a.Header.Get("Allow"))
			}
		}
		b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
	}
}

// With form_post, only parameters in the body count.
func TestFormPostIgnoresQuery(t *testing.T) {
	w := newWebApp(t, formPost)
	b := w.browser(t)
	u, _ := url.Parse(b.signInAtEntra(b.get("/login"), alice))
	b.wantStatus(b.crossSitePost(u.String(), url.Values{}), http.StatusSeeOther, "/callback")
	b.wantStatus(b.get("/callback"), http.StatusBadRequest, "")
	b.wantUser("")
}

// Loading the callback again, or going back to it, leads to the page.
func TestReloadedCallbackReturnsToPage(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/private/orders"), alice)
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/orders")
	id := b.session()
	before := len(w.Requests())
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/orders")
	if b.session() != id || len(w.Requests()) != before {
		t.Error("the reload signed in again")
	}
	b.deleteCookie(b.cookie("__Host-login-").Name) // expired
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
	if kinds := w.log.rejections(t); len(kinds) != 0 {
		t.Errorf("got rejections %v, want none", kinds)
	}
}

// The page of a finished login is remembered for five minutes.
func TestReloadedCallbackGoesHomeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t)
		b := w.browser(t)
		callback := b.signInAtEntra(b.get("/private/orders"), alice)
		b.callback(callback)
		done := b.cookie("__Host-login-")
		time.Sleep(5*time.Minute + time.Second)
		b.setCookie(done) // a browser that ignores Max-Age
		b.wantStatus(b.callback(callback), http.StatusSeeOther, "/")
	})
}

func TestExpiredLoginIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t)
		b := w.browser(t)
		callback := b.signInAtEntra(b.get("/private/x"), alice)
		login := b.cookie("__Host-login-")
		time.Sleep(15*time.Minute + time.Second)
		b.setCookie(login)
		a := b.callback(callback)
		b.wantStatus(a, http.StatusBadRequest, "")
		if !strings.Contains(a.body, "took too long") || !strings.Contains(a.body, `href="/login?return_to=%2Fprivate%2Fx"`) {
			t.Errorf("got page\n%s", a.body)
		}
		b.wantUser("")
		if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[expired]" {
			t.Errorf("got rejections %s", kinds)
		}
	})
}

// The number of login cookies is bounded, and the newest work.
func TestLoginCookiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t)
		b := w.browser(t)
		var callbacks []string
		for i := range 12 {
			callbacks = append(callbacks, b.signInAtEntra(b.get(fmt.Sprintf("/private/%d", i)), alice))
			if n := len(b.cookies()); n > 5 {
				t.Fatalf("got %d cookies, want at most 5", n)
			}
			time.Sleep(time.Second)
		}
		b.wantStatus(b.callback(callbacks[6]), http.StatusBadRequest, "") // evicted
		for i := 7; i < 12; i++ {
			b.wantStatus(b.callback(callbacks[i]), http.StatusSeeOther, fmt.Sprintf("/private/%d", i))
		}
	})
}

// Long return addresses make large cookies. Their total stays below the limits of proxies.
func TestLoginCookiesStaySmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWebApp(t)
		b := w.browser(t)
		long := "/private/" + strings.Repeat("x", 1900)
		for i := range 5 {
			a := b.get(fmt.Sprint(long, i))
			b.wantEntra(a)
			total := 0
			for _, c := range b.cookies() {
				if size := len(c.Name) + len(c.Value); size > 4000 {
					t.Errorf("got a cookie of %d bytes, want at most 4000", size)
				}
				total += len(c.Name) + len(c.Value) + 3
			}
			if total > 6100 {
				t.Fatalf("got %d bytes of cookies, want at most 6100", total)
			}
			time.Sleep(time.Second)
		}
	})
}

// If the browser cannot return to a page, the user still signs in and goes Home.
func TestPagesTooLongToReturnToGoHome(t *testing.T) {
	w := newWebApp(t)
	for _, path := range []string{"/private/" + strings.Repeat("x", 5000),
		"/private/a?x=" + strings.Repeat("%26", 2000)} {
		b := w.browser(t)
		if to := b.signIn(path, alice); to != "/" {
			t.Errorf("%.40s returns to %.40s, want /", path, to)
		}
	}
}

// Escapes that do not lead elsewhere are kept in the address. https://github.com/causalens/dara/pull/640
func TestDeepLinksKeepTheirEscapes(t *testing.T) {
	w := newWebApp(t)
	for _, page := range []string{"/private/projects/group%2Fapp", "/private/100%25?of=a%2Fb&x=%25", "/private/a%20b%2F",
		"/private/%E2%82%AC%252F"} {
		if to := w.browser(t).signIn(page, alice); to != page {
			t.Errorf("%s returns to %s", page, to)
		}
	}
}

// Many scopes leave less room for the return address in the cookie. Too many do not fit at all, which the developer
// must fix.
func TestManyScopes(t *testing.T) {
	for n, to := range map[int]string{10: "the page", 25: "/", 80: ""} {
		w := newWebApp(t)
		b := w.browser(t)
		page := "/private/" + strings.Repeat("x", 1000)
		b.signIn(page, alice)
		var scopes []string
		for i := range n {
			scopes = append(scopes, fmt.Sprintf("api://api-b/A.Permission.With.A.Name.As.Long.As.They.Get.%d", i))
		}
		var login string
		w.app = w.site.Handler(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			w.site.SignIn(out, r, authcode.Request{Scopes: scopes})
			login = out.Header().Get("Location")
		}))
		a := b.get(page)
		if to == "" {
			b.wantStatus(a, http.StatusInternalServerError, "")
			continue
		}
		b.wantEntra(a)
		state := query(login).Get("state")
		w.app = w.site.Handler(w.routes())
		a = b.get("/callback?error=access_denied&state=" + state)
		want := strings.Replace(to, "the page", page, 1)
		if !strings.Contains(a.body, `href="`+want+`"`) {
			t.Errorf("%d scopes: got no link to %.20s in page\n%s", n, want, a.body)
		}
	}
}

// If a login was already finished and the browser has a session, the callback leads to the page.
func TestUsedLoginWithSessionReturnsToPage(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	callback := b.signInAtEntra(b.get("/private/x"), alice)
	login := b.cookie("__Host-login-")
	b.callback(callback)
	b.setCookie(login)
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/x")
	b.wantUser("Alice Adams")
	b.wantStatus(b.post("/login", nil), http.StatusMethodNotAllowed, "")
}

// To rotate, a new key is added last, then moved first, then kept alone. At each step, processes can read data that was
// sealed with any of their keys.
func TestKeyRotationKeepsSessions(t *testing.T) {
	first, second := signin.NewKey([]byte("0123456789abcdef0123456789abcdef")),
		signin.NewKey([]byte("fedcba9876543210fedcba9876543210"))
	store := newSharedStore()
	var server *entratest.Server
	process := func(keys ...signin.Key) *webApp {
		w := newWebApp(t, func(s *settings) { s.site.Keys, s.site.Store, s.server = keys, store, server })
		server = w.Server
		return w
	}
	b := process(first).browser(t)
	restart := func(keys ...signin.Key) {
		b.w = process(keys...)
		b.http.Transport = inProcess{b.w}
	}
	b.signIn("/private/x", alice)
	restart(first, second)
	b.wantUser("Alice Adams")
	callback := b.signInAtEntra(b.get("/login?return_to=/private/y"), alice)
	restart(second, first)
	b.wantUser("Alice Adams")
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/y") // started before, finished after
	restart(second)
	b.wantUser("Alice Adams")
	callback = b.signInAtEntra(b.get("/login"), alice)
	restart(first)
	b.wantUser("")
	b.wantRejected(callback, http.StatusBadRequest)
	restart(second)
	b.wantUser("Alice Adams")
}
