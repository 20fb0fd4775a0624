package testkit

import (
	"runtime"
	"testing"
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

// AllocatesAtMost fails the test if parse allocates more than fixed bytes and perByte bytes for each byte of its
// input. Under the race detector it only calls parse.
func AllocatesAtMost(t testing.TB, name string, fixed, perByte uint64, input string, parse func(string)) {
	t.Helper()
	limit := fixed + perByte*uint64(len(input))
	f := func() { parse(input) }
	if got := allocated(f); raceDetector || got <= limit {
		return
	}
	if got := Allocated(f); got > limit {
		t.Errorf("%s: %d bytes of input allocate %d bytes, want at most %d", name, len(input), got, limit)
	}
}
