package cache_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache/storetest"
)

// A subject signs out more often than its record has room for. No earlier sign-out is forgotten: all sessions of the
// subject end instead.
func TestManySignOutsUndoNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(b, user("alice"), "s"), "token of alice")
		signIn(t, handle(b, user("bob"), "s"), "token of bob")
		if _, err := a.Purge(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		for i := range 256 {
			time.Sleep(time.Second)
			if _, err := a.PurgeSession(t.Context(), withSession(key("t", "alice"), fmt.Sprint("browser ", i))); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := tokenOrError(t, handle(b, user("alice"), "s"), redeem); !errors.Is(err, errLogin) {
			t.Errorf("alice after the sign-outs: got %q, %v; want error %v", got, err, errLogin)
		}
		if got := token(t, handle(b, user("bob"), "s"), redeem); got != "token of bob" {
			t.Errorf("bob: got %q, want %q", got, "token of bob")
		}
		signIn(t, handle(b, user("alice"), "s"), "new token")
		if got := token(t, handle(a, user("alice"), "s"), redeem); got != "new token" {
			t.Errorf("alice after the next sign-in: got %q, want %q", got, "new token")
		}
		settle()
	})
}
