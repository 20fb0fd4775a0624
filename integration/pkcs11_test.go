package integration_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ThalesGroup/crypto11"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

// newToken creates a PKCS #11 token with SoftHSM for the duration of the test.
func newToken(t *testing.T) *crypto11.Context {
	t.Helper()
	const pin = "5678"
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(config,
		fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir),
		0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	init := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "daemon", "--so-pin", "12345678", "--pin",
		pin)
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	token := must[*crypto11.Context](t)(crypto11.Configure(&crypto11.Config{Path: softHSM(t), TokenLabel: "daemon",
		Pin: pin}))
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

// softHSM returns the path of the module, which differs between Debian, Fedora and Homebrew.
func softHSM(t *testing.T) string {
	t.Helper()
	for _, path := range []string{
		"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
	} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("libsofthsm2.so not found; integration/install.sh installs it")
	return ""
}

// A key that was generated in a PKCS #11 token and never leaves it signs the assertions of concurrent callers.
func TestKeyInPKCS11TokenSigns(t *testing.T) {
	token := newToken(t)
	key := must[crypto11.SignerDecrypter](t)(token.GenerateRSAKeyPairWithLabel([]byte{1}, []byte("daemon"), 2048))
	if _, err := token.GetAttribute(key, crypto11.CkaPrivateExponent); err == nil {
		t.Error("got the private key from the token, want an error")
	}
	certs := []*x509.Certificate{certify(t, sniName, key, nil, nil)}
	roots := x509.NewCertPool()
	roots.AddCert(certs[0])
	for _, test := range []struct {
		name     string
		options  entra.CertificateOptions
		register func(*entratest.App)
	}{
		{"PS256", entra.CertificateOptions{}, func(a *entratest.App) { a.Certificates = certs }},
		{"RS256", entra.CertificateOptions{RS256: true}, func(a *entratest.App) { a.Certificates = certs }},
		{"subject name and issuer", entra.CertificateOptions{SendChain: true}, func(a *entratest.App) {
			a.TrustedSubjects = []entratest.TrustedSubject{{Subject: sniName, Roots: roots}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.UpdateCredentials("daemon", func(a *entratest.App) {
				a.Secrets = nil
				test.register(a)
			})
			client := must[*entra.Client](t)(entra.New(entra.Config{
				TenantID: tenant, ClientID: daemonID, Cloud: entra.Cloud(f.host), HTTPClient: f.client,
				Credential: entra.Certificate(certs, key, &test.options),
			}))
			var callers sync.WaitGroup
			for range 20 {
				callers.Go(func() {
					source := clientcreds.TokenSource(client, appScope)
					for range 3 {
						tok, err := source.Token()
						if err != nil {
							t.Error(err)
							return
						}
						source.Invalidate(tok)
					}
				})
			}
			callers.Wait()
			tok, err := clientcreds.TokenSource(client, appScope).Token()
			if err != nil {
				t.Fatal(err)
			}
			f.wantApp(t, tok.AccessToken, daemonID)
			if n := f.Count(entratest.Match{Endpoint: "token", Error: "invalid_client"}); n != 0 {
				t.Errorf("rejected assertions: got %d, want 0", n)
			}
		})
	}
}

// Unsuitable keys and a deleted key are reported with their cause.
func TestPKCS11FailuresAreReported(t *testing.T) {
	token := newToken(t)
	f := newFake(t)
	config := func(key crypto.Signer) entra.Config {
		return entra.Config{
			TenantID: tenant, ClientID: daemonID, Cloud: entra.Cloud(f.host), HTTPClient: f.client,
			Credential: entra.Certificate([]*x509.Certificate{certify(t, "daemon", key, nil, nil)}, key, nil),
		}
	}
	_, err := entra.New(config(must[crypto11.Signer](t)(token.GenerateECDSAKeyPairWithLabel([]byte{2}, []byte("EC"),
		elliptic.P256()))))
	wantRejection(t, err, "the certificate's private key, of type *crypto11.pkcs11PrivateKeyECDSA, is not an RSA key: "+
		"its public key has type *ecdsa.PublicKey; Entra accepts only RSA keys")
	_, err = entra.New(config(must[crypto11.SignerDecrypter](t)(token.GenerateRSAKeyPairWithLabel([]byte{3},
		[]byte("small"), 1024))))
	wantRejection(t, err, "the certificate's RSA key has 1024 bits; it needs at least 2048")

	key := must[crypto11.SignerDecrypter](t)(token.GenerateRSAKeyPairWithLabel([]byte{4}, []byte("gone"), 2048))
	client := must[*entra.Client](t)(entra.New(config(key)))
	if err := key.Delete(); err != nil {
		t.Fatal(err)
	}
	_, err = clientcreds.TokenSource(client, appScope).Token()
	wantRejection(t, err, "the certificate's key failed to sign: pkcs11: 0x82: CKR_OBJECT_HANDLE_INVALID")
	if n := f.TokenRequests(); n != 0 {
		t.Errorf("requests without an assertion: got %d, want 0", n)
	}
}

// wantRejection compares an error that is decided without a request to Entra.
func wantRejection(t *testing.T, err error, description string) {
	t.Helper()
	var e *entra.Error
	if !errors.As(err, &e) || e.Code != "invalid_client" || e.Description != description || e.StatusCode != 0 {
		t.Errorf("got %v, want invalid_client: %s", err, description)
	}
}
