package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
)

// The console shows a sign-in with consent and step-up, an on-behalf-of chain with a missing consent, and a throttled
// daemon, while they happen.
func TestConsole(t *testing.T) {
	w := newWebApp(t, func(c *entratest.Config, _ string) {
		for i := range c.Apps {
			if c.Apps[i].Name == "api-a" {
				c.Apps[i].Permissions = nil // the administrator has not granted api-b
			}
		}
	})
	server := httptest.NewServer(w.Entra.Console(t.Context()))
	t.Cleanup(server.Close)
	alice := newChromium(t)
	bob, c := alice.fresh(t), alice.fresh(t)
	c.do(t, chromedp.EmulateViewport(1200, 900), chromedp.Navigate(server.URL))
	c.wantText(t, "No requests yet.")

	w.signInAlice(t, alice)
	w.stepUp(t, alice, "/payslip")
	bob.do(t, chromedp.Navigate(w.url+"/orders"))
	bob.signIn(t, "bob@contoso.onmicrosoft.com", bobPassword)
	bob.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(problem))
	w.Entra.Inject(entratest.Fault{ClientID: daemonID, Endpoint: "token", Status: 429, RetryAfter: "1", Times: 1})
	daemon := must[*entra.Client](t)(entra.New(w.Config("daemon")))
	if _, err := clientcreds.TokenSource(daemon, contoso.OrdersAll).TokenContext(t.Context()); err != nil {
		t.Fatal(err)
	}

	signedIn := []string{
		"Browser to Entra GET authorize | 200 page: Sign in to your account",
		"Browser to Entra POST login password | 200 page: Permissions requested",
		"Browser to Entra POST login consent | 302 sends code, session_state, state to webapp",
		"webapp to Entra POST token authorization code | 200 access token for api-a, ID token, refresh token",
	}
	wantFlow(t, c, "Client credentials 1 error",
		"daemon to Entra POST token client credentials | 429 Too Many Requests, Retry-After 1 (injected fault) | "+
			"AADSTS90055 temporarily_unavailable: Entra throttles the tenant | This error was injected by the test. | "+
			"Fix Entra throttles the tenant. Try again later, and request fewer tokens. Create one token source for each "+
			"API and keep it. Requesting a new token for each call is the usual cause.",
		"daemon to Entra POST token client credentials | 200 access token for api-b",
	)
	wantFlow(t, c, "Sign-in, authorization code, on-behalf-of 1 error", append(slices.Clone(signedIn),
		"webapp to api-a access token, seen as the assertion of the next request",
		"api-a to Entra POST token on-behalf-of | 400 Bad Request | AADSTS65001 invalid_grant: consent is missing | "+
			"The user or an administrator has not consented to use the app '"+apiAID+"' named 'api-a'. "+
			"Request consent interactively. | Fix No user or administrator has consented to this permission. "+
			"In the app registration, under API permissions, select Grant admin consent, or have an administrator open "+
			"https://login.microsoftonline.com/"+tenant+"/adminconsent?client_id="+apiAID,
	)...)
	wantFlow(t, c, "Sign-in, authorization code, refresh token 1 error", append(slices.Clone(signedIn),
		"webapp to Entra POST token refresh token | 200 access token for payroll, ID token, refresh token",
		"webapp to Entra POST token refresh token | 400 Bad Request | "+
			"AADSTS50076 interaction_required: multi-factor authentication is required | "+
			"A policy of the resource 'aaaaaaaa-0000-4000-8000-00000000a1c5' requires multifactor authentication. | "+
			"Fix Sign the user in again with the claims challenge of the error. "+
			"An API returns the challenge to its client, which signs the user in.",
		"Browser to Entra GET authorize | 200 page: Approve sign-in request",
		"Browser to Entra POST login mfa | 302 sends code, session_state, state to webapp",
		"webapp to Entra POST token authorization code | 200 access token for payroll, ID token, refresh token",
	)...)
	for _, name := range []string{"on-behalf-of", "refresh token", "Client credentials"} {
		c.lookAtConsole(t, name)
	}
	c.do(t, chromedp.EmulateViewport(1200, 900), chromedp.Navigate(server.URL))
	c.useConsoleByKeyboard(t, w.Entra)
}

// useConsoleByKeyboard checks that an update neither closes the parameters that the user reads nor moves the focus, and
// that the user can pause the updates and filter the flows.
func (c *chromium) useConsoleByKeyboard(t *testing.T, s *entratest.Server) {
	t.Helper()
	send := func() { // requests of one flow
		t.Helper()
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet,
			"https://login.microsoftonline.com/unknown", nil))
		req.Header.Set("client-request-id", "cccccccc-0000-4000-8000-000000000001")
		must[*http.Response](t)(s.Client().Do(req)).Body.Close()
	}
	wantArrows := func(n int) {
		t.Helper()
		c.do(t, chromedp.Poll[chromedp.Void](fmt.Sprintf(
			`document.querySelectorAll(".flow:first-child .title").length &&
			document.querySelector(".flow:first-child .title").textContent === "unknown request" &&
			document.querySelectorAll(".flow:first-child .arrow").length === %d`, n)))
	}
	const state = `[document.querySelector(".flow:first-child details").open, document.activeElement.tagName,
		document.getElementById("state").textContent].join(" ")`
	wantState := func(want string) {
		t.Helper()
		if got := eval(t, c, chromedp.Evaluate[string](state)); got != want {
			t.Errorf("got state %q, want %q", got, want)
		}
	}
	send()
	wantArrows(1)
	c.do(t, chromedp.Focus(chromedp.CSS(".flow:first-child summary")), chromedp.KeyEvent(kb.Enter))
	send()
	wantArrows(2)
	wantState("true SUMMARY Live")

	c.do(t, chromedp.Focus(chromedp.CSS("#pause")), chromedp.KeyEvent(kb.Enter))
	send()
	c.do(t, chromedp.Sleep(time.Second)) // two updates
	wantArrows(2)
	wantState("true BUTTON Paused")
	c.do(t, chromedp.KeyEvent(kb.Enter))
	wantArrows(3)
	wantState("true BUTTON Live")

	c.do(t, chromedp.Focus(chromedp.CSS("[name=app]")), chromedp.KeyEvent("daemon"),
		chromedp.Focus(chromedp.CSS("[name=outcome]")), chromedp.KeyEvent("error"),
		chromedp.Focus(chromedp.CSS(".filter button")), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(chromedp.CSS(`.filter a`)))
	if at := eval(t, c, chromedp.Evaluate[string]("location.search")); at !=
		"?app="+daemonID+"&user=&tenant=&outcome=error" {
		t.Errorf("got query %s", at)
	}
	if n := eval(t, c, chromedp.Evaluate[int](`document.querySelectorAll(".flow").length`)); n != 1 {
		t.Errorf("got %d flows of the daemon with an error, want 1", n)
	}
}

// wantFlow waits until the console shows a flow with the title, and checks its arrows.
func wantFlow(t *testing.T, c *chromium, title string, want ...string) {
	t.Helper()
	const text = `(title => {
		const lines = (of, query) => [...of.querySelectorAll(query)].map(e => e.innerText.replace(/\s+/g, " ").trim());
		const flow = [...document.querySelectorAll(".flow")].find(f => lines(f, "h3")[0] === title);
		return !flow ? [] : [...flow.querySelectorAll(".arrow")].map(a =>
			lines(a, ".text > p, .why > p").map(l => l.replace(/^[\d:.]{12} /, "")).join(" | "));
	})`
	var got []string
	for range 100 { // the page is updated twice a second
		got = eval(t, c, chromedp.Evaluate[[]string](text+"("+strconv.Quote(title)+")"))
		if len(got) == len(want) {
			break
		}
		c.do(t, chromedp.Sleep(100*time.Millisecond))
	}
	if !slices.Equal(got, want) {
		t.Errorf("flow %s: got\n%s\nwant\n%s\nin %s", title, strings.Join(got, "\n"), strings.Join(want, "\n"), c.text(t))
	}
}

// lookAtConsole checks the console with one flow, whose title has a part, in each color scheme and on a phone.
func (c *chromium) lookAtConsole(t *testing.T, part string) {
	t.Helper()
	c.do(t, chromedp.Evaluate[chromedp.Void](`for (const f of document.querySelectorAll(".flow")) {
		f.hidden = !f.querySelector(".title").textContent.includes(`+strconv.Quote(strings.ToLower(part))+`);
		for (const d of f.querySelectorAll("details")) d.open = d.innerText.includes("ID token");
	}`))
	c.lookAtAllForms(t, "console "+part, chromedp.EmulateViewport(1200, 900))
}

// With 50 clients and the console open in a browser, no request fails and the heap does not grow. The environment
// variable ENTRA_SOAK makes the test longer, for example 5m.
func TestSoakWithConsoleOpen(t *testing.T) {
	length := 5 * time.Second
	if text := os.Getenv("ENTRA_SOAK"); text != "" {
		length = must[time.Duration](t)(time.ParseDuration(text))
	}
	f := newFake(t)
	f.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 50
	c := f.newChromium(t)
	c.do(t, chromedp.Navigate(f.url+"/"))
	load := func(length time.Duration) {
		end := time.Now().Add(length)
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				for i := 0; time.Now().Before(end) && !t.Failed(); i++ {
					if err := f.everyGrant(t, i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		clients.Wait()
		total := fmt.Sprintf("%d requests, %d for tokens", f.Count(entratest.Match{}), f.TokenRequests())
		c.do(t, chromedp.Poll[chromedp.Void](`document.getElementById("total").textContent === `+strconv.Quote(total)))
	}
	for f.Count(entratest.Match{}) < 4096 && !t.Failed() { // fills the journal and the flows
		load(time.Second)
	}
	before, start := heap(), f.Count(entratest.Match{})
	for n := range 5 {
		load(length / 5)
		now := heap()
		t.Logf("%v: %d requests; the heap has %d KiB, %+d KiB", time.Duration(n+1)*length/5,
			f.Count(entratest.Match{})-start, now>>10, (int64(now)-int64(before))>>10)
		if now > before+soakMargin {
			t.Errorf("heap: got %d bytes, want at most %d more than %d", now, soakMargin, before)
		}
	}
	if state := eval(t, c, chromedp.Evaluate[string](`document.getElementById("state").textContent + " " +
		document.querySelectorAll(".flow").length + " " + performance.getEntriesByType("navigation").length`)); state != "Live 30 1" {
		t.Errorf("got state, flows and loads of the page %q, want Live 30 1", state)
	}
}
