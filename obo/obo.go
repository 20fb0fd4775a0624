// Package obo gets tokens for a middle-tier API: an API that was called with a user's
// token and calls the next API for that user (the on-behalf-of flow). The tokens have
// the user's scp and no more rights than the user has.
//
// The API validates the token it was called with (see package verify) and exchanges it,
// as the assertion, for one for the next API:
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		caller, ok := verify.TokenFromContext(r.Context())
//		next := obo.ForToken(client, caller, "api://next/.default").HTTPClient()
//		req, err := http.NewRequestWithContext(r.Context(), "GET", "https://next.example/things", nil)
//		resp, err := next.Do(req)
//
// An API for several tenants exchanges each token in its own tenant, with
// [entra.Client.WithTenant] and the tid of the validated token.
//
// Make a source for every request: it is cheap, and all sources for one assertion share
// one token. A token is never served past the end of its assertion.
//
// If the user must do something (consent, a second factor), the error is an
// [entra.Error] whose InteractionRequired is true. The API cannot ask the user; it
// answers its caller with status 401 and a claims challenge ([entra.SetClaimsChallenge])
// that carries the error's Claims, and the caller signs the user in with it.
//
// Source: RFC 7523, section 2.1; "Microsoft identity platform and OAuth 2.0 On-Behalf-Of
// flow".
package obo

import (
	"context"
	"crypto/sha256"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/digest"
	"github.com/entratoken/entra/internal/scopes"
)

// FlowName is the grant type in the cache keys of the package's tokens.
const FlowName = "on_behalf_of"

// TokenSource returns a source of tokens for the user that assertion speaks for.
// assertion is the access token that this API was called with, for this API; wanted are
// the scopes of one next API: names such as "api://next/read", or "api://next/.default"
// for all that were consented to.
//
// What Entra cannot accept fails without asking it: an assertion that has ended with the
// code "invalid_grant"; one that is no token, is an app's own, or is of another tenant
// than c with "invalid_request". Everything else about it is for Entra to judge; it must have been validated before, since until its end a cached
// token is given to whoever presents it again.
func TokenSource(c *entra.Client, assertion string, wanted ...string) *entra.TokenSource {
	return source(c, assertion, digest.SHA256(assertion), wanted)
}

// Verified is an access token for this API that has been validated, as a *verify.Token
// is, with the SHA-256 of its text.
type Verified interface {
	Raw() string
	SHA256() [sha256.Size]byte
}

// ForToken is [TokenSource] for an assertion whose hash was computed when it was
// validated, which is most of what making a source costs:
//
//	caller, ok := verify.TokenFromContext(r.Context()) // not ok: the handler has no Middleware
//	next := obo.ForToken(client, caller, "api://next/.default").HTTPClient()
//
// Without a token, t being nil, the source's tokens fail.
func ForToken(c *entra.Client, t Verified, wanted ...string) *entra.TokenSource {
	if t == nil {
		return source(c, "", [sha256.Size]byte{}, wanted)
	}
	return source(c, t.Raw(), t.SHA256(), wanted)
}

func source(c *entra.Client, assertion string, sum [sha256.Size]byte, wanted []string) *entra.TokenSource {
	g := entra.Grant{Flow: FlowName, Subject: string(sum[:])}
	if len(wanted) == 1 && !scopes.Added(wanted[0]) {
		scope := wanted[0]
		g.Scope = scope
		g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			return exchange(ctx, r, c.TenantID(), assertion)
		}
		return c.TokenSource(g)
	}
	own := scopes.Resource(wanted)
	g.Scopes = own
	g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		if len(own) == 0 {
			return nil, refuse("invalid_scope", "no scope of the next API was asked for")
		}
		return exchange(ctx, r, c.TenantID(), assertion)
	}
	return c.TokenSource(g)
}

func exchange(ctx context.Context, r *entra.TokenRequest, tenantID, assertion string) (*entra.TokenResponse, error) {
	expiry, err := checkAssertion(assertion, tenantID)
	if err != nil {
		return nil, err
	}
	resp, err := r.OnBehalfOf(ctx, assertion)
	if err != nil {
		return nil, err
	}
	resp.NotAfter = expiry
	return resp, nil
}
