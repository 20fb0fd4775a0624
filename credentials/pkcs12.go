package credentials

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"

	"software.sslmate.com/src/go-pkcs12"
)

const reexport = "export it anew: openssl pkcs12 -export -inkey KEY -in CERT -out NEW.pfx"

// pkcs12 reads a PFX file (RFC 7292), as Windows, Azure Key Vault and OpenSSL write it.
func (p parser) pkcs12(data []byte) (b bundle, err error) {
	if n := iterations(data, 0); n > maxIterations {
		return b, p.refuse("is a PKCS#12 (PFX) file with %d iterations, more than %d; %s", n, maxIterations, reexport)
	}
	password := ""
	if p.password != nil {
		if password, err = p.password(); err != nil {
			return b, err
		}
	}
	key, cert, chain, err := pkcs12.DecodeChain(data, password)
	var unsupported pkcs12.NotImplementedError
	switch {
	case err == nil:
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && p.password == nil:
		return b, p.refuse("is a PKCS#12 (PFX) file with a password; give it")
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return b, p.refuse("is a PKCS#12 (PFX) file, and the password for it is wrong")
	case errors.As(err, &unsupported):
		return b, p.refuse("is a PKCS#12 (PFX) file made in a way that is not understood (%s); %s", oneLine(unsupported.Error()), reexport)
	default: // the library's own text is about the bytes of the file
		return b, p.refuse("is a PKCS#12 (PFX) file without exactly one private key and at least one certificate, or it is damaged; %s", reexport)
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return b, p.refuse("has a private key of the kind %T, but Entra accepts RSA only for an app's certificate", key)
		}
		return b, p.addKey(&b, der) // says which kind it is
	}
	b.keys = append(b.keys, k)
	b.certs = append(append(b.certs, cert), chain...)
	return b, nil
}

// iterations returns the largest iteration count in a PKCS#12 file, before any of them
// is spent. All of them (RFC 7292, section 4 and appendix C; RFC 8018, appendix A) are an
// INTEGER behind the OCTET STRING of a salt, and nothing else in such a file is. One
// inside an encrypted part is not seen: who wrote it knew the password.
func iterations(der []byte, depth int) (most int64) {
	var before asn1.RawValue
	for len(der) > 0 && depth < 32 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return most
		}
		der = rest
		if isUniversal(v, asn1.TagInteger) && before.Tag == asn1.TagOctetString { // of whatever class: the library does not look
			var n int64
			if _, err := asn1.Unmarshal(v.FullBytes, &n); err != nil {
				n = 1 << 62 // not even an int64
			}
			most = max(most, n)
		}
		if v.IsCompound || bytes.HasPrefix(v.Bytes, []byte{0x30}) { // under whatever tag
			most = max(most, iterations(v.Bytes, depth+1))
		}
		before = v
	}
	return most
}

func isUniversal(v asn1.RawValue, tag int) bool {
	return v.Class == asn1.ClassUniversal && v.Tag == tag && len(v.FullBytes) > 0
}
