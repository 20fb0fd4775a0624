package entra_test

import (
	"crypto/fips140"
	"crypto/x509"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// A program that prohibits SHA-1 signs with PS256. What needs SHA-1 is an error and not a panic
// of crypto/sha1 (https://go.dev/doc/security/fips140).
func TestFIPS140OnlyCertificate(t *testing.T) {
	if !testkit.FIPS140Only(t) {
		return
	}
	cert, key := selfSigned(t)
	certs := []*x509.Certificate{cert}
	e := newEstate(func(c *entratest.Config) { c.Apps[0].Certificates = certs })
	for _, private := range []any{key, vault{key: key}} {
		cfg := e.config("daemon")
		cfg.Credential = entra.Certificate(certs, private, &entra.CertificateOptions{SendChain: true})
		if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB).Token(); err != nil {
			t.Errorf("%T: %v", private, err)
		}
		if got := cfg.Credential.Info(); got.Thumbprint != "" || got.Subject != "CN=daemon" || got.NotAfter.IsZero() {
			t.Errorf("%T: got %+v, want everything but the thumbprint", private, got)
		}
		cfg.Credential = entra.Certificate(certs, private, &entra.CertificateOptions{RS256: true})
		_, err := entra.New(cfg)
		const want = "CertificateOptions.RS256 needs the certificate's SHA-1 thumbprint, but this program prohibits SHA-1 " +
			"(GODEBUG=fips140=only); use PS256"
		if got := testkit.Error(t, err); got.Code != "invalid_client" || got.Description != want {
			t.Errorf("%T: got %v, want %s", private, err, want)
		}
	}
	if !fips140.Enforced() {
		t.Error("the mode has ended")
	}
}
