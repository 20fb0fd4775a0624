package entra

import (
	"slices"
	"sync/atomic"

	"github.com/entratoken/entra/cache"
)

// maxFlows is more than a client is used for.
const maxFlows = 16

// A flow is what a client remembers of one that it is used for, so that making a source
// for a request costs little.
type flow struct {
	name      string
	partition cache.Partition             // found without hashing the names of the app
	app       atomic.Pointer[TokenSource] // the app's own that looked its place up last; may be nil
}

// flows are those of a client. The list is never changed in place.
type flows struct {
	list atomic.Pointer[[]*flow]
}

func (c *Client) flow(name string) *flow {
	var known []*flow
	if list := c.flows.list.Load(); list != nil {
		known = *list
	}
	for _, f := range known {
		if f.name == name {
			return f
		}
	}
	key := cache.Key{Authority: c.authority, ClientID: c.clientID, Flow: name, Variant: c.variant}
	f := &flow{name: name, partition: key.Partition()}
	if len(known) < maxFlows {
		list := append(slices.Clip(known), f)
		c.flows.list.Store(&list) // of two at once one is lost, and made again
	}
	return f
}
