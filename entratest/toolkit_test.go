package entratest_test

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// recordingTB records the calls of a Test. Fatalf ends the goroutine, like that of a test.
type recordingTB struct {
	testing.TB
	logs, fatal []string
	cleanup     []func()
}

func (r *recordingTB) Helper()                  {}
func (r *recordingTB) Context() context.Context { return context.Background() }
func (r *recordingTB) Cleanup(f func())         { r.cleanup = append(r.cleanup, f) }
func (r *recordingTB) Failed() bool             { return len(r.fatal) > 0 }
func (r *recordingTB) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}
func (r *recordingTB) Fatalf(format string, args ...any) {
	r.fatal = append(r.fatal, fmt.Sprintf(format, args...))
	panic(errFatal)
}

var errFatal = errors.New("fatal")

// failure returns the text with which run fails the test, and the log at its end.
func failure(run func(tb entratest.TB)) (fatal, logs string) {
	r := &recordingTB{}
	func() {
		defer func() {
			if v := recover(); v != nil && v != errFatal {
				panic(v)
			}
		}()
		run(r)
	}()
	for _, f := range r.cleanup {
		f()
	}
	return strings.Join(r.fatal, "\n"), strings.Join(r.logs, "\n")
}

func TestUnknownNamesFailTheTest(t *testing.T) {
	for want, call := range map[string]func(*entratest.Test){
		`entratest: unknown app "web". The apps are "Microsoft Graph", "api-a", "api-b", "daemon", "webapp"`: func(
			s *entratest.Test) {
			s.App("web")
		},
		`entratest: unknown user "eve". The users are "` + alice + `", "` + bob + `", "` + carol + `"`: func(
			s *entratest.Test) {
			s.User("eve")
		},
		`entratest: unknown tenant "Tailspin". The tenants are "Contoso", "Fabrikam"`: func(s *entratest.Test) {
			s.Tenant("Tailspin")
		},
	} {
		fatal, logs := failure(func(tb entratest.TB) { call(entratest.NewTest(tb, entratest.Sample())) })
		if fatal != want || logs != "The fake Entra did not receive a request." {
			t.Errorf("got %s, %s, want %s", fatal, logs, want)
		}
	}
	fatal, _ := failure(func(tb entratest.TB) { entratest.NewTest(tb, entratest.Config{}) })
	if want := "entratest: invalid Config: at least one tenant is required"; fatal != want {
		t.Errorf("got %s, want %s", fatal, want)
	}
	short := entratest.Sample()
	short.SealKey = []byte{1}
	fatal, _ = failure(func(tb entratest.TB) { entratest.NewTest(tb, short) })
	if want := "entratest: invalid Config: SealKey has 1 bytes, not 32"; fatal != want {
		t.Errorf("got %s, want %s", fatal, want)
	}
	s := entratest.NewTest(t, entratest.Sample())
	for _, name := range []string{tenant, "Contoso", "CONTOSO.onmicrosoft.com"} {
		if got := s.Tenant(name); got.ID != tenant || got.Name != "Contoso" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if got := s.User(strings.ToUpper(alice)); got.Name != "Alice Adams" || s.App("daemon").ClientID != daemon {
		t.Errorf("got %+v", got)
	}
}

// A failed test shows the requests, without secrets. A test that passes does not.
func TestFailedTestShowsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(fail bool) string {
			_, logs := failure(func(tb entratest.TB) {
				s := entratest.NewTest(tb, entratest.Sample())
				s.Inject(entratest.Fault{Status: 503, Skip: 1})
				for range 2 {
					tokenRequest(t, s.Server, tenant, "grant_type", "client_credentials", "client_id", daemon, "client_secret",
						"a secret\x1b", "scope", "api://api-b/.default")
				}
				if fail {
					tb.Fatalf("failed")
				}
			})
			return logs
		}
		want := "The last 2 of 2 requests to the fake Entra:\n" +
			"  00:00:00.000 401 POST /" + tenant + "/oauth2/v2.0/token client_credentials daemon api://api-b/.default " +
			"invalid_client AADSTS7000215\n" +
			"  00:00:00.000 503 POST /" + tenant + "/oauth2/v2.0/token client_credentials daemon api://api-b/.default " +
			"temporarily_unavailable AADSTS90033 (injected)"
		if got := run(true); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		if got := run(false); got != "" {
			t.Errorf("got %s", got)
		}
	})
}

// A certificate of the toolkit authenticates its app, and no other.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewTest(t, entratest.Sample())
		first, cert := s.Certificate("daemon"), s.Certificate("daemon")
		if _, ok := cert.PrivateKey.(*rsa.PrivateKey); !ok || cert.Leaf.Subject.CommonName != "daemon" ||
			first.Leaf.Equal(cert.Leaf) || len(s.App("daemon").Certificates) != 2 {
			t.Errorf("got %T, %v", cert.PrivateKey, cert.Leaf.Subject)
		}
		request := func(app string) response {
			assertion := sign(t, cert.PrivateKey.(*rsa.PrivateKey), map[string]any{"x5t": thumbprint(cert.Leaf)},
				map[string]any{"iss": s.App(app).ClientID, "sub": s.App(app).ClientID, "exp": time.Now().Add(time.Hour).Unix(),
					"aud": authHost + tenant + "/oauth2/v2.0/token"})
			return tokenRequest(t, s.Server, tenant, "grant_type", "client_credentials", "client_id", s.App(app).ClientID,
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion,
				"scope", "api://api-b/.default")
		}
		wantToken(t, request("daemon"))
		wantError(t, request("webapp"), 401, "invalid_client", 700027)
		time.Sleep(367 * 24 * time.Hour)
		wantError(t, request("daemon"), 401, "invalid_client", 700027)
	})
}

// A token of a service account authenticates its app for an hour.
func TestServiceAccountToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewTest(t, entratest.Sample())
		const account = "system:serviceaccount:shop:orders"
		token := s.ServiceAccountToken("daemon", account)
		if next := s.ServiceAccountToken("daemon", account); next == token || len(s.App("daemon").Federated) != 1 {
			t.Errorf("got the same token or %d credentials", len(s.App("daemon").Federated))
		}
		if c := decode(t, token); c.stringClaim("iss") != entratest.ServiceAccountIssuer || c.stringClaim("sub") != account {
			t.Errorf("got %v", c)
		}
		request := func(client string) response {
			return tokenRequest(t, s.Server, tenant, "grant_type", "client_credentials", "client_id", client,
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", token,
				"scope", "api://api-b/.default")
		}
		wantToken(t, request(daemon))
		wantError(t, request(webapp), 401, "invalid_client", 700211)
		time.Sleep(time.Hour)
		wantError(t, request(daemon), 401, "invalid_client", 700024)
	})
}

// Hosts serves each host with its handler, and drops connections like a server.
func TestHosts(t *testing.T) {
	s := entratest.NewTest(t, entratest.Sample())
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/drop" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Before", "sent")
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-After", "not sent")
		fmt.Fprintf(w, "%s %s %s %t %s", r.Method, r.Host, r.RequestURI, r.TLS != nil, body)
	})
	client := &http.Client{Transport: entratest.Hosts{"api.example": api, "api.example:8443": api, "": s}}
	resp, err := client.Post("https://API.example:443/a%2Fb?c", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if want := "POST API.example:443 /a%2Fb?c true hello"; err != nil || string(body) != want || resp.StatusCode != 418 ||
		resp.Header.Get("X-Before") != "sent" || resp.Header.Get("X-After") != "" || resp.ContentLength != int64(len(want)) {
		t.Errorf("got %d %v %s %v", resp.StatusCode, resp.Header, body, err)
	}
	if resp, err := client.Get("http://api.example:8443/"); err != nil || resp.Header.Get("Content-Type") !=
		"text/plain; charset=utf-8" {
		t.Errorf("got %v %v", resp, err)
	}
	if resp, err := client.Get(authHost + "common/discovery/v2.0/keys"); err != nil || resp.StatusCode != 200 {
		t.Errorf("Microsoft's host: got %v %v", resp, err)
	}
	if _, err := client.Get("https://api.example/drop"); err == nil || !strings.Contains(err.Error(), "dropped") {
		t.Errorf("dropped connection: got %v", err)
	}
	if _, err := client.Get("https://evil.example/"); err == nil || !strings.Contains(err.Error(), "evil.example") {
		t.Errorf("unknown host: got %v", err)
	}
	if _, err := (&http.Client{Transport: entratest.Hosts{}}).Get("https://api.example/"); err == nil ||
		!strings.Contains(err.Error(), `request to "api.example": Hosts does not have this host`) {
		t.Errorf("no host: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "https://api.example/", nil)
	if _, err := (entratest.Hosts{"": api}).RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
}

// The browser signs in, passes multifactor authentication and consents.
func TestBrowserSignsIn(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) { a.RequireMFA = true })
	s := entratest.NewTest(t, cfg)
	b := s.Browser(alice, nil)
	orders := authorizeURL(tenant, "scope", "api://api-b/Orders.Read openid")
	p := b.Get(orders)
	if p.Status != 0 || !strings.HasPrefix(p.URL.String(), callback+"?") || p.URL.Query().Get("state") != "a state" {
		t.Fatalf("got %s", p)
	}
	c := wantToken(t, redeem(t, s.Server, p.URL.Query().Get("code"), "scope", "api://api-b/Orders.Read"))
	if c.stringClaim("preferred_username") != alice {
		t.Errorf("got %v", c)
	}
	steps := func() (list []string) {
		for _, r := range s.Requests() {
			if r.Endpoint == entratest.EndpointLogin {
				list = append(list, r.Form.Get("step"))
			}
		}
		return list
	}
	if got := strings.Join(steps(), " "); got != "password mfa consent" {
		t.Errorf("got steps %s", got)
	}
	if b.Get(orders); len(steps()) != 3 {
		t.Errorf("second sign-in: got steps %v", steps())
	}
	b.Get(authorizeURL(tenant, "prompt", "select_account"))
	if got := strings.Join(steps()[3:], " "); got != "pick consent" {
		t.Errorf("account picker: got steps %s", got)
	}

	// Another user's browser has its own cookies. Without a second factor, Entra shows an error.
	p = s.Browser(bob, nil).Get(orders)
	if p.Status != 400 || !strings.Contains(p.Body, "AADSTS50079") {
		t.Errorf("no second factor: got %s", p)
	}
	if text := p.String(); !strings.HasPrefix(text, "Bad Request https://login.microsoftonline.com/") ||
		!strings.Contains(text, "Sign-in failed AADSTS50079: A policy requires") || strings.Contains(text, "font") {
		t.Errorf("got %s", text)
	}
	declines := s.Browser(bob, nil)
	declines.DeclineConsent = true
	if q := declines.Get(authorizeURL(tenant)).URL.Query(); !strings.HasPrefix(q.Get("error_description"), "AADSTS65004") {
		t.Errorf("declined: got %v", q)
	}
	cancels := s.Browser(bob, nil)
	cancels.CancelSignIn = true
	if q := cancels.Get(authorizeURL(tenant)).URL.Query(); q.Get("error_subcode") != "cancel" {
		t.Errorf("canceled: got %v", q)
	}
}

// The browser switches to another account, and shows a rejected password.
func TestBrowserPicksAccount(t *testing.T) {
	s := entratest.NewTest(t, entratest.Sample())
	b, other := s.Browser(alice, nil), s.Browser(bob, nil)
	b.Get(authorizeURL(tenant))
	other.Jar = b.Jar
	code := other.Get(authorizeURL(tenant, "prompt", "select_account")).URL.Query().Get("code")
	if c := wantToken(t, redeem(t, s.Server, code)); c.stringClaim("preferred_username") != bob {
		t.Errorf("got %v", c)
	}
	if p := s.Browser("", nil).Get(authorizeURL(tenant)); !strings.Contains(p.Body, "<h1>Sign in</h1>") {
		t.Errorf("no user: got %s", p)
	}
	cfg := entratest.Sample()
	cfg.Users[0].Disabled = true
	p := entratest.NewTest(t, cfg).Browser(alice, nil).Get(authorizeURL(tenant))
	if p.Status != 200 || !strings.Contains(p.Body, "This account is disabled.") {
		t.Errorf("got %s", p)
	}
	cfg.Users[1].Password = ""
	fatal, logs := failure(func(tb entratest.TB) {
		entratest.NewTest(tb, cfg).Browser(bob, nil).Get(authorizeURL(tenant))
	})
	if fatal != "entratest: the user "+bob+" has no Password in the Config" || !strings.Contains(logs, "GET /"+tenant) {
		t.Errorf("got %s, %s", fatal, logs)
	}
}

// The browser posts the form of form_post to an app in the process. The post is cross-site, so cookies with
// SameSite=Lax and Strict are missing. A redirect has those with Lax.
func TestBrowserSendsCookiesLikeABrowser(t *testing.T) {
	s := entratest.NewTest(t, entratest.Sample())
	var seen []string
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for _, c := range r.Cookies() {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		seen = append(seen, fmt.Sprintf("%s %s code=%t %v %s %s", r.Method, r.URL.Path, r.FormValue("code") != "", names,
			r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")))
		for name, mode := range map[string]http.SameSite{"lax": http.SameSiteLaxMode, "none": http.SameSiteNoneMode,
			"strict": http.SameSiteStrictMode} {
			http.SetCookie(w, &http.Cookie{Name: name, Value: "1", Path: "/", Secure: true, SameSite: mode})
		}
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
		}
		fmt.Fprint(w, `<form action="/search"><input type="hidden" name="a" value="&lt;1&gt;"><button>Go</button></form>`)
	})
	const back = "https://webapp.contoso.example/callback"
	b := s.Browser(alice, entratest.Hosts{"webapp.contoso.example": app})
	b.Get("https://webapp.contoso.example/")
	for i, mode := range []string{"form_post", "query", "query"} {
		if i == 2 { // with a page of Entra on the way
			b = s.Browser(bob, b.Hosts)
		}
		to := authorizeURL(tenant, "redirect_uri", back, "response_mode", mode)
		p := b.Get("https://webapp.contoso.example/?to=" + url.QueryEscape(to))
		if p.URL.Path != "/callback" || p.Status != 200 {
			t.Fatalf("got %s", p)
		}
	}
	if p := b.Submit(url.Values{"b": {"2"}}); p.URL.String() != "https://webapp.contoso.example/search?a=%3C1%3E&b=2" {
		t.Errorf("got %s", p)
	}
	want := []string{
		"GET / code=false [] none ", "GET / code=false [lax none strict] none ",
		"POST /callback code=true [none] cross-site null", "GET / code=false [lax none strict] none ",
		"GET /callback code=true [lax none strict] none ",
		"GET / code=false [] none ", "GET /callback code=true [lax none] cross-site ",
		"GET /search code=false [lax none strict] same-origin ",
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// The browser submits a form with attributes in any valid syntax. A field outside of the form, or one that is disabled,
// is not sent.
func TestBrowserSubmitsAnyForm(t *testing.T) {
	s := entratest.NewTest(t, entratest.Sample())
	var page, got string
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && r.Method == http.MethodGet {
			fmt.Fprint(w, "<!doctype html>", page)
			return
		}
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		got = r.Method + " " + r.URL.Path + " " + r.Form.Encode()
	})
	for form, want := range map[string]string{
		`<form method="post" action="/logout"><input type="hidden" name="a" value="1">`:         "POST /logout a=1&b=2",
		`<form method=post action=/logout><input type=hidden name=a value=1>`:                   "POST /logout a=1&b=2",
		`<form method='post' action='/logout'><input type='hidden' name='a' value='"'>`:         "POST /logout a=%22&b=2",
		`<FORM METHOD = "POST" ACTION = " /logout "><INPUT TYPE=HIDDEN NAME=a VALUE=>`:          "POST /logout a=&b=2",
		"<form\nmethod=post\taction=/logout\n><input/type='hidden'/name=a\nvalue='&lt;&#33;'/>": "POST /logout a=%3C%21&b=2",
		`<form data-x="<form>" title='a>b' method=post action=/logout>`:                         "POST /logout b=2",
		`<!-- <form action=/old> --><script>"<form action=/s>"</script><form action=/search?q>`: "GET /search b=2",
		`<form method=post>`: "POST / b=2",
		`<form action=/search?a=1&copy=2&amp;d method=post>`:                                      "POST /search a=1&b=2&copy=2&d=",
		`<form method=post action=/logout></form><input type=hidden name=a><form action=/other>`:  "POST /logout b=2",
		`<form method=post action=/logout><form action=/inner><input type=hidden name=a>`:         "POST /logout a=&b=2",
		`<form method=post action=/logout><input type=hidden name=a disabled><input type=hidden>`: "POST /logout b=2",
		`<form method=post method=get action=/logout action=/other>`:                              "POST /logout b=2",
	} {
		b := s.Browser(alice, entratest.Hosts{"webapp.contoso.example": app})
		page, got = form, ""
		b.Get("https://webapp.contoso.example/")
		if b.Submit(url.Values{"b": {"2"}}); got != want {
			t.Errorf("%s: got %s, want %s", form, got, want)
		}
	}
}

// After a sign-out, the browser loads the frames of the apps and returns to the app.
func TestBrowserSignsOut(t *testing.T) {
	s := entratest.NewTest(t, sample("webapp", func(a *entratest.App) {
		a.LogoutURL = "https://webapp.contoso.example/logout"
	}))
	var seen []string
	app := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Sec-Fetch-Dest"))
	})
	b := s.Browser(alice, entratest.Hosts{"webapp.contoso.example": app})
	b.Get(authorizeURL(tenant))
	p := b.Get(authHost + "common/oauth2/v2.0/logout?" + form("post_logout_redirect_uri",
		"https://webapp.contoso.example/callback").Encode())
	if got := strings.Join(seen, ", "); got != "/logout iframe, /callback document" || p.URL.Path != "/callback" {
		t.Errorf("got %s, %s", got, p)
	}
}

// The browser opens the verification page of the device code flow.
func TestBrowserEntersUserCode(t *testing.T) {
	s := entratest.NewTest(t, publicClient())
	start := startDevice(t, s.Server, "User.Read openid")
	b := s.Browser(alice, nil)
	b.Get(start.stringField("verification_uri"))
	p := b.Submit(url.Values{"otc": {start.stringField("user_code")}})
	if !strings.Contains(p.Body, "You have signed in") {
		t.Fatalf("got %s", p)
	}
	wantToken(t, pollDevice(t, s.Server, start.stringField("device_code"), cli))
	b.Get(authHost + "common/oauth2/v2.0/logout")
	fatal, _ := failure(func(tb entratest.TB) {
		b := entratest.NewTest(tb, entratest.Sample()).Browser(alice, nil)
		b.Submit(nil)
	})
	if fatal != "entratest: the current page has no form: no page" {
		t.Errorf("got %s", fatal)
	}
}

// The browser signs in at a listener.
func TestBrowserConnectsToListener(t *testing.T) {
	s := entratest.NewTest(t, entratest.Sample())
	authority, ca, stop := s.StartTLS()
	defer stop()
	b := s.Browser(alice, nil)
	b.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}
	b.Stop = func(u *url.URL) bool { return u.Path == "/callback" }
	p := b.Get(strings.Replace(authorizeURL(tenant), strings.TrimSuffix(authHost, "/"), authority, 1))
	if p.Status != 0 || p.URL.Query().Get("code") == "" {
		t.Errorf("got %s", p)
	}
	if p := b.Get(authority + "/" + tenant + "/v2.0/.well-known/openid-configuration"); !strings.Contains(p.Body,
		`"issuer":"`+authority) {
		t.Errorf("got %s", p)
	}
	endless := http.RedirectHandler("/", http.StatusFound)
	fatal, _ := failure(func(tb entratest.TB) {
		entratest.NewTest(tb, entratest.Sample()).Browser(alice, entratest.Hosts{"": endless}).Get("https://app.example/")
	})
	if want := "entratest: the navigation does not come to an end after 40 requests, the last one to " +
		"https://app.example/"; fatal != want {
		t.Errorf("got %s", fatal)
	}
}
