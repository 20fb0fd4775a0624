package cache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// State returns the state that was stored last, by any process, and "" after a purge in another process.
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

// ForgetFailures drops the failures from before the state of another session arrived, in this process or another. A
// Retry-After stays, and so does the rejection of a token that the store still has.
func TestForgetFailuresFromBeforeAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		home, guest := user("alice"), user("alice")
		guest.Authority += "2"
		c := replica(t, store)
		from, h := handle(c, home, "s"), handle(c, guest, "s")
		expect := func(when string, want bool) {
			t.Helper()
			if got := h.ForgetFailures(t.Context(), from); got != want {
				t.Errorf("%s: got %v, want %v", when, got, want)
			}
		}
		signInElsewhere := func() {
			t.Helper()
			time.Sleep(time.Second / 4)
			signIn(t, handle(replica(t, store), home, "s"), time.Now().String())
		}
		expect("no state and no failure", false)
		wantLogin(t, h, redeem)
		expect("no state", false)
		signInElsewhere()
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
		expect("the store is down", false)
		store.Inject(nil)
		time.Sleep(3 * time.Second)
		wantLogin(t, h, redeem)
		expect("a failure after the sign-in", false)
		signInElsewhere()
		wantLogin(t, h, noFetch(t))
		expect("a failure before the sign-in", true)
		expect("no failure", false)

		if _, err := h.Put(t.Context(), response("rejected", time.Hour)); err != nil {
			t.Fatal(err)
		}
		h.Invalidate("rejected", "")
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
		if got, err := tokenOrError(t, h, redeem); !errors.Is(err, errTemporary) {
			t.Errorf("got %q, %v, want temporarily_unavailable", got, err)
		}
		store.Inject(nil)
		time.Sleep(3 * time.Second)
		signInElsewhere()
		expect("a failure after Invalidate", true)
		wantLogin(t, h, redeem) // and not the rejected token

		time.Sleep(time.Minute)
		busy := func(context.Context, *cache.Request) (cache.Response, error) {
			return cache.Response{}, throttled{after: time.Minute}
		}
		if _, err := h.Token(t.Context(), "", busy); err == nil {
			t.Error("got no error")
		}
		signInElsewhere()
		expect("a failure with Retry-After", true)
		expect("a Retry-After", false)
		time.Sleep(30 * time.Second)
		if _, err := h.Token(t.Context(), "", noFetch(t)); err == nil {
			t.Error("got no error before Retry-After has passed")
		}
		settle()
	})
	if new(cache.Handle).ForgetFailures(t.Context(), new(cache.Handle)) {
		t.Error("unbound: got true")
	}
}

// A delegation without a state does not stay in memory, since its ID is never used again. One with a state stays, even
// if the store fails.
func TestStateOfADelegationThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		shared := replica(t, store)
		for name, c := range map[string]*cache.Cache{"with a store": shared, "without a store": cache.New(cache.Options{})} {
			users := map[bool]int{true: 1, false: 0}[c == shared] // without a store, nothing is added
			if got, err := handle(c, delegation("", "d"), "s").State(t.Context()); got != "" || err != nil {
				t.Errorf("%s: got %q, %v, want no state", name, got, err)
			}
			if n := c.Stats().Sessions; n != 0 {
				t.Errorf("%s: got %d sessions, want 0", name, n)
			}
			if _, err := handle(c, key("t", "user"), "s").State(t.Context()); err != nil || c.Stats().Sessions != users {
				t.Errorf("%s: got %v and %d sessions, want %d", name, err, c.Stats().Sessions, users)
			}
		}
		signIn(t, handle(shared, delegation("alice", "d"), "s"), "alice's")
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
		for id, want := range map[string]int{"other": 2, "d": 2} {
			if got, err := handle(shared, delegation("alice", id), "s").State(t.Context()); got != "" || err == nil {
				t.Errorf("%s: got %q, %v, want an error", id, got, err)
			}
			if n := shared.Stats().Sessions; n != want {
				t.Errorf("%s: got %d sessions, want %d", id, n, want)
			}
		}
		settle()
	})
}
