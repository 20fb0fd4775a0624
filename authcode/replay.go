package authcode

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxUsed bounds usedLogins. It allows more than a hundred sign-ins per second for 15
// minutes. Beyond that the oldest entry is dropped, and only Entra rejects the reuse of its
// code.
const maxUsed = 100_000

// usedLogins stores which logins have been used, until they expire. It works within one
// process. With several processes, and after a restart, an app that does not delete used
// logins relies on Entra to reject the second use of a code.
type usedLogins struct {
	mu     sync.Mutex // guards states
	states *simplelru.LRU[[sha256.Size]byte, time.Time]
}

func newUsedLogins() *usedLogins {
	states, _ := simplelru.NewLRU[[sha256.Size]byte, time.Time](maxUsed, nil) // fails only for sizes below 1
	return &usedLogins{states: states}
}

// use marks the login with the given state as used until expires. It reports whether this
// was the first use.
func (u *usedLogins) use(state string, expires time.Time) bool {
	key := sha256.Sum256([]byte(state))
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, end, ok := u.states.GetOldest(); ok && !time.Now().Before(end); _, end, ok = u.states.GetOldest() {
		u.states.RemoveOldest()
	}
	if u.states.Contains(key) {
		return false
	}
	u.states.Add(key, expires)
	return true
}
