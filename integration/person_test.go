package integration_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/oauth2"
)

// person reads pages and fills in forms, like a user of a browser without scripts. It recognizes fields by their type,
// not by their name.
type person struct {
	username, password string

	client *http.Client
}

// newPerson returns a person with a browser without cookies. URLs for which end returns true are not visited.
func (f *fake) newPerson(t *testing.T, username, password string, end func(*url.URL) bool) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{username: username, password: password}
	p.client = &http.Client{
		Transport: f.client.Transport,
		Jar:       jar,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if end(r.URL) || len(via) > 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	return p
}

// away reports whether a URL is not one of the fake.
func (f *fake) away(u *url.URL) bool { return u.Host != f.host }

// follow opens a URL and fills in every form. It returns the first URL that must not be visited, or the URL and the
// page that has no form.
func (p *person) follow(t *testing.T, address string) (end *url.URL, page string) {
	t.Helper()
	request := must[*http.Request](t)(http.NewRequest(http.MethodGet, address, nil))
	for range 6 {
		request.Header.Set("Accept", "text/html")
		response := must[*http.Response](t)(p.client.Do(request.WithContext(t.Context())))
		body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if to, err := response.Location(); err == nil {
			return to, ""
		}
		page = string(body)
		root := must[*html.Node](t)(html.Parse(strings.NewReader(page)))
		form := find(root, func(n *html.Node) bool { return n.Data == "form" })
		if form == nil {
			return response.Request.URL, page
		}
		request = p.fill(t, form, response.Request.URL)
	}
	t.Fatalf("got more than six forms, the last one on\n%s", page)
	return nil, ""
}

// fill fills in a form and presses its primary button.
func (p *person) fill(t *testing.T, form *html.Node, at *url.URL) *http.Request {
	t.Helper()
	values := url.Values{}
	for n := range form.Descendants() {
		switch name := attribute(n, "name"); {
		case n.Type != html.ElementNode:
		case n.Data == "input" && attribute(n, "type") == "password":
			values.Set(name, p.password)
		case n.Data == "input" && (attribute(n, "type") == "text" || attribute(n, "type") == "email"):
			values.Set(name, p.username)
		case n.Data == "input" && attribute(n, "type") == "hidden":
			values.Set(name, attribute(n, "value"))
		case n.Data == "button" && attribute(n, "class") == "primary" && name != "":
			values.Set(name, attribute(n, "value"))
		}
	}
	action := must[*url.URL](t)(at.Parse(attribute(form, "action")))
	if !strings.EqualFold(attribute(form, "method"), http.MethodPost) {
		action.RawQuery = values.Encode()
		return must[*http.Request](t)(http.NewRequest(http.MethodGet, action.String(), nil))
	}
	request := must[*http.Request](t)(http.NewRequest(http.MethodPost, action.String(),
		strings.NewReader(values.Encode())))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", at.Scheme+"://"+at.Host)
	return request
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
	back, _ := f.newPerson(t, alice, alicePassword, f.away).
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
