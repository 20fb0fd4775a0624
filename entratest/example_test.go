package entratest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// exchange posts a form to the token endpoint.
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

// claimsOf parses a token without verifying it.
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

// A daemon acquires an app-only token. Client serves Microsoft's own hosts, so only
// the HTTP client of the code under test is different from production.
func ExampleServer_Client() {
	s := entratest.NewServer(entratest.Sample())
	daemon := s.App("daemon")

	_, body := exchange(s.Client(), url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {daemon.ClientID},
		"client_secret": {daemon.Secrets[0]},
		"scope":         {"api://api-b/.default"},
	})
	c := claimsOf(body["access_token"])
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

	_, body := exchange(s.Client(), url.Values{
		"grant_type":    {"authorization_code"},
		"client_id":     {webapp.ClientID},
		"client_secret": {webapp.Secrets[0]},
		"code":          {callback.Query().Get("code")},
		"redirect_uri":  {webapp.RedirectURIs[0]},
	})
	c := claimsOf(body["access_token"])
	fmt.Println(c["preferred_username"], c["scp"])
	// Output:
	// localhost/callback 12345
	// alice@contoso.onmicrosoft.com access_as_user
}

// The first two token requests are throttled.
func ExampleServer_Inject() {
	s := entratest.NewServer(entratest.Sample())
	s.Inject(entratest.Fault{Endpoint: "token", Times: 2, Status: 429, RetryAfter: "30"})

	daemon := s.App("daemon")
	for range 3 {
		status, body := exchange(s.Client(), url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {daemon.ClientID},
			"client_secret": {daemon.Secrets[0]},
			"scope":         {"api://api-b/.default"},
		})
		fmt.Println(status, body["error"])
	}
	fmt.Println(s.TokenRequests(), "requests")
	// Output:
	// 429 temporarily_unavailable
	// 429 temporarily_unavailable
	// 200 <nil>
	// 3 requests
}

// A key rollover announces a new key, signs with it, and retires the old one.
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

// An API rejects a token for another audience.
func ExampleServer_Mint() {
	s := entratest.NewServer(entratest.Sample())
	token := s.Mint(entratest.MintOptions{
		Resource: "api-a",
		Client:   "webapp",
		User:     "alice@contoso.onmicrosoft.com",
		Claims:   map[string]any{"aud": "api://other"},
	})
	c := claimsOf(token)
	fmt.Println(c["aud"], c["scp"])
	// Output:
	// api://other access_as_user
}

// Other processes connect to the server over TLS.
func ExampleServer_StartTLS() {
	s := entratest.NewServer(entratest.Sample())
	authority, ca, stop := s.StartTLS()
	defer stop()

	fmt.Println(strings.HasPrefix(authority, "https://127.0.0.1:"), ca != nil)
	// Output:
	// true true
}

// The journal has the requests without secrets.
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

// A test of a daemon. Only its HTTP client differs from production. The test counts
// its requests.
func Example_daemon() {
	s := entratest.NewServer(entratest.Sample())
	daemon := s.App("daemon")

	client, err := entra.New(entra.Config{
		TenantID:   daemon.TenantID,
		ClientID:   daemon.ClientID,
		Credential: entra.Secret(daemon.Secrets[0]),
		HTTPClient: s.Client(),
	})
	if err != nil {
		panic(err)
	}
	source := clientcreds.TokenSource(client, "api://api-b/.default")
	for range 100 {
		if _, err := source.Token(); err != nil {
			panic(err)
		}
	}
	fmt.Println(s.TokenRequests(), "request")
	// Output:
	// 1 request
}

// A test of an API. It fetches the keys from the server and receives a valid and an
// invalid token.
func Example_api() {
	s := entratest.NewServer(entratest.Sample())
	verifier, err := verify.New(verify.Config{
		Audiences:  []string{s.App("api-a").ClientID},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: s.Client(),
	})
	if err != nil {
		panic(err)
	}
	api := verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	}))

	alice := entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"}
	forged := alice
	forged.UnpublishedKey = true
	for _, options := range []entratest.MintOptions{alice, forged} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+s.Mint(options))
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 401
}

// Another process trusts the CA that it reads from a file. Error handling is omitted for brevity.
func ExampleLocalCertificate() {
	s := entratest.NewServer(entratest.Sample())
	cert, ca := entratest.LocalCertificate()
	authority := httptest.NewUnstartedServer(s.Console(context.Background()))
	authority.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	authority.StartTLS()
	defer authority.Close()

	caFile, _ := os.CreateTemp("", "ca-*.pem")
	defer os.Remove(caFile.Name())
	_ = pem.Encode(caFile, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	_ = caFile.Close()

	// The other process is started with SSL_CERT_FILE=<caFile> and the address of the authority. It reads the file:
	text, _ := os.ReadFile(caFile.Name())
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(authority.URL + "/" + entratest.SampleTenant + "/v2.0/.well-known/openid-configuration")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}
