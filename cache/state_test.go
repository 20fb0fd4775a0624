package cache_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// State returns the state that any process stored last, and "" after a purge in another process.
func TestStateOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		k := key("t", "user")
		k.Session = "desk"
		first, second := replica(t, store), replica(t, store)
		put := func(c *cache.Cache, state string) {
			t.Helper()
			r := response("token", time.Hour)
			r.State = state
			if _, err := handle(c, k, "s").Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(c *cache.Cache, want string) {
			t.Helper()
			if got, err := handle(c, k, "other scopes").State(t.Context()); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
		expect(first, "")
		put(first, "one")
		expect(first, "one")
		expect(second, "one")
		time.Sleep(time.Second)
		put(second, "two")
		expect(first, "two")
		if _, err := second.PurgeSession(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		expect(first, "") // without a wait for a message or a recheck
		expect(second, "")
		put(second, "three")
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
		if got, err := handle(second, k, "s").State(t.Context()); got != "" || err == nil {
			t.Errorf("without the store: got %q, %v, want an error", got, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // without messages, the next check of the first process would be in a minute
		store := struct{ cache.Store }{storetest.NewMemory()}
		k := key("t", "user")
		first, second := replica(t, store), replica(t, store)
		r := response("token", time.Hour)
		r.State = "state"
		if _, err := handle(first, k, "s").Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Purge(t.Context(), "user"); err != nil {
			t.Fatal(err)
		}
		if got, err := handle(first, k, "s").State(t.Context()); got != "" || err != nil {
			t.Errorf("after a purge in another process: got %q, %v, want no state", got, err)
		}
	})
	alone := cache.New(cache.Options{})
	h := handle(alone, key("t", "user"), "s")
	if got, err := h.State(t.Context()); got != "" || err != nil {
		t.Errorf("without a session: got %q, %v", got, err)
	}
	r := response("token", time.Hour)
	r.State = "state"
	if _, err := h.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := h.State(t.Context()); got != "state" || err != nil {
		t.Errorf("without a store: got %q, %v, want the state", got, err)
	}
	if _, err := new(cache.Handle).State(t.Context()); err == nil {
		t.Error("unbound: got no error")
	}
}
