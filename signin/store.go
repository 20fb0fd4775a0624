package signin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/safecall"
)

// Store stores sessions. The stores of github.com/alexedwards/scs implement it for Redis, PostgreSQL and other
// databases. If a store also has the methods FindCtx, CommitCtx and DeleteCtx of that package, they are called with
// the context of the request instead. Methods are called concurrently.
//
// The parameter token is the key of a record, as scs calls it. It is a hash of a session ID and does not work as one.
// The data is encrypted with Config.Keys and bound to its token. An attacker who can write to the store can end
// sessions and restore old ones, but cannot create any. Several sites may share a store.
type Store interface {
	// Find returns the data stored under token. If it is missing or has expired, found is false and err is nil.
	Find(token string) (b []byte, found bool, err error)
	// Commit stores b under token until expiry and replaces earlier data.
	Commit(token string, b []byte, expiry time.Time) error
	// Delete removes the data stored under token. Deleting a missing token is not an error.
	Delete(token string) error
}

// contextStore is the optional interface of scs stores that take a context.
type contextStore interface {
	FindCtx(ctx context.Context, token string) (b []byte, found bool, err error)
	CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
}

// withContext adds the context methods to a Store that lacks them.
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

const (
	// storeTimeout bounds how long a request waits for one call of the store.
	storeTimeout = 2 * time.Second
	// finishTimeout bounds a write and the check that must follow it. It is shorter than tombstoneTTL, because the check
	// looks for a tombstone.
	finishTimeout = time.Minute
)

// bounded calls f and waits for it until storeTimeout.
func bounded[T any](ctx context.Context, calls safecall.Limiter, f func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	v, err := safecall.Do(limited, calls, f)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no response within %v: %w", storeTimeout, err)
	}
	if err != nil {
		return v, storeError(err)
	}
	return v, nil
}

// boundedStore bounds the calls of a store, which may hang and ignore its context.
type boundedStore struct {
	store contextStore
	calls safecall.Limiter
}

func (s boundedStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	type result struct {
		b     []byte
		found bool
	}
	r, err := bounded(ctx, s.calls, func(ctx context.Context) (result, error) {
		b, found, err := s.store.FindCtx(ctx, token)
		return result{b, found}, err
	})
	return r.b, r.found, err
}

func (s boundedStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	_, err := bounded(ctx, s.calls, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.CommitCtx(ctx, token, b, expiry)
	})
	return err
}

func (s boundedStore) DeleteCtx(ctx context.Context, token string) error {
	_, err := bounded(ctx, s.calls, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.DeleteCtx(ctx, token)
	})
	return err
}

// storeError returns the error of a request whose session could not be read or written. The log shows the cause; the
// page does not.
func storeError(err error) error {
	return &entra.Error{Code: "temporarily_unavailable", Description: "session store failed", Err: err}
}

// records reads and writes the records of a site, which are encrypted.
type records struct {
	store contextStore
	keys  *keyring
}

// recordKey returns the store's key for a record of this site. Sites may share a store, and a user has the same sid at
// all of them, so their records must not overwrite each other.
func (r records) recordKey(key string) string { return fingerprint("record of "+r.keys.site, key) }

// get reads the record under key into v and reports whether there is one.
func (r records) get(ctx context.Context, key string, v any) (bool, error) {
	key = r.recordKey(key)
	sealed, found, err := r.store.FindCtx(ctx, key)
	if err != nil {
		return false, err
	}
	return found && r.keys.open("store "+key, sealed, v), nil
}

func (r records) put(ctx context.Context, key string, v any, expiry time.Time) error {
	key = r.recordKey(key)
	sealed, err := r.keys.seal("store "+key, v)
	if err != nil {
		return err
	}
	return r.store.CommitCtx(ctx, key, sealed, expiry)
}

func (r records) delete(ctx context.Context, key string) error {
	return r.store.DeleteCtx(ctx, r.recordKey(key))
}

// maxMemoryRecords bounds the built-in store. A session takes up to three records: its own, its user's and that of its
// sid. Together they take about a kilobyte, and more with Config.KeepClaims. A fourth one leads from the login to the
// session for ten minutes. When the store is full, the least recently used record is evicted.
const maxMemoryRecords = 100_000

// memoryStore is the Store of a site without Config.Store.
type memoryStore struct {
	mu      sync.Mutex // guards records
	records *simplelru.LRU[string, record]
}

type record struct {
	b      []byte // immutable
	expiry time.Time
}

func newMemoryStore() *memoryStore {
	records, _ := simplelru.NewLRU[string, record](maxMemoryRecords, nil) // fails only for sizes below 1
	return &memoryStore{records: records}
}

func (m *memoryStore) Find(token string) (b []byte, found bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := m.records.Get(token)
	if ok && !time.Now().Before(rec.expiry) {
		m.records.Remove(token)
		return nil, false, nil
	}
	return rec.b, ok, nil
}

// Commit also removes a few expired records from the end of the LRU list, so that memory shrinks without a janitor
// goroutine.
func (m *memoryStore) Commit(token string, b []byte, expiry time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records.Add(token, record{b, expiry})
	for range 4 {
		if _, oldest, ok := m.records.GetOldest(); !ok || time.Now().Before(oldest.expiry) {
			break
		}
		m.records.RemoveOldest()
	}
	return nil
}

func (m *memoryStore) Delete(token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records.Remove(token)
	return nil
}
