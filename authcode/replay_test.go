package authcode

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// Used logins are stored until they expire, up to a bound.
func TestUsedLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsedLogins()
		for i := range 1000 {
			if !u.use(strconv.Itoa(i), time.Now().Add(time.Minute)) ||
				u.use(strconv.Itoa(i), time.Now().Add(time.Minute)) {
				t.Fatalf("login %d is not valid exactly once", i)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if u.use("0", time.Now()) {
			t.Error("a used login is valid again before its expiry")
		}
		time.Sleep(time.Nanosecond)
		u.use("x", time.Now().Add(time.Hour))
		if n := u.states.Len(); n != 1 {
			t.Errorf("got %d used logins, want 1", n)
		}
		for i := range maxUsed {
			u.use(strconv.Itoa(i), time.Now().Add(time.Minute))
		}
		if n := u.states.Len(); n != maxUsed {
			t.Errorf("got %d used logins, want %d", n, maxUsed)
		}
	})
}
