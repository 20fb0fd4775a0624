package signin_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

// exampleFlow returns a flow of the fake's web app.
func exampleFlow(server *entratest.Test) *authcode.Flow {
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
	server := entratest.NewTest(nil, entratest.Sample())
	site, err := signin.New(exampleFlow(server), signin.Config{
		Lifetime:    12 * time.Hour,
		IdleTimeout: 30 * time.Minute,
		KeepClaims:  true,
		Home:        "/dashboard",
	})
	fmt.Println(site, err)

	_, err = signin.New(exampleFlow(server), signin.Config{LoginPath: "login"})
	fmt.Println(err)
	// Output:
	// signin.Site{https://webapp.contoso.example} <nil>
	// entra: invalid_request: Config.LoginPath must be a plain path below /, such as /login
}

// Handler wraps the whole app. The home page is public, and the orders are for signed-in users.
func ExampleSite_Handler() {
	server := entratest.NewTest(nil, entratest.Sample())
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
	load := openBrowser(server, site.Handler(mux), "alice@contoso.onmicrosoft.com")

	load("/")
	load("/orders") // redirects to Entra and back
	load("/")
	// Output:
	// home: false ""
	// at Entra
	// orders of Alice Adams
	// home: true "Alice Adams"
}

// Page loads are redirected to the sign-in. Scripts get 401 and JSON.
func ExampleSite_RequireSignIn() {
	server := entratest.NewTest(nil, entratest.Sample())
	site, err := signin.New(exampleFlow(server), signin.Config{})
	if err != nil {
		log.Fatal(err)
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "orders") })
	app := site.Handler(site.RequireSignIn(orders))

	for _, mode := range []string{"navigate", "cors"} {
		r := httptest.NewRequest(http.MethodGet, "https://webapp.contoso.example/orders", nil)
		r.Header.Set("Sec-Fetch-Mode", mode) // browsers send this
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// 303 text/html; charset=utf-8
	// 401 application/json
}

// An administrator assigns app roles of the web app to users. The page is for users with one of them.
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
	server := entratest.NewTest(nil, tenant)
	site, err := signin.New(exampleFlow(server), signin.Config{KeepClaims: true})
	if err != nil {
		log.Fatal(err)
	}
	refunds := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Println("refunds") })
	approver := site.RequireRole("Refunds.Approve") // fits chi's r.With(approver)
	app := site.Handler(approver(refunds))

	openBrowser(server, app, "alice@contoso.onmicrosoft.com")("/refunds")
	openBrowser(server, app, "bob@contoso.onmicrosoft.com")("/refunds") // gets 403
	// Output:
	// at Entra
	// refunds
	// at Entra
}

// The tenant has a policy for the authentication context "c1". Users who have not satisfied it are redirected to do so.
func ExampleSite_RequireAuthContext() {
	server := entratest.NewTest(nil, entratest.Sample())
	site, err := signin.New(exampleFlow(server), signin.Config{KeepClaims: true})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/profile", site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("profile")
	})))
	mux.Handle("/salary", site.RequireAuthContext("c1")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("salary")
	})))
	load := openBrowser(server, site.Handler(mux), "alice@contoso.onmicrosoft.com")

	load("/profile")
	load("/salary") // Entra demands the second factor
	load("/salary")
	// Output:
	// at Entra
	// profile
	// at Entra
	// salary
	// salary
}

// A page calls an API without the user's consent. Interact redirects the user to consent and back to the page.
func ExampleSite_Interact() {
	server := entratest.NewTest(nil, entratest.Sample())
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
			http.Error(w, "The orders are not available.", http.StatusBadGateway)
			return
		}
		fmt.Println("calls the API:", token.Valid())
	})
	load := openBrowser(server, site.Handler(site.RequireSignIn(orders)), "alice@contoso.onmicrosoft.com")

	load("/orders")
	// Output:
	// at Entra
	// the user must consent
	// at Entra
	// calls the API: true
}

// An API responds that the token lacks claims.
func ExampleChallenge() {
	resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}}
	entra.SetClaimsChallenge(resp.Header, `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`)
	fmt.Println(signin.Challenge(resp))
	// Output: entra: interaction_required: the API requires claims that the token lacks (claims challenge)
}

// Page shows failures in the app's own design. Kind selects translations.
func ExampleProblem() {
	server := entratest.NewTest(nil, entratest.Sample())
	german := map[signin.Kind]string{signin.KindInvalidReturnTo: "Dieser Link ist ungültig"}
	site, err := signin.New(exampleFlow(server), signin.Config{
		Page: func(w http.ResponseWriter, r *http.Request, p signin.Problem) {
			title, ok := german[p.Kind]
			if !ok {
				title = p.Title
			}
			w.WriteHeader(p.Status)
			fmt.Println(p.Status, title) // a real page escapes everything and shows p.Links
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	openBrowser(server, site.Handler(http.NotFoundHandler()), "")("/login?return_to=//evil.example")
	// Output: 400 Dieser Link ist ungültig
}

// mapStore is a Store in memory. A store for a database has the same three methods. The stores of
// github.com/alexedwards/scs can be used as they are.
type mapStore struct {
	mu      sync.Mutex
	records map[string]storedRecord
}

type storedRecord struct {
	data   []byte
	expiry time.Time
}

func (s *mapStore) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.records[token]
	if !ok || time.Now().After(rec.expiry) {
		return nil, false, nil
	}
	return rec.data, true, nil
}

func (s *mapStore) Commit(token string, b []byte, expiry time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[token] = storedRecord{b, expiry}
	return nil
}

func (s *mapStore) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, token)
	return nil
}

// Two processes share a Store and Keys, so a session is valid in both.
func ExampleStore() {
	server := entratest.NewTest(nil, entratest.Sample())
	store := &mapStore{records: map[string]storedRecord{}}
	key := signin.NewKey([]byte("replace with 32 random bytes: k9")) // from the app's secrets

	process := func(name string) http.Handler {
		site, err := signin.New(exampleFlow(server), signin.Config{Store: store, Keys: []signin.Key{key}})
		if err != nil {
			log.Fatal(err)
		}
		return site.Handler(site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			account, _ := signin.AccountFromContext(r.Context())
			fmt.Println(name, "serves", account.Name)
		})))
	}
	current := process("process 1")
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.ServeHTTP(w, r) })
	load := openBrowser(server, app, "alice@contoso.onmicrosoft.com")

	load("/orders")
	current = process("process 2")
	load("/orders")
	// Output:
	// at Entra
	// process 1 serves Alice Adams
	// process 2 serves Alice Adams
}

// openBrowser returns a function that loads a page in a browser of the user.
func openBrowser(server *entratest.Test, app http.Handler, user string) func(path string) {
	entra := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/authorize") {
			fmt.Println("at Entra")
		}
		server.ServeHTTP(w, r)
	})
	browser := server.Browser(user, entratest.Hosts{
		"webapp.contoso.example": app, "login.microsoftonline.com": entra,
	})
	return func(path string) { browser.Get("https://webapp.contoso.example" + path) }
}
