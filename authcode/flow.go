package authcode

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/scopes"
	"github.com/entratoken/entra/verify"
)

// FlowName is the grant type in the cache keys of the package's tokens.
const FlowName = "authorization_code"

// FormPost is the Config.ResponseMode with which the browser posts Entra's answer to the
// app, which keeps it out of histories and logs ("OAuth 2.0 Form Post Response Mode").
const FormPost = "form_post"

// DefaultLoginTimeout is how long a user has for signing in, as in ASP.NET Core
// (RemoteAuthenticationTimeout): long enough to find a phone, short enough that an
// abandoned login is of no use to anybody.
const DefaultLoginTimeout = 15 * time.Minute

// Config describes how an app signs users in.
type Config struct {
	// RedirectURL is where Entra sends the browser back to. It is registered with the
	// app, character by character, and is https, or http on this machine (localhost,
	// 127.0.0.1, [::1]) for development. Required.
	RedirectURL string
	// Scopes are permissions in one API, such as "api://orders/Orders.Read" or
	// "https://graph.microsoft.com/User.Read": what users are asked to consent to at
	// sign-in and what tokens are for when nothing else is said. None: sign-in alone.
	Scopes []string
	// Tenants are the IDs of the tenants whose users may sign in, or
	// [verify.AnyTenant] or [verify.AnyOrganization]. Guests sign in to the tenant
	// that they are guests of. None: the client's tenant, which must then be an ID.
	Tenants []string
	// ResponseMode is how Entra's answer reaches the app: [FormPost], or "query" in
	// the address. "": "query".
	ResponseMode string
	// LoginTimeout is how long a user has for signing in. 0: [DefaultLoginTimeout].
	LoginTimeout time.Duration
}

// Flow signs users in to one app. It is safe for concurrent use; make it once with [New].
type Flow struct {
	client   *entra.Client
	config   Config
	verifier *verify.Verifier
	used     *usedLogins
}

// New returns a flow for the app that c is. It asks nobody anything; its error, about the
// Config, is an [*entra.Error] with the code "invalid_request".
func New(c *entra.Client, cfg Config) (*Flow, error) {
	cfg.Scopes, cfg.Tenants = slices.Clone(cfg.Scopes), slices.Clone(cfg.Tenants)
	none := len(cfg.Tenants) == 0
	if none {
		cfg.Tenants = []string{c.TenantID()}
	}
	if cfg.ResponseMode == "" {
		cfg.ResponseMode = "query"
	}
	if cfg.LoginTimeout == 0 {
		cfg.LoginTimeout = DefaultLoginTimeout
	}
	switch {
	case cfg.RedirectURL == "":
		return nil, invalid("Config.RedirectURL is missing; it is the address of this app to which Entra sends the browser back, as it is registered")
	case !validRedirect(cfg.RedirectURL):
		return nil, invalid("Config.RedirectURL is not an absolute https address without a fragment; http is for localhost alone")
	case !validScopes(cfg.Scopes):
		return nil, invalid("Config.Scopes has an entry that is empty or has a space in it; each entry is one scope")
	case !oneAPI(cfg.Scopes):
		return nil, invalid("Config.Scopes are permissions in several APIs, and a token is for one; put those in the others into Request.ExtraScopes")
	case cfg.ResponseMode != "query" && cfg.ResponseMode != FormPost:
		return nil, invalid("Config.ResponseMode is neither query nor form_post")
	case cfg.LoginTimeout < 0:
		return nil, invalid("Config.LoginTimeout is negative")
	}
	v, err := verify.New(verify.Config{
		Audiences: []string{c.ClientID()}, Tenants: cfg.Tenants, Cloud: c.Cloud(),
		CacheSize: -1, HTTPClient: c.HTTPClient(), Logger: c.Logger(),
	})
	if err != nil && none {
		return nil, invalid(fmt.Sprintf("Config.Tenants is empty, and the client's tenant, %q, is not an ID: list the IDs of the tenants whose users may sign in (Directory (tenant) ID in the admin center), or verify.AnyOrganization for those of all", c.TenantID()))
	}
	if err != nil {
		return nil, invalid("Config.Tenants does not say whose users may sign in (" + err.Error() + ")")
	}
	return &Flow{c, cfg, v, newUsedLogins()}, nil
}

// validRedirect applies Microsoft's "Redirect URI (reply URL) outline and restrictions".
func validRedirect(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || strings.Contains(s, "#") {
		return false
	}
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		return u.Scheme == "https" || u.Scheme == "http"
	}
	return u.Scheme == "https"
}

func validScopes(list []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool {
		return s == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
	})
}

// oneAPI reports whether the scopes that name their API by a URI, before the last slash,
// name the same one. Entra refuses others only when the code is redeemed (AADSTS28000).
func oneAPI(list []string) bool {
	api := ""
	for _, s := range list {
		if !strings.Contains(s, "://") {
			continue // of sign-in, of Microsoft Graph, or of an API named by its client ID
		}
		resource := strings.TrimRight(s[:strings.LastIndexByte(s, '/')], "/")
		if api != "" && !strings.EqualFold(resource, api) {
			return false
		}
		api = resource
	}
	return true
}

// tokenScopes returns what to ask a token for: wanted or else the Config's scopes,
// without those of sign-in unless there are no others, since MSAL wants one at least.
func (f *Flow) tokenScopes(wanted []string) []string {
	if len(wanted) == 0 {
		wanted = f.config.Scopes
	}
	if wanted = scopes.Resource(wanted); len(wanted) == 0 {
		wanted = []string{"openid"}
	}
	return wanted
}

// SignOutURL returns where to send the browser so that Entra ends the user's session in
// it, too, and then sends it to returnTo, a registered redirect URL. "": it stays there.
//
// Source: OpenID Connect RP-Initiated Logout; "Send a sign-out request" in Microsoft's
// page on OpenID Connect.
func (f *Flow) SignOutURL(returnTo string) string {
	q := url.Values{}
	if returnTo != "" {
		q.Set("post_logout_redirect_uri", returnTo)
	}
	return f.endpoint("logout", q)
}

// AdminConsentURL returns where an administrator of the tenant consents to permissions
// for all of its users; none: the Config's scopes. tenantID is that of a user who may
// not consent, or "" for the client's tenant. Entra then sends the administrator's browser
// to RedirectURL, with admin_consent=True, which proves nothing, and no code.
//
// Source: "Admin consent on the Microsoft identity platform".
func (f *Flow) AdminConsentURL(tenantID string, wanted ...string) string {
	u := url.URL{
		Scheme: "https", Host: f.client.Cloud().Host(),
		Path: "/" + cmp.Or(tenantID, f.client.TenantID()) + "/v2.0/adminconsent",
		RawQuery: url.Values{
			"client_id":    {f.client.ClientID()},
			"redirect_uri": {f.config.RedirectURL},
			"scope":        {strings.Join(f.tokenScopes(wanted), " ")},
		}.Encode(),
	}
	return u.String()
}

// RedirectURL returns the Config's: where Entra sends the browser back to.
func (f *Flow) RedirectURL() string { return f.config.RedirectURL }

// ResponseMode returns how Entra's answer reaches the app: [FormPost] or "query".
func (f *Flow) ResponseMode() string { return f.config.ResponseMode }

// LoginTimeout returns how long a user has for signing in.
func (f *Flow) LoginTimeout() time.Duration { return f.config.LoginTimeout }

// AllowsTenant reports whether users of the tenant, given by its ID in lower case, may
// sign in.
func (f *Flow) AllowsTenant(tenantID string) bool { return f.verifier.AllowsTenant(tenantID) }

func (f *Flow) endpoint(name string, q url.Values) string {
	u := url.URL{
		Scheme: "https", Host: f.client.Cloud().Host(),
		Path: "/" + f.client.TenantID() + "/oauth2/v2.0/" + name, RawQuery: q.Encode(),
	}
	return u.String()
}

func invalid(description string) error {
	return &entra.Error{Code: "invalid_request", Description: description}
}
