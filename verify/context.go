package verify

import "context"

type contextKey struct{}

// verified is what Middleware leaves in the context of a request.
type verified struct {
	token    *Token
	verifier *Verifier
}

// ClaimsFromContext returns the claims of the token with which a request came through
// Middleware. ok is false if it did not come through Middleware; deny it then.
// The claims belong to the request: nothing done to them reaches another.
func ClaimsFromContext(ctx context.Context) (c *Claims, ok bool) {
	t, ok := TokenFromContext(ctx)
	if !ok {
		return nil, false
	}
	return t.claims, true
}

// TokenFromContext returns the token itself, to be passed on in an on-behalf-of
// request: its text by Raw, and by SHA256 the hash that was computed to verify
// it. ok is false if the request did not come through Middleware.
func TokenFromContext(ctx context.Context) (t *Token, ok bool) {
	v, ok := ctx.Value(contextKey{}).(*verified)
	if !ok {
		return nil, false
	}
	return v.token, true
}

func newContext(ctx context.Context, v *verified) context.Context {
	return context.WithValue(ctx, contextKey{}, v)
}
