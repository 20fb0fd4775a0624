package signin

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
)

// loopWindow is how long after a sign-in another one for the same request counts as a loop.
const loopWindow = time.Minute

// Interact reports whether err requires the user, and if so, responds to r. It redirects the browser to a sign-in for
// the scopes, with the claims challenge in err, and then back to this page. One call covers incremental consent, a
// second factor, and a session that Entra has revoked:
//
//	token, err := site.TokenSource(r, scope).TokenContext(ctx)
//	if site.Interact(w, r, err, scope) {
//		return
//	}
//
// scopes are those of the failed call; if empty, those of the flow are used. err is the error of a token source,
// another [*entra.Error], or the error that [Challenge] returns for a response of an API. If err is nil, or if it
// does not require the user, Interact returns false and writes nothing.
//
// The sign-in names the current user. If the user is still signed in at Entra, Entra redirects back without showing a
// page. Otherwise it prompts the user.
//
// If the same request fails again after the browser has returned from it twice within a minute, the user cannot fix
// it, and a page says so instead of a redirect loop. Scripts and programs get 401 and JSON with the code of err.
// The browser returns to the page as described in [Site.SignIn].
//
// If r is not a GET or HEAD, for example a posted form, a redirect would return to an empty form. The response is
// instead 401 and [KindNotSaved], a page that says that nothing was saved. Its link leads through the sign-in to the
// page with the form, as in SignIn. Therefore call Interact before r has changed anything. For a button that only
// requests consent, call SignIn with the scopes, which always redirects.
//
// If another user comes back, that user gets a new session and goes to Config.Home, because the page may contain
// data of the first user. If r did not pass through [Site.Handler], the response is 500.
func (s *Site) Interact(w http.ResponseWriter, r *http.Request, err error, scopes ...string) bool {
	var e *entra.Error
	if !errors.As(err, &e) || e == nil || !e.InteractionRequired() {
		return false
	}
	if s.isZero() {
		zeroSiteHandler(w, r)
		return true
	}
	if s.requestState(r) == nil {
		s.reject(w, r, "", errNoHandler)
		return true
	}
	v, storeErr := s.requestState(r).session()
	st := &loginState{Request: requestHash(e, scopes)}
	switch {
	case storeErr != nil:
		s.reject(w, r, "", storeErr)
		return true
	case !isPageLoad(r):
		unauthorized(w, e)
		return true
	case s.isInteractLoop(r, st.Request):
		s.reject(w, r, s.retryTarget(r), &scopedError{&stillRequired{e}, scopes})
		return true
	}
	page, err := s.returnTarget(r)
	if err != nil {
		s.reject(w, r, "", err)
		return true
	}
	req := authcode.Request{Claims: e.Claims, Scopes: scopes, ReturnTo: page}
	if v != nil {
		req.LoginHint = cmp.Or(v.Hint, v.Account.Username)
		st.PageOf = userOf(v.Account)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		s.begin(w, r, req, st)
		return true
	}
	to, err := s.newLogin(w, r, req, st)
	if err == nil {
		err = &notSaved{e, to}
	}
	s.reject(w, r, page, err)
	return true
}

// notSaved reports that a form was not processed because the user must first sign in at signInURL. A redirect would
// return to an empty form.
type notSaved struct {
	err       *entra.Error
	signInURL string
}

func (e *notSaved) Error() string {
	return "signin: the form was not processed, because the user must sign in first: " + e.err.Error()
}

func (e *notSaved) Unwrap() error { return e.err }

// requestHash identifies a request for claims and scopes. Its first half identifies the scopes.
func requestHash(e *entra.Error, scopes []string) string {
	sorted := slices.Sorted(slices.Values(scopes))
	return fingerprint("scopes", strings.ToLower(strings.Join(sorted, " ")))[:8] + fingerprint("claims", e.Claims)[:8]
}

// isInteractLoop reports whether the browser is in a redirect loop. A loop is two sign-ins for the same request in a
// short time, or four for the same scopes, because each challenge can be different. One sign-in is normal: without a
// store of tokens, the request may have reached another process than the callback, or one that has restarted. Sign-ins
// for different scopes are not a loop: a page may need the consent for many APIs.
func (s *Site) isInteractLoop(r *http.Request, request string) bool {
	return s.countFinished(r, func(f finishedLogin) bool { return f.Request == request }) >= 2 ||
		s.countFinished(r, func(f finishedLogin) bool { return f.Request != "" && f.Request[:8] == request[:8] }) >= 4
}

// isSignInLoop reports whether the browser has just signed in twice. If the session is missing all the
// same, the cookie or the store has lost it.
func (s *Site) isSignInLoop(r *http.Request) bool {
	return len(s.finishedLogins(r)) >= 2
}

// countFinished counts the recently finished logins that match.
func (s *Site) countFinished(r *http.Request, match func(finishedLogin) bool) (n int) {
	for _, f := range s.finishedLogins(r) {
		if match(f) {
			n++
		}
	}
	return n
}

// stillRequired reports that the user signed in as requested, but the error remains.
type stillRequired struct{ err *entra.Error }

func (e *stillRequired) Error() string {
	return "signin: the error remains after the user signed in as requested: " + e.err.Error()
}

func (e *stillRequired) Unwrap() error { return e.err }

// scopedError is an error of a sign-in for the scopes.
type scopedError struct {
	error
	scopes []string
}

func (e *scopedError) Unwrap() error { return e.error }

// Challenge returns the error to pass to [Site.Interact] if resp, the response of an API, has status 401 and a claims
// challenge, as [entra.ClaimsChallenge] parses it. Otherwise, or if resp is nil, it returns nil. [entra.Transport]
// already handles challenges that a new token satisfies. A challenge in its response therefore requires the user.
func Challenge(resp *http.Response) error {
	if resp == nil || resp.StatusCode != http.StatusUnauthorized {
		return nil
	}
	claims, ok := entra.ClaimsChallenge(resp.Header)
	if !ok {
		return nil
	}
	return &entra.Error{
		Code: "interaction_required", StatusCode: resp.StatusCode, Claims: claims,
		Description: "the API requires claims that the token lacks (claims challenge)",
	}
}
