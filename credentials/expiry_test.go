package credentials_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
)

var someKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// dated makes a certificate for someKey, and a file's content of both.
func dated(t testing.TB, from, to time.Time) (*x509.Certificate, string) {
	t.Helper()
	key, err := someKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dated"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: private}} {
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
	}
	return cert, b.String()
}

const day = 24 * time.Hour

// The end of a certificate is announced in the log once a day, at start, too, and after it
// the certificate is still tried.
func TestCertificateEnds(t *testing.T) {
	for _, test := range []struct {
		before time.Duration // configured
		life   time.Duration
		first  int // the day of the first warning
	}{
		{0, 40 * day, 10},
		{0, 20 * day, 0},
		{7 * day, 10 * day, 3},
		{time.Hour, 2 * day, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, log, dir := newEstate(), newLogbook(), t.TempDir()
			start := time.Now()
			end := start.Add(test.life)
			cert, content := dated(t, start, end)
			path := write(t, filepath.Join(dir, "cert"), content)
			e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{cert} })
			c, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: path, Logger: log.Logger, WarnBefore: test.before})
			if err != nil {
				t.Fatal(err)
			}
			warning := func(verb string) string {
				return fmt.Sprintf(`level=WARN msg="entra: the certificate %s; renew it" file=DIR/cert thumbprint=%s not_after=%s`,
					verb, thumbprint(cert), end.UTC().Format("2006-01-02T15:04:05.000Z"))
			}
			if test.first == 0 {
				wantLines(t, log, dir, warning("ends soon"))
			}
			for at := time.Duration(0); at < test.life; at += 6 * time.Hour {
				e.mustUse(t, c)
				if at >= time.Duration(test.first)*day && at%day == 0 && at > 0 {
					wantLines(t, log, dir, warning("ends soon"))
				} else {
					wantLines(t, log, dir)
				}
				time.Sleep(6 * time.Hour)
			}
			time.Sleep(day)
			if err := e.use(c); err == nil || e.Count(entratest.Match{AADSTS: 700027}) != 1 {
				t.Errorf("got %v, want Entra's own refusal", err)
			}
			wantLines(t, log, dir, warning("has ended"))
		})
	}
}

func TestNoWarningOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogbook()
		_, content := dated(t, time.Now(), time.Now().Add(time.Hour))
		path := write(t, filepath.Join(t.TempDir(), "cert"), content)
		if _, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: path, Logger: log.Logger, WarnBefore: -1}); err != nil {
			t.Fatal(err)
		}
		wantLines(t, log, "")
	})
}

// A certificate that is not valid yet, or no more, does not replace one that is.
func TestDatesOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log, dir := newEstate(), newLogbook(), t.TempDir()
		start := time.Now()
		first, content := dated(t, start, start.Add(90*day))
		path := write(t, filepath.Join(dir, "cert"), content)
		c, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: path, Logger: log.Logger})
		if err != nil {
			t.Fatal(err)
		}
		next, content := dated(t, start.Add(day), start.Add(91*day))
		write(t, path, content)
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{first} })
		e.mustUse(t, c)
		const prefix = `level=WARN msg="entra: the certificate cannot be read anew; the one before it stays in use" file=DIR/cert error.code=invalid_client error.description="`
		wantLines(t, log, dir, prefix+`the certificate in \"DIR/cert\" is not valid before 2000-01-02T00:00:00Z; until then the one before it is used"`)
		time.Sleep(day)
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{next} })
		e.mustUse(t, c)
		wantLines(t, log, dir, fmt.Sprintf(`level=INFO msg="entra: a new certificate was read" file=DIR/cert thumbprint=%s not_after=2000-04-01T00:00:00.000Z`, thumbprint(next)))
		_, content = dated(t, start, start.Add(time.Hour))
		write(t, path, content)
		e.mustUse(t, c)
		wantLines(t, log, dir, prefix+`the certificate in \"DIR/cert\" expired at 2000-01-01T01:00:00Z; renew it, and register the new one with the app"`)
		if n := len(e.proofs("client_assertion")); n != 3 {
			t.Errorf("%d requests", n)
		}
	})
}

// A federated token that nothing renews is used as long as Entra takes it. Then the error
// says why, and so does the log.
func TestFederatedTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log, dir := newEstate().trust(t), newLogbook(), t.TempDir()
		path := write(t, filepath.Join(dir, "token"), p.token(t, time.Hour))
		c, err := credentials.WorkloadIdentity(credentials.WorkloadIdentityConfig{TokenFile: path, Logger: log.Logger})
		if err != nil {
			t.Fatal(err)
		}
		p.mustUse(t, c)
		time.Sleep(59 * time.Minute)
		p.mustUse(t, c)
		wantLines(t, log, dir)
		time.Sleep(2 * time.Minute)
		err = p.use(c)
		want := fmt.Sprintf("; no other credential was tried: failed to load the credential: the federated token in %q ended at 2000-01-01T01:00:00Z, and nothing has renewed the file since", path)
		if e, ok := err.(*entra.Error); !ok || !e.Has(700024) || !bytes.HasSuffix([]byte(e.Description), []byte(want)) {
			t.Errorf("got %v", err)
		}
		wantLines(t, log, dir, `level=WARN msg="entra: the federated token has ended; renew it" file=DIR/token not_after=2000-01-01T01:00:00.000Z`)
		write(t, path, p.token(t, time.Hour)+"\n")
		p.mustUse(t, c)
		wantLines(t, log, dir, `level=INFO msg="entra: a new federated token was read" file=DIR/token not_after=2000-01-01T02:01:00.000Z`)
		if n := len(p.proofs("client_assertion")); n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
	})
}
