package entra

import (
	"context"

	"github.com/entratoken/entra/internal/agent"
)

// ForAgent returns a client for an agent identity of a blueprint. It shares the cache, the connections and the circuit
// breakers of the blueprint. Only packages of this module can call it: see package agentid.
//
// The tokens of an agent identity belong to the credential of its blueprint. All clients for the agent identity of one
// blueprint therefore share them.
func ForAgent(blueprint *Client, a agent.Identity) *Client {
	d := *blueprint
	d.clientID, d.blueprint = a.ClientID, blueprint.clientID
	d.credential = Assertion(func(ctx context.Context, r AssertionRequest) (string, error) {
		return a.Assertion(ctx, r.Rejected)
	})
	d.credential.id = "agent:" + blueprint.clientID + ":" + blueprint.credential.id
	d.flows = new(flows)
	return &d
}
