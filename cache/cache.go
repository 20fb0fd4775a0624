package cache

import (
	"hash/maphash"
	"sync/atomic"
)

// DefaultSize is the number of sessions that a cache holds if [Options].Size is zero.
const DefaultSize = 10_000

// Options configures a [Cache]. The zero value is usable.
type Options struct {
	// Size bounds the number of sessions. 0: [DefaultSize].
	Size int
	// OnEvent is called with everything that happens, from the goroutine in which it
	// happens, with no lock held; it must be quick and safe for concurrent use.
	// nil: nobody is told.
	OnEvent func(Event)
}

// Cache holds access tokens. It is safe for concurrent use. Make it with [New].
type Cache struct {
	size    int64
	onEvent func(Event)
	seed    maphash.Seed
	shards  []*shard

	sessions                                          atomic.Int64
	hits                                              counter
	misses, fetches, failed, evictions, invalidations atomic.Uint64
}

// Below shardedSize the order of eviction is exact, above it locks are not shared.
const (
	shardedSize = 1024
	shards      = 64
)

// New returns an empty cache.
func New(o Options) *Cache {
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	n := 1
	if o.Size >= shardedSize {
		n = shards
	}
	c := &Cache{size: int64(o.Size), onEvent: o.OnEvent, seed: maphash.MakeSeed()}
	for range n {
		c.shards = append(c.shards, newShard())
	}
	return c
}

// Stats returns the cache's counters. They only ever grow, except Sessions. They are
// read one after the other, not at one instant.
func (c *Cache) Stats() Stats {
	return Stats{
		Hits:          c.hits.load(),
		Misses:        c.misses.Load(),
		Fetches:       c.fetches.Load(),
		Failures:      c.failed.Load(),
		Evictions:     c.evictions.Load(),
		Invalidations: c.invalidations.Load(),
		Sessions:      int(c.sessions.Load()),
	}
}

// Purge drops every session of subject, of whatever app and authority, and returns how
// many there were. Handles on them forget their tokens too, and what a request under
// way brings for them is not kept.
func (c *Cache) Purge(subject string) int {
	return c.PurgeFunc(func(k Key) bool { return k.Subject == subject })
}

// PurgeFunc drops every session whose key satisfies drop, as [Cache.Purge] does. drop is
// called with a lock held and must not call the cache.
func (c *Cache) PurgeFunc(drop func(Key) bool) (n int) {
	for _, s := range c.shards {
		n += c.purge(s, drop)
	}
	return n
}

func (c *Cache) purge(s *shard, drop func(Key) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock() // also if drop panics
	listed, all := s.purge(drop)
	c.sessions.Add(int64(-listed))
	return all
}

// session returns the session of k, making it if need be and room for it.
func (c *Cache) session(k place) *session {
	i := c.shard(k)
	s := c.shards[i]
	s.mu.Lock()
	v, added, excess, over := s.session(k)
	s.mu.Unlock()
	switch {
	case over: // one came and one went
		c.evicted(excess)
	case added && c.sessions.Add(1) > c.size:
		c.evict(i, v)
	}
	return v
}

// find returns the place of a scope set if it is there.
func (c *Cache) find(k place, scopes string) *entry {
	s := c.shards[c.shard(k)]
	s.mu.Lock()
	v := s.peek(k)
	s.mu.Unlock()
	if v == nil {
		return nil
	}
	return v.find(scopes)
}

// shard returns where k is: with all sessions of its user.
func (c *Cache) shard(k place) int {
	if len(c.shards) == 1 {
		return 0
	}
	if user, ok := k.user(); ok {
		k = user
	}
	return int(maphash.Comparable(c.seed, k) % uint64(len(c.shards)))
}

// evict gives up one session, but not keep, from the i-th shard if it can spare one.
func (c *Cache) evict(i int, keep *session) {
	for range c.shards {
		s := c.shards[i]
		s.mu.Lock()
		k, ok := s.evict(keep)
		s.mu.Unlock()
		if ok {
			c.sessions.Add(-1)
			c.evicted(k)
			return
		}
		i = (i + 1) % len(c.shards)
	}
}

func (c *Cache) evicted(k place) {
	c.evictions.Add(1)
	c.emit(Event{Kind: EventEvicted, Key: k.key()})
}

func (c *Cache) emit(e Event) {
	if c.onEvent != nil {
		c.onEvent(e)
	}
}
