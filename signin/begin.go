package signin

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/entratoken/entra/authcode"
)

// login answers LoginPath.
func (s *Site) login(w http.ResponseWriter, r *http.Request) {
	if !only(w, r, http.MethodGet) {
		return
	}
	q := r.URL.Query()
	req := authcode.Request{ReturnTo: s.config.Home}
	if q.Has("return_to") {
		if req.ReturnTo = q.Get("return_to"); req.ReturnTo == "" || len(q["return_to"]) > 1 {
			s.refuse(w, r, "", authcode.ErrReturnTo)
			return
		}
	}
	if q.Get("prompt") == "select_account" { // of no harm, whoever made the link
		req.Prompt = "select_account"
	}
	s.begin(w, r, req, &attempt{})
}

// SignIn begins a sign-in with particulars: it sends the browser to Entra. What begins
// an ordinary one is a link to LoginPath, or [Site.RequireSignIn].
//
// A ReturnTo of "" is the page that r asks for or, if r is not a GET, the page of this
// site from which it was sent, as far as the browser says so; it is not sent again. One that
// Handler itself answers to is Home. The error of [authcode.Flow.Begin], which says what is
// wrong with req, becomes a page. In the frame of another site no sign-in begins (403).
func (s *Site) SignIn(w http.ResponseWriter, r *http.Request, req authcode.Request) {
	if req.ReturnTo == "" {
		req.ReturnTo = s.here(r)
	}
	s.begin(w, r, req, &attempt{})
}

// here is the page to come back to; if it cannot be come back to, Home.
func (s *Site) here(r *http.Request) string {
	page := ""
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		page = s.visit(r).page
	} else if from, err := url.Parse(r.Referer()); err == nil && from.Scheme+"://"+from.Host == s.origin {
		page = from.RequestURI()
	}
	if _, err := s.flow.Begin(r.Context(), authcode.Request{ReturnTo: page}); err != nil || page == "" || s.answers(page) {
		return s.config.Home
	}
	return page
}

// answers reports whether it is the site itself, not the app, that answers to a path. To
// come back there would be to sign in again, for as long as a link says so.
func (s *Site) answers(page string) bool {
	u, err := url.Parse(page)
	return err == nil && u.Host == "" && slices.Contains([]string{
		s.callback, s.config.LoginPath, s.config.LogoutPath, s.config.FrontChannelLogoutPath,
	}, u.Path)
}

// embedded reports whether a page of another site loads this one into itself, as a frame or
// as what is no page at all. No session's cookie comes with that, or would be kept; with
// form_post, a login's would be, and so drive out those of logins that the user has begun.
func embedded(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		return false
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || dest != "" && dest != "document"
}

// begin sends the browser to Entra and gives it the login to bring back.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, req authcode.Request, a *attempt) {
	if embedded(r) {
		s.refuse(w, r, "", errCrossOrigin)
		return
	}
	if s.answers(req.ReturnTo) {
		req.ReturnTo = s.config.Home
	}
	v, name, _ := s.visit(r).session()
	a.Before = name
	if req.Session == "" { // each session has its own tokens, and keeps them when it is replaced
		if req.Session = rand.Text(); v != nil && v.Account.Session != "" {
			req.Session = v.Account.Session
		}
	}
	login, err := s.flow.Begin(r.Context(), req)
	if err != nil {
		s.refuse(w, r, "", err)
		return
	}
	a.Login, a.At = login, time.Now().UTC().Round(0)
	name = s.cookies.forLogin(login.State())
	size := s.keep(w, name, a, s.flow.LoginTimeout())
	if size == 0 {
		if req.ReturnTo == s.config.Home {
			s.refuse(w, r, "", errTooLarge)
			return
		}
		req.ReturnTo = s.config.Home // rather than not at all
		s.begin(w, r, req, a)
		return
	}
	s.makeRoom(w, r, size)
	private(w)
	http.Redirect(w, r, login.URL(), http.StatusSeeOther)
}

// errTooLarge is for the developer: no user can bring it about.
var errTooLarge = errors.New("signin: the login is too large for a cookie; ask for fewer scopes at once")

// private keeps an answer out of caches and histories, and its address from the next site.
func private(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// only answers 405 to other methods.
func only(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	private(w)
	w.Header().Set("Allow", method)
	http.Error(w, "this address takes "+method+" requests only", http.StatusMethodNotAllowed)
	return false
}
