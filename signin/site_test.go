package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

// A user loads a page, signs in, returns to the page, calls an API, and signs out.
func TestSignInAndOut(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	if a := b.get("/"); a.StatusCode != http.StatusOK || a.body != "false  " || len(a.Cookies()) != 0 {
		t.Fatalf("public page: got status %d, %q, %d cookies", a.StatusCode, a.body, len(a.Cookies()))
	}
	to := b.signIn("/private/orders?id=1&x=a%20b", alice)
	if to != "/private/orders?id=1&x=a%20b" {
		t.Errorf("the browser returned to %q", to)
	}
	a := b.get(to)
	if a.StatusCode != http.StatusOK || a.body != "true Alice Adams "+entratest.SampleTenant ||
		a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got page %q, Cache-Control %q", a.body, a.Header.Get("Cache-Control"))
	}
	if a := b.get("/call"); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
	id := b.cookie("__Host-session-")

	a = b.post("/logout", nil)
	out, err := url.Parse(b.wantEntra(a))
	if err != nil || out.Path != "/"+entratest.SampleTenant+"/oauth2/v2.0/logout" ||
		out.Query().Get("post_logout_redirect_uri") != origin+"/" || out.Query().Get("logout_hint") == "" {
		t.Errorf("got sign-out at %s", out)
	}
	b.wantUser("")
	for _, c := range b.cookies() {
		if !strings.HasSuffix(c.Name, "-signed-out") {
			t.Errorf("got cookie %s after the sign-out", c.Name)
		}
	}
	b.setCookie(id) // the old ID is invalid
	b.wantUser("")
	if kinds := w.log.rejections(t); len(kinds) != 0 {
		t.Errorf("got rejections %v, want none", kinds)
	}
	if strings.Contains(w.log.String(), "Alice") {
		t.Error("the log contains the user's name")
	}
}

// A Site that was not created with New says so.
func TestZeroSiteResponds(t *testing.T) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request reached the app") })
	for name, site := range map[string]*signin.Site{"nil": nil, "zero": new(signin.Site)} {
		for method, h := range map[string]http.Handler{
			"Handler": site.Handler(next), "RequireSignIn": site.RequireSignIn(next),
			"RequireRole": site.RequireRole("Admin")(next), "RequireAuthContext": site.RequireAuthContext("c1")(next),
			"SignIn": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { site.SignIn(w, r, authcode.Request{}) }),
			"Interact": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if site.Interact(w, r, nil) || !site.Interact(w, r, &entra.Error{Code: "login_required"}) {
					t.Error("Interact did not respond")
				}
			}),
		} {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, origin+"/", nil))
			if rec.Code != http.StatusInternalServerError || rec.Body.String() != "signin: Site must be created with New\n" {
				t.Errorf("%s Site: %s: got status %d, %q", name, method, rec.Code, rec.Body)
			}
		}
		for method, err := range map[string]error{
			"EndSession":  site.EndSession(t.Context(), authcode.Account{HomeAccountID: "a.b", Session: "s"}),
			"EndSessions": site.EndSessions(t.Context(), entratest.SampleTenant, aliceID),
		} {
			if e := testkit.Error(t, err); e.Code != "invalid_request" ||
				e.Description != "the Site must be created with signin.New" {
				t.Errorf("%s Site: %s: got %v, want invalid_request", name, method, err)
			}
		}
	}
}

// Handlers of the app get the original ResponseWriter.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	w := newWebApp(t)
	b := w.browser(t)
	b.signIn("/private/x", alice)
	var got http.ResponseWriter
	app := w.site.Handler(w.site.RequireSignIn(http.HandlerFunc(func(out http.ResponseWriter,
		_ *http.Request) {
		got = out
	})))
	r := httptest.NewRequest(http.MethodGet, origin+"/", nil)
	for _, c := range b.cookies() {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	if app.ServeHTTP(rec, r); got != http.ResponseWriter(rec) {
		t.Errorf("the handler got a %T", got)
	}
}
