package credentials

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/entratoken/entra"
)

// CertificateFileOptions configures [CertificateFile].
type CertificateFileOptions struct {
	// KeyPath is the file with the private key, PEM or DER, if it is not in the same file as
	// the certificate. A TLS secret of Kubernetes has tls.key next to tls.crt.
	KeyPath string
	// Password returns the password of the private key or of the PKCS#12 file. It is called
	// each time an encrypted file is read, so the password may change with the file. It must
	// return when its context ends. In CertificateFile itself the context never ends. If nil,
	// encrypted files are rejected.
	Password func(context.Context) (string, error)
	// SendChain sends the certificate and its chain with each request (x5c), for apps that
	// trust the subject name and issuer of certificates. Such apps accept a renewed
	// certificate that is not registered.
	SendChain bool
	// RS256 signs with RS256 instead of PS256, for old authorities. It is an error if
	// GODEBUG=fips140=only prohibits SHA-1.
	RS256 bool
	// WarnBefore is the remaining lifetime at which Logger starts to warn once a day that the
	// certificate expires. Defaults to 30 days. If negative, no warning is logged.
	WarnBefore time.Duration
	// Logger receives a record when a new certificate is loaded (level Info). It receives one at
	// level Warn when the changed files cannot be used, when a part of them is skipped, and
	// when the certificate expires soon. If nil, nothing is logged.
	Logger *slog.Logger
}

// CertificateFile returns a certificate credential that is read from files. The files are
// read again when they change. If opts is nil, the defaults are used.
//
// The file at path contains the certificate, PEM or PKCS#12 (PFX). It may contain the
// private key and the chain of issuers, too. The format is detected from the contents, not
// from the name. A relative path is resolved each time the file is read.
//
// The key must be RSA with at least 2048 bits. Files must not exceed 1 MiB. The certificate
// must match the key. If several match, CertificateFile uses the certificate that expires
// last. The certificates of its issuers, in any order, become the chain. Other certificates
// are ignored. A block of a PEM file, or a certificate of a PKCS#12 file, that cannot be parsed
// is skipped, and Logger logs the reason.
//
// The error is an [*entra.Error] with the code "invalid_client". It names the file and the
// problem. An expired certificate is an error, too. A certificate that expires while it is
// in use is still sent, because only Entra's clock counts.
func CertificateFile(path string, opts *CertificateFileOptions) (entra.Credential, error) {
	o := orZero(opts)
	if o.RS256 && fips140.Enforced() {
		return entra.Credential{}, invalid("CertificateFileOptions.RS256 needs the certificate's SHA-1 thumbprint, " +
			"but this program prohibits SHA-1 (GODEBUG=fips140=only); use PS256")
	}
	f := &file{kind: "certificate", paths: []string{path}, logger: o.Logger, warnBefore: o.WarnBefore}
	if o.KeyPath != "" {
		f.paths = append(f.paths, o.KeyPath)
	}
	if f.warnBefore == 0 {
		f.warnBefore = 30 * 24 * time.Hour
	}
	f.parse = func(ctx context.Context, contents [][]byte) (version, error) {
		var password func() (string, error)
		if o.Password != nil {
			password = func() (string, error) { return filePassword(ctx, o.Password, path) }
		}
		pair, err := readCertificate(f.paths, contents, password)
		if err != nil {
			return version{}, err
		}
		cred := entra.Certificate(pair.chain, pair.key, &entra.CertificateOptions{SendChain: o.SendChain, RS256: o.RS256})
		v := version{credential: cred, info: cred.Info(), notBefore: pair.chain[0].NotBefore, skipped: pair.skipped}
		if v.info.Thumbprint != "" {
			v.attrs = append(v.attrs, slog.String("thumbprint", v.info.Thumbprint))
		}
		v.attrs = append(v.attrs, slog.Time("not_after", v.info.NotAfter))
		return v, nil
	}
	return f.open()
}

func filePassword(ctx context.Context, get func(context.Context) (string, error), path string) (string, error) {
	password, err := get(ctx)
	if err != nil {
		e := invalid("cannot get the password of the certificate file %q: %s", path, redacted(err.Error()))
		e.Err = err
		return "", e
	}
	return password, nil
}

// A keyPair is a private key with its certificate, which is the first of the chain.
type keyPair struct {
	chain   []*x509.Certificate
	key     *rsa.PrivateKey
	skipped []string // blocks of the files that cannot be used
}

// ParseCertificate returns the certificate and the private key in data, for [entra.Certificate]. It is for a
// certificate that is not in a file, such as one from a vault:
//
//	certs, key, err := credentials.ParseCertificate(data, "")
//	credential := entra.Certificate(certs, key, nil)
//
// data is PEM or PKCS#12 (PFX), of which the certificate is selected as in [CertificateFile]. The certificate is the
// first of certs, and those of its issuers follow. password decrypts the private key. It is empty if the key is not
// encrypted.
//
// The error is an [*entra.Error] with the code "invalid_client". An expired certificate is an error, too.
func ParseCertificate(data []byte, password string) (certs []*x509.Certificate, key *rsa.PrivateKey, err error) {
	var getPassword func() (string, error)
	if password != "" {
		getPassword = func() (string, error) { return password, nil }
	}
	pair, err := readCertificate([]string{""}, [][]byte{data}, getPassword)
	return pair.chain, pair.key, err
}

// fileName returns the file at path in the words of an error. Without a path it is the argument of ParseCertificate.
func fileName(path string) string {
	if path == "" {
		return quoted(path)
	}
	return "the file " + quoted(path)
}

func quoted(path string) string {
	if path == "" {
		return "the data"
	}
	return strconv.Quote(path)
}

// readCertificate returns the private key in the files and its certificate, followed by the
// chain. If password is nil, encrypted files are rejected.
func readCertificate(paths []string, contents [][]byte, password func() (string, error)) (keyPair, error) {
	var all bundle
	for i, path := range paths {
		b, err := parser{path, password}.parse(contents[i])
		if err != nil {
			return keyPair{}, err
		}
		all.add(b)
	}
	certFile, keyFile := paths[0], paths[len(paths)-1]
	var err error
	switch {
	case len(all.keys) == 0 && all.keyErr != nil:
		err = all.keyErr
	case len(all.certs) == 0:
		err = invalid("%s has no certificate; add the certificate of the app registration%s", fileName(certFile), all.note())
	case len(all.keys) == 0 && certFile == "":
		err = invalid("%s has no private key; add the certificate's", fileName(certFile))
	case len(all.keys) == 0 && len(paths) == 1:
		err = invalid("%s has no private key; add the certificate's or configure the key's file", fileName(certFile))
	case len(all.keys) == 0:
		err = invalid("%s has no private key; it must contain the certificate's", fileName(keyFile))
	case len(all.keys) > 1:
		err = invalid("%s has %d private keys; keep only the certificate's", fileName(keyFile), len(all.keys))
	}
	if err != nil {
		return keyPair{}, err
	}
	key := all.keys[0]
	if bits := key.N.BitLen(); bits < minKeyBits {
		return keyPair{}, invalid("the private key in %s has %d bits; it needs at least %d",
			quoted(keyFile), bits, minKeyBits)
	}
	leaf := leafFor(all.certs, key)
	if leaf == nil {
		return keyPair{}, invalid("the private key in %s does not match any certificate in %s%s",
			quoted(keyFile), quoted(certFile), all.note())
	}
	if time.Now().After(leaf.NotAfter) {
		return keyPair{}, invalid("the certificate in %s expired at %s; renew it and add the new one to the app registration",
			quoted(certFile), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return keyPair{chainFrom(leaf, all.certs), key, all.skipped}, nil
}

const minKeyBits = 2048 // the minimum of entra.Certificate

// leafFor returns the certificate for key that expires last, or nil if none matches.
func leafFor(certs []*x509.Certificate, key *rsa.PrivateKey) (leaf *x509.Certificate) {
	for _, c := range certs {
		if key.PublicKey.Equal(c.PublicKey) && (leaf == nil || c.NotAfter.After(leaf.NotAfter)) {
			leaf = c
		}
	}
	return leaf
}

// maxChain bounds the chain. Without it, a file of certificates with the same name would need
// a signature check for each pair.
const maxChain = 10

// chainFrom returns leaf and its issuers in the order of x5c: each certificate certifies the
// one before it (RFC 7515, section 4.1.6). The chain ends after maxChain certificates.
func chainFrom(leaf *x509.Certificate, certs []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for last := leaf; ; {
		i := slices.IndexFunc(certs, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && !isHuge(c) &&
				!slices.ContainsFunc(chain, c.Equal) && last.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			return chain
		}
		last = certs[i]
		if chain = append(chain, last); len(chain) == maxChain {
			return chain
		}
	}
}

// isHuge reports whether checking a signature of c would take long.
func isHuge(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > 16384
}
