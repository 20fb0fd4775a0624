// Package storetest tests implementations of [cache.Store]. The test of an implementation calls [Run]:
//
//	func TestStore(t *testing.T) {
//		client := connect(t)
//		storetest.Run(t, func() cache.Store { return mystore.New(client) })
//	}
//
// [Memory] is a store for tests of programs that use a cache with a store. It can fail in the ways in which stores
// fail.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

// maxValue is the size of the largest value that a store must accept: a session of 64 large tokens.
const maxValue = 512 << 10

// Run tests that stores behave as [cache.Store] documents, and as [cache.Notifier] documents if they implement that.
// newStore returns a store. All stores that it returns must share their data, like those of several processes. Run uses
// random keys, and its records expire within minutes. It takes about two seconds, and the stores must be reachable.
func Run(t *testing.T, newStore func() cache.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s, other cache.Store)
	}{
		{"missing record", testMissing},
		{"saved record", testSaved},
		{"conflict", testConflict},
		{"expiry", testExpiry},
		{"TTL", testTTL},
		{"values", testValues},
		{"keys", testKeys},
		{"versions are unique", testVersions},
		{"slices are copied", testCopies},
		{"one of many creates a record", testCreateRace},
		{"no update is lost", testUpdateRace},
		{"calls are linearizable", testHistory},
		{"canceled context", testCanceled},
		{"push", testPush},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, newStore(), newStore())
		})
	}
}

const timeout = 10 * time.Second

func randomKey() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func load(t *testing.T, s cache.Store, key string) cache.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	r, err := s.Load(ctx, key)
	if err != nil {
		t.Fatalf("Load: got error %v", err)
	}
	return r
}

func save(t *testing.T, s cache.Store, key, value string, old cache.Version, ttl time.Duration) cache.Version {
	t.Helper()
	v, err := trySave(t, s, key, value, old, ttl)
	if err != nil || v == "" || v == old {
		t.Fatalf("Save with old version %q: got version %q, error %v; want a new version", old, v, err)
	}
	return v
}

func trySave(t *testing.T, s cache.Store, key, value string, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return s.Save(ctx, key, []byte(value), old, ttl)
}

func wantConflict(t *testing.T, s cache.Store, key string, old cache.Version) {
	t.Helper()
	before := load(t, s, key)
	if _, err := trySave(t, s, key, "conflicting", old, time.Minute); !errors.Is(err, cache.ErrConflict) {
		t.Errorf("Save with version %q: got error %v, want cache.ErrConflict", old, err)
	}
	after := load(t, s, key)
	if string(after.Value) != string(before.Value) || after.Version != before.Version {
		t.Errorf("after a conflict: got value %q, version %q; want %q, %q as before",
			after.Value, after.Version, before.Value, before.Version)
	}
}

func wantMissing(t *testing.T, s cache.Store, key string) {
	t.Helper()
	if r := load(t, s, key); len(r.Value) != 0 || r.Version != "" || r.TTL != 0 {
		t.Errorf("got value %q, version %q, TTL %v; want the zero Record", r.Value, r.Version, r.TTL)
	}
}

func testMissing(t *testing.T, s, _ cache.Store) {
	wantMissing(t, s, randomKey())
}

func testSaved(t *testing.T, s, other cache.Store) {
	key := randomKey()
	version := save(t, s, key, "first", "", time.Minute)
	for _, next := range []string{"second", "second", "third"} { // the same value twice is two versions
		if r := load(t, other, key); r.Version != version {
			t.Fatalf("got version %q from another store, want %q", r.Version, version)
		}
		version = save(t, other, key, next, version, time.Minute)
		if r := load(t, s, key); string(r.Value) != next || r.Version != version {
			t.Fatalf("got value %q, version %q; want %q, %q", r.Value, r.Version, next, version)
		}
		s, other = other, s
	}
}

func testConflict(t *testing.T, s, _ cache.Store) {
	key := randomKey()
	wantConflict(t, s, key, "1") // there is no record
	first := save(t, s, key, "first", "", time.Minute)
	wantConflict(t, s, randomKey(), first)
	wantConflict(t, s, key, "") // there is one
	save(t, s, key, "second", first, time.Minute)
	wantConflict(t, s, key, first)
	wantConflict(t, s, key, "\x00'\";")
}

func testExpiry(t *testing.T, s, other cache.Store) {
	key := randomKey()
	const ttl = 500 * time.Millisecond
	start := time.Now()
	version := save(t, s, key, "short", "", ttl)
	if r := load(t, s, key); time.Since(start) < ttl && (string(r.Value) != "short" || r.TTL <= 0 || r.TTL > ttl) {
		t.Errorf("got value %q, TTL %v, want the value and at most %v", r.Value, r.TTL, ttl)
	}
	deadline := time.Now().Add(timeout)
	for time.Now().Before(deadline) {
		r := load(t, other, key)
		if r.Version == "" {
			break
		}
		if r.TTL <= 0 {
			t.Errorf("got a record with TTL %v, want a missing record", r.TTL)
		}
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(start); took < ttl {
		t.Errorf("the record was gone after %v, want %v", took, ttl)
	}
	wantMissing(t, s, key)
	wantConflict(t, s, key, version)
	next := save(t, s, key, "again", "", time.Minute)
	if next == version {
		t.Errorf("got version %q for a new record, want another one than that of the expired record", next)
	}
	// A later write replaces the lifetime, too.
	next = save(t, s, key, "short", next, ttl)
	save(t, s, key, "long", next, time.Minute)
	time.Sleep(2 * ttl)
	if r := load(t, s, key); string(r.Value) != "long" {
		t.Errorf("got value %q, want the one with the longer lifetime", r.Value)
	}
}

func testTTL(t *testing.T, s, _ cache.Store) {
	for _, ttl := range []time.Duration{90 * time.Second, 90 * time.Minute, 400 * 24 * time.Hour} {
		key, start := randomKey(), time.Now()
		save(t, s, key, "value", "", ttl)
		time.Sleep(10 * time.Millisecond)
		got := load(t, s, key).TTL
		if lowest := ttl - time.Since(start) - 2*time.Second; got > ttl || got < lowest {
			t.Errorf("TTL: got %v, want %v to %v", got, lowest, ttl)
		}
	}
}

func testValues(t *testing.T, s, _ cache.Store) {
	random := make([]byte, maxValue)
	rand.Read(random)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, value := range []string{"", "\x00", "\r\n", "'", string(every), "\xff\xfe", string(random)} {
		key := randomKey()
		save(t, s, key, value, "", time.Minute)
		if got := string(load(t, s, key).Value); got != value {
			t.Errorf("got a value of %d bytes, want the saved one of %d bytes", len(got), len(value))
		}
	}
}

func testKeys(t *testing.T, s, _ cache.Store) {
	key := randomKey()
	lower, upper := strings.ToLower(key), strings.ToUpper(key)
	dashes := strings.Repeat("-_", 21) + "-"
	for _, k := range []string{lower, upper, key[:42] + "-", key[:42] + "_"} {
		save(t, s, k, k, "", time.Minute)
	}
	for _, k := range []string{lower, upper, key[:42] + "-", key[:42] + "_"} {
		if got := string(load(t, s, k).Value); got != k {
			t.Errorf("key %s: got the value of %q", k, got)
		}
	}
	load(t, s, dashes)
}

func testVersions(t *testing.T, s, _ cache.Store) {
	seen := map[cache.Version]bool{}
	key := randomKey()
	version := save(t, s, key, "value", "", time.Minute)
	for range 100 {
		if seen[version] {
			t.Fatalf("got version %q twice", version)
		}
		seen[version] = true
		version = save(t, s, key, "value", version, time.Minute)
	}
}

func testCopies(t *testing.T, s, _ cache.Store) {
	key, value := randomKey(), []byte("value")
	if _, err := s.Save(t.Context(), key, value, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	clear(value)
	first := load(t, s, key)
	if string(first.Value) != "value" {
		t.Errorf("got value %q after a change of the saved slice, want %q", first.Value, "value")
	}
	clear(first.Value)
	if again := load(t, s, key); !bytes.Equal(again.Value, []byte("value")) {
		t.Errorf("got value %q after a change of the loaded slice, want %q", again.Value, "value")
	}
}

func testCreateRace(t *testing.T, s, other cache.Store) {
	for range 10 {
		key := randomKey()
		var wg sync.WaitGroup
		var mu sync.Mutex // guards created
		created := 0
		for i := range 16 {
			wg.Go(func() {
				_, err := trySave(t, []cache.Store{s, other}[i%2], key, "value", "", time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					created++
				} else if !errors.Is(err, cache.ErrConflict) {
					t.Errorf("Save: got error %v, want cache.ErrConflict", err)
				}
			})
		}
		wg.Wait()
		if created != 1 {
			t.Errorf("got %d created records, want 1", created)
		}
	}
}

// testUpdateRace has writers that each append letters to one value.
func testUpdateRace(t *testing.T, s, other cache.Store) {
	const writers, updates = 8, 10
	key := randomKey()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			store := []cache.Store{s, other}[i%2]
			for done := 0; done < updates; {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				r, err := store.Load(ctx, key)
				if err == nil {
					_, err = store.Save(ctx, key, append(r.Value, byte('a'+i)), r.Version, time.Minute)
				}
				cancel()
				switch {
				case err == nil:
					done++
				case !errors.Is(err, cache.ErrConflict):
					t.Errorf("got error %v, want cache.ErrConflict", err)
					return
				}
			}
		})
	}
	wg.Wait()
	value := string(load(t, s, key).Value)
	for i := range writers {
		if got := strings.Count(value, string(rune('a'+i))); got != updates {
			t.Errorf("writer %d: got %d updates in the record, want %d", i, got, updates)
		}
	}
}

func testCanceled(t *testing.T, s, _ cache.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	key := randomKey()
	if _, err := s.Load(ctx, key); err == nil {
		t.Error("Load with a canceled context: got no error")
	}
	if _, err := s.Save(ctx, key, []byte("x"), "", time.Minute); err == nil || errors.Is(err, cache.ErrConflict) {
		t.Errorf("Save with a canceled context: got error %v, want the context's", err)
	}
}

func testPush(t *testing.T, s, other cache.Store) {
	var notifiers []cache.Notifier
	var keys []chan string
	for _, store := range []cache.Store{s, other} {
		n, ok := store.(cache.Notifier)
		if !ok {
			t.Skip("the store does not implement cache.Notifier")
		}
		connected, received := make(chan struct{}), make(chan string, 1000)
		var once sync.Once
		n.Subscribe(func(key string) {
			select {
			case received <- key:
			default: // other tests send many
			}
		}, func(ok bool) {
			if ok {
				once.Do(func() { close(connected) })
			}
		})
		select {
		case <-connected:
		case <-time.After(timeout):
			t.Fatalf("got no call of connected within %v", timeout)
		}
		notifiers, keys = append(notifiers, n), append(keys, received)
	}
	for _, n := range notifiers {
		sent := []string{randomKey(), randomKey(), randomKey()}
		for _, key := range sent {
			if err := n.Notify(t.Context(), key); err != nil {
				t.Fatalf("Notify: got error %v", err)
			}
		}
		for i, received := range keys {
			missing := make(map[string]bool)
			for _, key := range sent {
				missing[key] = true
			}
			deadline := time.After(timeout)
			for len(missing) > 0 {
				select {
				case key := <-received:
					delete(missing, key)
				case <-deadline:
					t.Fatalf("subscriber %d: %d of %d keys did not arrive within %v", i, len(missing), len(sent), timeout)
				}
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := notifiers[0].Notify(ctx, randomKey()); err == nil {
		t.Error("Notify with a canceled context: got no error")
	}
}
