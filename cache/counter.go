package cache

import (
	"sync"
	"sync/atomic"
)

// A counter counts hits without making all cores share one cache line.
type counter struct {
	cells [16]cell
	next  atomic.Uint32
	near  sync.Pool // of *cell: gives each processor the one that it used last
}

type cell struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counter) add() {
	near, ok := c.near.Get().(*cell)
	if !ok {
		near = &c.cells[c.next.Add(1)%uint32(len(c.cells))]
	}
	near.n.Add(1)
	c.near.Put(near)
}

func (c *counter) load() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
