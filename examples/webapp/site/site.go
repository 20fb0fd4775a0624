// Package site is the web app of the examples webapp and quickstart: it signs users in and
// shows them what an API has for them. It is plain net/http; the browser gets one cookie,
// with the ID of a session that is kept here. Package hops, which says where each token
// came from, is for the show alone: a web app of your own does without it.
package site

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/internal/hops"
)

// Config is what the web app needs.
type Config struct {
	Flow    *authcode.Flow    // signs users in; its scopes are the API's
	API     string            // the address of the API
	URL     string            // the address of the web app itself, without a path
	Network http.RoundTripper // reaches the API; nil: http.DefaultTransport
}

// Site is the web app.
type Site struct {
	Config
	sessions *sessions
	handler  http.Handler
}

// New returns the web app.
func New(cfg Config) *Site {
	s := &Site{Config: cfg, sessions: newSessions(strings.HasPrefix(cfg.URL, "https:"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /callback", s.callback)
	mux.HandleFunc("GET /orders", s.orders)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /style.css", style)
	s.handler = http.NewCrossOriginProtection().Handler(mux) // refuses POSTs from other sites
	return s
}

// ServeHTTP serves the web app.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	s.handler.ServeHTTP(w, r)
}

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, page{Title: "Contoso orders", Account: s.sessions.account(r)})
}

func (s *Site) login(w http.ResponseWriter, r *http.Request) {
	s.begin(w, r, authcode.Request{ReturnTo: r.FormValue("return_to")})
}

// begin sends the browser to Entra and keeps the login in its session.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, request authcode.Request) {
	login, err := s.Flow.Begin(r.Context(), request)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.sessions.keepLogin(w, r, login)
	http.Redirect(w, r, login.URL(), http.StatusSeeOther)
}

// callback is where Entra sends the browser back to.
func (s *Site) callback(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	signIn, err := s.Flow.Exchange(r.Context(), s.sessions.takeLogin(r, params.Get("state")), params)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.sessions.signIn(w, r, signIn.Account)
	slog.DebugContext(r.Context(), "signed in", "account", signIn.Account)
	http.Redirect(w, r, signIn.ReturnTo, http.StatusSeeOther)
}

// orders calls the API for the user, and shows a person a page and a program JSON.
func (s *Site) orders(w http.ResponseWriter, r *http.Request) {
	account := s.sessions.account(r)
	if account == nil {
		s.begin(w, r, authcode.Request{ReturnTo: "/orders"})
		return
	}
	source := s.Flow.TokenSource(*account)
	answer, err := hops.Get(r.Context(), source, s.Network, s.API)
	if err != nil {
		// Where only the user can help, ask the user, but not for ever.
		if claims, ask := needsUser(err); ask && !r.URL.Query().Has("asked") {
			s.begin(w, r, authcode.Request{LoginHint: account.Username, Claims: claims, ReturnTo: "/orders?asked"})
			return
		}
		s.fail(w, r, err)
		return
	}
	calls, orders := hops.Of("web app", hops.TokenOf(authcode.FlowName, source), answer)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(calls) // the browser may be gone
		return
	}
	if orders == nil { // another API than the examples'
		orders = []string{string(answer)}
	}
	show(w, http.StatusOK, page{Title: "Your orders", Account: account, Orders: orders, Calls: cards(calls)})
}

// needsUser reports whether only the user can help, and the challenge to satisfy.
func needsUser(err error) (claims string, ask bool) {
	var e *entra.Error
	if errors.As(err, &e) {
		return e.Claims, e.InteractionRequired()
	}
	var refused *hops.Refused
	if errors.As(err, &refused) {
		return refused.Claims, refused.Status == http.StatusUnauthorized
	}
	return "", false
}

// logout ends the session here, forgets the user's tokens, and sends the browser to Entra
// so that the session there ends, too.
func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	if account := s.sessions.account(r); account != nil {
		if err := s.Flow.SignOut(context.WithoutCancel(r.Context()), *account); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	s.sessions.end(w, r)
	http.Redirect(w, r, s.Flow.SignOutURL(s.URL+"/"), http.StatusSeeOther)
}
