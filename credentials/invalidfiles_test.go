package credentials_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const (
	reencrypt = "encrypt it again: openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW"
	reexport  = "export it again: openssl pkcs12 -export -inkey KEY -in CERT -out NEW.pfx"
)

// negativeSerial creates old.crt, which x509 rejects.
const negativeSerial = `openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=old -set_serial -5 ` +
	`-keyout old.key -out old.crt; `

// The error for an invalid file describes the problem and a fix. It does not repeat the
// contents or the password.
func TestInvalidCertificateFiles(t *testing.T) {
	for name, test := range map[string]struct {
		script   string // creates cert, and optionally key
		password string
		want     string
	}{
		"no file":   {"", "", `cannot read the certificate file "DIR/cert": no such file or directory`},
		"empty":     {": > cert", "", `the file "DIR/cert" is empty`},
		"blank":     {"echo > cert", "", `the file "DIR/cert" is empty`},
		"directory": {"mkdir cert", "", `the certificate file "DIR/cert" is a directory`},
		"pipe": {"mkfifo cert", "",
			`the certificate file "DIR/cert" is not a regular file, so it cannot be read again when it changes`},
		"loop": {"ln -s cert cert", "",
			`cannot read the certificate file "DIR/cert": too many levels of symbolic links`},
		"large": {"head -c 1048577 /dev/zero > cert", "",
			`the certificate file "DIR/cert" is larger than 1048576 bytes`},
		"text": {"echo hello > cert", "", `the file "DIR/cert" contains neither PEM nor PKCS#12 (PFX); ` +
			`provide the certificate and its private key in one of these formats`},
		"no key": {"cp leaf.crt cert", "",
			`the file "DIR/cert" has no private key; add the certificate's or configure the key's file`},
		"no key, two files": {"cp leaf.crt cert; cp leaf.crt key", "",
			`the file "DIR/key" has no private key; it must contain the certificate's`},
		"no certificate": {"cp leaf.key cert", "",
			`the file "DIR/cert" has no certificate; add the certificate of the app registration`},
		"two keys": {"cat leaf.key leaf.crt other.key > cert", "",
			`the file "DIR/cert" has 2 private keys; keep only the certificate's`},
		"wrong key": {"cat leaf.crt other.key > cert", "",
			`the private key in "DIR/cert" does not match any certificate in "DIR/cert"`},
		"wrong key, two files": {"cp leaf.crt cert; cp other.key key", "",
			`the private key in "DIR/key" does not match any certificate in "DIR/cert"`},
		"weak": {"cat weak.crt weak.key > cert", "", `the private key in "DIR/cert" has 1024 bits; it needs at least 2048`},
		"EC": {"cat ec.key ec.crt > cert", "",
			`the file "DIR/cert" has an elliptic curve (EC) private key; Entra only accepts RSA keys; ` +
				`create one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT`},
		"EC, SEC 1": {"cat ec-sec1.key ec.crt > cert", "",
			`the file "DIR/cert" has an elliptic curve (EC) private key; Entra only accepts RSA keys; ` +
				`create one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT`},
		"EC, PFX": {"openssl pkcs12 -export -inkey ec.key -in ec.crt -passout pass: -out cert", "",
			`the file "DIR/cert" has an elliptic curve (EC) private key; ` +
				`Entra only accepts RSA keys; create one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME ` +
				`-keyout KEY -out CERT`},
		"Ed25519": {"cat ed25519.key leaf.crt > cert", "",
			`the file "DIR/cert" has a private key of type ed25519.PrivateKey; Entra only accepts RSA keys`},
		"RSA-PSS": {"openssl genpkey -algorithm RSA-PSS -out cert", "",
			`the file "DIR/cert" has a private key that is corrupt or of an unknown type; Entra only accepts RSA keys`},
		"OpenSSH": {"sed 's/PRIVATE KEY/OPENSSH PRIVATE KEY/' leaf.key > cert", "",
			`the file "DIR/cert" has a private key in OpenSSH format; convert a copy to PEM: ssh-keygen -p -m PKCS8 -f COPY`},
		"legacy encryption": {"cat leaf.crt leaf-old.key > cert", password,
			`the file "DIR/cert" has a private key in OpenSSL's legacy encryption (Proc-Type), which is weak; ` + reencrypt},

		"truncated in the key": {"cat leaf.crt leaf.key | head -c 2000 > cert", "",
			`the file "DIR/cert" is truncated or corrupt: only 1 of 2 PEM blocks are complete`},
		"truncated in the certificate": {"cat leaf.key leaf.crt | head -c 2000 > cert", "",
			`the file "DIR/cert" is truncated or corrupt: only 1 of 2 PEM blocks are complete`},
		"truncated in the chain": {"cat leaf.key leaf.crt between.crt | head -c 3100 > cert", "",
			`the file "DIR/cert" is truncated or corrupt: only 2 of 3 PEM blocks are complete`},
		"truncated DER": {"openssl x509 -in leaf.crt -outform DER | head -c 500 > cert", "",
			`the file "DIR/cert" is truncated or corrupt: its DER ends too early`},
		"truncated PFX": {"head -c 2000 leaf.pfx > cert", password,
			`the file "DIR/cert" is truncated or corrupt: its DER ends too early`},
		"trailing data": {"cat leaf.pfx leaf.crt > cert", password,
			`the file "DIR/cert" is corrupt: %d bytes follow the end of its DER`},
		"damaged certificate": {"sed '3s/./A/g' leaf.crt > cert; cat leaf.key >> cert", "",
			`the file "DIR/cert" has no certificate; add the certificate of the app registration; ` +
				`block 1 (CERTIFICATE) of "DIR/cert" was skipped: %v`},
		"negative serial number, wrong key": {negativeSerial + `cat old.crt leaf.crt other.key > cert`, "",
			`the private key in "DIR/cert" does not match any certificate in "DIR/cert"; ` +
				`block 1 (CERTIFICATE) of "DIR/cert" was skipped: x509: negative serial number`},
		"negative serial number, DER": {negativeSerial + `openssl x509 -in old.crt -outform DER -out cert`, "",
			`the file "DIR/cert" is DER, but not PKCS#12 (PFX), a certificate or a private key (x509: negative serial number)`},
		"negative serial number, PFX": {negativeSerial + `openssl pkcs12 -export -inkey old.key -in old.crt -passout ` +
			`"pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has no certificate; add the certificate of the app registration; ` +
				`block 1 (CERTIFICATE) of "DIR/cert" was skipped: x509: negative serial number`},
		"damaged key": {"sed '3s/./A/g' leaf.key > cert; cat leaf.crt >> cert", "",
			`the file "DIR/cert" has a private key that is corrupt or of an unknown type; Entra only accepts RSA keys`},
		"other DER": {"openssl req -in leaf.csr -outform DER -out cert", "",
			`the file "DIR/cert" is DER, but not PKCS#12 (PFX), a certificate or a private key ` +
				`(x509: inner and outer signature algorithm identifiers don't match)`},
		"BER": {`printf '\060\200\002\001\003\060\000\000\000' > cert`, "",
			`the file "DIR/cert" is BER with indefinite lengths instead of DER; ` +
				`convert it: openssl pkcs12 -in OLD -out NEW.pem`},
		"expired": {"cat late.crt leaf.key > cert", "",
			`the certificate in "DIR/cert" expired at %s; renew it and add the new one to the app registration`},

		"wrong password": {"cat leaf.crt leaf-encrypted.key > cert", "Tr0ub4dor&3",
			`the file "DIR/cert" has an encrypted private key and the password is wrong`},
		"no password": {"cat leaf.crt leaf-encrypted.key > cert", "",
			`the file "DIR/cert" has an encrypted private key and needs its password`},
		"wrong password, PFX": {"cp leaf.pfx cert", "Tr0ub4dor&3",
			`the file "DIR/cert" is a PKCS#12 (PFX) file and the password is wrong`},
		"no password, PFX": {"cp leaf.pfx cert", "", `the file "DIR/cert" is a PKCS#12 (PFX) file that needs a password`},
		"PBES1": {`openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in leaf.key -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has a private key encrypted with 1.2.840.113549.1.12.1.3, which is not PBES2; ` + reencrypt},
		"scrypt": {`openssl pkcs8 -topk8 -scrypt -in leaf.key -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has a private key encrypted with the key derivation 1.3.6.1.4.1.11591.4.11, which is ` +
				`not PBKDF2; ` + reencrypt},
		"Camellia": {`openssl pkcs8 -topk8 -v2 camellia-256-cbc -in leaf.key -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has a private key encrypted with 1.2.392.200011.61.1.1.1.4, which is neither AES nor triple ` +
				`DES in CBC mode; ` + reencrypt},
		"PFX, SHA-384": {`openssl pkcs12 -export -macalg SHA384 -inkey leaf.key -in leaf.crt -passout ` +
			`"pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" is a PKCS#12 (PFX) file with an unsupported algorithm (pkcs12: MAC digest algorithm not ` +
				`supported: 2.16.840.1.101.3.4.2.2); ` + reexport},
		"PFX without a key": {`openssl pkcs12 -export -nokeys -in leaf.crt -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" is a PKCS#12 (PFX) file that is corrupt or does not have one private key ` +
				`with its certificate; ` + reexport},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := testFiles(t, test.script)
			var opts credentials.CertificateFileOptions
			if _, err := os.Stat(filepath.Join(dir, "key")); err == nil {
				opts.KeyPath = filepath.Join(dir, "key")
			}
			if test.password != "" {
				opts.Password = func(context.Context) (string, error) { return test.password, nil }
			}
			want := test.want
			switch name {
			case "expired":
				want = fmt.Sprintf(want, certificate(t, dir, "late.crt").NotAfter.UTC().Format(time.RFC3339))
			case "damaged certificate":
				block, _ := pem.Decode([]byte(read(t, dir, "cert")))
				_, reason := x509.ParseCertificate(block.Bytes)
				want = fmt.Sprintf(want, reason)
			case "trailing data":
				want = fmt.Sprintf(want, len(read(t, dir, "leaf.crt")))
			}
			c, err := credentials.CertificateFile(filepath.Join(dir, "cert"), &opts)
			wantInvalid(t, err, dir, want)
			if !c.Equal(entra.Credential{}) {
				t.Error("got a credential and an error")
			}
		})
	}
}

// Blocks that cannot be parsed and are not needed do not make a file useless: an old certificate authority with a
// negative serial number (https://github.com/istio/istio/issues/56815), or a second key of an unsupported type. One log
// line names the blocks and the reasons, once per version of the file.
func TestUnrelatedBlocksAreSkipped(t *testing.T) {
	for name, test := range map[string]struct{ script, skipped string }{
		"negative serial number": {negativeSerial + `cat old.crt leaf.crt between.crt leaf.key > cert`,
			`[block 1 (CERTIFICATE) of "DIR/cert" was skipped: x509: negative serial number]`},
		"negative serial number, PFX": {negativeSerial + `cat between.crt old.crt > above; openssl pkcs12 -export ` +
			`-inkey leaf.key -in leaf.crt -certfile above -passout "pass:$PASSWORD" -out cert`,
			`[block 3 (CERTIFICATE) of "DIR/cert" was skipped: x509: negative serial number]`},
		"elliptic curve key": {`cat leaf.crt between.crt leaf.key ec.key ec.crt > cert`,
			`[block 4 (PRIVATE KEY) of "DIR/cert" was skipped: it has an elliptic curve (EC) private key; Entra only ` +
				`accepts RSA keys; create one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY ` +
				`-out CERT]`},
		"OpenSSH key and a damaged certificate": {`sed 's/PRIVATE KEY/OPENSSH PRIVATE KEY/' other.key > cert; ` +
			`printf -- '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n' >> cert; cat leaf.key leaf.crt between.crt >> cert`,
			`[block 1 (OPENSSH PRIVATE KEY) of "DIR/cert" was skipped: it has a private key in OpenSSH format; ` +
				`convert a copy to PEM: ssh-keygen -p -m PKCS8 -f COPY ` +
				`block 2 (CERTIFICATE) of "DIR/cert" was skipped: x509: malformed tbs certificate]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := testFiles(t, test.script), new(testkit.Log)
			path := filepath.Join(dir, "cert")
			makeOld(t, path)
			c, err := credentials.CertificateFile(path, &credentials.CertificateFileOptions{
				Password: withPassword, SendChain: true, Logger: log.Logger(), WarnBefore: -1,
			})
			if err != nil {
				t.Fatal(err)
			}
			e := newFakeEntra()
			e.UpdateCredentials("daemon", func(a *entratest.App) {
				a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")}
			})
			e.mustUse(t, c)
			now := time.Now()
			if err := os.Chtimes(path, now, now); err != nil { // the file is read again
				t.Fatal(err)
			}
			e.mustUse(t, c)
			if got := header(t, e.sent("client_assertion")[1]).X5C; len(got) != 2 {
				t.Errorf("got a chain of %d certificates, want 2", len(got))
			}
			lines := log.Lines(t)
			if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["file"] != path ||
				lines[0]["msg"] != "entra: a part of the certificate file cannot be used and was skipped" ||
				fmt.Sprint(lines[0]["skipped"]) != strings.ReplaceAll(test.skipped, "DIR", dir) {
				t.Errorf("got the log %v, want one warning with %s", lines, test.skipped)
			}
		})
	}
}

// The descriptions of skipped blocks are bounded.
func TestSkippedBlocksAreBounded(t *testing.T) {
	dir := testFiles(t, `cat leaf.crt leaf.key > cert`)
	const block = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
	path := testkit.WriteFile(t, filepath.Join(dir, "cert"), strings.Repeat(block, 1000)+read(t, dir, "cert"))
	log := new(testkit.Log)
	if _, err := credentials.CertificateFile(path,
		&credentials.CertificateFileOptions{Logger: log.Logger(), WarnBefore: -1}); err != nil {
		t.Fatal(err)
	}
	if lines := log.Lines(t); len(lines) != 1 || len(lines[0]["skipped"].([]any)) != 10 {
		t.Errorf("got the log %s, want one line with 10 blocks", log)
	}
}

// The error wraps that of the operating system.
func TestFileErrorsWrap(t *testing.T) {
	_, err := credentials.SecretFile(filepath.Join(t.TempDir(), "none"), nil)
	var e *entra.Error
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, syscall.ENOENT) || !errors.As(err, &e) || e.Temporary() {
		t.Errorf("%#v", err)
	}
}

func TestEmptyPaths(t *testing.T) {
	_, err := credentials.CertificateFile("", nil)
	wantInvalid(t, err, "", "the path of the certificate file is empty")
	_, err = credentials.SecretFile("", nil)
	wantInvalid(t, err, "", "the path of the client secret file is empty")
}

// An error of the password callback is returned, and not reported as a wrong password.
func TestPasswordCallbackFails(t *testing.T) {
	dir := testFiles(t, "cp leaf.pfx cert")
	down := errors.New("the vault is down\nfor now (eyJhbGciOiJub25lIn0.e30.)")
	_, err := credentials.CertificateFile(filepath.Join(dir, "cert"),
		&credentials.CertificateFileOptions{Password: func(context.Context) (string, error) { return "", down }})
	wantInvalid(t, err, dir, `cannot get the password of the certificate file "DIR/cert": the vault is down for now `+
		`([redacted])`)
	if !errors.Is(err, down) {
		t.Errorf("got %v, want the error of the callback", err)
	}
}

// A file whose decryption would take hours is rejected before a password is tried.
func TestIterationsAreBounded(t *testing.T) {
	dir := testFiles(t, `
		openssl pkcs8 -topk8 -v2 aes256 -iter 70000 -in leaf.key -outform DER -passout "pass:$PASSWORD" -out slow.key
		openssl pkcs12 -export -iter 70000 -inkey leaf.key -in leaf.crt -passout "pass:$PASSWORD" -out slow.pfx`)
	for name, want := range map[string]string{
		"slow.key": `the file "DIR/slow.key" has a private key encrypted with 8388607 iterations; 1 to 5000000 are allowed`,
		"slow.pfx": `the file "DIR/slow.pfx" is a PKCS#12 (PFX) file with 8388607 iterations; the limit is 5000000; ` +
			reexport,
	} {
		// 70000 is an INTEGER of three bytes in DER.
		slow := bytes.ReplaceAll([]byte(read(t, dir, name)), []byte{2, 3, 0x01, 0x11, 0x70}, []byte{2, 3, 0x7f, 0xff, 0xff})
		testkit.WriteFile(t, filepath.Join(dir, name), string(slow))
		_, err := credentials.CertificateFile(filepath.Join(dir, name),
			&credentials.CertificateFileOptions{Password: withPassword})
		wantInvalid(t, err, dir, want)
	}
}

// A file of 1 MiB is read.
func TestLargestFile(t *testing.T) {
	path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "secret"), strings.Repeat("a", 1<<20))
	if _, err := credentials.SecretFile(path, nil); err != nil {
		t.Error(err)
	}
	testkit.WriteFile(t, path, strings.Repeat("a", 1<<20+1))
	_, err := credentials.SecretFile(path, nil)
	wantInvalid(t, err, path, `the client secret file "DIR" is larger than 1048576 bytes`)
}

func TestInvalidSecretFiles(t *testing.T) {
	const control = "contains a control character, such as a line feed, or invalid UTF-8; " +
		"it must be the secret's Value and nothing else"
	dir := t.TempDir()
	for content, want := range map[string]string{
		"":                   "is empty",
		"\r\n":               "is empty",
		"secret ":            "has white space around it; it must be the secret's Value and nothing else",
		"secret\nsecret":     control,
		"sec\x00ret":         control,
		"\xff\xfes\x00e\x00": control,
	} {
		path := testkit.WriteFile(t, filepath.Join(dir, "secret"), content)
		_, err := credentials.SecretFile(path, nil)
		wantInvalid(t, err, dir, `the client secret file "DIR/secret" `+want)
	}
}

func TestInvalidTokenFiles(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"":              "is empty",
		" \n":           "is empty",
		"hello":         "does not contain a JWT",
		"a.b":           "does not contain a JWT",
		"a.b.c":         "does not contain a JWT",
		"e30.bm8.c2ln":  "does not contain a JWT",
		"e30.e30.c2 ln": "does not contain a JWT",
		"e30..c2ln":     "does not contain a JWT",
	} {
		path := testkit.WriteFile(t, filepath.Join(dir, "token"), content)
		_, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{TokenFile: path})
		wantInvalid(t, err, dir, `the federated token file "DIR/token" `+want)
	}
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "")
	_, err := credentials.WorkloadIdentity(nil)
	wantInvalid(t, err, "", "AZURE_FEDERATED_TOKEN_FILE is not set; "+
		`the pod needs the label azure.workload.identity/use: "true" and a service account that the app trusts, or set `+
		`WorkloadIdentityOptions.TokenFile`)
}

// Printing options, credentials and their info does not reveal a secret.
func TestPrintingRevealsNoSecret(t *testing.T) {
	dir := testFiles(t, "cat leaf.crt leaf-encrypted.key > cert")
	opts := credentials.CertificateFileOptions{Password: withPassword}
	certificate, err := credentials.CertificateFile(filepath.Join(dir, "cert"), &opts)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := credentials.SecretFile(testkit.WriteFile(t, filepath.Join(dir, "secret"), "s3cr3t-s3cr3t-s3cr3t"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{opts, certificate, secret, certificate.Info(), secret.Info()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "s3cr3t") || strings.Contains(text, password) {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}
