package entra

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/entratoken/entra/internal/refresh"
)

const (
	breakerThreshold    = 8    // rejections in a row; fewer may be replicas of Entra that do not know a new secret yet
	breakerSize         = 1000 // credentials that were rejected recently
	breakerProbeTimeout = 30 * time.Second
)

// breakers are the circuit breakers of a client's credentials. The cache backs off for each
// user separately, but an expired secret fails for all of them. After breakerThreshold
// rejections of a credential in a row, its breaker opens. One request at a time then probes
// the credential, at growing intervals, and all others fail with the last rejection. The
// clients made by WithTenant share their breakers.
type breakers struct {
	mu        sync.Mutex // guards the fields below
	rejected  *simplelru.LRU[breakerKey, *breaker]
	unmatched int // responses in a row that no federated credential matches
}

// A breakerKey names a credential at an authority, in a region or globally. id is that of a
// fixed credential, or the fingerprint of an assertion.
type breakerKey struct{ authority, region, id string }

// A breaker counts the rejections of one credential. It is removed when Entra accepts the
// credential.
type breaker struct {
	rejections int // in a row, including those of probes
	last       *Error
	probeAt    time.Time // when the next probe is allowed
	probing    bool      // a probe was allowed since the last rejection
}

func newBreakers() *breakers {
	lru, _ := simplelru.NewLRU[breakerKey, *breaker](breakerSize, nil) // fails only for sizes below 1
	return &breakers{rejected: lru}
}

// allow returns nil if a request may be sent, and the last rejection if the breaker is open.
// If probe is true, the request is a probe: its outcome must be reported with reject,
// accept or abandon.
func (b *breakers) allow(k breakerKey) (rejection *Error, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	br, ok := b.rejected.Get(k)
	if !ok || br.rejections < breakerThreshold {
		return nil, false
	}
	if now := time.Now(); !now.Before(br.probeAt) {
		br.probeAt, br.probing = now.Add(breakerProbeTimeout), true // in case this probe hangs
		return nil, true
	}
	return br.last, false
}

// abandon ends a probe without an outcome. The next request may probe at once.
func (b *breakers) abandon(k breakerKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if br, ok := b.rejected.Get(k); ok && br.probing {
		br.probeAt, br.probing = time.Now(), false
	}
}

// reject records that Entra rejected the credential.
func (b *breakers) reject(k breakerKey, rejection *Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	br, ok := b.rejected.Get(k)
	if !ok {
		br = &breaker{}
		b.rejected.Add(k, br)
	}
	br.last = rejection
	if br.rejections >= breakerThreshold && !br.probing {
		return // a request from before the breaker opened
	}
	br.rejections++
	br.probing = false
	br.probeAt = time.Now().Add(refresh.Policy{}.RetryIn(br.rejections-breakerThreshold, 0, 0, rand.Float64()))
}

// accept records that Entra accepted the credential.
func (b *breakers) accept(k breakerKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejected.Remove(k)
	b.unmatched = 0
}

// mayMatchLater records a response that no federated credential matches, and reports whether a new
// one may still spread.
func (b *breakers) mayMatchLater() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unmatched++
	return b.unmatched <= breakerThreshold
}
