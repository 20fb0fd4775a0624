package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/safecall"
)

// An exchange is one attempt to acquire a token with one candidate of the client's
// credential: one call of the grant's Fetch on a new MSAL client. It travels in the
// request's context, because MSAL returns neither the refresh token nor the headers of a
// response. It is used by one goroutine at a time.
//
// MSAL's clients are discarded, because their caches grow without bound, are searched
// linearly, and decide on their own when to refresh.
type exchange struct {
	client    *Client
	grant     *Grant
	forUser   bool // the token is for a user, not for the app itself
	candidate *candidate

	breakerKey breakerKey
	probing    bool // this attempt is a probe of the circuit breaker
	probed     bool // and has an outcome

	redactor  redact.Redactor
	singleUse bool           // the grant can be redeemed only once
	attempted bool           // the token request was passed to the HTTP client
	requestID string         // of the token request, for Entra's logs
	response  *response      // to the token request; nil if none arrived
	token     *tokenResponse // in response; nil if that is an error
	failure   *Error         // the first one
	unsent    *failure       // the credential cannot be used, so no request was sent
}

type exchangeKey struct{}

// exchangeFromContext returns the exchange that ctx belongs to.
func exchangeFromContext(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// request acquires a token for g with the client's credential. It tries one candidate after
// another until Entra accepts one, and repeats an attempt that failed for a transient reason. Entra
// authenticates the client before it examines the grant (RFC 6749, section 4.1.3), so a single-use
// grant is still valid after a rejected credential. wait sleeps before a retry and reports whether
// that is still of use.
func (c *Client) request(
	ctx context.Context, g *Grant, forUser bool, r *cache.Request, wait func(context.Context, time.Duration) bool,
) (*TokenResponse, *Error) {
	if c.issuer != nil {
		return c.requestIssuer(ctx, g, r.Claims, wait)
	}
	candidates, retries := c.credential.start(0), c.transport.budget.Start(wait)
	cand, failed := candidates.next(ctx, nil, false)
	for cand != nil {
		x := &exchange{client: c, grant: g, forUser: forUser, candidate: cand}
		var resp *TokenResponse
		var err *Error
		resp, failed, err = x.run(ctx, r)
		switch {
		case x.mayRepeat(failed, err) && retries.Again(ctx, x.failure.passing(x.singleUse)):
			c.log(slog.LevelDebug, "entra: a request failed, trying again", g, x.failure)
			continue
		case err != nil:
			return nil, err
		case failed == nil:
			candidates.accepted()
			return resp, nil
		case ctx.Err() != nil:
			return nil, failed.err
		}
		cand, failed = candidates.next(ctx, failed, false)
	}
	return nil, failed.err
}

// mayRepeat reports whether the same candidate may be tried again after an attempt with this
// result. The failure must be that of our own token request.
func (x *exchange) mayRepeat(failed *failure, err *Error) bool {
	switch {
	case !x.attempted:
		return false
	case failed != nil: // the next credential comes first, and a probe of the breaker is not repeated
		return failed.err == x.failure && !x.candidate.more && !x.probing
	}
	return err != nil && err == x.failure
}

// run makes the attempt. It returns a failure if the candidate cannot authenticate the app,
// and an error for everything else.
func (x *exchange) run(ctx context.Context, r *cache.Request) (*TokenResponse, *failure, *Error) {
	defer func() { // also if Fetch panics
		if x.probing && !x.probed {
			x.client.breakers.abandon(x.breakerKey)
		}
	}()
	if id := x.candidate.id; id != "" {
		if rejection := x.allow(id); rejection != nil {
			return nil, &failure{rejection, true}, nil
		}
	}
	var region string // MSAL would use it for every grant, but only the app's own tokens are regional
	if !x.forUser {
		var err *Error
		if region, err = x.client.region.get(ctx); err != nil {
			return nil, nil, err
		}
	}
	var rt *refreshToken
	if r.State != "" {
		rt = newRefreshToken(x.client, x.grant.Subject, r.State)
	}
	app, msalErr := x.client.msal(x.candidate.msal, rt, region)
	if msalErr != nil {
		return nil, nil, errorf("invalid_request", "MSAL rejects the configuration of the client")
	}
	resp, err := x.grant.Fetch(ctx, &TokenRequest{x.grant, r.Claims, app, x})
	switch {
	case x.unsent != nil:
		return nil, x.unsent, nil
	case x.failure != nil && x.response != nil && x.failure.rejectsCredential():
		return nil, &failure{x.failure, true}, nil
	case x.failure != nil:
		return nil, nil, x.failure
	case err != nil:
		return nil, nil, fetchError(ctx, err, x.requestID)
	}
	if err := resp.validate(x.grant, x.forUser); err != nil {
		return nil, nil, err
	}
	return resp, nil, nil
}

// allow returns nil if a request with the credential id may be sent, and Entra's last
// rejection if its circuit breaker is open.
func (x *exchange) allow(id string) *Error {
	x.breakerKey = breakerKey{authority: x.client.authority, id: id}
	if !x.forUser {
		x.breakerKey.region = x.client.region.known()
	}
	var rejection *Error
	rejection, x.probing = x.client.breakers.allow(x.breakerKey)
	return rejection
}

// admit checks a token request before it is sent. A user's grant never sends a request for
// the app's own token, nor the reverse.
func (x *exchange) admit(form url.Values) *Error {
	x.redactor = redact.Form(form)
	if forApp := form.Get("grant_type") == "client_credentials"; forApp == x.forUser {
		return errorf("invalid_request", "the grant is for %s, "+
			"but the request is for %s and was not sent", tokenKind(x.forUser), tokenKind(!forApp))
	}
	for _, failed := range x.candidate.tried {
		x.client.log(slog.LevelWarn, "entra: a credential failed, trying another", x.grant, failed)
	}
	x.candidate.tried = nil
	if warning := x.candidate.warning; warning != "" && x.client.logger != nil {
		x.client.warned.Do(func() { x.client.logger.Warn("entra: " + warning) })
	}
	return nil
}

func tokenKind(user bool) string {
	if user {
		return "a user's token"
	}
	return "the app's own token"
}

// receive records the response to the token request.
func (x *exchange) receive(r *response) {
	x.response = r
	var failed *Error
	x.token, failed = parseTokenResponse(r, x.redactor, x.requestID)
	b := x.client.breakers
	if failed != nil {
		failed.temporary = failed.spreading() && b.mayMatchLater()
		x.fail(failed)
	}
	switch {
	// Entra examines the grant and the user after the client (RFC 6749, section 5.2).
	case failed == nil, failed.Code == "invalid_grant", failed.InteractionRequired():
		b.accept(x.breakerKey)
		x.probed = true
	case failed.rejectsCredential() && failed.namesCredential():
		b.reject(x.breakerKey, failed)
		x.probed = true
	}
}

// fail records an error. The first one counts.
func (x *exchange) fail(err *Error) {
	if x.failure == nil {
		x.failure = err
	}
}

// unauthenticated records that the credential cannot be used, so that no request is sent. If
// rejected is set, Entra has rejected the credential before. Otherwise it failed to load.
// unauthenticated returns err.
func (x *exchange) unauthenticated(err *Error, rejected bool) error {
	x.unsent = &failure{err, rejected}
	return err
}

// msalError returns the error for a failed call of MSAL. MSAL's own text is
// dropped: it can contain the request with its secret, and the ID token.
func (x *exchange) msalError(ctx context.Context) *Error {
	g := x.grant
	switch {
	case ctx.Err() != nil:
		return timedOut(ctx, x.requestID)
	case x.token != nil:
		return x.invalidToken(CodeInvalidResponse, "MSAL rejected the response: its ID token or client_info is malformed, "+
			"or an on-behalf-of token expires within five minutes")
	case g.redeems():
		return errorf("login_required", "the cache has no refresh token for the user; the user must sign in")
	}
	return errorf("invalid_request", "MSAL sent no request: it rejects the scopes or the claims of the grant")
}

// fetchError returns the error for a Fetch that failed with err.
func fetchError(ctx context.Context, err error, requestID string) *Error {
	if invalid := safecall.NilPointer(err); invalid != nil {
		return errorf("invalid_request", "the grant's Fetch failed: %v", invalid)
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if ctx.Err() != nil {
		return timedOut(ctx, requestID)
	}
	return errorf("invalid_request", "the grant's Fetch failed with an error that is not an *entra.Error, so its "+
		"text is not repeated")
}

func timedOut(ctx context.Context, requestID string) *Error {
	const text = "the token request timed out"
	return &Error{Code: CodeRequestFailed, Description: text, CorrelationID: requestID, Err: ctx.Err()}
}

// forMSAL returns the response that MSAL gets. MSAL parses the ID token and client_info, and checks the lifetime. It
// gets neither the access token nor the refresh token of the response, so it spends no time on parsing them. In place
// of the access token it gets the ID of the request. It gets no scopes, and then takes the requested ones as granted.
func (x *exchange) forMSAL() *response {
	r := &response{status: x.response.status}
	if t := x.token; t != nil {
		r.body, _ = json.Marshal(struct { // cannot fail: the raw members are from valid JSON
			AccessToken string          `json:"access_token"`
			TokenType   string          `json:"token_type"`
			ExpiresIn   time.Duration   `json:"expires_in"`
			IDToken     json.RawMessage `json:"id_token,omitempty"`
			ClientInfo  json.RawMessage `json:"client_info,omitempty"`
		}{x.requestID, t.TokenType, time.Duration(t.ExpiresIn) / time.Second, t.IDToken, t.ClientInfo})
	}
	return r
}

// missingScopes returns the error for a token with fewer scopes than requested, or nil. An authorization code cannot be
// redeemed again, and the user would never be signed in. One of the requested scopes is therefore enough for it, except
// for a TokenSource, which promises the scopes of its grant.
func (x *exchange) missingScopes() *Error {
	requested, granted := x.grant.scopes(), strings.Fields(x.token.Scope)
	missing := without(requested, granted)
	switch {
	case len(missing) == 0, len(granted) == 0: // without scopes, the requested ones were granted (RFC 6749, section 5.1)
		return nil
	case x.grant.exchanged && x.singleUse && len(missing) < len(requested):
		return nil
	}
	return x.invalidToken("consent_required", "Entra granted fewer scopes than requested; missing: "+
		strings.Join(missing, " "))
}

// without returns the scopes that granted does not contain, without regard to case.
func without(scopes, granted []string) (missing []string) {
	for _, s := range scopes {
		if !slices.ContainsFunc(granted, func(g string) bool { return strings.EqualFold(g, s) }) {
			missing = append(missing, s)
		}
	}
	return missing
}

// invalidToken returns the error for a response with a token that cannot be used.
func (x *exchange) invalidToken(code, description string) *Error {
	return &Error{
		Code: code, Description: description, StatusCode: x.response.status, CorrelationID: x.requestID,
	}
}

// log logs the failure of an attempt that another one follows.
func (c *Client) log(level slog.Level, message string, g *Grant, failed *Error) {
	l := c.logger
	if l == nil || !l.Enabled(context.Background(), level) {
		return
	}
	key := cache.Key{Authority: c.authority, ClientID: c.clientID, Flow: g.Flow, Subject: g.Subject, Session: g.Session}
	l.LogAttrs(context.Background(), level, message,
		slog.String("key", fmt.Sprint(key)), slog.String("scopes", strings.Join(g.scopes(), " ")), slog.Any("error", failed))
}
