package cache

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// In any sequence of calls, shard.users has exactly the sessions of the index, and the bounds per user and cache hold.
func TestIndexesAgree(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := New(Options{Size: []int{40, 150, 1024, 3000}[seed%4]})
		var handles []*Handle // some of evicted sessions
		for step := range 5_000 {
			k := Key{Authority: "t", Flow: fmt.Sprint(r.IntN(2)), Subject: fmt.Sprint(r.IntN(6))}
			if k.Subject == "5" {
				k.Subject = ""
			}
			k.Session = fmt.Sprint(r.IntN(100))
			if r.IntN(8) == 0 {
				k.Session = ""
			}
			switch n := r.IntN(1000); {
			case n < 800:
				h := NewHandle(c, k, "s")
				h.Put(t.Context(), Response{AccessToken: "x", Lifetime: time.Hour})
				if h.Current() == nil {
					t.Fatalf("seed %d, step %d: got no token after Put, want it cached", seed, step)
				}
				if len(handles) < 100 {
					handles = append(handles, h)
				} else {
					handles[r.IntN(len(handles))] = h
				}
			case n < 990 && len(handles) > 0:
				h := handles[r.IntN(len(handles))]
				h.Put(t.Context(), Response{AccessToken: "y", Lifetime: time.Hour})
				if h.Current() == nil {
					t.Fatalf("seed %d, step %d: got no token after Put by an old handle, want it cached", seed, step)
				}
			case n < 995:
				c.PurgeSession(t.Context(), k)
			case n < 998:
				c.Purge(t.Context(), k.Subject)
			}
			if step%50 == 0 {
				checkIndexes(t, c)
			}
		}
		checkIndexes(t, c)
		for _, subject := range []string{"0", "1", "2", "3", "4", ""} {
			c.Purge(t.Context(), subject)
		}
		for _, sh := range c.shards {
			if len(sh.lists) != 0 || len(sh.users) != 0 || len(sh.order) != 0 || sh.count != 0 {
				t.Errorf("seed %d: got %d lists and a count of %d after a purge of all, want 0", seed, len(sh.lists), sh.count)
			}
		}
	}
}

func checkIndexes(t *testing.T, c *Cache) {
	t.Helper()
	n := 0
	for _, sh := range c.shards {
		inShard, ofUsers := 0, 0
		for _, l := range sh.lists {
			inUse := map[string]int{}
			for e := l.Front(); e != nil; e = e.Next() {
				s := e.Value.(*session)
				inShard++
				if sh.find(s.key) != s {
					t.Fatal("got a session that is missing in shard.users")
				}
				if s.key.session != "" {
					inUse[s.key.subject]++
				}
				if s.dropped {
					t.Fatal("got a dropped session in the index")
				}
			}
			for _, n := range inUse {
				if n > maxUserSessions {
					t.Fatalf("got %d sessions of a user in a partition, want at most %d", n, maxUserSessions)
				}
			}
		}
		for _, s := range sh.users {
			if s == nil {
				t.Fatal("got a user without sessions, want none")
			}
			for ; s != nil; s = s.sibling {
				ofUsers++
			}
		}
		if ofUsers != inShard {
			t.Fatalf("got %d sessions in shard.users, want %d as in the lists", ofUsers, inShard)
		}
		if inShard != sh.count {
			t.Fatalf("shard.count: got %d, want %d", sh.count, inShard)
		}
		n += inShard
	}
	if got := c.Stats().Sessions; got != n || int64(n) > c.size {
		t.Fatalf("Stats().Sessions: got %d, want %d, and at most %d", got, n, c.size)
	}
}
