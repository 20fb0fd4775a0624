package integration_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/entratest"
)

// Signing out at Entra tells the apps through the browser, comes back to the one that asked for it,
// and the next sign-in asks for the password.
func TestBrowserSignsOut(t *testing.T) {
	told := make(chan url.Values, 10)
	frontChannel := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		told <- r.URL.Query()
	}))
	t.Cleanup(frontChannel.Close)
	f, party, c := browse(t, "", func(estate *entratest.Config) {
		for i := range estate.Apps {
			if app := &estate.Apps[i]; app.ClientID == webappID {
				app.LogoutURL = frontChannel.URL + "/frontchannel"
				app.RedirectURIs = append(app.RedirectURIs, "http://localhost/")
			}
		}
	})
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
	sid, _ := c.details(t).Claims.Claims["sid"].(string)

	c.do(t, chromedp.Click(chromedp.CSS("#logout")), chromedp.WaitVisible(chromedp.CSS("#login")))
	if at := ask(t, c, chromedp.Location()); at != party.url+"/" {
		t.Errorf("the browser is at %s, want the app's page", at)
	}
	if got := <-told; got.Get("iss") != f.issuer() || got.Get("sid") != sid || sid == "" {
		t.Errorf("the app was told %v, want issuer %s and session %q", got, f.issuer(), sid)
	}
	c.do(t, chromedp.Click(chromedp.CSS("#login")))
	c.signIn(t, alice, alicePassword)
	if again := c.details(t); again.Claims.PreferredUsername != alice {
		t.Errorf("signed in as %q", again.Claims.PreferredUsername)
	}

	c.do(t, chromedp.Navigate(f.authority()+"/oauth2/v2.0/logout")) // asked for by nobody: it stays at Entra
	c.screenshot(t, "signed out")
	c.wantText(t, f.host, "signed out")
}
