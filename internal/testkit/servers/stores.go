//go:build linux

package servers

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Eventually waits until done returns true, and fails the test after limit.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, limit)
		}
	}
}

// A Subscription records the reports of a [cache.Notifier].
type Subscription struct {
	Keys chan string // the keys that were reported as changed

	mu    sync.Mutex // guards state
	state []bool
}

// Subscribe subscribes to s, which is a [cache.Notifier].
func Subscribe(s interface {
	Subscribe(changed func(key string), connected func(bool))
}) *Subscription {
	sub := &Subscription{Keys: make(chan string, 100)}
	s.Subscribe(func(key string) { sub.Keys <- key }, func(on bool) {
		sub.mu.Lock()
		defer sub.mu.Unlock()
		sub.state = append(sub.state, on)
	})
	return sub
}

// Wait waits until the subscription reports that it works, or does not, and forgets the earlier reports.
func (s *Subscription) Wait(t testing.TB, want bool, limit time.Duration) {
	t.Helper()
	Eventually(t, limit, fmt.Sprintf("connected(%v)", want), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.state); n == 0 || s.state[n-1] != want {
			return false
		}
		s.state = nil
		return true
	})
}

// TestSessions tests that s, which is a [signin.Store] without sessions, finds a session until it is deleted or
// expires. committed is called while there is a session that expires in an hour.
func TestSessions(t testing.TB, s interface {
	Find(token string) ([]byte, bool, error)
	Commit(token string, b []byte, expiry time.Time) error
	Delete(token string) error
}, committed func()) {
	t.Helper()
	find := func(want string) {
		t.Helper()
		b, found, err := s.Find("token")
		if err != nil || found != (want != "") || string(b) != want {
			t.Errorf("got %q, %v, %v, want %q", b, found, err, want)
		}
	}
	find("")
	for _, data := range []string{"first", "second\x00\xff"} {
		if err := s.Commit("token", []byte(data), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		find(data)
	}
	committed()
	for range 2 { // deleting a missing session is not an error
		if err := s.Delete("token"); err != nil {
			t.Fatal(err)
		}
		find("")
	}
	// Expired data alone, and in place of a session.
	for _, expiries := range [][]time.Duration{{-time.Second}, {time.Hour, -time.Second}} {
		for _, expiry := range expiries {
			if err := s.Commit("token", []byte("data"), time.Now().Add(expiry)); err != nil {
				t.Fatal(err)
			}
		}
		find("")
	}
}
