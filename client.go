package entra

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
)

// Config describes one app registration.
type Config struct {
	// TenantID is the directory (tenant) ID, a GUID or a verified domain. For web apps
	// that sign in users of other tenants it may be "organizations" or "common"; tokens
	// are then acquired from the tenant of each user. Required.
	TenantID string
	// ClientID is the application (client) ID, a GUID. Required.
	ClientID string
	// Credential proves that the app is the app. One that is replaced from time to time
	// is [Reloading], so that neither tokens nor users notice: a new client would get
	// tokens of its own, and users whose refresh tokens the old one holds would sign in
	// again. Required.
	Credential Credential
	// Cloud is where the tenant lives. Zero: the public cloud.
	Cloud Cloud
	// Region is the Azure region, such as "westeurope", whose endpoint the app's own tokens
	// (client credentials) are got from, or [DetectRegion]; users' tokens always come from
	// the global one. Microsoft documents it as a feature of its internal services, which
	// must be enabled for the tenant; requests of other apps may fail there, and there is
	// no falling back. "": the global endpoint.
	//
	// Source: "Use MSAL with regional authorities" in MSAL's documentation.
	Region string
	// Cache holds the tokens. Set it to share one between clients. Nil: a cache of its
	// own, with the default size.
	Cache *cache.Cache
	// HTTPClient sends the requests to Entra, with its own Transport and Timeout; its
	// redirect policy and cookie jar are not used. A company's proxy or certificate
	// authority goes into its Transport. Nil: a client of its own, never
	// [http.DefaultClient], that gives up after 30 seconds and takes proxies from the
	// environment as [http.ProxyFromEnvironment] does.
	HTTPClient *http.Client
	// Logger is told what happens to the client's tokens, in the words of [cache.Log]: a
	// request that failed while nothing could be served and throttling at level Warn, a
	// failed background refresh at Info, the rest at Debug; and at Warn that a credential
	// did not work and another one is tried. Nothing secret and no user's name is logged.
	// A shared Cache may have cache.Log as its own OnEvent, for all its clients; use one of
	// the two. Nil: silent.
	Logger *slog.Logger
	// Capabilities are the client capabilities that this app declares. With "cp1" it
	// says that it handles claims challenges, and gets tokens of up to 28 hours that
	// can be revoked at any moment (continuous access evaluation): see
	// [TokenSource.WithClaims] and [Transport]. Nil: none.
	Capabilities []string
}

// Client is one app registration in one tenant. It is safe for concurrent use; make it
// once with [New] and keep it. It starts no goroutine and needs no closing.
type Client struct {
	tenantID     string
	clientID     string
	cloud        Cloud
	authority    string // with the tenant; part of every cache key
	capabilities []string
	variant      string // credential and capabilities, in every cache key
	flows        *flows
	credential   Credential
	cache        *cache.Cache
	httpClient   *http.Client
	wire         *wire
	breakers     *breakers
	region       *region
	logger       *slog.Logger
	onEvent      func(cache.Event) // tells logger; nil without one
}

// New returns a client for cfg. It asks nobody anything, so what it finds wrong is wrong
// in itself: the error is an [*Error] with the code "invalid_request" or, about the
// credential, "invalid_client".
func New(cfg Config) (*Client, error) {
	if err := checkClientID(cfg.ClientID); err != nil {
		return nil, err
	}
	if strings.EqualFold(cfg.TenantID, cfg.ClientID) {
		return nil, errorf("invalid_request", "Config.TenantID and Config.ClientID are the same; one is the Directory (tenant) ID, the other the Application (client) ID")
	}
	if err := checkCloud(cfg.Cloud); err != nil {
		return nil, err
	}
	if err := checkRegion(cfg.Region, cfg.Cloud); err != nil {
		return nil, err
	}
	for _, c := range cfg.Capabilities {
		if !token.MatchString(c) {
			return nil, errorf("invalid_request", "Config.Capabilities has %q, which is not the name of a capability such as \"cp1\"", c)
		}
	}
	if cfg.Credential.start == nil {
		return nil, errorf("invalid_client", "Config.Credential is missing; make one with entra.Secret, entra.Certificate or entra.Assertion, or with package credentials")
	}
	if wrong := cfg.Credential.validate(); wrong != nil {
		return nil, wrong
	}
	var onEvent func(cache.Event)
	if cfg.Logger != nil {
		onEvent = cache.Log(cfg.Logger)
	}
	if cfg.Cache == nil {
		cfg.Cache = cache.New(cache.Options{OnEvent: only(cache.EventEvicted, onEvent)})
	}
	where := newRegion(cfg.Region)
	c := &Client{
		clientID:     strings.ToLower(cfg.ClientID),
		cloud:        Cloud(cfg.Cloud.Host()),
		capabilities: slices.Clone(cfg.Capabilities),
		credential:   cfg.Credential,
		cache:        cfg.Cache,
		httpClient:   cfg.HTTPClient,
		wire:         newWire(cfg.Cloud.Host(), where, cfg.HTTPClient),
		breakers:     newBreakers(),
		region:       where,
		logger:       cfg.Logger,
		onEvent:      onEvent,
	}
	slices.Sort(c.capabilities)
	c.variant = strings.Join(append([]string{cfg.Credential.id}, c.capabilities...), " ")
	return c.WithTenant(cfg.TenantID)
}

// only returns tell for the events of one kind.
func only(kind cache.EventKind, tell func(cache.Event)) func(cache.Event) {
	if tell == nil {
		return nil
	}
	return func(e cache.Event) {
		if e.Kind == kind {
			tell(e)
		}
	}
}

// WithTenant returns a client for the same app in another tenant, which shares the
// cache, the connections and the credential with c. It is cheap: a multi-tenant API
// may call it for every request, with the tid of the validated token.
func (c *Client) WithTenant(tenantID string) (*Client, error) {
	switch lower := strings.ToLower(tenantID); {
	case c.cloud.ExternalID() && (lower == "organizations" || lower == "common" || lower == "consumers"):
		return nil, errorf("invalid_request", "the tenant is %q, but an authority of External ID serves one tenant; write its ID or its domain", lower)
	case guid.Valid(tenantID), domain.MatchString(tenantID), lower == "organizations", lower == "common", lower == "consumers":
		d := *c
		d.tenantID = lower
		d.authority = "https://" + c.cloud.Host() + "/" + lower
		d.flows = new(flows)
		return &d, nil
	}
	return nil, checkTenant(tenantID)
}

// TenantID returns the tenant in lower case, as it was configured: a GUID, a domain,
// "organizations" or "common".
func (c *Client) TenantID() string { return c.tenantID }

// ClientID returns the application ID in lower case.
func (c *Client) ClientID() string { return c.clientID }

// Cloud returns the cloud of the tenant, never "".
func (c *Client) Cloud() Cloud { return c.cloud }

// Capabilities returns the client capabilities, sorted.
func (c *Client) Capabilities() []string { return slices.Clone(c.capabilities) }

// Region returns the region of the app's own tokens, "" for none; with [DetectRegion] also
// as long as it has not been detected.
func (c *Client) Region() string { return c.region.known() }

// Cache returns the cache in which the client's tokens are held.
func (c *Client) Cache() *cache.Cache { return c.cache }

// HTTPClient returns the client that was configured for requests to Entra, or nil.
func (c *Client) HTTPClient() *http.Client { return c.httpClient }

// Logger returns the configured logger, or nil.
func (c *Client) Logger() *slog.Logger { return c.logger }

// Format prints the app and its tenant, whatever the verb.
func (c *Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "entra.Client{%s client=%s}", c.authority, c.clientID)
}

// specificTenant refuses the tenants that stand for many: only sign-in can use them.
func (c *Client) specificTenant() *Error {
	switch c.tenantID {
	case "organizations", "common", "consumers":
		return errorf("invalid_request",
			"the tenant is %q, which only a sign-in can use; a daemon names the tenant whose token it wants, by its ID or domain, "+
				"and what is got for a user comes from that user's tenant (Client.WithTenant)", c.tenantID)
	}
	return nil
}

// msal returns an MSAL client for one exchange. If region is empty, it uses the global endpoint.
func (c *Client) msal(cred confidential.Credential, rt *refreshToken, region string) (confidential.Client, error) {
	if region == "" {
		region = "DisableMsalForceRegion" // MSAL reads one from the environment unless told otherwise
	}
	options := []confidential.Option{
		confidential.WithHTTPClient(c.wire),
		// The host is the developer's own choice, not something a request brought
		// along, so nobody need be asked whether it is an authority.
		confidential.WithInstanceDiscovery(false),
		confidential.WithClientCapabilities(c.capabilities),
		confidential.WithAzureRegion(region),
	}
	if rt != nil {
		options = append(options, confidential.WithCache(rt))
	}
	return confidential.New(c.authority, c.clientID, cred, options...)
}
