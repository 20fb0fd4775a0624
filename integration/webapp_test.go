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

// Elements on the pages of examples/webapp.
const (
	loginLink    = chromedp.CSS("#login")
	logoutButton = chromedp.CSS("#logout")
	items        = chromedp.CSS("#items")
	problem      = chromedp.CSS("[role=alert]")
	firstWay     = chromedp.CSS(".ways .button") // leads on from a problem
)

// webApp is examples/webapp with the rest of the example company.
type webApp struct {
	*contoso.Contoso
	url string

	mu       sync.Mutex // guards requests
	requests []string   // method and URL of each request from browsers, without the host
}

// newWebApp serves a webApp until the test ends. Tests may change the configuration of the fake Entra, for which estate
// gets the app's origin, and that of the sign-in.
func newWebApp(t *testing.T, estate func(*entratest.Config, string), changes ...func(*authcode.Config)) *webApp {
	t.Helper()
	return newWebAppOf(t, estate, func(*site.Config) {}, changes...)
}

// newWebAppOf is newWebApp for tests that also change the pages.
func newWebAppOf(t *testing.T, estate func(*entratest.Config, string), pages func(*site.Config),
	changes ...func(*authcode.Config)) *webApp {
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
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.mu.Lock()
			w.requests = append(w.requests, r.Method+" "+r.URL.RequestURI())
			w.mu.Unlock()
			handler.ServeHTTP(rw, r)
		})}}
	server.Start()
	t.Cleanup(server.Close)
	return w
}

// lastRequest returns the last request with a prefix.
func (w *webApp) lastRequest(t *testing.T, prefix string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range slices.Backward(w.requests) {
		if strings.HasPrefix(request, prefix) {
			return request
		}
	}
	t.Fatalf("got no request with prefix %s", prefix)
	return ""
}

// countRequests returns the number of requests with a prefix.
func (w *webApp) countRequests(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range w.requests {
		if strings.HasPrefix(request, prefix) {
			n++
		}
	}
	return n
}

// pagesAtEntra returns the number of requests to Entra's authorization endpoint.
func (w *webApp) pagesAtEntra() int { return w.Entra.Count(entratest.Match{Endpoint: "authorize"}) }

// tokens returns the number of token requests of the web app with a grant type.
func (w *webApp) tokens(grant string) int {
	return w.Entra.Count(entratest.Match{Endpoint: "token", ClientID: webappID, GrantType: grant})
}

// wantAt fails the test unless the browser ends on a page of the web app.
func (w *webApp) wantAt(t *testing.T, c *chromium, path string) {
	t.Helper()
	if at := eval(t, c, chromedp.Location()); at != w.url+path {
		t.Errorf("got location %s, want %s", at, w.url+path)
	}
}

// signInAlice signs Alice in from the home page of the web app and consents to its first scopes.
func (w *webApp) signInAlice(t *testing.T, c *chromium) {
	t.Helper()
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.Click(loginLink))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(logoutButton))
}

// scheme sets the preferred color scheme, light or dark.
func (c *chromium) scheme(t *testing.T, scheme string) {
	t.Helper()
	c.prefers(t, "prefers-color-scheme", scheme)
}

// prefers sets one preference of the user and resets the others.
func (c *chromium) prefers(t *testing.T, feature, value string) {
	t.Helper()
	_, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	})
	if err != nil {
		t.Fatal(err)
	}
}
