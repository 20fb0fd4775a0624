package cache

import (
	"math"
	"sync"
	"weak"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A shard holds a part of the sessions.
type shard struct {
	mu    sync.Mutex                    // guards the fields below
	lru   *simplelru.LRU[Key, *session] // the sessions that the bound counts
	count map[partition]int             // how many of them each partition has
	lost  map[Key]weak.Pointer[session] // evicted, but perhaps in a caller's hand
	sweep int                           // size of lost at which it is next cleaned
}

func newShard() *shard {
	// The bound is over all shards, so a shard's list has none of its own.
	lru, _ := simplelru.NewLRU[Key, *session](math.MaxInt, nil) // fails only for sizes below 1
	return &shard{lru: lru, count: make(map[partition]int), lost: make(map[Key]weak.Pointer[session])}
}

// session returns the session of k and whether it had to be added to the list: as a
// new one, or as one that was evicted and is still in a caller's hand. So there is
// never more than one session of a key.
func (s *shard) session(k Key) (v *session, added bool) {
	if v, ok := s.lru.Get(k); ok {
		return v, false
	}
	if v = s.lost[k].Value(); v == nil {
		v = &session{}
	}
	delete(s.lost, k)
	s.lru.Add(k, v)
	s.count[k.partition()]++
	return v, true
}

// peek returns the session of k if there is one, without using it.
func (s *shard) peek(k Key) *session {
	if v, ok := s.lru.Peek(k); ok {
		return v
	}
	return s.lost[k].Value()
}

// evict gives up the least recently used session of those partitions that hold their
// equal share of the shard or more; there is always one. Sessions of smaller
// partitions that stand before it are moved behind all others, so that the next call
// need not pass them again.
func (s *shard) evict() (Key, bool) {
	for s.lru.Len() > 1 { // the last one is the one just added
		k, v, _ := s.lru.GetOldest()
		if s.count[k.partition()]*len(s.count) >= s.lru.Len() {
			s.remove(k)
			s.remember(k, v)
			return k, true
		}
		s.lru.Get(k)
	}
	return Key{}, false
}

func (s *shard) remove(k Key) {
	s.lru.Remove(k)
	p := k.partition()
	if s.count[p]--; s.count[p] == 0 {
		delete(s.count, p)
	}
}

func (s *shard) remember(k Key, v *session) {
	s.lost[k] = weak.Make(v)
	if len(s.lost) < s.sweep {
		return
	}
	for k, p := range s.lost {
		if p.Value() == nil {
			delete(s.lost, k)
		}
	}
	s.sweep = 2*len(s.lost) + 64
}

// purge kills every session whose key satisfies drop and returns how many of them the
// list held and how many there were.
func (s *shard) purge(drop func(Key) bool) (listed, all int) {
	for _, k := range s.lru.Keys() {
		if drop(k) {
			v, _ := s.lru.Peek(k)
			s.remove(k)
			v.kill()
			listed++
		}
	}
	all = listed
	for k, p := range s.lost {
		if drop(k) {
			delete(s.lost, k)
			if v := p.Value(); v != nil {
				v.kill()
				all++
			}
		}
	}
	return listed, all
}
