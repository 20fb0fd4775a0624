package cache_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// calls counts the calls of a store by its methods.
type calls struct{ loads, saves, messages int }

func count(m *storetest.Memory, f func()) calls {
	count := func() calls {
		return calls{m.Calls(storetest.OpLoad), m.Calls(storetest.OpSave), m.Calls(storetest.OpNotify)}
	}
	before := count()
	f()
	after := count()
	return calls{after.loads - before.loads, after.saves - before.saves, after.messages - before.messages}
}

// The exact calls of a store with push, and the round trips that a caller waits for.
func TestCallsOfStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trip = 10 * time.Millisecond
		store := storetest.NewMemory()
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: trip} })
		a := &authority{}
		first, second := handle(replica(t, store), key("t", ""), "s"), handle(replica(t, store), key("t", ""), "s")
		renew := func() { // until the token is due
			time.Sleep(time.Until(first.Current().RefreshAt().Add(time.Minute)))
		}
		for _, step := range []struct {
			name  string
			do    func()
			want  calls
			trips time.Duration // -1 if no caller waits
		}{
			{"first token of the fleet", func() { token(t, first, a.fetch) }, calls{2, 2, 0}, 2},
			{"first use in another process", func() { token(t, second, noFetch(t)) }, calls{2, 0, 0}, 1},
			{"hits", func() {
				for range 1000 {
					token(t, first, noFetch(t))
					token(t, second, noFetch(t))
				}
			}, calls{}, 0},
			{"refresh", func() {
				renew()
				token(t, first, a.fetch)
			}, calls{1, 2, 0}, -1},
			{"token that another process has refreshed", func() { token(t, second, noFetch(t)) }, calls{1, 0, 0}, -1},
			{"token that a resource rejected", func() {
				first.Invalidate(first.Current().Text(), "")
				token(t, first, a.fetch)
			}, calls{1, 2, 0}, 2},
			{"the same in another process", func() {
				second.Invalidate(second.Current().Text(), "")
				token(t, second, noFetch(t))
			}, calls{1, 0, 0}, 1},
		} {
			var took time.Duration
			got := count(store, func() {
				start := time.Now()
				step.do()
				took = time.Since(start)
				settle()
			})
			if got != step.want {
				t.Errorf("%s: got calls %+v, want %+v", step.name, got, step.want)
			}
			if step.trips >= 0 && took != step.trips*trip {
				t.Errorf("%s: the caller waited for %v, want %d round trips", step.name, took, step.trips)
			}
		}
	})
}

// Only an interactive session without a token looks for a later sign-in while a failure is cached.
func TestCachedFailureCostsNoStoreCalls(t *testing.T) {
	fail := func(context.Context, *cache.Request) (cache.Response, error) {
		return cache.Response{}, throttled{10 * time.Minute}
	}
	for _, tt := range []struct {
		name        string
		k           cache.Key
		interactive bool
		token       string // in memory
		want        calls
	}{
		{"app", key("t", ""), false, "", calls{}},
		{"delegation", delegation("alice", "d"), true, "", calls{}},
		{"user without a token", user("alice"), true, "", calls{loads: 1}},
		{"user with a token that is due", user("alice"), true, "due", calls{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			h := handle(replica(t, store), tt.k, "s")
			h.Interactive = tt.interactive
			if tt.token != "" {
				r := response(tt.token, time.Hour)
				r.RefreshIn = 5 * time.Minute
				if _, err := h.Put(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				time.Sleep(4 * time.Minute)
			}
			if _, err := h.Token(t.Context(), "claims", fail); err != (throttled{10 * time.Minute}) {
				t.Fatalf("%s: got error %v, want throttled", tt.name, err)
			}
			time.Sleep(2 * time.Minute)
			var got string
			made := count(store, func() {
				got, _ = tokenOrError(t, h, noFetch(t))
				settle()
			})
			if got != tt.token || made != tt.want {
				t.Errorf("%s: got token %q and calls %+v, want %q and %+v", tt.name, got, made, tt.token, tt.want)
			}
		})
	}
}

// A hit costs the same with a store.
func TestHitWithStoreAllocatesNothing(t *testing.T) {
	store := storetest.NewMemory()
	h := handle(replica(t, store), user("alice"), "s")
	signIn(t, h, "alice's")
	if got := count(store, func() {
		if n := testing.AllocsPerRun(1000, func() { h.Hit() }); n != 0 {
			t.Errorf("got %v allocations, want none", n)
		}
	}); got != (calls{}) {
		t.Errorf("got calls %+v, want none", got)
	}
}

// The size of the record of a session with a large token and a refresh token.
func TestSizeOfRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		r := response(strings.Repeat("a", 1500), time.Hour)
		r.State = strings.Repeat("r", 1000)
		h := handle(replica(t, store), user("alice"), "api://orders/Orders.Read")
		if _, err := h.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		settle()
		var sizes []int
		for _, r := range store.Records() {
			sizes = append(sizes, len(r.Value))
		}
		t.Logf("%d bytes", sizes)
		if len(sizes) != 1 || sizes[0] < 2600 || sizes[0] > 2700 {
			t.Errorf("got records of %d bytes, want one of about 2.6 KB", sizes)
		}
	})
}
