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
	"github.com/entratoken/entra/internal/testkit"
)

// makeOld sets the modification time of a file to an hour ago, so that it is trusted.
func makeOld(t testing.TB, path string) {
	t.Helper()
	ago := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, ago, ago); err != nil {
		t.Fatal(err)
	}
}

// wantSent checks the secrets of all requests.
func (e *fakeEntra) wantSent(t testing.TB, want ...string) {
	t.Helper()
	if got := e.sent("client_secret"); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func wantLines(t testing.TB, l *logRecorder, dir string, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "DIR", dir)
	}
	if got := l.lines(); !slices.Equal(got, want) {
		t.Errorf("got the log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The next request uses the new contents of a file, however it was changed.
func TestSecretFileChanges(t *testing.T) {
	e, log, dir := newFakeEntra(), newLogRecorder(), t.TempDir()
	e.secrets("secret-1", "secret-2", "secret-3", "secret-4", "secret-5")
	path := testkit.WriteFile(t, filepath.Join(dir, "secret"), "\xef\xbb\xbfsecret-1\n")
	makeOld(t, path)
	c, err := credentials.SecretFile(path, &credentials.SecretFileOptions{Logger: log.Logger})
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.mustUse(t, c)
	wantLines(t, log, dir)

	testkit.WriteFile(t, path, "secret-2\r\n") // in place
	e.mustUse(t, c)
	testkit.WriteFile(t, path, "secret-3") // in the same second, and of the same length except for the line break
	e.mustUse(t, c)
	replace(t, path, "secret-4") // by a rename
	makeOld(t, path)
	e.mustUse(t, c)
	testkit.WriteFile(t, path, "secret-5") // in place, of the same length; only the modification time differs
	later := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.mustUse(t, c)
	wantLines(t, log, dir,
		`level=INFO msg="entra: new client secret loaded" file=DIR/secret`,
		`level=INFO msg="entra: new client secret loaded" file=DIR/secret`,
		`level=INFO msg="entra: new client secret loaded" file=DIR/secret`,
		`level=INFO msg="entra: new client secret loaded" file=DIR/secret`)
	e.wantSent(t, "secret-1", "secret-1", "secret-2", "secret-3", "secret-4", "secret-5", "secret-5")
}

// A link that points to a different file is a change, even if the file has the same length
// and modification time.
func TestLinkToDifferentFile(t *testing.T) {
	e, dir := newFakeEntra(), t.TempDir()
	e.secrets("secret-1", "secret-2")
	ago := time.Now().Add(-time.Hour)
	for _, name := range []string{"secret-1", "secret-2"} {
		if err := os.Chtimes(testkit.WriteFile(t, filepath.Join(dir, name), name), ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	if err := sh(dir, "ln -s secret-1 secret"); err != nil {
		t.Fatal(err)
	}
	c, err := credentials.SecretFile(filepath.Join(dir, "secret"), nil)
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

// A change within one tick of the file system's clock has the same modification time. A new
// modification time is therefore not trusted.
func TestChangeWithinOneTick(t *testing.T) {
	e := newFakeEntra()
	e.secrets("secret-1", "secret-2")
	path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "secret"), "secret-1")
	stamp := time.Now()
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	c, err := credentials.SecretFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.WriteFile(t, path, "secret-2")
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	e.wantSent(t, "secret-2")
}

// When Entra rejects a secret, the file is read again, even if its modification time has not
// changed.
func TestRejectedSecretIsReadAgain(t *testing.T) {
	e, dir := newFakeEntra(), t.TempDir()
	e.secrets("secret-1")
	path := testkit.WriteFile(t, filepath.Join(dir, "secret"), "secret-1")
	makeOld(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := credentials.SecretFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	testkit.WriteFile(t, path, "secret-2")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c) // the change is not visible, and the old one is valid
	e.secrets("secret-2")
	e.mustUse(t, c)
	e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-2")

	// Without a new secret, Entra's rejection is returned after one request.
	e.secrets("secret-3")
	got := e.use(c)
	var failed *entra.Error
	if !errors.As(got, &failed) || !slices.Equal(failed.AADSTS, []int{7000215}) ||
		strings.Contains(failed.Description, "no other credential") {
		t.Errorf("got %v", got)
	}
	e.wantSent(t, "secret-1", "secret-1", "secret-1", "secret-2", "secret-2")

	// If the file is invalid, the error describes both.
	testkit.WriteFile(t, path, "")
	got = e.use(c)
	if !errors.As(got, &failed) || !slices.Equal(failed.AADSTS, []int{7000215}) ||
		!strings.HasSuffix(failed.Description,
			fmt.Sprintf("; no other credential was tried: failed to load the credential: the client secret file %q is empty",
				path)) {
		t.Errorf("got %v", got)
	}
}

// While the file is invalid, the previous secret stays in use. The same error is logged
// once, and the file is read each time.
func TestInvalidChangeIsIgnored(t *testing.T) {
	e, log, dir := newFakeEntra(), newLogRecorder(), t.TempDir()
	e.secrets("secret-1", "secret-2")
	path := testkit.WriteFile(t, filepath.Join(dir, "secret"), "secret-1")
	c, err := credentials.SecretFile(path, &credentials.SecretFileOptions{Logger: log.Logger})
	if err != nil {
		t.Fatal(err)
	}
	const prefix = `level=WARN msg="entra: reloading the client secret failed; the previous one stays in use" ` +
		`file=DIR/secret error.code=invalid_client error.description="`
	for _, change := range []func() string{
		func() string {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return `cannot read the client secret file \"DIR/secret\": no such file or directory"`
		},
		func() string {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			return `the client secret file \"DIR/secret\" is a directory"`
		},
		func() string {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			testkit.WriteFile(t, path, "")
			return `the client secret file \"DIR/secret\" is empty"`
		},
	} {
		want := change()
		for range 3 {
			e.mustUse(t, c)
		}
		wantLines(t, log, dir, prefix+want)
	}
	testkit.WriteFile(t, path, "secret-1") // unchanged
	e.mustUse(t, c)
	wantLines(t, log, dir)
	testkit.WriteFile(t, path, "")
	e.mustUse(t, c)
	wantLines(t, log, dir, prefix+`the client secret file \"DIR/secret\" is empty"`) // logged again after a success
	testkit.WriteFile(t, path, "secret-2")
	e.mustUse(t, c)
	wantLines(t, log, dir, `level=INFO msg="entra: new client secret loaded" file=DIR/secret`)
	e.wantSent(t, slices.Concat(slices.Repeat([]string{"secret-1"}, 11), []string{"secret-2"})...)
}

// Kubernetes replaces all files of a volume atomically. The path leads through the link
// ..data, which is replaced by a rename.
func TestKubernetesVolumeChanges(t *testing.T) {
	made := testFiles(t, `
		mkdir v1 v2
		cp leaf.crt v1/tls.crt; cp leaf.key v1/tls.key
		cp other.crt v2/tls.crt; cp other.key v2/tls.key
		ln -s v1 ..data; ln -s ..data/tls.crt tls.crt; ln -s ..data/tls.key tls.key`)
	for _, name := range []string{"v1/tls.crt", "v1/tls.key", "v2/tls.crt", "v2/tls.key"} {
		makeOld(t, filepath.Join(made, name)) // the same modification time for all
	}
	e, log := newFakeEntra(), newLogRecorder()
	first, second := certificate(t, made, "leaf.crt"), certificate(t, made, "other.crt")
	accept := func(c ...*x509.Certificate) {
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = c })
	}
	accept(first)
	c, err := credentials.CertificateFile(filepath.Join(made, "tls.crt"),
		&credentials.CertificateFileOptions{KeyPath: filepath.Join(made, "tls.key"), Logger: log.Logger, WarnBefore: -1})
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
	if n := len(e.sent("client_assertion")); n != 2 {
		t.Errorf("%d requests", n)
	}
	wantLines(t, log, made, fmt.Sprintf(`level=INFO msg="entra: new certificate loaded" file=DIR/tls.crt thumbprint=%s `+
		`not_after=%s`,
		thumbprint(second), second.NotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
}

// The certificate and the key are replaced one after the other, and each is written in
// parts. The old certificate is used until both are complete.
func TestHalfWrittenCertificate(t *testing.T) {
	dir := testFiles(t, `cp leaf.crt cert; cp leaf.key key`)
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	e, log := newFakeEntra(), newLogRecorder()
	old, renewed := certificate(t, dir, "leaf.crt"), certificate(t, dir, "other.crt")
	e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{old, renewed} })
	c, err := credentials.CertificateFile(cert, &credentials.CertificateFileOptions{KeyPath: key, SendChain: true,
		Logger: log.Logger, WarnBefore: -1})
	if err != nil {
		t.Fatal(err)
	}
	uses := func(want *x509.Certificate) {
		t.Helper()
		e.mustUse(t, c)
		sent := e.sent("client_assertion")
		if got := header(t, sent[len(sent)-1]).X5C; len(got) != 1 || !slices.Equal(got[0], want.Raw) {
			t.Error("got a different certificate")
		}
	}
	newCert, newKey := read(t, dir, "other.crt"), read(t, dir, "other.key")
	uses(old)
	for _, part := range []string{"", newCert[:100], newCert[:len(newCert)-10], newCert} {
		testkit.WriteFile(t, cert, part)
		uses(old)
	}
	for _, part := range []string{newKey[:100], newKey[:len(newKey)-10]} {
		testkit.WriteFile(t, key, part)
		uses(old)
	}
	testkit.WriteFile(t, key, newKey)
	uses(renewed)
	const prefix = `level=WARN msg="entra: reloading the certificate failed; the previous one stays in use" ` +
		`file=DIR/cert error.code=invalid_client error.description="`
	wantLines(t, log, dir,
		prefix+`the file \"DIR/cert\" is empty"`,
		prefix+`the file \"DIR/cert\" is truncated or corrupt: only 0 of 1 PEM blocks are complete"`, // twice
		prefix+`the private key in \"DIR/key\" does not match any certificate in \"DIR/cert\""`,
		prefix+`the file \"DIR/key\" is truncated or corrupt: only 0 of 1 PEM blocks are complete"`,
		fmt.Sprintf(`level=INFO msg="entra: new certificate loaded" file=DIR/cert thumbprint=%s not_after=%s`,
			thumbprint(renewed), renewed.NotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
}

// The password callback is called each time the file is read, and only then.
func TestPasswordChangesWithFile(t *testing.T) {
	dir := testFiles(t, `
		cat leaf.crt leaf-encrypted.key > cert
		openssl pkcs12 -export -inkey other.key -in other.crt -passout pass:another -out other.pfx`)
	path := filepath.Join(dir, "cert")
	makeOld(t, path)
	e, calls := newFakeEntra(), 0
	e.UpdateCredentials("daemon", func(a *entratest.App) {
		a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt"), certificate(t, dir, "other.crt")}
	})
	now := password
	c, err := credentials.CertificateFile(path, &credentials.CertificateFileOptions{Password: counted(&calls, &now)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		e.mustUse(t, c)
	}
	if calls != 1 {
		t.Errorf("got %d calls of the password callback", calls)
	}
	now = "another"
	replace(t, path, read(t, dir, "other.pfx"))
	makeOld(t, path)
	for range 3 {
		e.mustUse(t, c)
	}
	if calls != 2 {
		t.Errorf("got %d calls of the password callback", calls)
	}
	sent := e.sent("client_assertion")
	if header(t, sent[2]).S256 == header(t, sent[3]).S256 {
		t.Error("the new certificate was not used")
	}
}

// While a new certificate is read, which a slow password callback delays, only callers whose
// request was rejected wait. All of them share one read.
func TestCallersShareOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dir := newFakeEntra(), t.TempDir()
		var certs []*x509.Certificate
		var files []string
		for i := range 2 {
			cert, _ := newCertificate(t, time.Now(), time.Now().Add(time.Duration(i+1)*day))
			pfx, err := pkcs12.Modern2023.Encode(testkit.RSAKey(t), cert, nil, password)
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
		path := testkit.WriteFile(t, filepath.Join(dir, "cert"), files[0])
		c, err := credentials.CertificateFile(path,
			&credentials.CertificateFileOptions{Password: func(context.Context) (string, error) {
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
		wg.Go(func() { // this caller reads the files
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
		for range 10 { // rejected with the old one
			wg.Go(func() {
				if err := e.use(c); err != nil || time.Since(start) != slow {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		}
		wg.Wait()
		if n := calls.Load(); n != 2 {
			t.Errorf("got %d reads, want 2", n)
		}
		if n := e.Count(entratest.Match{AADSTS: 700027}); n != 10 || e.TokenRequests() != 22 {
			t.Errorf("got %d rejected of %d requests, want 10 of 22", n, e.TokenRequests())
		}
	})
}
