package entra

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A CodeResult is the response to a grant that can be redeemed only once, such as an
// authorization code. Its contents are never printed or marshaled.
type CodeResult struct {
	client   *Client
	grant    Grant
	received time.Time
	response *TokenResponse
}

// Exchange calls g.Fetch now, for a single-use grant, such as an authorization code, whose
// user is known only from the response. g.Subject is ignored; the response must be for a
// user. The cache stores nothing until [CodeResult.Store] is called. ctx and
// [TokenTimeout] bound the request. Fetch is called again only if Entra rejects the
// client's credential, which it checks before the grant, and there is another one.
//
// The error is an [*Error]. It wraps ctx's error if ctx ended first.
func (c *Client) Exchange(ctx context.Context, g Grant) (*CodeResult, error) {
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
	return &CodeResult{c, g, time.Now(), run.response}, nil
}

// HomeAccountID returns the home account ID of the user, for [CodeResult.Store].
func (r *CodeResult) HomeAccountID() string { return r.response.HomeAccountID }

// IDToken returns the ID token, which has not been validated, or "".
func (r *CodeResult) IDToken() string { return r.response.IDToken }

// Store stores the token, and the refresh token if g.RefreshToken is set, in the session of
// subject at c, where a [TokenSource] of the same flow, subject and scopes finds it. c is
// the client that exchanged the grant, or one made from it by WithTenant: the tokens of a
// user who signed in at "organizations" are stored at the user's own tenant.
func (r *CodeResult) Store(c *Client, subject string) error {
	if c.wire != r.client.wire || c.clientID != r.client.clientID {
		return refuse("invalid_request", "a CodeResult can only be stored by a client of the same app")
	}
	if subject == "" {
		return refuse("invalid_request", "a CodeResult can only be stored for a subject")
	}
	if err := c.specificTenant(); err != nil {
		return err
	}
	if guid.MatchString(r.client.tenantID) && guid.MatchString(c.tenantID) && r.client.tenantID != c.tenantID {
		return refuse("invalid_request", "a CodeResult of one tenant cannot be stored in another")
	}
	g := r.grant
	if g.RefreshToken && !strings.EqualFold(subject, r.response.HomeAccountID) {
		return refuse("invalid_request", "a CodeResult can only be stored for its own account")
	}
	g.Subject = subject
	if failed := g.ended(); failed != nil {
		return failed
	}
	resp := c.cached(&g, r.response, time.Since(r.received))
	if _, err := c.TokenSource(g).handle.Put(resp); err != nil {
		return refuse(CodeInvalidResponse, "the token has already expired")
	}
	return nil
}

// Format prints that there is a result, whatever the verb.
func (r *CodeResult) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.CodeResult{...}") }
