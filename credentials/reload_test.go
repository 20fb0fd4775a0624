package credentials_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
)

// settle makes a file look as if it had been left alone for an hour, so that its time
// stamp is believed.
func settle(t testing.TB, path string) {
	t.Helper()
	ago := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, ago, ago); err != nil {
		t.Fatal(err)
	}
}

// wantSent checks the secrets of all requests.
func (e *estate) wantSent(t testing.TB, want ...string) {
	t.Helper()
	if got := e.proofs("client_secret"); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func wantLines(t testing.TB, l *logbook, dir string, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "DIR", dir)
	}
	if got := l.lines(); !slices.Equal(got, want) {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// However a file is replaced, the next request has what is in it.
func TestSecretFileChanges(t *testing.T) {
	e, log, dir := newEstate(), newLogbook(), t.TempDir()
	e.secrets("secret-1", "secret-2", "secret-3", "secret-4", "secret-5")
	path := write(t, filepath.Join(dir, "secret"), "\xef\xbb\xbfsecret-1\n")
	settle(t, path)
	c, err := credentials.SecretFileWith(credentials.SecretFileConfig{Path: path, Logger: log.Logger})
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.mustUse(t, c)
	wantLines(t, log, dir)

	write(t, path, "secret-2\r\n") // in place
	e.mustUse(t, c)
	write(t, path, "secret-3") // in the same second, and of the same length but for the line's end
	e.mustUse(t, c)
	replace(t, path, "secret-4") // renamed over it
	settle(t, path)
	e.mustUse(t, c)
	write(t, path, "secret-5") // in place, of the same length, and the time alone tells
	later := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.mustUse(t, c)
	wantLines(t, log, dir,
		`level=INFO msg="entra: a new client secret was read" file=DIR/secret`,
		`level=INFO msg="entra: a new client secret was read" file=DIR/secret`,
		`level=INFO msg="entra: a new client secret was read" file=DIR/secret`,
		`level=INFO msg="entra: a new client secret was read" file=DIR/secret`)
	e.wantSent(t, "secret-1", "secret-1", "secret-2", "secret-3", "secret-4", "secret-5", "secret-5")
}

// A path that leads to another file has changed, though that one has the same length and
// the same time.
func TestAnotherFile(t *testing.T) {
	e, dir := newEstate(), t.TempDir()
	e.secrets("secret-1", "secret-2")
	ago := time.Now().Add(-time.Hour)
	for _, name := range []string{"secret-1", "secret-2"} {
		if err := os.Chtimes(write(t, filepath.Join(dir, name), name), ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	if err := sh(dir, "ln -s secret-1 secret"); err != nil {
		t.Fatal(err)
	}
	c, err := credentials.SecretFile(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	if err := sh(dir, "ln -s secret-2 next; mv -T next secret"); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.wantSent(t, "secret-1", "secret-2")
}

// A change within one tick of the file system's clock does not show in the file's time
// stamp, which is therefore not believed while it is new.
func TestChangeWithinATick(t *testing.T) {
	e := newEstate()
	e.secrets("secret-1", "secret-2")
	path := write(t, filepath.Join(t.TempDir(), "secret"), "secret-1")
	stamp := time.Now()
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	c, err := credentials.SecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "secret-2")
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.wantSent(t, "secret-2")
}

// Whatever the time stamps say, what Entra refuses is read again.
func TestRefusedSecretIsReadAgain(t *testing.T) {
	e, dir := newEstate(), t.TempDir()
	e.secrets("secret-1")
	path := write(t, filepath.Join(dir, "secret"), "secret-1")
	settle(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := credentials.SecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	write(t, path, "secret-2")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c) // nothing looks changed, and the old one is good
	e.secrets("secret-2")
	e.mustUse(t, c)
	e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-2")

	// If there is nothing new, Entra's refusal is the error, after one request.
	e.secrets("secret-3")
	got := e.use(c)
	var failed *entra.Error
	if !errors.As(got, &failed) || !slices.Equal(failed.AADSTS, []int{7000215}) {
		t.Errorf("got %v", got)
	}
	e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-2", "secret-2")

	// If the file is bad, too, both are said.
	write(t, path, "")
	got = e.use(c)
	if !errors.As(got, &failed) || !slices.Equal(failed.AADSTS, []int{7000215}) ||
		!strings.HasSuffix(failed.Description, fmt.Sprintf("; no other credential was tried: failed to load the credential: the client secret file %q is empty", path)) {
		t.Errorf("got %v", got)
	}
}

// A file that cannot be used leaves what was read before in use. That is logged once as
// long as the same is wrong, and the file is read again each time.
func TestBadChangesKeepTheOldSecret(t *testing.T) {
	e, log, dir := newEstate(), newLogbook(), t.TempDir()
	e.secrets("secret-1", "secret-2")
	path := write(t, filepath.Join(dir, "secret"), "secret-1")
	c, err := credentials.SecretFileWith(credentials.SecretFileConfig{Path: path, Logger: log.Logger})
	if err != nil {
		t.Fatal(err)
	}
	const prefix = `level=WARN msg="entra: the client secret cannot be read anew; the one before it stays in use" file=DIR/secret error.code=invalid_client error.description="the client secret file \"DIR/secret\" `
	for _, change := range []func() string{
		func() string {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return `cannot be read: no such file or directory"`
		},
		func() string {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			return `is a directory; name a file in it"`
		},
		func() string {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, "")
			return `is empty"`
		},
	} {
		want := change()
		for range 3 {
			e.mustUse(t, c)
		}
		wantLines(t, log, dir, prefix+want)
	}
	write(t, path, "secret-1") // as it was: nothing new
	e.mustUse(t, c)
	wantLines(t, log, dir)
	write(t, path, "")
	e.mustUse(t, c)
	wantLines(t, log, dir, prefix+`is empty"`) // once more, since it was good between
	write(t, path, "secret-2")
	e.mustUse(t, c)
	wantLines(t, log, dir, `level=INFO msg="entra: a new client secret was read" file=DIR/secret`)
	e.wantSent(t, slices.Concat(slices.Repeat([]string{"secret-1"}, 11), []string{"secret-2"})...)
}

// Kubernetes replaces all files of a volume in one step: the path leads through the link
// ..data, which is renamed over.
func TestKubernetesSwapsTheLink(t *testing.T) {
	made := made(t, `
		mkdir v1 v2
		cp leaf.crt v1/tls.crt; cp leaf.key v1/tls.key
		cp other.crt v2/tls.crt; cp other.key v2/tls.key
		ln -s v1 ..data; ln -s ..data/tls.crt tls.crt; ln -s ..data/tls.key tls.key`)
	for _, name := range []string{"v1/tls.crt", "v1/tls.key", "v2/tls.crt", "v2/tls.key"} {
		settle(t, filepath.Join(made, name)) // the same time for all
	}
	e, log := newEstate(), newLogbook()
	first, second := certificate(t, made, "leaf.crt"), certificate(t, made, "other.crt")
	accept := func(c ...*x509.Certificate) {
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = c })
	}
	accept(first)
	c, err := credentials.CertificateFile(credentials.CertificateFileConfig{
		Path: filepath.Join(made, "tls.crt"), KeyPath: filepath.Join(made, "tls.key"), Logger: log.Logger, WarnBefore: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	accept(first, second)
	if err := sh(made, `ln -s v2 ..data_tmp; mv -T ..data_tmp ..data; rm -r v1`); err != nil {
		t.Fatal(err)
	}
	accept(second)
	e.mustUse(t, c)
	if n := len(e.proofs("client_assertion")); n != 2 {
		t.Errorf("%d requests", n)
	}
	wantLines(t, log, made, fmt.Sprintf(`level=INFO msg="entra: a new certificate was read" file=DIR/tls.crt thumbprint=%s not_after=%s`,
		thumbprint(second), second.NotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
}

// A certificate is renewed in two files one after the other, and each is written bit by
// bit: the old one is used until both are there.
func TestHalfWrittenCertificate(t *testing.T) {
	dir := made(t, `cp leaf.crt cert; cp leaf.key key`)
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	e, log := newEstate(), newLogbook()
	old, renewed := certificate(t, dir, "leaf.crt"), certificate(t, dir, "other.crt")
	e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{old, renewed} })
	c, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: cert, KeyPath: key, SendChain: true, Logger: log.Logger, WarnBefore: -1})
	if err != nil {
		t.Fatal(err)
	}
	uses := func(want *x509.Certificate) {
		t.Helper()
		e.mustUse(t, c)
		sent := e.proofs("client_assertion")
		if got := header(t, sent[len(sent)-1]).X5C; len(got) != 1 || !slices.Equal(got[0], want.Raw) {
			t.Error("another certificate")
		}
	}
	newCert, newKey := read(t, dir, "other.crt"), read(t, dir, "other.key")
	uses(old)
	for _, part := range []string{"", newCert[:100], newCert[:len(newCert)-10], newCert} {
		write(t, cert, part)
		uses(old)
	}
	for _, part := range []string{newKey[:100], newKey[:len(newKey)-10]} {
		write(t, key, part)
		uses(old)
	}
	write(t, key, newKey)
	uses(renewed)
	const prefix = `level=WARN msg="entra: the certificate cannot be read anew; the one before it stays in use" file=DIR/cert error.code=invalid_client error.description="`
	wantLines(t, log, dir,
		prefix+`the file \"DIR/cert\" is empty"`,
		prefix+`the file \"DIR/cert\" is cut off or damaged: 0 of the 1 PEM blocks in it are whole"`, // twice the same
		prefix+`the private key in \"DIR/key\" belongs to none of the certificates in \"DIR/cert\"; give the key and the certificate that were made for each other"`,
		prefix+`the file \"DIR/key\" is cut off or damaged: 0 of the 1 PEM blocks in it are whole"`,
		fmt.Sprintf(`level=INFO msg="entra: a new certificate was read" file=DIR/cert thumbprint=%s not_after=%s`,
			thumbprint(renewed), renewed.NotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
}

// A password may change with the file, and is asked for only when the file is read.
func TestPasswordChangesWithTheFile(t *testing.T) {
	dir := made(t, `
		cat leaf.crt leaf-encrypted.key > cert
		openssl pkcs12 -export -inkey other.key -in other.crt -passout pass:another -out other.pfx`)
	path := filepath.Join(dir, "cert")
	settle(t, path)
	e, asked := newEstate(), 0
	e.UpdateCredentials("daemon", func(a *entratest.App) {
		a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt"), certificate(t, dir, "other.crt")}
	})
	now := password
	c, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: path, Password: counted(&asked, &now)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		e.mustUse(t, c)
	}
	if asked != 1 {
		t.Errorf("the password was asked for %d times", asked)
	}
	now = "another"
	replace(t, path, read(t, dir, "other.pfx"))
	settle(t, path)
	for range 3 {
		e.mustUse(t, c)
	}
	if asked != 2 {
		t.Errorf("the password was asked for %d times", asked)
	}
	sent := e.proofs("client_assertion")
	if header(t, sent[2]).S256 == header(t, sent[3]).S256 {
		t.Error("the new certificate was not used")
	}
}

// While a new certificate is read, which a slow password holds up, nobody waits but those
// whose request was refused, and it is read once for all of them.
func TestOneReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dir := newEstate(), t.TempDir()
		var certs []*x509.Certificate
		var files []string
		for i := range 2 {
			cert, _ := dated(t, time.Now(), time.Now().Add(time.Duration(i+1)*day))
			key, err := someKey()
			if err != nil {
				t.Fatal(err)
			}
			pfx, err := pkcs12.Modern2023.Encode(key, cert, nil, password)
			if err != nil {
				t.Fatal(err)
			}
			certs, files = append(certs, cert), append(files, string(pfx))
		}
		trust := func(c ...*x509.Certificate) {
			e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = c })
		}
		var slow time.Duration
		var calls atomic.Int64
		path := write(t, filepath.Join(dir, "cert"), files[0])
		c, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: path, Password: func(context.Context) (string, error) {
			calls.Add(1)
			time.Sleep(slow)
			return password, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		slow = 10 * time.Second
		replace(t, path, files[1])
		trust(certs...)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { // the one who reads
			if err := e.use(c); err != nil || time.Since(start) != slow {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		})
		synctest.Wait()
		e.mustUse(t, c)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		trust(certs[1])
		for range 10 { // refused with the old one
			wg.Go(func() {
				if err := e.use(c); err != nil || time.Since(start) != slow {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		}
		wg.Wait()
		if n := calls.Load(); n != 2 {
			t.Errorf("the files were read %d times", n)
		}
		if n := e.Count(entratest.Match{AADSTS: 700027}); n != 10 || e.TokenRequests() != 22 {
			t.Errorf("%d of %d requests were refused", n, e.TokenRequests())
		}
	})
}
