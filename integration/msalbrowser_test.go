package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra/entratest"
)

const spaID = "aaaaaaaa-0000-4000-8000-0000000005fa" // a single-page app

// A page with MSAL for browsers. It signs the user in by a redirect, then acquires a second token with the refresh
// token, and shows both.
const spaPage = `<!DOCTYPE html>
<title>Orders</title>
<pre id="state">loading</pre>
<script src="/msal.js"></script>
<script>
addEventListener("load", async () => {
	const state = document.getElementById("state");
	try {
		const scopes = [%q];
		const app = new msal.PublicClientApplication({
			auth: {clientId: %q, authority: %q, knownAuthorities: [%q], redirectUri: location.origin + "/"},
			cache: {cacheLocation: "sessionStorage"},
		});
		await app.initialize();
		const signedIn = await app.handleRedirectPromise();
		if (!signedIn) {
			await app.loginRedirect({scopes}); // leaves the page
			return;
		}
		const refreshed = await app.acquireTokenSilent({scopes, account: signedIn.account, forceRefresh: true});
		state.id = "done";
		state.textContent = JSON.stringify({username: signedIn.account.username, first: signedIn.accessToken,
			second: refreshed.accessToken, fromCache: refreshed.fromCache});
	} catch (error) {
		state.id = "done";
		state.textContent = JSON.stringify({error: String(error)});
	}
});
</script>
`

// MSAL for browsers redeems the code and the refresh token by requests of its page's origin.
func TestMSALBrowser(t *testing.T) {
	f := newFake(t, func(estate *entratest.Config) {
		estate.Apps = append(estate.Apps, entratest.App{
			Name: "single-page app", ClientID: spaID, TenantID: tenant, SPARedirectURIs: []string{"http://localhost/"},
		})
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, spaPage, apiAScope, spaID, f.authority(), f.host)
	})
	mux.HandleFunc("GET /msal.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "node/node_modules/@azure/msal-browser/lib/msal-browser.min.js")
	})
	l, origin := listen(t)
	site := &http.Server{Handler: mux}
	go site.Serve(l)
	t.Cleanup(func() { site.Close() })

	c := f.newChromium(t)
	c.do(t, chromedp.Navigate(origin+"/"), chromedp.WaitVisible(passwordField))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
	done := chromedp.CSS("#done")
	c.do(t, chromedp.WaitVisible(done))
	var got struct {
		Username, First, Second, Error string
		FromCache                      bool
	}
	if err := json.Unmarshal([]byte(eval(t, c, chromedp.Text(done))), &got); err != nil {
		t.Fatal(err)
	}
	if got.Error != "" || got.Username != alice || got.FromCache || got.First == got.Second {
		t.Fatalf("got username %q, from cache %v, error %q", got.Username, got.FromCache, got.Error)
	}
	for _, token := range []string{got.First, got.Second} {
		if claims := f.verified(t, token, apiAID); claims.ObjectID != aliceID {
			t.Errorf("got oid %q, want %q", claims.ObjectID, aliceID)
		}
	}
	if n := f.Count(entratest.Match{GrantType: "refresh_token", ClientID: spaID}); n != 1 {
		t.Errorf("got %d refreshes, want 1", n)
	}
}
