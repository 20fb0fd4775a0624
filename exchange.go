package entra

import (
	"context"
	"net/url"
	"strings"

	"github.com/entratoken/entra/cache"
)

// An exchange is one run of a grant's Fetch: what it may ask for, and what came back.
// It travels in the context, because MSAL shows neither the refresh token nor the
// answer's headers. It is used by one goroutine at a time.
type exchange struct {
	forUser   bool  // a user's token is wanted, not the app's own
	proof     proof // what the app proves itself with
	finding   bool  // this is to find out whether Entra still refuses that
	spare     bool  // there is another credential to try
	redactor  redactor
	requestID string    // of the token request, for Entra's logs
	answer    *response // to the token request
	failure   *Error    // the first thing that went wrong
	verdict   verdict   // of the credential
}

type exchangeKey struct{}

// exchangeOf returns the exchange that ctx belongs to, or one that nobody reads.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

func (x *exchange) fail(err *Error) {
	if x.failure == nil {
		x.failure = err
	}
}

// admit looks at a token request before it is sent. Whatever MSAL makes of a user's
// grant, the app's own token is no answer to it, nor the other way round.
func (x *exchange) admit(form url.Values) *Error {
	x.redactor = newRedactor(form)
	if forApp := form.Get("grant_type") == "client_credentials"; forApp == x.forUser {
		return refuse("invalid_request", "the grant is for %s, but the request is for %s and was not sent", kind(x.forUser), kind(!forApp))
	}
	return nil
}

func kind(user bool) string {
	if user {
		return "a user's token"
	}
	return "the app's own token"
}

// unproven says that the app did not prove itself, so that nothing was sent: it had
// nothing to do it with or, with v being refused, nothing but what Entra had refused.
func (x *exchange) unproven(failed *Error, v verdict) {
	x.fail(failed)
	x.verdict = v
}

// explain returns the error of a token request that MSAL failed with err, or nil if it did
// not. t is the token in the response, or nil if there was no response.
func (x *exchange) explain(ctx context.Context, g *Grant, t *tokenResponse, err error) *Error {
	switch {
	case x.failure != nil:
		return x.failure
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &Error{Code: CodeRequestFailed, Description: "time ran out", CorrelationID: x.requestID, Err: ctx.Err()}
	case t != nil:
		return x.declined(g, t)
	case g.RefreshToken && g.Subject != "": // Exchange does not redeem refresh tokens
		return refuse("login_required", "nothing is held with which a token could be got for the user; the user must sign in")
	}
	return refuse("invalid_request", "MSAL sent no request: it does not accept the scopes or the claims of the grant")
}

// check returns the error of a Fetch, or of a response that is not the token it should be.
func (x *exchange) check(ctx context.Context, g *Grant, r *TokenResponse, err error) *Error {
	if x.failure != nil {
		return x.failure
	}
	if own, ok := errorAs[*Error](err); ok {
		return own
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return &Error{Code: CodeRequestFailed, Description: "time ran out", CorrelationID: x.requestID, Err: ctx.Err()}
	case err != nil:
		return refuse("invalid_request", "the grant's Fetch failed with an error that is not an *entra.Error, whose text is not repeated")
	}
	return r.validate(g, x.forUser)
}

// declined says why MSAL refused an answer that has a token.
func (x *exchange) declined(g *Grant, t *tokenResponse) *Error {
	var missing []string
	granted := " " + strings.ToLower(t.Scope) + " "
	for _, s := range g.scopes() {
		if t.Scope != "" && !strings.Contains(granted, " "+strings.ToLower(s)+" ") {
			missing = append(missing, s)
		}
	}
	e := refuse(CodeInvalidResponse, "MSAL refused the answer: its ID token or client_info is malformed, or an on-behalf-of token ends within five minutes")
	if len(missing) > 0 {
		e = refuse("consent_required", "Entra granted fewer scopes than were asked for; without: %s", strings.Join(missing, " "))
	}
	e.StatusCode, e.CorrelationID = x.answer.status, x.requestID
	return e
}

// fetch is one exchange for the cache.
func (c *Client) fetch(ctx context.Context, g *Grant, claims string, keep any) (cache.Response, error) {
	rt, _ := keep.(*refreshToken)
	run := attempts{client: c, grant: g, forUser: g.Subject != "", claims: claims, rt: rt}
	if failed := run.all(ctx); failed != nil {
		return cache.Response{}, failed
	}
	return c.cached(g, run.response, 0), nil
}
