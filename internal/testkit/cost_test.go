//go:build !race

package testkit_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/testkit"
)

var (
	sink  []byte
	pairs int
)

// The limits fail a parser whose allocations or time grow with the square of its input, and no linear one. They also
// fail one that recurses for each byte.
func TestCostsAtMost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parse func(string)
		fails bool
	}{
		{"copies its input twice", func(s string) { sink = make([]byte, 2*len(s)) }, false},
		{"copies it three times", func(s string) { sink = make([]byte, 3*len(s)) }, true},
		{"reads it once", func(s string) { pairs = countPairs(s[:1], s) }, false},
		{"reads it for each byte", func(s string) { pairs = countPairs(s, s) }, runtime.GOOS == "linux"},
		{"recurses for each byte", func(s string) { pairs = depth(s) }, true},
		{"recurses for each 16th byte", func(s string) { pairs = depth(s[:len(s)/16]) }, false},
	} {
		f := &failures{TB: t}
		testkit.CostsAtMost(f, tt.name, testkit.Cost{Fixed: 1 << 14, PerByte: 2}, strings.Repeat("a", 1<<15), tt.parse)
		if got := f.n > 0; got != tt.fails {
			t.Errorf("%s: got a failure: %v, want %v", tt.name, got, tt.fails)
		}
	}
}

// countPairs returns the number of equal pairs of bytes.
func countPairs(a, b string) (n int) {
	for i := range len(a) {
		for j := range len(b) {
			if a[i] == b[j] {
				n++
			}
		}
	}
	return n
}

// depth returns the length of s, by recursion with 64 bytes of stack at least.
func depth(s string) int {
	if s == "" {
		return 0
	}
	var frame [64]byte
	copy(frame[:], s)
	return depth(s[1:]) + 1 + int(frame[0]-s[0])
}
