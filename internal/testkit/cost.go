package testkit

import (
	"runtime"
	"testing"
	"time"
)

// Allocated returns the number of bytes that f allocates: the least of five calls, because other goroutines may
// allocate in the meantime.
func Allocated(f func()) uint64 {
	least := allocated(f)
	for range 4 {
		least = min(least, allocated(f))
	}
	return least
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A Cost bounds the memory and the time of a parser.
type Cost struct {
	Fixed, PerByte uint64        // bytes allocated for any input, and for each byte of it
	Time           time.Duration // processor time for any input, in addition to timePerByte. Defaults to 50 ms
}

// timePerByte is the processor time for each byte of the input of a parser: about five times that of the slowest of our
// parsers.
const timePerByte = time.Microsecond

// CostsAtMost fails the test if parse allocates or computes more than limit for input. Under the race detector it does
// not compare allocations, and allows ten times the time.
func CostsAtMost(t testing.TB, name string, limit Cost, input string, parse func(string)) {
	t.Helper()
	size := uint64(len(input))
	f := func() { parse(input) }
	if bytes := limit.Fixed + limit.PerByte*size; !raceDetector && allocated(f) > bytes {
		if got := Allocated(f); got > bytes {
			t.Errorf("%s: %d bytes of input allocate %d bytes, want at most %d", name, size, got, bytes)
		}
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
