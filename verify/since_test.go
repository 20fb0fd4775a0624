package verify

import (
	"testing"
	"time"
	"unsafe"
)

// The age of keys is the longer of the wall clock's and the monotonic clock's.
func TestSinceUsesTheClockThatAdvancedMore(t *testing.T) {
	start := time.Now()
	for _, test := range []struct{ wall, monotonic, want time.Duration }{
		{time.Hour, time.Hour, time.Hour},
		{-24 * time.Hour, time.Hour, time.Hour}, // the wall clock was set back
		{time.Hour, time.Second, time.Hour},     // the machine slept
	} {
		now := start.Add(test.monotonic)
		setWall(t, &now, start.Add(test.wall))
		if got := now.Sub(start); got != test.monotonic {
			t.Fatalf("got %v from the monotonic clock, want %v", got, test.monotonic)
		}
		if got := since(start, now); got != test.want {
			t.Errorf("wall clock %v, monotonic clock %v: got %v, want %v", test.wall, test.monotonic, got, test.want)
		}
	}
}

// setWall changes the wall time of at and keeps its monotonic reading. Package time has no function
// for this: such times result only from setting a clock. The first word of a time.Time has the wall
// time, and the second has the monotonic reading.
func setWall(t *testing.T, at *time.Time, wall time.Time) {
	t.Helper()
	*(*uint64)(unsafe.Pointer(at)) = *(*uint64)(unsafe.Pointer(&wall))
	if !at.Round(0).Equal(wall.Round(0)) {
		t.Fatal("the layout of time.Time has changed")
	}
}
