// Package obo acquires tokens for a middle-tier API with the OAuth 2.0 on-behalf-of flow. The
// API was called with a user's token and calls the next API for that user. The new tokens are
// delegated: they carry the user's scp, and the API can do no more with them than the user
// can.
//
// The API validates the token it was called with (see package verify) and exchanges it, as
// the assertion, for a token for the next API. The client is the app registration of the API
// itself, with a credential of its own:
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		caller, ok := verify.TokenFromContext(r.Context())
//		next := obo.ForToken(client, caller, "api://next/.default").HTTPClient()
//		req, err := http.NewRequestWithContext(r.Context(), "GET", "https://next.example/things", nil)
//		resp, err := next.Do(req)
//
// Create a source for every request. That is cheap, and all sources for one assertion share
// one token. A token is never served after its assertion has expired. If it expires earlier,
// it is refreshed in the background with the assertion. If the expiry cannot be read, because
// the assertion is encrypted, a token is served for ten minutes at most.
//
// An app-only token cannot be exchanged. If the caller is an app without a user, call the next
// API with package clientcreds.
//
// An API for several tenants exchanges each token in the token's own tenant, with
// [entra.Client.WithTenant] and the tid of the validated token.
//
// If the user must act (consent, a second factor), the error is an [entra.Error] whose
// ConsentRequired or InteractionRequired method reports true. The API cannot prompt the user, so
// it passes the error on to its caller with [WriteError]:
//
//	resp, err := next.Do(req)
//	if obo.WriteError(w, err) {
//		return
//	}
//
// The program examples/middletier shows this.
//
// # Long-running processes
//
// A job that outlives the request, such as a nightly report, cannot use the caller's token, which
// expires after about an hour. [Begin] exchanges it for a refresh token, which stays in the cache, and
// returns a [Delegation]. MSAL calls this long-running on-behalf-of. A worker resumes the delegation, in
// any process that shares the store and the keys of the cache, until [End]:
//
//	d, err := obo.Begin(ctx, client, caller, "api://next/.default") // in the API
//	job, err := json.Marshal(d)                                     // for the worker
//	...
//	err = json.Unmarshal(job, &d)                                   // in the worker
//	next := obo.Resume(client, d, "api://next/.default").HTTPClient()
//	...
//	err = obo.End(ctx, client, d)                                   // after the last use
//
// A delegation also ends when it is not used for cache.Options.DelegationTTL, and when Entra has revoked
// the refresh token. The InteractionRequired method of the error then reports true. The error
// wraps [ErrEnded], or Entra returned it. The worker cannot prompt the user. It stops the
// job and waits until the user calls the API again.
//
// A sign-out of the user in a web app does not end a delegation. Tell users what runs for them, and let
// them stop it. [cache.Cache.Purge] with the HomeAccountID ends all delegations of a user in the
// processes that share the store.
//
// Sources: RFC 7523, section 2.1, "Microsoft identity platform and OAuth 2.0 On-Behalf-Of
// flow", and, for long-running processes, "On-behalf-of flows with MSAL.NET".
package obo

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/digest"
	"github.com/entratoken/entra/internal/scopes"
)

// FlowName is the [entra.Grant.Flow] of this package's tokens.
const FlowName = "on_behalf_of"

// TokenSource returns a source of tokens for the user of an assertion. The assertion is the
// access token that this API was called with; it must have been issued for this API. scopes
// are permissions in the next API, such as "api://next/read", or "api://next/.default" for all
// that the app was granted. All must belong to one API.
//
// Validate the assertion first, for example with package verify. TokenSource does not check
// its signature, and a cached token is returned to every caller that presents the same
// assertion.
//
// The source's methods return an [*entra.Error]. An expired assertion fails with the code
// "invalid_grant". An assertion that is not a JWT, is an app-only token or is from another
// tenant than c fails with "invalid_request". A call without scopes, with scopes of several APIs,
// with an API's URI in place of a scope, or with "/.default" next to other scopes fails with
// "invalid_scope". These errors need no request. Entra checks the rest.
func TokenSource(c *entra.Client, assertion string, scopes ...string) *entra.TokenSource {
	return source(c, assertion, digest.SHA256(assertion), scopes)
}

// Verified is an access token for this API that has been validated, such as a *verify.Token.
// SHA256 returns the hash of the text that Raw returns.
type Verified interface {
	Raw() string
	SHA256() [sha256.Size]byte
}

// ForToken is like [TokenSource] for a token that has been validated. It reuses the hash that
// was computed at validation, which is most of the cost of a source:
//
//	caller, ok := verify.TokenFromContext(r.Context()) // false without Verifier.Middleware
//	next := obo.ForToken(client, caller, "api://next/.default").HTTPClient()
//
// If t is nil or a nil *verify.Token, the source's methods return an error with the code
// "invalid_request".
func ForToken(c *entra.Client, t Verified, scopes ...string) *entra.TokenSource {
	if t == nil {
		return source(c, "", [sha256.Size]byte{}, scopes)
	}
	return source(c, t.Raw(), t.SHA256(), scopes)
}

// unknownExpiry is how long a token is served if the expiry of its assertion is unknown.
const unknownExpiry = 10 * time.Minute

func source(c *entra.Client, assertion string, sum [sha256.Size]byte, requested []string) *entra.TokenSource {
	g := entra.Grant{Flow: FlowName, Subject: string(sum[:])}
	invalid := setScopes(&g, requested)
	g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		if invalid != nil {
			return nil, invalid
		}
		claims, err := checkAssertion(assertion, c.TenantID())
		if err != nil {
			return nil, err
		}
		resp, err := exchange(ctx, r, assertion, claims)
		if err != nil {
			return nil, err
		}
		resp.NotAfter = claims.expires
		if resp.NotAfter.IsZero() {
			resp.NotAfter = time.Now().Add(unknownExpiry)
		}
		return resp, nil
	}
	return c.TokenSource(g)
}

// exchange sends the request, and checks that the response is for the user of the assertion.
func exchange(
	ctx context.Context, r *entra.TokenRequest, assertion string, claims assertionClaims,
) (*entra.TokenResponse, error) {
	resp, err := r.OnBehalfOf(ctx, assertion)
	if err == nil && !claims.isOf(resp.HomeAccountID) {
		return nil, errorf(entra.CodeInvalidResponse, "the response is a token for another user than that of the assertion")
	}
	return resp, err
}

// setScopes sets the scopes of g, and returns an error if they are not valid scopes of one API.
func setScopes(g *entra.Grant, requested []string) error {
	if len(requested) == 1 && !scopes.IsOIDC(requested[0]) {
		g.Scope = requested[0] // saves the copy
	} else {
		g.Scopes = scopes.WithoutOIDC(requested)
		switch {
		case len(g.Scopes) == 0:
			return errorf("invalid_scope", "there are no scopes; name at least one scope of the next API")
		case !scopes.OneAPI(g.Scopes):
			return errorf("invalid_scope", "the scopes name several APIs, but a token is for one; "+
				"use a TokenSource for each API")
		}
	}
	if err := scopes.Check(requested); err != nil {
		return errorf("invalid_scope", "%v", err)
	}
	return nil
}
