package entratest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/entratoken/entra/entratest"
)

// exchange posts a form to the token endpoint, as any OAuth client does.
func exchange(c *http.Client, form url.Values) (status int, body map[string]any) {
	resp, err := c.PostForm("https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token", form)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		panic(err)
	}
	return resp.StatusCode, body
}

// claimsOf reads a token without verifying it.
func claimsOf(token any) map[string]any {
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token.(string), ".")[1])
	if err != nil {
		panic(err)
	}
	var c map[string]any
	if err := json.Unmarshal(data, &c); err != nil {
		panic(err)
	}
	return c
}

// A daemon gets an app-only token. Client answers for Microsoft's own hosts, so
// the code under test needs no other configuration than its HTTP client.
func ExampleServer_Client() {
	s := entratest.NewServer(entratest.Sample())
	daemon := s.App("daemon")

	_, answer := exchange(s.Client(), url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {daemon.ClientID},
		"client_secret": {daemon.Secrets[0]},
		"scope":         {"api://api-b/.default"},
	})
	c := claimsOf(answer["access_token"])
	fmt.Println(c["idtyp"], c["roles"], c["aud"] == s.App("api-b").ClientID)
	// Output:
	// app [Orders.Read.All] true
}

// A web app signs a user in, without a browser.
func ExampleServer_SignIn() {
	s := entratest.NewServer(entratest.Sample())
	webapp := s.App("webapp")
	query := url.Values{
		"client_id":     {webapp.ClientID},
		"response_type": {"code"},
		"redirect_uri":  {webapp.RedirectURIs[0]},
		"scope":         {"openid profile api://api-a/access_as_user"},
		"state":         {"12345"},
	}
	authorizeURL := "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/authorize?" + query.Encode()

	callback, err := s.SignIn(context.Background(), authorizeURL, "alice@contoso.onmicrosoft.com")
	if err != nil {
		panic(err)
	}
	fmt.Println(callback.Host+callback.Path, callback.Query().Get("state"))

	_, answer := exchange(s.Client(), url.Values{
		"grant_type":    {"authorization_code"},
		"client_id":     {webapp.ClientID},
		"client_secret": {webapp.Secrets[0]},
		"code":          {callback.Query().Get("code")},
		"redirect_uri":  {webapp.RedirectURIs[0]},
	})
	c := claimsOf(answer["access_token"])
	fmt.Println(c["preferred_username"], c["scp"])
	// Output:
	// localhost/callback 12345
	// alice@contoso.onmicrosoft.com access_as_user
}

// An outage: the first two requests for a token are throttled.
func ExampleServer_Inject() {
	s := entratest.NewServer(entratest.Sample())
	s.Inject(entratest.Fault{Endpoint: "token", Times: 2, Status: 429, RetryAfter: "30"})

	daemon := s.App("daemon")
	for range 3 {
		status, answer := exchange(s.Client(), url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {daemon.ClientID},
			"client_secret": {daemon.Secrets[0]},
			"scope":         {"api://api-b/.default"},
		})
		fmt.Println(status, answer["error"])
	}
	fmt.Println(s.TokenRequests(), "requests")
	// Output:
	// 429 temporarily_unavailable
	// 429 temporarily_unavailable
	// 200 <nil>
	// 3 requests
}

// A key rollover: the new key is announced, used, and the old one withdrawn.
func ExampleServer_RotateKeys() {
	s := entratest.NewServer(entratest.Sample())
	published := func() int {
		resp, err := s.Client().Get("https://login.microsoftonline.com/common/discovery/v2.0/keys")
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			panic(err)
		}
		return strings.Count(string(data), `"kid"`)
	}
	fmt.Println(published())
	announced := s.AnnounceKey()
	fmt.Println(published())
	fmt.Println(s.RotateKeys() == announced, published())
	s.RetireKeys()
	fmt.Println(published())
	// Output:
	// 1
	// 2
	// true 2
	// 1
}

// An API is tested with tokens that nobody asked for: here one for another
// audience.
func ExampleServer_Mint() {
	s := entratest.NewServer(entratest.Sample())
	token := s.Mint(entratest.MintOptions{
		Resource: "api-a",
		Client:   "webapp",
		User:     "alice@contoso.onmicrosoft.com",
		Claims:   map[string]any{"aud": "api://somebody-else"},
	})
	c := claimsOf(token)
	fmt.Println(c["aud"], c["scp"])
	// Output:
	// api://somebody-else access_as_user
}

// Other processes reach the estate over TLS.
func ExampleServer_StartTLS() {
	s := entratest.NewServer(entratest.Sample())
	authority, ca, stop := s.StartTLS()
	defer stop()

	fmt.Println(strings.HasPrefix(authority, "https://127.0.0.1:"), ca != nil)
	// Output:
	// true true
}

// The journal shows what was asked, without secrets.
func ExampleServer_Requests() {
	s := entratest.NewServer(entratest.Sample())
	daemon := s.App("daemon")
	exchange(s.Client(), url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {daemon.ClientID},
		"client_secret": {"a typo"},
		"scope":         {"api://api-b/.default"},
	})
	r := s.Requests()[0]
	fmt.Println(r.Endpoint, r.GrantType, r.Form.Get("client_secret"))
	fmt.Println(r.Status, r.Error, r.AADSTS)
	// Output:
	// token client_credentials REDACTED
	// 401 invalid_client 7000215
}
