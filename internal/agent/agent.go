// Package agent describes agent identities. Package agentid creates them, and entra.ForAgent binds them to a client.
package agent

import "context"

// An Identity is an agent identity, which its blueprint authenticates.
type Identity struct {
	ClientID string // a GUID in lower case
	// Assertion returns the client assertion of the agent identity, an exchange token. rejected is set if Entra has just
	// rejected the last one. Its error is an *entra.Error. Required.
	Assertion func(ctx context.Context, rejected bool) (string, error)
}
