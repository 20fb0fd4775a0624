package credentials

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"hash"
	"slices"
)

// maxIterations bounds the derivation of a key from a password to about two seconds.
// OpenSSL's default is 2048, and one million is a cautious choice today.
const maxIterations = 5_000_000

// The ASN.1 types of PBES2 and PBKDF2 (RFC 8018, appendices A.4 and A.2).
type (
	encryptedPrivateKeyInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2 struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	kdf2  struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	pseudorandomFunctions = map[string]func() hash.Hash{ // by object identifier; "" is the default
		"":                    sha1.New,
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.8":  sha256.New224,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}

	ciphers = map[string]struct {
		keySize int
		block   func(key []byte) (cipher.Block, error)
	}{
		"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
		"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
		"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	}
)

const reencrypt = "encrypt it again: openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW"

// decrypt decrypts a PKCS#8 private key (RFC 5958, section 3). It supports PBES2 with
// PBKDF2 and AES or triple DES in CBC mode, as OpenSSL and others write it.
func (p parser) decrypt(der []byte) ([]byte, error) {
	var (
		info   encryptedPrivateKeyInfo
		scheme pbes2
		kdf    kdf2
		iv     []byte
	)
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, p.invalid("has an encrypted private key that is corrupt")
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, p.invalid("has a private key encrypted with %s, which is not PBES2; %s",
			info.Algorithm.Algorithm, reencrypt)
	}
	if !unmarshal(info.Algorithm.Parameters, &scheme) {
		return nil, p.invalid("has an encrypted private key that is corrupt")
	}
	if !scheme.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, p.invalid("has a private key encrypted with the key derivation %s, which is not PBKDF2; %s",
			scheme.KDF.Algorithm, reencrypt)
	}
	c, ok := ciphers[scheme.Cipher.Algorithm.String()]
	if !ok {
		return nil, p.invalid("has a private key encrypted with %s, which is neither AES nor triple DES in CBC mode; %s",
			scheme.Cipher.Algorithm, reencrypt)
	}
	if !unmarshal(scheme.KDF.Parameters, &kdf) || !unmarshal(scheme.Cipher.Parameters, &iv) {
		return nil, p.invalid("has an encrypted private key that is corrupt")
	}
	prf, ok := pseudorandomFunctions[kdf.PRF.Algorithm.String()]
	if !ok {
		return nil, p.invalid("has a private key encrypted with the unknown pseudorandom function %s; %s",
			kdf.PRF.Algorithm, reencrypt)
	}
	if kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return nil, p.invalid("has a private key encrypted with %d iterations; 1 to %d are allowed",
			kdf.Iterations, maxIterations)
	}
	if p.password == nil {
		return nil, p.invalid("has an encrypted private key and needs its password")
	}
	password, err := p.password()
	if err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(prf, password, kdf.Salt, kdf.Iterations, c.keySize)
	if err != nil {
		return nil, p.invalid("has a private key whose encryption is not allowed in this program: %s", redacted(err.Error()))
	}
	block, err := c.block(key)
	if err != nil || len(iv) != block.BlockSize() || len(info.Data) == 0 || len(info.Data)%block.BlockSize() != 0 {
		return nil, p.invalid("has an encrypted private key that is corrupt")
	}
	plain := slices.Clone(info.Data)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, plain)
	// Only the padding and the structure of the plain text reveal a wrong password.
	if plain, ok = unpad(plain, block.BlockSize()); !ok || !isSequence(plain) {
		return nil, p.invalid("has an encrypted private key and the password is wrong")
	}
	return plain, nil
}

func unmarshal(raw asn1.RawValue, v any) bool {
	rest, err := asn1.Unmarshal(raw.FullBytes, v)
	return err == nil && len(rest) == 0
}

// unpad removes the padding (RFC 8018, section 6.1.1).
func unpad(b []byte, size int) ([]byte, bool) {
	n := int(b[len(b)-1])
	if n < 1 || n > size || !bytes.Equal(b[len(b)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, false
	}
	return b[:len(b)-n], true
}

// isSequence reports whether b is a SEQUENCE that starts with an INTEGER, as private keys
// do.
func isSequence(b []byte) bool {
	var s, version asn1.RawValue
	rest, err := asn1.Unmarshal(b, &s)
	if err != nil || len(rest) > 0 || s.Tag != asn1.TagSequence {
		return false
	}
	_, err = asn1.Unmarshal(s.Bytes, &version)
	return err == nil && version.Tag == asn1.TagInteger
}
