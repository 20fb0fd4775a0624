package integration_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/entratest"
)

// A sign-out at Entra notifies the apps through the browser and returns to the app that started it. The next sign-in
// requires the password.
func TestBrowserSignsOut(t *testing.T) {
	notified := make(chan url.Values, 10)
	frontChannel := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		notified <- r.URL.Query()
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
	if at := eval(t, c, chromedp.Location()); at != party.url+"/" {
		t.Errorf("got location %s, want %s", at, party.url+"/")
	}
	if got := <-notified; got.Get("iss") != f.issuer() || got.Get("sid") != sid || sid == "" {
		t.Errorf("got notification %v, want issuer %s and session %q", got, f.issuer(), sid)
	}
	c.do(t, chromedp.Click(chromedp.CSS("#login")))
	c.signIn(t, alice, alicePassword)
	if again := c.details(t); again.Claims.PreferredUsername != alice {
		t.Errorf("got user %q, want Alice", again.Claims.PreferredUsername)
	}

	c.do(t, chromedp.Navigate(f.authority()+"/oauth2/v2.0/logout")) // without an app to return to
	c.screenshot(t, "signed out")
	c.wantText(t, f.host, "signed out")
}
