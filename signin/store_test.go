package signin_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// sharedStore is a Store for several processes that counts calls and can fail.
type sharedStore struct {
	mu      sync.Mutex // guards the fields below
	entries map[string]item
	finds   int
	commits int
	deletes int
	fail    map[string]error // by method
	before  func(method, token string)

	noExpiry bool // keeps expired entries
}

type item struct {
	b      []byte
	expiry time.Time
}

func newSharedStore() *sharedStore {
	return &sharedStore{entries: map[string]item{}, fail: map[string]error{}}
}

var errStore = errors.New("dial tcp 192.0.2.1:6379: connection refused")

func (s *sharedStore) call(method, token string, count *int) error {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(method, token)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*count++
	return s.fail[method]
}

func (s *sharedStore) Find(token string) ([]byte, bool, error) {
	if err := s.call("Find", token, &s.finds); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[token]
	if !ok || !s.noExpiry && !time.Now().Before(e.expiry) {
		return nil, false, nil
	}
	return e.b, true, nil
}

func (s *sharedStore) Commit(token string, b []byte, expiry time.Time) error {
	if err := s.call("Commit", token, &s.commits); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[token] = item{b, expiry}
	return nil
}

func (s *sharedStore) Delete(token string) error {
	if err := s.call("Delete", token, &s.deletes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, token)
	return nil
}

func (s *sharedStore) all() map[string]item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.entries)
}

// setError makes a method fail with err, or succeed if err is nil.
func (s *sharedStore) setError(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[method] = err
}

func (s *sharedStore) counts() (finds, commits, deletes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finds, s.commits, s.deletes
}

// contextStore is a Store with context methods. It records the contexts.
type contextStore struct {
	*sharedStore
	contexts []context.Context
}

func (s *contextStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	s.contexts = append(s.contexts, ctx)
	return s.Find(token)
}

func (s *contextStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	s.contexts = append(s.contexts, ctx)
	return s.Commit(token, b, expiry)
}

func (s *contextStore) DeleteCtx(ctx context.Context, token string) error {
	s.contexts = append(s.contexts, ctx)
	return s.Delete(token)
}
