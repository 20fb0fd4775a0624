package credentials_test

import (
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
)

// A certificate that is not in a file works like one that is.
func TestParseCertificate(t *testing.T) {
	dir := testFiles(t, `
		cat between.crt leaf.crt leaf-encrypted.key > cert.pem
		cat leaf.crt leaf.key > plain.pem
		cat leaf.crt between.key > mismatch.pem
		openssl pkcs12 -export -inkey leaf.key -in leaf.crt -passout "pass:`+password+`" -out cert.pfx`)
	for _, test := range []struct {
		file, password string
		chain          int
		err            string
	}{
		{"cert.pem", password, 2, ""},
		{"plain.pem", "", 1, ""},
		{"cert.pfx", password, 1, ""},
		{"cert.pfx", "", 0, "the data is a PKCS#12 (PFX) file that needs a password"},
		{"cert.pfx", "wrong", 0, "the data is a PKCS#12 (PFX) file and the password is wrong"},
		{"leaf.crt", "", 0, "the data has no private key; add the certificate's"},
		{"leaf.key", "", 0, "the data has no certificate; add the certificate of the app registration"},
		{"mismatch.pem", "", 0, "the private key in the data does not match any certificate in the data"},
	} {
		certs, key, err := credentials.ParseCertificate([]byte(read(t, dir, test.file)), test.password)
		if test.err != "" {
			wantInvalid(t, err, dir, test.err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(certs) != test.chain || !certs[0].Equal(certificate(t, dir, "leaf.crt")) || !key.PublicKey.Equal(certs[0].PublicKey) {
			t.Errorf("%s: got %d certificates, the first for %s", test.file, len(certs), certs[0].Subject)
		}
		if got := entra.Certificate(certs, key, nil).Info().Kind; got != "certificate" {
			t.Errorf("got %q", got)
		}
	}
}
