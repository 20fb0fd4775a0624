package cache

import (
	"container/heap"
	"math"
	"unique"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A bound is a set of sessions that knows which one to give up first: the least
// recently used one of the partition that has the most, and among partitions of one
// size the least recently used of all. It has no lock.
type bound struct {
	lists map[unique.Handle[partition]]*list
	order victims
	uses  uint64 // counts uses, to date them
}

// A list is a partition's sessions by their last use.
type list struct {
	partition unique.Handle[partition]
	lru       *simplelru.LRU[string, *session] // by holder
	index     int                              // in victims
}

// oldest returns the session used least recently. A list is never empty.
func (l *list) oldest() (holder string, v *session) {
	holder, v, _ = l.lru.GetOldest()
	return holder, v
}

func (b *bound) peek(k place) *session {
	if l, ok := b.lists[k.partition]; ok {
		v, _ := l.lru.Peek(k.holder)
		return v
	}
	return nil
}

// use returns the session of k, if there is one, as the one used last.
func (b *bound) use(k place) *session {
	l, ok := b.lists[k.partition]
	if !ok {
		return nil
	}
	_, oldest := l.oldest()
	v, ok := l.lru.Get(k.holder)
	if ok {
		b.uses++
		v.used = b.uses
	}
	if v == oldest {
		heap.Fix(&b.order, l.index)
	}
	return v
}

func (b *bound) add(k place, v *session) {
	b.uses++
	v.used = b.uses
	if l, ok := b.lists[k.partition]; ok {
		l.lru.Add(k.holder, v)
		heap.Fix(&b.order, l.index)
		return
	}
	// The bound is over all lists, so a list has none of its own.
	lru, _ := simplelru.NewLRU[string, *session](math.MaxInt, nil) // fails only for sizes below 1
	lru.Add(k.holder, v)
	l := &list{partition: k.partition, lru: lru}
	b.lists[k.partition] = l
	heap.Push(&b.order, l)
}

func (b *bound) remove(k place) {
	l := b.lists[k.partition]
	l.lru.Remove(k.holder)
	if l.lru.Len() > 0 {
		heap.Fix(&b.order, l.index)
		return
	}
	delete(b.lists, l.partition)
	heap.Remove(&b.order, l.index)
}

// victim returns the session to give up first. The set must not be empty.
func (b *bound) victim() (place, *session) {
	l := b.order[0]
	holder, v := l.oldest()
	return place{l.partition, holder}, v
}

// places returns all places.
func (b *bound) places() (all []place) {
	for _, l := range b.lists {
		for _, holder := range l.lru.Keys() {
			all = append(all, place{l.partition, holder})
		}
	}
	return all
}

// victims is a heap of lists with the one to take the next victim from first. It
// implements [heap.Interface].
type victims []*list

func (h victims) Len() int { return len(h) }

func (h victims) Less(i, j int) bool {
	if a, b := h[i].lru.Len(), h[j].lru.Len(); a != b {
		return a > b
	}
	_, a := h[i].oldest()
	_, b := h[j].oldest()
	return a.used < b.used
}

func (h victims) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *victims) Push(x any) {
	l := x.(*list)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop implements [heap.Interface].
func (h *victims) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}
