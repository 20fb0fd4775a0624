// Package seal encrypts and authenticates records, so that they can be stored where others can read and write.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/entratoken/entra/internal/redact"
)

// KeySize is the size of a [Key] in bytes.
const KeySize = 32

// Key is a secret key of 32 random bytes. Create it with [NewKey]. The zero Key is invalid. Its bytes are never
// printed or marshaled.
type Key struct {
	secret redact.Secret[[]byte]
}

// NewKey returns a key. It copies secret.
func NewKey(secret []byte) Key { return Key{redact.NewSecret(slices.Clone(secret))} }

// Format prints a placeholder for every verb.
func (k Key) Format(s fmt.State, _ rune) { fmt.Fprint(s, "Key{...}") }

// Keyring encrypts with the first of its keys and decrypts with all of them.
//
// Every record has a name. Its encryption key is derived from one of the keys, the purpose of the keyring and the
// name. One record therefore cannot be passed off as another. A record is written far less than 2^32 times, so the
// random nonces of AES-GCM do not repeat (NIST SP 800-38D, section 8.3; RFC 5869, section 3.2).
type Keyring struct {
	purpose string
	keys    []derivedKey
}

// A derivedKey has the values that a keyring derives once from each key.
type derivedKey struct {
	extracted redact.Secret[[]byte] // from which the keys of records are derived
	names     redact.Secret[[]byte]
}

// NewKeyring returns a keyring for one purpose. Keyrings for different purposes cannot decrypt each other's records,
// even with the same keys. If keys is empty, the keyring has a random key. The error describes an invalid key, to
// follow the name of the setting that contains it.
func NewKeyring(purpose string, keys []Key) (*Keyring, error) {
	if len(keys) == 0 {
		random := make([]byte, KeySize)
		rand.Read(random) // never fails
		keys = []Key{NewKey(random)}
	}
	for _, k := range keys {
		secret := k.secret.Value()
		if len(secret) != KeySize {
			return nil, fmt.Errorf("has a key that is not %d bytes long", KeySize)
		}
		if slices.Max(secret) == slices.Min(secret) {
			return nil, fmt.Errorf("has a key that repeats one byte; generate it at random")
		}
	}
	r := &Keyring{purpose: purpose}
	for _, k := range keys {
		extracted, err := hkdf.Extract(sha256.New, k.secret.Value(), nil)
		if err != nil {
			return nil, err // only in a FIPS 140-3 mode that forbids the hash or the length
		}
		d := derivedKey{extracted: redact.NewSecret(extracted)}
		d.names = redact.NewSecret(r.derive(d, "names"))
		r.keys = append(r.keys, d)
	}
	return r, nil
}

// Seal encrypts and authenticates plain under name.
func (r *Keyring) Seal(name string, plain []byte) []byte {
	return r.aead(r.keys[0], name).Seal(nil, nil, plain, []byte(name))
}

// Open decrypts a value that was sealed under name. It reports whether that succeeded.
func (r *Keyring) Open(name string, sealed []byte) ([]byte, bool) {
	for _, key := range r.keys {
		if plain, err := r.aead(key, name).Open(nil, nil, sealed, []byte(name)); err == nil {
			return plain, true
		}
	}
	return nil, false
}

// Names returns a name of 43 characters for the record that s describes, for each key. The first is for new
// records. Without a key, names cannot be computed, so they do not reveal whom a record is about (RFC 2104).
func (r *Keyring) Names(s string) []string {
	names := make([]string, len(r.keys))
	for i, key := range r.keys {
		mac := hmac.New(sha256.New, key.names.Value())
		mac.Write([]byte(s))
		names[i] = base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	return names
}

func (r *Keyring) aead(key derivedKey, name string) cipher.AEAD {
	block, err := aes.NewCipher(r.derive(key, name))
	if err != nil {
		panic("seal: " + err.Error()) // only for unsupported lengths
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("seal: " + err.Error()) // only for ciphers other than AES
	}
	return aead
}

func (r *Keyring) derive(key derivedKey, name string) []byte {
	derived, err := hkdf.Expand(sha256.New, key.extracted.Value(), r.purpose+"\x00"+name, KeySize)
	if err != nil {
		panic("seal: " + err.Error()) // only for unsupported lengths
	}
	return derived
}
