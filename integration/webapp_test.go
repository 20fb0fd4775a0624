package integration_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

// What is on the pages of examples/webapp.
const (
	loginLink    = chromedp.CSS("#login")
	logoutButton = chromedp.CSS("#logout")
	items        = chromedp.CSS("#items")
	problem      = chromedp.CSS("[role=alert]")
	firstWay     = chromedp.CSS(".ways .button") // on from a problem
)

// A webApp is examples/webapp with the company around it.
type webApp struct {
	*contoso.Contoso
	url string

	mu    sync.Mutex // guards asked
	asked []string   // the addresses that browsers asked for, without the host
}

// newWebApp serves it until the test ends. Tests may change what the fake Entra knows (with a change
// that has the app's address), and how the app signs people in.
func newWebApp(t *testing.T, estate func(*entratest.Config, string), changes ...func(*authcode.Config)) *webApp {
	t.Helper()
	return newWebAppOf(t, estate, func(*site.Config) {}, changes...)
}

// newWebAppOf lets a test change the pages, too.
func newWebAppOf(t *testing.T, estate func(*entratest.Config, string), pages func(*site.Config), changes ...func(*authcode.Config)) *webApp {
	t.Helper()
	listener, origin := listen(t)
	w := &webApp{url: origin}
	w.Contoso = must[*contoso.Contoso](t)(contoso.Start(func(c *entratest.Config) {
		if estate != nil {
			estate(c, origin)
		}
	}))
	t.Cleanup(w.Stop)
	app := must[site.Config](t)(w.WebApp(origin, changes...))
	pages(&app)
	handler, stop, err := w.Browser(must[*site.Site](t)(site.New(app)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r.Method+" "+r.URL.RequestURI())
		w.mu.Unlock()
		handler.ServeHTTP(rw, r)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	return w
}

// lastAsked is the last request that began like that.
func (w *webApp) lastAsked(t *testing.T, begins string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, asked := range slices.Backward(w.asked) {
		if strings.HasPrefix(asked, begins) {
			return asked
		}
	}
	t.Fatalf("nobody asked for %s", begins)
	return ""
}

// timesAsked is how many requests began like that.
func (w *webApp) timesAsked(begins string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, asked := range w.asked {
		if strings.HasPrefix(asked, begins) {
			n++
		}
	}
	return n
}

// pagesAtEntra is how often a browser was sent to Entra's authorization endpoint, and tokens how often
// the web app asked for some with a grant.
func (w *webApp) pagesAtEntra() int { return w.Entra.Count(entratest.Match{Endpoint: "authorize"}) }
func (w *webApp) tokens(grant string) int {
	return w.Entra.Count(entratest.Match{Endpoint: "token", ClientID: webappID, GrantType: grant})
}

// wantAt fails the test unless the browser ends on a page of the web app.
func (w *webApp) wantAt(t *testing.T, c *chromium, path string) {
	t.Helper()
	if at := ask(t, c, chromedp.Location()); at != w.url+path {
		t.Errorf("the browser is at %s, want %s", at, w.url+path)
	}
}

// signInAlice has Alice sign in at the web app, from its home page, and consent to what it begins with.
func (w *webApp) signInAlice(t *testing.T, c *chromium) {
	t.Helper()
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.Click(loginLink))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(logoutButton))
}

// scheme makes the person one who likes their screen light or dark.
func (c *chromium) scheme(t *testing.T, scheme string) {
	t.Helper()
	c.prefers(t, "prefers-color-scheme", scheme)
}

// prefers sets one of the things that a person can prefer, and no other.
func (c *chromium) prefers(t *testing.T, feature, value string) {
	t.Helper()
	_, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	})
	if err != nil {
		t.Fatal(err)
	}
}
