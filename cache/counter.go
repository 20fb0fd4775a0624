package cache

import (
	"math/rand/v2"
	"sync/atomic"
)

// A counter counts hits without making all cores share one cache line.
type counter struct {
	cells [16]struct {
		n atomic.Uint64
		_ [56]byte
	}
}

func (c *counter) add() { c.cells[rand.Uint32()%uint32(len(c.cells))].n.Add(1) }

func (c *counter) load() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
