package credentials

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"
)

// A parser reads certificates and private keys out of a file's content. Its errors name
// the file and say what to do; nothing of the content or the password is in them.
type parser struct {
	file     string                 // its name, for errors
	password func() (string, error) // nil: none was given; called only if something is encrypted
}

// byteOrderMark is what Windows puts before UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// A bundle is what was found in a file.
type bundle struct {
	certs []*x509.Certificate
	keys  []*rsa.PrivateKey
}

// parse reads PEM (RFC 7468) or DER, told apart by content: names of files say nothing.
func (p parser) parse(data []byte) (bundle, error) {
	data = bytes.TrimPrefix(data, byteOrderMark)
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return bundle{}, p.refuse("is empty")
	case len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80: // a SEQUENCE of over 127 bytes; no text begins so
		return p.der(data)
	}
	return p.pem(data)
}

func (p parser) refuse(format string, args ...any) error {
	return refuse("the file %q %s", p.file, fmt.Sprintf(format, args...))
}

func (p parser) pem(data []byte) (b bundle, err error) {
	begun, whole := bytes.Count(data, []byte("-----BEGIN ")), 0
	if begun == 0 {
		return b, p.refuse("holds neither PEM nor PKCS#12 (PFX); give a file with the certificate and its private key in one of these forms")
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		whole++
		if err := p.block(&b, block); err != nil {
			return b, err
		}
	}
	if whole < begun {
		return b, p.refuse("is cut off or damaged: %d of the %d PEM blocks in it are whole", whole, begun)
	}
	return b, nil
}

// block adds what is in one block. Blocks of other types are none of our business.
func (p parser) block(b *bundle, block *pem.Block) error {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return p.refuse("has a private key in OpenSSL's old encrypted form (Proc-Type), which protects it badly; %s", reencrypt)
	}
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return p.refuse("has a certificate that is damaged or breaks the rules for certificates")
		}
		b.certs = append(b.certs, cert)
		return nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return p.addKey(b, block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return p.addEncrypted(b, block.Bytes)
	case "OPENSSH PRIVATE KEY":
		return p.refuse("has a private key in OpenSSH's own form; write a copy of it as PEM: ssh-keygen -p -m PKCS8 -f COPY")
	}
	return nil
}

// der reads a file that is one DER element: PKCS#12, a certificate, or a private key.
func (p parser) der(data []byte) (b bundle, err error) {
	if data[1] == 0x80 {
		return b, p.refuse("is BER of indefinite length, which some tools write instead of DER; convert it: openssl pkcs12 -in OLD -out NEW.pem")
	}
	var outer, first asn1.RawValue
	rest, err := asn1.Unmarshal(data, &outer)
	if err != nil {
		return b, p.refuse("is cut off or damaged: it begins as DER and ends too early")
	}
	if len(rest) > 0 {
		return b, p.refuse("is damaged: there are %d bytes after the end of its DER", len(rest))
	}
	after, err := asn1.Unmarshal(outer.Bytes, &first)
	if err != nil {
		return b, p.refuse("is DER, but neither PKCS#12 (PFX) nor a certificate nor a private key")
	}
	switch isInteger := first.Class == asn1.ClassUniversal && first.Tag == asn1.TagInteger; {
	case isInteger && bytes.Equal(first.Bytes, []byte{3}): // the version of PFX (RFC 7292, section 4)
		return p.pkcs12(data)
	case isInteger: // the version of a private key
		return b, p.addKey(&b, data)
	case len(after) > 0 && after[0] == asn1.TagOctetString: // EncryptedPrivateKeyInfo (RFC 5958, section 3)
		return b, p.addEncrypted(&b, data)
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return b, p.refuse("is DER, but neither PKCS#12 (PFX) nor a certificate nor a private key")
	}
	b.certs = append(b.certs, cert)
	return b, nil
}

func (p parser) addEncrypted(b *bundle, der []byte) error {
	plain, err := p.decrypt(der)
	if err != nil {
		return err
	}
	return p.addKey(b, plain)
}

// maxKey bounds a private key: one of 16384 bits has less than 10 KB.
const maxKey = 16 << 10

// addKey reads a private key as PKCS#8 (RFC 5958) or PKCS#1 (RFC 8017, appendix A.1.2).
func (p parser) addKey(b *bundle, der []byte) error {
	if len(der) > maxKey {
		return p.refuse("has a private key of %d bytes, more than any that Entra accepts", len(der))
	}
	var key any
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
			if key, err = x509.ParseECPrivateKey(der); err != nil {
				return p.refuse("has a private key that is damaged or of an unknown kind; Entra accepts RSA only")
			}
		}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		b.keys = append(b.keys, key)
		return nil
	case *ecdsa.PrivateKey:
		return p.refuse("has an elliptic curve (EC) private key, but Entra accepts RSA only for an app's certificate; " +
			"make a new one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT")
	}
	return p.refuse("has a private key of the kind %T, but Entra accepts RSA only for an app's certificate", key)
}
