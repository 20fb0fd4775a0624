package entra

import (
	"slices"
	"sync/atomic"

	"github.com/entratoken/entra/cache"
)

// maxPartitions is more flows than a client is used for.
const maxPartitions = 16

// partitions remembers a client's partitions of the cache, one for each flow, so that a
// source finds its own without hashing the names of the app. The list is never changed in
// place.
type partitions struct {
	list atomic.Pointer[[]flowPartition]
}

type flowPartition struct {
	flow      string
	partition cache.Partition
}

func (c *Client) partition(flow string) cache.Partition {
	var known []flowPartition
	if list := c.partitions.list.Load(); list != nil {
		known = *list
	}
	for _, p := range known {
		if p.flow == flow {
			return p.partition
		}
	}
	p := cache.Key{Authority: c.authority, ClientID: c.clientID, Flow: flow, Variant: c.variant}.Partition()
	if len(known) < maxPartitions {
		list := append(slices.Clip(known), flowPartition{flow, p})
		c.partitions.list.Store(&list) // of two at once one is lost, and made again
	}
	return p
}
