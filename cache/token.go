package cache

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Token is an access token as the cache holds it. It never changes, and may be read
// from any goroutine. No printed or marshaled form of it contains the access token.
type Token struct {
	// A pointer, because fmt prints what an unexported field of another struct points
	// to without asking the methods below, but no further.
	oauth *oauth2.Token

	scope                   string
	obtainedAt              time.Time
	refreshAfter, usableFor time.Duration
	challenge               string
}

// newToken returns a token in one piece of memory.
func newToken(o oauth2.Token) *Token {
	both := &struct {
		token Token
		oauth oauth2.Token
	}{oauth: o}
	both.token.oauth = &both.oauth
	return &both.token
}

// OAuth2 returns the token in the form that callers get. It is shared by all of them
// and must not be changed.
func (t *Token) OAuth2() *oauth2.Token { return t.oauth }

// Scopes returns the scopes that the authority granted.
func (t *Token) Scopes() []string { return strings.Fields(t.scope) }

// ObtainedAt is when the token arrived.
func (t *Token) ObtainedAt() time.Time { return t.obtainedAt }

// RefreshAt is when the token becomes early: the first read after it starts a refresh in
// the background. It equals UsableUntil where no refresh can help.
func (t *Token) RefreshAt() time.Time { return t.obtainedAt.Add(t.refreshAfter) }

// UsableUntil is when the cache stops serving the token, a margin before its expiry.
func (t *Token) UsableUntil() time.Time { return t.obtainedAt.Add(t.usableFor) }

// Expiry is when the token ends.
func (t *Token) Expiry() time.Time { return t.oauth.Expiry }

// Challenge returns the claims challenge that the token was acquired with, or "".
func (t *Token) Challenge() string { return t.challenge }

// String describes the token without its text.
func (t Token) String() string {
	return fmt.Sprintf("token for %q, usable until %s", t.scope, t.UsableUntil().Format(time.RFC3339))
}

// Format prints the token as [Token.String] does, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// MarshalJSON describes the token without its text.
func (t Token) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Scopes                             []string
		ObtainedAt, RefreshAt, UsableUntil time.Time
	}{t.Scopes(), t.ObtainedAt(), t.RefreshAt(), t.UsableUntil()})
}
