package integration_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

// What a person meets at the web app, in one browser; each has a profile of their own.
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
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, browser.fresh(t)) })
	}
}

// Whoever wants a page that needs a sign-in gets it after one.
func webAppSignIn(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	c.do(t, chromedp.Navigate(w.url+"/orders?page=2"))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/orders?page=2")
	c.wantText(t, aliceName, "1017 Ladder", "web app", "api-a", "api-b", "on_behalf_of")
}

// Consent to an API is asked when it is first needed, and for that API alone.
func webAppConsent(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.Click(loginLink))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem))
	c.wantText(t, "access_as_user")
	if strings.Contains(c.text(t), "Deliveries") {
		t.Error("consent to shipping is asked at sign-in")
	}
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(logoutButton),
		chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(consentItem))
	c.screenshot(t, "webapp consent to shipping")
	c.wantText(t, "Deliveries.Read")
	if strings.Contains(c.text(t), "access_as_user") {
		t.Error("consent to api-a is asked again")
	}
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries")
	c.wantText(t, "Rope, 20 m: delivered on Monday", "Deliveries.Read")

	before := w.pagesAtEntra()
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(items),
		chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items))
	if n := w.pagesAtEntra() - before; n != 0 {
		t.Errorf("the browser was sent to Entra %d times for what was consented to", n)
	}
}

// Declining ends on a page that says so; what was consented to goes on.
func webAppConsentDeclined(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(consentItem),
		chromedp.Click(cancelButton), chromedp.WaitVisible(problem))
	c.screenshot(t, "webapp consent declined")
	c.wantText(t, aliceName, "You did not give permission", "You are still signed in")
	if text := ask(t, c, chromedp.Text(chromedp.CSS("body"))); strings.Contains(text, "AADSTS") {
		t.Errorf("the page shows a person a number:\n%s", text)
	}
	// Who thinks better of it is asked again.
	c.do(t, chromedp.Click(firstWay), chromedp.WaitVisible(consentItem), chromedp.Click(cancelButton), chromedp.WaitVisible(problem))

	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items))
}

// An API that demands an authentication context, with a claims challenge, gets it: a second factor, and
// back to the page. It is the session's: another browser, signed in with the password alone, is asked for
// its own.
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
		t.Errorf("the second factor was asked for again, %d times", n)
	}
	w.stepUp(t, other, "/payslip")
}

// stepUp goes to a page, gives the second factor that it asks for, and is there.
func (w *webApp) stepUp(t *testing.T, c *chromium, path string) {
	t.Helper()
	c.do(t, chromedp.Navigate(w.url+path), chromedp.WaitVisible(submitButton))
	c.wantText(t, "Approve sign-in request", alice)
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, path)
	c.wantText(t, "Bonus for no falls", "acrs", "c1")
}

// Where the app itself demands it the person sees the same.
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
		t.Errorf("the session was asked for the second factor again, %d times", n)
	}
}

// A policy on the resource, which Entra tells the app of instead of giving it a token, does the same.
func webAppPolicy(t *testing.T, c *chromium) {
	w := newWebApp(t, func(estate *entratest.Config, _ string) {
		for i := range estate.Apps {
			estate.Apps[i].RequireMFA = estate.Apps[i].Name == "shipping"
		}
	})
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(submitButton))
	c.wantText(t, "Approve sign-in request", alice)
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries")
}
