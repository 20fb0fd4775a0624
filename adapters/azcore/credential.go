// Package azcredential makes the tokens of entra usable by the clients of the Azure SDK for Go, as an
// azcore.TokenCredential:
//
//	credential, err := azcredential.New(client, nil)
//	...
//	secrets, err := azsecrets.NewClient("https://contoso.vault.azure.net", credential, nil)
//
// [ForIdentity] does the same for the managed identity of the program.
//
// All clients of the SDK and the rest of the program then share one cache. The SDK is given the refresh point of each
// token, so it fetches the next token early, and a call of the SDK never waits for a refresh. Claims challenges and
// tenants that the SDK discovers are passed on.
package azcredential

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/managedidentity"
)

// Options changes the tokens of a [Credential]. The zero value is for the app itself in its own tenant.
type Options struct {
	// Source returns the source of tokens for a resource. client is the one passed to New, for the tenant that the SDK
	// requests. For a user's tokens, use for example obo.TokenSource with the assertion of the user. A client of the SDK
	// keeps the token and uses it for all its requests, so each user needs a Credential and clients of their own. If
	// Source is nil, the app's own tokens are used (package clientcreds), and there must be one scope.
	Source func(client *entra.Client, scopes ...string) *entra.TokenSource
	// AllowedTenants are the tenants, other than the client's own, in which the SDK may request tokens. Some clients
	// of the SDK read the tenant from the response of a resource, so a resource must not choose it freely. "*" allows
	// every tenant. If empty, only the client's own tenant is allowed.
	AllowedTenants []string
}

// Credential is an azcore.TokenCredential. It is safe for concurrent use. Create it with [New] or [ForIdentity].
type Credential struct {
	client  *entra.Client
	source  func(*entra.Client, ...string) *entra.TokenSource
	allowed []string

	identity *managedidentity.Identity // replaces the fields above
}

var _ azcore.TokenCredential = (*Credential)(nil)

// New returns a credential that acquires tokens with client. opts may be nil. New sends no request.
func New(client *entra.Client, opts *Options) (*Credential, error) {
	if client == nil {
		return nil, invalid("a client from entra.New is required")
	}
	if opts == nil {
		opts = new(Options)
	}
	c := &Credential{client: client, source: opts.Source, allowed: slices.Clone(opts.AllowedTenants)}
	if c.source == nil {
		c.source = ownTokens
	}
	return c, nil
}

// ForIdentity returns a credential that acquires the tokens of a managed identity. They are always for the tenant of
// the identity. A tenant that the SDK requests is ignored, as in azidentity. ForIdentity sends no request.
func ForIdentity(id *managedidentity.Identity) (*Credential, error) {
	if id == nil {
		return nil, invalid("an identity from managedidentity.New is required")
	}
	return &Credential{identity: id}, nil
}

func ownTokens(client *entra.Client, scopes ...string) *entra.TokenSource {
	if len(scopes) != 1 {
		return nil
	}
	return clientcreds.TokenSource(client, scopes[0])
}

// GetToken returns a token for o.Scopes from the cache, or acquires one. The token satisfies o.Claims and is for
// o.TenantID. A token that was acquired with the same o.Claims more than a minute ago is replaced, because the resource
// has rejected it. An error is an *entra.Error, or wraps the error of ctx.
//
// o.EnableCAE is ignored: entra.Config.Capabilities declares whether the app handles claims challenges. The clients
// of the SDK do.
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	source, err := c.tokenSource(o)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	if o.Claims != "" {
		source = source.WithClaims(o.Claims)
	}
	t, err := source.TokenContext(ctx)
	if err == nil && o.Claims != "" && isRejected(source, t) {
		source.Invalidate(t)
		t, err = source.WithClaims(o.Claims).TokenContext(ctx)
	}
	if err != nil {
		return azcore.AccessToken{}, err
	}
	info, _ := source.Cached()
	refreshOn := info.RefreshAt
	if !info.ExpiresAt.Equal(t.Expiry) { // another token has just replaced t
		refreshOn = time.Now()
	}
	return azcore.AccessToken{Token: t.AccessToken, ExpiresOn: t.Expiry, RefreshOn: refreshOn}, nil
}

// isRejected reports whether a resource has rejected t, which satisfies a claims challenge: t is not new, and a client
// of the SDK reports the challenge again.
func isRejected(source *entra.TokenSource, t *oauth2.Token) bool {
	info, ok := source.Cached()
	return ok && info.ExpiresAt.Equal(t.Expiry) && time.Since(info.ObtainedAt) >= time.Minute // as in entra.Transport
}

// tokenSource returns the source of tokens for the scopes and the tenant of o.
func (c *Credential) tokenSource(o policy.TokenRequestOptions) (*entra.TokenSource, error) {
	var source *entra.TokenSource
	if c.identity != nil {
		if len(o.Scopes) == 1 {
			source = c.identity.TokenSource(o.Scopes[0])
		}
	} else {
		client, err := c.tenant(o.TenantID)
		if err != nil {
			return nil, err
		}
		source = c.source(client, o.Scopes...)
	}
	if source == nil {
		return nil, invalid("%d scopes were requested, but the app's own tokens need exactly one", len(o.Scopes))
	}
	return source, nil
}

// tenant returns the client for a tenant that the SDK requests.
func (c *Credential) tenant(id string) (*entra.Client, error) {
	if id == "" || strings.EqualFold(id, c.client.TenantID()) {
		return c.client, nil
	}
	same := func(allowed string) bool { return allowed == "*" || strings.EqualFold(allowed, id) }
	if !slices.ContainsFunc(c.allowed, same) {
		return nil, invalid("a token for another tenant (%.100q) was requested; "+
			"if the resource is trusted, add the tenant to Options.AllowedTenants", id)
	}
	return c.client.WithTenant(id)
}

func invalid(format string, args ...any) *entra.Error {
	return &entra.Error{Code: "invalid_request", Description: "azcredential: " + fmt.Sprintf(format, args...)}
}
