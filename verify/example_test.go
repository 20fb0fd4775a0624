package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// A fake Entra issues the tokens of the examples.
var exampleEntra = entratest.NewServer(entratest.Sample())

func ExampleNew() {
	v, err := verify.New(verify.Config{
		Audiences:  []string{"aaaaaaaa-0000-4000-8000-00000000000b", "api://api-b"}, // this API's client ID and App ID URI
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: exampleEntra.Client(), // leave it out in production
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	raw := exampleEntra.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon"})
	token, err := v.Verify(context.Background(), raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	claims := token.Claims()
	fmt.Println("app-only:", claims.AppOnly())
	fmt.Println("roles:", claims.Roles)

	raw = exampleEntra.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon"})
	_, err = v.Verify(context.Background(), raw)
	fmt.Println(errors.Is(err, &verify.Error{Reason: verify.ReasonBadAudience}))
	fmt.Println(err)
	// Output:
	// app-only: true
	// roles: Orders.Read.All
	// true
	// verify: the token is for another audience (aud); request a token with a scope of this API; if it is for this API, add its aud to Config.Audiences (a v1.0 token has the App ID URI), or set requestedAccessTokenVersion to 2 in the app manifest
}

func ExampleVerifier_Middleware() {
	v, err := verify.New(verify.Config{
		Audiences:  []string{"aaaaaaaa-0000-4000-8000-00000000000b"},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: exampleEntra.Client(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := verify.ClaimsFromContext(r.Context())
		if !ok { // there is no Middleware: nobody is known
			http.Error(w, "no caller", http.StatusInternalServerError)
			return
		}
		if user, ok := claims.User(); ok {
			fmt.Fprint(w, "the orders of ", user.ObjectID)
			return
		}
		fmt.Fprint(w, "all orders")
	})
	h := v.Middleware(verify.RequireScopeOrRole("Orders.Read", "Orders.Read.All")(orders))

	for _, o := range []entratest.MintOptions{
		{Resource: "api-b", Client: "api-a", User: "alice@contoso.onmicrosoft.com"},
		{Resource: "api-b", Client: "daemon"},
		{Resource: "api-b", Client: "api-a", User: "alice@contoso.onmicrosoft.com", Scopes: []string{"Orders.Write"}},
	} {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+exampleEntra.Mint(o))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 the orders of aaaaaaaa-1111-4000-8000-00000000a11c
	// 200 all orders
	// 403 the client must act for a user and have one of the scopes: Orders.Read
}
