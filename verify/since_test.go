package verify

import (
	"testing"
	"time"
	"unsafe"
)

// Keys get older by the clock that says more.
func TestSince(t *testing.T) {
	start := time.Now()
	for _, test := range []struct{ wall, monotonic, want time.Duration }{
		{time.Hour, time.Hour, time.Hour},
		{-24 * time.Hour, time.Hour, time.Hour}, // the clock on the wall was set back
		{time.Hour, time.Second, time.Hour},     // the machine slept
	} {
		now := start.Add(test.monotonic)
		setWall(t, &now, start.Add(test.wall))
		if got := now.Sub(start); got != test.monotonic {
			t.Fatalf("the monotonic clock says %v, want %v", got, test.monotonic)
		}
		if got := since(start, now); got != test.want {
			t.Errorf("%v on the wall, %v by the monotonic clock: got %v, want %v", test.wall, test.monotonic, got, test.want)
		}
	}
}

// setWall changes the time on the wall in t and leaves its monotonic reading. No
// function does that, because only setting a clock brings such times about: the
// first word of a time.Time holds the wall, the second the monotonic reading.
func setWall(t *testing.T, at *time.Time, wall time.Time) {
	t.Helper()
	*(*uint64)(unsafe.Pointer(at)) = *(*uint64)(unsafe.Pointer(&wall))
	if !at.Round(0).Equal(wall.Round(0)) {
		t.Fatal("package time keeps the wall clock elsewhere now")
	}
}
