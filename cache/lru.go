package cache

import (
	"cmp"
	"container/heap"
	"container/list"
	"hash/maphash"
	"sync"
	"unique"
)

// maxUserSessions bounds the sessions of one user, so that a user who signs in repeatedly evicts only their own
// sessions.
const maxUserSessions = 64

// A shard is an index of sessions that knows which one to evict first.
type shard struct {
	mu    sync.Mutex // guards all fields, and sibling, used and element of sessions; acquired before session.mu
	seed  maphash.Seed
	users map[uint64]*session // the first session by userHash; session.sibling has the others
	lists map[unique.Handle[partition]]*partitionList
	order evictionOrder
	count int
	uses  uint64 // counts uses, to order them
}

func newShard(seed maphash.Seed) *shard {
	return &shard{
		seed: seed, users: make(map[uint64]*session), lists: make(map[unique.Handle[partition]]*partitionList),
	}
}

// A partitionList has the sessions of one partition, with the most recently used one in front. It is never empty.
type partitionList struct {
	list.List
	index int // in evictionOrder
}

func (l *partitionList) oldest() *session { return l.Back().Value.(*session) }

// userHash returns a hash of the subject of k. Those of apps have no subject, and then it is a hash of the partition.
func (sh *shard) userHash(k sessionKey) uint64 {
	if k.isApp() {
		return maphash.Comparable(sh.seed, k.partition)
	}
	return maphash.String(sh.seed, k.subject)
}

// find returns the session of k, or nil.
func (sh *shard) find(k sessionKey) *session {
	s := sh.users[sh.userHash(k)]
	for s != nil && s.key != k {
		s = s.sibling
	}
	return s
}

// use makes s the most recently used session.
func (sh *shard) use(s *session) {
	l := sh.lists[s.key.partition]
	first := s == l.oldest()
	l.MoveToFront(s.element)
	sh.uses++
	s.used = sh.uses
	if first {
		heap.Fix(&sh.order, l.index)
	}
}

// add adds s. Its key must not have a session.
func (sh *shard) add(s *session) {
	sh.count++
	sh.uses++
	s.used = sh.uses
	user := sh.userHash(s.key)
	s.sibling = sh.users[user]
	sh.users[user] = s
	l, ok := sh.lists[s.key.partition]
	if !ok {
		l = new(partitionList)
		sh.lists[s.key.partition] = l
	}
	s.element = l.PushFront(s)
	if ok {
		heap.Fix(&sh.order, l.index)
	} else {
		heap.Push(&sh.order, l)
	}
}

// remove removes s, which must be in the shard.
func (sh *shard) remove(s *session) {
	user := sh.userHash(s.key)
	first := sh.users[user]
	at := &first
	for *at != s {
		at = &(*at).sibling
	}
	*at, s.sibling = s.sibling, nil
	if first == nil {
		delete(sh.users, user)
	} else {
		sh.users[user] = first
	}
	l := sh.lists[s.key.partition]
	l.Remove(s.element)
	if l.Len() > 0 {
		heap.Fix(&sh.order, l.index)
	} else {
		delete(sh.lists, s.key.partition)
		heap.Remove(&sh.order, l.index)
	}
	sh.count--
}

// candidate returns the session to evict, which is the least recently used one of the partition that has the most.
// Among partitions of the same size, it is the least recently used of all. candidate skips added. It returns nil
// if the shard does not have another session.
//
// A handle that has found its session does not look it up again. So a session that was in use through such
// a handle since the last eviction that found it counts as used now.
func (sh *shard) candidate(added *session) *session {
	for range sh.count {
		s := sh.order[0].oldest()
		if s != added && !s.touched.Swap(false) {
			return s
		}
		sh.use(s)
	}
	// All sessions were in use. The loop has moved each to the front of its list, so the order is that of before. The
	// first is evicted even if it is in use again.
	if sh.count == 0 {
		return nil
	}
	if s := sh.order[0].oldest(); s != added {
		return s
	}
	return nil
}

// ofSubject returns the sessions of a subject.
func (sh *shard) ofSubject(subject string) (sessions []*session) {
	for s := sh.users[maphash.String(sh.seed, subject)]; s != nil; s = s.sibling {
		if s.key.subject == subject && !s.key.isApp() {
			sessions = append(sessions, s)
		}
	}
	if subject == "" {
		for p := range sh.lists {
			if s := sh.find(sessionKey{partition: p}); s != nil {
				sessions = append(sessions, s)
			}
		}
	}
	return sessions
}

// userExcess returns the least recently used session of added's user in its partition, or nil if the user does not have
// too many. Only sessions with Key.Session count. userExcess skips added.
func (sh *shard) userExcess(added *session) (oldest *session) {
	if added.key.session == "" {
		return nil
	}
	first := sh.users[sh.userHash(added.key)]
	n := 0
	for s := first; s != nil; s = s.sibling {
		if s.key.sameUser(added.key) {
			n++
		}
	}
	if n <= maxUserSessions {
		return nil
	}
	for s := first; s != nil; s = s.sibling {
		if s == added || !s.key.sameUser(added.key) {
			continue
		}
		if s.touched.Swap(false) {
			sh.use(s)
		}
		if oldest == nil || s.used < oldest.used { // never equal: each use has its own number
			oldest = s
		}
	}
	return oldest
}

// evictionOrder is a heap of lists. The first is the one to evict from. It implements [heap.Interface].
type evictionOrder []*partitionList

func (h evictionOrder) Len() int { return len(h) }

func (h evictionOrder) Less(i, j int) bool {
	a, b := h[i], h[j]
	// Different lists never compare equal, because each use has its own number.
	return cmp.Or(cmp.Compare(b.Len(), a.Len()), cmp.Compare(a.oldest().used, b.oldest().used)) < 0
}

func (h evictionOrder) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *evictionOrder) Push(x any) {
	l := x.(*partitionList)
	l.index = len(*h)
	*h = append(*h, l)
}

func (h *evictionOrder) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}
