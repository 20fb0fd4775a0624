package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A user whose organization does not grant one of the app's scopes is signed in. The page that uses the scope requests
// it, and then shows the link for administrators (AzureAD/microsoft-authentication-library-for-objc#1482).
func TestFewerScopesThanRequestedSignIn(t *testing.T) {
	w := newWebApp(t, func(s *settings) { s.flow.Scopes = []string{scopeB, "api://api-b/Orders.Write"} })
	w.ChangeResponses(func(_ url.Values, body map[string]any) { body["scope"] = scopeB })
	b := w.browser(t)
	if to := b.signIn("/private/x", alice); to != "/private/x" {
		t.Errorf("got redirect to %s, want /private/x", to)
	}
	b.wantUser("Alice Adams")
	if a := b.get("/call?scope=" + scopeB); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
	for range 2 {
		if to := b.signIn("/call", alice); to != "/call" {
			t.Errorf("got redirect to %s, want /call", to)
		}
	}
	a := b.get("/call")
	b.wantStatus(a, http.StatusForbidden, "")
	if !strings.Contains(a.body, "An administrator must approve this app") {
		t.Errorf("got page\n%s", a.body)
	}
	b.wantUser("Alice Adams")
}
