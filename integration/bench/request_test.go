package bench_test

import (
	"encoding/gob"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

const pageURL = "https://webapp.contoso.example/page"

// BenchmarkRequest measures a request of a signed-in user for a page that needs the user's access token. Sessions are
// in memory. "handler" is the page without sessions. "scs" loads the account and the token, as an app would store them
// itself, from a session of scs. "entra" authenticates the request, checks that the user is signed in, and gets the
// cached token.
func BenchmarkRequest(b *testing.B) {
	const token = 1500
	page := func(w http.ResponseWriter, name, accessToken string) {
		if name == "" || accessToken == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	text := filler[:token]
	request(b, "handler", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page(w, "Alice", text) }), nil)

	sessions := scs.New()
	gob.Register(time.Time{})
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		for key, value := range map[string]string{
			"name": "Alice Adams", "username": "alice@contoso.onmicrosoft.com", "tenant": tenant, "object": clientID,
			"token": text,
		} {
			sessions.Put(r.Context(), key, value)
		}
		sessions.Put(r.Context(), "expiry", time.Now().Add(time.Hour))
	})
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		if !time.Now().Before(sessions.GetTime(r.Context(), "expiry")) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		page(w, sessions.GetString(r.Context(), "name"), sessions.GetString(r.Context(), "token"))
	})
	app := sessions.LoadAndSave(mux)
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://webapp.contoso.example/login", nil))
	request(b, "scs", app, w.Result().Cookies())

	ours, cookies := signedIn(b, page)
	request(b, "entra", ours, cookies)
}

// request measures requests for the page with cookies.
func request(b *testing.B, name string, app http.Handler, cookies []*http.Cookie) {
	header := http.Header{"Sec-Fetch-Site": {"same-origin"}}
	for _, c := range cookies {
		header.Add("Cookie", c.Name+"="+c.Value)
	}
	both(b, name, func() error {
		r := httptest.NewRequest(http.MethodGet, pageURL, nil)
		r.Header = header
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent {
			return fmt.Errorf("status %d", w.Code)
		}
		return nil
	})
}

// signedIn returns an app that uses package signin, and the cookies of a browser that is signed in to it.
func signedIn(b *testing.B, page func(w http.ResponseWriter, name, accessToken string)) (http.Handler, []*http.Cookie) {
	b.Helper()
	server := entratest.NewServer(entratest.Sample())
	client, err := entra.New(entra.Config{
		TenantID: entratest.SampleTenant, ClientID: server.App("webapp").ClientID,
		Credential: entra.Secret("webapp-secret"), HTTPClient: server.Client(),
	})
	if err != nil {
		b.Fatal(err)
	}
	flow, err := authcode.New(client, authcode.Config{
		RedirectURL: "https://webapp.contoso.example/callback", Scopes: []string{"api://api-a/access_as_user"},
	})
	if err != nil {
		b.Fatal(err)
	}
	site, err := signin.New(flow, signin.Config{})
	if err != nil {
		b.Fatal(err)
	}
	app := site.Handler(site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := site.TokenSource(r).TokenContext(r.Context())
		if site.Interact(w, r, err) {
			return
		}
		account, _ := signin.AccountFromContext(r.Context())
		page(w, account.Name, t.AccessToken)
	})))

	send := func(target string, cookies []*http.Cookie) *http.Response {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		return w.Result()
	}
	started := send(pageURL, nil)
	callback, err := server.SignIn(b.Context(), started.Header.Get("Location"), "alice@contoso.onmicrosoft.com")
	if err != nil {
		b.Fatal(err)
	}
	finished := send(callback.String(), started.Cookies())
	var cookies []*http.Cookie
	for _, c := range finished.Cookies() {
		if c.MaxAge >= 0 {
			cookies = append(cookies, c)
		}
	}
	return app, cookies
}
