package verify

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"time"
)

// Token is an access token that has been verified, with what was learned on the
// way. It never prints the token itself: only Raw gives it away. A nil Token, as of
// a request that did not come through Middleware, is nobody's: what is asked of
// Entra with it fails.
type Token struct {
	raw    *string // behind a pointer: fmt prints an address then, wherever the Token stands
	hash   [sha256.Size]byte
	claims *Claims
}

// Raw returns the token as the caller sent it, to be passed on as the assertion
// of an on-behalf-of request. Keep it out of logs. Of a nil Token: "".
func (t *Token) Raw() string {
	if t == nil || t.raw == nil {
		return ""
	}
	return *t.raw
}

// SHA256 returns the hash of Raw, which was computed once, to verify the token.
// Of a nil Token: zeros.
func (t *Token) SHA256() [sha256.Size]byte {
	if t == nil {
		return [sha256.Size]byte{}
	}
	return t.hash
}

// Expires returns when the token stops being good. Of a nil Token: the zero time,
// which has passed.
func (t *Token) Expires() time.Time {
	if c := t.Claims(); c != nil {
		return c.Expires
	}
	return time.Time{}
}

// Claims returns what the token says. Of a nil Token: nil.
func (t *Token) Claims() *Claims {
	if t == nil {
		return nil
	}
	return t.claims
}

// Format prints the kind of thing this is, whatever the verb.
func (t Token) Format(s fmt.State, _ rune) { fmt.Fprint(s, t.LogValue().String()) }

// LogValue logs the kind of thing this is.
func (t Token) LogValue() slog.Value { return slog.StringValue("verify.Token(redacted)") }

// MarshalText writes the kind of thing this is, in JSON too.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.LogValue().String()), nil }
