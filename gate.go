package entra

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/entratoken/entra/internal/refresh"
)

const (
	gateAfter   = 8    // refusals in a row; fewer may be an authority that does not know a new secret everywhere yet
	gateBound   = 1000 // proofs that were refused lately
	gateTimeout = 30 * time.Second
)

// Gates keep what Entra has refused from being sent for every token that is wanted: each
// user's is a key of its own in the cache, and remembers its failures alone, but a secret
// that has ended has ended for all of them. Where a proof was refused time and again, one
// request after the other finds out whether it still is, at growing intervals; the others
// get the refusal at once, which is as good as their own. All clients that WithTenant made
// of one share them.
type gates struct {
	mu sync.Mutex // guards refused
	// By what was refused: a proof at an authority. What Entra accepts is not in it.
	refused *simplelru.LRU[proof, *gate]
}

// A proof is what an app proves itself with at an authority, in a region or globally, named
// by the ID of a credential that is always the same, or by the fingerprint of an assertion.
type proof struct{ authority, region, id string }

type gate struct {
	inARow  int // before it closed, and of those that found out since
	last    *Error
	openAt  time.Time // for one request
	finding bool      // one has been let through since the last refusal
}

func newGates() *gates {
	refused, _ := simplelru.NewLRU[proof, *gate](gateBound, nil) // fails only for sizes below 1
	return &gates{refused: refused}
}

// pass returns the refusal to give in place of a request, or nil: then the request is to be
// made, and what comes of it to be told, also if it is nothing and the request was to find out.
func (g *gates) pass(p proof) (refusal *Error, finding bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, ok := g.refused.Get(p)
	if !ok || t.inARow < gateAfter {
		return nil, false
	}
	if now := time.Now(); !now.Before(t.openAt) {
		t.openAt, t.finding = now.Add(gateTimeout), true // if this one hangs
		return nil, true
	}
	return t.last, false
}

// nothing is told that nothing came of the request that was to find out about p: the next
// one may.
func (g *gates) nothing(p proof) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t, ok := g.refused.Get(p); ok && t.finding {
		t.openAt, t.finding = time.Now(), false
	}
}

// refusal is told that p was refused.
func (g *gates) refusal(p proof, failed *Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, ok := g.refused.Get(p)
	if !ok {
		t = &gate{}
		g.refused.Add(p, t)
	}
	t.last = failed
	if t.inARow >= gateAfter && !t.finding {
		return // of a request from before it closed, which says nothing new
	}
	t.inARow++
	t.finding = false
	t.openAt = time.Now().Add(refresh.Policy{}.RetryIn(t.inARow-gateAfter, 0, 0, rand.Float64()))
}

// accepted is told that p was accepted.
func (g *gates) accepted(p proof) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused.Remove(p)
}
