package cache

import (
	"sync"
	"unique"
	"weak"
)

// A shard holds a part of the sessions.
type shard struct {
	mu     sync.Mutex                      // guards the fields below, and used of the sessions in them
	listed bound                           // the sessions that the cache's size counts
	users  users                           // whose sessions are in listed
	lost   map[place]weak.Pointer[session] // evicted, but perhaps in a caller's hand
	sweep  int                             // size of lost at which it is next cleaned
}

func newShard() *shard {
	return &shard{
		listed: bound{lists: make(map[unique.Handle[partition]]*list)},
		users:  make(users),
		lost:   make(map[place]weak.Pointer[session]),
	}
}

// session returns the session of k and whether it had to be added to the list: as a
// new one, or as one that was evicted and is still in a caller's hand. So there is
// never more than one session of a key. If its user has too many with it, the one of
// them that was used least recently is given up: excess, and over.
func (s *shard) session(k place) (v *session, added bool, excess place, over bool) {
	if v := s.listed.use(k); v != nil {
		return v, false, place{}, false
	}
	if v = s.lost[k].Value(); v == nil {
		v = &session{}
	}
	delete(s.lost, k)
	s.listed.add(k, v)
	if holders := s.users.add(k); holders != nil {
		excess, idlest := s.idlest(k.partition, holders)
		s.lose(excess, idlest)
		return v, true, excess, true
	}
	return v, true, place{}, false
}

// idlest returns the session used least recently of some listed ones of a partition.
func (s *shard) idlest(p unique.Handle[partition], holders []string) (k place, v *session) {
	for _, holder := range holders {
		if o := (place{p, holder}); v == nil || s.listed.peek(o).used < v.used {
			k, v = o, s.listed.peek(o)
		}
	}
	return k, v
}

// peek returns the session of k if there is one, without using it.
func (s *shard) peek(k place) *session {
	if v := s.listed.peek(k); v != nil {
		return v
	}
	return s.lost[k].Value()
}

// evict gives up one session, but not keep, the one just added.
func (s *shard) evict(keep *session) (place, bool) {
	if len(s.listed.order) == 0 {
		return place{}, false
	}
	k, v := s.listed.victim()
	if v == keep {
		return place{}, false
	}
	s.lose(k, v)
	return k, true
}

// lose takes a session out of the list, but not out of the hands of who holds it.
func (s *shard) lose(k place, v *session) {
	s.unlist(k)
	s.lost[k] = weak.Make(v)
	if len(s.lost) >= s.sweep {
		s.clean()
	}
}

func (s *shard) unlist(k place) {
	s.listed.remove(k)
	s.users.remove(k)
}

// clean forgets the lost sessions that nobody holds. It moves the others to a new map,
// since a map does not give back what it once needed.
func (s *shard) clean() {
	lost := make(map[place]weak.Pointer[session])
	for k, p := range s.lost {
		if p.Value() != nil {
			lost[k] = p
		}
	}
	s.lost, s.sweep = lost, 2*len(lost)+64
}

// purge kills every session whose key satisfies drop and returns how many of them were
// listed and how many there were in all.
func (s *shard) purge(drop func(Key) bool) (listed, all int) {
	for _, k := range s.listed.places() {
		if drop(k.key()) {
			s.listed.peek(k).kill()
			s.unlist(k)
			listed++
		}
	}
	all = listed
	for k, p := range s.lost {
		if drop(k.key()) {
			delete(s.lost, k)
			if v := p.Value(); v != nil {
				v.kill()
				all++
			}
		}
	}
	return listed, all
}
