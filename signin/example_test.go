package signin_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

// exampleFlow is a flow of the fake Entra's web app.
func exampleFlow(server *entratest.Server) *authcode.Flow {
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   server.App("webapp").ClientID,
		Credential: entra.Secret("webapp-secret"),
		HTTPClient: server.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	flow, err := authcode.New(client, authcode.Config{
		RedirectURL: "https://webapp.contoso.example/callback",
		Scopes:      []string{"api://api-a/access_as_user"},
	})
	if err != nil {
		log.Fatal(err)
	}
	return flow
}

func ExampleNew() {
	server := entratest.NewServer(entratest.Sample()) // stands for Entra
	site, err := signin.New(exampleFlow(server), signin.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		account, ok := signin.AccountFromContext(r.Context())
		fmt.Printf("home: %t %q\n", ok, account.Name)
	})
	mux.Handle("GET /orders", site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, _ := signin.AccountFromContext(r.Context())
		fmt.Println("orders of", account.Name)
	})))
	browse := visitor(server, site.Handler(mux), "alice@contoso.onmicrosoft.com")

	browse("/")
	browse("/orders") // by way of Entra
	browse("/")
	// Output:
	// home: false ""
	// at Entra
	// orders of Alice Adams
	// home: true "Alice Adams"
}

// A page calls an API that the user has not consented to: the user is asked, and comes back.
func ExampleSite_Interact() {
	server := entratest.NewServer(entratest.Sample())
	site, err := signin.New(exampleFlow(server), signin.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const scope = "api://api-b/Orders.Read"
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := site.TokenSource(r, scope).TokenContext(r.Context())
		if site.Interact(w, r, err, scope) {
			fmt.Println("the user must consent")
			return
		}
		if err != nil {
			http.Error(w, "the orders cannot be had", http.StatusBadGateway)
			return
		}
		fmt.Println("calls the API:", token.Valid())
	})
	browse := visitor(server, site.Handler(site.RequireSignIn(orders)), "alice@contoso.onmicrosoft.com")

	browse("/orders")
	// Output:
	// at Entra
	// the user must consent
	// at Entra
	// calls the API: true
}

// A page for those to whom an administrator has assigned an app role of the web app itself.
func ExampleSite_RequireRole() {
	tenant := entratest.Sample()
	const webapp = "aaaaaaaa-0000-4000-8000-0000000000ee"
	for i := range tenant.Apps {
		if app := &tenant.Apps[i]; app.ClientID == webapp {
			app.Roles = []string{"Refunds.Approve"}
		}
	}
	for i := range tenant.Users {
		if user := &tenant.Users[i]; user.Username == "alice@contoso.onmicrosoft.com" {
			user.Roles = map[string][]string{webapp: {"Refunds.Approve"}}
		}
	}
	server := entratest.NewServer(tenant)
	site, err := signin.New(exampleFlow(server), signin.Config{KeepClaims: true})
	if err != nil {
		log.Fatal(err)
	}
	refunds := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Println("refunds") })
	app := site.Handler(site.RequireRole("Refunds.Approve")(refunds))

	visitor(server, app, "alice@contoso.onmicrosoft.com")("/refunds")
	visitor(server, app, "bob@contoso.onmicrosoft.com")("/refunds") // gets 403
	// Output:
	// at Entra
	// refunds
	// at Entra
}

// The answer of an API that wants more than the token shows.
func ExampleChallenge() {
	resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}}
	entra.SetClaimsChallenge(resp.Header, `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`)
	fmt.Println(signin.Challenge(resp))
	// Output: entra: interaction_required: the API requires claims that the token lacks (claims challenge)
}

// visitor is a user with a browser, who signs in when Entra asks.
func visitor(server *entratest.Server, app http.Handler, user string) func(path string) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	return func(path string) {
		target := &url.URL{Scheme: "https", Host: "webapp.contoso.example"}
		for next := path; next != ""; {
			to, err := target.Parse(next)
			if err != nil {
				log.Fatal(err)
			}
			if to.Host != target.Host {
				fmt.Println("at Entra")
				if to, err = server.SignIn(context.Background(), next, user); err != nil {
					log.Fatal(err)
				}
			}
			r := httptest.NewRequest(http.MethodGet, to.String(), nil)
			r.Header.Set("Accept", "text/html")
			for _, c := range jar.Cookies(to) {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			app.ServeHTTP(w, r)
			jar.SetCookies(to, w.Result().Cookies())
			next = w.Header().Get("Location")
		}
	}
}
