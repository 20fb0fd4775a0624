package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

// Only users of allowed tenants can sign in at "organizations".
func TestTenantAllowListIsEnforced(t *testing.T) {
	w := newWebApp(t, func(s *settings) {
		s.client.TenantID = "organizations"
		s.flow.Tenants = []string{entratest.SampleTenant}
	})
	b := w.browser(t)
	b.signIn("/private/x", alice)
	b.wantUser("Alice Adams")

	other := w.browser(t)
	a := other.get("/private/x")
	if to := other.wantEntra(a); !strings.HasPrefix(to, entraHost+"/organizations/") {
		t.Errorf("got sign-in at %s", to)
	}
	a = other.callback(other.signInAtEntra(a, carol))
	other.wantStatus(a, http.StatusForbidden, "")
	if !strings.Contains(a.body, "does not use this app") || !strings.Contains(a.body,
		`href="/login?prompt=select_account&amp;return_to=%2Fprivate%2Fx"`) {
		t.Errorf("got page\n%s", a.body)
	}
	other.wantUser("")
	if other.session() != "" {
		t.Error("got a session cookie, want none")
	}
	if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[tenant_not_allowed]" {
		t.Errorf("got rejections %s", kinds)
	}
	if q := other.wantEntraQuery(other.get("/login?prompt=select_account&return_to=/private/x")); q.Get(
		"prompt") != "select_account" {
		t.Errorf("got authorization request %v", q)
	}
	if q := other.wantEntraQuery(other.get("/login?prompt=none&scope=x&claims=y&login_hint=z")); q.Has("prompt") ||
		q.Has("claims") || q.Has("login_hint") {
		t.Errorf("parameters of a link were passed on: %v", q)
	}
}

func TestAnyOrganizationCanSignIn(t *testing.T) {
	w := newWebApp(t, anyOrganization)
	for user, want := range map[string]string{alice: "true Alice Adams " + entratest.SampleTenant,
		carol: "true Carol Clark " + entratest.SampleOtherTenant} {
		b := w.browser(t)
		b.signIn("/private/x", user)
		if a := b.get("/"); a.body != want {
			t.Errorf("got page %q", a.body)
		}
		if a := b.get("/call"); a.body != "token true" {
			t.Errorf("got body %q, want \"token true\"", a.body)
		}
	}
}

// The account and the tokens of a guest belong to the tenant signed in to, not to the home tenant.
func TestGuestBelongsToResourceTenant(t *testing.T) {
	const guestID = "cccccccc-1111-4000-8000-0000000000c1"
	var account string
	w := newWebApp(t, func(s *settings) {
		s.site.KeepClaims = true
		s.entra.Users[2].Guest = map[string]string{entratest.SampleTenant: guestID}
	})
	b := w.browser(t)
	b.signIn("/private/x", carol)
	w.calls = func(out http.ResponseWriter, r *http.Request) {
		a, ok := signin.AccountFromContext(r.Context())
		c, hasClaims := signin.ClaimsFromContext(r.Context())
		if !ok || !hasClaims {
			t.Fatal("got no account or no claims")
		}
		account = a.HomeAccountID
		if a.TenantID != entratest.SampleTenant || a.ObjectID != guestID || c.TenantID != a.TenantID ||
			c.ObjectID != a.ObjectID ||
			a.HomeAccountID != w.User(carol).ObjectID+"."+entratest.SampleOtherTenant ||
			!strings.Contains(c.IdentityProvider, entratest.SampleOtherTenant) {
			t.Errorf("got account %+v in %s, home account %s", a, a.TenantID, a.HomeAccountID)
		}
		token, err := w.site.TokenSource(r).TokenContext(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.RevokeToken(token.AccessToken)
	}
	b.wantStatus(b.get("/call"), http.StatusOK, "")
	if account == "" {
		t.Fatal("the page was not requested")
	}
	for _, r := range w.Requests() {
		if r.Form.Get("grant_type") != "" && !strings.Contains(r.Path, entratest.SampleTenant) {
			t.Errorf("got a token request to %s", r.Path)
		}
	}
}

// One person is a different user in each tenant. A sign-in to another tenant ends the first session at once, without
// grace period, and keeps the new tokens.
func TestSamePersonInAnotherTenantIsAnotherUser(t *testing.T) {
	w := newWebApp(t, anyOrganization, func(s *settings) {
		s.entra.Users[2].Guest = map[string]string{entratest.SampleTenant: "cccccccc-1111-4000-8000-0000000000c1"}
	})
	b, thief := w.browser(t), w.browser(t)
	b.signIn("/private/x", carol)
	thief.setCookie(b.cookie("__Host-session-"))
	if a := thief.get("/"); a.body != "true Carol Clark "+entratest.SampleOtherTenant {
		t.Fatalf("got page %q", a.body)
	}
	w.ChangeResponses(func(_ url.Values, body map[string]any) {
		w.remintIDToken(body, func(o *entratest.MintOptions) { o.Tenant = entratest.SampleTenant })
	})
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), carol)), http.StatusSeeOther, "/")
	if a := b.get("/"); a.body != "true Carol Clark "+entratest.SampleTenant {
		t.Fatalf("got page %q", a.body)
	}
	thief.wantUser("")
	if a := b.get("/call"); a.body != "token true" {
		t.Errorf("got status %d and body %q, want \"token true\"", a.StatusCode, a.body)
	}
}

// AdminConsentURL leads to the page of the user's tenant, and its callback starts no session.
func TestAdminConsentURL(t *testing.T) {
	w := newWebApp(t)
	u, err := url.Parse(w.flow.AdminConsentURL("", scopeB))
	if err != nil {
		t.Fatal(err)
	}
	if u.Path != "/"+entratest.SampleTenant+"/v2.0/adminconsent" || u.Query().Get("scope") != scopeB ||
		u.Query().Get("client_id") != webapp || u.Query().Get("redirect_uri") != origin+"/callback" {
		t.Errorf("got %s", u)
	}
	// Its callback is not trusted.
	b := w.browser(t)
	b.wantStatus(b.get("/callback?admin_consent=True&tenant="+entratest.SampleTenant), http.StatusSeeOther, "/")
	b.wantUser("")
}
