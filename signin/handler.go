package signin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
)

// Handler answers sign-in, callback, sign-out and front-channel logout, and gives next the
// rest, in whose context [AccountFromContext] finds who is signed in. It belongs around
// the whole app, outside of routers and of [http.StripPrefix].
//
// The session's cookie goes with whatever a browser sends, so for next, too, requests
// that change something (other than GET, HEAD and OPTIONS) and that another site had the
// browser send are refused with 403, by [http.CrossOriginProtection]; [Config].CrossOrigin
// makes exceptions. Forms need no token.
//
// next gets the ResponseWriter itself: what it can do, such as Flush and Hijack, it can.
func (s *Site) Handler(next http.Handler) http.Handler {
	own := map[string]http.HandlerFunc{
		s.config.LoginPath:              s.login,
		s.config.LogoutPath:             s.logout,
		s.config.FrontChannelLogoutPath: s.frontChannelLogout,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), contextKey{}, s.newVisit(r)))
		if r.URL.Path == s.callback { // Entra's form is another site's
			s.answerCallback(w, r)
			return
		}
		if err := s.config.CrossOrigin.Check(r); err != nil {
			s.refuse(w, r, "", errCrossOrigin)
			return
		}
		if h := own[r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

var errCrossOrigin = errors.New("signin: another site had the browser send the request")

// RequireSignIn lets requests of signed-in users through to next. It belongs inside
// [Site.Handler]. Of the others,
//
//   - a browser that goes to a page (GET) is sent to sign in and comes back to it, with
//     its query;
//   - a form that was sent when the session had ended gets 401 and a page to sign in
//     from: it is not sent again;
//   - what a program sent, or a script of a page, gets 401 and JSON that says so, with the
//     error login_required;
//   - if the session store fails, all get 503.
//
// What next answers is not to be kept in a cache, from which the back button would show it
// after a sign-out: Cache-Control is no-store, unless next sets another.
func (s *Site) RequireSignIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, _, err := s.visit(r).session()
		switch {
		case err != nil:
			s.refuse(w, r, "", err)
		case v != nil:
			w.Header().Set("Cache-Control", "no-store")
			next.ServeHTTP(w, r)
		case !navigates(r):
			unauthorized(w, &entra.Error{Code: "login_required", Description: "nobody is signed in"})
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			s.refuse(w, r, s.here(r), errSignedOut)
		case s.signedInInVain(r):
			s.refuse(w, r, s.here(r), errInVain)
		default:
			s.SignIn(w, r, authcode.Request{})
		}
	})
}

var (
	errSignedOut = errors.New("signin: nobody is signed in any more; what was sent was not done")
	errInVain    = errors.New("signin: the browser signed in twice within a minute and nobody is signed in: its session cookie does not arrive, or the session is not where it is looked for")
)

// navigates reports whether a browser goes to a page, rather than a script or a program
// asking for something. Browsers have said so since 2023; before, by asking for HTML.
func navigates(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// unauthorized tells a program or a script that only the user can help.
func unauthorized(w http.ResponseWriter, e *entra.Error) {
	private(w)
	w.Header().Set("WWW-Authenticate", challenge)
	writeJSON(w, http.StatusUnauthorized, e.Code, "The user must sign in: go to a page of this site.")
}

func writeJSON(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // the client may be gone
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

// challenge is what RFC 9110, section 15.5.2, wants with status 401. Browsers ask for no
// password for schemes that they do not know.
const challenge = `Cookie realm="sign-in"`
