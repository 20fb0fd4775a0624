package entra

import (
	"cmp"
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

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

// check decides whether the outcome of a Fetch is the token that was wanted. MSAL's
// errors are not repeated: they can hold the request with its secret, and the token.
func (x *exchange) check(ctx context.Context, g *Grant, result confidential.AuthResult, t *tokenResponse, err error) *Error {
	if x.failure != nil {
		return x.failure
	}
	if own, ok := errorAs[*Error](err); ok {
		return own
	}
	account := result.Account.HomeAccountID
	switch {
	case err != nil && ctx.Err() != nil:
		return &Error{Code: CodeRequestFailed, Description: "time ran out", CorrelationID: x.requestID, Err: ctx.Err()}
	case err != nil && t != nil:
		return x.declined(g, t)
	case err != nil && g.RefreshToken && g.Subject != "": // not in Redeem, which has no use for one
		return refuse("login_required", "nothing is held with which a token could be got for the user; the user must sign in")
	case err != nil:
		return refuse("invalid_request", "the grant's Fetch failed without asking Entra: MSAL does not accept its scopes or claims, or it failed by itself and "+
			"should say so in an *entra.Error")
	case t != nil && t.AccessToken != result.AccessToken:
		return refuse(CodeInvalidResponse, "MSAL returned another token than the one that was answered")
	case x.forUser && account == "":
		return refuse(CodeInvalidResponse, "the answer does not say which user the token is for")
	case !x.forUser && account != "":
		return refuse(CodeInvalidResponse, "the answer to the app's own request is a user's token")
	case g.RefreshToken && g.Subject != "" && !strings.EqualFold(account, g.Subject):
		return refuse(CodeInvalidResponse, "the answer is a token for another user")
	}
	return nil
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
func (c *Client) fetch(ctx context.Context, g *Grant, prev *cache.Token, keep any) (cache.Answer, error) {
	rt, _ := keep.(*refreshToken)
	run := attempts{client: c, grant: g, forUser: g.Subject != "", prev: prev, rt: rt}
	if failed := run.all(ctx); failed != nil {
		return cache.Answer{}, failed
	}
	return c.answerOf(run.result, run.token, 0, g), nil
}

// answerOf makes of a token response of some age what the cache keeps.
func (c *Client) answerOf(result confidential.AuthResult, t *tokenResponse, age time.Duration, g *Grant) cache.Answer {
	a := cache.Answer{
		AccessToken: t.AccessToken,
		TokenType:   "Bearer",
		Scope:       cmp.Or(t.Scope, strings.Join(g.scopes(), " ")), // omitted: as requested (RFC 6749, section 5.1)
		Lifetime:    time.Duration(t.ExpiresIn) - age,
		RefreshIn:   max(0, time.Duration(t.RefreshIn)-age),
		NotAfter:    g.NotAfter,
	}
	switch left := time.Until(result.ExpiresOn); {
	case result.ExpiresOn.IsZero() || left >= a.Lifetime:
	case left > a.Lifetime-ownEnd:
		a.Lifetime = left
	case a.NotAfter.IsZero() || result.ExpiresOn.Before(a.NotAfter):
		a.NotAfter = result.ExpiresOn
	}
	if g.RefreshToken && t.RefreshToken != "" {
		a.Keep = newRefreshToken(c, g.Subject, t.RefreshToken)
	}
	return a
}

// ownEnd is by how much a result must end before the token does for that to be the end of
// its grant, said by Fetch, and not the time since MSAL read the answer.
const ownEnd = time.Minute
