package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// ask sends a request with that Cookie header, in which NAME stands for the session's
// cookie and LOGIN for that of the state "x".
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

// Whatever cookies come, nobody is signed in who has not signed in, and nothing panics.
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
	for _, c := range []string{"NAME=AAAAAAAAAAAAAAAAAAAAAAAAAA", "NAME=", "LOGIN=VALUE", "LOGIN=AAAA; LOGIN=VALUE", "NAME=VALUE", "LOGINx=VALUE", "=;;=", `NAME="x"; NAME=y`, "LOGIN=VALUEA", "\x00"} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		for _, target := range []string{"/", "/private/x", u.RequestURI(), "/login"} {
			rec := w.request(target, cookie, names)
			if strings.HasPrefix(rec.Body.String(), "true") || rec.Code == http.StatusInternalServerError {
				t.Errorf("%s with %q: %d %s", target, cookie, rec.Code, rec.Body)
			}
			for _, c := range rec.Result().Cookies() {
				if strings.HasPrefix(c.Name, "__Host-session-") && c.MaxAge >= 0 {
					t.Errorf("%s with %q starts a session", target, cookie)
				}
			}
		}
	})
}

// Whatever return_to is, the user is sent to Entra and comes back to this site, or gets a
// page.
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
		if err != nil || back.Host != "" || back.Scheme != "" || !strings.HasPrefix(a.Header.Get("Location"), "/") || strings.HasPrefix(a.Header.Get("Location"), "//") {
			t.Errorf("%q leads to %q", to, a.Header.Get("Location"))
		}
	})
}

// Whatever is in the callback's query, nobody is signed in by it, no header is anybody
// else's, and the page has no markup of it.
func FuzzCallback(f *testing.F) {
	w := newWebApp(f)
	names := strings.NewReplacer()
	for _, q := range []string{"state=x&code=y", "error=<script>&state=x", "admin_consent=True", "state=%00&state=", "code=" + strings.Repeat("x", 100), "error_description=%3Cimg%3E"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		rec := w.request("/callback?"+q, "", names)
		if rec.Code != http.StatusBadRequest && rec.Code != http.StatusSeeOther && rec.Code != http.StatusOK || len(rec.Result().Cookies()) != 0 {
			t.Errorf("%q: %d", q, rec.Code)
		}
		if rec.Code == http.StatusSeeOther && rec.Header().Get("Location") != "/" {
			t.Errorf("%q leads to %q", q, rec.Header().Get("Location"))
		}
	})
}
