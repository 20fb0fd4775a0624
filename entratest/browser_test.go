package entratest_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// browser is a browser that stores cookies.
type browser struct {
	t      *testing.T
	client *http.Client
	url    *url.URL
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
	b.status, b.page, b.url, b.header = resp.StatusCode, string(data), req.URL, resp.Header
	if to := resp.Header.Get("Location"); to != "" {
		if b.url, err = url.Parse(to); err != nil {
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

// press submits the page's form with the given button and fields.
func (b *browser) press(step string, pairs ...string) *browser {
	b.t.Helper()
	m := formAction.FindStringSubmatch(b.page)
	if m == nil {
		b.t.Fatalf("no form at %s: %s", b.url, b.page)
	}
	f := form(pairs...)
	f.Set("step", step)
	for _, in := range hiddenInput.FindAllStringSubmatch(b.page, -1) {
		if !f.Has(html.UnescapeString(in[1])) {
			f.Set(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
		}
	}
	req, err := http.NewRequest("POST", b.url.ResolveReference(&url.URL{Path: html.UnescapeString(m[1])}).String(),
		strings.NewReader(f.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.do(req)
	return b
}

// wantPage checks the page's heading and parts of its text.
func (b *browser) wantPage(title string, texts ...string) {
	b.t.Helper()
	if !strings.Contains(b.page, "<h1>"+title) {
		b.t.Fatalf("no heading %q: got %d %s: %s", title, b.status, b.url, b.page)
	}
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(b.page), text) {
			b.t.Errorf("page has no %q: %s", text, b.page)
		}
	}
}

// wantCallback checks that the browser was redirected to the app, and returns the
// parameters.
func (b *browser) wantCallback() url.Values {
	b.t.Helper()
	if b.status != 302 || !strings.HasPrefix(b.url.String(), callback) {
		b.t.Fatalf("got %d %s: %s", b.status, b.url, b.page)
	}
	return b.url.Query()
}

func (b *browser) signIn(user, password string) *browser {
	b.t.Helper()
	return b.press("password", "username", user, "password", password)
}

func TestSignInPages(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant))
	b.wantPage("Sign in", "webapp", "Contoso")
	b.signIn(alice, "a typo")
	b.wantPage("Sign in", "The password is wrong.", alice)
	b.signIn("unknown@contoso.onmicrosoft.com", "x")
	b.wantPage("Sign in", "This username does not exist.")
	b.signIn(strings.ToUpper(alice), "alice-password")
	b.wantPage("Permissions requested", "Use api-a as you: access_as_user", "api://api-a/access_as_user",
		"Maintain access to data you have given it access to", "Sign you in")
	q := b.press("consent").wantCallback()
	if q.Get("state") != "a state" {
		t.Errorf("got state %q", q.Get("state"))
	}
	wantToken(t, redeem(t, s, q.Get("code")))
	if n := s.Count(entratest.Match{AADSTS: 50126}); n != 1 {
		t.Errorf("got %d wrong passwords in the journal", n)
	}

	// The second sign-in needs no page.
	if q := b.open(authorizeURL(tenant, "prompt", "none")).wantCallback(); q.Get("code") == "" {
		t.Errorf("prompt=none: got %v", q)
	}
	b.open(authorizeURL(tenant)).wantCallback()
	b.open(authorizeURL(tenant, "prompt", "login")).wantPage("Sign in")
	b.open(authorizeURL(tenant, "prompt", "consent")).wantPage("Permissions requested")
	b.press("consent").wantCallback()
	b.open(authorizeURL(tenant, "prompt", "select_account")).wantPage("Pick an account", "Alice Adams", alice)
	b.press("pick").wantCallback()
	b.open(authorizeURL(tenant, "login_hint", bob)).wantPage("Sign in", bob)
	b.signIn(bob, "bob-password").press("consent").wantCallback()

	// The browser now has two accounts.
	b.open(authorizeURL(tenant)).wantPage("Pick an account", alice, bob, "Use another account")
	b.press("other").wantPage("Sign in")
	b.open(authorizeURL(tenant, "login_hint", alice)).wantCallback()
	if q := b.open(authorizeURL(tenant, "prompt", "none")).wantCallback(); q.Get("error") != "login_required" {
		t.Errorf("two accounts without login_hint: got %v", q)
	}
	if q := b.open(authorizeURL(tenant, "prompt", "none", "login_hint", bob)).wantCallback(); q.Get("code") == "" {
		t.Errorf("two accounts with login_hint: got %v", q)
	}

	// A revoked session is not used.
	s.RevokeSessions(alice)
	if q := b.open(authorizeURL(tenant, "prompt", "none", "login_hint",
		alice)).wantCallback(); q.Get("error") != "login_required" {
		t.Errorf("after revocation: got %v", q)
	}
}

// A canceled sign-in has error_subcode=cancel. A declined consent has AADSTS65004
// (MicrosoftDocs/azure-docs#114009).
func TestCancelIsReportedToApp(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	q := b.open(authorizeURL(tenant)).press("cancel").wantCallback()
	if want := form("error", "access_denied", "error_subcode", "cancel", "state", "a state", "error_description",
		"the user canceled the authentication"); !reflect.DeepEqual(q, want) {
		t.Errorf("canceled: got %v, want %v", q, want)
	}
	q = b.open(authorizeURL(tenant)).signIn(bob, "bob-password").press("cancel").wantCallback()
	if !strings.HasPrefix(q.Get("error_description"), "AADSTS65004: ") {
		t.Errorf("declined: got %v", q)
	}
	q.Del("error_description")
	if want := form("error", "access_denied", "state", "a state", "error_uri",
		authHost+"error?code=65004"); !reflect.DeepEqual(q, want) {
		t.Errorf("declined: got %v, want %v", q, want)
	}
	b.open(authorizeURL(tenant)).signIn(bob, "bob-password").wantPage("Permissions requested")
}

func TestPromptNoneErrors(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.RequireMFA = true }))
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant)).signIn(alice, "alice-password").press("consent").wantCallback()
	q := b.open(authorizeURL(tenant, "prompt", "none", "scope",
		"api://api-a/.default https://graph.microsoft.com/Mail.Read")).wantCallback()
	if q.Get("error") != "invalid_scope" {
		t.Errorf("mixed: got %v", q)
	}
	q = b.open(authorizeURL(tenant, "prompt", "none", "scope", "https://graph.microsoft.com/Mail.Read")).wantCallback()
	if q.Get("error") != "interaction_required" || q.Get("suberror") != "consent_required" ||
		!strings.HasPrefix(q.Get("error_description"), "AADSTS65001: ") {
		t.Errorf("no consent: got %v", q)
	}
	q = b.open(authorizeURL(tenant, "prompt", "none", "scope", "api://api-b/Orders.Read")).wantCallback()
	if q.Get("error") != "interaction_required" || !strings.HasPrefix(q.Get("error_description"), "AADSTS50076: ") ||
		q.Get("claims") == "" {
		t.Errorf("MFA: got %v", q)
	}
	b.open(authorizeURL(tenant, "scope", "api://api-b/Orders.Read")).wantPage("Approve sign-in request", alice)
	b.press("mfa").wantPage("Permissions requested", "Use api-b as you: Orders.Read")
	code := b.press("consent").wantCallback().Get("code")
	wantToken(t, redeem(t, s, code, "scope", "api://api-b/Orders.Read"))
	// The session now has the second factor.
	b.open(authorizeURL(tenant, "prompt", "none", "scope", "api://api-b/Orders.Read")).wantCallback()
}

func TestMaxAgeRequiresNewSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		b := newBrowser(t, s)
		b.open(authorizeURL(tenant)).signIn(alice, "alice-password").press("consent").wantCallback()
		time.Sleep(time.Minute)
		b.open(authorizeURL(tenant, "max_age", "60")).wantCallback()
		time.Sleep(time.Second)
		b.open(authorizeURL(tenant, "max_age", "60")).wantPage("Sign in")
		page := *b
		if q := b.open(authorizeURL(tenant, "max_age", "60", "prompt",
			"none")).wantCallback(); q.Get("error") != "login_required" {
			t.Errorf("prompt=none: got %v", q)
		}
		time.Sleep(time.Hour + time.Second)
		page.signIn(alice, "alice-password").wantPage("Sign-in failed", "AADSTS90013")
	})
}

func TestFormPostResponse(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant, "response_mode", "form_post", "state", `"><script>zq</script>`)).signIn(alice,
		"alice-password").press("consent")
	m := formAction.FindStringSubmatch(b.page)
	if b.status != 200 || m == nil || html.UnescapeString(m[1]) != callback {
		t.Fatalf("got %d: %s", b.status, b.page)
	}
	values := url.Values{}
	for _, in := range hiddenInput.FindAllStringSubmatch(b.page, -1) {
		values.Set(in[1], html.UnescapeString(in[2]))
	}
	if values.Get("state") != `"><script>zq</script>` || strings.Contains(b.page, "<script>zq") {
		t.Errorf("got state %q: %s", values.Get("state"), b.page)
	}
	wantToken(t, redeem(t, s, values.Get("code")))
	if csp := b.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
		!strings.Contains(csp, "script-src 'nonce-") {
		t.Errorf("got policy %q", csp)
	}
}

func TestPagesEscapeMarkup(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	const evil = `"><img src=x onerror=alert(1)>`
	b.open(authorizeURL(tenant, "login_hint", evil))
	if strings.Contains(b.page, "<img") {
		t.Errorf("hint is not escaped: %s", b.page)
	}
	b.open(authorizeURL(tenant, "client_id", evil))
	if strings.Contains(b.page, "<img") || b.status != 400 {
		t.Errorf("got status %d and unescaped markup: %s", b.status, b.page)
	}
	if csp := b.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
		!strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("got policy %q", csp)
	}
}

// The server rejects forms that it did not make.
func TestTamperedFormsAreRejected(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant))
	first := *b
	for _, step := range []string{"mfa", "consent", "nothing", ""} {
		page := first
		page.press(step).wantPage("Sign-in failed", "AADSTS90013")
	}
	page := first
	page.press("password", "ctx", "AAAA", "username", alice, "password", "alice-password").wantPage("Sign-in failed",
		"AADSTS90013")
	page = first
	page.press("pick", "username", alice).wantPage("Sign-in failed", "AADSTS90013")
	page = first
	page.page = strings.Replace(page.page, "/"+tenant+"/login", "/"+fabrikam+"/login", 1)
	page.signIn(alice, "alice-password").wantPage("Sign-in failed", "AADSTS90013")
	b.open(authHost + tenant + "/login")
	if b.status != 405 {
		t.Errorf("got status %d", b.status)
	}
}

func TestSignOutNotifiesApps(t *testing.T) {
	s := entratest.NewServer(sample("webapp", func(a *entratest.App) {
		a.LogoutURL = "https://webapp.contoso.example/logout"
	}))
	b := newBrowser(t, s)
	logout := authHost + tenant + "/oauth2/v2.0/logout?"
	for _, user := range []string{"alice", "bob"} {
		username := user + "@contoso.onmicrosoft.com"
		b.open(authorizeURL(tenant, "login_hint", username)).signIn(username, user+"-password").
			press("consent").wantCallback()
	}
	b.open(logout + form("logout_hint", bob).Encode())
	b.wantPage("Signed out", `<iframe src="https://webapp.contoso.example/logout?iss=`, "&sid=", "</span>Contoso</p>")
	if strings.Count(b.page, "<iframe") != 1 || !strings.Contains(b.header.Get("Content-Security-Policy"),
		"frame-src https://webapp.contoso.example") {
		t.Errorf("%q: got %s", b.header.Get("Content-Security-Policy"), b.page)
	}
	if q := b.open(authorizeURL(tenant, "prompt", "none", "login_hint",
		bob)).wantCallback(); q.Get("error") != "login_required" {
		t.Errorf("bob: got %v", q)
	}
	b.open(authorizeURL(tenant, "prompt", "none")).wantCallback()
	b.open(logout+form("post_logout_redirect_uri", callback, "state", "s").Encode()).wantPage("Signed out",
		`href="`+callback+`?state=s"`)
	if q := b.open(authorizeURL(tenant, "prompt", "none")).wantCallback(); q.Get("error") != "login_required" {
		t.Errorf("alice: got %v", q)
	}
	if q := b.open(logout + form("post_logout_redirect_uri", callback).Encode()).wantCallback(); len(q) != 0 {
		t.Errorf("no app to notify: got %v", q)
	}
	b.open(logout + form("post_logout_redirect_uri", "https://evil.example/").Encode()).wantPage("Signed out")
	if strings.Contains(b.page, "evil") {
		t.Errorf("got a link to an unregistered URL: %s", b.page)
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
		return wantToken(t, tokenRequest(t, s, tenant, "grant_type", "client_credentials", "client_id", webapp,
			"client_secret", "webapp-secret", "scope", "api://api-b/.default")).joined("roles")
	}
	write := authorizeURL(tenant, "scope", "api://api-b/Orders.Write openid")
	b := newBrowser(t, s)
	b.open(write).signIn(bob, "bob-password").wantPage("Sign-in failed", "AADSTS90094")
	if got := roles(tenant); got != "" {
		t.Errorf("roles before: got %q", got)
	}

	consent := authHost + tenant + "/v2.0/adminconsent?" + form("client_id", webapp, "redirect_uri", callback, "state",
		"s", "scope", "api://api-b/Orders.Write").Encode()
	newBrowser(t, s).open(consent).signIn(bob, "bob-password").wantPage("Sign-in failed", "AADSTS90094")
	b = newBrowser(t, s).open(consent).signIn(alice, "alice-password")
	b.wantPage("Review for your organization", "Use api-b as you: Orders.Write", "all users of Contoso")
	declined := *b
	if q := declined.press("cancel").wantCallback(); q.Get("error") != "consent_required" ||
		q.Get("admin_consent") != "True" || q.Get("state") != "s" {
		t.Errorf("declined: got %v", q)
	}
	q := b.press("consent").wantCallback()
	if q.Get("admin_consent") != "True" || q.Get("tenant") != tenant || q.Get("scope") != "api://api-b/Orders.Write" ||
		q.Get("state") != "s" {
		t.Errorf("granted: got %v", q)
	}
	code := newBrowser(t, s).open(write).signIn(bob, "bob-password").wantCallback().Get("code")
	wantToken(t, redeem(t, s, code, "scope", "api://api-b/Orders.Write"))

	// All registered permissions, including roles, without a browser.
	cb, err := s.SignIn(t.Context(), authHost+tenant+"/adminconsent?"+form("client_id", webapp, "redirect_uri",
		callback).Encode(), alice)
	if err != nil || cb.Query().Get("admin_consent") != "True" {
		t.Fatalf("got %v %v", cb, err)
	}
	if got := roles(tenant); got != "Orders.Write.All" {
		t.Errorf("roles after: got %q", got)
	}
	if got := roles(fabrikam); got != "" {
		t.Errorf("roles in another tenant: got %q", got)
	}
}

// The form of the sign-in page cannot grant consent.
func TestConsentFormOfOtherPageIsRejected(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) { a.RequireMFA, a.AdminScopes = true, []string{"Orders.Write"} })
	s := entratest.NewServer(cfg)
	b := newBrowser(t, s).open(authorizeURL(tenant, "scope", "api://api-b/Orders.Write")).signIn(alice, "alice-password")
	b.wantPage("Approve sign-in request")
	hasty := *b
	hasty.press("consent").wantPage("Sign-in failed", "AADSTS90013")
	b.press("mfa").wantPage("Sign-in failed", "AADSTS90094")
}

// The form of the consent page cannot pass multifactor authentication.
func TestMFAFormOfOtherPageIsRejected(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.RequireMFA = true }))
	b := newBrowser(t, s).open(authorizeURL(tenant)).signIn(bob, "bob-password")
	b.wantPage("Permissions requested")
	forged := *b
	forged.press("mfa").wantPage("Sign-in failed", "AADSTS90013")
	token := redeem(t, s, b.press("consent").wantCallback().Get("code")).stringField("access_token")
	wantError(t, onBehalfOf(t, s, token), 400, "interaction_required", 50079)
}

// The form of the password page cannot pick an account.
func TestPickFormOfOtherPageIsRejected(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant)).signIn(alice, "alice-password").press("consent").wantCallback()
	b.open(authorizeURL(tenant, "prompt", "login")).wantPage("Sign in")
	b.press("pick", "username", alice).wantPage("Sign-in failed", "AADSTS90013")
}

// An administrator cannot consent for a tenant in which they are a guest.
func TestGuestCannotConsentAsAdministrator(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) { a.AdminScopes = []string{"Orders.Write"} })
	for i := range cfg.Users {
		if u := &cfg.Users[i]; u.Username == carol {
			u.Admin, u.Guest = true, map[string]string{tenant: ""}
		}
	}
	s := entratest.NewServer(cfg)
	write := func(tenant string) string { return authorizeURL(tenant, "scope", "api://api-b/Orders.Write") }
	newBrowser(t, s).open(write(fabrikam)).signIn(carol, "carol-password").press("consent").wantCallback()
	newBrowser(t, s).open(write(tenant)).signIn(carol, "carol-password").wantPage("Sign-in failed", "AADSTS90094")
}
