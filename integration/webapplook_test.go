package integration_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/signin"
)

// webAppLooks checks that every page passes the accessibility rules of axe-core, light and dark, and fits a phone. The
// screenshots are for inspection.
func webAppLooks(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	look := func(name, path string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			c.scheme(t, scheme)
			c.do(t, chromedp.EmulateViewport(1000, 800), chromedp.Navigate(w.url+path),
				chromedp.WaitVisible(chromedp.CSS("main")))
			c.screenshot(t, "webapp "+name+" "+scheme)
			c.wantAccessible(t, name+", "+scheme)
			c.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile))
			c.screenshot(t, "webapp "+name+" "+scheme+" on a phone")
			if width := eval(t, c, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); width > 360 {
				t.Errorf("page %s: got width %d, want at most 360", name, width)
			}
		}
	}
	look("signed out", "/")
	look("problem", "/callback?state=x&code=y")
	c.do(t, chromedp.EmulateViewport(1000, 800))
	w.signInAlice(t, c)
	look("home", "/")
	look("orders", "/orders")
	c.do(t, chromedp.Navigate(w.url+"/payslip"), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	look("payslip", "/payslip")
	look("tokens", "/tokens")
	look("claims", "/claims")

	// The bar of a token's lifetime moves unless the user prefers reduced motion.
	c.do(t, chromedp.Navigate(w.url+"/tokens"), chromedp.WaitVisible(logoutButton))
	for preference, shown := range map[string]string{"no-preference": "none inline", "reduce": "inline none"} {
		c.prefers(t, "prefers-reduced-motion", preference)
		got := eval(t, c, chromedp.Evaluate[string](
			`[".still", ".moving"].map(s => getComputedStyle(document.querySelector(s)).display).join(" ")`))
		if got != shown {
			t.Errorf("%s: got display %s of the still and the moving bar, want %s", preference, got, shown)
		}
	}

	// For keyboards, the first link skips the navigation.
	c.do(t, chromedp.Navigate(w.url+"/claims"), chromedp.WaitVisible(logoutButton), chromedp.KeyEvent(kb.Tab))
	top := eval(t, c, chromedp.Evaluate[float64](`document.querySelector(".skip:focus").getBoundingClientRect().top`))
	if top < 0 {
		t.Errorf("top of the focused skip link: got %v, want it visible", top)
	}
	c.screenshot(t, "webapp by keyboard")
	c.do(t, chromedp.KeyEvent(kb.Enter))
	if at := eval(t, c, chromedp.Evaluate[string](`document.activeElement.id`)); at != "main" {
		t.Errorf("skip link: got focus on %q, want main", at)
	}
}

// webAppBuiltInPage checks that the built-in page of package signin passes the same checks.
func webAppBuiltInPage(t *testing.T, c *chromium) {
	company := must[*contoso.Contoso](t)(contoso.Start())
	t.Cleanup(company.Stop)
	listener, origin := listen(t)
	client := must[*entra.Client](t)(entra.New(company.Config("webapp")))
	flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{
		RedirectURL: origin + "/callback", LoginTimeout: 2 * time.Second,
	}))
	app := must[*signin.Site](t)(signin.New(flow, signin.Config{}))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: app.Handler(http.NotFoundHandler())}}
	server.Start()
	t.Cleanup(server.Close)
	// state returns the state parameter of a new sign-in, in another browser.
	state := func() string {
		server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/login", nil))
		resp := must[*http.Response](t)(server.Client().Do(req))
		resp.Body.Close()
		return must[*url.URL](t)(resp.Location()).Query().Get("state")
	}
	late := state()
	time.Sleep(2 * time.Second)
	for _, page := range []struct{ name, path, text string }{
		{"not valid", "/login?return_to=//elsewhere.example", "This link is not valid"},
		{"too long", "/login?return_to=/" + strings.Repeat("x", 2500), "too long to return to"},
		{"late", "/callback?state=" + late, "The sign-in took too long"},
	} {
		c.lookAtBuiltInPage(t, page.name, origin+page.path, page.text)
	}
	c.do(t, chromedp.Navigate(origin+"/"), // a page whose policy allows fetch
		chromedp.Evaluate[chromedp.Void](`fetch("/logout", {method: "POST", redirect: "manual"}).then(() => null)`,
			chromedp.EvalAwaitPromise))
	c.lookAtBuiltInPage(t, "canceled", origin+"/callback?state="+state(), "You signed out while this sign-in was in progress")
}

// lookAtBuiltInPage checks one of the built-in pages of package signin on a phone, light and dark.
func (c *chromium) lookAtBuiltInPage(t *testing.T, name, address, text string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		c.scheme(t, scheme)
		c.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile),
			chromedp.Navigate(address), chromedp.WaitVisible(chromedp.CSS("main")))
		c.wantText(t, text)
		c.screenshot(t, "signin's page "+name+" "+scheme)
		c.wantAccessible(t, "of signin itself, "+name+", "+scheme)
		if width := eval(t, c, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); width > 360 {
			t.Errorf("page %s: got width %d, want at most 360", name, width)
		}
	}
}

// wantAccessible fails the test if the page violates a rule of axe-core.
func (c *chromium) wantAccessible(t *testing.T, page string) {
	t.Helper()
	axe, err := os.ReadFile("node/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	c.do(t, chromedp.Evaluate[chromedp.Void](string(axe)))
	type violation struct {
		ID, Help string
		Nodes    []string
	}
	found := eval(t, c, chromedp.Evaluate[[]violation](
		`axe.run().then(r => r.violations.map(v => (
			{ID: v.id, Help: v.help, Nodes: v.nodes.map(n => n.failureSummary + "\n" + n.html)})))`, chromedp.EvalAwaitPromise))
	for _, v := range found {
		t.Errorf("the page %s violates %s: %s\n%s", page, v.ID, v.Help, strings.Join(v.Nodes, "\n"))
	}
}
