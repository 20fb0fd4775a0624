package cache

import (
	"sync/atomic"
	"unsafe"
)

// A counter counts hits without making all cores share one cache line: goroutines that run
// at the same time have different stacks, and so, mostly, different cells.
type counter struct {
	cells [1 << cellBits]cell
}

const cellBits = 6

type cell struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counter) add() {
	var here byte
	const smallest, spread = 11, 0x9E3779B97F4A7C15 // a stack has 2 KB at least; Fibonacci hashing
	stack := uint64(uintptr(unsafe.Pointer(&here)) >> smallest)
	c.cells[stack*spread>>(64-cellBits)].n.Add(1)
}

func (c *counter) load() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
