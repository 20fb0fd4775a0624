package entratest

import (
	"net/http"
	"slices"
	"strings"
)

// login answers the forms of the sign-in pages.
func (s *Server) login(r *request) *answer {
	if r.http.Method != http.MethodPost {
		return errorPage(r, refuse(900561, "This endpoint takes POST requests, not %s.", quote(r.http.Method)))
	}
	var q signInRequest
	if r.malformed || !s.unseal("page", r.form.Get("ctx"), &q) || q.Tenant != r.name || r.now.After(q.Until) {
		return errorPage(r, refuse(90013, "This page was open for too long, or its form was changed. Go back to the app and sign in again."))
	}
	step := r.form.Get("step")
	if !slices.Contains(pageSteps[q.Page], step) {
		return errorPage(r, refuse(90013, "The form cannot be understood."))
	}
	switch step {
	case "cancel":
		return s.declined(r, &q)
	case "other":
		return s.passwordPage(r, &q, "", nil)
	case "pick":
		return s.picked(r, &q)
	case "password":
		return s.password(r, &q)
	case "mfa":
		claims, f := parseClaims(q.Claims)
		if f != nil {
			return s.respondError(r, &q, f)
		}
		passMFA(q.Auth, claims)
		return s.proceed(r, &q)
	}
	return s.consented(r, &q)
}

// pageSteps are the buttons of each page. A form answers the page it is on and
// no other: the consent page cannot give a second factor.
var pageSteps = map[string][]string{
	"password": {"password", "cancel"},
	"pick":     {"pick", "other", "cancel"},
	"mfa":      {"mfa", "cancel"},
	"consent":  {"consent", "cancel"},
}

// declined tells the app that the user would not go on.
func (s *Server) declined(r *request, q *signInRequest) *answer {
	f := refuse(65004, "The user did not agree to go on.")
	f.suberror = "cancel"
	if q.Admin {
		f.code = "consent_required"
	}
	return s.respondError(r, q, f)
}

// picked goes on with an account of the picker.
func (s *Server) picked(r *request, q *signInRequest) *answer {
	name := strings.ToLower(r.form.Get("username"))
	for _, a := range s.sessions(r) {
		if a.User == name && (q.MaxAge < 0 || r.now.Sub(a.At) <= q.MaxAge) {
			q.Auth = &a
			return s.proceed(r, q)
		}
	}
	return s.passwordPage(r, q, name, nil)
}

// password checks what the password page sent.
func (s *Server) password(r *request, q *signInRequest) *answer {
	name := strings.TrimSpace(r.form.Get("username"))
	u := s.estate.user[strings.ToLower(name)]
	if u == nil {
		return s.passwordPage(r, q, name, refuse(50034, "There is no account of this username."))
	}
	if !rightPassword(u, r.form.Get("password")) {
		return s.passwordPage(r, q, name, refuse(50126, "The password is wrong."))
	}
	if u.Disabled {
		return s.passwordPage(r, q, name, refuse(50057, "This account is disabled."))
	}
	auth := s.signedIn(u, r.now)
	q.Auth = &auth
	return s.proceed(r, q)
}

// consented records what the consent page listed, and goes on.
func (s *Server) consented(r *request, q *signInRequest) *answer {
	u, f := s.fresh(q.Auth)
	if f != nil {
		return s.stop(r, q, f)
	}
	t := r.tenant
	if t == nil {
		t = s.estate.tenant[u.TenantID]
	}
	scopes, f := s.estate.parseScopes(q.Scope, t)
	if f != nil {
		return s.respondError(r, q, f)
	}
	q.Granted = true
	if items := s.toConsent(scopes, u, t, s.estate.app[q.Client], q.Prompt == "consent"); !q.Admin && u.objectIDIn(t) != "" && (u.administers(t) || !needsAdmin(items)) {
		s.accept(u, t, items)
	}
	return s.proceed(r, q)
}
