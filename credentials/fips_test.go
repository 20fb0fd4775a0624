package credentials_test

import (
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"

	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// In a program that prohibits SHA-1, certificates work. What needs SHA-1 is an error and not a panic, which would end
// the program (https://go.dev/doc/security/fips140).
func TestFIPS140OnlyFiles(t *testing.T) {
	if !testkit.FIPS140Only(t) {
		return
	}
	dir := testFiles(t, `cat leaf.crt leaf.key between.crt > cert
		openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey leaf.key -in leaf.crt -passout pass: -out plain.pfx
		openssl pkcs12 -export -legacy -inkey leaf.key -in leaf.crt -passout "pass:$PASSWORD" -out legacy.pfx
		openssl pkcs8 -topk8 -v2 des3 -in leaf.key -passout "pass:$PASSWORD" -out old.pem; cat leaf.crt >> old.pem`)
	e := newFakeEntra()
	e.UpdateCredentials("daemon", func(a *entratest.App) {
		a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")}
	})
	for _, name := range []string{"cert", "plain.pfx"} {
		log := new(testkit.Log)
		c, err := credentials.CertificateFile(filepath.Join(dir, name),
			&credentials.CertificateFileOptions{SendChain: true, Logger: log.Logger(), WarnBefore: 365 * 24 * time.Hour})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		e.mustUse(t, c)
		if got := c.Info(); got.Thumbprint != "" || got.Subject != "CN=leaf" {
			t.Errorf("%s: got %+v, want no thumbprint", name, got)
		}
		if lines := log.Lines(t); len(lines) != 1 || lines[0]["thumbprint"] != nil || lines[0]["not_after"] == nil {
			t.Errorf("%s: got the log %v, want a warning without a thumbprint", name, lines)
		}
	}
	setenv(t, "AZURE_CLIENT_CERTIFICATE_PATH", filepath.Join(dir, "cert"))
	cfg, err := credentials.FromEnvironment(nil)
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, cfg.Credential)

	_, err = credentials.CertificateFile(filepath.Join(dir, "cert"), &credentials.CertificateFileOptions{RS256: true})
	wantInvalid(t, err, dir, "CertificateFileOptions.RS256 needs the certificate's SHA-1 thumbprint, but this program "+
		"prohibits SHA-1 (GODEBUG=fips140=only); use PS256")
	for name, want := range map[string]string{
		"legacy.pfx": "is a PKCS#12 (PFX) file with encryption that this program prohibits (GODEBUG=fips140=only); " +
			"convert it: openssl pkcs12 -in OLD -noenc -out NEW.pem",
		"old.pem": "has a private key whose encryption is not allowed in this program: crypto/pbkdf2: " +
			"use of salts shorter than 128 bits is not allowed in FIPS 140-only mode",
	} {
		_, err = credentials.CertificateFile(filepath.Join(dir, name),
			&credentials.CertificateFileOptions{Password: withPassword})
		wantInvalid(t, err, dir, `the file "DIR/`+name+`" `+want)
	}

	t.Setenv("IDENTITY_ENDPOINT", "https://127.0.0.1:1")
	t.Setenv("IDENTITY_HEADER", "header")
	t.Setenv("IDENTITY_SERVER_THUMBPRINT", "0123456789012345678901234567890123456789")
	_, err = credentials.ManagedIdentity(nil)
	wantInvalid(t, err, dir, "managed identities on Service Fabric need the SHA-1 thumbprint of its certificate, but this "+
		"program prohibits SHA-1 (GODEBUG=fips140=only)")
}
