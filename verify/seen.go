package verify

import (
	"crypto/sha256"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// seen remembers access tokens that were verified, by their SHA-256, so that
// the next request with one costs a hash and a look. Only good tokens get in:
// however many bad ones arrive, they push none out. The least recently used go
// first when it is full, which is all the bound there is: tokens of one busy
// caller count as any others.
//
// golang-lru carries it because the module's token cache stands on the same
// library, and a bounded map is all that is needed.
type seen struct {
	tokens *lru.Cache[[sha256.Size]byte, seenToken] // nil: remembers nothing
}

type seenToken struct {
	claims *Claims // never handed out: callers get copies
	key    *signingKey
	until  time.Time // exp and the leeway
}

func newSeen(size int) *seen {
	if size < 0 {
		return &seen{}
	}
	if size == 0 {
		size = defaultCacheSize
	}
	tokens, _ := lru.New[[sha256.Size]byte, seenToken](size) // fails only for sizes below 1
	return &seen{tokens}
}

// get returns a copy of the claims of a token that is still good: it has not
// expired, and its key is still published.
func (s *seen) get(hash [sha256.Size]byte, now time.Time) *Claims {
	if s.tokens == nil {
		return nil
	}
	t, ok := s.tokens.Get(hash)
	if !ok {
		return nil
	}
	if !now.Before(t.until) || t.key.retired.Load() {
		s.tokens.Remove(hash)
		return nil
	}
	c := *t.claims
	return &c
}

func (s *seen) add(hash [sha256.Size]byte, c *Claims, key *signingKey, until time.Time) {
	if s.tokens != nil {
		s.tokens.Add(hash, seenToken{c, key, until})
	}
}
