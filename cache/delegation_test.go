package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

const day = 24 * time.Hour

// delegation is the key of a user's delegation.
func delegation(name, id string) cache.Key {
	k := withSession(key("t", name), id)
	k.Flow, k.Delegation = "delegation", true
	return k
}

func expectLogin(t *testing.T, when string, h *cache.Handle) {
	t.Helper()
	if got, err := tokenOrError(t, h, redeem); !errors.Is(err, errLogin) {
		t.Errorf("%s: got %q, %v, want login_required", when, got, err)
	}
}

// A process that ends many delegations of a user does not drop the marks of the user's sign-outs.
func TestManyEndedDelegationsDoNotUndoSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory().WithoutPush()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		h := handle(b, user("alice"), "s")
		token(t, h, noFetch(t))
		if _, err := a.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			k := delegation("alice", fmt.Sprint(i))
			signIn(t, handle(a, k, "s"), "delegated")
			if n, err := a.PurgeSession(t.Context(), k); n != 1 || err != nil {
				t.Fatalf("got %d, %v, want 1", n, err)
			}
		}
		time.Sleep(time.Minute)
		expectLogin(t, "after a minute", h)
		settle()
	})
}

// Many sign-outs, which end all sessions of the user in the end, spare the user's delegations. A Purge ends them for as
// long as they are stored.
func TestManySignOutsSpareDelegations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := replica(t, store)
		for _, id := range []string{"kept", "purged"} {
			k := delegation("alice", id)
			if id == "purged" {
				k.Subject = "bob"
			}
			signIn(t, handle(a, k, "s"), id)
		}
		if n, err := a.Purge(t.Context(), "bob"); n != 1 || err != nil {
			t.Fatalf("got %d, %v, want 1", n, err)
		}
		for i := range 300 {
			time.Sleep(time.Second)
			for _, name := range []string{"alice", "bob"} {
				if _, err := a.PurgeSession(t.Context(), withSession(user(name), fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(80 * day)
		b := replica(t, store)
		expectLogin(t, "after Purge", handle(b, delegation("bob", "purged"), "s"))
		if got := token(t, handle(b, delegation("alice", "kept"), "s"), redeem); got != "refreshed with refresh token of kept" {
			t.Errorf("got %q, want a token of the delegation", got)
		}
		settle()
	})
}

// The end of a delegation of an agent identity erases its record. Only the client of the agent knows the owner.
func TestRecordWithAnOwnerIsErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		c := replica(t, store, func(o *cache.Options) { o.DelegationTTL = 30 * day })
		agents := delegation("alice", "d")
		agents.Owner = "blueprint"
		signIn(t, handle(c, agents, "s"), "alice's")
		if n, err := c.PurgeSession(t.Context(), delegation("alice", "d")); n != 1 || err != nil {
			t.Errorf("got %d sessions, error %v; want 1", n, err)
		}
		var got []time.Duration
		for _, r := range store.Records() {
			got = append(got, r.TTL)
		}
		slices.Sort(got)
		if want := []time.Duration{time.Minute, 32 * day}; !slices.Equal(got, want) {
			t.Errorf("got lifetimes %v, want %v: an erased record and that of the marks", got, want)
		}
		settle()
	})
}

// A sign-out does not stay in the store for as long as the end of a delegation.
func TestTombstonesExpire(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(ctx context.Context, c *cache.Cache) (int, error)
		want []time.Duration
	}{
		{"sign-out of a session", func(ctx context.Context, c *cache.Cache) (int, error) {
			return c.PurgeSession(ctx, user("alice"))
		}, []time.Duration{2 * day}},
		{"sign-out of a user", func(ctx context.Context, c *cache.Cache) (int, error) {
			return c.PurgeSession(ctx, withSession(user("alice"), ""))
		}, []time.Duration{2 * day}},
		{"end of a delegation", func(ctx context.Context, c *cache.Cache) (int, error) {
			return c.PurgeSession(ctx, delegation("alice", "d"))
		}, []time.Duration{32 * day}},
		{"end of all delegations", func(ctx context.Context, c *cache.Cache) (int, error) {
			return c.PurgeSession(ctx, withSession(delegation("alice", ""), ""))
		}, []time.Duration{32 * day}},
		{"purge", func(ctx context.Context, c *cache.Cache) (int, error) { return c.Purge(ctx, "alice") },
			[]time.Duration{2 * day, 32 * day}},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			c := replica(t, store, func(o *cache.Options) { o.DelegationTTL = 30 * day })
			if _, err := tt.end(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			var got []time.Duration
			for _, r := range store.Records() {
				got = append(got, r.TTL)
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: got lifetimes %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}

// The record of a delegation expires DelegationTTL after its last token request. That of a sign-in is stored for
// SessionTTL after each write.
func TestRecordOfDelegationExpiresByItsLastUse(t *testing.T) {
	for _, tt := range []struct {
		name          string
		key           cache.Key
		first, second time.Duration
	}{
		{"delegation", delegation("alice", "d"), 30 * day, 20 * day},
		{"sign-in", user("alice"), 20 * day, 20 * day},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			c := replica(t, store, func(o *cache.Options) { o.SessionTTL, o.DelegationTTL = 20*day, 30*day })
			h := handle(c, tt.key, "s")
			signIn(t, h, "first")
			want := func(when string, ttl time.Duration) {
				t.Helper()
				for _, r := range store.Records() {
					if r.TTL != ttl {
						t.Errorf("%s %s: got a lifetime of %v, want %v", tt.name, when, r.TTL, ttl)
					}
				}
			}
			want("after the first token", tt.first)
			time.Sleep(10*day - 2*time.Second)
			_, err := tokenOrError(t, h, func(context.Context, *cache.Request) (cache.Response, error) {
				return cache.Response{}, throttled{time.Hour}
			})
			if err == nil {
				t.Errorf("%s: got a token", tt.name)
			}
			time.Sleep(2 * time.Second)
			if tt.key.Delegation {
				want("after a failure", tt.second)
			} else {
				want("after a failure", tt.second-2*time.Second)
			}
			if n := len(store.Records()); n != 1 {
				t.Errorf("%s: got %d records, want 1", tt.name, n)
			}
		})
	}
}

// An unused delegation stays under the key that sealed it, longer than SessionTTL. The next token request moves it to
// the first key. Options.Keys documents when the old key may be removed.
func TestRemovedKeyEndsUnusedDelegations(t *testing.T) {
	old, next := sealKeys[0], sealKeys[1]
	for _, listed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			with := func(keys ...cache.SealKey) *cache.Handle {
				c := replica(t, store, func(o *cache.Options) { o.Keys = keys })
				return handle(c, delegation("alice", "d"), "s")
			}
			signIn(t, with(old), "alice's")
			time.Sleep(day + time.Hour)
			if listed {
				const want = "refreshed with refresh token of alice's"
				if got := token(t, with(next, old), redeem); got != want {
					t.Errorf("with both keys: got %q, want %q", got, want)
				}
				settle()
				if got := token(t, with(next), noFetch(t)); got != want {
					t.Errorf("with the new key, after a token request: got %q, want %q", got, want)
				}
			} else {
				expectLogin(t, "with the new key only", with(next))
			}
			settle()
		})
	}
}

// A delegation costs one more load than a sign-in for the marks. obo.Begin also reads the store before it sends the
// request.
func TestStoreCallsOfDelegation(t *testing.T) {
	for _, tt := range []struct {
		k     cache.Key
		marks int // records of marks
	}{{delegation("alice", "d"), 2}, {user("alice"), 1}} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			a, b := replica(t, store), replica(t, store)
			last := map[storetest.Op]int{}
			calls := func(what string, loads, saves, notifies int) {
				t.Helper()
				settle()
				for op, want := range map[storetest.Op]int{
					storetest.OpLoad: loads, storetest.OpSave: saves, storetest.OpNotify: notifies,
				} {
					if got := store.Calls(op) - last[op]; got != want {
						t.Errorf("%v, %s: got %d calls of %s, want %d", tt.k, what, got, op, want)
					}
					last[op] = store.Calls(op)
				}
			}
			if tt.k.Delegation { // before the request
				if state, err := handle(a, delegation("", "d"), "s").State(t.Context()); state != "" || err != nil {
					t.Errorf("got state %q, error %v", state, err)
				}
				calls("read before begin", 1+tt.marks, 0, 0)
			}
			signIn(t, handle(a, tt.k, "s"), "a")
			calls("begin", 1+tt.marks, 1, 0)
			token(t, handle(b, tt.k, "s"), noFetch(t))
			calls("first use", 1+tt.marks, 0, 0)
			time.Sleep(45 * time.Minute)
			token(t, handle(b, tt.k, "s"), redeem)
			calls("refresh", 1, 2, 0)
			if _, err := a.PurgeSession(t.Context(), tt.k); err != nil {
				t.Fatal(err)
			}
			calls("end", 2, 2, 1)
			expectLogin(t, "after the end", handle(b, tt.k, "s"))
			calls("use after the end", tt.marks+1+tt.marks, 2, 0) // a check, then a new session with a failure
		})
	}
}

// A sign-out erases the records of all sessions that it ends and that the process has.
func TestRecordsOfEndedSessionsAreErased(t *testing.T) {
	for name, change := range map[string]func(*cache.Key){
		"same key":           func(*cache.Key) {},
		"any session":        func(k *cache.Key) { k.Session = "" },
		"other capabilities": func(k *cache.Key) { k.Capabilities = "cp1" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := storetest.NewMemory()
				c := replica(t, store)
				signIn(t, handle(c, user("alice"), "s"), "alice's")
				var record string
				for record = range store.Records() {
				}
				k := user("alice")
				change(&k)
				if n, err := c.PurgeSession(t.Context(), k); n != 1 || err != nil {
					t.Errorf("got %d sessions, error %v; want 1", n, err)
				}
				if ttl := store.Records()[record].TTL; ttl != time.Minute {
					t.Errorf("got a record for %v, want an empty one for a minute", ttl)
				}
				settle()
			})
		})
	}
}

// A sign-out does not erase the record of a session that starts after its mark.
func TestNewerSignInIsNotErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		plain := struct{ cache.Store }{store} // without push
		a, b, fresh := replica(t, plain), replica(t, plain), replica(t, plain)
		signIn(t, handle(a, user("alice"), "s"), "old")
		var record string
		for record = range store.Records() {
		}
		var armed atomic.Bool
		armed.Store(true)
		store.Inject(func(c storetest.Call) storetest.Fault {
			if c.Op == storetest.OpLoad && c.Key == record && armed.CompareAndSwap(true, false) { // of erase
				signIn(t, handle(b, user("alice"), "s"), "new")
			}
			return storetest.Fault{}
		})
		if n, err := a.PurgeSession(t.Context(), user("alice")); n != 1 || err != nil || armed.Load() {
			t.Errorf("got %d sessions, error %v; want 1, after the new sign-in", n, err)
		}
		got, err := tokenOrError(t, handle(fresh, user("alice"), "s"), redeem)
		if got != "new" {
			t.Errorf("got %q, error %v from another process; want the new token", got, err)
		}
		settle()
	})
}
