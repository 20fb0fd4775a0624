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

// Users of two organizations sign in at "organizations"; those of a third may not.
func TestTenantAllowList(t *testing.T) {
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
		t.Errorf("signs in at %s", to)
	}
	a = other.callback(other.signInAtEntra(a, carol))
	other.wantStatus(a, http.StatusForbidden, "")
	if !strings.Contains(a.body, "does not use this app") || !strings.Contains(a.body, `href="/login?prompt=select_account&amp;return_to=%2Fprivate%2Fx"`) {
		t.Errorf("the page is\n%s", a.body)
	}
	other.wantUser("")
	if other.session() != "" {
		t.Error("there is a session")
	}
	if kinds := fmt.Sprint(w.log.rejections(t)); kinds != "[tenant_not_allowed]" {
		t.Errorf("refused: %s", kinds)
	}
	if q := other.wantEntraQuery(other.get("/login?prompt=select_account&return_to=/private/x")); q.Get("prompt") != "select_account" {
		t.Errorf("asked for %v", q)
	}
	if q := other.wantEntraQuery(other.get("/login?prompt=none&scope=x&claims=y&login_hint=z")); q.Has("prompt") || q.Has("claims") || q.Has("login_hint") {
		t.Errorf("a link decides %v", q)
	}
}

func TestEveryOrganization(t *testing.T) {
	w := newWebApp(t, anyOrganization)
	for user, want := range map[string]string{alice: "true Alice Adams " + entratest.SampleTenant, carol: "true Carol Clark " + entratest.SampleOtherTenant} {
		b := w.browser(t)
		b.signIn("/private/x", user)
		if a := b.get("/"); a.body != want {
			t.Errorf("the page says %q", a.body)
		}
		if a := b.get("/call"); a.body != "token true" {
			t.Errorf("the call says %q", a.body)
		}
	}
}

// A guest has a home and is in another tenant: tokens and data are the latter's.
func TestGuest(t *testing.T) {
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
		c, kept := signin.ClaimsFromContext(r.Context())
		if !ok || !kept {
			t.Fatal("nobody is signed in")
		}
		account = a.HomeAccountID
		if a.TenantID != entratest.SampleTenant || a.ObjectID != guestID || c.TenantID != a.TenantID || c.ObjectID != a.ObjectID ||
			a.HomeAccountID != w.User(carol).ObjectID+"."+entratest.SampleOtherTenant || !strings.Contains(c.IdentityProvider, entratest.SampleOtherTenant) {
			t.Errorf("the account is %+v in %s, at home in %s", a, a.TenantID, a.HomeAccountID)
		}
		token, err := w.site.TokenSource(r).TokenContext(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.RevokeToken(token.AccessToken)
	}
	b.wantStatus(b.get("/call"), http.StatusOK, "")
	if account == "" {
		t.Fatal("the page was not asked for")
	}
	for _, r := range w.Requests() {
		if r.Form.Get("grant_type") != "" && !strings.Contains(r.Path, entratest.SampleTenant) {
			t.Errorf("a token was asked for at %s", r.Path)
		}
	}
}

// The page for administrators is that of the user's tenant.
func TestAdminConsentLink(t *testing.T) {
	w := newWebApp(t)
	u, err := url.Parse(w.flow.AdminConsentURL("", scopeB))
	if err != nil {
		t.Fatal(err)
	}
	if u.Path != "/"+entratest.SampleTenant+"/v2.0/adminconsent" || u.Query().Get("scope") != scopeB ||
		u.Query().Get("client_id") != webapp || u.Query().Get("redirect_uri") != origin+"/callback" {
		t.Errorf("the page is %s", u)
	}
	// What comes of it proves nothing, and is no answer to a login.
	b := w.browser(t)
	b.wantStatus(b.get("/callback?admin_consent=True&tenant="+entratest.SampleTenant), http.StatusSeeOther, "/")
	b.wantUser("")
}
