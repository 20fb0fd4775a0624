package verify

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"sync/atomic"
)

// signingKey is a public key of the authority.
type signingKey struct {
	id        string
	algorithm string // the only one it is for; "" if it does not say
	issuer    string // the only one it signs for, perhaps with {tenantid}; "" if it does not say
	public    *rsa.PublicKey
	withdrawn atomic.Bool // it was published and no longer is
}

// same tells whether two keys are one.
func (k *signingKey) same(other *signingKey) bool {
	return k.id == other.id && k.algorithm == other.algorithm && k.issuer == other.issuer && k.public.Equal(other.public)
}

// Bounds on a key document. Entra publishes fewer than twenty keys, all of 2048
// bits; verifying with a huge one would be slow, with a short one unsafe.
const (
	maxKeys    = 200
	minKeyBits = 2048
	maxKeyBits = 8192
)

var errNoKeys = errors.New("the document has no usable signing key")

// parseKeys reads a JWK set (RFC 7517) with Microsoft's "issuer" member. Keys
// that are not RSA signing keys, or whose members have the wrong types, are left
// out, as RFC 7517 section 5 says; a kid that stands for two different keys is
// left out because nobody can say which is meant. A document without any usable
// key is an error.
//
// No library of ours reads JWK sets: golang-jwt has none, and the others bring
// a tree of modules for these few lines.
func parseKeys(document []byte) (map[string]*signingKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(document, &set) != nil {
		return nil, errors.New("the document is not a JSON object with an array of keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("the document has too many keys")
	}
	keys := make(map[string]*signingKey, len(set.Keys))
	var ambiguous []string
	for _, text := range set.Keys {
		k := parseKey(text)
		if k == nil {
			continue
		}
		if other := keys[k.id]; other != nil && !other.same(k) {
			ambiguous = append(ambiguous, k.id)
		}
		keys[k.id] = k
	}
	for _, id := range ambiguous {
		delete(keys, id)
	}
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	return keys, nil
}

// parseKey reads one JWK (RFC 7517 section 4, RFC 7518 section 6.3.1). It is
// nil if that is not a key that Entra signs tokens with.
func parseKey(text []byte) *signingKey {
	var k struct {
		Type       string   `json:"kty"`
		Use        string   `json:"use"`
		Operations []string `json:"key_ops"`
		Algorithm  string   `json:"alg"`
		ID         string   `json:"kid"`
		Modulus    string   `json:"n"`
		Exponent   string   `json:"e"`
		Issuer     string   `json:"issuer"`
	}
	if json.Unmarshal(text, &k) != nil || k.Type != "RSA" || k.ID == "" {
		return nil
	}
	if k.Use != "" && k.Use != "sig" || k.Operations != nil && !slices.Contains(k.Operations, "verify") {
		return nil
	}
	if k.Algorithm != "" && methods[k.Algorithm] == nil {
		return nil
	}
	n, err := encoding.DecodeString(k.Modulus)
	if err != nil {
		return nil
	}
	e, err := encoding.DecodeString(k.Exponent)
	if err != nil || len(e) == 0 || len(e) > 4 {
		return nil
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	for _, b := range e {
		public.E = public.E<<8 | int(b)
	}
	bits := public.N.BitLen()
	if bits < minKeyBits || bits > maxKeyBits || public.N.Bit(0) == 0 {
		return nil
	}
	if public.E < 3 || public.E > 1<<31-1 || public.E%2 == 0 {
		return nil
	}
	return &signingKey{id: k.ID, algorithm: k.Algorithm, issuer: k.Issuer, public: public}
}
