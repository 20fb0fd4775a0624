package signin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

// newRequireApp returns a webApp with one page, behind the given middleware.
func newRequireApp(t *testing.T, require func(*signin.Site, http.Handler) http.Handler) *webApp {
	w := newWebApp(t, func(s *settings) { s.site.KeepClaims = true })
	w.app = w.site.Handler(require(w.site, http.HandlerFunc(func(out http.ResponseWriter,
		r *http.Request) {
		fmt.Fprint(out, "the page")
	})))
	return w
}

// RequireRole admits users with one of the roles and redirects users who are not signed in.
func TestRequireRoleAdmitsRoles(t *testing.T) {
	w := newRequireApp(t, func(s *signin.Site, next http.Handler) http.Handler {
		return s.RequireRole("Refunds.Approve", "Admin")(next)
	})
	for _, test := range []struct {
		roles any
		ok    bool
	}{
		{[]string{"Admin"}, true}, {[]string{"Other", "Refunds.Approve"}, true},
		{nil, false}, {[]string{}, false}, {[]string{"Other"}, false}, {[]string{"admin"}, false},
		{[]string{"Admin "}, false},
	} {
		w.withClaims(map[string]any{"roles": test.roles})
		b := w.browser(t)
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/x"), alice)), http.StatusSeeOther, "/x")
		a := b.get("/x?a=b")
		if test.ok {
			if a.StatusCode != http.StatusOK || a.body != "the page" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("roles %v: got status %d, %q", test.roles, a.StatusCode, a.body)
			}
			continue
		}
		if a.StatusCode != http.StatusForbidden || strings.Contains(a.body, "the page") ||
			!strings.Contains(a.body, "You do not have access to this page") ||
			!strings.Contains(a.body, "/login?prompt=select_account&amp;return_to=%2Fx%3Fa%3Db") {
			t.Errorf("roles %v: got status %d, %s", test.roles, a.StatusCode, a.body)
		}
		a = b.get("/x", "Sec-Fetch-Mode", "cors", "Accept", "application/json")
		if a.StatusCode != http.StatusForbidden || !strings.HasPrefix(a.body, `{"error":"missing_role",`) {
			t.Errorf("roles %v: a script got status %d, %s", test.roles, a.StatusCode, a.body)
		}
	}
	if kinds := w.log.rejections(t); len(kinds) != 10 || slices.ContainsFunc(kinds,
		func(k string) bool { return k != "missing_role" }) {
		t.Errorf("got rejections %v, want 10 of missing_role", kinds)
	}
}

// RequireRole copies the roles, so changing the slice later does not change who is admitted.
func TestRequireRoleCopiesRoles(t *testing.T) {
	roles := []string{"Admin"}
	w := newRequireApp(t, func(s *signin.Site, next http.Handler) http.Handler { return s.RequireRole(roles...)(next) })
	roles[0] = "Guest"
	for role, status := range map[string]int{"Admin": http.StatusOK, "Guest": http.StatusForbidden} {
		w.withClaims(map[string]any{"roles": []string{role}})
		b := w.browser(t)
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/x"), alice)), http.StatusSeeOther, "/x")
		b.wantStatus(b.get("/x"), status, "")
	}
}

// StepUp returns nil only if the claims in the session have the authentication context.
func TestStepUpChecksAuthContext(t *testing.T) {
	const demand = `{"acrs":{"essential":true,"value":"c1"}}`
	check := func(name string, r *http.Request, satisfied bool) {
		t.Helper()
		err := signin.StepUp(r, "c1")
		if satisfied {
			if err != nil {
				t.Errorf("%s: got %v, want nil", name, err)
			}
			return
		}
		if e := testkit.Error(t, err); e.Code != "interaction_required" || !e.InteractionRequired() ||
			e.Claims != `{"access_token":`+demand+`,"id_token":`+demand+`}` {
			t.Errorf("%s: got %v with claims %s", name, e, e.Claims)
		}
	}
	check("without a Handler", httptest.NewRequest(http.MethodGet, origin+"/", nil), false)
	for _, test := range []struct {
		name            string
		keep, satisfied bool
		acrs            any
	}{
		{"satisfied", true, true, []string{"c2", "c1"}}, {"another context", true, false, []string{"c2", "c11"}},
		{"no context", true, false, nil}, {"without KeepClaims", false, false, []string{"c1"}},
	} {
		w := newWebApp(t, func(s *settings) { s.site.KeepClaims = test.keep })
		w.withClaims(map[string]any{"acrs": test.acrs})
		checked := false
		w.calls = func(_ http.ResponseWriter, r *http.Request) {
			check(test.name, r, test.satisfied)
			checked = true
		}
		b := w.browser(t)
		b.signIn("/call", alice)
		if b.wantStatus(b.get("/call"), http.StatusOK, ""); !checked {
			t.Errorf("%s: the page was not requested", test.name)
		}
	}
}

// RequireAuthContext redirects users to satisfy the authentication context, and they return to the page.
func TestRequireAuthContextStepsUp(t *testing.T) {
	w := newRequireApp(t, func(s *signin.Site, next http.Handler) http.Handler { return s.RequireAuthContext("c1")(next) })
	b := w.browser(t)
	w.withClaims(map[string]any{"acrs": []string{"c2"}})
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/x"), alice)), http.StatusSeeOther, "/x")
	a := b.get("/x")
	q := b.wantEntraQuery(a)
	const demand = `{"acrs":{"essential":true,"value":"c1"}}`
	if q.Get("claims") != `{"access_token":`+demand+`,"id_token":`+demand+`}` || q.Get("login_hint") != loginHint(alice) {
		t.Errorf("got authorization request %v", q)
	}
	if script := b.get("/x", "Sec-Fetch-Mode", "cors"); script.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(script.body, "interaction_required") {
		t.Errorf("a script got status %d, %s", script.StatusCode, script.body)
	}
	w.withClaims(map[string]any{"acrs": []string{"c1", "c2"}})
	b.wantStatus(b.callback(b.signInAtEntra(a, alice)), http.StatusSeeOther, "/x")
	if a := b.get("/x"); a.body != "the page" {
		t.Errorf("after the step-up: got status %d, %s", a.StatusCode, a.body)
	}
	// If Entra ignores the request, the user gets a page and not a redirect loop.
	w.withClaims(nil)
	b = w.browser(t)
	a = b.get("/x")
	for range 5 {
		if a.StatusCode != http.StatusSeeOther {
			break
		}
		b.wantStatus(b.callback(b.signInAtEntra(a, alice)), http.StatusSeeOther, "/x")
		a = b.get("/x")
	}
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "Signing in was not enough") {
		t.Errorf("without the context: got status %d, %s", a.StatusCode, a.body)
	}
}

// An app may have several sites. Roles and sign-ins of one do not count at another, in either order of the
// Handlers.
func TestRequireChecksItsOwnSite(t *testing.T) {
	w := newWebApp(t, func(s *settings) {
		s.site.KeepClaims = true
		s.entra.Apps[1].RedirectURIs = append(s.entra.Apps[1].RedirectURIs, origin+"/other/callback")
	})
	other := newWebApp(t, func(s *settings) {
		s.server, s.flow.RedirectURL = w.Server, origin+"/other/callback"
		s.site.KeepClaims, s.site.LoginPath, s.site.LogoutPath, s.site.FrontChannelLogoutPath = true, "/other/login",
			"/other/logout", "/other/logout/frontchannel"
	})
	w.withClaims(nil)
	other.withClaims(map[string]any{"roles": []string{"Admin"}, "acrs": []string{"c1"}})
	page := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { fmt.Fprint(out, "the page") })
	mux := http.NewServeMux()
	mux.Handle("/role", w.site.RequireRole("Admin")(page))
	mux.Handle("/context", w.site.RequireAuthContext("c1")(page))
	mux.Handle("/other/role", other.site.RequireRole("Admin")(page))
	mux.Handle("/other/context", other.site.RequireAuthContext("c1")(page))
	for name, app := range map[string]http.Handler{
		"outer": w.site.Handler(other.site.Handler(mux)), "inner": other.site.Handler(w.site.Handler(mux)),
	} {
		w.app = app
		b := w.browser(t)
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/role"), alice)), http.StatusSeeOther, "/role")
		b.wantStatus(b.callback(b.signInAtEntra(b.get("/other/role"), alice)), http.StatusSeeOther, "/other/role")
		for path, status := range map[string]int{
			"/role": http.StatusForbidden, "/context": http.StatusSeeOther, "/other/role": http.StatusOK,
			"/other/context": http.StatusOK,
		} {
			if a := b.get(path); a.StatusCode != status {
				t.Errorf("%s: %s: got status %d, want %d; page\n%s", name, path, a.StatusCode, status, a.body)
			}
		}
	}
}

// Middleware that cannot work panics when it is created.
func TestRequirePanicsOnMistakes(t *testing.T) {
	with := newWebApp(t, func(s *settings) { s.site.KeepClaims = true }).site
	without := newWebApp(t).site
	for text, f := range map[string]func(){
		"signin: RequireRole requires Config.KeepClaims":               func() { without.RequireRole("Admin") },
		"signin: RequireRole without a role":                           func() { with.RequireRole() },
		"signin: RequireAuthContext requires Config.KeepClaims":        func() { without.RequireAuthContext("c1") },
		"signin: RequireAuthContext without an authentication context": func() { with.RequireAuthContext("") },
	} {
		func() {
			defer func() {
				if r := recover(); r != text {
					t.Errorf("got panic %v, want %q", r, text)
				}
			}()
			f()
		}()
	}
}

// Outside of Handler, requests of other sites are not rejected. Require functions and others therefore respond with
// 500.
// The Handler of another site does not count.
func TestRequireOutsideHandler(t *testing.T) {
	w := newWebApp(t, func(s *settings) {
		s.site.KeepClaims = true
		s.entra.Apps[1].RedirectURIs = append(s.entra.Apps[1].RedirectURIs, origin+"/other/callback")
	})
	w.withClaims(map[string]any{"roles": []string{"Admin"}, "acrs": []string{"c1"}})
	other := newWebApp(t, func(s *settings) {
		s.server, s.flow.RedirectURL = w.Server, origin+"/other/callback"
		s.site.LoginPath, s.site.LogoutPath, s.site.FrontChannelLogoutPath = "/other/login", "/other/logout",
			"/other/logout/frontchannel"
	})
	page := http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, "the page") })
	mux := http.NewServeMux()
	mux.Handle("/signin", w.site.RequireSignIn(page))
	mux.Handle("/role", w.site.RequireRole("Admin")(page))
	mux.Handle("/context", w.site.RequireAuthContext("c1")(page))
	mux.HandleFunc("/redirect", func(out http.ResponseWriter, r *http.Request) {
		w.site.SignIn(out, r, authcode.Request{})
	})
	mux.HandleFunc("/token", func(out http.ResponseWriter, r *http.Request) {
		_, err := w.site.TokenSource(r).TokenContext(r.Context())
		if e := testkit.Error(t, err); e.Code != "login_required" || e.StatusCode != 0 {
			t.Errorf("got token error %v, want login_required without a request", e)
		}
		w.site.Interact(out, r, err)
	})
	w.app = w.site.Handler(mux)
	b := w.browser(t)
	b.signIn("/signin", alice)
	for name, app := range map[string]http.Handler{"no Handler": mux, "another site": other.site.Handler(mux)} {
		w.app = app
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for path, records := range map[string]int{"/signin": 1, "/role": 1, "/context": 1, "/redirect": 1, "/token": 2} {
				w.log.Take()
				a := b.send(method, path, nil)
				if a.StatusCode != http.StatusInternalServerError || !strings.Contains(a.body, "not set up correctly") {
					t.Errorf("%s: %s %s: got status %d, want 500; page\n%s", name, method, path, a.StatusCode, a.body)
				}
				lines := w.log.Lines(t)
				for _, line := range lines {
					const text = "signin: the request did not pass through Handler of this Site; wrap the whole app in it, " +
						"and keep the request's context"
					if line["level"] != "ERROR" || line["error"] != text {
						t.Errorf("%s: %s %s: got log record %v", name, method, path, line)
					}
				}
				if len(lines) != records {
					t.Errorf("%s: %s %s: got %d log records, want %d", name, method, path, len(lines), records)
				}
			}
		}
	}
	w.app = w.site.Handler(mux)
	b.wantStatus(b.get("/role"), http.StatusOK, "")
}

// In an app with two sites, a handler behind RequireSignIn or RequireRole of one of them gets the user of that site. It
// does so even if another user is signed in to the site of the innermost Handler.
func TestRequireSignInSelectsTheSite(t *testing.T) {
	w := newWebApp(t, func(s *settings) {
		s.site.KeepClaims = true
		s.entra.Apps[1].RedirectURIs = append(s.entra.Apps[1].RedirectURIs, origin+"/other/callback")
	})
	w.ChangeResponses(func(_ url.Values, body map[string]any) {
		w.remintIDToken(body, func(o *entratest.MintOptions) { o.Claims = map[string]any{"roles": []string{"Admin"}} })
	})
	other := newWebApp(t, func(s *settings) {
		s.server, s.flow.RedirectURL, s.site.KeepClaims = w.Server, origin+"/other/callback", true
		s.site.LoginPath, s.site.LogoutPath, s.site.FrontChannelLogoutPath = "/other/login", "/other/logout", "/other/front"
	})
	page := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		a, _ := signin.AccountFromContext(r.Context())
		c, ok := signin.ClaimsFromContext(r.Context())
		if !ok || c.ObjectID != a.ObjectID {
			t.Errorf("got the claims %v of the account %v", c, a)
		}
		fmt.Fprint(out, a.Name)
	})
	mux := http.NewServeMux()
	mux.Handle("/private", w.site.RequireSignIn(page))
	mux.Handle("/admin", w.site.RequireRole("Admin")(page))
	mux.Handle("/other/private", other.site.RequireSignIn(page))
	mux.Handle("/both", other.site.RequireSignIn(w.site.RequireSignIn(page)))
	for name, app := range map[string]http.Handler{
		"outer": w.site.Handler(other.site.Handler(mux)), "inner": other.site.Handler(w.site.Handler(mux)),
	} {
		w.app = app
		b := w.browser(t)
		b.signIn("/private", alice)
		b.signIn("/other/private", bob)
		for path, want := range map[string]string{
			"/private": "Alice Adams", "/admin": "Alice Adams", "/other/private": "Bob Brown", "/both": "Alice Adams",
		} {
			if a := b.get(path); a.body != want {
				t.Errorf("%s, %s: got %q, want %q", name, path, a.body, want)
			}
		}
	}
}
