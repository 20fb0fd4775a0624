package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/httpclient"
)

// Values for Config.Tenants that are not the ID of an organization's tenant.
const (
	// AnyTenant accepts every tenant of the cloud, including personal Microsoft
	// accounts. The program must then authorize each request by its claims, and must
	// reach the data of a tenant only with the tid of that tenant. Config.Audiences
	// must have only client IDs.
	AnyTenant = "*"
	// AnyOrganization is like AnyTenant without personal Microsoft accounts.
	AnyOrganization = "organizations-only"
	// PersonalAccounts is the ID of the tenant of all personal Microsoft accounts.
	PersonalAccounts = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// MaxTokenSize is the maximum size of a token in bytes. Entra keeps tokens small
// enough for HTTP headers: it omits groups if there are more than 200.
const MaxTokenSize = 32 << 10

const (
	defaultLeeway    = time.Minute
	maxLeeway        = 10 * time.Minute
	defaultCacheSize = 10_000
)

// Config configures a [Verifier]. Audiences and Tenants are required: no default
// accepts a token. [New] copies them, so the caller may modify the slices afterwards.
type Config struct {
	// Audiences are the accepted values of the aud claim. They are the client ID
	// of this application, which v2.0 tokens and ID tokens always have, and its App
	// ID URIs, such as "api://1234", if v1.0 tokens should be accepted. A v1.0 token
	// has the App ID URI that its client requested, or the client ID. An API gets
	// v1.0 tokens unless requestedAccessTokenVersion in its app manifest is 2.
	// Values are compared exactly. Client IDs may be in upper or lower case here.
	// Required.
	//
	// A client ID identifies the application in every tenant. An App ID URI does so
	// only within one tenant: in another tenant, "api://1234" may be another
	// application, whose roles and scopes its administrators grant. Add an App ID
	// URI only if all Tenants are trusted not to claim it. New rejects one if any
	// tenant is accepted. A URI with a verified domain or with the client ID is safer
	// than a plain word.
	//
	// Sources: "Validate the audience" in Microsoft's claims-validation page, aud
	// in its access token claims reference, and requestedAccessTokenVersion in its
	// page on the manifest.
	Audiences []string

	// Tenants are the IDs (GUIDs) of the tenants whose tokens are accepted.
	// AnyTenant and AnyOrganization must stand alone. Required.
	//
	// Source: "Validate the tenant" in Microsoft's claims-validation page.
	Tenants []string

	// Cloud is the cloud whose tokens are accepted. Defaults to the public cloud.
	// An API that serves several clouds needs a Verifier for each. If Cloud is the
	// host of an external tenant, such as "contoso.ciamlogin.com", or an
	// entra.ExternalIDCloud, Tenants must have only the ID of that tenant.
	Cloud entra.Cloud

	// V1Issuer is the issuer of v1.0 tokens, with "{tenantid}" in place of the
	// tenant ID. If empty, it is https://sts.chinacloudapi.cn/{tenantid}/ in China
	// and https://sts.windows.net/{tenantid}/ in other clouds. It is not documented
	// for External ID, so v1.0 tokens are rejected there if V1Issuer is empty. The
	// issuer of v2.0 tokens is always https://HOST/{tenantid}/v2.0, or
	// https://{tenantid}.ciamlogin.com/{tenantid}/v2.0 in External ID.
	V1Issuer string

	// KeysFor is the client ID of this application if it has a custom signing key, as
	// claims mapping may require. Its keys are then fetched for each tenant: a custom
	// signing key belongs to one tenant and signs only tokens of that tenant. For
	// unknown keys, those of a tenant are fetched at most once in ten seconds. The
	// response to a forged token can reveal whether its tenant is accepted. If empty, the
	// keys that all applications share are fetched.
	//
	// If any tenant is allowed, the keys of the 1,000 most recently used tenants are
	// cached. Other tenants are new until a token of them is verified, and so is every
	// tenant after a restart. All new tenants together cause at most 100 fetches at once
	// and ten per second. A flood of forged tokens does not affect tenants whose keys are
	// cached. It delays new tenants, whose tokens get status 503: ten requests of new
	// tenants per second are admitted, forged or not. During 1,000 forged requests per
	// second, a new tenant with one request per second waits for 100 seconds on average.
	// Twenty per second can keep it out if they always arrive just before its own. The
	// Logger warns at most once a minute.
	//
	// Sources: "Validate the signature" in Microsoft's access-tokens page, and
	// "Configure a custom signing key" in its page on claims customization.
	KeysFor string

	// AllowAppsWithoutRoles accepts app-only tokens without any role. By default they
	// are rejected with status 403, because Entra issues one to any app of a tenant for
	// any API that does not require assignment. Set it only if the program checks which
	// clients may use the API, for example with RequireClient.
	AllowAppsWithoutRoles bool

	// Leeway is the accepted difference between the clocks of Entra and of this
	// machine, at most ten minutes. If zero, it is one minute. If negative, no
	// difference is accepted.
	Leeway time.Duration

	// CacheSize is the number of verified tokens to cache. Another request with a
	// cached token costs a hash instead of a signature check. If zero, it is 10,000,
	// which takes about 40 MB when full. If negative, tokens are not cached.
	CacheSize int

	// GraphTokens returns a source of tokens of this API for Microsoft Graph in a tenant,
	// such as
	//
	//	func(tenantID string) (*entra.TokenSource, error) {
	//		c, err := client.WithTenant(tenantID)
	//		if err != nil {
	//			return nil, err
	//		}
	//		return clientcreds.TokenSource(c, "https://graph.microsoft.com/.default"), nil
	//	}
	//
	// Group rules use it for users who are in too many groups for a token. The app needs
	// the application permissions User.ReadBasic.All and GroupMember.Read.All. GraphTokens
	// is called for allowed tenants only, concurrently and often. If nil, such users are
	// rejected by the rules.
	//
	// Sources: "Groups overage claim" in Microsoft's access token claims reference, and
	// "Check member groups" in the documentation of Microsoft Graph.
	GraphTokens func(tenantID string) (*entra.TokenSource, error)

	// GraphHost is the host of Microsoft Graph, to which the tokens of GraphTokens are
	// sent, for example "dod-graph.microsoft.us". If empty, it is that of Cloud.
	GraphHost string

	// HTTPClient fetches the keys and sends the requests to Microsoft Graph. If nil, a
	// client is used with the proxy and the certificate authorities that
	// http.DefaultTransport has when New is called. New makes a copy without a cookie jar
	// that does not follow redirects, so a later change of the fields has no effect. With any
	// client, a request times out after at most 10 seconds. With its retries, a fetch of
	// the keys takes at most 25 seconds, and a lookup of groups 10 seconds. A caller may wait
	// for two fetches: one in flight and its own.
	HTTPClient *http.Client

	// ErrorHandler writes the response to a request that Middleware or a Require
	// function rejects, for example as JSON. The response already has the headers
	// WWW-Authenticate, Retry-After and Cache-Control that fit the error. ErrorHandler
	// adds a Content-Type, writes err.HTTPStatus(), and a body such as err.Message(). It
	// may be called concurrently. If nil, the message is sent as plain text.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err *Error)

	// OnEvent is called with each event, on the goroutine that caused it and without a
	// lock. It must return quickly and must be safe for concurrent use. A panic in it is
	// discarded. If nil, events are discarded.
	OnEvent func(Event)

	// Trace is called before a token that is not cached is verified, for example to start
	// a span. The verification continues with the returned context, and the returned
	// function is called with its event. Both functions must meet the requirements of
	// OnEvent. The keys are fetched with a context of their own, because all callers
	// share the fetch. If Trace is nil, nothing is traced.
	Trace func(ctx context.Context) (context.Context, func(Event))

	// Logger logs failed key fetches, failed lookups of groups and floods of new tenants
	// (see KeysFor) at level Warn. At level Debug it logs rejected requests with the reason
	// and, for example, the audience in the token. Tokens are never logged. If nil, nothing
	// is logged.
	Logger *slog.Logger
}

// New returns a [Verifier]. It makes no network requests: the first token causes
// the first key fetch. An error names the field of cfg to fix. [errors.As] finds it
// as an [*entra.Error] with the code "invalid_request".
func New(cfg Config) (*Verifier, error) {
	r, err := newRules(cfg)
	if err != nil {
		return nil, &configError{&entra.Error{Code: "invalid_request", Description: err.Error()}}
	}
	v := &Verifier{
		rules: r, verified: newVerifiedCache(cfg.CacheSize), logger: cfg.Logger, errorHandler: cfg.ErrorHandler,
		onEvent: cfg.OnEvent, trace: cfg.Trace,
	}
	if v.logger == nil {
		v.logger = slog.New(slog.DiscardHandler)
	}
	if v.errorHandler == nil {
		v.errorHandler = writeError
	}
	cfg.HTTPClient = httpclient.Restricted(cfg.HTTPClient)
	v.keys, v.members = newKeySource(r, cfg, v.logger), []*Verifier{v}
	v.groups = newGroupLookups(r, cfg, v.logger)
	return v, nil
}

// configError is the error of New. Its text begins with the name of this package.
type configError struct{ err *entra.Error }

func (e *configError) Error() string { return "verify: " + e.err.Description }

func (e *configError) Unwrap() error { return e.err }

// newRules validates cfg.
func newRules(cfg Config) (*rules, error) {
	r := &rules{
		audiences: make(map[string]bool),
		tenants:   make(map[string]bool),
		leeway:    max(0, cmp.Or(cfg.Leeway, defaultLeeway)),
		cloud:     cfg.Cloud,
		host:      cfg.Cloud.Host(),

		appsWithoutRoles: cfg.AllowAppsWithoutRoles,
	}
	if r.leeway > maxLeeway {
		return nil, fmt.Errorf("Config.Leeway is %v; the maximum is %v", r.leeway, maxLeeway)
	}
	if err := r.setAudiences(cfg.Audiences); err != nil {
		return nil, err
	}
	if err := r.setTenants(cfg.Tenants); err != nil {
		return nil, err
	}
	if err := r.setIssuers(cfg.V1Issuer); err != nil {
		return nil, err
	}
	if app := strings.ToLower(cfg.KeysFor); app != "" && !guid.ValidLower(app) {
		return nil, errors.New("Config.KeysFor is not a client ID (a GUID)")
	}
	if err := r.setGraphHost(cfg); err != nil {
		return nil, err
	}
	return r, r.checkAudiencesAreUnique()
}

func (r *rules) setAudiences(audiences []string) error {
	for _, a := range audiences {
		if strings.TrimSpace(a) != a || a == "" {
			return errors.New("Config.Audiences has an entry that is empty or has leading or trailing spaces")
		}
		if uri, ok := strings.CutSuffix(a, "/.default"); ok {
			return fmt.Errorf("Config.Audiences has %q, which is a scope; "+
				"write %q for v1.0 tokens, and the client ID for v2.0 tokens", a, uri)
		}
		if id := strings.ToLower(a); guid.ValidLower(id) {
			a = id
		}
		r.audiences[a] = true
	}
	if len(r.audiences) == 0 {
		return errors.New("Config.Audiences is empty; add the client ID of this application")
	}
	return nil
}

// checkAudiencesAreUnique rejects App ID URIs if any tenant is allowed. Administrators
// of another tenant could register an application with that URI and grant themselves
// its roles and scopes.
func (r *rules) checkAudiencesAreUnique() error {
	for a := range r.audiences {
		if r.anyTenant && !guid.ValidLower(a) {
			return errors.New("Config.Audiences has an App ID URI, which another application can have in another tenant, " +
				"but Config.Tenants accepts any tenant; use only the client ID, " +
				"and set requestedAccessTokenVersion to 2 in the app manifest")
		}
	}
	return nil
}

func (r *rules) setTenants(tenants []string) error {
	for _, t := range tenants {
		switch id := strings.ToLower(t); {
		case t == AnyTenant, t == AnyOrganization:
			r.anyTenant, r.noPersonal = true, t == AnyOrganization
		case guid.ValidLower(id):
			r.tenants[id] = true
		case slices.Contains([]string{"common", "organizations", "consumers"}, id):
			return fmt.Errorf("Config.Tenants has %q; use AnyTenant, AnyOrganization or PersonalAccounts instead", id)
		default:
			return errors.New("Config.Tenants has an entry that is not a tenant ID (a GUID); domain names are not accepted")
		}
	}
	if !r.anyTenant && len(r.tenants) == 0 {
		return errors.New("Config.Tenants is empty; add the ID of your tenant, or AnyTenant to accept every tenant")
	}
	if r.anyTenant && len(tenants) > 1 {
		return errors.New("Config.Tenants has AnyTenant or AnyOrganization next to other entries; it must stand alone")
	}
	return nil
}
