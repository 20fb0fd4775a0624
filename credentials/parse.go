package credentials

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/redact"
)

// parser reads the certificates and private keys in a file. Its errors name the file and a
// fix. They never repeat the contents or the password.
type parser struct {
	file     string                 // the path, for errors; empty for data that is not in a file
	password func() (string, error) // called if the file is encrypted; nil without a password
}

// byteOrderMark starts UTF-8 files on Windows.
var byteOrderMark = []byte("\xef\xbb\xbf")

// bundle is the contents of one or more files.
type bundle struct {
	certs   []*x509.Certificate
	keys    []*rsa.PrivateKey
	keyErr  error    // the first of a private key that cannot be used
	skipped []string // describes the blocks that cannot be used, up to maxSkipped
}

// maxSkipped bounds the descriptions of skipped blocks.
const maxSkipped = 10

// skip records that block number n of a file cannot be used. The others may suffice.
func (b *bundle) skip(n int, kind, file, reason string) {
	if len(b.skipped) < maxSkipped {
		b.skipped = append(b.skipped,
			fmt.Sprintf("block %d (%s) of %s was skipped: %s", n, redact.Text(kind, 30), quoted(file), reason))
	}
}

// note returns a description of the first skipped block for the end of an error text.
func (b *bundle) note() string {
	if len(b.skipped) == 0 {
		return ""
	}
	return "; " + b.skipped[0]
}

// add adds the contents of another file. A key that is in both files is added once.
func (b *bundle) add(c bundle) {
	b.certs = append(b.certs, c.certs...)
	for _, k := range c.keys {
		if !slices.ContainsFunc(b.keys, func(o *rsa.PrivateKey) bool { return k.Equal(o) }) {
			b.keys = append(b.keys, k)
		}
	}
	if b.keyErr == nil {
		b.keyErr = c.keyErr
	}
	b.skipped = append(b.skipped, c.skipped...)
}

// parse reads PEM (RFC 7468) or DER. It detects the format from the contents.
func (p parser) parse(data []byte) (bundle, error) {
	data = bytes.TrimPrefix(data, byteOrderMark)
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return bundle{}, p.invalid("is empty")
	case len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80: // a SEQUENCE of over 127 bytes, which is not text
		return p.der(data)
	}
	return p.pem(data)
}

// invalid returns an error about the file.
func (p parser) invalid(format string, args ...any) error {
	return invalid("%s%s", p.subject(), fmt.Sprintf(format, args...))
}

func (p parser) subject() string { return fileName(p.file) + " " }

func (p parser) pem(data []byte) (b bundle, err error) {
	total, complete := bytes.Count(data, []byte("-----BEGIN ")), 0
	if total == 0 {
		return b, p.invalid("contains neither PEM nor PKCS#12 (PFX); " +
			"provide the certificate and its private key in one of these formats")
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		complete++
		p.block(&b, complete, block)
	}
	if complete < total {
		return b, p.invalid("is truncated or corrupt: only %d of %d PEM blocks are complete", complete, total)
	}
	return b, nil
}

// block adds the contents of block number n to b. Blocks of other types are ignored. A block that cannot be parsed is
// skipped, because it may be unrelated to the app. For example, a file with an old certificate authority, whose serial
// number is negative, is still usable.
func (p parser) block(b *bundle, n int, block *pem.Block) {
	var err error
	switch {
	case strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		err = p.invalid("has a private key in OpenSSL's legacy encryption (Proc-Type), which is weak; %s", reencrypt)
	case block.Type == "CERTIFICATE", block.Type == "X509 CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			b.skip(n, block.Type, p.file, parseError(err))
			return
		}
		b.certs = append(b.certs, cert)
	case block.Type == "PRIVATE KEY", block.Type == "RSA PRIVATE KEY", block.Type == "EC PRIVATE KEY":
		err = p.addKey(b, block.Bytes)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		err = p.addEncrypted(b, block.Bytes)
	case block.Type == "OPENSSH PRIVATE KEY":
		err = p.invalid("has a private key in OpenSSH format; convert a copy to PEM: ssh-keygen -p -m PKCS8 -f COPY")
	}
	if err != nil {
		if b.keyErr == nil {
			b.keyErr = err
		}
		b.skip(n, block.Type, p.file, "it "+strings.TrimPrefix(text(err), p.subject()))
	}
}

// parseError returns the part of x509's error that may be repeated.
func parseError(err error) string { return redact.Text(err.Error(), 100) }

// text returns the text of an error that is decided here.
func text(err error) string {
	if e, ok := err.(*entra.Error); ok {
		return e.Description
	}
	return redacted(err.Error())
}

// der reads a file that is one DER element: PKCS#12, a certificate, or a private key.
func (p parser) der(data []byte) (b bundle, err error) {
	if data[1] == 0x80 {
		return b, p.invalid("is BER with indefinite lengths instead of DER; convert it: openssl pkcs12 -in OLD -out NEW.pem")
	}
	var outer, first asn1.RawValue
	rest, err := asn1.Unmarshal(data, &outer)
	if err != nil {
		return b, p.invalid("is truncated or corrupt: its DER ends too early")
	}
	if len(rest) > 0 {
		return b, p.invalid("is corrupt: %d bytes follow the end of its DER", len(rest))
	}
	after, err := asn1.Unmarshal(outer.Bytes, &first)
	if err != nil {
		return b, p.invalid("is DER, but not PKCS#12 (PFX), a certificate or a private key")
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
		return b, p.invalid("is DER, but not PKCS#12 (PFX), a certificate or a private key (%s)", parseError(err))
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

// maxKey bounds the size of a private key. A key of 16384 bits has less than 10 KB.
const maxKey = 16 << 10

// addKey reads a private key as PKCS#8 (RFC 5958) or PKCS#1 (RFC 8017, appendix A.1.2).
func (p parser) addKey(b *bundle, der []byte) error {
	if len(der) > maxKey {
		return p.invalid("has a private key of %d bytes; the limit is %d", len(der), maxKey)
	}
	var key any
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
			if key, err = x509.ParseECPrivateKey(der); err != nil {
				return p.invalid("has a private key that is corrupt or of an unknown type; Entra only accepts RSA keys")
			}
		}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		b.keys = append(b.keys, key)
		return nil
	case *ecdsa.PrivateKey:
		return p.invalid("has an elliptic curve (EC) private key; Entra only accepts RSA keys; " +
			"create one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT")
	}
	return p.invalid("has a private key of type %T; Entra only accepts RSA keys", key)
}
