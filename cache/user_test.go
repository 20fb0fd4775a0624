package cache_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

// A user with 100,000 sign-ins has only the last 64 sessions. Other users lose none.
func TestNoisyUserEvictsOwnSessions(t *testing.T) {
	for _, size := range []int{200, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var evicted []cache.Key
			c := cache.New(cache.Options{Size: size, OnEvent: func(e cache.Event) { evicted = append(evicted, e.Key) }})
			const others, signIns = 100, 100_000
			put := func(k cache.Key) {
				if _, err := cache.NewHandle(c, k, "s").Put(t.Context(), response("x", time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range others {
				put(withSession(key("t", fmt.Sprint("quiet ", i)), "phone"))
			}
			noisy := func(i int) cache.Key { return withSession(key("t", "noisy"), fmt.Sprint("browser ", i)) }
			for i := range signIns {
				put(noisy(i))
			}
			for i := range others {
				if cache.NewHandle(c, withSession(key("t", fmt.Sprint("quiet ", i)), "phone"), "s").Current() == nil {
					t.Errorf("got no token of quiet user %d, want a hit", i)
				}
			}
			for i, want := range map[int]bool{0: false, signIns - 65: false, signIns - 64: true, signIns - 1: true} {
				if got := cache.NewHandle(c, noisy(i), "s").Current() != nil; got != want {
					t.Errorf("sign-in %d: got cached = %t, want %t", i, got, want)
				}
			}
			if s := c.Stats(); s.Sessions != others+64 || s.Evictions != signIns-64 {
				t.Errorf("got %+v, want %d sessions and %d evictions", s, others+64, signIns-64)
			}
			if len(evicted) != signIns-64 || evicted[0] != noisy(0) {
				t.Errorf("got %d events, want %d, the first of %v", len(evicted), signIns-64, noisy(0))
			}
			if got := purge(c, "noisy"); got != 64 {
				t.Errorf("got %d purged sessions, want 64", got)
			}
			for i := range 65 { // purged sessions do not count
				put(noisy(i))
			}
			if s := c.Stats(); s.Sessions != others+64 {
				t.Errorf("got %d sessions, want %d", s.Sessions, others+64)
			}
		})
	}
}

// The oldest session of a user stays while it is in use, although the user signs in elsewhere very often.
func TestUserKeepsSessionInUse(t *testing.T) {
	for _, size := range []int{200, 2048} {
		c := cache.New(cache.Options{Size: size})
		k := withSession(key("t", "alice"), "desk")
		cache.NewHandle(c, k, "s").Put(t.Context(), response("x", time.Hour))
		for i := range 500 {
			cache.NewHandle(c, withSession(k, fmt.Sprint("script ", i)), "s").Put(t.Context(), response("y", time.Hour))
			if cache.NewHandle(c, k, "s").Hit() == nil {
				t.Fatalf("size %d: got no token after %d sign-ins elsewhere, want a hit", size, i+1)
			}
		}
		if s := c.Stats(); s.Sessions != 64 || s.Evictions != 501-64 {
			t.Errorf("got %+v, want 64 sessions and %d evictions", s, 501-64)
		}
	}
}

// Keys with the same concatenation of subject and session are different.
func TestSubjectAndSessionAreSeparate(t *testing.T) {
	c := cache.New(cache.Options{})
	keys := []cache.Key{
		withSession(key("t", "ab"), "c"), withSession(key("t", "a"), "bc"),
		withSession(key("t", "abc"), ""), withSession(key("t", ""), "abc"),
		withSession(key("t", "a\x00b"), "c"), withSession(key("t", "a"), "b\x00c"),
		withSession(key("t", "ab\x00\x00\x00\x01"), "c"),
	}
	for i, k := range keys {
		h := cache.NewHandle(c, k, "s")
		if h.Key() != k {
			t.Errorf("got subject %q and session %q, want %q and %q", h.Key().Subject, h.Key().Session, k.Subject, k.Session)
		}
		if h.Current() != nil {
			t.Errorf("got a token of another key for %q, want none", []string{k.Subject, k.Session})
		}
		h.Put(t.Context(), response(fmt.Sprint(i), time.Hour))
	}
	for i, k := range keys {
		if got := cache.NewHandle(c, k, "s").Current().Text(); got != fmt.Sprint(i) {
			t.Errorf("%q: got token %s, want %d", []string{k.Subject, k.Session}, got, i)
		}
	}
	if a, b := fmt.Sprint(keys[0]), fmt.Sprint(withSession(keys[0], "d")); a == b {
		t.Errorf("got %s for two sessions, want different texts", a)
	}
}

// A front-channel logout removes one user's tokens. With 200,000 sessions in the cache, looking at each of them took
// 715 ms.
func TestPurgeVisitsOnlySessionsOfSubject(t *testing.T) {
	for _, size := range []int{200, 2048} {
		c := cache.New(cache.Options{Size: size})
		for i := range 100 {
			cache.NewHandle(c, key("t", fmt.Sprint("user ", i)), "s").Put(t.Context(), response("x", time.Hour))
		}
		want := map[cache.Key]bool{}
		for _, k := range []cache.Key{
			key("t", "alice"), key("u", "alice"), withSession(key("t", "alice"), "desk"), withSession(key("u", "alice"), "desk"),
		} {
			cache.NewHandle(c, k, "s").Put(t.Context(), response("x", time.Hour))
			want[k] = true
		}
		visited := map[cache.Key]bool{}
		n := c.PurgeFunc("alice", func(k cache.Key) bool {
			visited[k] = true
			return k.Session == "desk"
		})
		if n != 2 || !maps.Equal(visited, want) {
			t.Errorf("size %d: got %d dropped sessions of the keys %v, want 2 of %v", size, n, visited, want)
		}
		if got := purge(c, "alice"); got != 2 {
			t.Errorf("size %d: Purge dropped %d sessions, want the other 2", size, got)
		}
		if got := c.Stats().Sessions; got != 100 {
			t.Errorf("size %d: got %d sessions, want 100 of other users", size, got)
		}
	}
}
