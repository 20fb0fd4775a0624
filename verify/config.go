package verify

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// What can stand in Config.Tenants besides a tenant ID.
const (
	// AnyTenant accepts every tenant of the cloud, personal Microsoft accounts
	// included. A program that says so must decide by the claims, request by
	// request, who may do what, and reach a tenant's data only with its tid. Put
	// the client ID alone into Config.Audiences then.
	AnyTenant = "*"
	// AnyOrganization is AnyTenant without personal Microsoft accounts.
	AnyOrganization = "organizations-only"
	// PersonalAccounts is the tenant that all personal Microsoft accounts share.
	PersonalAccounts = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// MaxTokenSize is the length of the longest token that is read, in bytes. Entra
// keeps tokens small enough for HTTP headers (it leaves groups out above 200).
const MaxTokenSize = 32 << 10

const (
	defaultLeeway    = time.Minute
	maxLeeway        = 10 * time.Minute
	defaultCacheSize = 10_000
)

// Config says which tokens are for us. Audiences and Tenants must be set: there
// is no default that lets a token in.
type Config struct {
	// Audiences are the names under which tokens address this application: its
	// client ID, which v2.0 tokens and ID tokens always have, and, if v1.0 tokens
	// are to be accepted, each of its App ID URIs, such as "api://1234": a v1.0
	// token has the one that its client asked for, or the client ID. An API gets
	// v1.0 tokens unless requestedAccessTokenVersion in its app manifest is 2.
	// Compared exactly, apart from upper and lower case in a GUID. Required.
	//
	// A client ID is the application's in every tenant, an App ID URI only within
	// one: "api://1234" may be somebody else's application in another tenant, with
	// roles and scopes that its administrators hand out. So an App ID URI is for
	// when all of Tenants are trusted not to claim it; one that is made of a domain
	// that Entra has verified, or of the client ID, is safer than a plain word.
	//
	// Source: "Validate the audience" in Microsoft's claims-validation page; aud
	// in its access token claims reference; requestedAccessTokenVersion in its
	// page on the manifest.
	Audiences []string

	// Tenants are the IDs (GUIDs) of the tenants whose tokens are accepted, or
	// AnyTenant, or AnyOrganization. Required.
	//
	// Source: "Validate the tenant" in Microsoft's claims-validation page.
	Tenants []string

	// Cloud is whose tokens are accepted. Zero: the public cloud. Exactly one
	// cloud is accepted; an API that serves several has several Verifiers. With the host of
	// an external tenant, such as "contoso.ciamlogin.com", Tenants has that tenant's ID alone.
	Cloud entra.Cloud

	// V1Issuer is the issuer of v1.0 tokens, with "{tenantid}" where the tenant
	// ID stands. Zero: https://sts.chinacloudapi.cn/{tenantid}/ in China, and
	// https://sts.windows.net/{tenantid}/ everywhere else but in External ID, where
	// it is not documented and no v1.0 token is accepted. The issuer of v2.0 tokens is
	// always https://HOST/{tenantid}/v2.0, or in External ID
	// https://{tenantid}.ciamlogin.com/{tenantid}/v2.0.
	V1Issuer string

	// KeysFor is the client ID of an application that has signing keys of its
	// own (claims mapping gives it some); its keys are then asked for. Zero:
	// the keys that all applications share.
	KeysFor string

	// Leeway is how far the clocks of Entra and this machine may differ, at most
	// ten minutes. Zero: one minute. Negative: not at all.
	Leeway time.Duration

	// CacheSize is how many verified tokens are remembered, so that their next
	// request costs a hash and not a signature check. Zero: 10,000, which is
	// some 40 MB when full. Negative: none.
	CacheSize int

	// HTTPClient fetches the keys. Zero: a client with timeouts, never
	// http.DefaultClient. Redirects are refused and bodies limited whichever
	// client it is; the client itself is not changed.
	HTTPClient *http.Client

	// Logger is told of key fetches that fail, and at debug level of refusals
	// by reason. Nothing of a token is logged. Zero: silent.
	Logger *slog.Logger
}

// New makes a Verifier. It does no I/O: the keys are fetched with the first
// token. The error says which field of the Config to mend; errors.As finds it as an
// *entra.Error with the code "invalid_request".
func New(cfg Config) (*Verifier, error) {
	r, err := newRules(cfg)
	if err != nil {
		return nil, &configError{&entra.Error{Code: "invalid_request", Description: err.Error()}}
	}
	v := &Verifier{rules: r, seen: newSeen(cfg.CacheSize), logger: cfg.Logger}
	if v.logger == nil {
		v.logger = slog.New(slog.DiscardHandler)
	}
	v.keys = newKeys(r.keysURL(cfg.KeysFor), cfg.HTTPClient, v.logger)
	return v, nil
}

// configError is what is wrong with a Config. Its text says whose Config.
type configError struct{ err *entra.Error }

func (e *configError) Error() string { return "verify: " + e.err.Description }

func (e *configError) Unwrap() error { return e.err }

// newRules checks a Config and puts it into the form in which tokens are compared.
func newRules(cfg Config) (*rules, error) {
	r := &rules{
		audiences: make(map[string]bool),
		tenants:   make(map[string]bool),
		leeway:    cfg.Leeway,
		host:      cfg.Cloud.Host(),
	}
	switch {
	case r.leeway == 0:
		r.leeway = defaultLeeway
	case r.leeway < 0:
		r.leeway = 0
	case r.leeway > maxLeeway:
		return nil, fmt.Errorf("Config.Leeway is %v; it may be %v at most", r.leeway, maxLeeway)
	}
	for _, a := range cfg.Audiences {
		if strings.TrimSpace(a) != a || a == "" {
			return nil, errors.New("Config.Audiences has an entry that is empty or has spaces around it")
		}
		if isGUID(strings.ToLower(a)) {
			a = strings.ToLower(a)
		}
		r.audiences[a] = true
	}
	if len(r.audiences) == 0 {
		return nil, errors.New("Config.Audiences is empty; put the client ID of this application there")
	}
	for _, t := range cfg.Tenants {
		switch id := strings.ToLower(t); {
		case t == AnyTenant, t == AnyOrganization:
			r.anyTenant, r.noPersonal = true, t == AnyOrganization
		case isGUID(id):
			r.tenants[id] = true
		case slices.Contains([]string{"common", "organizations", "consumers"}, id):
			return nil, fmt.Errorf("Config.Tenants has %q; write AnyTenant, AnyOrganization or PersonalAccounts if that is meant", id)
		default:
			return nil, errors.New("Config.Tenants has an entry that is not a GUID; tokens name their tenant by its ID, not by a domain")
		}
	}
	if !r.anyTenant && len(r.tenants) == 0 {
		return nil, errors.New("Config.Tenants is empty; put the ID of your tenant there, or AnyTenant if every tenant may come in")
	}
	if r.anyTenant && (len(cfg.Tenants) > 1) {
		return nil, errors.New("Config.Tenants has AnyTenant or AnyOrganization beside other entries; it must stand alone")
	}
	if err := r.setIssuers(cfg.V1Issuer); err != nil {
		return nil, err
	}
	if app := strings.ToLower(cfg.KeysFor); app != "" && !isGUID(app) {
		return nil, errors.New("Config.KeysFor is not a client ID (a GUID)")
	}
	return r, nil
}
