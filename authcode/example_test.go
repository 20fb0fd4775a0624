package authcode_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
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
	flow := exampleFlow(server)
	ctx := context.Background()

	// The app sends the browser to login.URL() and keeps login for it.
	login, err := flow.Begin(ctx, authcode.Request{ReturnTo: "/orders"})
	if err != nil {
		log.Fatal(err)
	}
	callback, err := server.SignIn(ctx, login.URL(), "alice@contoso.onmicrosoft.com") // the user
	if err != nil {
		log.Fatal(err)
	}
	// The browser comes back.
	signIn, err := flow.Exchange(ctx, login, callback.Query())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in:", signIn.Account.Name)
	fmt.Println("goes on to:", signIn.ReturnTo)

	token, err := flow.TokenSource(signIn.Account).TokenContext(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("token:", token.TokenType, token.Valid())
	// Output:
	// signed in: Alice Adams
	// goes on to: /orders
	// token: Bearer true
}

// A handler that calls an API for the user, and sends the user to sign in where only that
// helps: for consent, for a second factor, or because the session was revoked.
func ExampleFlow_TokenSource() {
	server := entratest.NewServer(entratest.Sample())
	flow := exampleFlow(server)

	orders := func(w http.ResponseWriter, r *http.Request, account authcode.Account) {
		_, err := flow.TokenSource(account, "api://api-b/Orders.Read").TokenContext(r.Context())
		var e *entra.Error
		if errors.As(err, &e) && e.InteractionRequired() {
			login, err := flow.Begin(r.Context(), authcode.Request{
				LoginHint: account.Username, Claims: e.Claims, Scopes: []string{"api://api-b/Orders.Read"}, ReturnTo: "/orders",
			})
			if err == nil {
				// keep login for this browser, then
				http.Redirect(w, r, login.URL(), http.StatusSeeOther)
				fmt.Println("sent to sign in:", e.Code)
			}
		}
	}
	r, _ := http.NewRequest(http.MethodGet, "/orders", nil)
	orders(discard{}, r, authcode.Account{
		HomeAccountID: "aaaaaaaa-1111-4000-8000-00000000a11c." + entratest.SampleTenant,
		TenantID:      entratest.SampleTenant, ObjectID: "aaaaaaaa-1111-4000-8000-00000000a11c",
	})
	// Output: sent to sign in: login_required
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
