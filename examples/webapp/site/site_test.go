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

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/examples/webapp/site"
)

const alice = contoso.Alice

// webApp is the web app with its Entra and APIs.
type webApp struct {
	*contoso.Contoso
	url string
}

func start(t *testing.T, changes ...func(*entratest.Config)) *webApp {
	t.Helper()
	company, err := contoso.Start(changes...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(company.Stop)
	server := httptest.NewUnstartedServer(nil)
	address := "http://localhost:" + server.Listener.Addr().String()[strings.LastIndex(server.Listener.Addr().String(),
		":")+1:]
	config, err := company.WebApp(address)
	if err != nil {
		t.Fatal(err)
	}
	// An additional page, for which the app itself demands a step-up.
	salary := config.APIs[len(config.APIs)-1]
	salary.Path, salary.Name, salary.Context = "/salary", "Salary", contoso.StepUp
	config.APIs = append(config.APIs, salary)
	server.Config.Handler, err = site.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(server.Close)
	return &webApp{company, address}
}

// browser is a browser that does not follow redirects.
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
	return &browser{t, http.Client{Jar: jar, CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// open sends a request and returns the response and its body.
func (b *browser) open(method, address string, header ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html") // a page load
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

// expect checks the status and, if it is not empty, the location.
func (b *browser) expect(resp *http.Response, status int, location string) {
	b.t.Helper()
	if resp.StatusCode != status || location != "" && resp.Header.Get("Location") != location {
		b.t.Fatalf("got status %d to %q, want %d to %q", resp.StatusCode, resp.Header.Get("Location"), status, location)
	}
}

// begin starts a sign-in, signs Alice in at Entra, and returns the callback.
func (b *browser) begin(w *webApp, path string) string {
	b.t.Helper()
	callback, err := w.Entra.SignIn(b.t.Context(), b.toEntra(w, path).String(), alice)
	if err != nil {
		b.t.Fatal(err)
	}
	return callback.String()
}

// toEntra opens a page, follows redirects, and returns the first address outside of the web app.
func (b *browser) toEntra(w *webApp, path string) *url.URL {
	b.t.Helper()
	at := w.url + path
	for range 3 {
		resp, _ := b.open(http.MethodGet, at)
		b.expect(resp, http.StatusSeeOther, "")
		to, err := resp.Location()
		if err != nil {
			b.t.Fatal(err)
		}
		if at = to.String(); !strings.HasPrefix(at, w.url+"/") {
			return to
		}
	}
	b.t.Fatalf("%s does not redirect to Entra", path)
	return nil
}

// signIn signs Alice in and returns the callback.
func (b *browser) signIn(w *webApp) string {
	b.t.Helper()
	callback := b.begin(w, "/login")
	resp, _ := b.open(http.MethodGet, callback)
	b.expect(resp, http.StatusSeeOther, "/")
	return callback
}

// page returns a page of the web app. It must exist.
func (b *browser) page(w *webApp, path string) string {
	b.t.Helper()
	resp, body := b.open(http.MethodGet, w.url+path)
	b.expect(resp, http.StatusOK, "")
	return body
}

func TestSignInAndOut(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	if body := b.page(w, "/"); !strings.Contains(body, `href="/login"`) {
		t.Fatal("the home page has no link to the sign-in")
	}
	callback := b.begin(w, "/orders") // requires a sign-in
	resp, _ := b.open(http.MethodGet, callback)
	b.expect(resp, http.StatusSeeOther, "/orders")

	resp, body := b.open(http.MethodGet, w.url+"/orders")
	b.expect(resp, http.StatusOK, "")
	for _, want := range []string{"1017 Ladder", "Alice Adams", "web app", "api-a", "api-b", "on_behalf_of",
		"access_as_user", "Orders.Read", `action="/logout"`} {
		if !strings.Contains(body, want) {
			t.Errorf("got no %q in the page", want)
		}
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' https://login.microsoftonline.com",
		"Cache-Control":           "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("got %s: %q, want %q", name, got, want)
		}
	}
	resp, body = b.open(http.MethodGet, w.url+"/orders", "Accept", "application/json")
	b.expect(resp, http.StatusOK, "")
	var calls []hops.Hop
	if err := json.Unmarshal([]byte(body), &calls); err != nil || len(calls) != 2 {
		t.Errorf("got %d calls and error %v, want 2 calls", len(calls), err)
	}

	resp, _ = b.open(http.MethodGet, callback) // loaded again
	b.expect(resp, http.StatusSeeOther, "")

	resp, _ = b.open(http.MethodPost, w.url+"/logout", "Sec-Fetch-Site", "cross-site")
	b.expect(resp, http.StatusForbidden, "")
	resp, _ = b.open(http.MethodPost, w.url+"/logout", "Sec-Fetch-Site", "same-origin")
	b.expect(resp, http.StatusSeeOther, "")
	if to := resp.Header.Get("Location"); !strings.HasPrefix(to,
		"https://login.microsoftonline.com/"+entratest.SampleTenant+"/oauth2/v2.0/logout?") {
		t.Errorf("sign-out redirects to %s", to)
	}
	if n := w.Cache.Stats().Sessions; n != 1 {
		t.Errorf("got %d sessions in the cache, want 1, that of the API", n)
	}
	resp, body = b.open(http.MethodGet, w.url+"/orders")
	if b.expect(resp, http.StatusSeeOther, ""); strings.Contains(body, "Ladder") {
		t.Error("the orders are shown after the sign-out")
	}
	if body := b.page(w, "/"); strings.Contains(body, "Alice Adams") {
		t.Error("the home page shows Alice after the sign-out")
	}
}

// Pages require a sign-in and never show a token.
func TestPagesShowNoTokens(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	for _, path := range []string{"/orders", "/deliveries", "/payslip", "/tokens", "/claims"} {
		resp, _ := b.open(http.MethodGet, w.url+path)
		b.expect(resp, http.StatusSeeOther, "")
	}
	b.signIn(w)
	for path, want := range map[string][]string{
		"/": {"Hello, Alice Adams", alice, entratest.SampleTenant, "aaaaaaaa-1111-4000-8000-00000000a11c",
			`href="/payslip"`},
		"/orders": {"1018 Rope, 20 m", "The token&#39;s lifetime of ", "refresh in "},
		"/tokens": {"api://api-a/access_as_user", "refresh in ", "api://payroll/Payslip.Read", "No token yet"},
		"/claims": {"<code>tid</code>", "<code>roles</code>", "Orders.Approver", "Use for decisions",
			"<code>preferred_username</code>", "For display only", "<code>aio</code>", "About the token itself"},
	} {
		body := b.page(w, path)
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("%s: got no %q", path, part)
			}
		}
		if strings.Contains(body, "eyJ") {
			t.Errorf("%s: got a token in the page", path)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "style=") {
			t.Errorf("%s: got scripts or inline styles, which the policy forbids", path)
		}
	}
	for path, kind := range map[string]string{"/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml"} {
		resp, body := b.open(http.MethodGet, w.url+path)
		if b.expect(resp, http.StatusOK, ""); resp.Header.Get("Content-Type") != kind ||
			resp.Header.Get("Cache-Control") != "max-age=3600" || body == "" {
			t.Errorf("%s: got Content-Type %q, Cache-Control %q", path, resp.Header.Get("Content-Type"),
				resp.Header.Get("Cache-Control"))
		}
	}
}

// Claims are grouped by their use.
func TestClaimsAreGrouped(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	b.signIn(w)
	body := b.page(w, "/claims")
	decide, show, about := strings.Index(body, "Use for decisions"), strings.Index(body, "For display only"),
		strings.Index(body, "About the token itself")
	for claim, between := range map[string][2]int{
		"tid": {decide, show}, "oid": {decide, show}, "sub": {decide, show}, "roles": {decide, show}, "acct": {decide, show},
		"auth_time": {decide, show},
		"name":      {show, about}, "preferred_username": {show, about}, "login_hint": {show, about},
		"iss": {about, len(body)}, "aud": {about, len(body)}, "exp": {about, len(body)}, "aio": {about, len(body)},
	} {
		at := strings.Index(body, "<code>"+claim+"</code>")
		if at < between[0] || at > between[1] || strings.Count(body, "<code>"+claim+"</code>") != 1 {
			t.Errorf("%s: got position %d, want one between %d and %d", claim, at, between[0], between[1])
		}
	}
}

func TestInvalidRequestsGetPage(t *testing.T) {
	w := start(t)
	for _, test := range []struct {
		name, path string
		status     int
	}{
		{"other site", "/login?return_to=//evil.example", http.StatusBadRequest},
		{"no login", "/callback?state=x&code=y", http.StatusBadRequest},
		{"no parameters", "/callback", http.StatusBadRequest},
	} {
		b := newBrowser(t)
		resp, body := b.open(http.MethodGet, w.url+test.path)
		if resp.StatusCode != test.status || !strings.Contains(body, `role="alert"`) || !strings.Contains(body, "<main") ||
			strings.Contains(body, "evil") {
			t.Errorf("%s: got status %d, %.200s", test.name, resp.StatusCode, body)
		}
	}
	b := newBrowser(t)
	resp, body := b.open(http.MethodGet, w.url+"/nowhere")
	if b.expect(resp, http.StatusNotFound, ""); !strings.Contains(body, `role="alert"`) ||
		strings.Contains(body, "nowhere") {
		t.Errorf("got page %.500s", body)
	}
}

// If a call requires the user, the sign-in requests the scope and passes the challenge on.
func TestCallsRequestConsentAndStepUp(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	b.signIn(w)
	interact := func(path string) url.Values {
		t.Helper()
		to := b.toEntra(w, path)
		callback, err := w.Entra.SignIn(t.Context(), to.String(), alice)
		if err != nil {
			t.Fatal(err)
		}
		resp, _ := b.open(http.MethodGet, callback.String())
		b.expect(resp, http.StatusSeeOther, path)
		return to.Query()
	}
	if q := interact("/deliveries?page=2"); !strings.HasPrefix(q.Get("scope"), contoso.ShippingScope+" ") ||
		q.Get("login_hint") == "" {
		t.Errorf("got consent request for %q, login hint %q", q.Get("scope"), q.Get("login_hint"))
	}
	if body := b.page(w, "/deliveries?page=2"); !strings.Contains(body, "Rope, 20 m: delivered") {
		t.Error("got no deliveries after the consent")
	}
	const c1 = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	if q := interact("/payslip"); q.Get("claims") != c1 {
		t.Errorf("got step-up with claims %s", q.Get("claims"))
	}
	if body := b.page(w, "/payslip"); !strings.Contains(body, "Bonus") || !strings.Contains(body, "<dd>c1</dd>") {
		t.Error("got no payslip after the step-up")
	}
}

// A step-up in one browser does not count in another, whether the API or the app demands it.
func TestStepUpBelongsToSession(t *testing.T) {
	for _, path := range []string{"/payslip", "/salary"} {
		w := start(t)
		one, two := newBrowser(t), newBrowser(t)
		one.signIn(w)
		two.signIn(w)
		callback := one.begin(w, path)
		resp, _ := one.open(http.MethodGet, callback)
		one.expect(resp, http.StatusSeeOther, path)
		if body := one.page(w, path); !strings.Contains(body, "Bonus") {
			t.Errorf("%s: got no payslip after the step-up", path)
		}
		resp, body := two.open(http.MethodGet, w.url+path)
		two.expect(resp, http.StatusSeeOther, "")
		if to := resp.Header.Get("Location"); !strings.HasPrefix(to, "https://login.microsoftonline.com/") ||
			strings.Contains(body, "Bonus") {
			t.Errorf("%s: the other browser was redirected to %s", path, to)
		}
	}
}

// A step-up that the app demands covers the session and the API's token in one sign-in.
func TestAppStepUpCoversSessionAndToken(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	b.signIn(w)
	const c1 = `{"acrs":{"essential":true,"value":"c1"}}`
	if got := b.toEntra(w, "/salary").Query().Get("claims"); got != `{"access_token":`+c1+`,"id_token":`+c1+`}` {
		t.Errorf("got step-up with claims %s", got)
	}
}

// A policy that no sign-in satisfies leads to a page, not to a redirect loop.
func TestUnsatisfiablePolicyGetsPage(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	b.signIn(w)
	w.Entra.Inject(entratest.Fault{Endpoint: "token", ClientID: w.Entra.App("api-a").ClientID, Status: 400,
		Error: "interaction_required", AADSTS: 50076, Claims: `{"access_token":{"acrs":{"essential":true,"value":"c7"}}}`})
	for range 4 {
		resp, body := b.open(http.MethodGet, w.url+"/orders")
		if resp.StatusCode == http.StatusForbidden && strings.Contains(body, `role="alert"`) {
			return
		}
		b.expect(resp, http.StatusSeeOther, "")
		callback, err := w.Entra.SignIn(t.Context(), resp.Header.Get("Location"), alice)
		if err != nil {
			t.Fatal(err)
		}
		resp, _ = b.open(http.MethodGet, callback.String())
		b.expect(resp, http.StatusSeeOther, "/orders")
	}
	t.Error("got a redirect loop")
}

// If an API rejects the user, the app does not start a sign-in.
func TestForbiddenByAPIGetsPage(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	b.signIn(w)
	w.Entra.Inject(entratest.Fault{Endpoint: "token", ClientID: w.Entra.App("api-a").ClientID, Status: 400,
		Error: "invalid_grant", AADSTS: 65001})
	resp, body := b.open(http.MethodGet, w.url+"/orders")
	if b.expect(resp, http.StatusForbidden, ""); !strings.Contains(body, "do not have access to this") {
		t.Errorf("got page %.500s", body)
	}
}

// If an API is not available, a page has a link to retry.
func TestUnavailableAPIGetsPage(t *testing.T) {
	w := start(t)
	b := newBrowser(t)
	b.signIn(w)
	w.Entra.Inject(entratest.Fault{Endpoint: "token", ClientID: w.Entra.App("api-a").ClientID, Status: 503})
	resp, body := b.open(http.MethodGet, w.url+"/orders")
	if b.expect(resp, http.StatusBadGateway, ""); !strings.Contains(body, `role="alert"`) ||
		!strings.Contains(body, `href="/orders">Try again`) {
		t.Errorf("got page %.500s", body)
	}
}

// The middle tier passes a claims challenge on to its caller.
func TestMiddleTierPassesChallengeOn(t *testing.T) {
	w := start(t)
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	w.Entra.Inject(entratest.Fault{Endpoint: "token", Status: 400, Error: "interaction_required", AADSTS: 50076,
		Claims: claims})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Desk, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Entra.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp",
		User: alice}))
	resp, err := w.Network.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := `Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != want {
		t.Errorf("got status %d, %s, want 401, %s", resp.StatusCode, got, want)
	}
}
