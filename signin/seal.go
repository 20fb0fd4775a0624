package signin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/entratoken/entra/internal/seal"
)

// Key is a secret key of a site. It is the type of cache.SealKey. Create it with [NewKey]; [New] rejects the zero Key.
// Its bytes are never printed or marshaled.
type Key = seal.Key

// NewKey returns a key of 32 random bytes, for example from "openssl rand 32". It copies secret. [New] rejects keys
// of another length.
//
// Store the bytes with the app's other secrets. An attacker who has them and can write to the [Store] can sign in as
// any user.
func NewKey(secret []byte) Key { return seal.NewKey(secret) }

// keyring seals the records and cookies of a site.
type keyring struct {
	*seal.Keyring
	site string // records of another site cannot be decrypted
}

// newKeyring returns a keyring. If keys is empty, it has a random key.
func newKeyring(site string, keys []Key) (*keyring, error) {
	ring, err := seal.NewKeyring("entra/signin 1\x00"+site, keys)
	if err != nil {
		return nil, fmt.Errorf("Config.Keys %w", err)
	}
	return &keyring{ring, site}, nil
}

// seal encrypts and authenticates v under name.
func (k *keyring) seal(name string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return k.Seal(name, plain), nil
}

// open decrypts a value that was sealed under name into v. It reports whether that succeeded.
func (k *keyring) open(name string, sealed []byte, v any) bool {
	plain, ok := k.Open(name, sealed)
	return ok && json.Unmarshal(plain, v) == nil
}

// fingerprint returns a hash of s for one purpose, 43 characters long.
func fingerprint(purpose, s string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
