package integration_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
)

// A session outlives its tokens, which live for a second: the person sees the page, at once and each
// time, and never Entra's.
func webAppManyTokens(t *testing.T, c *chromium) {
	w := newWebApp(t, func(estate *entratest.Config, _ string) {
		estate.Lifetime = func() time.Duration { return time.Second }
	})
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(consentItem),
		chromedp.Click(submitButton), chromedp.WaitVisible(items))
	pages, signIns := w.pagesAtEntra(), w.tokens("authorization_code")
	looks, start, held := 0, time.Now(), w.tokens("refresh_token")
	for ; w.tokens("refresh_token") < held+5; looks++ {
		if time.Since(start) > time.Minute {
			t.Fatal("the tokens were not refreshed")
		}
		c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(items))
		w.wantAt(t, c, "/deliveries")
	}
	if w.pagesAtEntra() != pages || w.tokens("authorization_code") != signIns {
		t.Errorf("the person was sent to Entra: %d times, %d sign-ins", w.pagesAtEntra()-pages, w.tokens("authorization_code")-signIns)
	}
	c.do(t, chromedp.Navigate(w.url+"/tokens"), chromedp.WaitVisible(logoutButton))
	c.screenshot(t, "webapp tokens of a second")
	c.wantText(t, "expired", "waits for a new one")
	// Half of its life is the earliest that a token is refreshed.
	if n, most := w.tokens("refresh_token")-held, int(time.Since(start)/(500*time.Millisecond))+1; n > most {
		t.Errorf("%d looks at the page took %d tokens, want at most %d", looks, n, most)
	}
}

// consented has an administrator consent to shipping, so that it takes no page.
func consented(estate *entratest.Config, _ string) {
	for i := range estate.Apps {
		if app := &estate.Apps[i]; app.ClientID == webappID {
			app.Permissions = append(app.Permissions, entratest.Permission{Resource: "api://shipping", Scopes: []string{"Deliveries.Read"}})
		}
	}
}

// An administrator ends Alice's sessions: she signs in again and is where she wanted to go.
func webAppRevoked(t *testing.T, c *chromium) {
	w := newWebApp(t, consented)
	w.signInAlice(t, c)
	w.Entra.RevokeSessions(alice)
	c.do(t, chromedp.Navigate(w.url+"/deliveries?page=2"))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries?page=2")
	c.wantText(t, aliceName, "Rope, 20 m")
}

// The process lost its tokens, as when it was started again with the sessions in a store: Entra gives
// new ones without a page.
func webAppRestarted(t *testing.T, c *chromium) {
	w := newWebApp(t, consented)
	w.signInAlice(t, c)
	w.Cache.PurgeFunc(func(cache.Key) bool { return true })
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries")
	c.wantText(t, aliceName)
}

// Signing out ends the session here and at Entra, and the back button shows nothing of it.
func webAppSignOut(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items),
		chromedp.Navigate(w.url+"/claims"), chromedp.WaitVisible(logoutButton),
		chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
	w.wantAt(t, c, "/")
	for _, shows := range []chromedp.CSS{passwordField, passwordField, loginLink} { // of /claims, /orders and the home page
		c.do(t, chromedp.NavigateBack(), chromedp.WaitVisible(shows))
		if text := c.text(t); strings.Contains(text, aliceName) || strings.Contains(text, "Ladder") || strings.Contains(text, aliceID) {
			t.Fatalf("after signing out, the back button shows\n%s", text)
		}
	}
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.Click(loginLink), chromedp.WaitVisible(passwordField))
	if n := w.Cache.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions in the cache, want the API's alone", n)
	}
}

// Signing out at Entra, from another app, ends the session here through the browser.
func webAppSignOutElsewhere(t *testing.T, c *chromium) {
	w := newWebApp(t, func(estate *entratest.Config, origin string) {
		for i := range estate.Apps {
			if app := &estate.Apps[i]; app.ClientID == webappID {
				app.LogoutURL = origin + "/logout/frontchannel"
			}
		}
	})
	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(passwordField))
	entra := must[*url.URL](t)(url.Parse(ask(t, c, chromedp.Location())))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))

	c.do(t, chromedp.Navigate(entra.Scheme+"://"+entra.Host+"/"+tenant+"/oauth2/v2.0/logout"), chromedp.WaitVisible(chromedp.CSS("main")))
	c.wantText(t, "signed out")
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.WaitVisible(loginLink))

	// Signing out here goes by the same page at Entra, and comes back.
	c.do(t, chromedp.Click(loginLink))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(logoutButton), chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
	w.wantAt(t, c, "/")
	if n := w.timesAsked("GET /logout/frontchannel?"); n != 2 {
		t.Errorf("Entra's pages told the app %d times, want once for each sign-out", n)
	}
}

// Two tabs sign in at once, and both end where they wanted to.
func webAppTwoTabs(t *testing.T, one *chromium) {
	w := newWebApp(t, nil)
	one.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(passwordField))
	two := one.tab(t)
	two.do(t, chromedp.Navigate(w.url+"/claims"), chromedp.WaitVisible(passwordField))
	one.signIn(t, alice, alicePassword)
	one.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, one, "/orders")
	two.signIn(t, alice, alicePassword)
	two.do(t, chromedp.WaitVisible(logoutButton))
	w.wantAt(t, two, "/claims")
	one.do(t, chromedp.Reload(), chromedp.WaitVisible(items))
}

// Loading the callback again, code and all, takes somebody who is signed in on, and nobody else.
func webAppCallbackAgain(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	w.signInAlice(t, c)
	_, callback, _ := strings.Cut(w.lastAsked(t, "GET /callback?"), " ")
	redeemed := w.tokens("authorization_code")
	for range 2 {
		c.do(t, chromedp.Navigate(w.url+callback), chromedp.WaitVisible(logoutButton))
		c.wantText(t, aliceName)
		w.wantAt(t, c, "/")
	}
	// After signing out it signs nobody in.
	c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink),
		chromedp.Navigate(w.url+callback), chromedp.WaitVisible(problem))
	if text := c.text(t); strings.Contains(text, aliceName) {
		t.Errorf("the callback shows\n%s", text)
	}
	if n := w.tokens("authorization_code") - redeemed; n != 0 {
		t.Errorf("the code was redeemed %d times more", n)
	}
}

// With form_post the browser posts Entra's answer from another site; the sign-in works, and no address
// has the code in it.
func webAppFormPost(t *testing.T, c *chromium) {
	w := newWebApp(t, nil, func(cfg *authcode.Config) { cfg.ResponseMode = authcode.FormPost })
	c.do(t, chromedp.Navigate(w.url+"/orders"))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/orders")
	if posted := w.lastAsked(t, "POST /"); posted != "POST /callback" {
		t.Errorf("the browser sent %s", posted)
	}
	c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
}
