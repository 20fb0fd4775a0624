// Package site is the web app of the examples webapp and quickstart. Package signin signs
// its users in, keeps them signed in and sends them to Entra when only they can help; what is
// left are pages. It is plain net/http and html/template, without a line of JavaScript.
//
// To make it yours, keep New, the pages and call, and throw out package hops, which says
// where each token came from and is for the show alone.
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

// Config is what the web app needs.
type Config struct {
	Flow    *authcode.Flow    // signs users in; its scopes are asked for at sign-in
	SignIn  signin.Config     // sessions; its Page and KeepClaims are the web app's
	APIs    []API             // each has a page
	Network http.RoundTripper // reaches the APIs; nil: http.DefaultTransport
	Try     *Try              // for the home page, where Entra is a fake; nil: it says nothing of that
}

// Try is an account to try the app with.
type Try struct{ Username, Password string }

// API is an API that is called for the user, and the page that shows what it answers.
type API struct {
	Path  string // of the page: "/orders"
	Name  string // of the page: "Orders"
	About string // what a visitor is about to see, in a sentence or two
	URL   string // of the API, which answers JSON
	Scope string // that a token for it needs

	// Context is the authentication context that the app itself demands for the page, such
	// as "c1". "": none; the API may demand one by itself.
	Context string
}

// Site is the web app.
type Site struct {
	Config
	signIn  *signin.Site
	policy  string // the Content-Security-Policy
	handler http.Handler
}

// New returns the web app. Its error is that of the sign-in's configuration.
func New(cfg Config) (*Site, error) {
	s := &Site{Config: cfg}
	// Chromium asks form-action also where the sign-out form's answer leads: to Entra.
	entra, err := url.Parse(cfg.Flow.SignOutURL(""))
	if err != nil {
		return nil, err
	}
	s.policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' " + entra.Scheme + "://" + entra.Host

	cfg.SignIn.Page, cfg.SignIn.KeepClaims = s.problem, true
	if s.signIn, err = signin.New(cfg.Flow, cfg.SignIn); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", file)
	mux.HandleFunc("GET /icon.svg", file)
	mux.HandleFunc("/", s.missing)
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
	// Not no-referrer: browsers send no origin with a form then, not even to its own site.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store") // or the back button shows a page after signing out
	s.handler.ServeHTTP(w, r)
}

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "home.html", "Contoso", s.APIs)
}

// call calls an API for the user and shows what it answers: a page to a person, and how
// the tokens came about to a program.
func (s *Site) call(w http.ResponseWriter, r *http.Request, api API) {
	if api.Context != "" && s.signIn.Interact(w, r, signin.StepUp(r, api.Context), api.Scope) {
		return // the user is on the way to a second factor, and comes back here
	}
	source := s.signIn.TokenSource(r, api.Scope)
	answer, err := hops.Get(r.Context(), source, s.Network, api.URL)
	if s.signIn.Interact(w, r, err, api.Scope) {
		return // or to consent, or to sign in
	}
	if err != nil {
		slog.WarnContext(r.Context(), "an API could not be called", "api", api.Name, "error", loggable(err))
		s.failed(w, r, err)
		return
	}
	calls, items := hops.Follow("web app", hops.TokenOf(authcode.FlowName, source), answer)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(calls) // the browser may be gone
		return
	}
	s.show(w, r, http.StatusOK, "api.html", api.Name, result(api, answer, items, calls))
}

// tokens shows how long the tokens live that are held for the user.
func (s *Site) tokens(w http.ResponseWriter, r *http.Request) {
	var all []held
	for _, api := range s.APIs {
		h := held{API: api}
		if t := hops.TokenOf(authcode.FlowName, s.signIn.TokenSource(r, api.Scope)); t != nil {
			h.Life = lifeOf(*t)
		}
		all = append(all, h)
	}
	s.show(w, r, http.StatusOK, "tokens.html", "Tokens", all)
}

// held is what is held for an API.
type held struct {
	API
	Life *life // nil: no token yet
}

// claims explains the claims of the user's ID token.
func (s *Site) claims(w http.ResponseWriter, r *http.Request) {
	claims, _ := signin.ClaimsFromContext(r.Context())
	s.show(w, r, http.StatusOK, "claims.html", "Claims", explain(claims))
}
