package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/safecall"
)

// maxCallbackBytes bounds the parameters of a callback, which have a few kilobytes.
const maxCallbackBytes = 64 << 10

// handleLogin serves LoginPath.
func (s *Site) handleLogin(w http.ResponseWriter, r *http.Request) {
	if !requireMethod(w, r, http.MethodGet) {
		return
	}
	q := r.URL.Query()
	req := authcode.Request{ReturnTo: s.config.Home}
	if q.Has("return_to") {
		if req.ReturnTo = q.Get("return_to"); req.ReturnTo == "" || len(q["return_to"]) > 1 {
			s.reject(w, r, "", authcode.ErrReturnTo)
			return
		}
	}
	if p := q.Get("prompt"); p == "select_account" || p == "create" { // harmless, even in a link of another site
		req.Prompt = p
	}
	s.begin(w, r, req, &loginState{})
}

// SignIn redirects the browser to a sign-in with the options in req. For an ordinary sign-in, use a link to LoginPath
// or [Site.RequireSignIn].
//
// If req.ReturnTo is empty, the browser returns to the page that r requests. If r is not a GET or HEAD, it returns to
// the page of this site that sent r, according to the Referer header. The request itself is not repeated. Paths that
// [Site.Handler] serves are replaced by Config.Home.
//
// If req is invalid, the error of [authcode.Flow.Begin] is shown as a [Problem]. A sign-in never starts in a frame; the
// response is 401 and KindEmbedded. If r did not pass through Handler, the response is 500.
func (s *Site) SignIn(w http.ResponseWriter, r *http.Request, req authcode.Request) {
	if s.isZero() {
		zeroSiteHandler(w, r)
		return
	}
	if s.requestState(r) == nil {
		s.reject(w, r, "", errNoHandler)
		return
	}
	if req.ReturnTo == "" {
		page, err := s.returnTarget(r)
		if err != nil {
			s.reject(w, r, "", err)
			return
		}
		req.ReturnTo = page
	}
	s.begin(w, r, req, &loginState{})
}

// returnTarget returns the page that the user should return to after r: the page that r requests, or after a form or a
// frame, the page with the form or the frame. It is Home if the site serves the page itself or does not know it. The
// error is that of [authcode.Flow.Begin] for the page that r requests.
func (s *Site) returnTarget(r *http.Request) (string, error) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isEmbedded(r) {
		page := s.requestState(r).page
		if s.serves(page) {
			return s.config.Home, nil
		}
		_, err := s.flow.Begin(r.Context(), authcode.Request{ReturnTo: page})
		return page, err
	}
	if from, err := url.Parse(r.Referer()); err == nil && from.Scheme+"://"+from.Host == s.origin &&
		s.canReturnTo(from.RequestURI()) {
		return from.RequestURI(), nil
	}
	return s.config.Home, nil
}

// retryTarget returns the page to which the link of an error page leads after a sign-in.
func (s *Site) retryTarget(r *http.Request) string {
	page, err := s.returnTarget(r)
	if err != nil {
		return s.config.Home
	}
	return page
}

// isEmbedded reports whether r is for a frame or a subresource of a page. There, a sign-in could not be finished,
// because Entra does not allow frames around its pages. A page with many frames would also start as many sign-ins.
func isEmbedded(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || dest != "" && dest != "document"
}

// begin starts a login with the content of st and redirects the browser to Entra.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, req authcode.Request, st *loginState) {
	if isEmbedded(r) {
		s.reject(w, r, s.retryTarget(r), errEmbedded)
		return
	}
	to, err := s.newLogin(w, r, req, st)
	if err != nil {
		s.reject(w, r, "", err)
		return
	}
	redirect(w, r, to)
}

// newLogin starts a login with the content of st, and returns Entra's address for it.
func (s *Site) newLogin(w http.ResponseWriter, r *http.Request, req authcode.Request, st *loginState) (string, error) {
	if s.config.BeforeSignIn != nil {
		params := map[string]string{}
		maps.Copy(params, req.Parameters)
		req.Parameters = params
		req.Scopes, req.ExtraScopes = slices.Clone(req.Scopes), slices.Clone(req.ExtraScopes)
		s.config.BeforeSignIn(r, &req)
	}
	if s.serves(req.ReturnTo) {
		req.ReturnTo = s.config.Home
	}
	session := ""
	if v, _ := s.requestState(r).session(); v != nil {
		st.Replaces, session = v.key, v.Account.Session
	}
	// Tokens belong to a session, and the session that replaces it inherits them.
	st.Named = req.Session != ""
	req.Session = cmp.Or(req.Session, session, rand.Text())
	longPage := ""
	for {
		var err error
		if st.Login, err = s.flow.Begin(r.Context(), req); err != nil {
			return "", err
		}
		to, ok := s.setLogin(w, r, st, longPage)
		if ok {
			s.notify(Event{Kind: EventStarted})
			return to, nil
		}
		if longPage != "" {
			return "", errLoginTooLarge
		}
		longPage, req.ReturnTo = req.ReturnTo, s.config.Home
	}
}

// errLoginTooLarge is a mistake of the app, not of a user.
var errLoginTooLarge = errors.New("signin: login does not fit in the state parameter; request fewer scopes at once")

// handleCallback serves the path of the redirect URL, to which Entra sends the browser back.
func (s *Site) handleCallback(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	formPost := s.flow.ResponseMode() == authcode.ResponseModeFormPost
	method := http.MethodGet
	if formPost {
		method = http.MethodPost
	}
	var params url.Values
	switch {
	case r.Method == http.MethodGet && (formPost || r.URL.Query().Has("admin_consent")):
		s.handleStrayCallback(w, r, s.openState(r.URL.Query().Get("state"))) // other parameters are not trusted
		return
	case !requireMethod(w, r, method):
		return
	case formPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxCallbackBytes)
		if err := r.ParseForm(); err != nil {
			s.reject(w, r, "", authcode.ErrParameters)
			return
		}
		params = r.PostForm
	case len(r.URL.RawQuery) > maxCallbackBytes:
		s.reject(w, r, "", authcode.ErrParameters)
		return
	default:
		params = r.URL.Query()
	}
	st := s.openState(params.Get("state"))
	if st == nil || !s.isBound(r, st) || s.signedOutSince(r, st) {
		s.handleStrayCallback(w, r, st)
		return
	}
	page, pageFound := s.page(r, st)
	params = maps.Clone(params)
	params.Set("state", st.Login.State()) // the browser's cookie is that of the login
	current, err := s.currentSession(r)
	if err != nil { // the callback can be loaded again
		s.reject(w, r, page, err)
		return
	}
	login := st.Login
	if current != nil && !st.Named { // another tab may have signed in since the login began
		login = login.WithSession(current.Account.Session)
	}
	signIn, err := s.flow.Exchange(r.Context(), login, params)
	if err != nil && kindOf(err) == KindUsed { // the response to the first use has deleted the cookies, if it arrives
		s.handleUsedLogin(w, r, st, err)
		return
	}
	if err != nil {
		s.deleteLogin(w, r, st)
		if st.Replaces != "" && kindOf(err) == KindConsentDeclined {
			err = &extraConsentDeclined{err}
		}
		s.reject(w, r, page, &scopedError{err, st.Login.Scopes()})
		return
	}
	if st.PageOf != "" && st.PageOf != userOf(signIn.Account) {
		// The address of the page may contain data of the user who requested it.
		page, pageFound = s.config.Home, true
		s.logger.LogAttrs(r.Context(), slog.LevelInfo, "signin: a different account signed in than the one requested",
			slog.Any("account", signIn.Account))
	}
	// Sessions that end after this point, for example while OnSignIn runs, include the new one.
	now, err := s.currentEpochs(r.Context(), signIn)
	if err == nil {
		err = s.admit(r.Context(), signIn)
	}
	id := rand.Text()
	if err == nil {
		err = s.startSession(r, id, st, signIn, now)
	}
	if err != nil {
		s.cleanUpSignIn(r, st, signIn, current, err)
		s.deleteLogin(w, r, st)
		s.reject(w, r, page, err)
		return
	}
	setCookie(w, s.cookies.session(id))
	if s.cookies.formPost {
		setCookie(w, s.cookies.login(linkCookie, link(id), 0))
	}
	s.setFinished(w, r, st)
	s.logger.LogAttrs(r.Context(), slog.LevelInfo, "signin: signed in", slog.Any("account", signIn.Account))
	s.notify(Event{Kind: EventSignedIn, Took: time.Since(start)})
	if !pageFound {
		s.reject(w, r, "", errPageLost)
		return
	}
	redirect(w, r, page)
}

// RejectionError is the error with which Config.OnSignIn rejects a user.
type RejectionError struct {
	Reason string // for the user, as plain text; it becomes Problem.Text
}

// Error returns the reason.
func (e *RejectionError) Error() string { return "signin: the app rejects the user: " + e.Reason }

// admit calls Config.OnSignIn.
func (s *Site) admit(ctx context.Context, signIn *authcode.SignIn) error {
	if s.config.OnSignIn == nil {
		return nil
	}
	err := s.config.OnSignIn(ctx, signIn)
	if invalid := safecall.NilPointer(err); invalid != nil {
		return fmt.Errorf("signin: Config.OnSignIn failed: %w", invalid)
	}
	return err
}

// startSession creates the session of a sign-in. e are the epochs that the sign-in read. The session replaces the
// current one of the browser and that at the time when the sign-in began. docs/design/signin.md explains the order of
// the steps.
func (s *Site) startSession(r *http.Request, id string, st *loginState, signIn *authcode.SignIn, e epochs) error {
	ctx, key := r.Context(), sessionKey(id)
	// A sign-out that still has the login's cookie finds the session through the login.
	old, previous := []string{loginKey(st.binding())}, ""
	if err := s.put(ctx, successorKey(old[0]), successor{key}, time.Now().Add(tombstoneTTL)); err != nil {
		return err
	}
	for _, o := range append(s.sessionKeys(r), st.Replaces) {
		if o == "" || slices.Contains(old, o) {
			continue
		}
		old, previous = append(old, o), cmp.Or(previous, o)
		if err := s.replaceSession(ctx, o, signIn.Account, key); err != nil {
			return err
		}
	}
	if err := s.createSession(ctx, key, previous, signIn, e); err != nil {
		return err
	}
	for _, o := range old {
		signedOut, err := s.get(ctx, signedOutKey(o), new(struct{}))
		if signedOut || err != nil { // a concurrent sign-out includes this session
			cleanup := context.WithoutCancel(ctx)
			ended, out := s.markEnded(cleanup, key), s.flow.SignOut(cleanup, signIn.Account)
			return cmp.Or(errors.Join(err, ended, out), errSignInCanceled)
		}
	}
	return nil
}

// cleanUpSignIn removes the tokens of a sign-in that has failed with err, unless they belong to the current session of
// the browser, too. If the app has named the session, they may also belong to other browsers. A [RejectionError]
// removes them in any case and ends the sessions with these tokens.
func (s *Site) cleanUpSignIn(r *http.Request, st *loginState, signIn *authcode.SignIn, current *session, err error) {
	ctx := context.WithoutCancel(r.Context())
	rejected := errors.As(err, new(*RejectionError))
	shared := st.Named || current != nil && current.Account.HomeAccountID == signIn.Account.HomeAccountID &&
		current.Account.Session == signIn.Account.Session
	if shared && !rejected {
		return
	}
	var ended error
	if rejected {
		ended = s.endUserSessions(ctx, signIn.Account, nameEpochKey(signIn.Account))
	}
	if err := errors.Join(ended, s.flow.SignOut(ctx, signIn.Account)); err != nil {
		s.logError(ctx, slog.LevelError, "signin: failed sign-in could not be cleaned up", err)
	}
}

// currentSession returns the valid session of the browser that sends the callback r, or nil.
func (s *Site) currentSession(r *http.Request) (v *session, err error) {
	if v, err = s.requestState(r).session(); v != nil || err != nil {
		return v, err
	}
	for _, key := range s.sessionKeys(r) { // with form_post, the request lacks the session cookie
		if v, err = s.findSession(r.Context(), key); v != nil || err != nil {
			break
		}
	}
	return v, err
}

// sessionKeys returns the store keys of the sessions that the cookies of r name. The sessions may have ended.
func (s *Site) sessionKeys(r *http.Request) (keys []string) {
	if id := s.sessionID(r); id != "" {
		keys = append(keys, sessionKey(id))
	}
	for _, c := range r.CookiesNamed(s.cookies.loginPrefix + linkCookie) {
		if len(c.Value) == linkLength && len(keys) < 2 {
			keys = append(keys, linkedKey(c.Value))
		}
	}
	return keys
}

// userOf identifies a user for loginState.PageOf.
func userOf(a authcode.Account) string { return a.TenantID + " " + a.HomeAccountID }

// handleUsedLogin responds to a callback whose login was already finished, in this process or in another one.
func (s *Site) handleUsedLogin(w http.ResponseWriter, r *http.Request, st *loginState, err error) {
	page, _ := s.page(r, st)
	v, _ := s.requestState(r).session()
	switch {
	case v != nil:
		redirect(w, r, s.pageFor(v, st, page))
	case r.Method == http.MethodPost:
		s.repeatAsGet(w, r)
	case !st.Restarted: // the response to the first use was lost, for example with its process
		s.restart(w, r, st, page)
	default:
		s.reject(w, r, page, &scopedError{err, st.Login.Scopes()})
	}
}

// restart begins a sign-in in place of one that cannot be finished. It needs no input, because the user has just signed
// in at Entra. It happens once, so that it cannot become a redirect loop.
func (s *Site) restart(w http.ResponseWriter, r *http.Request, st *loginState, page string) {
	s.begin(w, r, authcode.Request{ReturnTo: page}, &loginState{Restarted: true, PageOf: st.PageOf})
}

// handleStrayCallback responds to a callback that cannot finish a login. The browser loaded the callback again or went
// back to it, its cookie was blocked, overwritten or has expired, or it never started the login. st is the login in the
// state parameter, or nil if this site did not create it.
//
// Anyone can send such a callback with the state of a login of their own. It leads only to a page of this site, and at
// most to a new sign-in, as a link to LoginPath does.
func (s *Site) handleStrayCallback(w http.ResponseWriter, r *http.Request, st *loginState) {
	v, err := s.requestState(r).session()
	page := s.config.Home
	if st != nil {
		page, _ = s.page(r, st)
	}
	switch {
	case err != nil:
		s.reject(w, r, "", err)
	case v == nil && r.Method == http.MethodPost: // as a GET, which carries the session cookie
		s.repeatAsGet(w, r)
	case v != nil:
		redirect(w, r, s.pageFor(v, st, page))
	case r.URL.Query().Has("admin_consent"):
		redirect(w, r, s.config.Home)
	case st == nil:
		s.reject(w, r, "", s.missingLogin(r))
	case s.signedOutSince(r, st):
		s.reject(w, r, page, errSignInCanceled)
	case st.expired():
		s.reject(w, r, page, authcode.ErrExpired)
	case s.hasPendingLogin(r) && !st.Restarted: // more tabs than login cookies, or a used login
		s.restart(w, r, st, page)
	case s.isBound(r, st):
		s.reject(w, r, page, authcode.ErrUsed)
	default:
		s.reject(w, r, page, s.missingLogin(r))
	}
}

// pageFor returns the page of a login for the user of the session v.
func (s *Site) pageFor(v *session, st *loginState, page string) string {
	if st == nil || st.PageOf != "" && st.PageOf != userOf(v.Account) {
		return s.config.Home
	}
	return page
}

// repeatAsGet makes the browser repeat a posted callback as a GET, which carries the cookies with SameSite=Lax.
func (s *Site) repeatAsGet(w http.ResponseWriter, r *http.Request) {
	to := s.callbackPath
	if state := r.PostForm.Get("state"); s.openState(state) != nil {
		to += "?" + url.Values{"state": {state}}.Encode()
	}
	redirect(w, r, to)
}

// errNoCookies reports a callback without any cookie.
var errNoCookies = errors.New("signin: browser sent no cookies: it blocks them, or the sign-in started in another " +
	"browser or under another host name than that of the redirect URL (127.0.0.1 is not localhost)")

// missingLogin returns the probable reason why the login of a callback is missing.
func (s *Site) missingLogin(r *http.Request) error {
	switch {
	case len(r.Cookies()) == 0:
		return errNoCookies
	case s.hasPendingLogin(r):
		return authcode.ErrState
	}
	return authcode.ErrNoLogin
}

// hasPendingLogin reports whether the browser has a login cookie.
func (s *Site) hasPendingLogin(r *http.Request) bool {
	return s.pendingLogins(r) != [loginSlots]string{}
}

// setPrivate keeps a response out of caches, and its address out of the Referer header of later requests.
func setPrivate(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

func redirect(w http.ResponseWriter, r *http.Request, to string) {
	setPrivate(w)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// requireMethod reports whether r has the method, and otherwise responds with 405.
func requireMethod(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	setPrivate(w)
	w.Header().Set("Allow", method)
	http.Error(w, "method not allowed; use "+method, http.StatusMethodNotAllowed)
	return false
}
