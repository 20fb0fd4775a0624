package entratest_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
	"github.com/entratoken/entra/verify"
)

// A test of a web app. Alice opens a page, signs in at Entra, consents and returns to the page. In a test,
// t is the *testing.T. The web app is that of package signin.
func Example_webApp() {
	var t entratest.TB
	s := entratest.NewTest(t, entratest.Sample())
	webapp := s.App("webapp")

	client, err := entra.New(entra.Config{TenantID: webapp.TenantID, ClientID: webapp.ClientID,
		Credential: entra.Secret(webapp.Secrets[0]), HTTPClient: s.Client()})
	if err != nil {
		panic(err)
	}
	flow, err := authcode.New(client, authcode.Config{RedirectURL: "https://webapp.contoso.example/callback"})
	if err != nil {
		panic(err)
	}
	site, err := signin.New(flow, signin.Config{})
	if err != nil {
		panic(err)
	}
	app := site.Handler(site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, _ := signin.AccountFromContext(r.Context())
		fmt.Fprint(w, "orders of ", account.Name)
	})))

	browser := s.Browser("alice@contoso.onmicrosoft.com", entratest.Hosts{"webapp.contoso.example": app})
	page := browser.Get("https://webapp.contoso.example/orders")
	fmt.Println(page.URL, page.Status, page.Body)
	// Output:
	// https://webapp.contoso.example/orders 200 orders of Alice Adams
}

// A test opens pages and submits forms.
func ExampleTest_Browser() {
	s := entratest.NewTest(nil, entratest.Sample())
	browser := s.Browser("alice@contoso.onmicrosoft.com", nil)
	browser.DeclineConsent = true

	page := browser.Get("https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize?response_type=code" +
		"&client_id=" + s.App("webapp").ClientID + "&redirect_uri=http://localhost/callback&scope=openid")
	fmt.Println(page.Status, page.URL.Path, page.URL.Query().Get("error"))
	// Output:
	// 0 /callback access_denied
}

// Names that do not exist fail the test, and the text lists those that do.
func ExampleNewTest() {
	s := entratest.NewTest(nil, entratest.Sample())
	fmt.Println(s.Tenant("Contoso").Domain, s.User("alice@contoso.onmicrosoft.com").Name)
	defer func() { fmt.Println(recover()) }()
	s.Tenant("Tailspin")
	// Output:
	// contoso.onmicrosoft.com Alice Adams
	// entratest: unknown tenant "Tailspin". The tenants are "Contoso", "Fabrikam"
}

// A daemon authenticates with a certificate instead of its secret.
func ExampleTest_Certificate() {
	s := entratest.NewTest(nil, entratest.Sample())
	cert := s.Certificate("daemon")
	client, err := entra.New(entra.Config{
		TenantID:   s.App("daemon").TenantID,
		ClientID:   s.App("daemon").ClientID,
		Credential: entra.Certificate([]*x509.Certificate{cert.Leaf}, cert.PrivateKey, nil),
		HTTPClient: s.Client(),
	})
	if err != nil {
		panic(err)
	}
	token, err := clientcreds.TokenSource(client, "api://api-b/.default").Token()
	fmt.Println(token.Valid(), err)
	// Output:
	// true <nil>
}

// A workload authenticates with the token of its Kubernetes service account. With
// credentials.WorkloadIdentity, write the token to the file in AZURE_FEDERATED_TOKEN_FILE.
func ExampleTest_ServiceAccountToken() {
	s := entratest.NewTest(nil, entratest.Sample())
	status, body := exchange(s.Client(), map[string][]string{
		"grant_type":            {"client_credentials"},
		"client_id":             {s.App("daemon").ClientID},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {s.ServiceAccountToken("daemon", "system:serviceaccount:shop:orders")},
		"scope":                 {"api://api-b/.default"},
	})
	fmt.Println(status, body["token_type"])
	// Output:
	// 200 Bearer
}

// A client calls an API that has no listener. The API verifies the token with the keys of the fake.
func ExampleHosts() {
	s := entratest.NewTest(nil, entratest.Sample())
	verifier, err := verify.New(verify.Config{
		Audiences:  []string{s.App("api-b").ClientID},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: s.Client(),
	})
	if err != nil {
		panic(err)
	}
	orders := verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "orders")
	}))
	client := &http.Client{Transport: entratest.Hosts{"orders.contoso.example": orders, "": s}}

	r, err := http.NewRequest(http.MethodGet, "https://orders.contoso.example/", strings.NewReader(""))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon"}))
	resp, err := client.Do(r)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body), err)
	// Output:
	// 200 orders <nil>
}
