package credentials

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// CertificateFileConfig says where a certificate and its private key are.
type CertificateFileConfig struct {
	// Path is a file with the certificate, and perhaps the chain above it and the private
	// key: PEM or PKCS#12 (PFX), told apart by content. As with every path here, a relative
	// one is relative to the working directory whenever the file is read. Required.
	Path string
	// KeyPath is a file with the private key, PEM or DER, as in a TLS secret of
	// Kubernetes (tls.key beside tls.crt). Zero: the key is in Path.
	KeyPath string
	// Password returns the password of the key or of the PKCS#12 file. It is called each
	// time the files are read, if they need it, so that it may change with them. It must
	// return when its context ends; the first time, in CertificateFile, that does not end.
	// Zero: there is none.
	Password func(context.Context) (string, error)
	// SendChain sends the certificate and its chain along (x5c), for apps that trust the
	// subject name and issuer of a certificate and not one certificate: then a renewed one
	// need not be registered. False: it is not sent.
	SendChain bool
	// RS256 signs with RS256 for old authorities. False: PS256.
	RS256 bool
	// WarnBefore is how long before the end of the certificate Logger is warned of it, once
	// a day. Zero: 30 days. Negative: never.
	WarnBefore time.Duration
	// Logger is told when a new certificate was read (level Info), and when there is
	// one that cannot be used or one that ends soon (Warn). Zero: silent.
	Logger *slog.Logger
}

// CertificateFile returns a certificate credential that is read from files, and read anew
// when they change.
//
// The key must be RSA with at least 2048 bits, and no file larger than 1 MiB. The
// certificate is found by the key; of several the one that ends last is used. Those that
// were issued one by the other above it become the chain, in whatever order they are in
// the file, and the rest is left out.
//
// The error, an [*entra.Error] with the code "invalid_client", names the file and says
// what is wrong with it. A certificate that has expired is an error, too; one that
// expires while it is in use is still tried, since it is Entra's clock that counts.
func CertificateFile(cfg CertificateFileConfig) (entra.Credential, error) {
	f := &files{kind: "certificate", paths: []string{cfg.Path}, logger: cfg.Logger}
	if cfg.KeyPath != "" {
		f.paths = append(f.paths, cfg.KeyPath)
	}
	if f.expiry.before = cfg.WarnBefore; cfg.WarnBefore == 0 {
		f.expiry.before = 30 * 24 * time.Hour
	}
	f.parse = func(ctx context.Context, contents [][]byte) (version, error) {
		chain, key, err := readCertificate(f.paths, contents, func() (string, error) {
			return askPassword(ctx, cfg.Password, cfg.Path)
		}, cfg.Password != nil)
		if err != nil {
			return version{}, err
		}
		leaf := chain[0]
		thumbprint := sha1.Sum(leaf.Raw) // as the admin center shows it
		return version{
			credential: entra.Certificate(chain, key, &entra.CertificateOptions{SendChain: cfg.SendChain, RS256: cfg.RS256}),
			notBefore:  leaf.NotBefore,
			notAfter:   leaf.NotAfter,
			attrs: []slog.Attr{
				slog.String("thumbprint", strings.ToUpper(hex.EncodeToString(thumbprint[:]))),
				slog.Time("not_after", leaf.NotAfter.UTC()),
			},
		}, nil
	}
	return f.open()
}

func askPassword(ctx context.Context, ask func(context.Context) (string, error), path string) (string, error) {
	password, err := ask(ctx)
	if err != nil {
		e := refuse("the password for the certificate file %q could not be had: %s", path, oneLine(err.Error()))
		e.Err = err
		return "", e
	}
	return password, nil
}

// readCertificate finds in files the one private key and its certificates, the key's own
// first.
func readCertificate(paths []string, contents [][]byte, password func() (string, error), hasPassword bool) ([]*x509.Certificate, *rsa.PrivateKey, error) {
	if !hasPassword {
		password = nil
	}
	var all bundle
	for i, path := range paths {
		b, err := parser{path, password}.parse(contents[i])
		if err != nil {
			return nil, nil, err
		}
		all.certs = append(all.certs, b.certs...)
		for _, k := range b.keys {
			if !slices.ContainsFunc(all.keys, func(o *rsa.PrivateKey) bool { return k.Equal(o) }) {
				all.keys = append(all.keys, k)
			}
		}
	}
	where, keyFile := paths[0], paths[len(paths)-1]
	switch {
	case len(all.certs) == 0:
		return nil, nil, refuse("the file %q has no certificate; add the one that is registered with the app", where)
	case len(all.keys) == 0 && len(paths) == 1:
		return nil, nil, refuse("the file %q has no private key; add the certificate's own, or name the key's file, too", where)
	case len(all.keys) == 0:
		return nil, nil, refuse("the file %q has no private key; it is to have the certificate's own", keyFile)
	case len(all.keys) > 1:
		return nil, nil, refuse("the file %q has %d private keys; leave the one that belongs to the certificate", keyFile, len(all.keys))
	}
	key := all.keys[0]
	if bits := key.N.BitLen(); bits < minKeyBits {
		return nil, nil, refuse("the private key in %q has %d bits; an app's RSA key needs at least %d", keyFile, bits, minKeyBits)
	}
	leaf := leafOf(all.certs, key)
	if leaf == nil {
		return nil, nil, refuse("the private key in %q belongs to none of the certificates in %q; give the key and the certificate that were made for each other", keyFile, where)
	}
	if time.Now().After(leaf.NotAfter) {
		return nil, nil, refuse("the certificate in %q expired at %s; renew it, and register the new one with the app", where, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return chainOf(leaf, all.certs), key, nil
}

const minKeyBits = 2048 // as entra.CertificateWith demands

// leafOf finds the certificate of a key: of several, the one that ends last.
func leafOf(certs []*x509.Certificate, key *rsa.PrivateKey) (leaf *x509.Certificate) {
	for _, c := range certs {
		if key.PublicKey.Equal(c.PublicKey) && (leaf == nil || c.NotAfter.After(leaf.NotAfter)) {
			leaf = c
		}
	}
	return leaf
}

// chainOf puts a certificate and those above it in the order of x5c: each certifies the
// one before it (RFC 7515, section 4.1.6).
func chainOf(leaf *x509.Certificate, certs []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for last := leaf; ; {
		i := slices.IndexFunc(certs, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && !huge(c) && !slices.ContainsFunc(chain, c.Equal) && last.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			return chain
		}
		last = certs[i]
		chain = append(chain, last)
	}
}

// huge reports whether it would take long to check what a certificate has signed.
func huge(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > 16384
}
