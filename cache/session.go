package cache

import (
	"slices"
	"sync"
)

// maxScopeSets bounds the access tokens of one session.
const maxScopeSets = 32

// A session is everything held about one subject of one app.
type session struct {
	used uint64 // when it was used last, in uses of its shard; guarded by the shard

	mu      sync.Mutex // guards the fields below
	dead    bool       // purged: nothing may be stored in it any more
	entries []*entry   // most recently resolved first
	keep    any        // Answer.Keep of the last fetch that had one
}

// entry returns the place of a scope set, making it if need be. Beyond the bound the
// least recently resolved place is given up.
func (s *session) entry(scopes string) *entry {
	s.mu.Lock()
	var e, last *entry
	i := slices.IndexFunc(s.entries, func(e *entry) bool { return sameScopes(e.scopes, scopes) })
	switch {
	case i >= 0:
		e = s.entries[i]
	default:
		e = &entry{session: s, scopes: scopes, retired: s.dead}
		if len(s.entries) < maxScopeSets {
			s.entries = append(s.entries, nil)
		}
		i = len(s.entries) - 1
		last = s.entries[i]
	}
	copy(s.entries[1:i+1], s.entries[:i])
	s.entries[0] = e
	s.mu.Unlock() // an entry's lock comes before its session's
	if last != nil {
		last.retire()
	}
	return e
}

// find returns the place of a scope set if there is one.
func (s *session) find(scopes string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if sameScopes(e.scopes, scopes) {
			return e
		}
	}
	return nil
}

func (s *session) kept() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keep
}

// store keeps what a fetch brought for the whole session.
func (s *session) store(keep any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep != nil && !s.dead {
		s.keep = keep
	}
}

// forgive lets every place ask again at once.
func (s *session) forgive() {
	s.mu.Lock()
	entries := slices.Clone(s.entries)
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
	s.mu.Unlock()
	for _, e := range entries {
		e.retire()
	}
}
