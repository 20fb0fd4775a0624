package cache

import (
	"context"
	"errors"
	"time"

	"github.com/entratoken/entra/internal/seal"
)

// Store is a key-value store that the processes of a fleet share, such as Redis or PostgreSQL. Package
// cache/storetest tests an implementation. Methods are called concurrently.
//
// A key has 43 characters of the base64url alphabet. A value is sealed. It usually has a few kilobytes, and at most
// 512. A store may evict records at any time. The cache then sends one more request to Entra, or the user signs in
// again.
type Store interface {
	// Load returns the record of key. It returns the zero Record, and no error, if the record is missing or
	// has expired. The caller may modify the value.
	Load(ctx context.Context, key string) (Record, error)
	// Save writes a record if the current version of key is old, where the empty Version means that there is no
	// record. Otherwise it writes nothing and returns ErrConflict. Reading the version and writing the record must
	// be one atomic operation. The record expires after ttl, which is at least a millisecond. Save returns the
	// new version. It must not keep value.
	Save(ctx context.Context, key string, value []byte, old Version, ttl time.Duration) (Version, error)
}

// A Record is a value in a [Store].
type Record struct {
	Value   []byte
	Version Version
	// TTL is the remaining lifetime at the moment of reading, by the store's own clock. A store that cannot tell
	// it exactly rounds it down. The cache derives the age of a record from it, so that the clocks of processes
	// are never compared.
	TTL time.Duration
}

// A Version identifies one write of a record. Its text has a meaning only for the [Store]. It is not empty and
// is never used again, not even for a record that was removed and written again.
type Version string

// ErrConflict is the error of [Store].Save if the record has another version.
var ErrConflict = errors.New("cache: the record was changed by another process")

// Notifier is an optional interface of a [Store] that can send messages to all processes of a fleet, such as Redis
// with its publish and subscribe commands. With it, a sign-out takes effect at once in all processes, and they need
// not query the store every [Options].Recheck. They also save sessions again that the store has lost.
type Notifier interface {
	// Notify sends key to all subscribers in all processes, this one included.
	Notify(ctx context.Context, key string) error
	// Subscribe registers two functions for as long as the store is in use. It returns at once. The store calls
	// changed with each key that it receives, and may repeat keys. It calls connected(true) when the subscription
	// works, so that no later message is lost, and connected(false) as soon as messages may have been lost. It should
	// notice a dead connection within seconds. Both functions return quickly and may be called concurrently.
	Subscribe(changed func(key string), connected func(bool))
}

// SealKey is a secret key that seals the records in a [Store]. It is the type of signin.Key. Its bytes are never
// printed or marshaled.
type SealKey = seal.Key

// NewSealKey returns a key of 32 random bytes, for example from "openssl rand 32". It copies secret.
func NewSealKey(secret []byte) SealKey { return seal.NewKey(secret) }
