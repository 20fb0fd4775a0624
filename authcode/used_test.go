package authcode

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// The memory of answered logins ends with them, and is bounded before that.
func TestUsedLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsedLogins()
		for i := range 1000 {
			if !u.use(strconv.Itoa(i), time.Now().Add(time.Minute)) || u.use(strconv.Itoa(i), time.Now().Add(time.Minute)) {
				t.Fatalf("login %d is not good exactly once", i)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if u.use("0", time.Now()) {
			t.Error("a login is good again before its end")
		}
		time.Sleep(time.Nanosecond)
		u.use("x", time.Now().Add(time.Hour))
		if n := u.states.Len(); n != 1 {
			t.Errorf("%d logins are remembered, want 1", n)
		}
		for i := range maxUsed {
			u.use(strconv.Itoa(i), time.Now().Add(time.Minute))
		}
		if n := u.states.Len(); n != maxUsed {
			t.Errorf("%d logins are remembered, want %d", n, maxUsed)
		}
	})
}
