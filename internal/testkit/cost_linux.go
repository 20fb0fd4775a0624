package testkit

import (
	"syscall"
	"time"
)

// threadTime returns the processor time of the current thread. Unlike the clock, it does not depend on other programs.
func threadTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
