package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/testkit"
)

// request sends a request with that Cookie header, in which names replaces placeholders.
func (w *webApp) request(target, cookie string, names *strings.Replacer) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, origin+"/", nil)
	u, err := url.Parse(target)
	if err != nil {
		u = &url.URL{Path: "/"}
	}
	r.URL = u
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Cookie", names.Replace(cookie))
	rec := httptest.NewRecorder()
	w.app.ServeHTTP(rec, r)
	return rec
}

// Arbitrary cookies cause no panic and sign no user in.
func FuzzCookies(f *testing.F) {
	w := newWebApp(f)
	b := w.browser(f)
	callback := b.signInAtEntra(b.get("/login"), alice)
	login := b.cookie("__Host-login-")
	b.callback(callback)
	names := strings.NewReplacer("NAME", b.cookie("__Host-session-").Name, "LOGIN", login.Name, "VALUE", login.Value)
	u, err := url.Parse(callback)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range []string{"NAME=AAAAAAAAAAAAAAAAAAAAAAAAAA", "NAME=", "LOGIN=VALUE", "LOGIN=AAAA; LOGIN=VALUE",
		"NAME=VALUE", "LOGINx=VALUE", "=;;=", `NAME="x"; NAME=y`, "LOGIN=VALUEA", "\x00"} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		testkit.CostsAtMost(t, "a page", testkit.Cost{Fixed: 1 << 20, PerByte: 100}, cookie, func(s string) {
			w.request("/private/x", s, names)
		})
		for _, target := range []string{"/", "/private/x", u.RequestURI(), "/login"} {
			rec := w.request(target, cookie, names)
			if strings.HasPrefix(rec.Body.String(), "true") || rec.Code == http.StatusInternalServerError {
				t.Errorf("%s with %q: got status %d, %s", target, cookie, rec.Code, rec.Body)
			}
			for _, c := range rec.Result().Cookies() {
				if strings.HasPrefix(c.Name, "__Host-session-") && c.MaxAge >= 0 {
					t.Errorf("%s with %q: got a session", target, cookie)
				}
			}
		}
	})
}

// With any return_to, the browser goes to Entra and returns to this site, or gets a page.
func FuzzReturnTo(f *testing.F) {
	for _, to := range openRedirects {
		f.Add(to)
	}
	f.Add("/a?b=c#d")
	w := newWebApp(f)
	f.Fuzz(func(t *testing.T, to string) {
		b := w.browser(t)
		a := b.get("/login?return_to=" + url.QueryEscape(to))
		if a.StatusCode == http.StatusBadRequest && a.Header.Get("Location") == "" {
			return
		}
		a = b.callback(b.signInAtEntra(a, alice))
		b.wantStatus(a, http.StatusSeeOther, "")
		back, err := url.Parse(a.Header.Get("Location"))
		if err != nil || back.Host != "" || back.Scheme != "" || !strings.HasPrefix(a.Header.Get("Location"), "/") ||
			strings.HasPrefix(a.Header.Get("Location"), "//") {
			t.Errorf("%q redirects to %q", to, a.Header.Get("Location"))
		}
	})
}

// An arbitrary callback starts no session and redirects nowhere but Home.
func FuzzCallback(f *testing.F) {
	w := newWebApp(f)
	b := w.browser(f)
	state := b.wantEntraQuery(b.get("/login?return_to=/private/x")).Get("state")
	names := strings.NewReplacer()
	for _, q := range []string{"state=" + state, "state=" + state + "&code=x", "state=" + state[:26], "state=" + state[:27],
		"state=" + state[1:], "state=" + state + "A", "state=..", "admin_consent=True&state=" + state} {
		f.Add(q)
	}
	for _, q := range []string{"state=x&code=y", "error=<script>&state=x", "admin_consent=True", "state=%00&state=",
		"code=" + strings.Repeat("x", 100), "error_description=%3Cimg%3E"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		testkit.CostsAtMost(t, "a callback", testkit.Cost{Fixed: 1 << 20, PerByte: 100}, q, func(s string) {
			w.request("/callback?"+s, "", names)
		})
		rec := w.request("/callback?"+q, "", names)
		if rec.Code != http.StatusBadRequest && rec.Code != http.StatusSeeOther && rec.Code != http.StatusOK ||
			len(rec.Result().Cookies()) != 0 {
			t.Errorf("%q: got status %d", q, rec.Code)
		}
		if rec.Code == http.StatusSeeOther && rec.Header().Get("Location") != "/" {
			t.Errorf("%q redirects to %q", q, rec.Header().Get("Location"))
		}
	})
}
