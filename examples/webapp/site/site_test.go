package site_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/internal/contoso"
	"github.com/entratoken/entra/examples/internal/hops"
	"github.com/entratoken/entra/examples/webapp/site"
)

const alice = "alice@contoso.onmicrosoft.com"

// world is the web app with all that it needs.
type world struct {
	*contoso.Contoso
	url string
}

func start(t *testing.T) *world {
	t.Helper()
	company, err := contoso.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(company.Stop)
	client, err := entra.New(company.Config("webapp"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	address := "http://localhost:" + server.Listener.Addr().String()[strings.LastIndex(server.Listener.Addr().String(), ":")+1:]
	flow, err := authcode.New(client, authcode.Config{RedirectURL: address + "/callback", Scopes: []string{contoso.DeskScope}})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = site.New(site.Config{Flow: flow, API: company.Desk, URL: address, Network: company.Network})
	server.Start()
	t.Cleanup(server.Close)
	return &world{company, address}
}

// browser is a browser that follows no redirects.
type browser struct {
	t *testing.T
	http.Client
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// open sends a request and returns the answer and its body.
func (b *browser) open(method, address string, header ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(body)
}

// expect fails unless the answer has that status and, if want is not "", leads there.
func (b *browser) expect(resp *http.Response, status int, location string) {
	b.t.Helper()
	if resp.StatusCode != status || location != "" && resp.Header.Get("Location") != location {
		b.t.Fatalf("got status %d to %q, want %d to %q", resp.StatusCode, resp.Header.Get("Location"), status, location)
	}
}

// begin begins a sign-in and has Alice sign in, and returns the callback.
func (b *browser) begin(w *world, path string) string {
	b.t.Helper()
	resp, _ := b.open(http.MethodGet, w.url+path)
	b.expect(resp, http.StatusSeeOther, "")
	callback, err := w.Entra.SignIn(b.t.Context(), resp.Header.Get("Location"), alice)
	if err != nil {
		b.t.Fatal(err)
	}
	return callback.String()
}

func (b *browser) session(w *world) string {
	u, err := url.Parse(w.url)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == "session" {
			return c.Value
		}
	}
	return ""
}

func TestSignInAndOut(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	resp, body := b.open(http.MethodGet, w.url+"/")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `href="/login"`) || len(resp.Cookies()) != 0 {
		t.Fatalf("the home page: %d, %d cookies", resp.StatusCode, len(resp.Cookies()))
	}
	callback := b.begin(w, "/orders") // which needs a sign-in
	before := b.session(w)
	resp, _ = b.open(http.MethodGet, callback)
	b.expect(resp, http.StatusSeeOther, "/orders")
	if after := b.session(w); after == "" || after == before {
		t.Error("the session's ID is not a new one")
	}
	for _, c := range resp.Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure {
			t.Errorf("the cookie is %s", strings.Replace(c.String(), c.Value, "...", 1))
		}
	}
	resp, body = b.open(http.MethodGet, w.url+"/orders")
	b.expect(resp, http.StatusOK, "")
	for _, want := range []string{"1017 Ladder", "Alice Adams", "web app", "api-a", "api-b", "on_behalf_of", "access_as_user", "Orders.Read"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, "eyJ") {
		t.Error("the page shows a token")
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
		"Cache-Control":           "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	resp, body = b.open(http.MethodGet, w.url+"/orders", "Accept", "application/json")
	b.expect(resp, http.StatusOK, "")
	var calls []hops.Hop
	if err := json.Unmarshal([]byte(body), &calls); err != nil || len(calls) != 2 {
		t.Errorf("%d calls, %v", len(calls), err)
	}

	resp, _ = b.open(http.MethodGet, callback) // loaded again
	b.expect(resp, http.StatusSeeOther, "/")

	resp, _ = b.open(http.MethodPost, w.url+"/logout", "Sec-Fetch-Site", "cross-site")
	b.expect(resp, http.StatusForbidden, "")
	resp, _ = b.open(http.MethodGet, w.url+"/logout")
	b.expect(resp, http.StatusMethodNotAllowed, "")
	resp, _ = b.open(http.MethodPost, w.url+"/logout", "Sec-Fetch-Site", "same-origin")
	b.expect(resp, http.StatusSeeOther, "https://login.microsoftonline.com/"+entratest.SampleTenant+"/oauth2/v2.0/logout?post_logout_redirect_uri="+url.QueryEscape(w.url+"/"))
	if b.session(w) != "" {
		t.Error("the cookie is still there")
	}
	if n := w.Cache.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions in the cache, want the API's alone", n)
	}
	resp, _ = b.open(http.MethodGet, w.url+"/orders")
	if b.expect(resp, http.StatusSeeOther, ""); !strings.HasPrefix(resp.Header.Get("Location"), "https://login.microsoftonline.com/") {
		t.Errorf("goes to %s", resp.Header.Get("Location"))
	}
}

// A login that was begun in one browser cannot be finished in another.
func TestLoginOfAnotherBrowser(t *testing.T) {
	w := start(t)
	attacker, victim := newBrowser(t), newBrowser(t)
	callback := attacker.begin(w, "/login")
	victim.begin(w, "/login")
	resp, body := victim.open(http.MethodGet, callback)
	victim.expect(resp, http.StatusBadRequest, "")
	if !strings.Contains(body, "no sign-in to finish") {
		t.Errorf("the page says %.300s", body)
	}
	resp, body = victim.open(http.MethodGet, w.url+"/")
	if victim.expect(resp, http.StatusOK, ""); strings.Contains(body, "Alice") {
		t.Error("the victim is signed in as the attacker")
	}
}

func TestTwoTabs(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	one, two := b.begin(w, "/login?return_to=/one"), b.begin(w, "/login?return_to=/two")
	resp, _ := b.open(http.MethodGet, two)
	b.expect(resp, http.StatusSeeOther, "/two")
	resp, _ = b.open(http.MethodGet, one)
	b.expect(resp, http.StatusSeeOther, "/one")
}

func TestRefusals(t *testing.T) {
	w := start(t)
	for _, test := range []struct {
		name, path, says string
		status           int
	}{
		{"elsewhere", "/login?return_to=//evil.example", "not one of ours", http.StatusBadRequest},
		{"no login", "/callback?state=x&code=y", "no sign-in to finish", http.StatusBadRequest},
		{"nothing", "/callback", "no sign-in to finish", http.StatusBadRequest},
		{"no page", "/nowhere", "404 page not found", http.StatusNotFound},
	} {
		b := newBrowser(t)
		resp, body := b.open(http.MethodGet, w.url+test.path)
		if resp.StatusCode != test.status || !strings.Contains(body, test.says) || strings.Contains(body, "evil") {
			t.Errorf("%s: status %d, %.200s", test.name, resp.StatusCode, body)
		}
	}
	b := newBrowser(t)
	callback, err := url.Parse(b.begin(w, "/login"))
	if err != nil {
		t.Fatal(err)
	}
	denied := url.Values{"state": {callback.Query().Get("state")}, "error": {"access_denied"}, "error_description": {"<b>x</b>"}}
	resp, body := b.open(http.MethodGet, w.url+"/callback?"+denied.Encode())
	if b.expect(resp, http.StatusForbidden, ""); !strings.Contains(body, "did not allow") || strings.Contains(body, "<b>") {
		t.Errorf("denied: %.300s", body)
	}
}

// A revoked user is sent to sign in, and comes back to the page; a policy that a new
// sign-in does not satisfy ends in a page, not in circles.
func TestInteractionRequired(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	resp, _ := b.open(http.MethodGet, b.begin(w, "/login?return_to=/orders"))
	b.expect(resp, http.StatusSeeOther, "/orders")

	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	remove := w.Entra.Inject(entratest.Fault{Path: "token", ClientID: w.Entra.App("api-a").ClientID, Status: 400, Error: "interaction_required", AADSTS: 50076, Claims: claims})
	resp, _ = b.open(http.MethodGet, w.url+"/orders")
	b.expect(resp, http.StatusSeeOther, "")
	location := resp.Header.Get("Location")
	if u, err := url.Parse(location); err != nil || u.Query().Get("claims") != claims || u.Query().Get("login_hint") != alice {
		t.Errorf("the user is sent to sign in without the API's challenge: %v", err)
	}
	callback, err := w.Entra.SignIn(t.Context(), location, alice)
	if err != nil {
		t.Fatal(err)
	}
	resp, _ = b.open(http.MethodGet, callback.String())
	b.expect(resp, http.StatusSeeOther, "/orders?asked")
	resp, _ = b.open(http.MethodGet, w.url+"/orders?asked")
	b.expect(resp, http.StatusBadGateway, "")
	remove()

	w.Entra.Revoke(alice)
	w.Cache.PurgeFunc(forgetAll)
	resp, _ = b.open(http.MethodGet, b.begin(w, "/orders"))
	b.expect(resp, http.StatusSeeOther, "/orders?asked")
	resp, _ = b.open(http.MethodGet, w.url+"/orders?asked")
	b.expect(resp, http.StatusOK, "")
}

// Over https the cookie is for this host alone and for https alone.
func TestSecureCookie(t *testing.T) {
	company, err := contoso.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer company.Stop()
	client, err := entra.New(company.Config("webapp"))
	if err != nil {
		t.Fatal(err)
	}
	const address = "https://webapp.contoso.example"
	flow, err := authcode.New(client, authcode.Config{RedirectURL: address + "/callback"})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	site.New(site.Config{Flow: flow, URL: address}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, address+"/login", nil))
	cookies := rec.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != "__Host-session" || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].Path != "/" || cookies[0].SameSite != http.SameSiteLaxMode {
		t.Errorf("%d cookies", len(cookies))
	}
	if len(cookies[0].Value) < 26 {
		t.Errorf("the session's ID has %d characters", len(cookies[0].Value))
	}
}

// The middle tier passes a challenge on in the form in which clients read it.
func TestChallengeOfTheAPI(t *testing.T) {
	w := start(t)
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	w.Entra.Inject(entratest.Fault{Path: "token", Status: 400, Error: "interaction_required", AADSTS: 50076, Claims: claims})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Desk, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Entra.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice}))
	resp, err := w.Network.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := `Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != want {
		t.Errorf("status %d, %s", resp.StatusCode, got)
	}
}

func forgetAll(cache.Key) bool { return true }
