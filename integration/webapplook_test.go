package integration_test

import (
	"context"
	"io"
	"net"
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
	late := newState(t, origin)
	time.Sleep(2 * time.Second)
	for _, page := range []struct{ name, path, text string }{
		{"not valid", "/login?return_to=//elsewhere.example", "This link is not valid"},
		{"too long", "/login?return_to=/" + strings.Repeat("x", 2500), "too long to return to"},
		{"late", "/callback?state=" + late, "The sign-in took too long"},
	} {
		c.lookAtBuiltInPage(t, page.name, page.text, chromedp.Navigate(origin+page.path))
	}
	c.do(t, chromedp.Navigate(origin+"/"), // a page whose policy allows fetch
		chromedp.Evaluate[chromedp.Void](`fetch("/logout", {method: "POST", redirect: "manual"}).then(() => null)`,
			chromedp.EvalAwaitPromise))
	c.lookAtBuiltInPage(t, "canceled", "You signed out while this sign-in was in progress",
		chromedp.Navigate(origin+"/callback?state="+newState(t, origin)))
}

// newState returns the state parameter of a new sign-in, in another browser.
func newState(t *testing.T, origin string) string {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/login", nil))
	resp := must[*http.Response](t)(client.Do(req))
	resp.Body.Close()
	return must[*url.URL](t)(resp.Location()).Query().Get("state")
}

// webAppBuiltInPageAfterSignIn checks the built-in pages that users see after they signed in at Entra.
func webAppBuiltInPageAfterSignIn(t *testing.T, c *chromium) {
	company := must[*contoso.Contoso](t)(contoso.Start())
	t.Cleanup(company.Stop)
	listener, origin := listen(t)
	client := must[*entra.Client](t)(entra.New(company.Config("webapp")))
	flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{
		RedirectURL: origin + "/callback", Scopes: []string{contoso.DeskScope},
	}))
	const reason = "Your account was closed. Please write to help-desk-for-accounts-of-employees@contoso.onmicrosoft.com."
	app := must[*signin.Site](t)(signin.New(flow, signin.Config{
		OnSignIn: func(_ context.Context, in *authcode.SignIn) error {
			if in.Account.Username != alice {
				return &signin.RejectionError{Reason: reason}
			}
			return nil
		},
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /form", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<form method="post"><button id="submit">Send</button></form>`)
	})
	mux.HandleFunc("POST /form", func(w http.ResponseWriter, r *http.Request) {
		_, err := app.TokenSource(r, contoso.ShippingScope).TokenContext(r.Context())
		if !app.Interact(w, r, err, contoso.ShippingScope) {
			t.Errorf("token for shipping: got error %v, want one that requires consent", err)
		}
	})
	serveSite(t, company, listener, app.Handler(mux))

	// callback starts a sign-in in c, signs the user in at Entra, and returns the URL of the callback.
	callback := func(user, returnTo string) string {
		c.do(t, chromedp.Navigate(origin+"/login?return_to="+returnTo))
		return must[*url.URL](t)(company.Entra.SignIn(t.Context(), eval(t, c, chromedp.Location()), user)).String()
	}
	c.lookAtBuiltInPage(t, "no cookies", "Sign-in needs cookies from this site.",
		chromedp.Navigate(origin+"/callback?code=x&state="+newState(t, origin)))
	c.lookAtBuiltInPage(t, "not admitted", reason, chromedp.Navigate(callback(bob, "/form")))
	first := callback(alice, "/form?"+strings.Repeat("a", 1500))
	callback(alice, "/form?"+strings.Repeat("b", 1500)) // replaces the address that the browser remembers
	c.lookAtBuiltInPage(t, "lost", "You are signed in. The address of the page was too long to remember",
		chromedp.Navigate(first))
	c.lookAtBuiltInPage(t, "not saved", "What you sent was not saved",
		chromedp.Navigate(origin+"/form"), chromedp.Click(submitButton))
}

// A forgetfulStore loses all sessions at once.
type forgetfulStore struct{}

func (forgetfulStore) Find(string) ([]byte, bool, error)      { return nil, false, nil }
func (forgetfulStore) Commit(string, []byte, time.Time) error { return nil }
func (forgetfulStore) Delete(string) error                    { return nil }

// webAppLostPages checks the built-in pages that users see after a few sign-ins in a row, because the processes of a
// site do not share their sessions or their tokens.
func webAppLostPages(t *testing.T, c *chromium) {
	keys := []signin.Key{signin.NewKey([]byte("0123456789abcdef0123456789abcdef"))}
	for _, lost := range []struct {
		name, text string
		config     signin.Config
		signIns    int // before the page
	}{
		{"session lost", "You signed in, but this site does not remember it.",
			signin.Config{Store: forgetfulStore{}, Keys: keys}, 2},
		{"tokens lost", "You are signed in, but this site lost the permission to load your data.", signin.Config{}, 3},
	} {
		company := must[*contoso.Contoso](t)(contoso.Start())
		t.Cleanup(company.Stop)
		listener, origin := listen(t)
		client := must[*entra.Client](t)(entra.New(company.Config("webapp")))
		flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{RedirectURL: origin + "/callback"}))
		app := must[*signin.Site](t)(signin.New(flow, lost.config))
		data := app.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !app.Interact(w, r, &entra.Error{Code: "login_required"}) {
				t.Error("Interact did not respond to the error of a missing token")
			}
		}))
		serveSite(t, company, listener, app.Handler(data))
		next := origin + "/data"
		for range lost.signIns {
			c.do(t, chromedp.Navigate(next))
			at := eval(t, c, chromedp.Location())
			next = must[*url.URL](t)(company.Entra.SignIn(t.Context(), at, alice)).String()
		}
		c.lookAtBuiltInPage(t, lost.name, lost.text, chromedp.Navigate(next))
	}
}

// lookAtBuiltInPage checks one of the built-in pages of package signin, light and dark, on a phone and on a desktop.
// The actions open it.
func (c *chromium) lookAtBuiltInPage(t *testing.T, name, text string, open ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	c.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile))
	c.do(t, open...)
	c.do(t, chromedp.WaitVisible(chromedp.CSS("main")))
	c.lookAtAllForms(t, "signin's page "+name, chromedp.EmulateViewport(1000, 800), text)
}

// serveSite serves a site of the company on a listener until the test ends.
func serveSite(t *testing.T, company *contoso.Contoso, listener net.Listener, site http.Handler) {
	t.Helper()
	handler, stop, err := company.Browser(site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
}

// lookAtAllForms checks the open page light and dark, on a desktop of that size and on a phone. It must show the texts.
func (c *chromium) lookAtAllForms(
	t *testing.T, name string, desktop chromedp.Action[chromedp.Void], texts ...string,
) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		c.scheme(t, scheme)
		c.wantText(t, texts...)
		c.do(t, desktop)
		c.screenshot(t, name+" "+scheme)
		c.wantAccessible(t, name+", "+scheme)
		c.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile))
		c.screenshot(t, name+" "+scheme+" on a phone")
		if width := eval(t, c, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); width > 360 {
			t.Errorf("%s: got width %d, want at most 360", name, width)
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
