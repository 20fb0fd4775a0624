package entra

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/issuer"
	"github.com/entratoken/entra/internal/retry"
)

// ForIssuer returns a client whose grants acquire tokens from an issuer other than the token endpoint of Entra. Only
// packages of this module can call it: see package managedidentity. The Fetch of a grant acquires the token itself and
// must not call the methods of its TokenRequest that send requests.
func ForIssuer(i issuer.Issuer) *Client {
	c := &Client{
		authority: i.Name, clientID: i.Identity, cache: i.Cache, logger: i.Logger,
		flows: new(flows), breakers: newBreakers(), issuer: &issuerClient{i, retry.NewBudget()},
	}
	if i.Logger != nil {
		c.onEvent = cache.Log(i.Logger)
	}
	return c
}

// An issuerClient is the part of a client that differs for an issuer.
type issuerClient struct {
	issuer.Issuer
	budget *retry.Budget
}

// requestIssuer acquires a token for g from the client's issuer. It is the counterpart of request.
func (c *Client) requestIssuer(
	ctx context.Context, g *Grant, claims string, wait func(context.Context, time.Duration) bool,
) (*TokenResponse, *Error) {
	key := breakerKey{authority: c.authority, id: c.clientID}
	last, probe := c.breakers.allow(key)
	if last != nil {
		return nil, last
	}
	reported := false
	defer func() { // also if Fetch panics
		if probe && !reported {
			c.breakers.abandon(key)
		}
	}()
	retries := c.issuer.budget.Start(wait)
	for {
		resp, err := g.Fetch(ctx, &TokenRequest{grant: g, claims: claims})
		if err == nil {
			if failed := resp.validateIssued(g); failed != nil {
				return nil, failed
			}
			c.breakers.accept(key)
			reported = true
			return resp, nil
		}
		failed := fetchError(ctx, err, "")
		if c.issuer.Rejects(failed) {
			c.breakers.reject(key, failed)
			reported = true
			return nil, failed
		}
		in, ok := c.issuer.RetryIn(failed, retries.Retries(), rand.Float64())
		if !ok || !retries.Pause(ctx, in, false) {
			return nil, failed
		}
		c.log(slog.LevelDebug, "entra: a request failed, trying again", g, failed)
	}
}

// validateIssued reports a response of an issuer without a usable token.
func (r *TokenResponse) validateIssued(g *Grant) *Error {
	if invalid := r.validate(g, false); invalid != nil {
		return invalid
	}
	switch {
	case !validToken(r.AccessToken):
		return errorf(CodeInvalidResponse, "the access_token in the response is empty or contains an invalid character")
	case r.ExpiresIn <= 0:
		return errorf(CodeInvalidResponse, "the token in the response has already expired; check the clock of this machine")
	}
	return nil
}
