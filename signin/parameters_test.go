package signin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/authcode"
)

// BeforeSignIn can set parameters of each authorization request
// (AzureAD/microsoft-authentication-library-for-android#1422).
func TestBeforeSignInSetsParameters(t *testing.T) {
	own := map[string]string{"domain_hint": "contoso.com"}
	scopes, extra := []string{scopeB}, []string{"User.Read"}
	w := newWebApp(t, func(s *settings) {
		s.flow.Parameters = map[string]string{"mkt": "de-DE"}
		s.site.BeforeSignIn = func(r *http.Request, req *authcode.Request) {
			req.Parameters["ui_locales"] = r.Header.Get("Accept-Language")
			for _, list := range [][]string{req.Scopes, req.ExtraScopes} {
				if len(list) > 0 {
					list[0] = "Mail.Read"
				}
			}
			if r.URL.Path == "/away" {
				req.ReturnTo = "//evil.example"
			}
		}
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/own", func(out http.ResponseWriter, r *http.Request) {
		w.site.SignIn(out, r, authcode.Request{Parameters: own, Scopes: scopes, ExtraScopes: extra})
	})
	mux.HandleFunc("/away", func(out http.ResponseWriter, r *http.Request) {
		w.site.SignIn(out, r, authcode.Request{})
	})
	mux.Handle("/", w.routes())
	w.app = w.site.Handler(mux)
	b := w.browser(t)
	for _, path := range []string{"/login", "/private/x", "/own", "/private/" + strings.Repeat("long", 400)} {
		q := b.wantEntraQuery(b.get(path, "Accept-Language", "fr"))
		if q.Get("ui_locales") != "fr" || q.Get("mkt") != "de-DE" || q.Has("domain_hint") != (path == "/own") {
			t.Errorf("%.20s: got parameters %q, want ui_locales=fr and mkt=de-DE", path, q)
		}
	}
	b.signIn("/private/x", alice)
	if q := b.wantEntraQuery(b.get("/call?scope="+scopeB, "Accept-Language", "it")); q.Get("ui_locales") != "it" {
		t.Errorf("got parameters %q after Interact, want ui_locales=it", q)
	}
	if len(own) != 1 || scopes[0] != scopeB || extra[0] != "User.Read" {
		t.Errorf("got %q, %q and %q, want the caller's map and slices unchanged", own, scopes, extra)
	}
	b.wantStatus(b.get("/away"), http.StatusBadRequest, "")
}

// The login path accepts the prompts that are harmless in a link of another site, and no others.
func TestLoginPathPrompts(t *testing.T) {
	b := newWebApp(t).browser(t)
	for prompt, want := range map[string]string{
		"create": "create", "select_account": "select_account", "login": "", "none": "", "consent": "", "Create": "", "": "",
	} {
		q := b.wantEntraQuery(b.get("/login?return_to=/private/x&prompt=" + prompt))
		if q.Get("prompt") != want || q.Has("prompt") != (want != "") {
			t.Errorf("prompt=%s: got prompt %q, want %q", prompt, q["prompt"], want)
		}
	}
}

// A user who removes max_age from the address is not signed in with an old authentication.
func TestRemovedMaxAgeIsNoticed(t *testing.T) {
	w := newWebApp(t, func(s *settings) {
		s.flow.Parameters = map[string]string{"max_age": "3600"}
	})
	b := w.browser(t)
	w.withClaims(map[string]any{"auth_time": time.Now().Add(-2 * time.Hour).Unix()})
	a := b.callback(b.signInAtEntra(b.get("/private/x"), alice))
	b.wantStatus(a, http.StatusForbidden, "")
	if !strings.Contains(a.body, "Signing in was not enough") || !strings.Contains(a.body, `href="/login?return_to=%2Fprivate%2Fx"`) {
		t.Errorf("got page\n%s", a.body)
	}
	b.wantUser("")
	if got := strings.Join(w.log.rejections(t), " "); got != "still_required" {
		t.Errorf("got kinds %s, want still_required", got)
	}
	w.withClaims(map[string]any{"auth_time": time.Now().Unix()})
	b.signIn("/private/x", alice)
	b.wantUser("Alice Adams")
}
