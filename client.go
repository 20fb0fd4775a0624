package entra

import (
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
)

// Config describes one app registration in one tenant.
type Config struct {
	// TenantID is the directory (tenant) ID, a GUID or a verified domain. Web apps that
	// sign in users of other tenants may use "organizations" or "common". Their tokens
	// are then acquired from the tenant of each user. Required.
	TenantID string
	// ClientID is the application (client) ID, a GUID. Required.
	ClientID string
	// Credential authenticates the app. Use CredentialFunc for a credential that is
	// rotated: a new client with another credential would not find the cached tokens,
	// and users would have to sign in again. Required.
	Credential Credential
	// Cloud is the cloud of the tenant. Defaults to CloudPublic.
	Cloud Cloud
	// Region is an Azure region such as "westeurope", or DetectRegion. Tokens for the
	// app itself (client credentials) are then requested from the endpoint of that
	// region. Tokens for users always come from the global endpoint. Microsoft documents
	// regional endpoints for its internal services, which must be enabled per tenant.
	// Requests of other apps may fail, without a fallback. If empty, the global endpoint
	// is used.
	//
	// Source: "Use MSAL with regional authorities" in MSAL's documentation.
	Region string
	// Cache stores the tokens. Clients may share one. If nil, the client uses a private
	// cache of the default size.
	Cache *cache.Cache
	// HTTPClient sends the requests to Entra. Its Transport and Timeout are used; its
	// redirect policy and cookie jar are not. Configure a proxy or a private certificate
	// authority in its Transport. If nil, the client uses connections of its own, with the
	// settings of http.DefaultTransport, HTTP/2 health checks and a time-out of 30 seconds.
	//
	// A client of your own needs a time-out of at most 15 seconds for the response headers, so
	// that a retry follows within a caller's time, and HTTP/2 pings, which find silent
	// connections: http.Transport.HTTP2 with SendPingTimeout and PingTimeout of 5 seconds.
	// A connection is closed after a request has timed out on it.
	HTTPClient *http.Client
	// Logger logs the events of the client's tokens with the messages of cache.Log. The
	// level is Warn for throttling and for a failed request without a usable cached token,
	// Info for a failed background refresh, and Debug for all others. Two more records have
	// level Warn: a credential failed and another is tried, and a client secret is probably
	// not the secret's Value. Records contain neither secrets nor names of users. If a shared
	// Cache already logs with cache.Log, leave Logger nil. If nil, nothing is logged.
	Logger *slog.Logger
	// Capabilities are the client capabilities that the app declares. With CapabilityCAE
	// the app must handle claims challenges, and gets tokens of up to 28 hours that can
	// be revoked at any time; see TokenSource.WithClaims and Transport. New copies the
	// slice. If nil, the app declares none.
	Capabilities []string
}

// CapabilityCAE is the client capability "cp1", with which an app opts in to continuous
// access evaluation ("Claims challenges, claims requests, and client capabilities" in
// Microsoft's identity platform documentation).
const CapabilityCAE = "cp1"

// A Client is one app registration in one tenant. It must be created with [New] and is safe
// for concurrent use. No goroutine runs between requests, so a Client need not be closed.
// The zero Client has no properties, and no tokens can be acquired with it.
type Client struct {
	tenantID     string
	multiTenant  bool // tenantID stands for many tenants
	clientID     string
	cloud        Cloud
	authority    string // with the tenant; part of every cache key
	capabilities []string
	flows        *flows
	credential   Credential
	cache        *cache.Cache
	httpClient   *http.Client
	transport    *msalTransport
	breakers     *breakers
	region       *region
	logger       *slog.Logger
	onEvent      func(cache.Event) // logs to logger; nil without one
	warned       *sync.Once        // logs that the credential is probably wrong
	issuer       *issuerClient     // acquires the tokens instead of Entra; nil for an app registration
	blueprint    string            // the client ID of an agent identity's blueprint; empty for other apps
}

// New returns a client for cfg. It makes no network requests. It only validates cfg and
// returns an [*Error] with the code "invalid_client" for an invalid credential, and
// "invalid_request" for every other field.
func New(cfg Config) (*Client, error) {
	if err := validateClientID(cfg.ClientID); err != nil {
		return nil, err
	}
	if strings.EqualFold(cfg.TenantID, cfg.ClientID) {
		return nil, errorf("invalid_request", "Config.TenantID and Config.ClientID are the same; "+
			"one is the Directory (tenant) ID, the other the Application (client) ID")
	}
	if err := cfg.Cloud.validate(); err != nil {
		return nil, err
	}
	if err := validateRegion(cfg.Region, cfg.Cloud); err != nil {
		return nil, err
	}
	for _, c := range cfg.Capabilities {
		if !capabilityName.MatchString(c) {
			return nil, errorf("invalid_request", "Config.Capabilities contains %q, which is not a capability "+
				"such as \"cp1\"", c)
		}
	}
	if cfg.Credential.start == nil {
		return nil, errorf("invalid_client", "Config.Credential is missing; create one with entra.Secret, "+
			"entra.Certificate or "+
			"entra.Assertion, or with package credentials")
	}
	if invalid := cfg.Credential.validate(); invalid != nil {
		return nil, invalid
	}
	var onEvent func(cache.Event)
	if cfg.Logger != nil {
		onEvent = cache.Log(cfg.Logger)
	}
	if cfg.Cache == nil {
		cfg.Cache = cache.New(cache.Options{OnEvent: evictionsOnly(onEvent)})
	}
	if err := cfg.Cache.Validate(); err != nil {
		return nil, errorf("invalid_request", "Config.Cache is invalid: %v", err)
	}
	region := newRegion(cfg.Region)
	c := &Client{
		clientID:     strings.ToLower(cfg.ClientID),
		cloud:        cfg.Cloud.main(),
		capabilities: slices.Clone(cfg.Capabilities),
		credential:   cfg.Credential,
		cache:        cfg.Cache,
		httpClient:   cfg.HTTPClient,
		transport:    newMSALTransport(cfg.Cloud, region, cfg.HTTPClient, func() int { return cfg.Cache.Stats().Sessions }),
		breakers:     newBreakers(),
		region:       region,
		logger:       cfg.Logger,
		onEvent:      onEvent,
		warned:       new(sync.Once),
	}
	slices.Sort(c.capabilities)
	return c.WithTenant(cfg.TenantID)
}

// evictionsOnly returns a function that passes evictions to onEvent. All other events of a
// private cache reach the client's logger through its entries.
func evictionsOnly(onEvent func(cache.Event)) func(cache.Event) {
	if onEvent == nil {
		return nil
	}
	return func(e cache.Event) {
		if e.Kind == cache.EventEvicted {
			onEvent(e)
		}
	}
}

// WithTenant returns a client for the same app in another tenant. It shares the cache, the
// connections and the credential with c. It is cheap: a multi-tenant API may call it for
// every request, with the tid of the validated token. The error is an [*Error] with the code
// "invalid_request" if tenantID or c is invalid.
func (c *Client) WithTenant(tenantID string) (*Client, error) {
	if c.isZero() {
		return nil, zeroClient()
	}
	switch lower := strings.ToLower(tenantID); {
	case c.blueprint != "" && lower != c.tenantID:
		return nil, errorf("invalid_request", "an agent identity belongs to one tenant; create it with the client of its "+
			"blueprint in the other tenant")
	case c.cloud.ExternalID() && isMultiTenant(lower):
		return nil, errorf("invalid_request", "the tenant is %q, but an authority of External ID serves one tenant; "+
			"use its ID or its domain", lower)
	case guid.Valid(tenantID), domainName.MatchString(tenantID), isMultiTenant(lower):
		d := *c
		d.tenantID, d.multiTenant = lower, isMultiTenant(lower)
		d.authority = "https://" + c.cloud.Host() + "/" + lower
		d.flows = new(flows)
		return &d, nil
	}
	return nil, tenantError(tenantID)
}

// isZero reports whether c is nil or not created with New.
func (c *Client) isZero() bool { return c == nil || c.cache == nil }

func zeroClient() *Error {
	return errorf("invalid_request", "the Client is nil or its zero value; it must be created with entra.New")
}

// TenantID returns the configured tenant in lower case: a GUID, a domain, "organizations" or
// "common".
func (c *Client) TenantID() string { return c.tenantID }

// ClientID returns the application ID in lower case.
func (c *Client) ClientID() string { return c.clientID }

// Cloud returns the cloud of the tenant with its main host. It is not empty after [New].
func (c *Client) Cloud() Cloud { return c.cloud }

// host returns the name of the server that issues the tokens.
func (c *Client) host() string {
	if c.issuer != nil {
		return c.issuer.Name
	}
	return c.cloud.Host()
}

// Capabilities returns a sorted copy of the client capabilities.
func (c *Client) Capabilities() []string { return slices.Clone(c.capabilities) }

// Region returns the region of the app's own tokens, or "" if they come from the global
// endpoint or [DetectRegion] has not detected the region yet.
func (c *Client) Region() string {
	if c.region == nil {
		return ""
	}
	return c.region.known()
}

// Cache returns the cache that stores the client's tokens.
func (c *Client) Cache() *cache.Cache { return c.cache }

// HTTPClient returns the configured client for requests to Entra, or nil.
func (c *Client) HTTPClient() *http.Client { return c.httpClient }

// Logger returns the configured logger, or nil.
func (c *Client) Logger() *slog.Logger { return c.logger }

// Format prints the app and its tenant for every verb.
func (c *Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "entra.Client{%s client=%s}", c.authority, c.clientID)
}

// isMultiTenant reports whether tenant, in lower case, stands for many tenants. Only
// sign-ins can use those.
func isMultiTenant(tenant string) bool {
	return tenant == "organizations" || tenant == "common" || tenant == "consumers"
}

// requireTenant reports a client that does not name a single tenant.
func (c *Client) requireTenant() *Error {
	if !c.multiTenant {
		return nil
	}
	return errorf("invalid_request", "the tenant is %q, which is only for sign-in; a daemon needs the ID or "+
		"domain of one tenant, "+
		"and a user's token comes from the user's tenant (Client.WithTenant)", c.tenantID)
}

var (
	domainName = regexp.MustCompile(
		`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

	capabilityName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// isDecoratedGUID reports whether s is a GUID with white space, quotes, or the braces of a
// Windows registry around it.
func isDecoratedGUID(s string) bool { return guid.Valid(strings.Trim(s, " \t\r\n\"'`{}()<>")) }

// validateClientID reports an invalid client ID. The error does not repeat the value, which
// may be a secret in the wrong field.
func validateClientID(id string) *Error {
	switch {
	case guid.Valid(id):
		return nil
	case id == "":
		return errorf("invalid_request", "Config.ClientID is missing; it is the Application (client) ID of the "+
			"app registration, a GUID")
	case isDecoratedGUID(id):
		return errorf("invalid_request", "Config.ClientID has white space, quotes or braces around it; use the "+
			"GUID alone")
	}
	return errorf("invalid_request", "Config.ClientID is not a GUID; it is the Application (client) ID of the "+
		"app registration; if the secret is in this field, swap the two, and replace the secret if it was logged")
}

// tenantError returns the error for a tenant that is neither a GUID nor a domain. It does
// not repeat the value.
func tenantError(id string) *Error {
	switch {
	case id == "":
		return errorf("invalid_request", "the tenant ID is missing; it is the Directory (tenant) ID, a GUID, or "+
			"a domain of the tenant")
	case strings.Contains(id, "/"):
		return errorf("invalid_request", "the tenant ID is a URL or a path, not a GUID or a domain; use the "+
			"tenant alone, "+
			"and set Config.Cloud to the host of its authority if that is not in the public cloud")
	case isDecoratedGUID(id):
		return errorf("invalid_request", "the tenant ID has white space, quotes or braces around it; use the "+
			"GUID alone")
	case strings.EqualFold(id, "adfs"):
		return errorf("invalid_request", "the tenant ID is \"adfs\", but AD FS is not supported; "+
			"use an OpenID Connect library with golang.org/x/oauth2")
	}
	return errorf("invalid_request", "the tenant ID is neither a GUID nor a domain, or has white space around it; "+
		"it is the Directory (tenant) ID of the app registration")
}
