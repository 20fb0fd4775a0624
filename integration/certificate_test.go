package integration_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// makeCertificates generates an RSA key, a self-signed certificate for it, and a chain from a CA of its own.
func makeCertificates(t *testing.T) (key *rsa.PrivateKey, self, chain []*x509.Certificate, roots *x509.CertPool) {
	t.Helper()
	key = newKey(t)
	self = []*x509.Certificate{certify(t, "daemon", key, nil, nil)}
	rootKey := newKey(t)
	root := certify(t, "Contoso Test CA", rootKey, nil, nil)
	chain = []*x509.Certificate{certify(t, sniName, key, root, rootKey), root}
	roots = x509.NewCertPool()
	roots.AddCert(root)
	return key, self, chain, roots
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	return must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
}

// certify issues a certificate for a key. Without a parent, it is self-signed and a CA.
func certify(t *testing.T, name string, key crypto.Signer, parent *x509.Certificate,
	parentKey crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, parentKey = template, key
		template.IsCA = true
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey))
	return must[*x509.Certificate](t)(x509.ParseCertificate(der))
}
