package cache

import (
	"time"

	"github.com/entratoken/entra/internal/seal"
)

// Token is what tests see of a cached token.
type Token = token

// NewHandle returns a bound handle.
func NewHandle(c *Cache, k Key, scopes ...string) *Handle {
	h := new(Handle)
	h.Bind(c, k, scopes, nil)
	return h
}

// PurgeFunc drops the sessions of subject whose keys match.
func (c *Cache) PurgeFunc(subject string, match func(Key) bool) int {
	return c.purge(subject, func(k sessionKey) bool { return match(k.key()) })
}

// Current returns the cached token, usable or not, or nil.
func (h *Handle) Current() *Token {
	if e := h.find(); e != nil {
		return e.current.Load()
	}
	return nil
}

func (h *Handle) Key() Key { return h.key.key() }

func (t *token) Text() string           { return t.oauth.AccessToken }
func (t *token) Claims() string         { return t.claims }
func (t *token) ObtainedAt() time.Time  { return t.obtainedAt }
func (t *token) RefreshAt() time.Time   { return t.obtainedAt.Add(t.refreshAfter) }
func (t *token) UsableUntil() time.Time { return t.usableUntil() }

// MarksNames returns the names of the records with the marks that can end the session of k.
func MarksNames(key SealKey, k Key) []string {
	keys, err := seal.NewKeyring(purpose, []SealKey{key})
	if err != nil {
		panic(err)
	}
	return newSessionNames(keys, k).marks
}
