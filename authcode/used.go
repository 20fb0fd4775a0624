package authcode

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxUsed bounds the logins that are remembered, which is more than a hundred sign-ins a
// second for 15 minutes. Beyond it the oldest is forgotten; its code is still good only
// once, because Entra sees to that, too.
const maxUsed = 100_000

// usedLogins remembers which logins were answered until they expire. That holds within
// one process: with several instances, and after a restart, a login that the app has not
// deleted is answered a second time only if Entra takes its code twice, which it does not.
type usedLogins struct {
	mu     sync.Mutex // guards states
	states *simplelru.LRU[[sha256.Size]byte, time.Time]
}

func newUsedLogins() *usedLogins {
	states, _ := simplelru.NewLRU[[sha256.Size]byte, time.Time](maxUsed, nil) // fails only for sizes below 1
	return &usedLogins{states: states}
}

// use reports whether it is the first use of the state of a login that ends at expires.
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
