package entratest_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// browser is a person with a browser that keeps cookies.
type browser struct {
	t      *testing.T
	client *http.Client
	at     *url.URL
	status int
	page   string
	header http.Header
}

func newBrowser(t *testing.T, s *entratest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	c.Jar = jar
	return &browser{t: t, client: c}
}

func (b *browser) do(req *http.Request) {
	b.t.Helper()
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.status, b.page, b.at, b.header = resp.StatusCode, string(data), req.URL, resp.Header
	if to := resp.Header.Get("Location"); to != "" {
		if b.at, err = url.Parse(to); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *browser) open(rawURL string) *browser {
	b.t.Helper()
	req, err := http.NewRequest("GET", rawURL, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(req)
	return b
}

var (
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// press submits the page's form with a button and the fields given.
func (b *browser) press(step string, pairs ...string) *browser {
	b.t.Helper()
	m := formAction.FindStringSubmatch(b.page)
	if m == nil {
		b.t.Fatalf("no form at %s: %s", b.at, b.page)
	}
	f := form(pairs...)
	f.Set("step", step)
	for _, in := range hiddenInput.FindAllStringSubmatch(b.page, -1) {
		if !f.Has(html.UnescapeString(in[1])) {
			f.Set(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
		}
	}
	req, err := http.NewRequest("POST", b.at.ResolveReference(&url.URL{Path: html.UnescapeString(m[1])}).String(), strings.NewReader(f.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.do(req)
	return b
}

// sees checks the page's heading and some of its text.
func (b *browser) sees(title string, texts ...string) {
	b.t.Helper()
	if !strings.Contains(b.page, "<h1>"+title) {
		b.t.Fatalf("not %q but %d %s: %s", title, b.status, b.at, b.page)
	}
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(b.page), text) {
			b.t.Errorf("%q is missing: %s", text, b.page)
		}
	}
}

// arrives checks that the browser was sent to the app, and returns with what.
func (b *browser) arrives() url.Values {
	b.t.Helper()
	if b.status != 302 || !strings.HasPrefix(b.at.String(), callback) {
		b.t.Fatalf("%d %s: %s", b.status, b.at, b.page)
	}
	return b.at.Query()
}

func (b *browser) signIn(user, password string) *browser {
	b.t.Helper()
	return b.press("password", "username", user, "password", password)
}

func TestSignInPages(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant))
	b.sees("Sign in", "webapp", "Contoso")
	b.signIn(alice, "a typo")
	b.sees("Sign in", "The password is wrong.", alice)
	b.signIn("nobody@contoso.onmicrosoft.com", "x")
	b.sees("Sign in", "This username does not exist.")
	b.signIn(strings.ToUpper(alice), "alice-password")
	b.sees("Permissions requested", "Use api-a as you: access_as_user", "api://api-a/access_as_user", "Maintain access to data you have given it access to", "Sign you in")
	q := b.press("consent").arrives()
	if q.Get("state") != "a state" {
		t.Errorf("state %q", q.Get("state"))
	}
	wantToken(t, redeem(t, s, q.Get("code")))
	if n := s.Count(entratest.Match{AADSTS: 50126}); n != 1 {
		t.Errorf("%d wrong passwords in the journal", n)
	}

	// The second time there is nothing to ask.
	if q := b.open(authorizeURL(tenant, "prompt", "none")).arrives(); q.Get("code") == "" {
		t.Errorf("silently: %v", q)
	}
	b.open(authorizeURL(tenant)).arrives()
	b.open(authorizeURL(tenant, "prompt", "login")).sees("Sign in")
	b.open(authorizeURL(tenant, "prompt", "consent")).sees("Permissions requested")
	b.press("consent").arrives()
	b.open(authorizeURL(tenant, "prompt", "select_account")).sees("Pick an account", "Alice Adams", alice)
	b.press("pick").arrives()
	b.open(authorizeURL(tenant, "login_hint", bob)).sees("Sign in", bob)
	b.signIn(bob, "bob-password").press("consent").arrives()

	// Two accounts now.
	b.open(authorizeURL(tenant)).sees("Pick an account", alice, bob, "Use another account")
	b.press("other").sees("Sign in")
	b.open(authorizeURL(tenant, "login_hint", alice)).arrives()
	if q := b.open(authorizeURL(tenant, "prompt", "none")).arrives(); q.Get("error") != "login_required" {
		t.Errorf("two accounts and none hinted: %v", q)
	}
	if q := b.open(authorizeURL(tenant, "prompt", "none", "login_hint", bob)).arrives(); q.Get("code") == "" {
		t.Errorf("two accounts and one hinted: %v", q)
	}

	// A session that was revoked is none.
	s.RevokeSessions(alice)
	if q := b.open(authorizeURL(tenant, "prompt", "none", "login_hint", alice)).arrives(); q.Get("error") != "login_required" {
		t.Errorf("after revocation: %v", q)
	}
}

func TestDecline(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	q := b.open(authorizeURL(tenant)).press("cancel").arrives()
	if q.Get("error") != "access_denied" || !strings.HasPrefix(q.Get("error_description"), "AADSTS65004: ") || q.Get("state") != "a state" {
		t.Errorf("cancelled: %v", q)
	}
	q = b.open(authorizeURL(tenant)).signIn(bob, "bob-password").press("cancel").arrives()
	if q.Get("error") != "access_denied" || q.Get("code") != "" {
		t.Errorf("declined: %v", q)
	}
	b.open(authorizeURL(tenant)).signIn(bob, "bob-password").sees("Permissions requested")
}

func TestSilentErrors(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.RequireMFA = true }))
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant)).signIn(alice, "alice-password").press("consent").arrives()
	q := b.open(authorizeURL(tenant, "prompt", "none", "scope", "api://api-a/.default https://graph.microsoft.com/Mail.Read")).arrives()
	if q.Get("error") != "invalid_scope" {
		t.Errorf("mixed: %v", q)
	}
	q = b.open(authorizeURL(tenant, "prompt", "none", "scope", "https://graph.microsoft.com/Mail.Read")).arrives()
	if q.Get("error") != "interaction_required" || q.Get("suberror") != "consent_required" || !strings.HasPrefix(q.Get("error_description"), "AADSTS65001: ") {
		t.Errorf("no consent: %v", q)
	}
	q = b.open(authorizeURL(tenant, "prompt", "none", "scope", "api://api-b/Orders.Read")).arrives()
	if q.Get("error") != "interaction_required" || !strings.HasPrefix(q.Get("error_description"), "AADSTS50076: ") || q.Get("claims") == "" {
		t.Errorf("MFA: %v", q)
	}
	b.open(authorizeURL(tenant, "scope", "api://api-b/Orders.Read")).sees("Approve sign-in request", alice)
	b.press("mfa").sees("Permissions requested", "Use api-b as you: Orders.Read")
	code := b.press("consent").arrives().Get("code")
	wantToken(t, redeem(t, s, code, "scope", "api://api-b/Orders.Read"))
	// The session has the second factor from now on.
	b.open(authorizeURL(tenant, "prompt", "none", "scope", "api://api-b/Orders.Read")).arrives()
}

func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		b := newBrowser(t, s)
		b.open(authorizeURL(tenant)).signIn(alice, "alice-password").press("consent").arrives()
		time.Sleep(time.Minute)
		b.open(authorizeURL(tenant, "max_age", "60")).arrives()
		time.Sleep(time.Second)
		b.open(authorizeURL(tenant, "max_age", "60")).sees("Sign in")
		page := *b
		if q := b.open(authorizeURL(tenant, "max_age", "60", "prompt", "none")).arrives(); q.Get("error") != "login_required" {
			t.Errorf("silently: %v", q)
		}
		time.Sleep(time.Hour + time.Second)
		page.signIn(alice, "alice-password").sees("Sign-in failed", "AADSTS90013")
	})
}

func TestFormPost(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant, "response_mode", "form_post", "state", `"><script>zq</script>`)).signIn(alice, "alice-password").press("consent")
	m := formAction.FindStringSubmatch(b.page)
	if b.status != 200 || m == nil || html.UnescapeString(m[1]) != callback {
		t.Fatalf("%d: %s", b.status, b.page)
	}
	values := url.Values{}
	for _, in := range hiddenInput.FindAllStringSubmatch(b.page, -1) {
		values.Set(in[1], html.UnescapeString(in[2]))
	}
	if values.Get("state") != `"><script>zq</script>` || strings.Contains(b.page, "<script>zq") {
		t.Errorf("state %q: %s", values.Get("state"), b.page)
	}
	wantToken(t, redeem(t, s, values.Get("code")))
	if csp := b.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'nonce-") {
		t.Errorf("policy %q", csp)
	}
}

func TestPagesEscape(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	const evil = `"><img src=x onerror=alert(1)>`
	b.open(authorizeURL(tenant, "login_hint", evil))
	if strings.Contains(b.page, "<img") {
		t.Errorf("the hint is markup: %s", b.page)
	}
	b.open(authorizeURL(tenant, "client_id", evil))
	if strings.Contains(b.page, "<img") || b.status != 400 {
		t.Errorf("%d, the error is markup: %s", b.status, b.page)
	}
	if csp := b.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
}

// TestTamperedPages sends forms that the server did not make.
func TestTamperedPages(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant))
	first := *b
	for _, step := range []string{"mfa", "consent", "nothing", ""} {
		page := first
		page.press(step).sees("Sign-in failed", "AADSTS90013")
	}
	page := first
	page.press("password", "ctx", "AAAA", "username", alice, "password", "alice-password").sees("Sign-in failed", "AADSTS90013")
	page = first
	page.press("pick", "username", alice).sees("Sign-in failed", "AADSTS90013")
	page = first
	page.page = strings.Replace(page.page, "/"+tenant+"/login", "/"+fabrikam+"/login", 1)
	page.signIn(alice, "alice-password").sees("Sign-in failed", "AADSTS90013")
	b.open(authHost + tenant + "/login")
	if b.status != 405 {
		t.Errorf("status %d", b.status)
	}
}

func TestSignOut(t *testing.T) {
	s := entratest.NewServer(sample("webapp", func(a *entratest.App) { a.LogoutURL = "https://webapp.contoso.example/logout" }))
	b := newBrowser(t, s)
	logout := authHost + tenant + "/oauth2/v2.0/logout?"
	for _, user := range []string{"alice", "bob"} {
		b.open(authorizeURL(tenant, "login_hint", user+"@contoso.onmicrosoft.com")).signIn(user+"@contoso.onmicrosoft.com", user+"-password").press("consent").arrives()
	}
	b.open(logout + form("logout_hint", bob).Encode())
	b.sees("Signed out", `<iframe src="https://webapp.contoso.example/logout?iss=`, "&sid=", "</span>Contoso</p>")
	if strings.Count(b.page, "<iframe") != 1 || !strings.Contains(b.header.Get("Content-Security-Policy"), "frame-src https://webapp.contoso.example") {
		t.Errorf("%q: %s", b.header.Get("Content-Security-Policy"), b.page)
	}
	if q := b.open(authorizeURL(tenant, "prompt", "none", "login_hint", bob)).arrives(); q.Get("error") != "login_required" {
		t.Errorf("bob: %v", q)
	}
	b.open(authorizeURL(tenant, "prompt", "none")).arrives()
	b.open(logout+form("post_logout_redirect_uri", callback, "state", "s").Encode()).sees("Signed out", `href="`+callback+`?state=s"`)
	if q := b.open(authorizeURL(tenant, "prompt", "none")).arrives(); q.Get("error") != "login_required" {
		t.Errorf("alice: %v", q)
	}
	if q := b.open(logout + form("post_logout_redirect_uri", callback).Encode()).arrives(); len(q) != 0 {
		t.Errorf("nobody to tell: %v", q)
	}
	b.open(logout + form("post_logout_redirect_uri", "https://evil.example/").Encode()).sees("Signed out")
	if strings.Contains(b.page, "evil") {
		t.Errorf("it leads to a stranger: %s", b.page)
	}
}

func TestAdminConsent(t *testing.T) {
	cfg := sample("webapp", func(a *entratest.App) {
		a.Required = append(a.Required, entratest.Permission{Resource: "api://api-b", Roles: []string{"Orders.Write.All"}})
	})
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == "api-b" {
			cfg.Apps[i].AdminScopes = []string{"Orders.Write"}
		}
	}
	for i := range cfg.Users {
		cfg.Users[i].Admin = cfg.Users[i].Username == alice
	}
	s := entratest.NewServer(cfg)
	roles := func(tenant string) string {
		return wantToken(t, ask(t, s, tenant, "grant_type", "client_credentials", "client_id", webapp, "client_secret", "webapp-secret", "scope", "api://api-b/.default")).list("roles")
	}
	write := authorizeURL(tenant, "scope", "api://api-b/Orders.Write openid")
	b := newBrowser(t, s)
	b.open(write).signIn(bob, "bob-password").sees("Sign-in failed", "AADSTS90094")
	if got := roles(tenant); got != "" {
		t.Errorf("roles before: %q", got)
	}

	consent := authHost + tenant + "/v2.0/adminconsent?" + form("client_id", webapp, "redirect_uri", callback, "state", "s", "scope", "api://api-b/Orders.Write").Encode()
	newBrowser(t, s).open(consent).signIn(bob, "bob-password").sees("Sign-in failed", "AADSTS90094")
	b = newBrowser(t, s).open(consent).signIn(alice, "alice-password")
	b.sees("Review for your organization", "Use api-b as you: Orders.Write", "all users of Contoso")
	declined := *b
	if q := declined.press("cancel").arrives(); q.Get("error") != "consent_required" || q.Get("admin_consent") != "True" || q.Get("state") != "s" {
		t.Errorf("declined: %v", q)
	}
	q := b.press("consent").arrives()
	if q.Get("admin_consent") != "True" || q.Get("tenant") != tenant || q.Get("scope") != "api://api-b/Orders.Write" || q.Get("state") != "s" {
		t.Errorf("granted: %v", q)
	}
	code := newBrowser(t, s).open(write).signIn(bob, "bob-password").arrives().Get("code")
	wantToken(t, redeem(t, s, code, "scope", "api://api-b/Orders.Write"))

	// Everything registered, roles included, without a browser.
	cb, err := s.SignIn(t.Context(), authHost+tenant+"/adminconsent?"+form("client_id", webapp, "redirect_uri", callback).Encode(), alice)
	if err != nil || cb.Query().Get("admin_consent") != "True" {
		t.Fatalf("%v %v", cb, err)
	}
	if got := roles(tenant); got != "Orders.Write.All" {
		t.Errorf("roles after: %q", got)
	}
	if got := roles(fabrikam); got != "" {
		t.Errorf("roles in another tenant: %q", got)
	}
}

// TestConsentIsNotSkipped posts the consent of a page that was never shown: the
// form of the page before it.
func TestConsentIsNotSkipped(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) { a.RequireMFA, a.AdminScopes = true, []string{"Orders.Write"} })
	s := entratest.NewServer(cfg)
	b := newBrowser(t, s).open(authorizeURL(tenant, "scope", "api://api-b/Orders.Write")).signIn(alice, "alice-password")
	b.sees("Approve sign-in request")
	hasty := *b
	hasty.press("consent").sees("Sign-in failed", "AADSTS90013")
	b.press("mfa").sees("Sign-in failed", "AADSTS90094")
}

// TestFactorIsNotInvented posts the second factor from the consent page, for a
// user who has none.
func TestFactorIsNotInvented(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.RequireMFA = true }))
	b := newBrowser(t, s).open(authorizeURL(tenant)).signIn(bob, "bob-password")
	b.sees("Permissions requested")
	forged := *b
	forged.press("mfa").sees("Sign-in failed", "AADSTS90013")
	token := redeem(t, s, b.press("consent").arrives().Get("code")).text("access_token")
	wantError(t, onBehalfOf(t, s, token), 400, "interaction_required", 50076)
}

// TestPromptIsNotDodged picks an account where the app asked for the password.
func TestPromptIsNotDodged(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant)).signIn(alice, "alice-password").press("consent").arrives()
	b.open(authorizeURL(tenant, "prompt", "login")).sees("Sign in")
	b.press("pick", "username", alice).sees("Sign-in failed", "AADSTS90013")
}

// TestGuestAdministrator has an administrator consent where they are a guest.
func TestGuestAdministrator(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) { a.AdminScopes = []string{"Orders.Write"} })
	for i := range cfg.Users {
		if u := &cfg.Users[i]; u.Username == carol {
			u.Admin, u.Guest = true, map[string]string{tenant: ""}
		}
	}
	s := entratest.NewServer(cfg)
	write := func(tenant string) string { return authorizeURL(tenant, "scope", "api://api-b/Orders.Write") }
	newBrowser(t, s).open(write(fabrikam)).signIn(carol, "carol-password").press("consent").arrives()
	newBrowser(t, s).open(write(tenant)).signIn(carol, "carol-password").sees("Sign-in failed", "AADSTS90094")
}
