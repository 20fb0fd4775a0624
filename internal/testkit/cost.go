package testkit

import (
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// Allocated returns the number of bytes that f allocates: the least of five calls, because other goroutines may
// allocate in the meantime.
func Allocated(f func()) uint64 {
	least := memory(f).heap
	for range 4 {
		least = min(least, memory(f).heap)
	}
	return least
}

// usage is the memory of a function in bytes: its allocations, and the stack of its goroutine.
type usage struct{ heap, stack uint64 }

var collector sync.Mutex // guards the setting of the garbage collector

// memory calls f in a new goroutine, whose stack is small. The garbage collector is off, because it shrinks stacks.
func memory(f func()) (used usage) {
	collector.Lock()
	defer collector.Unlock()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	done := make(chan struct{})
	go func() {
		defer close(done)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		used = usage{after.TotalAlloc - before.TotalAlloc, max(after.StackInuse, before.StackInuse) - before.StackInuse}
	}()
	<-done
	return used
}

// A Cost bounds the memory and the time of a parser.
type Cost struct {
	Fixed, PerByte uint64        // bytes allocated for any input, and for each byte of it
	Time           time.Duration // processor time for any input, in addition to timePerByte. Defaults to 50 ms
}

// timePerByte is the processor time for each byte of the input of a parser: about twice that of the slowest of our
// parsers.
const timePerByte = time.Microsecond

// maxStack is the stack that a parser may use for any input. A parser that recurses for each byte of its input uses
// more for 64 KiB.
const maxStack = 1 << 20

// CostsAtMost fails the test if parse allocates or computes more than limit for input, or uses more than 1 MiB of
// stack. Under the race detector it does not compare memory, and allows ten times the time.
func CostsAtMost(t testing.TB, name string, limit Cost, input string, parse func(string)) {
	t.Helper()
	size := uint64(len(input))
	f := func() { parse(input) }
	if !raceDetector {
		limit.compareMemory(t, name, size, f)
	}
	if limit.Time == 0 {
		limit.Time = 50 * time.Millisecond
	}
	used := limit.Time + time.Duration(size)*timePerByte
	if raceDetector {
		used *= 10
	}
	if got := leastTime(used, f); got > used {
		t.Errorf("%s: %d bytes of input cost %v of processor time, want at most %v", name, size, got, used)
	}
}

// compareMemory fails the test if f uses more memory than limit in each of five calls. Other goroutines may use memory
// in the meantime.
func (limit Cost) compareMemory(t testing.TB, name string, size uint64, f func()) {
	t.Helper()
	bytes := limit.Fixed + limit.PerByte*size
	least := memory(f)
	for range 4 {
		if least.heap <= bytes && least.stack <= maxStack {
			return
		}
		used := memory(f)
		least = usage{min(least.heap, used.heap), min(least.stack, used.stack)}
	}
	if least.heap > bytes {
		t.Errorf("%s: %d bytes of input allocate %d bytes, want at most %d", name, size, least.heap, bytes)
	}
	if least.stack > maxStack {
		t.Errorf("%s: %d bytes of input use %d bytes of stack, want at most %d", name, size, least.stack, maxStack)
	}
}

// leastTime returns the processor time of f. If it is over the limit, it is the least of three calls, because the
// garbage collector may have worked in the meantime.
func leastTime(limit time.Duration, f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := time.Duration(1<<63 - 1)
	for range 3 {
		before := threadTime()
		f()
		if least = min(least, threadTime()-before); least <= limit {
			break
		}
	}
	return least
}
