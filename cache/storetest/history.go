package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

// An operation is one call of a store, with the times of its start and its end.
type operation struct {
	client     int
	save       bool
	old        cache.Version // of a save
	value      string        // written or read
	version    cache.Version // written or read; empty after a conflict, and for a missing record
	start, end time.Duration
}

func (o operation) String() string {
	text := fmt.Sprintf("client %d, %v to %v: ", o.client, o.start, o.end)
	switch {
	case !o.save:
		return text + fmt.Sprintf("Load = %q, version %q", o.value, o.version)
	case o.version == "":
		return text + fmt.Sprintf("Save with old version %q = conflict", o.old)
	}
	return text + fmt.Sprintf("Save %q with old version %q = version %q", o.value, o.old, o.version)
}

// testHistory has clients load and save a few keys at random. The results must be linearizable: as if each call had
// happened at one moment between its start and its end.
func testHistory(t *testing.T, s, other cache.Store) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, history := range runClients(t, seed, []cache.Store{s, other}) {
		if err := checkHistory(history); err != nil {
			t.Error(err)
		}
	}
}

// runClients returns the operations of random clients, by key.
func runClients(t *testing.T, seed uint64, stores []cache.Store) map[string][]operation {
	const clients, perClient = 8, 400
	keys := []string{randomKey(), randomKey(), randomKey()}
	histories := make(map[string][]operation)
	var mu sync.Mutex // guards histories
	var wg sync.WaitGroup
	start := time.Now()
	for client := range clients {
		wg.Go(func() {
			r, store := rand.New(rand.NewPCG(seed, uint64(client))), stores[client%len(stores)]
			known := make(map[string]cache.Version)
			for i := range perClient {
				key := keys[r.IntN(len(keys))]
				o := operation{client: client, save: r.IntN(5) > 1, old: known[key], start: time.Since(start)}
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				var err error
				if o.save {
					o.value = fmt.Sprint(client, " ", i)
					o.version, err = store.Save(ctx, key, []byte(o.value), o.old, time.Hour)
				} else {
					var loaded cache.Record
					loaded, err = store.Load(ctx, key)
					o.value, o.version = string(loaded.Value), loaded.Version
				}
				o.end = time.Since(start)
				cancel()
				conflict := errors.Is(err, cache.ErrConflict)
				if err != nil && !conflict {
					t.Errorf("%v: got error %v", o, err)
					return
				}
				if !conflict { // otherwise the client may try the same version again
					known[key] = o.version
				}
				mu.Lock()
				histories[key] = append(histories[key], o)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return histories
}

// checkHistory returns an error unless the operations on one key are linearizable. Each save that succeeded names the
// version that it replaced, so their order is known. A load follows the save of its version, and precedes the next one.
// A conflict follows the save that replaced its old version, which its client had seen before. It remains to check that
// this order does not contradict the times.
func checkHistory(history []operation) error {
	next := make(map[cache.Version]operation) // by the version that it replaced
	for _, o := range history {
		if !o.save || o.version == "" {
			continue
		}
		if first, ok := next[o.old]; ok {
			return fmt.Errorf("two saves replaced the same version:\n%v\n%v", first, o)
		}
		next[o.old] = o
	}
	// Saves are at the even positions, and loads of their versions at the odd positions after them.
	position, values := map[cache.Version]int{"": 0}, map[cache.Version]string{"": ""}
	for version := cache.Version(""); ; {
		o, ok := next[version]
		if !ok {
			break
		}
		if _, ok := position[o.version]; ok {
			return fmt.Errorf("a version was used twice:\n%v", o)
		}
		position[o.version], values[o.version] = position[version]+2, o.value
		version = o.version
	}
	if len(position) != len(next)+1 {
		return fmt.Errorf("%d of %d saves replaced versions that never existed", len(next)+1-len(position), len(next))
	}
	byStart := slices.SortedFunc(slices.Values(history), func(a, b operation) int { return cmp.Compare(a.start, b.start) })
	type placed struct {
		operation
		at int
	}
	var pending []placed // operations that had not ended when the last one started
	var last placed      // of those that had ended, the one with the highest position
	for _, o := range byStart {
		pending = slices.DeleteFunc(pending, func(p placed) bool {
			ended := p.end < o.start
			if ended && p.at > last.at {
				last = p
			}
			return ended
		})
		at, known := position[o.version]
		switch {
		case o.save && o.version == "":
			replaced, ok := position[o.old]
			if !ok {
				return fmt.Errorf("a conflict names a version that never existed:\n%v", o)
			}
			at = max(replaced+3, last.at|1) // as early as possible
			if at > 2*len(next)+1 {
				return fmt.Errorf("a save failed although its old version was current:\n%v", o)
			}
		case !known:
			return fmt.Errorf("a load returned a version that was never saved:\n%v", o)
		case !o.save && values[o.version] != o.value:
			return fmt.Errorf("a load returned the value of another version:\n%v", o)
		case !o.save:
			at++
		}
		if at < last.at {
			return fmt.Errorf("the effects are not in the order of the calls:\n%v", strings.Join([]string{
				last.String(), o.String()}, "\n"))
		}
		pending = append(pending, placed{o, at})
	}
	return nil
}
