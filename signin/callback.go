package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/entratoken/entra/authcode"
)

// maxAnswer bounds Entra's answer, which is some kilobytes.
const maxAnswer = 64 << 10

// answerCallback is where Entra sends the browser back to.
func (s *Site) answerCallback(w http.ResponseWriter, r *http.Request) {
	formPost := s.flow.ResponseMode() == authcode.FormPost
	var params url.Values
	switch {
	case r.Method == http.MethodGet && (formPost || r.URL.Query().Has("admin_consent")):
		s.comeAgain(w, r, nil) // whatever is in the query
		return
	case r.Method == http.MethodGet && !formPost:
		if len(r.URL.RawQuery) > maxAnswer {
			s.refuse(w, r, "", authcode.ErrParameters)
			return
		}
		params = r.URL.Query()
	case r.Method == http.MethodPost && formPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxAnswer)
		if err := r.ParseForm(); err != nil {
			s.refuse(w, r, "", authcode.ErrParameters)
			return
		}
		params = r.PostForm
	case formPost:
		only(w, r, http.MethodPost)
		return
	default:
		only(w, r, http.MethodGet)
		return
	}
	name := s.cookies.forLogin(params.Get("state"))
	a := s.attempt(r, name)
	if a == nil || a.Login == nil {
		s.comeAgain(w, r, a)
		return
	}
	expire(w, s.cookies.loginCookie(name, "", -1)) // it is good once
	signIn, err := s.flow.Exchange(r.Context(), a.Login, params)
	if v, _, _ := s.visit(r).session(); v != nil && errors.Is(err, authcode.ErrUsed) {
		s.goOn(w, r, a.Login.ReturnTo())
		return
	}
	if err != nil {
		if a.Before != "" && kindOf(err) == KindDenied {
			err = &declined{err}
		}
		s.refuse(w, r, a.Login.ReturnTo(), &asking{err, a.Login.Scopes()})
		return
	}
	s.signedIn(w, r, name, a, signIn)
}

// signedIn gives the browser a session and sends the user on.
func (s *Site) signedIn(w http.ResponseWriter, r *http.Request, name string, a *attempt, signIn *authcode.SignIn) {
	account, returnTo := signIn.Account, signIn.ReturnTo
	if a.Expect != "" && a.Expect != owner(account) {
		// The page was asked for by somebody else, who may have things in its address
		// that are not this user's to see.
		returnTo = s.config.Home
		s.logger.LogAttrs(r.Context(), slog.LevelInfo, "signin: another account came back than the one that was asked for", slog.Any("account", account))
	}
	id := rand.Text()
	if err := s.begun(r, id, a, signIn); err != nil {
		s.refuse(w, r, returnTo, err)
		return
	}
	set(w, s.cookies.sessionCookie(id))
	if s.cookies.formPost {
		s.replacedBy(w, r, name, sessionName(id))
	}
	s.keep(w, name, &attempt{At: time.Now().UTC().Round(0), Asked: a.Asked, ReturnTo: returnTo}, afterwards)
	s.logger.LogAttrs(r.Context(), slog.LevelInfo, "signin: signed in", slog.Any("account", account))
	private(w)
	http.Redirect(w, r, returnTo, http.StatusSeeOther)
}

// begun begins a session in place of those that the browser has or had when the sign-in
// began.
func (s *Site) begun(r *http.Request, id string, a *attempt, signIn *authcode.SignIn) error {
	_, current, err := s.visit(r).session()
	if err != nil {
		return err
	}
	olds := slices.DeleteFunc(slices.Compact([]string{current, a.Before}), func(name string) bool { return name == "" })
	ctx, name := r.Context(), sessionName(id)
	for _, old := range olds {
		if err := s.replace(ctx, old, signIn.Account, name); err != nil {
			return err
		}
	}
	if err := s.start(ctx, name, signIn); err != nil {
		return err
	}
	for _, old := range olds {
		out, err := s.get(ctx, outName(old), new(struct{}))
		if out || err != nil { // the user has signed out meanwhile, and means this one, too
			ctx = context.WithoutCancel(ctx)
			return cmp.Or(errors.Join(err, s.bury(ctx, name), s.flow.SignOut(ctx, signIn.Account)), errSignedOut)
		}
	}
	return nil
}

// owner is whose page an address is.
func owner(a authcode.Account) string { return a.TenantID + " " + a.HomeAccountID }

// comeAgain answers a callback without a login: the browser has loaded it again, or went
// back to it; or its cookie was blocked, or it began none.
func (s *Site) comeAgain(w http.ResponseWriter, r *http.Request, a *attempt) {
	v, _, err := s.visit(r).session()
	switch {
	case a != nil: // it has succeeded
		s.goOn(w, r, a.ReturnTo)
	case err != nil:
		s.refuse(w, r, "", err)
	case v != nil, r.Method == http.MethodGet && r.URL.Query().Has("admin_consent"):
		s.goOn(w, r, s.config.Home)
	case r.Method == http.MethodPost:
		s.goOn(w, r, s.callback) // as a GET, with which the session's cookie comes
	default:
		s.refuse(w, r, "", s.noLogin(r))
	}
}

func (s *Site) goOn(w http.ResponseWriter, r *http.Request, path string) {
	private(w)
	http.Redirect(w, r, path, http.StatusSeeOther)
}

// errCookies says that the browser has sent no cookie at all.
var errCookies = errors.New("signin: the browser sent no cookies: it blocks them, or the sign-in was begun in another browser, " +
	"or under another host name than that of the redirect URL (127.0.0.1 is not localhost)")

// noLogin says why there may be no login.
func (s *Site) noLogin(r *http.Request) error {
	open, broken := s.attempts(r)
	switch {
	case len(r.Cookies()) == 0:
		return errCookies
	case len(open)+len(broken) > 0:
		return authcode.ErrState
	}
	return authcode.ErrNoLogin
}
