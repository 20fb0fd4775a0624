package integration_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/entratoken/entra/entratest"
)

// What is on the fake's pages, and on the web app's.
const (
	usernameField = chromedp.CSS("#username")
	passwordField = chromedp.CSS("#password")
	submitButton  = chromedp.CSS("#submit")
	cancelButton  = chromedp.CSS("#cancel")
	errorText     = chromedp.CSS("#error")
	consentItem   = chromedp.CSS(".scope")
	accountTile   = chromedp.CSS(".account")
	welcome       = chromedp.CSS("#details")
)

// browse starts a relying party that calls api-a for its users, and a browser at its sign-in.
func browse(t *testing.T, query string, changes ...func(*entratest.Config)) (*fake, *relyingParty, *chromium) {
	t.Helper()
	f := newFake(t, changes...)
	party := f.newRelyingParty(t, "openid", "profile", "offline_access", apiAScope)
	c := f.newChromium(t)
	c.do(t, chromedp.Navigate(party.url+"/login"+query))
	return f, party, c
}

// signIn types a name and a password and presses Enter, with no mouse.
func (c *chromium) signIn(t *testing.T, username, password string) {
	t.Helper()
	c.do(t,
		chromedp.WaitVisible(passwordField),
		chromedp.Focus(usernameField),
		chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), // over what the form begins with
		chromedp.KeyEvent(username+kb.Tab+password+kb.Enter),
	)
}

// details reads what the web app knows.
func (c *chromium) details(t *testing.T) signedIn {
	t.Helper()
	c.do(t, chromedp.WaitVisible(welcome))
	return details(t, ask(t, c, chromedp.OuterHTML(chromedp.CSS("html"))))
}

// Bob signs in for the first time: the password, the consent, the web app; by keyboard alone.
func TestBrowserSignsIn(t *testing.T) {
	f, _, c := browse(t, "")
	c.do(t, chromedp.WaitVisible(passwordField))
	c.screenshot(t, "password")
	c.wantText(t, "Sign in", "webapp", "Contoso")
	c.signIn(t, bob, bobPassword)

	c.do(t, chromedp.WaitVisible(consentItem))
	c.screenshot(t, "consent")
	c.wantText(t, bob, "webapp", "api-a", "access_as_user")
	c.do(t, chromedp.KeyEvent(kb.Enter)) // on the button that has the focus: Accept

	got := c.details(t)
	if got.Claims.PreferredUsername != bob || got.Claims.Claims["oid"] != bobID {
		t.Errorf("claims = %+v", got.Claims)
	}
	if claims := f.verified(t, got.AccessToken, apiAID); claims.Scope != "access_as_user" || claims.ObjectID != bobID {
		t.Errorf("scp = %q, oid = %q", claims.Scope, claims.ObjectID)
	}
}

// api-a demands a second factor. On a phone, nothing is wider than the screen.
func TestBrowserOnPhone(t *testing.T) {
	f, party, c := browse(t, "", func(estate *entratest.Config) {
		for i := range estate.Apps {
			estate.Apps[i].RequireMFA = estate.Apps[i].ClientID == apiAID
		}
	})
	c.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile), chromedp.Navigate(party.url+"/login"))
	wantFits := func(page string) {
		t.Helper()
		c.screenshot(t, page+" on a phone")
		if width := ask(t, c, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); width > 360 {
			t.Errorf("the page %s is %d wide", page, width)
		}
	}

	c.do(t, chromedp.WaitVisible(passwordField))
	wantFits("password")
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitNotPresent(passwordField), chromedp.WaitVisible(submitButton))
	wantFits("second factor")
	c.wantText(t, "Approve sign-in request", alice)
	c.do(t, chromedp.Click(submitButton), chromedp.WaitVisible(consentItem))
	wantFits("consent")
	c.do(t, chromedp.Click(submitButton))
	if claims := f.verified(t, c.details(t).AccessToken, apiAID); claims.ObjectID != aliceID {
		t.Errorf("oid = %q, want Alice's", claims.ObjectID)
	}
}

// The second time Entra remembers who signed in and what they agreed to.
func TestBrowserRemembers(t *testing.T) {
	_, party, c := browse(t, "")
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
	first := c.details(t)

	c.do(t, chromedp.Navigate(party.url+"/login")) // ends at the web app, with no page in between
	second := c.details(t)
	if second.Claims.PreferredUsername != alice || second.AccessToken == first.AccessToken {
		t.Errorf("signed in as %q", second.Claims.PreferredUsername)
	}

	c.do(t, chromedp.Navigate(party.url+"/login?prompt=select_account"),
		chromedp.WaitVisible(accountTile))
	c.screenshot(t, "pick")
	c.wantText(t, "Pick an account", aliceName, alice, "Use another account")
	c.do(t, chromedp.Click(chromedp.CSS("#other")))
	c.signIn(t, bob, bobPassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
	if third := c.details(t); third.Claims.PreferredUsername != bob {
		t.Errorf("signed in as %q, want Bob", third.Claims.PreferredUsername)
	}
}

func TestBrowserDeclinesConsent(t *testing.T) {
	_, _, c := browse(t, "")
	c.signIn(t, bob, bobPassword)
	c.do(t,
		chromedp.WaitVisible(consentItem),
		chromedp.Click(cancelButton),
		chromedp.WaitVisible(chromedp.CSS("#state")))
	c.wantText(t, "Sign-in failed", "access_denied", "AADSTS65004")
}

func TestBrowserMistypesPassword(t *testing.T) {
	_, _, c := browse(t, "?login_hint="+alice)
	c.do(t, chromedp.WaitVisible(passwordField))
	if hint := ask(t, c, chromedp.Value(usernameField)); hint != alice {
		t.Errorf("the form begins with %q, want the login hint", hint)
	}
	c.signIn(t, alice, "not the password")
	c.do(t, chromedp.WaitVisible(errorText))
	c.screenshot(t, "mistyped")
	name, password := ask(t, c, chromedp.Value(usernameField)), ask(t, c, chromedp.Value(passwordField))
	if name != alice || password != "" {
		t.Errorf("the form has %q and a password of %d characters, want the name alone", name, len(password))
	}
	if text := c.text(t); strings.Contains(text, "AADSTS") {
		t.Errorf("the page shows a person a number:\n%s", text)
	}
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem))
}

// A redirect URI that isn't the app's is never sent anything: the page says so at Entra.
func TestBrowserStaysOnError(t *testing.T) {
	f := newFake(t)
	c := f.newChromium(t)
	c.do(t,
		chromedp.Navigate(f.authority()+"/oauth2/v2.0/authorize?client_id="+webappID+
			"&response_type=code&scope=openid&redirect_uri=https%3A%2F%2Fattacker.example%2F"),
		chromedp.WaitVisible(errorText))
	c.screenshot(t, "error")
	c.wantText(t, f.host, "AADSTS50011", "Correlation Id")
}

// With response_mode=form_post the browser posts the answer, and the app's address has none of it.
func TestBrowserPostsAnswer(t *testing.T) {
	f := newFake(t)
	listener, origin := listen(t)
	posted := make(chan url.Values, 1)
	app := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.ParseForm() == nil {
				posted <- r.PostForm
				show(w, "home", nil)
			}
		})}}
	app.Start()
	t.Cleanup(app.Close)
	c := f.newChromium(t)
	c.do(t, chromedp.Navigate(f.authority()+"/oauth2/v2.0/authorize?"+url.Values{
		"client_id": {webappID}, "response_type": {"code"}, "response_mode": {"form_post"},
		"scope": {"openid"}, "state": {"a state & more"}, "redirect_uri": {origin + "/callback"},
	}.Encode()))
	c.signIn(t, bob, bobPassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(chromedp.CSS("#login")))

	form := <-posted
	if form.Get("code") == "" || form.Get("state") != "a state & more" || form.Get("error") != "" {
		t.Errorf("posted %v", slices.Sorted(maps.Keys(form)))
	}
	if at := ask(t, c, chromedp.Location()); at != origin+"/callback" {
		t.Errorf("the browser is at %s", at)
	}
}
