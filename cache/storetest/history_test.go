package storetest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

// brokenStore is a store that does not keep its promises.
type brokenStore struct {
	*Memory
	load func(ctx context.Context, key string) (cache.Record, error)
	save func(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration) (cache.Version, error)
}

func (s *brokenStore) Load(ctx context.Context, key string) (cache.Record, error) {
	if s.load == nil {
		return s.Memory.Load(ctx, key)
	}
	return s.load(ctx, key)
}

func (s *brokenStore) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	if s.save == nil {
		return s.Memory.Save(ctx, key, value, old, ttl)
	}
	return s.save(ctx, key, value, old, ttl)
}

// The check of histories finds each of these stores, and nothing in one that works.
func TestHistoriesOfBrokenStores(t *testing.T) {
	for _, test := range []struct {
		name, want string
		damage     func(s *brokenStore)
	}{
		{"none", "", func(*brokenStore) {}},
		{"compares and writes separately", "two saves replaced the same version", func(s *brokenStore) {
			s.save = func(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
			) (cache.Version, error) {
				r, err := s.Memory.Load(ctx, key)
				if err != nil || r.Version != old {
					return "", cache.ErrConflict
				}
				time.Sleep(time.Microsecond)
				for {
					if r, err = s.Memory.Load(ctx, key); err != nil {
						return "", err
					}
					if v, err := s.Memory.Save(ctx, key, value, r.Version, ttl); err == nil {
						return v, nil
					}
				}
			}
		}},
		{"reads from a replica that lags", "not in the order of the calls", func(s *brokenStore) {
			s.load = func(ctx context.Context, key string) (cache.Record, error) {
				r, err := s.Memory.Load(ctx, key)
				replica := s.previous(key)
				if err != nil || replica.Version == "" {
					return r, err
				}
				return replica, nil
			}
		}},
		{"conflicts without a reason", "", func(s *brokenStore) {
			n := 0
			var mu sync.Mutex
			s.Inject(func(c Call) Fault {
				mu.Lock()
				defer mu.Unlock()
				n++
				return Fault{Conflict: c.Op == OpSave && n%50 == 0}
			})
		}},
		{"loses writes", "", func(s *brokenStore) {
			n := 0
			var mu sync.Mutex
			s.Inject(func(c Call) Fault {
				mu.Lock()
				defer mu.Unlock()
				n++
				return Fault{LoseWrite: c.Op == OpSave && n%50 == 0}
			})
		}},
		{"returns values of other versions", "the value of another version", func(s *brokenStore) {
			s.load = func(ctx context.Context, key string) (cache.Record, error) {
				r, err := s.Memory.Load(ctx, key)
				if len(r.Value) > 0 {
					r.Value = []byte("another")
				}
				return r, err
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &brokenStore{Memory: NewMemory()}
			test.damage(s)
			var problems []string
			operations := 0
			for _, history := range runClients(t, 1, []cache.Store{s}) {
				operations += len(history)
				if err := checkHistory(history); err != nil {
					problems = append(problems, err.Error())
				}
			}
			if operations != 3200 {
				t.Errorf("got %d operations, want 3200", operations)
			}
			found := strings.Join(problems, "\n")
			if (test.name == "none") != (found == "") || !strings.Contains(found, test.want) {
				t.Errorf("got %q, want a problem with %q", found, test.want)
			}
		})
	}
}

// previous returns the version before the current one.
func (m *Memory) previous(key string) cache.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if previous := m.records[key].previous; previous != nil {
		return previous.Record
	}
	return cache.Record{}
}
