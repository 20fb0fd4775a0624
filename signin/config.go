package signin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
)

// Defaults of the [Config]: a working day, and an hour in which nobody is there.
const (
	DefaultLifetime    = 8 * time.Hour
	DefaultIdleTimeout = time.Hour
)

// Config describes a site. The zero value is for one process; set Store and Keys for
// several, and for sessions that outlive a process. Paths are as browsers see them.
type Config struct {
	// Store is where sessions are kept. Nil: in this process, at most 50,000.
	Store Store
	// Keys seal cookies and what goes to Store. The first seals, all open. To rotate, add
	// the new one at the end, everywhere; then make it the first; and take the old one
	// away a Lifetime later. None: a random key of this process, which only does without
	// a Store.
	Keys []Key

	// IdleTimeout is how long a session lasts without a request. It is kept to the
	// minute. 0: [DefaultIdleTimeout].
	IdleTimeout time.Duration
	// Lifetime is how long a session lasts at most. 0: [DefaultLifetime].
	Lifetime time.Duration
	// KeepClaims keeps all claims of the ID token in the session, for
	// [ClaimsFromContext]. False: the Account alone.
	KeepClaims bool

	// LoginPath begins a sign-in. In its query, return_to says where the user goes
	// afterwards, and prompt=select_account lets the user choose another account. "":
	// "/login".
	LoginPath string
	// LogoutPath signs the user out, with a POST. "": "/logout".
	LogoutPath string
	// FrontChannelLogoutPath is where Entra says that a user has signed out elsewhere, if
	// it is registered as the front-channel logout URL. It works for users whose ID token
	// has the optional claim sid. "": "/logout/frontchannel".
	FrontChannelLogoutPath string
	// Home is where a user goes if nothing else is said. "": "/".
	Home string
	// SignedOutURL is where Entra sends the browser after a sign-out: a path of this site,
	// or a whole URL, registered as a redirect URI. "": Home.
	SignedOutURL string

	// CrossOrigin refuses what other sites have a browser send; see [Site.Handler]. Nil:
	// one without exceptions.
	CrossOrigin *http.CrossOriginProtection
	// Page shows a refusal to a person; see [Problem]. Nil: a page of this package's.
	Page func(w http.ResponseWriter, r *http.Request, p Problem)
	// Logger is told of sign-ins, sign-outs and refusals. Nil: silent.
	Logger *slog.Logger
}

// Site signs users of one web app in and out and knows them in between. It is safe for
// concurrent use; make it once with [New].
type Site struct {
	flow     *authcode.Flow
	config   Config
	store    contextStore
	keys     *keyring
	cookies  cookies
	origin   string // of the site: scheme, host and port
	callback string // path
	logger   *slog.Logger
}

// New returns a site on top of the flow, whose redirect URL says where the site is. It
// asks nobody anything; its error, about the Config, is an [*entra.Error] with the code
// "invalid_request".
func New(flow *authcode.Flow, cfg Config) (*Site, error) {
	if flow == nil {
		return nil, invalid("there is no flow; make one with authcode.New")
	}
	redirect, err := url.Parse(flow.RedirectURL())
	if err != nil {
		return nil, invalid("the flow's redirect URL cannot be parsed")
	}
	s := &Site{flow: flow, config: cfg, callback: redirect.Path, logger: cfg.Logger}
	s.origin = redirect.Scheme + "://" + redirect.Host
	s.cookies = newCookies(redirect, flow.ResponseMode())
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	c := &s.config
	c.Keys = nil // they are in s.keys
	fill(&c.IdleTimeout, DefaultIdleTimeout)
	fill(&c.Lifetime, DefaultLifetime)
	fill(&c.LoginPath, "/login")
	fill(&c.LogoutPath, "/logout")
	fill(&c.FrontChannelLogoutPath, "/logout/frontchannel")
	fill(&c.Home, "/")
	fill(&c.SignedOutURL, c.Home)
	if strings.HasPrefix(c.SignedOutURL, "/") {
		c.SignedOutURL = s.origin + c.SignedOutURL
	}
	if c.CrossOrigin == nil {
		c.CrossOrigin = http.NewCrossOriginProtection()
	}
	if c.Page == nil {
		c.Page = page
	}
	if err := s.check(cfg); err != nil {
		return nil, err
	}
	if s.keys, err = newKeyring(s.origin+s.callback, cfg.Keys); err != nil {
		return nil, invalid(err.Error())
	}
	if cfg.Store == nil {
		cfg.Store = newMemory()
	}
	s.store = withContext(cfg.Store)
	return s, nil
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (s *Site) check(cfg Config) error {
	c := &s.config
	if cfg.Store != nil && len(cfg.Keys) == 0 {
		return invalid("Config.Store is set and Config.Keys is not: no other process, and this one after a restart, could read the sessions")
	}
	if c.IdleTimeout < 0 || c.Lifetime < 0 {
		return invalid("Config.IdleTimeout or Config.Lifetime is negative")
	}
	paths := map[string]string{}
	for _, p := range []struct{ name, path string }{
		{"the path of the flow's redirect URL", s.callback}, {"Config.LoginPath", c.LoginPath},
		{"Config.LogoutPath", c.LogoutPath}, {"Config.FrontChannelLogoutPath", c.FrontChannelLogoutPath},
	} {
		if len(p.path) < 2 || p.path[0] != '/' || path.Clean(p.path) != p.path || strings.ContainsAny(p.path, `?#%\`) {
			return invalid(p.name + " is not a plain path of its own, such as /login")
		}
		if other := paths[p.path]; other != "" {
			return invalid(p.name + " and " + other + " are the same")
		}
		paths[p.path] = p.name
	}
	if _, err := s.flow.Begin(context.Background(), authcode.Request{ReturnTo: c.Home}); err != nil || s.answers(c.Home) {
		return invalid("Config.Home is not a plain path on this site, or is one of its own, such as Config.LoginPath")
	}
	u, err := url.Parse(c.SignedOutURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return invalid("Config.SignedOutURL is neither a path nor a URL")
	}
	return nil
}

func invalid(description string) error {
	return &entra.Error{Code: "invalid_request", Description: description}
}

// Format prints where the site is, whatever the verb.
func (s *Site) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "signin.Site{%s}", s.origin) }

// LogValue logs where the site is.
func (s *Site) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }
