// Package site is the web app of the examples webapp and quickstart. Package signin signs its users in, keeps them
// signed in, and redirects them to Entra when needed. The rest are pages: net/http and html/template, without
// JavaScript.
//
// To start your own app from it, keep New, call and the pages. Remove package hops, which records where each token came
// from for the purpose of the example.
package site

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/signin"
)

// Config configures a Site.
type Config struct {
	Flow    *authcode.Flow    // signs users in; its scopes are requested at sign-in
	SignIn  signin.Config     // sessions; Page and KeepClaims are replaced
	APIs    []API             // each has a page
	Network http.RoundTripper // sends requests to the APIs; if nil, http.DefaultTransport is used
	Try     *Try              // an account that the home page shows, if Entra is a fake
}

// Try is an account for trying the app.
type Try struct{ Username, Password string }

// API describes an API that is called for the user, and the page that shows its response.
type API struct {
	Path  string // of the page: "/orders"
	Name  string // of the page: "Orders"
	About string // describes the page to visitors, in one or two sentences
	URL   string // of the API, which responds with JSON
	Scope string // of the token

	// Context is an authentication context that the app demands for the page, such as "c1". Optional. The API may
	// demand one itself.
	Context string
}

// Site is the web app.
type Site struct {
	Config
	signIn  *signin.Site
	policy  string // the Content-Security-Policy
	handler http.Handler
}

// New returns the web app. It returns the error of signin.New.
func New(cfg Config) (*Site, error) {
	s := &Site{Config: cfg}
	// Chromium applies form-action to the redirect of the sign-out form, which leads to Entra.
	signOut, err := url.Parse(cfg.Flow.SignOutURL(""))
	if err != nil {
		return nil, err
	}
	s.policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; " +
		"form-action 'self' " + signOut.Scheme + "://" + signOut.Host

	cfg.SignIn.Page, cfg.SignIn.KeepClaims = s.problem, true
	if s.signIn, err = signin.New(cfg.Flow, cfg.SignIn); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", file)
	mux.HandleFunc("GET /icon.svg", file)
	mux.HandleFunc("/", s.notFound)
	mux.HandleFunc("GET /{$}", s.home)
	mux.Handle("GET /tokens", s.signIn.RequireSignIn(http.HandlerFunc(s.tokens)))
	mux.Handle("GET /claims", s.signIn.RequireSignIn(http.HandlerFunc(s.claims)))
	for _, api := range cfg.APIs {
		page := func(w http.ResponseWriter, r *http.Request) { s.call(w, r, api) }
		mux.Handle("GET "+api.Path, s.signIn.RequireSignIn(http.HandlerFunc(page)))
	}
	s.handler = s.signIn.Handler(mux)
	return s, nil
}

// ServeHTTP serves the web app.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", s.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer, browsers would omit the origin of forms, even for their own site.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store") // or the back button shows pages after a sign-out
	s.handler.ServeHTTP(w, r)
}

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "home.html", "Contoso", s.APIs)
}

// call calls an API for the user and shows the response. Programs that accept JSON get the list of calls.
func (s *Site) call(w http.ResponseWriter, r *http.Request, api API) {
	if api.Context != "" && s.signIn.Interact(w, r, signin.StepUp(r, api.Context), api.Scope) {
		return // the browser goes to a step-up and comes back to this page
	}
	source := s.signIn.TokenSource(r, api.Scope)
	body, err := hops.Get(r.Context(), source, s.Network, api.URL)
	if s.signIn.Interact(w, r, err, api.Scope) {
		return // the browser goes to consent or a sign-in and comes back
	}
	if err != nil {
		slog.WarnContext(r.Context(), "call of an API failed", "api", api.Name, "error", loggable(err))
		s.failed(w, r, err)
		return
	}
	calls, items := hops.Follow("web app", hops.TokenOf(authcode.FlowName, source), body)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(calls) // fails only if the client is gone
		return
	}
	s.show(w, r, http.StatusOK, "api.html", api.Name, newResult(api, body, items, calls))
}

// tokens shows the lifetimes of the tokens that are cached for the user.
func (s *Site) tokens(w http.ResponseWriter, r *http.Request) {
	var all []apiToken
	for _, api := range s.APIs {
		t := apiToken{API: api}
		if cached := hops.TokenOf(authcode.FlowName, s.signIn.TokenSource(r, api.Scope)); cached != nil {
			t.Lifetime = newLifetime(*cached)
		}
		all = append(all, t)
	}
	s.show(w, r, http.StatusOK, "tokens.html", "Tokens", all)
}

// apiToken is the cached token for an API.
type apiToken struct {
	API
	Lifetime *lifetime // nil without a token
}

// claims explains the claims of the user's ID token.
func (s *Site) claims(w http.ResponseWriter, r *http.Request) {
	claims, _ := signin.ClaimsFromContext(r.Context())
	s.show(w, r, http.StatusOK, "claims.html", "Claims", explain(claims))
}
