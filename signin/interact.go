package signin

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
)

// Interact reports whether err says that only the user can help, and if so, answers r: it
// sends the browser to the sign-in that helps, with the challenge in err and for the
// scopes, and back to this page. So consent that is asked for when it is needed, a second
// factor, and a session that Entra has revoked take one line:
//
//	token, err := site.TokenSource(r, scope).TokenContext(ctx)
//	if site.Interact(w, r, err, scope) {
//		return
//	}
//
// scopes are those that were asked for; none: the flow's. err is what a token source
// failed with, an [*entra.Error], or the error that [Challenge] makes of an API's answer.
//
// The sign-in is an ordinary one with the user's name: whoever is still signed in at Entra
// comes back without having seen a page, and otherwise Entra asks for what is needed. To
// ask silently first (prompt=none) would only add a way round.
//
// If the same is asked for again though the browser has come back from it twice within a
// minute, the user cannot help either, and gets a page that says so: nobody goes round in
// circles. What a
// script or a program sent gets 401 and JSON with the error's code. The page comes back as
// in [Site.SignIn]: what was posted is not posted again.
//
// If another account comes back, it gets a session of its own in place of the old one,
// and goes to [Config].Home: the page may have been made for the other.
func (s *Site) Interact(w http.ResponseWriter, r *http.Request, err error, scopes ...string) bool {
	var e *entra.Error
	if !errors.As(err, &e) || !e.InteractionRequired() {
		return false
	}
	v, _, failed := s.visit(r).session()
	a := &attempt{Asked: asked(e, scopes)}
	switch {
	case failed != nil:
		s.refuse(w, r, "", failed)
		return true
	case !navigates(r):
		unauthorized(w, e)
		return true
	case s.inCircle(r, a.Asked):
		s.refuse(w, r, s.here(r), &asking{&inVain{e}, scopes})
		return true
	}
	req := authcode.Request{Claims: e.Claims, Scopes: scopes, ReturnTo: s.here(r)}
	if v != nil {
		req.LoginHint = cmp.Or(v.Hint, v.Account.Username)
		a.Expect = owner(v.Account)
	}
	s.begin(w, r, req, a)
	return true
}

// asked is a short name for what is asked for.
func asked(e *entra.Error, scopes []string) string {
	sorted := slices.Sorted(slices.Values(scopes))
	return fingerprint("asked", strings.ToLower(strings.Join(sorted, " "))+"\x00"+e.Claims)[:16]
}

// inVain says that the user signed in as asked, and that it did not help.
type inVain struct{ err *entra.Error }

func (e *inVain) Error() string {
	return "signin: the user signed in as asked, in vain: " + e.err.Error()
}

func (e *inVain) Unwrap() error { return e.err }

// asking is an error of a sign-in for those scopes.
type asking struct {
	error
	scopes []string
}

func (e *asking) Unwrap() error { return e.error }

// Challenge returns the error for [Site.Interact] that the answer of an API calls for: if
// it has status 401 and a claims challenge, as [entra.ClaimsChallenge] reads it. Otherwise
// it returns nil. [entra.Transport] answers challenges by itself where that is possible
// without the user, so what comes through it is for the user.
func Challenge(resp *http.Response) error {
	if resp.StatusCode != http.StatusUnauthorized {
		return nil
	}
	claims, ok := entra.ClaimsChallenge(resp.Header)
	if !ok {
		return nil
	}
	return &entra.Error{
		Code: "interaction_required", StatusCode: resp.StatusCode, Claims: claims,
		Description: "the API asks for more than the token shows (a claims challenge)",
	}
}
