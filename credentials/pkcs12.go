package credentials

import (
	"bytes"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

const reexport = "export it again: openssl pkcs12 -export -inkey KEY -in CERT -out NEW.pfx"

// pkcs12 reads a PFX file (RFC 7292), the format of Windows, Azure Key Vault and OpenSSL.
func (p parser) pkcs12(data []byte) (b bundle, err error) {
	if n := iterations(data, 0); n > maxIterations {
		return b, p.invalid("is a PKCS#12 (PFX) file with %d iterations; the limit is %d; %s", n, maxIterations, reexport)
	}
	password := ""
	if p.password != nil {
		if password, err = p.password(); err != nil {
			return b, err
		}
	}
	key, cert, chain, err := decodeChain(data, password)
	var unsupported pkcs12.NotImplementedError
	switch {
	case err == nil:
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && p.password == nil:
		return b, p.invalid("is a PKCS#12 (PFX) file that needs a password")
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return b, p.invalid("is a PKCS#12 (PFX) file and the password is wrong")
	case errors.Is(err, errFIPS):
		return b, p.invalid("is a PKCS#12 (PFX) file with encryption that this program prohibits (GODEBUG=fips140=only); " +
			"convert it: openssl pkcs12 -in OLD -noenc -out NEW.pem")
	case errors.As(err, &unsupported):
		return b, p.invalid("is a PKCS#12 (PFX) file with an unsupported algorithm (%s); %s",
			redacted(unsupported.Error()), reexport)
	case strings.HasPrefix(err.Error(), "x509: "):
		// One of the certificates cannot be parsed. As blocks, the others can be used without it.
		blocks, blockErr := pkcs12.ToPEM(data, password) //nolint:staticcheck // addKey reads its PKCS#1 keys
		if blockErr == nil {
			for i, block := range blocks {
				p.block(&b, i+1, block)
			}
			return b, nil
		}
		return b, p.invalid("is a PKCS#12 (PFX) file with a certificate that is invalid (%s)", parseError(err))
	default: // the library's error describes the bytes of the file
		return b, p.invalid("is a PKCS#12 (PFX) file that is corrupt or does not have one private key with its "+
			"certificate; %s",
			reexport)
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return b, p.invalid("has a private key of type %T; Entra only accepts RSA keys", key)
		}
		return b, p.addKey(&b, der) // names the type in its error
	}
	b.keys = append(b.keys, k)
	b.certs = append(append(b.certs, cert), chain...)
	return b, nil
}

var errFIPS = errors.New("not allowed in FIPS 140-only mode")

// decodeChain decodes a file. In FIPS 140-only mode, Go's implementations of old algorithms panic.
func decodeChain(data []byte, password string) (key any, cert *x509.Certificate, chain []*x509.Certificate, err error) {
	defer func() {
		if fips140.Enforced() && recover() != nil {
			err = errFIPS
		}
	}()
	return pkcs12.DecodeChain(data, password)
}

// iterations returns the largest iteration count in a PKCS#12 file, before a password is
// tried. In such a file each iteration count, and nothing else, is an INTEGER after the
// OCTET STRING of a salt (RFC 7292, section 4 and appendix C; RFC 8018, appendix A). Counts
// in encrypted parts are not found. They are harmless, because only an owner of the password
// can write them.
func iterations(der []byte, depth int) (most int64) {
	var before asn1.RawValue
	for len(der) > 0 && depth < 32 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return most
		}
		der = rest
		// The library does not check the class of the OCTET STRING.
		isInteger := v.Class == asn1.ClassUniversal && v.Tag == asn1.TagInteger
		if isInteger && before.Tag == asn1.TagOctetString {
			var n int64
			if _, err := asn1.Unmarshal(v.FullBytes, &n); err != nil {
				n = 1 << 62 // larger than an int64
			}
			most = max(most, n)
		}
		if v.IsCompound || bytes.HasPrefix(v.Bytes, []byte{0x30}) { // under any tag
			most = max(most, iterations(v.Bytes, depth+1))
		}
		before = v
	}
	return most
}
