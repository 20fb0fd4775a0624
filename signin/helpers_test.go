package signin_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
	"github.com/entratoken/entra/verify"
)

const (
	alice = "alice@contoso.onmicrosoft.com"
	bob   = "bob@contoso.onmicrosoft.com"
	carol = "carol@fabrikam.onmicrosoft.com"

	aliceID = "aaaaaaaa-1111-4000-8000-00000000a11c"
	webapp  = "aaaaaaaa-0000-4000-8000-0000000000ee"

	scopeA = "api://api-a/access_as_user"
	scopeB = "api://api-b/Orders.Read"

	origin    = "https://webapp.contoso.example"
	entraHost = "https://login.microsoftonline.com"
)

// webApp is a web app at origin, with a fake Entra.
type webApp struct {
	*entratest.Server
	*testkit.Recorder // of the app's requests
	flow              *authcode.Flow
	site              *signin.Site
	app               http.Handler // the site's Handler
	log               *logBuffer

	tokens *cache.Cache // the flow's token cache

	calls func(http.ResponseWriter, *http.Request) // replaces the handler of /call
}

// remintIDToken replaces the ID token in a token response with a changed one.
func (w *webApp) remintIDToken(body map[string]any, change func(*entratest.MintOptions)) {
	parts := strings.Split(body["id_token"].(string), ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		panic(err)
	}
	var c struct {
		Nonce, Tid string
		Username   string `json:"preferred_username"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		panic(err)
	}
	o := entratest.MintOptions{IDToken: true, Resource: "webapp", User: c.Username, Tenant: c.Tid, Nonce: c.Nonce}
	change(&o)
	body["id_token"] = w.Mint(o)
}

// withClaims makes Entra put these claims into ID tokens.
func (w *webApp) withClaims(claims map[string]any) {
	w.ChangeResponses(func(_ url.Values, body map[string]any) {
		w.remintIDToken(body, func(o *entratest.MintOptions) { o.Claims = claims })
	})
}

// settings configure a webApp.
type settings struct {
	entra  entratest.Config
	client entra.Config
	flow   authcode.Config
	site   signin.Config
	server *entratest.Server // if nil, a new one with the config in entra
}

func newWebApp(t testing.TB, changes ...func(*settings)) *webApp {
	t.Helper()
	w := &webApp{log: new(logBuffer)}
	c := settings{entra: entratest.Sample()}
	app := &c.entra.Apps[1]
	app.OptionalClaims = []string{"sid", "login_hint", "auth_time"}
	app.LogoutURL = origin + "/logout/frontchannel"
	app.RedirectURIs = append(app.RedirectURIs, origin+"/")
	c.client = entra.Config{TenantID: entratest.SampleTenant, ClientID: webapp, Credential: entra.Secret("webapp-secret")}
	c.flow = authcode.Config{RedirectURL: origin + "/callback", Scopes: []string{scopeA}}
	c.site = signin.Config{Logger: slog.New(slog.NewJSONHandler(w.log, nil))}
	for _, change := range changes {
		change(&c)
	}
	if w.Server = c.server; w.Server == nil {
		w.Server = entratest.NewServer(c.entra)
	}
	w.Recorder = testkit.NewRecorder(w.Client().Transport)
	if c.client.HTTPClient == nil {
		c.client.HTTPClient = &http.Client{Transport: w}
	}
	client := testkit.Client(t, c.client)
	w.tokens = client.Cache()
	var err error
	if w.flow, err = authcode.New(client, c.flow); err != nil {
		t.Fatal(err)
	}
	if w.site, err = signin.New(w.flow, c.site); err != nil {
		t.Fatal(err)
	}
	w.app = w.site.Handler(w.routes())
	return w
}

// routes returns an app with a public page, pages for users, and a page that calls an API.
func (w *webApp) routes() http.Handler {
	mux := http.NewServeMux()
	who := func(out http.ResponseWriter, r *http.Request) {
		a, ok := signin.AccountFromContext(r.Context())
		fmt.Fprintf(out, "%t %s %s", ok, a.Name, a.TenantID)
	}
	mux.HandleFunc("/{$}", who)
	mux.Handle("/private/", w.site.RequireSignIn(http.HandlerFunc(who)))
	mux.Handle("/call", w.site.RequireSignIn(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if w.calls != nil {
			w.calls(out, r)
			return
		}
		scopes := r.URL.Query()["scope"]
		token, err := w.site.TokenSource(r, scopes...).TokenContext(r.Context())
		if w.site.Interact(out, r, err, scopes...) {
			return
		}
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(out, "token ", token.Valid())
	})))
	return mux
}

// logBuffer collects log records.
type logBuffer struct{ testkit.Log }

// rejections returns the kinds of the logged rejections.
func (l *logBuffer) rejections(t testing.TB) (kinds []string) {
	t.Helper()
	for _, line := range l.Lines(t) {
		if line["msg"] == "signin: request rejected" {
			kinds = append(kinds, line["kind"].(string))
		}
	}
	return kinds
}

// browser has cookies and does not follow redirects. Its requests reach the app in process.
type browser struct {
	t    testing.TB
	w    *webApp
	jar  http.CookieJar
	http *http.Client
}

func (w *webApp) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, w: w, jar: jar, http: &http.Client{
		Jar: jar, Transport: inProcess{w},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type inProcess struct{ w *webApp }

func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme+"://"+req.URL.Host != origin {
		return nil, fmt.Errorf("request to another host: %s", req.URL.Host)
	}
	in := httptest.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), req.Body)
	in.Header = req.Header.Clone()
	rec := httptest.NewRecorder()
	p.w.app.ServeHTTP(rec, in)
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

// response is a response with its body.
type response struct {
	*http.Response
	body string
}

// send sends a request with the headers of a page load. header has pairs of names and values that replace them; an
// empty value removes a header.
func (b *browser) send(method, target string, form url.Values, header ...string) *response {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = origin + target
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Del(header[i]); header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return &response{resp, string(text)}
}

func (b *browser) get(target string, header ...string) *response {
	b.t.Helper()
	return b.send(http.MethodGet, target, nil, header...)
}

func (b *browser) post(target string, form url.Values, header ...string) *response {
	b.t.Helper()
	if form == nil {
		form = url.Values{}
	}
	return b.send(http.MethodPost, target, form, header...)
}

// wantEntra requires a redirect to Entra and returns its target.
func (b *browser) wantEntra(a *response) string {
	b.t.Helper()
	to := a.Header.Get("Location")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, entraHost+"/") {
		b.t.Fatalf("got status %d to %q, want a redirect to Entra; got page\n%s", a.StatusCode, to, a.body)
	}
	return to
}

// signInAtEntra signs the user in at Entra, where a redirects to, and returns the callback, with its parameters in the
// query.
func (b *browser) signInAtEntra(a *response, user string) string {
	b.t.Helper()
	callback, err := b.w.SignIn(b.t.Context(), b.wantEntra(a), user)
	if err != nil {
		b.t.Fatal(err)
	}
	return callback.String()
}

// signIn loads a page that requires a sign-in, signs in, and returns the page it is redirected to.
func (b *browser) signIn(path, user string) string {
	b.t.Helper()
	a := b.callback(b.signInAtEntra(b.get(path), user))
	b.wantStatus(a, http.StatusSeeOther, "")
	return a.Header.Get("Location")
}

// callback sends the callback as the browser does for Entra.
func (b *browser) callback(callback string) *response {
	b.t.Helper()
	if b.w.flow.ResponseMode() == authcode.ResponseModeFormPost {
		u, err := url.Parse(callback)
		if err != nil {
			b.t.Fatal(err)
		}
		params := u.Query()
		u.RawQuery = ""
		return b.crossSitePost(u.String(), params)
	}
	return b.get(callback, "Sec-Fetch-Site", "cross-site")
}

// crossSitePost posts a form from another site. Only cookies with SameSite=None are sent, which the jar does not
// implement.
func (b *browser) crossSitePost(target string, form url.Values) *response {
	b.t.Helper()
	before := b.cookies()
	for _, c := range before {
		if !strings.HasPrefix(c.Name, "__Host-login-") {
			b.deleteCookie(c.Name)
		}
	}
	a := b.post(target, form, "Sec-Fetch-Site", "cross-site", "Origin", entraHost)
	set := a.Cookies()
	for _, c := range before {
		replaced := false
		for _, n := range set {
			replaced = replaced || n.Name == c.Name
		}
		if !replaced && !strings.HasPrefix(c.Name, "__Host-login-") {
			b.setCookie(c)
		}
	}
	return a
}

func (b *browser) wantStatus(a *response, status int, location string) {
	b.t.Helper()
	if a.StatusCode != status || location != "" && a.Header.Get("Location") != location {
		b.t.Fatalf("got status %d to %q, want %d to %q; got page\n%s",
			a.StatusCode, a.Header.Get("Location"), status, location, a.body)
	}
}

// wantUser checks the name of the signed-in user on the public page. An empty name means no user.
func (b *browser) wantUser(name string) {
	b.t.Helper()
	want := "false  "
	if name != "" {
		want = "true " + name + " "
	}
	if a := b.get("/"); !strings.HasPrefix(a.body, want) {
		b.t.Fatalf("got page %q, want %q", a.body, want)
	}
}

func (b *browser) url() *url.URL {
	u, _ := url.Parse(origin + "/")
	return u
}

func (b *browser) cookies() []*http.Cookie { return b.jar.Cookies(b.url()) }

// cookie returns the first cookie whose name has the prefix, or nil.
func (b *browser) cookie(prefix string) *http.Cookie {
	for _, c := range b.cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			return c
		}
	}
	return nil
}

// session returns the value of the session cookie, or "".
func (b *browser) session() string {
	if c := b.cookie("__Host-session-"); c != nil {
		return c.Value
	}
	return ""
}

// setCookie stores a cookie in the browser.
func (b *browser) setCookie(c *http.Cookie) {
	b.jar.SetCookies(b.url(), []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: true, HttpOnly: true}})
}

func (b *browser) deleteCookie(name string) {
	b.jar.SetCookies(b.url(), []*http.Cookie{{Name: name, Path: "/", Secure: true, MaxAge: -1}})
}

func anyOrganization(s *settings) {
	s.client.TenantID = "organizations"
	s.flow.Tenants = []string{verify.AnyOrganization}
}
