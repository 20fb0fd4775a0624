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
				if c.Value != "" || c.MaxAge != -1 {
					t.Errorf("%s: the login cookie is not deleted after the sign-in", mode)
				}
			case strings.HasSuffix(c.Name, "-finished"):
				if !c.Secure || !c.HttpOnly || c.SameSite != sameSite || c.MaxAge != 60 || len(c.Value) > 150 {
					t.Errorf("%s: got cookie of the finished login %s", mode, strings.Replace(c.String(), c.Value, "...", 1))
				}
			case strings.HasSuffix(c.Name, "-session") && mode == authcode.ResponseModeFormPost:
				if !c.Secure || !c.HttpOnly || c.SameSite != sameSite || c.MaxAge != 0 || len(c.Value) != 43 {
					t.Errorf("%s: got cookie with the session's key %s", mode, strings.Replace(c.String(), c.Value, "...", 1))
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

	b.wantEntra(b.get(callback)) // parameters in the query are ignored
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/x?y=1")
	b.wantUser("Alice Adams")
	b.wantStatus(b.finishCallback(callback), http.StatusSeeOther, "/private/x?y=1") // reloaded
	for _, c := range b.cookies() {
		if strings.HasPrefix(c.Name, "__Host-login-") {
			b.deleteCookie(c.Name)
		}
	}
	b.wantStatus(b.finishCallback(callback), http.StatusSeeOther, "/private/x?y=1") // the login cookies have expired
	b.wantStatus(b.get("/callback"), http.StatusSeeOther, "/")
	if kinds := w.log.rejections(t); len(kinds) != 0 {
		t.Errorf("got rejections %s, want none", kinds)
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
	b.wantStatus(b.callback(callback), http.StatusSeeOther, "/private/orders")
	if kinds := w.log.rejections(t); len(kinds) != 0 {
		t.Errorf("got rejections %v, want none", kinds)
	}
}

// Going back to a callback leads to its page even hours later. Another user goes Home if the page was requested for the
// first one.
func TestOldCallbackReturnsToPage(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		synctest.Test(t, func(t *testing.T) {
			w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
			b := w.browser(t)
			callback := b.signInAtEntra(b.get("/private/orders"), alice)
			b.callback(callback)
			call := "/call?scope=" + url.QueryEscape(scopeB)
			interaction := b.signInAtEntra(b.get(call), alice)
			b.callback(interaction)
			for range 3 {
				time.Sleep(50 * time.Minute)
				b.wantStatus(b.finishCallback(callback), http.StatusSeeOther, "/private/orders")
				b.wantStatus(b.finishCallback(interaction), http.StatusSeeOther, call)
			}
			b.signIn("/login", bob)
			b.wantStatus(b.finishCallback(callback), http.StatusSeeOther, "/private/orders")
			b.wantStatus(b.finishCallback(interaction), http.StatusSeeOther, "/")
		})
	}
}

// If the page of Entra was left open for too long, or was bookmarked, the browser no longer has the cookie of the
// sign-in. A page says that it took too long and leads back to the page wanted.
// https://github.com/DuendeArchive/Support/issues/1148, https://github.com/aspnet/Security/issues/1042
func TestLateCallbackTookTooLong(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		for name, late := range map[string]time.Duration{"left open": time.Minute, "bookmarked": 30 * 24 * time.Hour} {
			t.Run(mode+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
					b := w.browser(t)
					entraPage := b.get("/private/x?y=1")
					time.Sleep(15*time.Minute + late)
					a := b.finishCallback(b.signInAtEntra(entraPage, alice))
					b.wantStatus(a, http.StatusBadRequest, "")
					const link = "/login?return_to=%2Fprivate%2Fx%3Fy%3D1"
					if !strings.Contains(a.body, "took too long") || !strings.Contains(a.body, `href="`+link+`"`) {
						t.Errorf("got page\n%s", a.body)
					}
					if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[expired]" {
						t.Errorf("got rejections %s", kinds)
					}
					b.wantStatus(b.callback(b.signInAtEntra(b.get(link), alice)), http.StatusSeeOther, "/private/x?y=1")
					// The user, now signed in, opens the bookmark again.
					b.wantStatus(b.finishCallback(b.signInAtEntra(entraPage, alice)), http.StatusSeeOther, "/private/x?y=1")
				})
			})
		}
	}
}

// If a callback is processed twice, at two replicas, the second response deletes no cookie of the first. Proxies repeat
// a request whose replica has crashed. The user comes to the page, after another redirect through Entra if the first
// response was lost.
func TestCallbackAtTwoReplicas(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		for _, order := range []string{"first response arrives", "first response is lost"} {
			store := newSharedStore()
			set := func(s *settings) { s.flow.ResponseMode = mode }
			w := newWebApp(t, withStore(store), set)
			other := newWebApp(t, withStore(store), set, func(s *settings) { s.server = w.Server })
			b := w.browser(t)
			callback := b.signInAtEntra(b.get("/private/x"), alice)
			second := w.browser(t) // the same browser, before the first response
			for _, c := range b.cookies() {
				second.setCookie(c)
			}
			second.http.Transport, second.w = inProcess{other}, other

			first := b.callback(callback)
			b.wantStatus(first, http.StatusSeeOther, "/private/x")
			a := second.callback(callback)
			for _, c := range a.Cookies() {
				if c.MaxAge < 0 || b.cookie(c.Name) != nil {
					t.Errorf("%s: the second response changes the cookie %s", mode, c.Name)
				}
			}
			if order == "first response arrives" {
				second.jar.SetCookies(b.url(), first.Cookies())
			}
			if to := a.Header.Get("Location"); strings.HasPrefix(to, "/callback?") {
				a = second.get(to)
			}
			if mode != authcode.ResponseModeFormPost || order != "first response arrives" {
				a = second.callback(second.signInAtEntra(a, alice))
			}
			second.wantStatus(a, http.StatusSeeOther, "/private/x")
			second.wantStatus(second.get("/private/x"), http.StatusOK, "")
			b.wantStatus(b.get("/private/x"), http.StatusOK, "")
			if kinds := append(w.log.rejections(t), other.log.rejections(t)...); len(kinds) != 0 {
				t.Errorf("%s, %s: got rejections %v, want none", mode, order, kinds)
			}
		}
	}
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

// loginBytes returns how many bytes the cookies of sign-ins add to the Cookie header.
func (b *browser) loginBytes() (total int) {
	for _, c := range b.cookies() {
		if strings.HasPrefix(c.Name, "__Host-login-") {
			total += len(c.Name) + len("=") + len(c.Value) + len("; ")
		}
	}
	return total
}

// A user who opens one page after the other without signing in can finish each of them. Beyond the bound, a sign-in
// whose cookie was overwritten starts again and leads to its page.
// https://github.com/dotnet/aspnetcore/issues/24870, https://github.com/thomseddon/traefik-forward-auth/issues/238
func TestTabsBeyondTheBoundReturnToTheirPages(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b := w.browser(t)
		var tabs []string
		for i := range 40 {
			tabs = append(tabs, b.signInAtEntra(b.get(fmt.Sprintf("/private/%d", i)), alice))
			if got, want := len(b.cookies()), min(i+1, 16); got != want {
				t.Fatalf("%s: after %d tabs: got %d cookies, want %d", mode, i+1, got, want)
			}
			if n := b.loginBytes(); n > 16*50 {
				t.Fatalf("%s: got %d bytes of cookies, want at most 800", mode, n)
			}
		}
		restarted := 0
		for i, callback := range tabs {
			if i%10 == 0 { // as if this tab were the first one
				b.deleteCookie(sessionName(b))
			}
			page := fmt.Sprintf("/private/%d", i)
			a := b.finishCallback(callback)
			if strings.HasPrefix(a.Header.Get("Location"), entraHost) {
				restarted++
				a = b.finishCallback(b.signInAtEntra(a, alice))
			}
			b.wantStatus(a, http.StatusSeeOther, page)
			b.wantStatus(b.get(page), http.StatusOK, "")
		}
		if kinds := w.log.rejections(t); len(kinds) != 0 {
			t.Errorf("%s: got rejections %v, want none", mode, kinds)
		}
		if restarted == 0 {
			t.Errorf("%s: no sign-in started again", mode)
		}
	}
}

// sessionName returns the name of the session cookie.
func sessionName(b *browser) string {
	if c := b.cookie("__Host-session-"); c != nil {
		return c.Name
	}
	return "none"
}

// However many pages a browser requests at once without a session, the cookies of their sign-ins stay below 4 KB
// together. The responses cannot know of each other. The worst case has every cookie that a sign-in can set.
// https://github.com/dotnet/aspnetcore/issues/24870, https://github.com/oauth2-proxy/oauth2-proxy/issues/2163
func TestParallelSignInsStayBelow4KB(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		w := newWebApp(t, func(s *settings) { s.flow.ResponseMode = mode })
		b := w.browser(t)
		wantSmall := func(when string) {
			t.Helper()
			n := b.loginBytes()
			t.Logf("%s: %s: %d bytes", mode, when, n)
			if n > 4096 {
				t.Errorf("%s: %s: got %d bytes of cookies, want at most 4096", mode, when, n)
			}
		}
		long := "/private/" + strings.Repeat("x", 1990)
		for range 3 {
			empty := w.browser(t)
			var tabs []*response
			for i := range 100 { // no request carries the cookies of another one's response
				path := fmt.Sprintf("/private/%d", i)
				if i == 99 {
					path = long
				}
				a := empty.get(path)
				empty = w.browser(t)
				b.jar.SetCookies(b.url(), a.Cookies())
				tabs = append(tabs, a)
			}
			wantSmall("100 sign-ins at once")
			if n := len(b.cookies()); n < 10 {
				t.Errorf("got %d cookies, want nearly 16 and one for the page", n)
			}
			b.wantStatus(b.callback(b.signInAtEntra(tabs[99], alice)), http.StatusSeeOther, long)
		}
		b.get("/login")
		b.wantStatus(b.get("/private/x"), http.StatusOK, "")
		b.wantEntra(b.post("/logout", nil))
		wantSmall("after a sign-out")
		for range 20 {
			b.get("/login?return_to=" + long)
			wantSmall("after a sign-out and 20 sign-ins")
		}
	}
}

// A page whose address is too long to return to after a sign-in says so. After the sign-in, the link works.
// https://github.com/bitwarden/server/issues/953
func TestPagesTooLongToReturnToAreExplained(t *testing.T) {
	w := newWebApp(t)
	for _, path := range []string{"/private/" + strings.Repeat("x", 2500), "/private/" + strings.Repeat("x", 1992),
		"/private/a?x=" + strings.Repeat("%26", 2000), "/private/?" + strings.Repeat("&", 332)} {
		b := w.browser(t)
		for _, target := range []string{path, "/login?return_to=" + url.QueryEscape(path)} {
			a := b.get(target)
			b.wantStatus(a, http.StatusBadRequest, "")
			if len(a.Cookies()) != 0 || !strings.Contains(a.body, "This link is too long to return to") ||
				!strings.Contains(a.body, `<a href="/login">Sign in</a>`) {
				t.Errorf("%.40s: got %d cookies and page\n%s", path, len(a.Cookies()), a.body)
			}
		}
		b.signIn("/login", alice)
		b.wantStatus(b.get(path), http.StatusOK, "")
	}
	if kinds := w.log.rejections(t); kinds[0] != "return_to_too_long" {
		t.Errorf("got rejections %v", kinds)
	}
	for _, path := range []string{"/private/" + strings.Repeat("x", 1991), "/private/?" + strings.Repeat("&", 331)} {
		if to := w.browser(t).signIn(path, alice); to != path {
			t.Errorf("%.40s returns to %.40s", path, to)
		}
	}
}

// A browser remembers one long address. If two tabs need one, the user of the first is signed in and told to open the
// link again.
func TestSecondLongPageReplacesTheFirst(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	long := func(c string) string { return "/private/" + strings.Repeat(c, 1500) }
	first, second := b.signInAtEntra(b.get(long("a")), alice), b.signInAtEntra(b.get(long("b")), alice)
	a := b.callback(first)
	b.wantStatus(a, http.StatusBadRequest, "")
	if !strings.Contains(a.body, "You are signed in") || !strings.Contains(a.body, `<a href="/">Continue</a>`) {
		t.Errorf("got page\n%s", a.body)
	}
	b.wantStatus(b.get(long("a")), http.StatusOK, "")
	b.wantStatus(b.callback(second), http.StatusSeeOther, long("b"))
	if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[page_lost]" {
		t.Errorf("got rejections %s", kinds)
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

// Too many scopes do not fit into the state parameter, which the developer must fix.
func TestManyScopes(t *testing.T) {
	for n, to := range map[int]string{10: "the page", 25: "the page", 80: ""} {
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
