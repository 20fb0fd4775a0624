package entra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
	"github.com/entratoken/entra/internal/scopes"
)

// A Grant describes one token: which one it is, and how it is requested. The flow
// packages build grants. For another flow, a program builds its own Grant.
type Grant struct {
	// Flow names the grant type, such as "client_credentials". It is part of the cache
	// key, so flows never share tokens. Required.
	Flow string
	// Subject identifies the user that the token is for, such as a home account ID or
	// the hash of an assertion. If empty, the token is for the app itself, and the grant
	// sends only client credentials requests. With a Subject, it sends none of them.
	Subject string
	// Session separates the sessions of one subject, such as those of a user's
	// browsers. Each has its own tokens and its own refresh token. The cache keeps the
	// 64 most recently used sessions of a subject. If empty, the subject has one session.
	Session string
	// Scopes are the scopes to request. They are compared as a case-insensitive set and
	// must not be modified afterwards.
	Scopes []string
	// Scope replaces Scopes where there is only one scope, which saves an allocation.
	// It is used if Scopes is empty.
	Scope string
	// NotAfter is when the grant expires. No cached token is served after it. If zero,
	// the grant does not expire.
	NotAfter time.Time
	// RefreshToken controls whether the cache keeps the refresh token of a response in
	// the subject's session, where TokenRequest.RefreshToken redeems it.
	RefreshToken bool
	// RefreshTokenOf is a source for the same app, Subject and Session in another tenant. Its
	// session has the refresh token that TokenRequest.RefreshToken redeems, since a
	// refresh token is not tied to a tenant. RefreshToken must be false then. If nil, the
	// grant redeems that of its own session.
	RefreshTokenOf *TokenSource
	// FMIPath names the federated identity that ClientCredentials requests an exchange
	// token for (fmi_path), such as the client ID of an agent identity. It is part of the
	// cache key. A grant with it is for the app itself and implies Local. Package agentid
	// uses it.
	FMIPath string
	// Local controls whether the tokens stay in this process, even if the cache has a
	// store. It is for tokens that only authenticate further requests of the process.
	Local bool
	// Delegation says that the session belongs to a long-running process, which may use the
	// refresh token for much longer than a sign-in lasts; see cache.Options.DelegationTTL.
	// Session must then be a random ID that no other session ever has. Package obo uses it.
	Delegation bool
	// exchanged is set by Client.Exchange.
	exchanged bool
	// Fetch acquires the token, usually with one call of a method of r. It must pass on
	// ctx and return when ctx ends. An error that is an *Error is returned to the caller
	// unchanged. Any other error is replaced, since its text may contain secrets. If Entra
	// rejects the client's credential and there is another one, Fetch is called again. Work
	// that is needed once per token, such as reading an assertion, belongs here. Required.
	Fetch func(ctx context.Context, r *TokenRequest) (*TokenResponse, error)
}

// A TokenRequest sends the token request of one [Grant] to Entra. Each method sends one
// grant type with the scopes of the grant and returns the validated response or an
// [*Error]. It is valid until Fetch returns and must not be used concurrently.
type TokenRequest struct {
	grant    *Grant
	claims   string
	app      confidential.Client
	exchange *exchange
}

// Claims returns the claims challenge that the new token must satisfy, or "". The methods
// of r send it.
func (r *TokenRequest) Claims() string { return r.claims }

// ClientCredentials requests a token for the app itself (RFC 6749, section 4.4).
func (r *TokenRequest) ClientCredentials(ctx context.Context) (*TokenResponse, error) {
	options := []confidential.AcquireByCredentialOption{confidential.WithClaims(r.claims)}
	if r.grant.FMIPath != "" {
		options = append(options, confidential.WithFMIPath(r.grant.FMIPath))
	}
	result, err := r.app.AcquireTokenByCredential(r.context(ctx), r.grant.scopes(), options...)
	return r.response(ctx, result, err)
}

// UserFederatedCredential requests a token for the user account of an agent identity
// ("Agent's user account impersonation protocol" in Microsoft's documentation).
// credential is the exchange token of the agent identity. The user is named by either
// objectID or username.
func (r *TokenRequest) UserFederatedCredential(
	ctx context.Context, credential, objectID, username string,
) (*TokenResponse, error) {
	options := []confidential.AcquireByUserFICOption{confidential.WithClaims(r.claims)}
	if objectID != "" {
		options = append(options, confidential.WithUserObjectID(objectID))
	}
	if username != "" {
		options = append(options, confidential.WithUserFICUsername(username))
	}
	result, err := r.app.AcquireTokenByUserFederatedIdentityCredential(
		r.context(ctx), r.grant.scopes(), credential, options...)
	return r.response(ctx, result, err)
}

// OnBehalfOf exchanges assertion, an access token for this app, for a token for the same
// user ("Microsoft identity platform and OAuth 2.0 On-Behalf-Of flow").
func (r *TokenRequest) OnBehalfOf(ctx context.Context, assertion string) (*TokenResponse, error) {
	result, err := r.app.AcquireTokenOnBehalfOf(
		r.context(ctx), assertion, r.grant.scopes(), confidential.WithClaims(r.claims))
	return r.response(ctx, result, err)
}

// AuthorizationCode redeems an authorization code (RFC 6749, section 4.1.3). redirectURI
// and verifier, the PKCE code verifier (RFC 7636), must match the authorization request.
// In [Client.Exchange], the response may grant fewer scopes than requested, but at least
// one of them. In a [TokenSource] and with the other methods, fewer scopes are an error
// with the code "consent_required".
func (r *TokenRequest) AuthorizationCode(
	ctx context.Context, code, redirectURI, verifier string,
) (*TokenResponse, error) {
	r.exchange.singleUse = true
	result, err := r.app.AcquireTokenByAuthCode(
		r.context(ctx), code, redirectURI, r.grant.scopes(), confidential.WithChallenge(verifier))
	return r.response(ctx, result, err)
}

// RefreshToken redeems the cached refresh token of the grant's session, or of that of
// Grant.RefreshTokenOf (RFC 6749, section 6). Without one the error has the code "login_required".
func (r *TokenRequest) RefreshToken(ctx context.Context) (*TokenResponse, error) {
	account := confidential.Account{HomeAccountID: r.grant.Subject}
	// AcquireTokenSilent rejects WithClaims.
	result, err := r.app.AcquireTokenSilent(r.context(ctx), r.grant.scopes(),
		confidential.WithSilentAccount(account), confidential.WithClaimsFromClient(r.claims))
	return r.response(ctx, result, err)
}

// context returns ctx with the exchange, for the transport and the credential callbacks.
func (r *TokenRequest) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, exchangeKey{}, r.exchange)
}

// response returns the recorded tokens if MSAL accepted the response to the last request.
func (r *TokenRequest) response(
	ctx context.Context, result confidential.AuthResult, err error,
) (*TokenResponse, error) {
	x := r.exchange
	if x.failure != nil {
		return nil, x.failure
	}
	if err != nil {
		return nil, x.msalError(ctx)
	}
	t := x.token
	if t == nil || result.AccessToken != x.requestID {
		return nil, errorf(CodeInvalidResponse, "MSAL returned the result of another request")
	}
	if err := x.missingScopes(); err != nil {
		return nil, err
	}
	return &TokenResponse{
		AccessToken:   t.AccessToken,
		ExpiresIn:     time.Duration(t.ExpiresIn),
		Scopes:        strings.Fields(t.Scope),
		HomeAccountID: result.Account.HomeAccountID,
		IDToken:       result.IDToken.RawToken,
		RefreshIn:     time.Duration(t.RefreshIn),
		refreshToken:  &t.RefreshToken,
	}, nil
}

// A TokenResponse is a successful response to a token request (RFC 6749, section 5.1).
// fmt, log/slog, encoding/json and encoding/xml print no token, and encoding/gob returns an error.
// Other packages that use reflection read all exported fields. fmt also prints the tokens
// of a TokenResponse in an unexported field of another type, so do not print such a value.
type TokenResponse struct {
	AccessToken string `json:"-" xml:"-"`
	// ExpiresIn is the lifetime of the access token, counted from the response.
	ExpiresIn time.Duration
	// RefreshIn is when the server wants the token to be refreshed, counted from the response.
	// If zero, a random point at 60 to 70 % of the lifetime is used (see package cache).
	RefreshIn time.Duration
	// NotAfter is when the grant expires, if Fetch knows it: the token is not served
	// after it. If zero, Grant.NotAfter alone applies.
	NotAfter time.Time
	// Scopes are the granted scopes. If empty, they are the requested ones.
	Scopes []string
	// HomeAccountID identifies the user: the object ID and the tenant ID of the user's
	// home tenant, joined by a dot. If empty, the token is for the app itself.
	HomeAccountID string
	// IDToken is the ID token, which has not been validated. It is empty if the response
	// did not contain one.
	IDToken string `json:"-" xml:"-"`

	refreshToken *string // a pointer, which fmt does not follow; may be nil
}

// Format prints the expiry and the scopes for every verb.
func (r TokenResponse) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "entra.TokenResponse{expires_in=%s scopes=%v}", r.ExpiresIn, r.Scopes)
}

// GobEncode returns an error. Package encoding/gob would write the tokens.
func (r TokenResponse) GobEncode() ([]byte, error) {
	return nil, errors.New("entra: a TokenResponse contains tokens and cannot be encoded")
}

// MarshalJSON marshals the expiry and the scopes.
func (r TokenResponse) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"expires_in":%d,"scope":%q}`, r.ExpiresIn/time.Second, strings.Join(r.Scopes, " ")), nil
}

// validate reports a response that is not the token that g describes.
func (r *TokenResponse) validate(g *Grant, forUser bool) *Error {
	switch {
	case r == nil:
		return errorf("invalid_request", "the grant's Fetch returned neither a token nor an error")
	case forUser && r.HomeAccountID == "":
		return errorf(CodeInvalidResponse, "the response does not say which user the token is for")
	case !forUser && r.HomeAccountID != "":
		return errorf(CodeInvalidResponse, "the response to the app's own request is a token for a user")
	case g.redeems() && !strings.EqualFold(r.HomeAccountID, g.Subject):
		return errorf(CodeInvalidResponse, "the response is a token for another user")
	}
	return nil
}

// cached converts a response of the given age for the cache.
func (c *Client) cached(g *Grant, r *TokenResponse, age time.Duration) cache.Response {
	resp := cache.Response{
		AccessToken: r.AccessToken,
		TokenType:   "Bearer",
		Scope:       strings.Join(r.Scopes, " "),
		Lifetime:    r.ExpiresIn - age,
		RefreshIn:   max(0, r.RefreshIn-age),
		NotAfter:    g.NotAfter,
	}
	if resp.Scope == "" { // the requested scopes were granted (RFC 6749, section 5.1)
		resp.Scope = strings.Join(g.scopes(), " ")
	}
	if !r.NotAfter.IsZero() && (resp.NotAfter.IsZero() || r.NotAfter.Before(resp.NotAfter)) {
		resp.NotAfter = r.NotAfter
	}
	if g.RefreshToken && r.refreshToken != nil {
		resp.State = *r.refreshToken
	}
	return resp
}

// expired reports a grant that has expired.
func (g *Grant) expired() *Error {
	if !g.NotAfter.IsZero() && !time.Now().Before(g.NotAfter) {
		return errorf("invalid_grant", "the grant expired at %s", g.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// invalid reports a grant that can never succeed.
func (g *Grant) invalid() *Error {
	switch {
	case g.Flow == "" || g.Fetch == nil:
		return errorf("invalid_request", "a Grant needs a Flow and a Fetch")
	case g.FMIPath != "" && g.Subject != "":
		return errorf("invalid_request", "a Grant with an FMIPath is for the app itself and must not have a Subject")
	case g.Delegation && (g.Session == "" || !g.RefreshToken):
		return errorf("invalid_request", "a Grant with Delegation needs a Session and RefreshToken")
	}
	for _, scope := range g.scopes() {
		if !scopes.Valid(scope) {
			return errorf("invalid_scope", "%q is not a scope: it is empty, or contains a space or a control character; "+
				"pass one scope in each string, and use a source for each API", scope)
		}
	}
	return g.expired()
}

// redeems reports whether g may redeem a refresh token of its Subject. A grant of Client.Exchange has no Subject.
func (g *Grant) redeems() bool { return (g.RefreshToken || g.RefreshTokenOf != nil) && g.Subject != "" }

// mayUse reports whether g, a grant of c, may redeem the refresh token of from.
func (g *Grant) mayUse(c *Client, from *TokenSource) bool {
	return from.client != nil && from.client.transport == c.transport && from.client.clientID == c.clientID &&
		from.grant.Subject == g.Subject && from.grant.Session == g.Session && from.grant.Flow == g.Flow &&
		from.grant.RefreshToken && !from.grant.Delegation && g.Subject != "" && !g.RefreshToken
}

// scopes returns the scopes to request.
func (g *Grant) scopes() []string {
	if len(g.Scopes) == 0 && g.Scope != "" {
		return []string{g.Scope}
	}
	return g.Scopes
}

// A CodeResult is the response to a grant that can be redeemed only once, such as an
// authorization code. Its contents are never printed or marshaled. It is safe for concurrent use.
type CodeResult struct {
	client   *Client
	grant    Grant
	received time.Time
	response redact.Secret[TokenResponse]
}

// Exchange calls g.Fetch now, for a single-use grant, such as an authorization code, whose
// user is known only from the response. g.Subject is ignored; the response must be for a
// user. The cache stores nothing until [CodeResult.Store] is called. ctx and
// [TokenTimeout] bound the request. Fetch is called again if Entra rejects the
// client's credential and there is another one. The grant is not used up then, because Entra
// checks the credential first. For a Grant.Delegation, Exchange first reads the cache's store.
// While that fails, it sends no request, because the response could not be stored.
//
// The error is an [*Error]. It wraps ctx's error if ctx ended first.
func (c *Client) Exchange(ctx context.Context, g Grant) (*CodeResult, error) {
	g.Subject, g.exchanged = "", true
	if c.isZero() {
		return nil, zeroClient()
	}
	if err := g.invalid(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, TokenTimeout)
	defer cancel()
	if g.Delegation { // before the request, whose response would be lost
		probe := g
		probe.Subject = g.Session // its user is not known, and one subject would have all probes in one shard of the cache
		if _, err := c.TokenSource(probe).handle.State(ctx); err != nil && ctx.Err() == nil {
			return nil, notSaved(err)
		}
	}
	resp, err := c.request(ctx, &g, true, &cache.Request{}, retry.Sleep)
	if err != nil {
		return nil, err
	}
	return &CodeResult{c, g, time.Now(), redact.NewSecret(*resp)}, nil
}

// HomeAccountID returns the home account ID of the user, for [CodeResult.Store].
func (r *CodeResult) HomeAccountID() string { return r.response.Value().HomeAccountID }

// HasRefreshToken reports whether the response has a refresh token, and Grant.RefreshToken is
// set.
func (r *CodeResult) HasRefreshToken() bool {
	token := r.response.Value().refreshToken
	return r.grant.RefreshToken && token != nil && *token != ""
}

// IDToken returns the ID token, which has not been validated, or "".
func (r *CodeResult) IDToken() string { return r.response.Value().IDToken }

// Store stores the token, and the refresh token if Grant.RefreshToken is set, in the session of
// subject at c, where a [TokenSource] of the same flow, subject and scopes finds it. c is
// the client that exchanged the grant, or one made from it by WithTenant: the tokens of a
// user who signed in at "organizations" are stored at the user's own tenant. If the cache has
// a store, the tokens are in it when Store returns. If the cache's store fails, the cache saves them
// when it is back. For a Grant.Delegation, Store instead fails with the code
// "temporarily_unavailable".
//
// If Entra granted only some of the requested scopes, the token is stored for those. A
// TokenSource for all of them requests a new token.
func (r *CodeResult) Store(ctx context.Context, c *Client, subject string) error {
	switch {
	case r.client == nil:
		return errorf("invalid_request", "the CodeResult is its zero value; it must be created with Client.Exchange")
	case c.isZero():
		return zeroClient()
	}
	if c.transport != r.client.transport || c.clientID != r.client.clientID {
		return errorf("invalid_request", "a CodeResult can only be stored by a client of the same app")
	}
	if subject == "" {
		return errorf("invalid_request", "a CodeResult can only be stored for a subject")
	}
	if err := c.requireTenant(); err != nil {
		return err
	}
	if guid.Valid(r.client.tenantID) && guid.Valid(c.tenantID) && r.client.tenantID != c.tenantID {
		return errorf("invalid_request", "a CodeResult of one tenant cannot be stored in another")
	}
	g, received := r.grant, r.response.Value()
	if g.RefreshToken && !strings.EqualFold(subject, received.HomeAccountID) {
		return errorf("invalid_request", "a CodeResult can only be stored for its own account")
	}
	g.Subject = subject
	if missing := without(g.scopes(), received.Scopes); len(missing) > 0 && len(missing) < len(g.scopes()) {
		g.Scopes = without(g.scopes(), missing)
	}
	if failed := g.expired(); failed != nil {
		return failed
	}
	resp := c.cached(&g, &received, time.Since(r.received))
	switch _, err := c.TokenSource(g).handle.Put(ctx, resp); {
	case err == nil:
		return nil
	case g.Delegation && resp.Lifetime > 0:
		return notSaved(err)
	}
	return errorf(CodeInvalidResponse, "the token has already expired")
}

func notSaved(err error) *Error {
	return &Error{
		Code: "temporarily_unavailable", Description: "the store of the cache failed, so the refresh token cannot be saved",
		Err: err,
	}
}

// Format prints that there is a result, for every verb.
func (r CodeResult) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.CodeResult{...}") }
