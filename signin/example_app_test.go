package signin_test

import (
	"fmt"
	"html/template"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/signin"
)

// A whole web app with a public page and a page that calls Microsoft Graph for the signed-in user. To run it, put the
// body into main and register the redirect URIs http://localhost:8080/callback and, for signing out,
// http://localhost:8080/.
func Example() {
	client, err := entra.New(entra.Config{
		TenantID:   os.Getenv("AZURE_TENANT_ID"),
		ClientID:   os.Getenv("AZURE_CLIENT_ID"),
		Credential: entra.Secret(os.Getenv("AZURE_CLIENT_SECRET")),
	})
	if err != nil {
		log.Fatal(err)
	}
	flow, err := authcode.New(client, authcode.Config{
		RedirectURL: "http://localhost:8080/callback",
		Scopes:      []string{"https://graph.microsoft.com/User.Read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	site, err := signin.New(flow, signin.Config{Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		account, _ := signin.AccountFromContext(r.Context())
		w.Header().Set("Cache-Control", "no-store")
		_ = home.Execute(w, account)
	})
	mux.Handle("GET /me", site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://graph.microsoft.com/v1.0/me", nil)
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		resp, err := site.TokenSource(r).HTTPClient().Do(req)
		if err == nil {
			defer resp.Body.Close()
			err = signin.Challenge(resp)
		}
		if site.Interact(w, r, err) {
			return // the browser goes to Entra and comes back to this page
		}
		if err != nil {
			slog.WarnContext(r.Context(), "call of Graph failed", "error", err)
			http.Error(w, "That did not work. Please try again in a moment.", http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, "Graph responded with", resp.Status)
	})))
	log.Fatal(http.ListenAndServe("localhost:8080", site.Handler(mux)))
}

var home = template.Must(template.New("home").Parse(`<!DOCTYPE html>
<title>Home</title>
{{if .ObjectID}}<p>{{.Name}}: <a href="/me">your profile</a></p>
<form method="post" action="/logout"><button>Sign out</button></form>
{{else}}<p><a href="/login">Sign in</a></p>{{end}}
`))
