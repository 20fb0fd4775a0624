package main

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
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
	// signIn returns the status, the location and the page of the callback.
	signIn := func(user string) (status int, location, page string) {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		get := func(address string) *http.Response {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			for _, c := range jar.Cookies(req.URL) {
				req.AddCookie(c)
			}
			rec := httptest.NewRecorder()
			app.ServeHTTP(rec, req)
			jar.SetCookies(req.URL, rec.Result().Cookies())
			return rec.Result()
		}
		callback, err := company.Entra.SignIn(t.Context(), get(origin+"/login").Header.Get("Location"), user)
		if err != nil {
			t.Fatal(err)
		}
		resp := get(callback.String())
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Location"), string(body)
	}

	if status, location, _ := signIn(contoso.Alice); status != http.StatusSeeOther || location != "/" {
		t.Errorf("Alice: got status %d to %q, want 303 to \"/\"", status, location)
	}
	status, _, page := signIn("bob@contoso.onmicrosoft.com")
	if status != http.StatusForbidden {
		t.Errorf("Bob: got status %d, want 403", status)
	}
	for pattern, want := range map[string]string{
		`<h1>(.*)</h1>`:               "You cannot use this app",
		`<p role="alert".*?>(.*)</p>`: "You do not have an account in this app yet. Please contact your administrator.",
		`<a class="button" href="(.*?)">Sign in with another account</a>`: "/login?prompt=select_account&return_to=%2F",
	} {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(page); m == nil || html.UnescapeString(m[1]) != want {
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
