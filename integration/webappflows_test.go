package integration_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

// The subtests share a browser. Each has a profile of its own.
func TestWebApp(t *testing.T) {
	browser := newChromium(t)
	browser.do(t) // starts it
	for _, test := range []struct {
		name string
		run  func(*testing.T, *chromium)
	}{
		{"sign-in", webAppSignIn},
		{"consent in steps", webAppConsent},
		{"consent declined", webAppConsentDeclined},
		{"step-up", webAppStepUp},
		{"step-up for the app itself", webAppDemands},
		{"step-up by the resource's policy", webAppPolicy},
		{"many tokens", webAppManyTokens},
		{"revoked", webAppRevoked},
		{"restarted", webAppRestarted},
		{"several machines", webAppMachines},
		{"sign-out", webAppSignOut},
		{"sign-out elsewhere", webAppSignOutElsewhere},
		{"two tabs", webAppTwoTabs},
		{"callback again", webAppCallbackAgain},
		{"form_post", webAppFormPost},
		{"looks", webAppLooks},
		{"built-in page", webAppBuiltInPage},
		{"built-in page after a sign-in", webAppBuiltInPageAfterSignIn},
		{"built-in pages for lost sessions and tokens", webAppLostPages},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, browser.fresh(t)) })
	}
}

// webAppSignIn checks that after the sign-in, the browser shows the page that required it.
func webAppSignIn(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	c.do(t, chromedp.Navigate(w.url+"/orders?page=2"))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/orders?page=2")
	c.wantText(t, aliceName, "1017 Ladder", "web app", "api-a", "api-b", "on_behalf_of")
}

// webAppConsent checks that consent to an API is requested at its first use, and only for that API.
func webAppConsent(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.Click(loginLink))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem))
	c.wantText(t, "access_as_user")
	if strings.Contains(c.text(t), "Deliveries") {
		t.Error("got consent to shipping at sign-in, want it later")
	}
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(logoutButton),
		chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(consentItem))
	c.screenshot(t, "webapp consent to shipping")
	c.wantText(t, "Deliveries.Read")
	if strings.Contains(c.text(t), "access_as_user") {
		t.Error("got consent to api-a a second time")
	}
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries")
	c.wantText(t, "Rope, 20 m: delivered on Monday", "Deliveries.Read")

	before := w.pagesAtEntra()
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(items),
		chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items))
	if n := w.pagesAtEntra() - before; n != 0 {
		t.Errorf("pages at Entra after the consent: got %d, want 0", n)
	}
}

// webAppConsentDeclined checks that declined consent is explained, and earlier consent still works.
func webAppConsentDeclined(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(consentItem),
		chromedp.Click(cancelButton), chromedp.WaitVisible(problem))
	c.screenshot(t, "webapp consent declined")
	c.wantText(t, aliceName, "You did not give permission", "You are still signed in")
	if text := eval(t, c, chromedp.Text(chromedp.CSS("body"))); strings.Contains(text, "AADSTS") {
		t.Errorf("got an error number on the page:\n%s", text)
	}
	// The user can try again.
	c.do(t, chromedp.Click(firstWay), chromedp.WaitVisible(consentItem), chromedp.Click(cancelButton),
		chromedp.WaitVisible(problem))

	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items))
}

// webAppStepUp checks that a claims challenge for an authentication context leads to a second factor and back to the
// page. This holds for one session. Another browser, which signed in with only the password, needs its own second
// factor.
func webAppStepUp(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	other := c.fresh(t)
	w.signInAlice(t, c)
	other.do(t, chromedp.Navigate(w.url+"/claims"))
	other.signIn(t, alice, alicePassword)
	other.do(t, chromedp.WaitVisible(logoutButton))

	w.stepUp(t, c, "/payslip")
	before := w.pagesAtEntra()
	c.do(t, chromedp.Navigate(w.url+"/payslip"), chromedp.WaitVisible(items))
	if n := w.pagesAtEntra() - before; n != 0 {
		t.Errorf("pages at Entra after the second factor: got %d, want 0", n)
	}
	w.stepUp(t, other, "/payslip")
}

// stepUp opens a page that requires a second factor, approves it, and checks the page.
func (w *webApp) stepUp(t *testing.T, c *chromium, path string) {
	t.Helper()
	c.do(t, chromedp.Navigate(w.url+path), chromedp.WaitVisible(submitButton))
	c.wantText(t, "Approve sign-in request", alice)
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, path)
	c.wantText(t, "Bonus for no falls", "acrs", "c1")
}

// webAppDemands checks that the same holds if the app itself requires the authentication context.
func webAppDemands(t *testing.T, c *chromium) {
	w := newWebAppOf(t, nil, func(app *site.Config) {
		for i := range app.APIs {
			app.APIs[i].Context = contoso.StepUp
		}
	})
	w.signInAlice(t, c)
	w.stepUp(t, c, "/payslip")
	before := w.pagesAtEntra()
	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items))
	if n := w.pagesAtEntra() - before; n != 0 {
		t.Errorf("pages at Entra after the second factor: got %d, want 0", n)
	}
}

// webAppPolicy checks that the same holds for a policy on the resource, which Entra reports instead of issuing a token.
func webAppPolicy(t *testing.T, c *chromium) {
	w := newWebApp(t, func(estate *entratest.Config, _ string) {
		for i := range estate.Apps {
			estate.Apps[i].RequireMFA = estate.Apps[i].Name == "shipping"
		}
	})
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(submitButton))
	c.wantText(t, "Approve sign-in request", alice)
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(consentItem), chromedp.Click(submitButton),
		chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries")
}
