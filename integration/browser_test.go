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

// Elements on the pages of the fake and of the web app.
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

// browse starts a relying party that calls api-a for its users, and a browser at its sign-in page.
func browse(t *testing.T, query string, changes ...func(*entratest.Config)) (*fake, *relyingParty, *chromium) {
	t.Helper()
	f := newFake(t, changes...)
	party := f.newRelyingParty(t, "openid", "profile", "offline_access", apiAScope)
	c := f.newChromium(t)
	c.do(t, chromedp.Navigate(party.url+"/login"+query))
	return f, party, c
}

// signIn types a name and a password and presses Enter. It does not use the mouse.
func (c *chromium) signIn(t *testing.T, username, password string) {
	t.Helper()
	c.do(t,
		chromedp.WaitVisible(passwordField),
		chromedp.Focus(usernameField),
		chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), // replaces the initial value
		chromedp.KeyEvent(username+kb.Tab+password+kb.Enter),
	)
}

// details returns the details on the page of the web app.
func (c *chromium) details(t *testing.T) signedIn {
	t.Helper()
	c.do(t, chromedp.WaitVisible(welcome))
	return details(t, eval(t, c, chromedp.OuterHTML(chromedp.CSS("html"))))
}

// Bob signs in for the first time, with only the keyboard.
func TestBrowserSignsIn(t *testing.T) {
	f, _, c := browse(t, "")
	c.do(t, chromedp.WaitVisible(passwordField))
	c.screenshot(t, "password")
	c.wantText(t, "Sign in", "webapp", "Contoso")
	c.signIn(t, bob, bobPassword)

	c.do(t, chromedp.WaitVisible(consentItem))
	c.screenshot(t, "consent")
	c.wantText(t, bob, "webapp", "api-a", "access_as_user")
	c.do(t, chromedp.KeyEvent(kb.Enter)) // the button Accept has the focus

	got := c.details(t)
	if got.Claims.PreferredUsername != bob || got.Claims.Claims["oid"] != bobID {
		t.Errorf("got claims %+v, want those of Bob", got.Claims)
	}
	if claims := f.verified(t, got.AccessToken, apiAID); claims.Scope != "access_as_user" || claims.ObjectID != bobID {
		t.Errorf("got scp %q and oid %q, want those of Bob", claims.Scope, claims.ObjectID)
	}
}

// api-a requires a second factor. On a phone, no page is wider than the screen.
func TestPagesFitAPhone(t *testing.T) {
	f, party, c := browse(t, "", func(estate *entratest.Config) {
		for i := range estate.Apps {
			estate.Apps[i].RequireMFA = estate.Apps[i].ClientID == apiAID
		}
	})
	c.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile), chromedp.Navigate(party.url+"/login"))
	wantFits := func(page string) {
		t.Helper()
		c.screenshot(t, page+" on a phone")
		if width := eval(t, c, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); width > 360 {
			t.Errorf("page %s: got width %d, want at most 360", page, width)
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
		t.Errorf("got oid %q, want %q", claims.ObjectID, aliceID)
	}
}

// At the second sign-in, Entra remembers the account and the consent.
func TestBrowserRemembers(t *testing.T) {
	_, party, c := browse(t, "")
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
	first := c.details(t)

	c.do(t, chromedp.Navigate(party.url+"/login")) // returns to the web app without showing a page
	second := c.details(t)
	if second.Claims.PreferredUsername != alice || second.AccessToken == first.AccessToken {
		t.Errorf("got user %q, want Alice with a new token", second.Claims.PreferredUsername)
	}

	c.do(t, chromedp.Navigate(party.url+"/login?prompt=select_account"),
		chromedp.WaitVisible(accountTile))
	c.screenshot(t, "pick")
	c.wantText(t, "Pick an account", aliceName, alice, "Use another account")
	c.do(t, chromedp.Click(chromedp.CSS("#other")))
	c.signIn(t, bob, bobPassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
	if third := c.details(t); third.Claims.PreferredUsername != bob {
		t.Errorf("got user %q, want Bob", third.Claims.PreferredUsername)
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
	if hint := eval(t, c, chromedp.Value(usernameField)); hint != alice {
		t.Errorf("got initial username %q, want the login hint", hint)
	}
	c.signIn(t, alice, "not the password")
	c.do(t, chromedp.WaitVisible(errorText))
	c.screenshot(t, "mistyped")
	name, password := eval(t, c, chromedp.Value(usernameField)), eval(t, c, chromedp.Value(passwordField))
	if name != alice || password != "" {
		t.Errorf("got %q and a password of %d characters, want only the name", name, len(password))
	}
	if text := c.text(t); strings.Contains(text, "AADSTS") {
		t.Errorf("got an error number on the page:\n%s", text)
	}
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem))
}

// For a redirect URI that is not registered, Entra shows an error and does not redirect.
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

// With response_mode=form_post, the browser posts the response, and the URL of the app does not contain it.
func TestBrowserPostsResponse(t *testing.T) {
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
		t.Errorf("got form fields %v, want code and state", slices.Sorted(maps.Keys(form)))
	}
	if at := eval(t, c, chromedp.Location()); at != origin+"/callback" {
		t.Errorf("got location %s, want %s", at, origin+"/callback")
	}
}
