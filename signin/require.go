package signin

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/verify"
)

// RequireSignIn passes the requests of signed-in users to next. It must be inside [Site.Handler], which rejects
// requests of other sites. Otherwise all requests get 500, and an error is logged. Other requests get these responses:
//
//   - The browser is redirected to the sign-in if it loads a page (GET). It returns to that page, including the query.
//   - A frame gets 401 and a page with a link to sign in, which opens in the whole window.
//   - A form that was posted after the session ended gets 401 and a page with a link to sign in. It is not posted
//     again.
//   - A script or program gets 401 and JSON with the error "login_required".
//   - If the session store fails, requests with a session cookie get 503. Without the cookie the responses are those
//     above, and the sign-in fails with 503 at its callback.
//
// If an app has several sites, [AccountFromContext], [ClaimsFromContext] and [StepUp] use this one in next.
//
// Responses of next have Cache-Control: no-store unless next sets another value. Otherwise the back button would show
// them after a sign-out.
func (s *Site) RequireSignIn(next http.Handler) http.Handler {
	if s.isZero() {
		return zeroSiteHandler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st := s.requestState(r)
		if st == nil {
			s.reject(w, r, "", errNoHandler)
			return
		}
		v, err := st.session()
		switch {
		case err != nil:
			s.reject(w, r, "", err)
		case v != nil:
			w.Header().Set("Cache-Control", "no-store")
			next.ServeHTTP(w, st.inContext(r))
		case !isPageLoad(r):
			unauthorized(w, &entra.Error{Code: "login_required", Description: "the user is not signed in"})
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			s.reject(w, r, s.retryTarget(r), errSignedOut)
		case s.isSignInLoop(r):
			err := errSessionLost
			if s.sessionID(r) == "" {
				err = errNoSessionCookie
			}
			s.reject(w, r, s.retryTarget(r), err)
		default:
			s.SignIn(w, r, authcode.Request{})
		}
	})
}

// RequireRole returns middleware like [Site.RequireSignIn] that admits only users with at least one of the roles.
// These are app roles of the web app's own registration, as in the ID token at the sign-in. Other users get 403 and a
// page, or JSON with the error "missing_role". Roles of an API do not count; the API checks them itself.
//
// RequireRole panics if roles is empty or Config.KeepClaims is not set. Both are mistakes in the program.
func (s *Site) RequireRole(roles ...string) func(http.Handler) http.Handler {
	s.mustKeepClaims("RequireRole")
	if len(roles) == 0 || slices.Contains(roles, "") {
		panic("signin: RequireRole without a role")
	}
	roles = slices.Clone(roles)
	return func(next http.Handler) http.Handler {
		return s.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if claims, ok := s.claims(r); !ok || !slices.ContainsFunc(roles, claims.Roles.Has) {
				s.reject(w, r, s.retryTarget(r), errMissingRole)
				return
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// RequireAuthContext returns middleware like [Site.RequireSignIn] that admits only users whose sign-in satisfied an
// authentication context, such as "c1". The tenant's policies define its conditions, for example a second factor or a
// managed device. Other users are redirected to satisfy it, as in [Site.Interact], and return to the page.
// This is for a step-up that the app itself demands. An API demands one with a claims challenge.
//
// RequireAuthContext panics if id is empty or Config.KeepClaims is not set. Both are mistakes in the program.
//
// Source: "Developer guide to Conditional Access authentication context".
func (s *Site) RequireAuthContext(id string) func(http.Handler) http.Handler {
	s.mustKeepClaims("RequireAuthContext")
	if id == "" {
		panic("signin: RequireAuthContext without an authentication context")
	}
	return func(next http.Handler) http.Handler {
		return s.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if claims, ok := s.claims(r); ok && claims.AuthContexts.Has(id) {
				next.ServeHTTP(w, r)
				return
			}
			s.Interact(w, r, stepUpError(id))
		}))
	}
}

// claims returns the claims of the session at this site. An app may have several sites, so the claims in the context
// may be those of another one, whose roles do not count here.
func (s *Site) claims(r *http.Request) (*verify.Claims, bool) {
	v, err := s.requestState(r).session()
	if err != nil {
		return nil, false
	}
	return v.claims()
}

func (s *Site) mustKeepClaims(name string) {
	if !s.isZero() && !s.config.KeepClaims {
		panic("signin: " + name + " requires Config.KeepClaims")
	}
}

// StepUp returns nil if the sign-in of r's session satisfied the authentication context id. Otherwise it returns the
// error with which [Site.Interact] redirects the user to satisfy it. StepUp is for handlers that decide themselves
// whether a request needs a step-up; [Site.RequireAuthContext] is for whole pages.
//
// StepUp reads the claims that [ClaimsFromContext] returns. Without Config.KeepClaims it always returns an error.
func StepUp(r *http.Request, id string) error {
	if claims, ok := ClaimsFromContext(r.Context()); ok && claims.AuthContexts.Has(id) {
		return nil
	}
	return stepUpError(id)
}

func stepUpError(id string) *entra.Error {
	type request map[string]map[string]any
	acrs := map[string]any{"essential": true, "value": id}
	claims, _ := json.Marshal(request{"id_token": {"acrs": acrs}, "access_token": {"acrs": acrs}}) // cannot fail
	return &entra.Error{
		Code: "interaction_required", Claims: string(claims),
		Description: "the session has not satisfied the authentication context that the page requires",
	}
}

// isPageLoad reports whether r loads a page in a browser, rather than being sent by a script or a program. Browsers
// since 2023 send Sec-Fetch-Mode: navigate. Older browsers send only Accept: text/html.
func isPageLoad(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// unauthorized tells a script or a program that the user must sign in.
func unauthorized(w http.ResponseWriter, e *entra.Error) {
	setPrivate(w)
	w.Header().Set("WWW-Authenticate", authScheme)
	writeJSON(w, http.StatusUnauthorized, e.Code, "The user must sign in. Open a page of this site in a browser.")
}

// authScheme is the WWW-Authenticate header that RFC 9110, section 15.5.2, requires with status 401. Browsers do not
// prompt for a password if the scheme is unknown to them.
const authScheme = `Cookie realm="sign-in"`

func writeJSON(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // fails only if the client is gone
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

var (
	errNoHandler = errors.New("signin: the request did not pass through Handler of this Site; wrap the whole app " +
		"in it, and keep the request's context")
	errCrossOrigin = errors.New("signin: the request was sent by another site")
	errEmbedded    = errors.New("signin: a sign-in cannot start in a frame")
	errMissingRole = errors.New("signin: the user lacks the roles that the page requires")
	errSessionLost = errors.New("signin: the browser signed in twice within a minute, and sends the session cookie, but " +
		"the session is not in the store, or was stored with other keys")
	errNoSessionCookie = errors.New("signin: the browser signed in twice within a minute, but does not send the session " +
		"cookie")
	errSignInCanceled = errors.New("signin: the user signed out while the sign-in was in progress")
	errPageLost       = errors.New("signin: the long address of the page was replaced by that of another sign-in")
	errSignedOut      = errors.New("signin: the user is signed out; the request was not processed")
)
