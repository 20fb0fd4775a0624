package main

import (
	"html"
	"net/http"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

const aliceID = "aaaaaaaa-1111-4000-8000-00000000a11c"

// A user who is not in ENTRA_USERS is rejected, and the page shows the reason.
func TestOnlyListedUsersAreAdmitted(t *testing.T) {
	t.Setenv("ENTRA_USERS", "00000000-0000-4000-8000-000000000001, AAAAAAAA-1111-4000-8000-00000000A11C")
	company, err := contoso.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(company.Stop)
	const origin = "http://localhost:8080"
	config, err := company.WebApp(origin)
	if err != nil {
		t.Fatal(err)
	}
	config.SignIn = signInConfig()
	app, err := site.New(config)
	if err != nil {
		t.Fatal(err)
	}
	signIn := func(user string) *entratest.Page {
		return company.Entra.Test(t).Browser(user, entratest.Hosts{"localhost:8080": app}).Get(origin + "/login")
	}

	if page := signIn(contoso.Alice); page.Status != http.StatusOK || page.URL.Path != "/" {
		t.Errorf("Alice: got %s, want the home page", page)
	}
	page := signIn("bob@contoso.onmicrosoft.com")
	if page.Status != http.StatusForbidden || page.URL.Path != "/callback" {
		t.Errorf("Bob: got %s, want status 403", page)
	}
	for pattern, want := range map[string]string{
		`<h1>(.*)</h1>`:               "You cannot use this app",
		`<p role="alert".*?>(.*)</p>`: "You do not have an account in this app yet. Please contact your administrator.",
		`<a class="button" href="(.*?)">Sign in with another account</a>`: "/login?prompt=select_account&return_to=%2F",
	} {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(page.Body); m == nil || html.UnescapeString(m[1]) != want {
			t.Errorf("Bob: got %q on the page, want %q", m, want)
		}
	}
}

// The first sign-in adds a user to the record. Later ones update only the name.
func TestFirstSignInAddsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Now()
		var u users
		for _, name := range []string{"Alice Adams", "Alice Brown"} {
			in := &authcode.SignIn{Account: authcode.Account{TenantID: entratest.SampleTenant, ObjectID: aliceID, Name: name}}
			if err := u.signIn(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		got, want := u.known[userKey{entratest.SampleTenant, aliceID}], user{"Alice Brown", t0}
		if len(u.known) != 1 || got != want {
			t.Errorf("got %d users and %v, want 1 and %v", len(u.known), got, want)
		}
	})
}
