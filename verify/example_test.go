package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// A fake Entra issues the tokens of the examples. The API is api-b; its clients are an app that acts for
// Alice and a daemon that acts for itself.
var (
	exampleEntra = entratest.NewServer(entratest.Sample())
	exampleUser  = entratest.MintOptions{Resource: "api-b", Client: "api-a", User: "alice@contoso.onmicrosoft.com"}
	exampleApp   = entratest.MintOptions{Resource: "api-b", Client: "daemon"}
)

// exampleVerifier returns the Verifier of api-b.
func exampleVerifier() *verify.Verifier {
	v, err := verify.New(verify.Config{
		Audiences:  []string{"aaaaaaaa-0000-4000-8000-00000000000b"},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: exampleEntra.Client(),
	})
	if err != nil {
		panic(err)
	}
	return v
}

// orders is the handler of the API.
var orders = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	claims, ok := verify.ClaimsFromContext(r.Context())
	if !ok { // the handler is not behind Middleware
		http.Error(w, "no caller", http.StatusInternalServerError)
		return
	}
	if user, ok := claims.User(); ok {
		fmt.Fprint(w, "the orders of user ", user.ObjectID)
		return
	}
	fmt.Fprint(w, "all orders")
})

// Only users in a group may read orders. Users in too many groups for a token are looked up in Microsoft Graph with a
// token of the API.
func ExampleRequireGroup() {
	api, err := entra.New(entra.Config{
		TenantID: entratest.SampleTenant, ClientID: "aaaaaaaa-0000-4000-8000-00000000000b",
		Credential: entra.Secret("api-b-secret"), HTTPClient: exampleEntra.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	v, err := verify.New(verify.Config{
		Audiences:  []string{"aaaaaaaa-0000-4000-8000-00000000000b"},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: exampleEntra.Client(),
		GraphTokens: func(tenantID string) (*entra.TokenSource, error) {
			c, err := api.WithTenant(tenantID)
			if err != nil {
				return nil, err
			}
			return clientcreds.TokenSource(c, "https://graph.microsoft.com/.default"), nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	rules := verify.Require(verify.Scope("Orders.Read"), verify.Group("33333333-3333-4333-8333-333333333333"))
	handler := v.Middleware(rules(orders))
	call(handler, exampleEntra.Mint(exampleUser))
	member := exampleUser
	member.Claims = map[string]any{"groups": []string{"33333333-3333-4333-8333-333333333333"}}
	call(handler, exampleEntra.Mint(member))
	// Output:
	// 403 the client must act for a user in one of the required groups
	// 200 the orders of user aaaaaaaa-1111-4000-8000-00000000a11c
}

// call prints the response to a request with a token.
func call(h http.Handler, token string) {
	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
}

func ExampleNew() {
	v, err := verify.New(verify.Config{
		Audiences:  []string{"aaaaaaaa-0000-4000-8000-00000000000b", "api://api-b"}, // client ID and App ID URI of this API
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: exampleEntra.Client(), // only in tests
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(v.AllowsTenant(entratest.SampleTenant))
	// Output: true
}

func ExampleVerifier_Verify() {
	v := exampleVerifier()
	token, err := v.Verify(context.Background(), exampleEntra.Mint(exampleApp))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("app-only:", token.Claims().AppOnly(), token.Claims().Roles)

	forAnotherAPI := exampleEntra.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon"})
	_, err = v.Verify(context.Background(), forAnotherAPI)
	fmt.Println("another API:", errors.Is(err, &verify.Error{Reason: verify.ReasonBadAudience}))
	// Output:
	// app-only: true Orders.Read.All
	// another API: true
}

func ExampleVerifier_Middleware() {
	v := exampleVerifier()
	mux := http.NewServeMux()
	mux.Handle("GET /orders", v.Middleware(verify.RequireScopeOrRole("Orders.Read", "Orders.Read.All")(orders)))

	call(mux, exampleEntra.Mint(exampleUser))
	call(mux, exampleEntra.Mint(exampleApp))
	call(mux, "not-a-token")
	// Output:
	// 200 the orders of user aaaaaaaa-1111-4000-8000-00000000a11c
	// 200 all orders
	// 401 the token is not a signed JWT; send the token as Entra issued it
}

func ExampleVerifier_IDToken() {
	v, err := verify.New(verify.Config{
		Audiences:  []string{exampleEntra.App("webapp").ClientID}, // the client that signs the user in
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: exampleEntra.Client(), // only in tests
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The nonce was made for this sign-in and sent in the authorization request.
	const nonce = "n-0S6_WzA2Mj"
	raw := exampleEntra.Mint(entratest.MintOptions{Resource: "webapp", IDToken: true, User: exampleUser.User,
		Nonce: nonce})

	claims, err := v.IDToken(context.Background(), raw, nonce)
	if err != nil {
		fmt.Println(err)
		return
	}
	user, _ := claims.User()
	fmt.Println(user.ObjectID, "signed in as", claims.PreferredUsername)

	_, err = v.IDToken(context.Background(), raw, "of another sign-in")
	fmt.Println("another nonce:", errors.Is(err, &verify.Error{Reason: verify.ReasonBadNonce}))
	// Output:
	// aaaaaaaa-1111-4000-8000-00000000a11c signed in as alice@contoso.onmicrosoft.com
	// another nonce: true
}

func ExampleClaims_User() {
	v := exampleVerifier()
	carts := make(map[verify.User]string) // a User is a map key

	for _, options := range []entratest.MintOptions{exampleUser, exampleApp} {
		token, err := v.Verify(context.Background(), exampleEntra.Mint(options))
		if err != nil {
			fmt.Println(err)
			return
		}
		user, ok := token.Claims().User()
		if !ok {
			fmt.Println("the token is not for a user")
			continue
		}
		carts[user] = "ladder"
		fmt.Println(user.TenantID, user.ObjectID, carts[user])
	}
	// Output:
	// 11111111-1111-4111-8111-111111111111 aaaaaaaa-1111-4000-8000-00000000a11c ladder
	// the token is not for a user
}

func ExampleNewContext() {
	v := exampleVerifier()
	// A gRPC interceptor, for example, gets the token from the metadata of the call.
	intercept := func(ctx context.Context, raw string) (context.Context, error) {
		token, err := v.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		return verify.NewContext(ctx, token), nil
	}
	ctx, err := intercept(context.Background(), exampleEntra.Mint(exampleUser))
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, ok := verify.ClaimsFromContext(ctx)
	fmt.Println(ok, claims.Scopes.Has("Orders.Read"))
	// Output: true true
}

func ExampleRequireScope() {
	h := exampleVerifier().Middleware(verify.RequireScope("Orders.Read", "Orders.Write")(orders))
	call(h, exampleEntra.Mint(exampleUser))
	call(h, exampleEntra.Mint(exampleApp)) // an app that acts for itself has no scopes
	// Output:
	// 200 the orders of user aaaaaaaa-1111-4000-8000-00000000a11c
	// 403 the client must act for a user and have one of the scopes: Orders.Read Orders.Write
}

func ExampleRequireRole() {
	h := exampleVerifier().Middleware(verify.RequireRole("Orders.Read.All")(orders))
	call(h, exampleEntra.Mint(exampleApp))
	call(h, exampleEntra.Mint(exampleUser))
	// Output:
	// 200 all orders
	// 403 the app must act for itself and have one of the roles: Orders.Read.All
}

func ExampleRequireUserRole() {
	approve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "approved") })
	// The client needs the scope, and its user needs the role.
	h := exampleVerifier().Middleware(verify.RequireScope("Orders.Read")(verify.RequireUserRole("Approver")(approve)))
	call(h, exampleEntra.Mint(exampleUser))

	approver := exampleUser
	approver.Roles = []string{"Approver"}
	call(h, exampleEntra.Mint(approver))
	// Output:
	// 403 the client must act for a user who has one of the roles: Approver
	// 200 approved
}

func ExampleRequireScopeOrRole() {
	h := exampleVerifier().Middleware(verify.RequireScopeOrRole("Orders.Read", "Orders.Read.All")(orders))
	call(h, exampleEntra.Mint(exampleUser))
	call(h, exampleEntra.Mint(exampleApp))

	writer := exampleUser
	writer.Scopes = []string{"Orders.Write"}
	call(h, exampleEntra.Mint(writer))
	// Output:
	// 200 the orders of user aaaaaaaa-1111-4000-8000-00000000a11c
	// 200 all orders
	// 403 the client must act for a user and have one of the scopes: Orders.Read
}

func ExampleRequireTenant() {
	v, err := verify.New(verify.Config{
		Audiences:  []string{"aaaaaaaa-0000-4000-8000-00000000000b"},
		Tenants:    []string{entratest.SampleTenant, entratest.SampleOtherTenant},
		HTTPClient: exampleEntra.Client(), // only in tests
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Both tenants may use the API, and one of them this resource.
	h := v.Middleware(verify.RequireTenant(entratest.SampleTenant)(orders))
	call(h, exampleEntra.Mint(exampleApp))

	other := exampleApp
	other.Tenant = entratest.SampleOtherTenant
	call(h, exampleEntra.Mint(other))
	// Output:
	// 200 all orders
	// 403 the tenant of the token may not use this resource
}

func ExampleRequireAuthContext() {
	h := exampleVerifier().Middleware(verify.RequireAuthContext("c1")(orders))
	call(h, exampleEntra.Mint(exampleUser))

	// The client sends the claims of the WWW-Authenticate header to Entra, and the user signs in with a second factor.
	steppedUp := exampleUser
	steppedUp.Claims = map[string]any{"acrs": []string{"c1"}}
	call(h, exampleEntra.Mint(steppedUp))
	// Output:
	// 401 a stronger sign-in is required; request a token with the given claims
	// 200 the orders of user aaaaaaaa-1111-4000-8000-00000000a11c
}

// An API serves employees of one tenant and the customers of an external tenant.
func ExampleAny() {
	employees, err := verify.New(verify.Config{
		Audiences: []string{"22222222-2222-4222-8222-222222222222"},
		Tenants:   []string{"11111111-1111-4111-8111-111111111111"},
	})
	if err != nil {
		log.Fatal(err)
	}
	customers, err := verify.New(verify.Config{
		Audiences: []string{"44444444-4444-4444-8444-444444444444"},
		Tenants:   []string{"33333333-3333-4333-8333-333333333333"},
		Cloud:     "contoso.ciamlogin.com",
	})
	if err != nil {
		log.Fatal(err)
	}
	orders := http.NotFoundHandler() // of your API
	v := verify.Any(employees, customers)
	http.Handle("/orders", v.Middleware(verify.RequireScope("Orders.Read")(orders)))
	// Output:
}

// Outside net/http, for example in a gRPC interceptor, a program calls the steps of Middleware itself.
func ExampleRule() {
	v, err := verify.New(verify.Config{
		Audiences: []string{"22222222-2222-4222-8222-222222222222"},
		Tenants:   []string{"11111111-1111-4111-8111-111111111111"},
	})
	if err != nil {
		log.Fatal(err)
	}
	canRead := verify.Scope("Orders.Read") // create it once
	authorize := func(ctx context.Context, authorization []string) (context.Context, error) {
		raw, err := verify.BearerToken(authorization)
		if err != nil {
			return nil, err
		}
		token, err := v.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		return verify.NewContext(ctx, token), canRead(token)
	}
	_, err = authorize(context.Background(), nil)
	fmt.Println(err)
	// Output: verify: the request does not have a bearer token; send one in the Authorization header
}
