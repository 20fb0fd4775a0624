package signin

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/entratoken/entra"
)

// Store keeps sessions: what is under a token until its expiry. The stores of
// github.com/alexedwards/scs are Stores, for Redis, PostgreSQL and many others; if a
// store also has that package's FindCtx, CommitCtx and DeleteCtx, these are used, with the
// request's context. Its methods are called concurrently.
//
// A Store is not trusted with secrets: a token is the hash of a session's ID, which alone
// opens no session, and what is kept is sealed under [Config].Keys for that token. Whoever
// can write to it can end sessions and bring back old ones, but make none.
type Store interface {
	// Find returns what is kept under the token. found is false, and err nil, if
	// nothing is or it has expired.
	Find(token string) (b []byte, found bool, err error)
	// Commit keeps b under the token until expiry, in place of what was there.
	Commit(token string, b []byte, expiry time.Time) error
	// Delete forgets the token. It is no error if there is nothing.
	Delete(token string) error
}

// contextStore is what scs's stores that take a context have besides.
type contextStore interface {
	FindCtx(ctx context.Context, token string) (b []byte, found bool, err error)
	CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
}

// withContext gives every Store the methods that take a context.
func withContext(s Store) contextStore {
	if c, ok := s.(contextStore); ok {
		return c
	}
	return plainStore{s}
}

type plainStore struct{ Store }

func (s plainStore) FindCtx(_ context.Context, token string) ([]byte, bool, error) {
	return s.Find(token)
}

func (s plainStore) CommitCtx(_ context.Context, token string, b []byte, expiry time.Time) error {
	return s.Commit(token, b, expiry)
}

func (s plainStore) DeleteCtx(_ context.Context, token string) error { return s.Delete(token) }

// storeFailed is the error of a request whose session cannot be read or kept. The
// store's own is in it for the log, which has it, too.
func storeFailed(err error) error {
	return &entra.Error{Code: "temporarily_unavailable", Description: "the session store failed", Err: err}
}

// get, put and forget are the store's methods for what is sealed under its name.
func (s *Site) get(ctx context.Context, name string, v any) (bool, error) {
	sealed, found, err := s.store.FindCtx(ctx, name)
	if err != nil {
		return false, storeFailed(err)
	}
	return found && s.keys.open("store "+name, sealed, v), nil
}

func (s *Site) put(ctx context.Context, name string, v any, until time.Time) error {
	sealed, err := s.keys.seal("store "+name, v)
	if err != nil {
		return err
	}
	if err := s.store.CommitCtx(ctx, name, sealed, until); err != nil {
		return storeFailed(err)
	}
	return nil
}

func (s *Site) forget(ctx context.Context, name string) error {
	if err := s.store.DeleteCtx(ctx, name); err != nil {
		return storeFailed(err)
	}
	return nil
}

// maxMemory bounds what [Config].Store nil keeps: two entries of about a kilobyte each
// for a session. When it is full, the session used least recently ends.
const maxMemory = 100_000

// memory is a Store in this process.
type memory struct {
	mu      sync.Mutex // guards entries
	entries *simplelru.LRU[string, entry]
}

type entry struct {
	b      []byte // never changed
	expiry time.Time
}

func newMemory() *memory {
	entries, _ := simplelru.NewLRU[string, entry](maxMemory, nil) // fails only for sizes below 1
	return &memory{entries: entries}
}

func (m *memory) Find(token string) (b []byte, found bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries.Get(token)
	if ok && !time.Now().Before(e.expiry) {
		m.entries.Remove(token)
		return nil, false, nil
	}
	return e.b, ok, nil
}

// Commit also drops what has expired at the end of the list, a little each time, so that
// memory shrinks again without a goroutine that watches the clock.
func (m *memory) Commit(token string, b []byte, expiry time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.Add(token, entry{b, expiry})
	for range 4 {
		if _, e, ok := m.entries.GetOldest(); !ok || time.Now().Before(e.expiry) {
			break
		}
		m.entries.RemoveOldest()
	}
	return nil
}

func (m *memory) Delete(token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.Remove(token)
	return nil
}
