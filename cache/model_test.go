package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

// Whatever comes and goes, users has exactly the listed sessions, each once, and no user has
// more than the bound.
func TestUsersAreTheListed(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := New(Options{Size: []int{40, 150, 1024, 3000}[seed%4]})
		var hands []*Handle // callers that hold a place, perhaps an evicted one
		for step := range 5_000 {
			k := Key{Authority: "t", Flow: fmt.Sprint(r.IntN(2)), Subject: fmt.Sprint(r.IntN(6)), Session: fmt.Sprint(r.IntN(100))}
			if r.IntN(8) == 0 {
				k.Session = ""
			}
			switch n := r.IntN(1000); {
			case n < 800:
				h := c.Handle(k, []string{"s"})
				h.Put(Response{AccessToken: "x", Lifetime: time.Hour})
				if h.Held() == nil {
					t.Fatalf("seed %d, step %d: what was just put is not held", seed, step)
				}
				if len(hands) < 100 {
					hands = append(hands, h)
				} else {
					hands[r.IntN(len(hands))] = h
				}
			case n < 990 && len(hands) > 0: // an evicted one comes back
				hands[r.IntN(len(hands))].Put(Response{AccessToken: "y", Lifetime: time.Hour})
			case n < 995:
				c.PurgeFunc(func(o Key) bool { return o.Subject == k.Subject && o.Session == k.Session })
			case n < 998:
				c.Purge(k.Subject)
			case n == 999 && step%3 == 0:
				runtime.GC()
			}
			if step%50 == 0 {
				checkUsers(t, c)
			}
		}
		checkUsers(t, c)
		c.PurgeFunc(func(Key) bool { return true })
		for _, s := range c.shards {
			if len(s.users) != 0 || len(s.listed.lists) != 0 {
				t.Errorf("seed %d: %d users and %d lists after a purge of all", seed, len(s.users), len(s.listed.lists))
			}
		}
	}
}

func checkUsers(t *testing.T, c *Cache) {
	t.Helper()
	n := 0
	for _, s := range c.shards {
		divided := 0
		for _, p := range s.listed.places() {
			n++
			if user, ok := p.user(); ok {
				divided++
				if !slices.Contains(s.users[user], p.holder) {
					t.Fatal("a listed session is not its user's")
				}
			}
			if v, ok := s.lost[p]; ok && v.Value() != nil {
				t.Fatal("a session is listed and lost")
			}
		}
		for _, holders := range s.users {
			divided -= len(holders)
			if len(holders) == 0 || len(holders) > maxUserSessions {
				t.Fatalf("a user has %d sessions", len(holders))
			}
		}
		if divided != 0 {
			t.Fatalf("users have %d sessions more or less than are listed", -divided)
		}
	}
	if got := c.Stats().Sessions; got != n || int64(n) > c.size {
		t.Fatalf("%d sessions are counted, %d listed, of at most %d", got, n, c.size)
	}
}
