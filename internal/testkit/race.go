//go:build race

package testkit

// raceFactor allows for sync.Pool, which drops values at random under the race detector.
const raceFactor = 8
