// Package hops is how the examples' programs tell what happened: how a caller came by the
// token for a call, and what the called API found in it. No token is ever in it.
package hops

import (
	"encoding/json"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

// Token is how a caller came by a token. A caller cannot look into tokens for others, so
// this is what its cache knows.
type Token struct {
	Flow     string    `json:"flow"`
	Obtained time.Time `json:"obtained"`
	Refresh  time.Time `json:"refresh,omitzero"` // from when it is refreshed in the background; zero: it ends with the token it was exchanged for
	Expires  time.Time `json:"expires"`
}

// TokenOf describes the token that s holds, or is nil if it holds none.
func TokenOf(flow string, s *entra.TokenSource) *Token {
	held := s.Held()
	if held == nil {
		return nil
	}
	t := &Token{Flow: flow, Obtained: held.ObtainedAt(), Expires: held.Expiry()}
	if held.RefreshAt().Before(held.UsableUntil()) {
		t.Refresh = held.RefreshAt()
	}
	return t
}

// Caller is what an API found in the token that it was called with.
type Caller struct {
	Kind     string `json:"kind"`     // "delegated" or "app-only"
	Subject  string `json:"subject"`  // the user's name, for display; the app's ID of an app-only token
	Audience string `json:"audience"` // the API
	Scopes   string `json:"scp,omitempty"`
	Roles    string `json:"roles,omitempty"`
	Contexts string `json:"acrs,omitempty"` // authentication contexts that the user satisfied
}

// CallerOf describes validated claims.
func CallerOf(c *verify.Claims) Caller {
	caller := Caller{"delegated", c.Name, c.Audience, c.Scopes.String(), c.Roles.String(), c.AuthContexts.String()}
	if c.AppOnly() {
		caller.Kind, caller.Subject = "app-only", c.ClientID
	}
	return caller
}

// Answer is what the examples' APIs answer.
type Answer struct {
	API    string          `json:"api"`
	Caller Caller          `json:"caller"`
	Items  []string        `json:"items,omitempty"` // what was asked for
	Token  *Token          `json:"token,omitempty"` // with which the API called the next one
	Next   json.RawMessage `json:"next,omitempty"`  // what the next one answered
}

// Hop is one call: who called whom, with which token.
type Hop struct {
	From, To string
	Token    Token
	Caller   Caller
}

// Of follows an answer to a call that from made with t through the APIs behind it, and
// returns the items that the last one answered.
func Of(from string, t *Token, answer json.RawMessage) (all []Hop, items []string) {
	for t != nil {
		var a Answer
		if json.Unmarshal(answer, &a) != nil || a.API == "" { // another API than the examples'
			all = append(all, Hop{From: from, To: "API", Token: *t})
			break
		}
		all = append(all, Hop{from, a.API, *t, a.Caller})
		from, t, answer, items = a.API, a.Token, a.Next, a.Items
	}
	return all, items
}
