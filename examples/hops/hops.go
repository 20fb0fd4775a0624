// Package hops describes the calls between the programs of the examples: how the caller
// acquired its token, and which claims the called API found in it. It never contains the token
// itself.
package hops

import (
	"encoding/json"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

// Token describes how a caller acquired a token. Tokens are opaque to the caller, so the
// values come from its cache.
type Token struct {
	Flow     string    `json:"flow"`
	Obtained time.Time `json:"obtained"`
	Refresh  time.Time `json:"refresh,omitzero"` // refresh point; zero if the token expires with its assertion
	Expires  time.Time `json:"expires"`
}

// TokenOf describes the cached token of s. It returns nil if no token is cached.
func TokenOf(flow string, s *entra.TokenSource) *Token {
	info, ok := s.Cached()
	if !ok {
		return nil
	}
	return &Token{Flow: flow, Obtained: info.ObtainedAt, Refresh: info.RefreshAt, Expires: info.ExpiresAt}
}

// Caller describes the caller of an API, by the claims of its token.
type Caller struct {
	Kind     string `json:"kind"`     // "delegated" or "app-only"
	Subject  string `json:"subject"`  // the user's name, for display; for an app-only token the client ID
	Audience string `json:"audience"` // the called API
	Scopes   string `json:"scp,omitempty"`
	Roles    string `json:"roles,omitempty"`
	Contexts string `json:"acrs,omitempty"` // authentication contexts that the user has satisfied
}

// CallerOf returns the Caller of validated claims.
func CallerOf(c *verify.Claims) Caller {
	caller := Caller{"delegated", c.Name, c.Audience, c.Scopes.String(), c.Roles.String(), c.AuthContexts.String()}
	if c.AppOnly() {
		caller.Kind, caller.Subject = "app-only", c.ClientID
	}
	return caller
}

// Response is the JSON response of the examples' APIs.
type Response struct {
	API    string          `json:"api"`
	Caller Caller          `json:"caller"`
	Items  []string        `json:"items,omitempty"` // the data of the API
	Token  *Token          `json:"token,omitempty"` // with which the API called the next API
	Next   json.RawMessage `json:"next,omitempty"`  // the response of the next API
}

// Hop is one call of an API.
type Hop struct {
	From, To string
	Token    Token
	Caller   Caller
}

// Follow returns the calls behind a response: the call that from made with t, and the calls
// that each API made in turn. items are the data of the last API.
func Follow(from string, t *Token, response json.RawMessage) (all []Hop, items []string) {
	for t != nil {
		var r Response
		if json.Unmarshal(response, &r) != nil || r.API == "" { // not an API of the examples
			all = append(all, Hop{From: from, To: "API", Token: *t})
			break
		}
		all = append(all, Hop{from, r.API, *t, r.Caller})
		from, t, response, items = r.API, r.Token, r.Next, r.Items
	}
	return all, items
}
