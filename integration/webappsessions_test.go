package integration_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
)

// webAppManyTokens checks that a session outlives its tokens, here of one second. The user never sees a page of Entra.
func webAppManyTokens(t *testing.T, c *chromium) {
	w := newWebApp(t, func(estate *entratest.Config, _ string) {
		estate.Lifetime = func() time.Duration { return time.Second }
	})
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(consentItem),
		chromedp.Click(submitButton), chromedp.WaitVisible(items))
	pages, signIns := w.pagesAtEntra(), w.tokens("authorization_code")
	visits, start, before := 0, time.Now(), w.tokens("refresh_token")
	for ; w.tokens("refresh_token") < before+5; visits++ {
		if time.Since(start) > time.Minute {
			t.Fatal("got fewer than five refreshes in a minute")
		}
		c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(items))
		w.wantAt(t, c, "/deliveries")
	}
	if w.pagesAtEntra() != pages || w.tokens("authorization_code") != signIns {
		t.Errorf("got %d pages at Entra and %d sign-ins, want none", w.pagesAtEntra()-pages,
			w.tokens("authorization_code")-signIns)
	}
	c.do(t, chromedp.Navigate(w.url+"/tokens"), chromedp.WaitVisible(logoutButton))
	c.screenshot(t, "webapp tokens of a second")
	c.wantText(t, "expired", "waits for a new one")
	// A token is refreshed after half of its lifetime at the earliest.
	if n, most := w.tokens("refresh_token")-before, int(time.Since(start)/(500*time.Millisecond))+1; n > most {
		t.Errorf("tokens for %d visits: got %d, want at most %d", visits, n, most)
	}
}

// consented lets an administrator consent to shipping, so users do not see that page.
func consented(estate *entratest.Config, _ string) {
	for i := range estate.Apps {
		if app := &estate.Apps[i]; app.ClientID == webappID {
			app.Permissions = append(app.Permissions, entratest.Permission{Resource: "api://shipping",
				Scopes: []string{"Deliveries.Read"}})
		}
	}
}

// webAppRevoked checks that after an administrator has revoked Alice's sessions, she signs in again and sees the page.
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

// webAppRestarted checks that after a restart with the sessions in a store, Entra issues new tokens without showing a
// page.
func webAppRestarted(t *testing.T, c *chromium) {
	w := newWebApp(t, consented)
	w.signInAlice(t, c)
	user := w.Entra.User(alice)
	if n, err := w.Cache.Purge(t.Context(), user.ObjectID+"."+user.TenantID); n != 1 || err != nil {
		t.Fatalf("got %d dropped sessions and error %v, want 1", n, err)
	}
	c.do(t, chromedp.Navigate(w.url+"/deliveries"), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/deliveries")
	c.wantText(t, aliceName)
}

// webAppSignOut checks that a sign-out ends the session of the app and of Entra. The back button shows no page of the
// session.
func webAppSignOut(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	w.signInAlice(t, c)
	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(items),
		chromedp.Navigate(w.url+"/claims"), chromedp.WaitVisible(logoutButton),
		chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
	w.wantAt(t, c, "/")
	// of /claims, /orders and the home page
	for _, shows := range []chromedp.CSS{passwordField, passwordField, loginLink} {
		c.do(t, chromedp.NavigateBack(), chromedp.WaitVisible(shows))
		if text := c.text(t); strings.Contains(text, aliceName) || strings.Contains(text, "Ladder") ||
			strings.Contains(text, aliceID) {
			t.Fatalf("back button after the sign-out: got\n%s", text)
		}
	}
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.Click(loginLink), chromedp.WaitVisible(passwordField))
	if n := w.Cache.Stats().Sessions; n != 1 {
		t.Errorf("sessions in the cache: got %d, want only that of the API", n)
	}
}

// webAppSignOutElsewhere checks that a sign-out from another app ends the session of this app through the browser.
func webAppSignOutElsewhere(t *testing.T, c *chromium) {
	w := newWebApp(t, func(estate *entratest.Config, origin string) {
		for i := range estate.Apps {
			if app := &estate.Apps[i]; app.ClientID == webappID {
				app.LogoutURL = origin + "/logout/frontchannel"
			}
		}
	})
	c.do(t, chromedp.Navigate(w.url+"/orders"), chromedp.WaitVisible(passwordField))
	entra := must[*url.URL](t)(url.Parse(eval(t, c, chromedp.Location())))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))

	c.do(t, chromedp.Navigate(entra.Scheme+"://"+entra.Host+"/"+tenant+"/oauth2/v2.0/logout"),
		chromedp.WaitVisible(chromedp.CSS("main")))
	c.wantText(t, "signed out")
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.WaitVisible(loginLink))

	// A sign-out from this app passes the same page at Entra and returns.
	c.do(t, chromedp.Click(loginLink))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(logoutButton), chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
	w.wantAt(t, c, "/")
	if n := w.countRequests("GET /logout/frontchannel?"); n != 2 {
		t.Errorf("front-channel notifications: got %d, want 2", n)
	}
}

// webAppTwoTabs checks that two tabs sign in at the same time, and each shows its page.
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

// webAppCallbackAgain checks that reloading the callback continues for a signed-in user and fails for others.
func webAppCallbackAgain(t *testing.T, c *chromium) {
	w := newWebApp(t, nil)
	w.signInAlice(t, c)
	_, callback, _ := strings.Cut(w.lastRequest(t, "GET /callback?"), " ")
	redeemed := w.tokens("authorization_code")
	for range 2 {
		c.do(t, chromedp.Navigate(w.url+callback), chromedp.WaitVisible(logoutButton))
		c.wantText(t, aliceName)
		w.wantAt(t, c, "/")
	}
	// After the sign-out it signs no one in.
	c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink),
		chromedp.Navigate(w.url+callback), chromedp.WaitVisible(problem))
	if text := c.text(t); strings.Contains(text, aliceName) {
		t.Errorf("callback after the sign-out: got\n%s", text)
	}
	if n := w.tokens("authorization_code") - redeemed; n != 0 {
		t.Errorf("codes redeemed again: got %d, want 0", n)
	}
}

// webAppFormPost checks that with form_post, the browser posts Entra's response from another site. The sign-in works,
// and no URL contains the code.
func webAppFormPost(t *testing.T, c *chromium) {
	w := newWebApp(t, nil, func(cfg *authcode.Config) { cfg.ResponseMode = authcode.ResponseModeFormPost })
	c.do(t, chromedp.Navigate(w.url+"/orders"))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(items))
	w.wantAt(t, c, "/orders")
	if posted := w.lastRequest(t, "POST /"); posted != "POST /callback" {
		t.Errorf("got request %s, want POST /callback", posted)
	}
	c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
}
