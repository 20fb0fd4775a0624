package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entratoken/entra/internal/safecall"
)

const (
	defaultSize          = 10_000
	defaultDelegationTTL = 90 * 24 * time.Hour // Entra's refresh tokens expire after this time without use
)

// Options configures a [Cache]. The zero value is valid.
type Options struct {
	// Size bounds the number of sessions. It should exceed the number of subjects that need tokens at
	// the same time: an evicted session has lost its tokens. Defaults to 10,000.
	Size int
	// Store is a second level that several processes share, such as Redis. If nil, tokens stay in this process.
	Store Store
	// Keys seal the records in the store. Records are written with the first key and read with all. To replace a key,
	// add the new one at the end in all processes, then move it to the front. Remove the old one a SessionTTL later, or,
	// if the app uses obo.Begin, after DelegationTTL and two SessionTTL: a delegation stays under the old key until its
	// next token request. All processes of one app have the same keys. Another app gets other keys, because a process
	// with the keys can use the tokens of the app without its credential. Processes with other keys do not see each
	// other's records. Required with a Store.
	Keys []SealKey
	// Recheck is the longest time for which a process serves a token of a session that was signed out or purged in
	// another process, if the store is not a Notifier or the connection for its messages is broken. A session in use
	// then costs one call of the store in this time. Defaults to one minute.
	Recheck time.Duration
	// SessionTTL is how long the store keeps a refresh token that is not used. It should be at least the idle time-out
	// of the app's own sessions. All processes should use the same. Defaults to 24 hours.
	SessionTTL time.Duration
	// DelegationTTL is how long a delegation of package obo may be unused, counted from its last token request. Then its
	// refresh token is removed. It should exceed the lifetime of access tokens, which is up to 28 hours with
	// entra.CapabilityCAE. All processes should use the same. It also applies without a Store. Defaults to 90 days, the
	// lifetime of a refresh token of Entra.
	DelegationTTL time.Duration
	// OnEvent is called with each event, on the goroutine that caused it and without a lock. It must
	// return quickly and must be safe for concurrent use. A panic in it is discarded. If nil, events are discarded.
	OnEvent func(Event)
	// Trace is called when the cache starts to acquire a token, from the Store or with a fetch, for example to start a
	// span. ctx has the values of the call that caused it, which may have returned if e.Background is set. The calls of
	// the Store and the fetch get the values of the returned context. The returned function is called at the end with
	// the event EventFetchDone or EventFetchFailed, or with EventStore if no fetch was necessary. The requirements
	// of OnEvent apply to both functions. If Trace is nil, nothing is traced.
	Trace func(ctx context.Context, e Event) (context.Context, func(Event))
}

// Cache stores access tokens. It is safe for concurrent use and must not be copied. Create it with [New].
// The zero Cache is an empty cache with default options.
type Cache struct {
	once          sync.Once // calls init
	size          int64
	delegationTTL time.Duration
	onEvent       func(Event)
	trace         func(context.Context, Event) (context.Context, func(Event))
	seed          maphash.Seed
	shards        []*shard
	fleet         *fleet // nil without a store
	err           error  // the options are invalid

	sessions                                            atomic.Int64
	hits                                                counter
	misses, fetches, failures, evictions, invalidations atomic.Uint64
}

// New returns an empty cache. Invalid options are reported by [Cache.Validate].
func New(o Options) *Cache {
	c := &Cache{size: int64(o.Size), delegationTTL: o.DelegationTTL, onEvent: o.OnEvent, trace: o.Trace}
	c.once.Do(c.init)
	if c.err = o.negative(); c.err == nil && o.Store != nil {
		c.fleet, c.err = newFleet(c, o)
	}
	return c
}

// negative reports a duration that is negative.
func (o *Options) negative() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Recheck", o.Recheck}, {"SessionTTL", o.SessionTTL}, {"DelegationTTL", o.DelegationTTL}} {
		if d.value < 0 {
			return fmt.Errorf("cache: Options.%s is negative: %v", d.name, d.value)
		}
	}
	return nil
}

// Validate reports invalid options: a Store without Keys, Keys that are not 32 random bytes, and a negative duration.
// All calls for tokens of such a cache fail. entra.New calls Validate.
func (c *Cache) Validate() error { return c.err }

// A cache with room for shardedSize sessions or more is divided, so that its callers do not all wait for
// one mutex. The order of eviction is then exact within a shard only.
const (
	shardedSize = 1024
	shardCount  = 64
)

func (c *Cache) init() {
	if c.size <= 0 {
		c.size = defaultSize
	}
	if c.delegationTTL == 0 {
		c.delegationTTL = defaultDelegationTTL
	}
	n := 1
	if c.size >= shardedSize {
		n = shardCount
	}
	c.seed = maphash.MakeSeed()
	for range n {
		c.shards = append(c.shards, newShard(c.seed))
	}
}

// Stats has the counters of a cache since it was created. Hits+Misses is the number of completed calls for
// a token.
type Stats struct {
	Hits          uint64 // calls that returned a cached token at once
	Misses        uint64 // calls that waited, returned an error, or left when their context ended
	Fetches       uint64 // completed fetches, including those that failed before they sent a request
	Failures      uint64 // fetches without a token
	Evictions     uint64 // sessions evicted by Options.Size or by the bound per user
	Invalidations uint64 // tokens dropped because a resource rejected them
	Sessions      int    // sessions in the cache now

	// With a Store:
	StoreHits       uint64 // tokens found in the store instead of a fetch
	StoreLoads      uint64 // records read, including missing ones
	StoreSaves      uint64 // records written
	StoreConflicts  uint64 // writes that were repeated because another process had changed the record
	StoreWaits      uint64 // fetches that waited for the request of another process
	StoreErrors     uint64 // failed calls of the store
	StoreUnreadable uint64 // records that were sealed with another key or changed; they count as missing
	StoreUnsaved    int    // sessions to be saved when the store is back
	StoreDown       bool   // the store failed and is not called, except for one probe every one to two seconds
}

// Stats returns the cache's counters. It reads them one after the other, not at one instant.
func (c *Cache) Stats() Stats {
	s := Stats{
		Hits:          c.hits.load(),
		Misses:        c.misses.Load(),
		Fetches:       c.fetches.Load(),
		Failures:      c.failures.Load(),
		Evictions:     c.evictions.Load(),
		Invalidations: c.invalidations.Load(),
		Sessions:      int(c.sessions.Load()),
	}
	if fl := c.fleet; fl != nil {
		s.StoreHits, s.StoreLoads, s.StoreSaves = fl.hits.Load(), fl.loads.Load(), fl.saves.Load()
		s.StoreConflicts, s.StoreWaits, s.StoreErrors = fl.conflicts.Load(), fl.waits.Load(), fl.failures.Load()
		s.StoreUnreadable, s.StoreUnsaved, s.StoreDown = fl.unreadable.Load(), fl.countUnsaved(), fl.breaker.isOpen()
	}
	return s
}

// Purge drops all sessions of subject, of every app and authority, and returns how many of them this process had. A
// response that arrives later for one of them reaches the callers that wait for it and is not stored.
//
// The subject of a user who signed in with package authcode is Account.HomeAccountID. That of a delegation of package
// obo is Delegation.HomeAccountID, so Purge also ends the delegations of the user. It is not the sub claim of a token:
// Purge cannot find sessions by that, and returns 0 and no error.
//
// With a store, the sessions also end in all other processes that share it: at once if the store is a [Notifier], and
// otherwise within Options.Recheck. The error reports that the store failed. The sessions of this process are dropped
// nevertheless, and the others as soon as this process reaches the store. Purge continues if ctx ends.
func (c *Cache) Purge(ctx context.Context, subject string) (int, error) {
	var err error
	all := func(sessionKey) bool { return true }
	if fl := c.fleet; fl != nil {
		ctx = context.WithoutCancel(ctx) // a mark without its message would be noticed late
		marks := fl.subjectMarks(subject)
		for _, m := range marks {
			err = errors.Join(err, fl.purge(ctx, m))
		}
		if err == nil {
			for _, k := range c.records(subject, all) {
				fl.erase(ctx, k, marks...)
			}
		}
	}
	return c.purge(subject, all), err
}

// PurgeSession drops the sessions of k.Subject in one app, in all tenants of the cloud, and returns how many of them
// this process had. They have the host of k.Authority, and ClientID, Flow and Session of k. If k.Session is empty,
// sessions with any Session are dropped. Otherwise PurgeSession is like [Cache.Purge].
func (c *Cache) PurgeSession(ctx context.Context, k Key) (int, error) {
	match := func(o sessionKey) bool {
		p := o.partition.Value()
		return p.clientID == k.ClientID && p.flow == k.Flow && host(p.authority) == host(k.Authority) &&
			(k.Session == "" || k.Session == o.session)
	}
	var err error
	if fl := c.fleet; fl != nil {
		ctx = context.WithoutCancel(ctx)
		m := fl.sessionMark(k)
		if err = fl.purge(ctx, m); err == nil {
			keys := c.records(k.Subject, match)
			if own := k.sessionKey().key(); !slices.Contains(keys, own) {
				keys = append(keys, own)
			}
			for _, ended := range keys {
				fl.erase(ctx, ended, m)
			}
		}
	}
	return c.purge(k.Subject, match), err
}

// records returns the keys of the matching sessions of a subject that this process shares.
func (c *Cache) records(subject string, match func(sessionKey) bool) (keys []Key) {
	c.once.Do(c.init)
	for _, sh := range c.shards {
		sh.mu.Lock()
		for _, s := range sh.ofSubject(subject) {
			if match(s.key) && !s.key.partition.Value().local {
				keys = append(keys, s.key.key())
			}
		}
		sh.mu.Unlock()
	}
	return keys
}

// host returns an authority without its tenant.
func host(authority string) string { return authority[:strings.LastIndexByte(authority, '/')+1] }

// purge drops the sessions of subject that match. Its cost does not depend on the number of other sessions.
func (c *Cache) purge(subject string, match func(sessionKey) bool) (n int) {
	c.once.Do(c.init)
	for _, sh := range c.shards {
		sh.mu.Lock()
		for _, s := range sh.ofSubject(subject) {
			if match(s.key) {
				sh.remove(s)
				s.drop()
				n++
			}
		}
		sh.mu.Unlock()
	}
	c.sessions.Add(int64(-n))
	return n
}

// session returns the session of k. It adds a missing session, and evicts another if the user or the cache then
// has too many.
func (c *Cache) session(k sessionKey) *session {
	i := c.shard(k)
	sh := c.shards[i]
	sh.mu.Lock()
	s := sh.find(k)
	if s != nil {
		sh.use(s)
		sh.mu.Unlock()
		return s
	}
	s = &session{key: k}
	if k.partition.Value().delegation {
		s.stateTTL = c.delegationTTL
	}
	sh.add(s)
	excess := sh.userExcess(s)
	if excess != nil {
		sh.remove(excess)
		excess.drop()
	}
	sh.mu.Unlock()
	if excess != nil {
		c.evicted(excess)
	} else if c.sessions.Add(1) > c.size {
		c.evict(i, s)
	}
	return s
}

// peek returns the session of k, or nil. It does not count as a use.
func (c *Cache) peek(k sessionKey) *session {
	sh := c.shards[c.shard(k)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.find(k)
}

// shard returns the index of the shard of k, which has all sessions of its user.
func (c *Cache) shard(k sessionKey) int {
	c.once.Do(c.init)
	k.session = ""
	return int(maphash.Comparable(c.seed, k) % uint64(len(c.shards)))
}

// evict drops a session other than added, from the i-th shard if that has one.
func (c *Cache) evict(i int, added *session) {
	for range c.shards {
		sh := c.shards[i]
		sh.mu.Lock()
		s := sh.candidate(added)
		if s != nil {
			sh.remove(s)
			s.drop()
		}
		sh.mu.Unlock()
		if s != nil {
			c.sessions.Add(-1)
			c.evicted(s)
			return
		}
		i = (i + 1) % len(c.shards)
	}
}

func (c *Cache) evicted(s *session) {
	c.evictions.Add(1)
	safecall.Notify(c.onEvent, Event{Kind: EventEvicted, Key: s.key.key()})
}

// A counter counts hits without a cache line that all CPUs write to. A sync.Pool usually gives each CPU a
// cell of its own, which costs five nanoseconds. The cells are never freed, so no count is lost.
type counter struct {
	cells [64]struct {
		n atomic.Uint64
		_ [56]byte
	}
	next atomic.Uint32
	pool sync.Pool
}

func (c *counter) add() {
	cell, ok := c.pool.Get().(*atomic.Uint64)
	if !ok {
		cell = &c.cells[c.next.Add(1)%uint32(len(c.cells))].n
	}
	cell.Add(1)
	c.pool.Put(cell)
}

func (c *counter) load() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
