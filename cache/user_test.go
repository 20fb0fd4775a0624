package cache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

// One user who signs in without end holds the last 64 sessions, and pushes out nobody.
func TestNoisyUser(t *testing.T) {
	for _, size := range []int{200, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var evicted []cache.Key
			c := cache.New(cache.Options{Size: size, OnEvent: func(e cache.Event) { evicted = append(evicted, e.Key) }})
			const others, signIns = 100, 100_000
			put := func(k cache.Key) {
				if _, err := cache.NewHandle(c, k, "s").Put(response("x", time.Hour)); err != nil {
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
					t.Errorf("quiet user %d was pushed out", i)
				}
			}
			for i, held := range map[int]bool{0: false, signIns - 65: false, signIns - 64: true, signIns - 1: true} {
				if got := cache.NewHandle(c, noisy(i), "s").Current() != nil; got != held {
					t.Errorf("sign-in %d: held %t, want %t", i, got, held)
				}
			}
			if s := c.Stats(); s.Sessions != others+64 || s.Evictions != signIns-64 || len(evicted) != signIns-64 || evicted[0] != noisy(0) {
				t.Errorf("%+v, %d events", s, len(evicted))
			}
			if got := purge(c, "noisy"); got != 64 {
				t.Errorf("purged %d, want 64", got)
			}
			for i := range 65 { // what was purged does not count any more
				put(noisy(i))
			}
			if s := c.Stats(); s.Sessions != others+64 {
				t.Errorf("%d sessions, want %d", s.Sessions, others+64)
			}
		})
	}
}

// The sessions that a user has in use stay, however old they are, and however often he signs in
// elsewhere.
func TestUsersSessionInUseStays(t *testing.T) {
	for _, size := range []int{200, 2048} {
		c := cache.New(cache.Options{Size: size})
		k := withSession(key("t", "alice"), "desk")
		cache.NewHandle(c, k, "s").Put(response("x", time.Hour))
		for i := range 500 {
			cache.NewHandle(c, withSession(k, fmt.Sprint("script ", i)), "s").Put(response("y", time.Hour))
			if cache.NewHandle(c, k, "s").Hit() == nil {
				t.Fatalf("size %d: gone after %d sign-ins elsewhere", size, i+1)
			}
		}
		if s := c.Stats(); s.Sessions != 64 || s.Evictions != 501-64 {
			t.Errorf("%+v", s)
		}
	}
}

// Subject and session are told apart, wherever one ends and the other begins.
func TestSessionsAreTheSubjects(t *testing.T) {
	c := cache.New(cache.Options{})
	keys := []cache.Key{
		withSession(key("t", "ab"), "c"), withSession(key("t", "a"), "bc"), withSession(key("t", "abc"), ""), withSession(key("t", ""), "abc"),
		withSession(key("t", "a\x00b"), "c"), withSession(key("t", "a"), "b\x00c"), withSession(key("t", "ab\x00\x00\x00\x01"), "c"),
	}
	for i, k := range keys {
		h := cache.NewHandle(c, k, "s")
		if h.Key() != k {
			t.Errorf("the key %q came back as %q", []string{k.Subject, k.Session}, []string{h.Key().Subject, h.Key().Session})
		}
		if h.Current() != nil {
			t.Errorf("%q has another's token", []string{k.Subject, k.Session})
		}
		h.Put(response(fmt.Sprint(i), time.Hour))
	}
	for i, k := range keys {
		if got := cache.NewHandle(c, k, "s").Current().Text(); got != fmt.Sprint(i) {
			t.Errorf("%q has token %s", []string{k.Subject, k.Session}, got)
		}
	}
	if a, b := fmt.Sprint(keys[0]), fmt.Sprint(withSession(keys[0], "d")); a == b {
		t.Errorf("sessions cannot be told apart in logs: %s", a)
	}
}
