// Package redisstore shares the tokens and the sessions of a fleet in Redis, Valkey or Azure Managed Redis. It works
// with one server, Sentinel and Cluster.
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.contoso.example:6379"},
//		ContextTimeoutEnabled: true,
//		TLSConfig:             &tls.Config{MinVersion: tls.VersionTLS12},
//	})
//	tokens := cache.New(cache.Options{
//		Store: redisstore.New(client, nil),
//		Keys:  []cache.SealKey{cache.NewSealKey(key)},
//	})
//
// [Store] is the second level of a cache, and [Sessions] the store of package signin. Everything in Redis is encrypted
// by their callers. Redis may evict tokens when its memory is full. Users whose sessions it evicts must sign in
// again, so a server with eviction should be used for tokens only. [Credentials] authenticates to Azure Managed Redis
// with tokens of this library.
//
// Set ContextTimeoutEnabled, as above. Otherwise go-redis ignores the deadline of a call.
//
// A user of Redis (ACL) needs these rules for the default prefix, and +cluster|slots in a cluster:
//
//	ACL SETUSER app on >PASSWORD ~entra:* &entra:changed +@connection +@transaction +@pubsub +eval +evalsha
//		+get +set +del +getrange +pttl
//
// Without the channel entra:changed, the store works without messages: other processes notice a sign-out
// after [cache.Options].Recheck.
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra/cache"
)

// Options changes how a [Store] or [Sessions] uses Redis. The zero value has the defaults.
type Options struct {
	// Prefix is the beginning of all names in Redis. Store appends "token:" for records and "changed" for its channel,
	// and Sessions appends "session:". All processes of an app have the same prefix. With another one, they find no
	// token, session or delegation of the app. Apps may share a prefix, since they do not find each other's records
	// without the keys. Different prefixes make it possible to grant access to the names of one app, or to delete them.
	// Defaults to "entra:".
	Prefix string
}

func (o *Options) prefix() string {
	if o == nil || o.Prefix == "" {
		return "entra:"
	}
	return o.Prefix
}

// Store is a [cache.Store] and a [cache.Notifier] in Redis. Create it with [New]: the zero Store cannot be used, and
// cache.New panics with it. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	channel string
}

var (
	_ cache.Store    = (*Store)(nil)
	_ cache.Notifier = (*Store)(nil)
)

// New returns a store in the server, or servers, of client, and panics if client is nil. opts may be nil. New sends no
// request. The store never closes client.
func New(client redis.UniversalClient, opts *Options) *Store {
	if client == nil {
		panic("redisstore: New needs a client, got nil")
	}
	prefix := opts.prefix()
	return &Store{client, prefix + "token:", prefix + "changed"}
}

// versionSize is the size of a version, which is random and therefore never used again. It precedes the value of a
// record, so that a script can compare it without reading the value.
const versionSize = 16

// maxRecord is how much of a record Load reads: a version and the largest value of a [cache.Store].
const maxRecord = versionSize + 512<<10

// A key of another type, such as a list, has the version otherType.
const (
	wrongType = "WRONGTYPE" // prefix of the server's error
	otherType = "other type"
)

// save is the script of Save. Redis runs a script as one atomic operation.
var save = redis.NewScript(`
local version = redis.pcall("GETRANGE", KEYS[1], 0, 15)
if type(version) == "table" then
	if string.sub(version.err, 1, 9) ~= "` + wrongType + `" then
		return version
	end
	version = "` + otherType + `"
end
if version ~= ARGV[1] then
	return 0
end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1`)

// missing is the result of PTTL without a record. That of a record without an expiry is -1.
const missing time.Duration = -2

// Load implements [cache.Store] with one round trip. A damaged record is not an error, since that would stop the store
// for all users. Load returns a value that cannot be opened, and Save replaces the record.
func (s *Store) Load(ctx context.Context, key string) (cache.Record, error) {
	tx := s.client.TxPipeline() // so that the lifetime is that of the value
	value, ttl := tx.GetRange(ctx, s.prefix+key, 0, maxRecord-1), tx.PTTL(ctx, s.prefix+key)
	if _, err := tx.Exec(ctx); err != nil && !redis.HasErrorPrefix(err, wrongType) {
		s.reload(ctx, err)
		return cache.Record{}, err
	}
	b, err := value.Bytes()
	// PTTL is 0 in the last millisecond, in which Save still finds the record.
	left := max(1, ttl.Val())
	switch {
	case redis.HasErrorPrefix(err, wrongType):
		return cache.Record{Value: []byte(wrongType), Version: otherType, TTL: left}, nil
	case len(b) == 0, ttl.Val() == missing: // The record may expire between the two commands.
		return cache.Record{}, nil
	case len(b) < versionSize || ttl.Val() < 0: // Without an expiry, the age of the value is unknown.
		return cache.Record{Value: b, Version: cache.Version(b[:min(versionSize, len(b))]), TTL: left}, nil
	}
	return cache.Record{Value: b[versionSize:], Version: cache.Version(b[:versionSize]), TTL: left}, nil
}

// Save implements [cache.Store] with one round trip, and a second one after a restart of the server, which has then
// forgotten the script.
func (s *Store) Save(
	ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	record := make([]byte, versionSize, versionSize+len(value))
	rand.Read(record) // never fails
	written, err := save.Run(ctx, s.client, []string{s.prefix + key}, string(old), append(record, value...),
		max(1, ttl.Milliseconds())).Int()
	switch {
	case err != nil:
		s.reload(ctx, err)
		return "", err
	case written == 0:
		return "", cache.ErrConflict
	}
	return cache.Version(record), nil
}

// reload has the client of a cluster look for the current nodes after an error of the network. Otherwise it would
// continue to call a node that has failed for up to a minute (ClusterOptions.ClusterStateReloadInterval).
func (s *Store) reload(ctx context.Context, err error) {
	c, isCluster := s.client.(*redis.ClusterClient)
	if _, isReply := errors.AsType[redis.Error](err); isCluster && !isReply {
		c.ReloadState(context.WithoutCancel(ctx))
	}
}

// Notify implements [cache.Notifier] with PUBLISH.
func (s *Store) Notify(ctx context.Context, key string) error {
	return s.client.Publish(ctx, s.channel, key).Err()
}

const (
	pingInterval  = 2 * time.Second // of a silent subscription; after two intervals without a response it is lost
	reconnectWait = time.Second     // at most, between two attempts to connect
)

// Subscribe implements [cache.Notifier] with SUBSCRIBE. It uses one connection and one goroutine until the client is
// closed. It notices a dead connection within four seconds.
func (s *Store) Subscribe(changed func(key string), connected func(bool)) {
	if s.client == nil { // a panic of the goroutine would not show the caller
		panic("redisstore: the Store must be created with New")
	}
	go func() {
		for !errors.Is(s.receive(changed, connected), redis.ErrClosed) {
			time.Sleep(time.Duration(mathrand.Int64N(int64(reconnectWait))))
		}
	}()
}

// receive passes on messages until the subscription fails. It does not call connected if the subscription never works:
// each call has the sessions of the cache checked.
func (s *Store) receive(changed func(key string), connected func(bool)) error {
	ctx := context.Background()
	sub := s.client.Subscribe(ctx, s.channel)
	defer func() { _ = sub.Close() }()
	works := false
	defer func() {
		if works {
			connected(false)
		}
	}()
	for silent := 0; ; {
		m, err := sub.ReceiveTimeout(ctx, pingInterval)
		var timeout interface{ Timeout() bool }
		switch {
		case err == nil:
			silent = 0
		case errors.As(err, &timeout) && timeout.Timeout() && silent == 0:
			silent++
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			continue
		default:
			return err
		}
		switch m := m.(type) {
		case *redis.Subscription:
			works = true
			connected(true)
		case *redis.Message:
			changed(m.Payload)
		}
	}
}
