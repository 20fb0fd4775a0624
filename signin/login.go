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
	"strings"
	"time"

	"github.com/entratoken/entra/authcode"
)

const (
	// maxLogins and maxLoginBytes bound the login cookies of one browser, which come from tabs that sign in at the
	// same time. The oldest are evicted. Proxies commonly reject requests with more than 8 KB of headers, and would
	// keep doing so until the cookies expire.
	maxLogins     = 5
	maxLoginBytes = 6000
	// maxLoginsRead bounds the number of login cookies that are decrypted for one request.
	maxLoginsRead = 20
	// doneTTL is how long a finished login is remembered, for a browser that loads the callback again.
	doneTTL = 5 * time.Minute
	// maxCallbackBytes bounds the parameters of a callback, which have a few kilobytes.
	maxCallbackBytes = 64 << 10
)

// loginState is the content of a login cookie: first a login in progress, then a note that it succeeded.
type loginState struct {
	Login    *authcode.Login `json:"login,omitempty"`    // nil once the sign-in has succeeded
	At       time.Time       `json:"at"`                 // when the login started or succeeded
	Replaces string          `json:"replaces,omitempty"` // store key of the session that the new one replaces
	PageOf   string          `json:"page_of,omitempty"`  // the user whose page ReturnTo is; other users go Home
	Request  string          `json:"request,omitempty"`  // hash of the request made by Interact

	ReturnTo string `json:"return_to,omitempty"` // set once the sign-in has succeeded
}

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
	if q.Get("prompt") == "select_account" { // harmless, even in a link of another site
		req.Prompt = "select_account"
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
// response is 401 and KindEmbedded.
func (s *Site) SignIn(w http.ResponseWriter, r *http.Request, req authcode.Request) {
	if s.isZero() {
		zeroSiteHandler(w, r)
		return
	}
	if req.ReturnTo == "" {
		req.ReturnTo = s.returnTarget(r)
	}
	s.begin(w, r, req, &loginState{})
}

// returnTarget returns the page that the user should return to after r, or Home if that is not possible. After a form
// or a frame, it is the page with the form or the frame.
func (s *Site) returnTarget(r *http.Request) string {
	page := ""
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isEmbedded(r) {
		page = s.requestState(r).page
	} else if from, err := url.Parse(r.Referer()); err == nil && from.Scheme+"://"+from.Host == s.origin {
		page = from.RequestURI()
	}
	if !s.canReturnTo(page) {
		return s.config.Home
	}
	return page
}

// isEmbedded reports whether r is for a frame or a subresource of a page. There, a sign-in could not be finished, because
// Entra does not allow frames around its pages. A page with many frames would also start as many sign-ins.
func isEmbedded(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || dest != "" && dest != "document"
}

// begin starts a login, stores st with it in a cookie, and redirects the browser to Entra.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, req authcode.Request, st *loginState) {
	if isEmbedded(r) {
		s.reject(w, r, s.returnTarget(r), errEmbedded)
		return
	}
	if s.serves(req.ReturnTo) {
		req.ReturnTo = s.config.Home
	}
	session := ""
	if v, _ := s.requestState(r).session(); v != nil {
		st.Replaces, session = v.key, v.Account.Session
	}
	// Tokens belong to a session, and the session that replaces it inherits them.
	req.Session = cmp.Or(req.Session, session, rand.Text())
	login, err := s.flow.Begin(r.Context(), req)
	if err != nil {
		s.reject(w, r, "", err)
		return
	}
	st.Login, st.At = login, time.Now().UTC().Round(0)
	size := s.setLogin(w, s.cookies.loginName(login.State()), st, s.flow.LoginTimeout())
	if size == 0 {
		if req.ReturnTo == s.config.Home {
			s.reject(w, r, "", errLoginTooLarge)
			return
		}
		req.ReturnTo = s.config.Home // drop the long page address rather than the sign-in
		s.begin(w, r, req, st)
		return
	}
	s.evictLogins(w, r, size)
	redirect(w, r, login.URL())
}

// errLoginTooLarge is a mistake of the app, not of a user.
var errLoginTooLarge = errors.New("signin: login does not fit in a cookie; request fewer scopes at once")

// handleCallback serves the path of the redirect URL, to which Entra sends the browser back.
func (s *Site) handleCallback(w http.ResponseWriter, r *http.Request) {
	formPost := s.flow.ResponseMode() == authcode.ResponseModeFormPost
	method := http.MethodGet
	if formPost {
		method = http.MethodPost
	}
	var params url.Values
	switch {
	case r.Method == http.MethodGet && (formPost || r.URL.Query().Has("admin_consent")):
		s.handleStrayCallback(w, r, nil) // the query is not trusted
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
	name := s.cookies.loginName(params.Get("state"))
	st := s.login(r, name)
	if st == nil || st.Login == nil {
		s.handleStrayCallback(w, r, st)
		return
	}
	s.deleteLogin(w, name) // a login can be used once
	signIn, err := s.flow.Exchange(r.Context(), st.Login, params)
	if v, _ := s.requestState(r).session(); v != nil && errors.Is(err, authcode.ErrUsed) {
		redirect(w, r, st.Login.ReturnTo())
		return
	}
	if err != nil {
		if st.Replaces != "" && kindOf(err) == KindConsentDeclined {
			err = &extraConsentDeclined{err}
		}
		s.reject(w, r, st.Login.ReturnTo(), &scopedError{err, st.Login.Scopes()})
		return
	}
	s.finishSignIn(w, r, name, st, signIn)
}

// finishSignIn gives the browser a new session and redirects it to the page it came from.
func (s *Site) finishSignIn(
	w http.ResponseWriter, r *http.Request, name string, st *loginState, signIn *authcode.SignIn,
) {
	account, returnTo := signIn.Account, signIn.ReturnTo
	if st.PageOf != "" && st.PageOf != userOf(account) {
		// The address of the page may contain data of the user who requested it.
		returnTo = s.config.Home
		s.logger.LogAttrs(r.Context(), slog.LevelInfo, "signin: a different account signed in than the one requested",
			slog.Any("account", account))
	}
	id := rand.Text()
	if err := s.startSession(r, id, st.Replaces, signIn); err != nil {
		s.reject(w, r, returnTo, err)
		return
	}
	setCookie(w, s.cookies.session(id))
	if s.cookies.formPost {
		s.relinkLogins(w, r, sessionKey(id))
	}
	s.setLogin(w, name, &loginState{At: time.Now().UTC().Round(0), Request: st.Request, ReturnTo: returnTo}, doneTTL)
	s.logger.LogAttrs(r.Context(), slog.LevelInfo, "signin: signed in", slog.Any("account", account))
	redirect(w, r, returnTo)
}

// startSession creates the session of a sign-in. It replaces the current session of the browser and the session at
// the time when the sign-in began. docs/design/signin.md explains the order of the steps.
func (s *Site) startSession(r *http.Request, id, replaces string, signIn *authcode.SignIn) error {
	current, err := s.requestState(r).session()
	if err != nil {
		return err
	}
	var old []string
	if current != nil {
		old = append(old, current.key)
	}
	if replaces != "" && !slices.Contains(old, replaces) {
		old = append(old, replaces)
	}
	ctx, key := r.Context(), sessionKey(id)
	for _, o := range old {
		if err := s.replaceSession(ctx, o, signIn.Account, key); err != nil {
			return err
		}
	}
	if err := s.createSession(ctx, key, signIn); err != nil {
		return err
	}
	for _, o := range old {
		signedOut, err := s.get(ctx, signedOutKey(o), new(struct{}))
		if signedOut || err != nil { // a concurrent sign-out includes this session
			cleanup := context.WithoutCancel(ctx)
			ended, out := s.markEnded(cleanup, key), s.flow.SignOut(cleanup, signIn.Account)
			return cmp.Or(errors.Join(err, ended, out), errSignedOut)
		}
	}
	return nil
}

// userOf identifies a user for loginState.PageOf.
func userOf(a authcode.Account) string { return a.TenantID + " " + a.HomeAccountID }

// handleStrayCallback responds to a callback without a login in progress: the browser loaded the callback again or
// went back to it, its cookie was blocked, or it never started a login. st is the finished login, if any.
func (s *Site) handleStrayCallback(w http.ResponseWriter, r *http.Request, st *loginState) {
	v, err := s.requestState(r).session()
	switch {
	case st != nil:
		redirect(w, r, st.ReturnTo)
	case err != nil:
		s.reject(w, r, "", err)
	case v != nil, r.Method == http.MethodGet && r.URL.Query().Has("admin_consent"):
		redirect(w, r, s.config.Home)
	case r.Method == http.MethodPost:
		redirect(w, r, s.callbackPath) // as a GET, which carries the session cookie
	default:
		s.reject(w, r, "", s.missingLogin(r))
	}
}

// errNoCookies reports a callback without any cookie.
var errNoCookies = errors.New("signin: browser sent no cookies: it blocks them, or the sign-in started in another " +
	"browser or under another host name than that of the redirect URL (127.0.0.1 is not localhost)")

// missingLogin returns the probable reason why the login of a callback is missing.
func (s *Site) missingLogin(r *http.Request) error {
	open, invalid := s.logins(r)
	switch {
	case len(r.Cookies()) == 0:
		return errNoCookies
	case len(open)+len(invalid) > 0:
		return authcode.ErrState
	}
	return authcode.ErrNoLogin
}

// setLogin sets a login cookie and returns its size, or 0 if st does not fit in a cookie.
func (s *Site) setLogin(w http.ResponseWriter, name string, st *loginState, ttl time.Duration) (size int) {
	sealed, err := s.keys.seal("cookie "+name, st)
	if err != nil {
		return 0
	}
	value := encodeCookie(sealed)
	if size = len(name) + len(value); size > maxCookieBytes {
		return 0
	}
	setCookie(w, s.cookies.login(name, value, int(ttl/time.Second)))
	return size
}

func (s *Site) deleteLogin(w http.ResponseWriter, name string) {
	deleteCookie(w, s.cookies.login(name, "", 0))
}

// login returns the valid login in a cookie of that name, or nil.
func (s *Site) login(r *http.Request, name string) *loginState {
	cookies := r.CookiesNamed(name)
	for _, c := range cookies[:min(len(cookies), maxLoginsRead)] {
		if st := s.openLogin(c); st != nil {
			return st
		}
	}
	return nil
}

func (s *Site) openLogin(c *http.Cookie) *loginState {
	st := new(loginState)
	sealed, ok := decodeCookie(c.Value)
	if !ok || !s.keys.open("cookie "+c.Name, sealed, st) {
		return nil
	}
	if st.Login == nil && time.Since(st.At) > doneTTL {
		return nil
	}
	return st
}

// loginCookie is a valid login cookie of a request.
type loginCookie struct {
	name string
	size int
	*loginState
}

// logins returns the valid login cookies of r and the names of the invalid ones.
func (s *Site) logins(r *http.Request) (valid []loginCookie, invalid []string) {
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, s.cookies.loginPrefix) || len(valid)+len(invalid) == maxLoginsRead {
			continue
		}
		if st := s.openLogin(c); st != nil {
			valid = append(valid, loginCookie{c.Name, len(c.Name) + len(c.Value), st})
		} else {
			invalid = append(invalid, c.Name)
		}
	}
	return valid, invalid
}

// evictLogins deletes login cookies, the oldest first, until one more of that size fits.
func (s *Site) evictLogins(w http.ResponseWriter, r *http.Request, size int) {
	valid, invalid := s.logins(r)
	for _, name := range invalid {
		s.deleteLogin(w, name)
	}
	slices.SortFunc(valid, func(a, b loginCookie) int { return b.At.Compare(a.At) }) // newest first
	for i, c := range valid {
		if size += c.size; i >= maxLogins-1 || size > maxLoginBytes {
			s.deleteLogin(w, c.name)
		}
	}
}

// relinkLogins makes the logins in progress in other tabs replace the new session. It is needed with form_post, whose
// callbacks carry no session cookie and so cannot find the session themselves.
func (s *Site) relinkLogins(w http.ResponseWriter, r *http.Request, session string) {
	valid, _ := s.logins(r)
	for _, c := range valid {
		if c.Login == nil {
			continue
		}
		if ttl := time.Until(c.Login.Expires()); ttl >= time.Second {
			c.Replaces = session
			s.setLogin(w, c.name, c.loginState, ttl)
		}
	}
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
