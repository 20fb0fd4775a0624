package cache

import (
	"slices"
	"sync"
)

// maxScopeSets bounds the access tokens of one session.
const maxScopeSets = 64

// A session is everything held about one subject of one app.
type session struct {
	used uint64 // when it was used last, in uses of its shard; guarded by the shard

	mu      sync.Mutex // guards the fields below
	dead    bool       // purged: nothing may be stored in it any more
	entries []*entry   // most recently resolved first
	keep    any        // Response.Keep of the last fetch that had one
	version uint64     // of keep: the fetches that began with an older one do not replace it
}

// entry returns the place of a scope set, making it if need be. Beyond the bound the
// least recently resolved place without a request under way is given up.
func (s *session) entry(scopes string) *entry {
	s.mu.Lock()
	if i := s.index(scopes); i >= 0 {
		defer s.mu.Unlock()
		e := s.entries[i]
		copy(s.entries[1:i+1], s.entries[:i])
		s.entries[0] = e
		return e
	}
	e := &entry{session: s, scopes: scopes}
	e.retired.Store(s.dead)
	old := s.spare()
	s.entries = slices.Insert(s.entries, 0, e)
	s.mu.Unlock() // an entry's lock comes before its session's
	for _, o := range old {
		o.clear()
	}
	return e
}

// index returns where the place of a scope set stands, or -1. mu is held.
func (s *session) index(scopes string) int {
	return slices.IndexFunc(s.entries, func(e *entry) bool { return sameScopes(e.scopes, scopes) })
}

// spare takes out what places it can until there is room for another. mu is held.
func (s *session) spare() (old []*entry) {
	for i := len(s.entries) - 1; i >= 0 && len(s.entries) >= maxScopeSets; i-- {
		if e := s.entries[i]; e.retire() {
			s.entries = slices.Delete(s.entries, i, i+1)
			old = append(old, e)
		}
	}
	return old
}

// find returns the place of a scope set if there is one.
func (s *session) find(scopes string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.index(scopes); i >= 0 {
		return s.entries[i]
	}
	return nil
}

func (s *session) kept() (keep any, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keep, s.version
}

// store keeps what a fetch brought for the whole session, unless something newer than
// what the fetch began with is kept by now.
func (s *session) store(keep any, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep != nil && !s.dead && version == s.version {
		s.keep = keep
		s.version++
	}
}

// forgive lets every place ask again at once.
func (s *session) forgive() {
	var few [4]*entry
	s.mu.Lock()
	entries := append(few[:0], s.entries...)
	s.mu.Unlock()
	for _, e := range entries {
		e.forgive()
	}
}

// kill empties the session for good.
func (s *session) kill() {
	s.mu.Lock()
	s.dead, s.keep = true, nil
	entries := s.entries
	s.entries = nil
	for _, e := range entries {
		e.retired.Store(true)
	}
	s.mu.Unlock()
	for _, e := range entries {
		e.clear()
	}
}
