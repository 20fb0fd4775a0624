package cache

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"sync"
	"unique"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxUserSessions bounds the sessions of one user, so that a user who signs in again and again evicts only
// their own sessions.
const maxUserSessions = 64

// A shard is an index of sessions that knows which one to evict first.
type shard struct {
	mu    sync.Mutex // guards all fields, and session.used; acquired before session.mu
	lists map[unique.Handle[partition]]*list
	users *userIndex
	order evictionOrder
	count int
	uses  uint64 // counts uses, to order them
}

func newShard() *shard {
	return &shard{
		lists: make(map[unique.Handle[partition]]*list), users: &userIndex{keys: make(map[string][]sessionKey)},
	}
}

// A userIndex has the keys of each subject, without those of the apps themselves. It is used by pointer, which fmt does
// not follow, so that printing a Cache prints no subjects.
type userIndex struct{ keys map[string][]sessionKey }

func (x *userIndex) add(k sessionKey) {
	if !k.isApp() {
		x.keys[k.subject] = append(x.keys[k.subject], k)
	}
}

func (x *userIndex) remove(k sessionKey) {
	keys := slices.DeleteFunc(x.keys[k.subject], func(o sessionKey) bool { return o == k })
	if len(keys) > 0 {
		x.keys[k.subject] = keys
	} else {
		delete(x.keys, k.subject)
	}
}

// A list holds the sessions of one partition, ordered by their last use. It is never empty.
type list struct {
	lru   *simplelru.LRU[sessionKey, *session]
	index int // in evictionOrder
}

func (l *list) oldest() (sessionKey, *session) {
	k, s, _ := l.lru.GetOldest()
	return k, s
}

func (sh *shard) peek(k sessionKey) *session {
	if l, ok := sh.lists[k.partition]; ok {
		s, _ := l.lru.Peek(k)
		return s
	}
	return nil
}

// use returns the session of k, or nil, and makes it the most recently used one.
func (sh *shard) use(k sessionKey) *session {
	l, ok := sh.lists[k.partition]
	if !ok {
		return nil
	}
	_, oldest := l.oldest()
	s, ok := l.lru.Get(k)
	if ok {
		sh.uses++
		s.used = sh.uses
	}
	if s == oldest {
		heap.Fix(&sh.order, l.index)
	}
	return s
}

// add adds a session for k, which must be missing.
func (sh *shard) add(k sessionKey) *session {
	sh.count++
	sh.uses++
	s := &session{used: sh.uses}
	l, ok := sh.lists[k.partition]
	if !ok {
		// The shard evicts, not the list. NewLRU fails only for sizes below 1.
		lru, _ := simplelru.NewLRU[sessionKey, *session](math.MaxInt, nil)
		l = &list{lru: lru}
		sh.lists[k.partition] = l
	}
	l.lru.Add(k, s)
	sh.users.add(k)
	if ok {
		heap.Fix(&sh.order, l.index)
	} else {
		heap.Push(&sh.order, l)
	}
	return s
}

// remove removes the session of k, which must have one.
func (sh *shard) remove(k sessionKey) *session {
	l := sh.lists[k.partition]
	s, _ := l.lru.Peek(k)
	l.lru.Remove(k)
	sh.users.remove(k)
	if l.lru.Len() > 0 {
		heap.Fix(&sh.order, l.index)
	} else {
		delete(sh.lists, k.partition)
		heap.Remove(&sh.order, l.index)
	}
	sh.count--
	return s
}

// candidate returns the session to evict, which is the least recently used one of the partition that has the most.
// Among partitions of the same size, it is the least recently used of all. candidate skips added. ok is false
// if the shard does not have another session.
//
// A handle that has found its session does not look it up again. So a session that was in use through such
// a handle since the last eviction that found it counts as used now.
func (sh *shard) candidate(added *session) (k sessionKey, ok bool) {
	for range sh.count {
		k, s := sh.order[0].oldest()
		if s != added && !s.touched.Swap(false) {
			return k, true
		}
		sh.use(k)
	}
	// All were in use. One use on the way round makes the second round end at once, unless they still are.
	if sh.count == 0 {
		return sessionKey{}, false
	}
	k, s := sh.order[0].oldest()
	return k, s != added
}

// keys returns the keys of a subject.
func (sh *shard) keys(subject string) []sessionKey {
	keys := slices.Clone(sh.users.keys[subject])
	if subject == "" {
		for p := range sh.lists {
			if k := (sessionKey{partition: p}); sh.peek(k) != nil {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// userExcess returns the least recently used session of k's user, but not k, if the user has too many in the
// partition of k. k has a Key.Session, and only such sessions count.
func (sh *shard) userExcess(k sessionKey) (oldest sessionKey, over bool) {
	if len(sh.users.keys[k.subject]) <= maxUserSessions {
		return sessionKey{}, false
	}
	sessions := slices.DeleteFunc(sh.keys(k.subject), func(o sessionKey) bool {
		return o.partition != k.partition || o.session == ""
	})
	if len(sessions) <= maxUserSessions {
		return sessionKey{}, false
	}
	first := uint64(math.MaxUint64)
	for _, o := range sessions {
		if o == k {
			continue
		}
		s := sh.peek(o)
		if s.touched.Swap(false) {
			sh.use(o)
		}
		if s.used < first { // never equal: each use has its own number
			oldest, first = o, s.used
		}
	}
	return oldest, true
}

// evictionOrder is a heap of lists. The first is the one to evict from. It implements [heap.Interface].
type evictionOrder []*list

func (h evictionOrder) Len() int { return len(h) }

func (h evictionOrder) Less(i, j int) bool {
	_, a := h[i].oldest()
	_, b := h[j].oldest()
	// Different lists never compare equal, because each use has its own number.
	return cmp.Or(cmp.Compare(h[j].lru.Len(), h[i].lru.Len()), cmp.Compare(a.used, b.used)) < 0
}

func (h evictionOrder) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *evictionOrder) Push(x any) {
	l := x.(*list)
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
