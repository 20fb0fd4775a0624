package integration_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra/entratest"
)

// newPerson returns the browser of a user. URLs for which end returns true are not visited.
func (f *fake) newPerson(t *testing.T, username string, end func(*url.URL) bool) *person {
	t.Helper()
	test, ok := f.tests.Load(t)
	if !ok {
		test = f.Test(t) // only once, because each call adds a cleanup to t
		f.tests.Store(t, test)
	}
	b := test.(*entratest.Test).Browser(username, nil)
	b.Transport, b.Stop = f.client.Transport, end
	return &person{b}
}

// away reports whether a URL is not one of the fake.
func (f *fake) away(u *url.URL) bool { return u.Host != f.host }

// person also submits the forms of other pages than those of the fake.
type person struct{ *entratest.Browser }

// follow opens a URL and submits every form. It returns the first URL that must not be visited, or the URL and the
// page that has no form.
func (p *person) follow(t *testing.T, address string) (end *url.URL, page string) {
	t.Helper()
	shown := p.Get(address)
	for range 3 {
		if !strings.Contains(shown.Body, "<form") {
			return shown.URL, shown.Body
		}
		shown = p.Submit(nil)
	}
	t.Fatalf("got more than three forms, the last one on\n%s", shown)
	return nil, ""
}

func find(root *html.Node, is func(*html.Node) bool) *html.Node {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && is(n) {
			return n
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// nowhere reports false for all URLs.
func nowhere(*url.URL) bool { return false }

// aliceAtAPIA returns an access token of Alice for api-a, acquired with x/oauth2.
func (f *fake) aliceAtAPIA(t *testing.T) string {
	t.Helper()
	config := oauth2.Config{
		ClientID:     webappID,
		ClientSecret: webappSecret,
		Endpoint: oauth2.Endpoint{
			AuthURL:  f.authority() + "/oauth2/v2.0/authorize",
			TokenURL: f.authority() + "/oauth2/v2.0/token",
		},
		RedirectURL: "http://localhost/callback",
		Scopes:      []string{"openid", apiAScope},
	}
	verifier := oauth2.GenerateVerifier()
	back, _ := f.newPerson(t, alice, f.away).
		follow(t, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	code := authResponse(t, back, "state").Get("code")
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, f.client)
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

// authResponse returns the parameters of a redirect from the authorization endpoint. An error fails the test.
func authResponse(t *testing.T, back *url.URL, state string) url.Values {
	t.Helper()
	params := back.Query()
	if params.Get("error") != "" {
		t.Fatalf("sign-in failed: %s: %s", params.Get("error"), params.Get("error_description"))
	}
	if params.Get("code") == "" || params.Get("state") != state {
		t.Fatalf("got parameters %v, want a code and state %q", params, state)
	}
	return params
}
