package authcode

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/scopes"
	"github.com/entratoken/entra/verify"
)

// FlowName is the [entra.Grant.Flow] of this package's tokens.
const FlowName = "authorization_code"

// Values of Config.ResponseMode.
const (
	// ResponseModeQuery sends the authorization response in the query of RedirectURL.
	ResponseModeQuery = "query"
	// ResponseModeFormPost has the browser post the authorization response to the app. The
	// code then appears in no history and no access log ("OAuth 2.0 Form Post Response
	// Mode").
	ResponseModeFormPost = "form_post"
)

// DefaultLoginTimeout is the default of Config.LoginTimeout. ASP.NET Core uses the same
// value (RemoteAuthenticationTimeout). A user has time to find a phone, and an abandoned
// login soon becomes useless.
const DefaultLoginTimeout = 15 * time.Minute

// Config describes how an app signs users in.
type Config struct {
	// RedirectURL is the URL of this app to which Entra redirects the browser. It must
	// equal a redirect URI of the app registration, character by character. It is https, or
	// http on this machine (localhost, 127.0.0.1, [::1]) for development. Required.
	RedirectURL string
	// Scopes are permissions in one API, such as "api://orders/Orders.Read" or
	// "https://graph.microsoft.com/User.Read". Users consent to them at sign-in, and
	// tokens are for them by default. The scopes openid, profile and
	// offline_access are always requested. If empty, the app only signs users in.
	Scopes []string
	// Tenants are the IDs of the tenants whose users may sign in, or verify.AnyTenant or
	// verify.AnyOrganization. Guests sign in to the tenant that invited them. An app for
	// several tenants has a client with the tenant "organizations" or "common". If empty,
	// only users of the client's tenant may sign in, and that tenant must be an ID.
	Tenants []string
	// CustomSigningKey says that the app has a signing key of its own in each tenant, as
	// claims mapping may require. ID tokens are then verified with the keys of the app
	// ("Configure a custom signing key" in Microsoft's page on claims customization).
	CustomSigningKey bool
	// ResponseMode is how the authorization response reaches the app. Defaults to
	// ResponseModeQuery.
	ResponseMode string
	// LoginTimeout is the time that a user has to sign in. Defaults to
	// DefaultLoginTimeout.
	LoginTimeout time.Duration
	// Parameters are further parameters of each authorization request, such as mkt or
	// domain_hint. Request.Parameters can replace them. It is an error to name a
	// parameter that the flow sets itself, in upper or lower case. If empty, no further
	// parameters are sent.
	Parameters map[string]string
}

// Flow signs users in to one app. It must be created with [New] and is safe for concurrent
// use. Create it once. Methods of the zero Flow return zero values and errors.
type Flow struct {
	client   *entra.Client
	config   Config
	verifier *verify.Verifier
	used     *usedLogins
}

func zeroFlow() error { return invalid("the Flow must be created with authcode.New") }

// isZero reports whether f was not created with New.
func (f *Flow) isZero() bool { return f == nil || f.client == nil }

// oneScope ends the errors about lists of scopes.
const oneScope = "each entry must be one scope, in printable ASCII without spaces"

// New returns a flow for the app of c. It makes no network requests and only validates cfg. It
// copies the slices and the map of cfg.
// The error is an [*entra.Error] with the code "invalid_request".
func New(c *entra.Client, cfg Config) (*Flow, error) {
	if c == nil || c.ClientID() == "" {
		return nil, invalid("authcode.New requires a client; create one with entra.New")
	}
	cfg.Scopes, cfg.Tenants = slices.Clone(cfg.Scopes), slices.Clone(cfg.Tenants)
	cfg.Parameters = maps.Clone(cfg.Parameters)
	ownTenant := len(cfg.Tenants) == 0
	if ownTenant {
		cfg.Tenants = []string{c.TenantID()}
	}
	if cfg.ResponseMode == "" {
		cfg.ResponseMode = ResponseModeQuery
	}
	switch {
	case cfg.RedirectURL == "":
		return nil, invalid("Config.RedirectURL is missing; " +
			"set it to the registered URL of this app to which Entra redirects the browser")
	case !validRedirect(cfg.RedirectURL):
		return nil, invalid("Config.RedirectURL must be an absolute https URL without a fragment; " +
			"http is allowed for localhost only")
	case !validScopes(cfg.Scopes):
		return nil, invalid("Config.Scopes has an invalid entry; " + oneScope)
	case !scopes.OneAPI(cfg.Scopes):
		return nil, invalid("Config.Scopes names several APIs, but a token is for one; " +
			"move the scopes of the others to Request.ExtraScopes")
	case cfg.ResponseMode != ResponseModeQuery && cfg.ResponseMode != ResponseModeFormPost:
		return nil, invalid(`Config.ResponseMode must be "query" or "form_post"`)
	case cfg.LoginTimeout < 0:
		return nil, invalid("Config.LoginTimeout is negative")
	}
	if err := scopes.Check(cfg.Scopes); err != nil {
		return nil, invalid("Config.Scopes is invalid: " + err.Error())
	}
	if err := checkParameters("Config.Parameters", cfg.Parameters); err != nil {
		return nil, err
	}
	cfg.LoginTimeout = cmp.Or(cfg.LoginTimeout, DefaultLoginTimeout)
	verified := verify.Config{
		Audiences: []string{c.ClientID()}, Tenants: cfg.Tenants, Cloud: c.Cloud(),
		CacheSize:  -1, // each ID token is verified once, so a cache would only use memory
		HTTPClient: c.HTTPClient(), Logger: c.Logger(),
	}
	if cfg.CustomSigningKey {
		verified.KeysFor = c.ClientID()
	}
	v, err := verify.New(verified)
	if err != nil && ownTenant {
		return nil, invalid(fmt.Sprintf("Config.Tenants is empty, and the client's tenant %q is not an ID; "+
			"list the Directory (tenant) IDs of the tenants whose users may sign in, "+
			"or verify.AnyOrganization for all organizations", c.TenantID()))
	}
	if err != nil {
		return nil, invalid("Config.Tenants is invalid: " + err.Error())
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
	return !slices.ContainsFunc(list, func(s string) bool { return !scopes.Valid(s) })
}

// isPrintable reports whether s consists of printable ASCII without spaces.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// tokenScopes returns the scopes of a token request: requested, or the Config's if it is
// empty. It removes the OpenID Connect scopes, which MSAL adds itself. If no other scope
// remains, it returns openid, because MSAL requires at least one scope.
func (f *Flow) tokenScopes(requested []string) []string {
	if len(requested) == 0 {
		requested = f.config.Scopes
	}
	if requested = scopes.WithoutOIDC(requested); len(requested) == 0 {
		return []string{"openid"}
	}
	return requested
}

// SignOutURL returns the URL at which Entra ends its own session in the browser. Entra then
// redirects the browser to returnTo, the post-logout redirect URI (post_logout_redirect_uri).
// It must be registered as a redirect URI of the app. If returnTo is empty, the browser stays at
// Entra. Call [Flow.SignOut] as well to drop the user's tokens.
//
// Sources: OpenID Connect RP-Initiated Logout, and "Send a sign-out request" in Microsoft's
// page on OpenID Connect.
func (f *Flow) SignOutURL(returnTo string) string {
	if f.isZero() {
		return ""
	}
	q := url.Values{}
	if returnTo != "" {
		q.Set("post_logout_redirect_uri", returnTo)
	}
	return f.endpoint("logout", q)
}

// AdminConsentURL returns the URL at which an administrator grants scopes for all users of a
// tenant. If scopes is empty, those of the Config are requested. tenantID is the tenant of
// a user who may not consent; if empty, the client's tenant is used. Entra then redirects the
// administrator's browser to RedirectURL with admin_consent=True and without a code. That
// parameter proves nothing, because anyone can send it.
//
// Source: "Admin consent on the Microsoft identity platform".
func (f *Flow) AdminConsentURL(tenantID string, scopes ...string) string {
	if f.isZero() {
		return ""
	}
	u := url.URL{
		Scheme: "https", Host: f.client.Cloud().Host(),
		Path: "/" + cmp.Or(tenantID, f.client.TenantID()) + "/v2.0/adminconsent",
		RawQuery: url.Values{
			"client_id":    {f.client.ClientID()},
			"redirect_uri": {f.config.RedirectURL},
			"scope":        {strings.Join(f.tokenScopes(scopes), " ")},
		}.Encode(),
	}
	return u.String()
}

// RedirectURL returns Config.RedirectURL.
func (f *Flow) RedirectURL() string { return f.settings().RedirectURL }

// ResponseMode returns [ResponseModeQuery] or [ResponseModeFormPost].
func (f *Flow) ResponseMode() string { return f.settings().ResponseMode }

// LoginTimeout returns the time that a user has to sign in.
func (f *Flow) LoginTimeout() time.Duration { return f.settings().LoginTimeout }

// settings returns the Config of f, which is empty for nil and for the zero Flow.
func (f *Flow) settings() Config {
	if f.isZero() {
		return Config{}
	}
	return f.config
}

// AllowsTenant reports whether users of a tenant may sign in. tenantID is an ID in lower
// case.
func (f *Flow) AllowsTenant(tenantID string) bool {
	return !f.isZero() && f.verifier.AllowsTenant(tenantID)
}

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
