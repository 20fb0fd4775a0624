package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
)

// keySize is that of AES-256.
const keySize = 32

// Key is a secret of the site, made with [NewKey]. Nothing prints what is in it.
type Key struct {
	secret func() []byte // a func, because fmt prints nothing of one, wherever it stands
}

// NewKey returns a key of 32 random bytes, such as those of "openssl rand 32". Keep them
// where the app's other secrets are: whoever has them, and can write to the [Store], can
// sign in as anybody. [New] refuses a key of another length.
func NewKey(secret []byte) Key {
	secret = slices.Clone(secret)
	return Key{func() []byte { return secret }}
}

// Format prints that there is a key, whatever the verb.
func (k Key) Format(s fmt.State, _ rune) { fmt.Fprint(s, "signin.Key{...}") }

// keyring seals with the first of its keys and opens with all.
//
// Each thing that is sealed has a name, which is used once or for one session, and a key
// of its own, derived from the site's key and the name. So nothing can be taken for
// something else, and no key seals so much that the random nonces of AES-GCM could
// repeat (NIST SP 800-38D, section 8.3; RFC 5869, section 3.2).
type keyring struct {
	site string // what is sealed for another site cannot be opened
	keys []Key
}

// newKeyring returns the keys, or a random one if there are none.
func newKeyring(site string, keys []Key) (*keyring, error) {
	if len(keys) == 0 {
		random := make([]byte, keySize)
		rand.Read(random) // never fails: crypto/rand ends the program instead
		keys = []Key{NewKey(random)}
	}
	for _, k := range keys {
		if k.secret == nil || len(k.secret()) != keySize {
			return nil, fmt.Errorf("Config.Keys has a key that is not %d bytes long", keySize)
		}
		if secret := k.secret(); slices.Max(secret) == slices.Min(secret) {
			return nil, fmt.Errorf("Config.Keys has a key that is one byte over and over; make it at random")
		}
	}
	return &keyring{site, slices.Clone(keys)}, nil
}

func (k *keyring) aead(key Key, name string) cipher.AEAD {
	derived, err := hkdf.Key(sha256.New, key.secret(), nil, "entra/signin 1\x00"+k.site+"\x00"+name, keySize)
	if err != nil {
		panic("signin: " + err.Error()) // only for lengths that HKDF does not have
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic("signin: " + err.Error()) // only for lengths that AES does not have
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("signin: " + err.Error()) // only for ciphers that are not AES
	}
	return aead
}

// seal encrypts and authenticates v under its name.
func (k *keyring) seal(name string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return k.aead(k.keys[0], name).Seal(nil, nil, plain, []byte(name)), nil
}

// open reads into v what was sealed under that name, and reports whether it was.
func (k *keyring) open(name string, sealed []byte, v any) bool {
	for _, key := range k.keys {
		if plain, err := k.aead(key, name).Open(nil, nil, sealed, []byte(name)); err == nil {
			return json.Unmarshal(plain, v) == nil
		}
	}
	return false
}

// fingerprint is a short name for s that says nothing about it.
func fingerprint(purpose, s string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
