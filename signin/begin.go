package signin

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
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
// site from which it was sent, as far as the browser says so; it is not sent again. The
// error of [authcode.Flow.Begin], which says what is wrong with req, becomes a page.
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
	for _, own := range []string{s.callback, s.config.LoginPath, s.config.LogoutPath, s.config.FrontChannelLogoutPath} {
		if path, _, _ := strings.Cut(page, "?"); path == own {
			return s.config.Home
		}
	}
	if _, err := s.flow.Begin(r.Context(), authcode.Request{ReturnTo: page}); err != nil || page == "" {
		return s.config.Home
	}
	return page
}

// begin sends the browser to Entra and gives it the login to bring back.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, req authcode.Request, a *attempt) {
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
