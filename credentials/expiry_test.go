package credentials_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// newCertificate returns a new certificate, and the contents of a file with it and its key.
func newCertificate(t testing.TB, from, to time.Time) (*x509.Certificate, string) {
	t.Helper()
	key := testkit.RSAKey(t)
	cert := testkit.Certificate(t, key, testkit.Valid(from, to))
	return cert, testkit.PEM(t, key, cert)
}

const day = 24 * time.Hour

// The log warns of the expiry of a certificate once a day, beginning at start. An expired
// certificate is still sent.
func TestCertificateExpiryWarning(t *testing.T) {
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
			e, log, dir := newFakeEntra(), newLogRecorder(), t.TempDir()
			start := time.Now()
			end := start.Add(test.life)
			cert, content := newCertificate(t, start, end)
			path := testkit.WriteFile(t, filepath.Join(dir, "cert"), content)
			e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{cert} })
			c, err := credentials.CertificateFile(path, &credentials.CertificateFileOptions{Logger: log.Logger,
				WarnBefore: test.before})
			if err != nil {
				t.Fatal(err)
			}
			warning := func(verb string) string {
				return fmt.Sprintf(`level=WARN msg="entra: the certificate %s; renew it" file=DIR/cert thumbprint=%s not_after=%s`,
					verb, thumbprint(cert), end.UTC().Format("2006-01-02T15:04:05.000Z"))
			}
			if test.first == 0 {
				wantLines(t, log, dir, warning("expires soon"))
			}
			for at := time.Duration(0); at < test.life; at += 6 * time.Hour {
				e.mustUse(t, c)
				if at >= time.Duration(test.first)*day && at%day == 0 && at > 0 {
					wantLines(t, log, dir, warning("expires soon"))
				} else {
					wantLines(t, log, dir)
				}
				time.Sleep(6 * time.Hour)
			}
			time.Sleep(day)
			if err := e.use(c); err == nil || e.Count(entratest.Match{AADSTS: 700027}) != 1 {
				t.Errorf("got %v, want a rejection by Entra", err)
			}
			wantLines(t, log, dir, warning("has expired"))
		})
	}
}

// A negative WarnBefore turns the warning off.
func TestNoExpiryWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogRecorder()
		_, content := newCertificate(t, time.Now(), time.Now().Add(time.Hour))
		path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "cert"), content)
		c, err := credentials.CertificateFile(path, &credentials.CertificateFileOptions{Logger: log.Logger, WarnBefore: -1})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		newFakeEntra().use(c)
		wantLines(t, log, "")
	})
}

// When Entra rejects an expired certificate and the file has a new one, that is used, even if
// the change is not visible in the modification time.
func TestExpiredCertificateIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dir := newFakeEntra(), t.TempDir()
		start := time.Now()
		_, content := newCertificate(t, start, start.Add(time.Hour))
		path := testkit.WriteFile(t, filepath.Join(dir, "cert"), content)
		makeOld(t, path)
		c, err := credentials.CertificateFile(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		next, content := newCertificate(t, start, start.Add(3*time.Hour))
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{next} })
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		testkit.WriteFile(t, path, content)
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		e.mustUse(t, c)
		if n := len(e.sent("client_assertion")); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// A certificate that is not valid yet, or has expired, does not replace a valid one.
func TestInvalidCertificateDoesNotReplaceValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log, dir := newFakeEntra(), newLogRecorder(), t.TempDir()
		start := time.Now()
		first, content := newCertificate(t, start, start.Add(90*day))
		path := testkit.WriteFile(t, filepath.Join(dir, "cert"), content)
		c, err := credentials.CertificateFile(path, &credentials.CertificateFileOptions{Logger: log.Logger})
		if err != nil {
			t.Fatal(err)
		}
		next, content := newCertificate(t, start.Add(day), start.Add(91*day))
		testkit.WriteFile(t, path, content)
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{first} })
		e.mustUse(t, c)
		const prefix = `level=WARN msg="entra: reloading the certificate failed; the previous one stays in use" ` +
			`file=DIR/cert error.code=invalid_client error.description="`
		wantLines(t, log, dir, prefix+
			`the certificate in \"DIR/cert\" is not valid before 2000-01-02T00:00:00Z; until then the previous one is used"`)
		time.Sleep(day)
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{next} })
		e.mustUse(t, c)
		wantLines(t, log, dir, fmt.Sprintf(`level=INFO msg="entra: new certificate loaded" file=DIR/cert thumbprint=%s `+
			`not_after=2000-04-01T00:00:00.000Z`, thumbprint(next)))
		_, content = newCertificate(t, start, start.Add(time.Hour))
		testkit.WriteFile(t, path, content)
		e.mustUse(t, c)
		wantLines(t, log, dir, prefix+`the certificate in \"DIR/cert\" expired at 2000-01-01T01:00:00Z; renew it and add `+
			`the new one to the app registration"`)
		if n := len(e.sent("client_assertion")); n != 3 {
			t.Errorf("%d requests", n)
		}
	})
}

// A federated token that is not renewed is used until Entra rejects it. The error and the
// log then name the reason.
func TestFederatedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log, dir := newFakeEntra().trust(t), newLogRecorder(), t.TempDir()
		path := testkit.WriteFile(t, filepath.Join(dir, "token"), p.token(t, time.Hour))
		c, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{TokenFile: path, Logger: log.Logger})
		if err != nil {
			t.Fatal(err)
		}
		p.mustUse(t, c)
		time.Sleep(59 * time.Minute)
		p.mustUse(t, c)
		wantLines(t, log, dir)
		time.Sleep(2 * time.Minute)
		err = p.use(c)
		want := fmt.Sprintf("; no other credential was tried: failed to load the credential: the federated token in %q "+
			"expired at 2000-01-01T01:00:00Z and the file has not been renewed", path)
		if e, ok := err.(*entra.Error); !ok || !e.Has(700024) || !bytes.HasSuffix([]byte(e.Description), []byte(want)) {
			t.Errorf("got %v", err)
		}
		wantLines(t, log, dir, `level=WARN msg="entra: the federated token has expired; renew it" file=DIR/token `+
			`not_after=2000-01-01T01:00:00.000Z`)
		testkit.WriteFile(t, path, p.token(t, time.Hour)+"\n")
		p.mustUse(t, c)
		wantLines(t, log, dir, `level=INFO msg="entra: new federated token loaded" file=DIR/token `+
			`not_after=2000-01-01T02:01:00.000Z`)
		if n := len(p.sent("client_assertion")); n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
	})
}
