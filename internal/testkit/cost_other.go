//go:build !linux

package testkit

import "time"

// threadTime returns 0: other systems do not have the time of a thread, so CostsAtMost only compares allocations.
func threadTime() time.Duration { return 0 }
