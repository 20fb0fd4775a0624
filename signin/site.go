package signin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/safecall"
)

// Default lifetimes of a session: a working day, and an hour without a request.
const (
	DefaultLifetime    = 8 * time.Hour
	DefaultIdleTimeout = time.Hour
)

// Config configures a [Site]. The zero value is for a single process. Set Store and Keys if the site runs in several
// processes, or if sessions must survive a restart. All paths are as the browser sees them.
type Config struct {
	// Store stores the sessions. If nil, they are in the memory of this process, about 33,000 at most.
	//
	// A request waits at most two seconds for each call of Store. Then the call counts as failed, even if it ignores
	// its context. At most 256 calls are in progress at a time, and 256 more that record the use of sessions.
	Store Store

	// Keys encrypt cookies and everything in Store. The first key encrypts; every key decrypts. If empty, a random
	// key is used, which requires Store to be nil.
	//
	// To rotate keys, first add the new key at the end on every machine. Then make it the first key on every
	// machine. Remove the old key one Lifetime later.
	Keys []Key

	// IdleTimeout is how long a session lasts without a request, accurate to the minute. Defaults to one hour. If the
	// cache of the client has a store, its cache.Options.SessionTTL (24 hours by default) must be as long or longer.
	// Otherwise a session may outlive its tokens.
	IdleTimeout time.Duration
	// Lifetime is how long a session lasts in any case. Defaults to 8 hours.
	Lifetime time.Duration
	// KeepClaims stores all claims of the ID token in the session, for ClaimsFromContext, RequireRole and
	// RequireAuthContext. By default only the Account is stored.
	KeepClaims bool

	// LoginPath starts a sign-in. Its query parameter return_to is the page to return to, and
	// prompt=select_account lets the user choose another account, and prompt=create lets the user create
	// one. Defaults to "/login".
	LoginPath string
	// LogoutPath signs the user out in response to a POST. Defaults to "/logout".
	LogoutPath string
	// FrontChannelLogoutPath is where Entra reports that a user signed out elsewhere. Register it as the
	// front-channel logout URL of the app. It works for users whose ID token has the optional claim sid.
	// Defaults to "/logout/frontchannel".
	FrontChannelLogoutPath string
	// Home is the page after a sign-in without a page to return to. Defaults to "/".
	Home string
	// SignedOutURL is where Entra redirects the browser after a sign-out: the post-logout redirect URI
	// (post_logout_redirect_uri). It is a path of this site or a whole URL, and must be registered as a redirect URI.
	// Otherwise the browser stays at Entra. Defaults to Home.
	SignedOutURL string

	// CrossOrigin rejects requests that other sites made the browser send; see Site.Handler. Set it to make
	// exceptions. If nil, all such requests are rejected.
	CrossOrigin *http.CrossOriginProtection
	// Page shows a failure to the user. It must send p.Status. Scripts and programs get JSON instead. The headers
	// Cache-Control, Referrer-Policy and X-Content-Type-Options are already set, Retry-After if it is known, and
	// WWW-Authenticate with status 401. Page sets Content-Type and, if needed, Content-Security-Policy. If nil, a
	// built-in page is used.
	Page func(w http.ResponseWriter, r *http.Request, p Problem)
	// BeforeSignIn is called before each redirect to a sign-in and can change req, for example to set
	// req.Parameters["ui_locales"]. r is the request that started the sign-in. req.Parameters is not nil and is
	// a copy. If BeforeSignIn is nil, requests are not changed.
	BeforeSignIn func(r *http.Request, req *authcode.Request)
	// OnSignIn is called after each successful sign-in, before the session starts, also after a sign-in of Interact. It
	// can insert a row for a new user. If it returns an error, the user is not signed in. A *RejectionError rejects the
	// user, and the page shows its reason. If the user already has a session, that ends. Other errors are usually shown
	// as KindUnavailable. ctx is the context of the callback request, which is canceled when the browser disconnects.
	// It has no time limit, and the user waits. OnSignIn must be safe for concurrent use. If nil, all users that the
	// flow allows are signed in.
	OnSignIn func(ctx context.Context, in *authcode.SignIn) error
	// OnEvent is called with each event, on the goroutine that caused it and without a lock. It must return quickly and
	// must be safe for concurrent use. A panic in it is discarded. If nil, events are discarded.
	OnEvent func(Event)
	// Logger receives a record of each sign-in, sign-out and failure. If nil, nothing is logged.
	Logger *slog.Logger
}

// Site signs the users of a web app in and out and identifies them in between. Create it with [New]: the zero Site
// responds to every request with status 500. A Site is safe for concurrent use.
type Site struct {
	flow   *authcode.Flow
	config Config
	records
	unbounded    records          // the same records, for [Site.putUnlessMarked]
	calls        safecall.Limiter // of Config.Store
	finishing    safecall.Limiter // of putUnlessMarked, which may last longer than other calls
	cookies      cookies
	origin       string // scheme, host and port of the site
	callbackPath string
	logger       *slog.Logger
}

// New returns a site that signs users in with flow. The flow's redirect URL determines the host of the site. New makes
// no network requests. If flow is nil or cfg is invalid, the error is an [*entra.Error] with the code
// "invalid_request".
func New(flow *authcode.Flow, cfg Config) (*Site, error) {
	if flow.RedirectURL() == "" {
		return nil, invalidConfig("flow is nil or a zero value; create it with authcode.New")
	}
	redirect, err := url.Parse(flow.RedirectURL())
	if err != nil {
		return nil, invalidConfig("the flow's redirect URL is not a URL")
	}
	s := &Site{flow: flow, config: cfg, callbackPath: redirect.Path, logger: cfg.Logger}
	s.origin = redirect.Scheme + "://" + redirect.Host
	s.cookies = newCookies(redirect, flow.ResponseMode())
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	c := &s.config
	c.Keys = nil // s.keys has them
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	c.Lifetime = cmp.Or(c.Lifetime, DefaultLifetime)
	c.LoginPath = cmp.Or(c.LoginPath, "/login")
	c.LogoutPath = cmp.Or(c.LogoutPath, "/logout")
	c.FrontChannelLogoutPath = cmp.Or(c.FrontChannelLogoutPath, "/logout/frontchannel")
	c.Home = cmp.Or(c.Home, "/")
	c.SignedOutURL = cmp.Or(c.SignedOutURL, c.Home)
	if strings.HasPrefix(c.SignedOutURL, "/") {
		c.SignedOutURL = s.origin + c.SignedOutURL
	}
	if c.CrossOrigin == nil {
		c.CrossOrigin = http.NewCrossOriginProtection()
	}
	if c.Page == nil {
		c.Page = writePage
	}
	if err := s.checkConfig(); err != nil {
		return nil, err
	}
	if cfg.Store != nil && len(cfg.Keys) == 0 {
		return nil, invalidConfig("Config.Store is set but Config.Keys is empty, so the sessions in it could not be read " +
			"by other processes or after a restart")
	}
	if s.keys, err = newKeyring(s.origin+s.callbackPath, cfg.Keys); err != nil {
		return nil, invalidConfig(err.Error())
	}
	if cfg.Store == nil {
		s.store = withContext(newMemoryStore())
		s.unbounded = s.records
		return s, nil
	}
	store := withContext(cfg.Store)
	s.calls, s.finishing = safecall.NewLimiter(), safecall.NewLimiter()
	s.store, s.unbounded = boundedStore{store, s.calls}, records{store, s.keys}
	return s, nil
}

func (s *Site) checkConfig() error {
	c := &s.config
	if c.IdleTimeout < 0 || c.Lifetime < 0 {
		return invalidConfig("Config.IdleTimeout or Config.Lifetime is negative")
	}
	names := map[string]string{} // by path
	for _, p := range []struct{ name, path string }{
		{"the path of the flow's redirect URL", s.callbackPath}, {"Config.LoginPath", c.LoginPath},
		{"Config.LogoutPath", c.LogoutPath}, {"Config.FrontChannelLogoutPath", c.FrontChannelLogoutPath},
	} {
		plain := len(p.path) > 1 && p.path[0] == '/' && path.Clean(p.path) == p.path && !strings.ContainsAny(p.path, `?#%\`)
		if !plain {
			return invalidConfig(p.name + " must be a plain path below /, such as /login")
		}
		if other := names[p.path]; other != "" {
			return invalidConfig(p.name + " and " + other + " are the same")
		}
		names[p.path] = p.name
	}
	if !s.canReturnTo(c.Home) {
		return invalidConfig("Config.Home must be a plain path of the app, and not one that the Site serves, " +
			"such as Config.LoginPath")
	}
	u, err := url.Parse(c.SignedOutURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return invalidConfig("Config.SignedOutURL must be a path or an http(s) URL")
	}
	return nil
}

func invalidConfig(description string) error {
	return &entra.Error{Code: "invalid_request", Description: description}
}

// Handler serves sign-in, callback, sign-out and front-channel logout, and passes all other requests to next. In
// those, [AccountFromContext] returns the signed-in user. Handler must wrap the whole app, outside of routers and of
// [http.StripPrefix].
//
// Browsers send the session cookie with every request to the site. Handler therefore rejects requests that another
// site made the browser send, with status 403, unless their method is GET, HEAD or OPTIONS. This uses
// [http.CrossOriginProtection]; Config.CrossOrigin can make exceptions. Forms need no CSRF token.
//
// An app may have several sites, for example for employees and for customers. With form_post, the Handler of one must
// be the next of the other, without middleware in between, because Entra's page posts to the callbacks of both.
// Otherwise make an exception for the inner callback in Config.CrossOrigin.
//
// next receives the original ResponseWriter, so optional interfaces such as [http.Flusher] keep working.
func (s *Site) Handler(next http.Handler) http.Handler {
	if s.isZero() {
		return zeroSiteHandler
	}
	h := &handler{site: s, next: next, routes: map[string]http.HandlerFunc{
		s.config.LoginPath:              s.handleLogin,
		s.config.LogoutPath:             s.handleLogout,
		s.config.FrontChannelLogoutPath: s.handleFrontChannelLogout,
	}}
	for inner, ok := next.(*handler); ok; inner, ok = inner.next.(*handler) {
		h.callbacks = append(h.callbacks, inner.site.callbackPath)
	}
	return h
}

// handler is what [Site.Handler] returns.
type handler struct {
	site      *Site
	next      http.Handler
	routes    map[string]http.HandlerFunc // by path
	callbacks []string                    // paths of sites that next consists of
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.site
	r = s.withRequestState(r)
	if r.URL.Path == s.callbackPath { // with form_post, Entra's page sends it
		s.handleCallback(w, r)
		return
	}
	if err := s.config.CrossOrigin.Check(r); err != nil && !slices.Contains(h.callbacks, r.URL.Path) {
		s.reject(w, r, "", errCrossOrigin)
		return
	}
	if route := h.routes[r.URL.Path]; route != nil {
		route(w, r)
		return
	}
	h.next.ServeHTTP(w, r)
}

// serves reports whether the site itself, not the app, serves page. Returning there after a sign-in would start
// another sign-in.
func (s *Site) serves(page string) bool {
	u, err := url.Parse(page)
	if err != nil || u.Host != "" {
		return false
	}
	switch u.Path {
	case s.callbackPath, s.config.LoginPath, s.config.LogoutPath, s.config.FrontChannelLogoutPath:
		return true
	}
	return false
}

// canReturnTo reports whether a sign-in can return to page.
func (s *Site) canReturnTo(page string) bool {
	_, err := s.flow.Begin(context.Background(), authcode.Request{ReturnTo: page})
	return err == nil && page != "" && !s.serves(page)
}

// isZero reports whether s was not created with New.
func (s *Site) isZero() bool { return s == nil || s.flow == nil }

var zeroSiteHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "signin: Site must be created with New", http.StatusInternalServerError)
})

// Format prints the origin of the site for every verb.
func (s *Site) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "signin.Site{%s}", s.origin) }

// LogValue logs the origin of the site.
func (s *Site) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }
