package authcode_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
)

// exampleFlow returns a flow for the web app of a fake Entra.
func exampleFlow(server *entratest.Server) *authcode.Flow {
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   server.App("webapp").ClientID,
		Credential: entra.Secret("webapp-secret"),
		HTTPClient: server.Client(), // the fake Entra; leave out HTTPClient in production
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

// A whole sign-in: begin the login, let the user sign in, exchange the code and use a token.
func ExampleNew() {
	server := entratest.NewServer(entratest.Sample())
	flow := exampleFlow(server)
	ctx := context.Background()

	// The app stores login and redirects the browser to login.URL().
	login, err := flow.Begin(ctx, authcode.Request{ReturnTo: "/orders"})
	if err != nil {
		log.Fatal(err)
	}
	// The user signs in at Entra, which redirects the browser back to the app.
	callback, err := server.SignIn(ctx, login.URL(), "alice@contoso.onmicrosoft.com")
	if err != nil {
		log.Fatal(err)
	}
	signIn, err := flow.Exchange(ctx, login, callback.Query())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", signIn.Account.Name)
	fmt.Println("return to", signIn.ReturnTo)

	token, err := flow.TokenSource(signIn.Account).TokenContext(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.TokenType, token.Valid())
	// Output:
	// signed in as Alice Adams
	// return to /orders
	// Bearer true
}

// A login handler stores the login and redirects the browser to Entra. Here a map stands for
// the server-side session of the browser.
func ExampleFlow_Begin() {
	flow := exampleFlow(entratest.NewServer(entratest.Sample()))
	session := map[string][]byte{}

	login := func(w http.ResponseWriter, r *http.Request) {
		login, err := flow.Begin(r.Context(), authcode.Request{ReturnTo: r.FormValue("return_to")})
		if errors.Is(err, authcode.ErrReturnTo) {
			http.Error(w, "invalid return_to", http.StatusBadRequest)
			return
		}
		if err != nil {
			http.Error(w, "sign-in is not available", http.StatusInternalServerError)
			return
		}
		session["login"], err = json.Marshal(login) // contains secrets
		if err != nil {
			http.Error(w, "sign-in is not available", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, login.URL(), http.StatusSeeOther)
	}

	w := httptest.NewRecorder()
	login(w, httptest.NewRequest(http.MethodGet, "/login?return_to=/orders", nil))
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Code, "to", to.Host)
	fmt.Println("PKCE method", to.Query().Get("code_challenge_method"))
	fmt.Println("scope", to.Query().Get("scope"))

	w = httptest.NewRecorder()
	login(w, httptest.NewRequest(http.MethodGet, "/login?return_to=//evil.example", nil))
	fmt.Println(w.Code)
	// Output:
	// 303 to login.microsoftonline.com
	// PKCE method S256
	// scope api://api-a/access_as_user openid profile offline_access
	// 400
}

// A callback handler takes the login out of the browser's session and exchanges the code.
func ExampleFlow_Exchange() {
	server := entratest.NewServer(entratest.Sample())
	flow := exampleFlow(server)
	session := map[string]*authcode.Login{}

	callback := func(w http.ResponseWriter, r *http.Request) {
		login := session["login"] // nil if this browser began no login
		delete(session, "login")  // a login is valid once
		signIn, err := flow.Exchange(r.Context(), login, r.URL.Query())
		var e *entra.Error
		switch {
		case errors.Is(err, authcode.ErrNoLogin), errors.Is(err, authcode.ErrExpired):
			http.Error(w, "please sign in again", http.StatusBadRequest)
		case errors.As(err, &e) && e.Code == "access_denied":
			http.Error(w, "you canceled the sign-in", http.StatusForbidden)
		case err != nil:
			http.Error(w, "the sign-in failed", http.StatusBadGateway)
		default:
			// Store signIn.Account in a new session of the browser here.
			fmt.Println("signed in as", signIn.Claims.PreferredUsername)
			http.Redirect(w, r, signIn.ReturnTo, http.StatusSeeOther)
		}
	}

	var err error
	session["login"], err = flow.Begin(context.Background(), authcode.Request{ReturnTo: "/orders"})
	if err != nil {
		log.Fatal(err)
	}
	response, err := server.SignIn(context.Background(), session["login"].URL(), "alice@contoso.onmicrosoft.com")
	if err != nil {
		log.Fatal(err)
	}
	for range 2 { // the second time, the user reloads the page
		w := httptest.NewRecorder()
		callback(w, httptest.NewRequest(http.MethodGet, response.String(), nil))
		fmt.Println(w.Code, w.Header().Get("Location"))
	}
	// Output:
	// signed in as alice@contoso.onmicrosoft.com
	// 303 /orders
	// 400
}

// A handler calls an API for the user. If the user must act, because consent or a second
// factor is missing or the session was revoked, the handler begins a new sign-in.
func ExampleFlow_TokenSource() {
	server := entratest.NewServer(entratest.Sample())
	flow := exampleFlow(server)
	ctx := context.Background()
	login, err := flow.Begin(ctx, authcode.Request{})
	if err != nil {
		log.Fatal(err)
	}
	response, err := server.SignIn(ctx, login.URL(), "alice@contoso.onmicrosoft.com")
	if err != nil {
		log.Fatal(err)
	}
	signIn, err := flow.Exchange(ctx, login, response.Query())
	if err != nil {
		log.Fatal(err)
	}

	const scope = "api://api-b/Orders.Read" // Alice has not consented to it yet
	orders := func(w http.ResponseWriter, r *http.Request) {
		account := signIn.Account // from the browser's session
		_, err := flow.TokenSource(account, scope).TokenContext(r.Context())
		var e *entra.Error
		switch {
		case errors.As(err, &e) && e.InteractionRequired():
			login, err := flow.Begin(r.Context(), authcode.Request{
				LoginHint: account.Username, Claims: e.Claims, Scopes: []string{scope}, ReturnTo: "/orders",
			})
			if err != nil {
				http.Error(w, "sign-in is not available", http.StatusInternalServerError)
				return
			}
			// Store login for this browser here.
			http.Redirect(w, r, login.URL(), http.StatusSeeOther)
		case err != nil:
			http.Error(w, "orders are not available", http.StatusServiceUnavailable)
		default:
			// Call the API with the token here.
			w.WriteHeader(http.StatusOK)
		}
	}

	w := httptest.NewRecorder()
	orders(w, httptest.NewRequest(http.MethodGet, "/orders", nil))
	fmt.Println("status without consent", w.Code)

	// Alice signs in again and consents.
	if login, err = flow.Begin(ctx, authcode.Request{Scopes: []string{scope}}); err != nil {
		log.Fatal(err)
	}
	if response, err = server.SignIn(ctx, login.URL(), "alice@contoso.onmicrosoft.com"); err != nil {
		log.Fatal(err)
	}
	if signIn, err = flow.Exchange(ctx, login, response.Query()); err != nil {
		log.Fatal(err)
	}
	w = httptest.NewRecorder()
	orders(w, httptest.NewRequest(http.MethodGet, "/orders", nil))
	fmt.Println("status with consent", w.Code)
	// Output:
	// status without consent 303
	// status with consent 200
}
