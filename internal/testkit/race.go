//go:build race

package testkit

// raceDetector is whether the race detector runs. Then sync.Pool drops values at random, so allocations say nothing.
const raceDetector = true
