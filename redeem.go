package entra

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// Redemption is the answer to a grant that is good once, such as an authorization code.
// Nothing of it is printed or marshaled.
type Redemption struct {
	client  *Client
	grant   Grant
	arrived time.Time
	answer  func() (confidential.AuthResult, *tokenResponse) // a func, so that printing prints an address
}

// Redeem runs g.Fetch now, for a grant that cannot be repeated and that says
// only in its answer whom it speaks for. g.Subject is not used; the answer must be a
// user's. Nothing is held until [Redemption.Keep] is called. It is bounded by ctx and by
// [TokenTimeout]. Only where Entra refuses the app's credential, which it does before it looks
// at the grant, and there is another one, Fetch runs again.
//
// The error is an [*Error], whose Err is ctx's error if that ended first.
func (c *Client) Redeem(ctx context.Context, g Grant) (*Redemption, error) {
	if g.Flow == "" || g.Fetch == nil {
		return nil, refuse("invalid_request", "a Grant needs a Flow and a Fetch")
	}
	g.Subject = ""
	if err := g.ended(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, TokenTimeout)
	defer cancel()
	run := attempts{client: c, grant: &g, forUser: true}
	if err := run.all(ctx); err != nil {
		return nil, err
	}
	result, t := run.result, run.token
	return &Redemption{c, g, time.Now(), func() (confidential.AuthResult, *tokenResponse) { return result, t }}, nil
}

// Result returns what MSAL made of the answer: the account, and the ID token, which has
// not been validated.
func (r *Redemption) Result() confidential.AuthResult {
	result, _ := r.answer()
	return result
}

// Keep puts the token, and the refresh token if the grant says so, into the session of
// subject at c, where a [TokenSource] of the same flow, subject and scopes finds it. c is
// the client that redeemed the grant or one made from it by WithTenant: a user who
// signed in at "organizations" is kept at the user's own tenant.
func (r *Redemption) Keep(c *Client, subject string) error {
	if c.wire != r.client.wire || c.clientID != r.client.clientID {
		return refuse("invalid_request", "a redemption can only be kept by a client of the same app")
	}
	if subject == "" {
		return refuse("invalid_request", "a redemption can only be kept for a subject")
	}
	if err := c.specificTenant(); err != nil {
		return err
	}
	if guid.MatchString(r.client.tenantID) && guid.MatchString(c.tenantID) && r.client.tenantID != c.tenantID {
		return refuse("invalid_request", "a redemption in one tenant can not be kept in another")
	}
	result, t := r.answer()
	g := r.grant
	if g.RefreshToken && !strings.EqualFold(subject, result.Account.HomeAccountID) {
		return refuse("invalid_request", "a redemption can only be kept for the account that it is for")
	}
	g.Subject = subject
	if failed := g.ended(); failed != nil {
		return failed
	}
	a := c.answerOf(result, t, time.Since(r.arrived), &g)
	if _, err := c.TokenSource(g).handle.Put(a); err != nil {
		return refuse(CodeInvalidResponse, "the token has already ended")
	}
	return nil
}

// Format prints that there is a redemption, whatever the verb.
func (r *Redemption) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.Redemption{...}") }
