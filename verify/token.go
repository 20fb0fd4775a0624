package verify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"time"
)

// Token is a verified access token. [Verifier.Verify] returns it, and
// [TokenFromContext] returns the token of a request. Only [Token.Raw] discloses
// the token itself; printing, logging and marshaling do not.
//
// The methods of a nil or zero Token return zero values, so a request to Entra
// with such a token fails.
type Token struct {
	raw    *string // a pointer, so that fmt prints an address wherever a Token is nested
	hash   [sha256.Size]byte
	claims *Claims

	verifier *Verifier // by which it was verified

	// inGroup looks up whether the user is in one of the groups. It is nil unless the token has too many groups and the
	// Verifier can look them up.
	inGroup func(groups []string) (bool, error)
}

// newToken returns a Token with a copy of the claims. It allocates once.
func newToken(raw string, hash [sha256.Size]byte, claims *Claims, v *Verifier) *Token {
	t := &struct {
		token  Token
		claims Claims
		raw    string
	}{claims: *claims, raw: raw}
	t.token = Token{raw: &t.raw, hash: hash, claims: &t.claims, verifier: v}
	return &t.token
}

// Raw returns the token as the caller sent it. Use it as the assertion of an
// on-behalf-of request, and keep it out of logs.
func (t *Token) Raw() string {
	if t == nil || t.raw == nil {
		return ""
	}
	return *t.raw
}

// SHA256 returns the SHA-256 hash of [Token.Raw]. It was computed during
// verification, so SHA256 costs nothing.
func (t *Token) SHA256() [sha256.Size]byte {
	if t == nil {
		return [sha256.Size]byte{}
	}
	return t.hash
}

// Expires returns the expiry of the token (exp).
func (t *Token) Expires() time.Time {
	if c := t.Claims(); c != nil {
		return c.Expires
	}
	return time.Time{}
}

// Claims returns the claims of the token. It returns nil if t is nil or zero.
func (t *Token) Claims() *Claims {
	if t == nil {
		return nil
	}
	return t.claims
}

// Format prints a placeholder for every verb.
func (t Token) Format(s fmt.State, _ rune) { fmt.Fprint(s, t.LogValue().String()) }

// LogValue returns a placeholder.
func (t Token) LogValue() slog.Value { return slog.StringValue("verify.Token(redacted)") }

// MarshalText returns a placeholder. JSON uses it, too.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.LogValue().String()), nil }

type contextKey struct{}

// NewContext returns a copy of ctx with t. If t is nil or zero, the copy lacks a
// verified token. [Verifier.Middleware] calls NewContext for each request. Programs
// call it where Middleware does not fit, for example in a gRPC interceptor or another
// web framework:
//
//	t, err := v.Verify(ctx, raw) // see BearerToken
//	if err != nil {
//		return err // deny the request
//	}
//	ctx = verify.NewContext(ctx, t)
func NewContext(ctx context.Context, t *Token) context.Context {
	return context.WithValue(ctx, contextKey{}, t)
}

// TokenFromContext returns the token that [Verifier.Middleware] or [NewContext]
// stored in ctx, for example to pass it to package obo. If ok is false, deny
// the request.
func TokenFromContext(ctx context.Context) (t *Token, ok bool) {
	t, _ = ctx.Value(contextKey{}).(*Token)
	if t.Claims() == nil {
		return nil, false
	}
	return t, true
}

// ClaimsFromContext returns the claims of the token that [TokenFromContext]
// returns. If ok is false, deny the request. The
// claims belong to the request, so changing them does not affect others.
func ClaimsFromContext(ctx context.Context) (c *Claims, ok bool) {
	t, ok := TokenFromContext(ctx)
	return t.Claims(), ok
}
