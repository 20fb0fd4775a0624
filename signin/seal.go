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

	"github.com/entratoken/entra/internal/redact"
)

// keySize is the size of an AES-256 key.
const keySize = 32

// Key is a secret key of a site. Create it with [NewKey]; [New] rejects the zero Key. Its bytes are never printed or
// marshaled.
type Key struct {
	secret redact.Secret[[]byte]
}

// NewKey returns a key of 32 random bytes, for example from "openssl rand 32". It copies secret. [New] rejects keys
// of another length.
//
// Store the bytes with the app's other secrets. An attacker who has them and can write to the [Store] can sign in as
// any user.
func NewKey(secret []byte) Key {
	return Key{redact.NewSecret(slices.Clone(secret))}
}

// Format prints a placeholder for every verb.
func (k Key) Format(s fmt.State, _ rune) { fmt.Fprint(s, "signin.Key{...}") }

// keyring encrypts with the first of its keys and decrypts with all of them.
//
// Every record has a name. Its encryption key is derived from the site's key and the name. One record therefore
// cannot be passed off as another. The names are used once or for one session, so no derived key encrypts so much
// that the random nonces of AES-GCM could repeat (NIST SP 800-38D, section 8.3; RFC 5869, section 3.2).
type keyring struct {
	site string // records of another site cannot be decrypted
	keys []Key
}

// newKeyring returns a keyring. If keys is empty, it has a random key.
func newKeyring(site string, keys []Key) (*keyring, error) {
	if len(keys) == 0 {
		random := make([]byte, keySize)
		rand.Read(random) // never fails
		keys = []Key{NewKey(random)}
	}
	for _, k := range keys {
		secret := k.secret.Value()
		if len(secret) != keySize {
			return nil, fmt.Errorf("Config.Keys has a key that is not %d bytes long", keySize)
		}
		if slices.Max(secret) == slices.Min(secret) {
			return nil, fmt.Errorf("Config.Keys has a key that repeats one byte; generate it at random")
		}
	}
	return &keyring{site, slices.Clone(keys)}, nil
}

func (k *keyring) aead(key Key, name string) cipher.AEAD {
	derived, err := hkdf.Key(sha256.New, key.secret.Value(), nil, "entra/signin 1\x00"+k.site+"\x00"+name, keySize)
	if err != nil {
		panic("signin: " + err.Error()) // only for unsupported lengths
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic("signin: " + err.Error()) // only for unsupported lengths
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("signin: " + err.Error()) // only for ciphers other than AES
	}
	return aead
}

// seal encrypts and authenticates v under name.
func (k *keyring) seal(name string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return k.aead(k.keys[0], name).Seal(nil, nil, plain, []byte(name)), nil
}

// open decrypts a value that was sealed under name into v. It reports whether that succeeded.
func (k *keyring) open(name string, sealed []byte, v any) bool {
	for _, key := range k.keys {
		if plain, err := k.aead(key, name).Open(nil, nil, sealed, []byte(name)); err == nil {
			return json.Unmarshal(plain, v) == nil
		}
	}
	return false
}

// fingerprint returns a hash of s for one purpose, 43 characters long.
func fingerprint(purpose, s string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
