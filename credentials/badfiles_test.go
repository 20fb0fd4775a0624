package credentials_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
)

const (
	remade     = "write it anew: openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW"
	reexported = "export it anew: openssl pkcs12 -export -inkey KEY -in CERT -out NEW.pfx"
)

// What is wrong with a file is said exactly, with what to do, and with nothing of what is
// in the file or of the password.
func TestBadCertificateFiles(t *testing.T) {
	for name, test := range map[string]struct {
		script   string // makes cert, and perhaps key
		password string
		want     string
	}{
		"no file":           {"", "", `the certificate file "DIR/cert" cannot be read: no such file or directory`},
		"empty":             {": > cert", "", `the file "DIR/cert" is empty`},
		"blank":             {"echo > cert", "", `the file "DIR/cert" is empty`},
		"directory":         {"mkdir cert", "", `the certificate file "DIR/cert" is a directory; name a file in it`},
		"pipe":              {"mkfifo cert", "", `the certificate file "DIR/cert" is not a regular file, so it cannot be read again when it changes`},
		"loop":              {"ln -s cert cert", "", `the certificate file "DIR/cert" cannot be read: too many levels of symbolic links`},
		"large":             {"head -c 1048577 /dev/zero > cert", "", `the certificate file "DIR/cert" is larger than 1048576 bytes`},
		"text":              {"echo hello > cert", "", `the file "DIR/cert" holds neither PEM nor PKCS#12 (PFX); give a file with the certificate and its private key in one of these forms`},
		"no key":            {"cp leaf.crt cert", "", `the file "DIR/cert" has no private key; add the certificate's own, or name the key's file, too`},
		"no key, two files": {"cp leaf.crt cert; cp leaf.crt key", "", `the file "DIR/key" has no private key; it is to have the certificate's own`},
		"no certificate":    {"cp leaf.key cert", "", `the file "DIR/cert" has no certificate; add the one that is registered with the app`},
		"two keys":          {"cat leaf.key leaf.crt other.key > cert", "", `the file "DIR/cert" has 2 private keys; leave the one that belongs to the certificate`},
		"another's key": {"cat leaf.crt other.key > cert", "",
			`the private key in "DIR/cert" belongs to none of the certificates in "DIR/cert"; give the key and the certificate that were made for each other`},
		"another's key, two files": {"cp leaf.crt cert; cp other.key key", "",
			`the private key in "DIR/key" belongs to none of the certificates in "DIR/cert"; give the key and the certificate that were made for each other`},
		"weak": {"cat weak.crt weak.key > cert", "", `the private key in "DIR/cert" has 1024 bits; an app's RSA key needs at least 2048`},
		"EC": {"cat ec.key ec.crt > cert", "", `the file "DIR/cert" has an elliptic curve (EC) private key, but Entra accepts RSA only for an app's certificate; ` +
			`make a new one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT`},
		"EC, SEC 1": {"cat ec-sec1.key ec.crt > cert", "", `the file "DIR/cert" has an elliptic curve (EC) private key, but Entra accepts RSA only for an app's certificate; ` +
			`make a new one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT`},
		"EC, PFX": {"openssl pkcs12 -export -inkey ec.key -in ec.crt -passout pass: -out cert", "", `the file "DIR/cert" has an elliptic curve (EC) private key, ` +
			`but Entra accepts RSA only for an app's certificate; make a new one: openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj /CN=NAME -keyout KEY -out CERT`},
		"Ed25519":  {"cat ed25519.key leaf.crt > cert", "", `the file "DIR/cert" has a private key of the kind ed25519.PrivateKey, but Entra accepts RSA only for an app's certificate`},
		"RSA-PSS":  {"openssl genpkey -algorithm RSA-PSS -out cert", "", `the file "DIR/cert" has a private key that is damaged or of an unknown kind; Entra accepts RSA only`},
		"OpenSSH":  {"sed 's/PRIVATE KEY/OPENSSH PRIVATE KEY/' leaf.key > cert", "", `the file "DIR/cert" has a private key in OpenSSH's own form; write a copy of it as PEM: ssh-keygen -p -m PKCS8 -f COPY`},
		"old form": {"cat leaf.crt leaf-old.key > cert", password, `the file "DIR/cert" has a private key in OpenSSL's old encrypted form (Proc-Type), which protects it badly; ` + remade},

		"truncated in the key":         {"cat leaf.crt leaf.key | head -c 2000 > cert", "", `the file "DIR/cert" is cut off or damaged: 1 of the 2 PEM blocks in it are whole`},
		"truncated in the certificate": {"cat leaf.key leaf.crt | head -c 2000 > cert", "", `the file "DIR/cert" is cut off or damaged: 1 of the 2 PEM blocks in it are whole`},
		"truncated in the chain":       {"cat leaf.key leaf.crt between.crt | head -c 3100 > cert", "", `the file "DIR/cert" is cut off or damaged: 2 of the 3 PEM blocks in it are whole`},
		"truncated DER":                {"openssl x509 -in leaf.crt -outform DER | head -c 500 > cert", "", `the file "DIR/cert" is cut off or damaged: it begins as DER and ends too early`},
		"truncated PFX":                {"head -c 2000 leaf.pfx > cert", password, `the file "DIR/cert" is cut off or damaged: it begins as DER and ends too early`},
		"more than DER":                {"cat leaf.pfx leaf.crt > cert", password, `the file "DIR/cert" is damaged: there are %d bytes after the end of its DER`},
		"damaged certificate":          {"sed '3s/./A/g' leaf.crt > cert; cat leaf.key >> cert", "", `the file "DIR/cert" has a certificate that is damaged or breaks the rules for certificates`},
		"damaged key":                  {"sed '3s/./A/g' leaf.key > cert; cat leaf.crt >> cert", "", `the file "DIR/cert" has a private key that is damaged or of an unknown kind; Entra accepts RSA only`},
		"other DER":                    {"openssl req -in leaf.csr -outform DER -out cert", "", `the file "DIR/cert" is DER, but neither PKCS#12 (PFX) nor a certificate nor a private key`},
		"BER":                          {`printf '\060\200\002\001\003\060\000\000\000' > cert`, "", `the file "DIR/cert" is BER of indefinite length, which some tools write instead of DER; convert it: openssl pkcs12 -in OLD -out NEW.pem`},
		"expired":                      {"cat late.crt leaf.key > cert", "", `the certificate in "DIR/cert" expired at %s; renew it, and register the new one with the app`},

		"wrong password":      {"cat leaf.crt leaf-encrypted.key > cert", "Tr0ub4dor&3", `the file "DIR/cert" has an encrypted private key, and the password for it is wrong`},
		"no password":         {"cat leaf.crt leaf-encrypted.key > cert", "", `the file "DIR/cert" has an encrypted private key; give its password`},
		"wrong password, PFX": {"cp leaf.pfx cert", "Tr0ub4dor&3", `the file "DIR/cert" is a PKCS#12 (PFX) file, and the password for it is wrong`},
		"no password, PFX":    {"cp leaf.pfx cert", "", `the file "DIR/cert" is a PKCS#12 (PFX) file with a password; give it`},
		"PBES1": {`openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in leaf.key -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has a private key encrypted in an outdated way (1.2.840.113549.1.12.1.3, not PBES2); ` + remade},
		"scrypt": {`openssl pkcs8 -topk8 -scrypt -in leaf.key -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has a private key whose password goes through 1.3.6.1.4.1.11591.4.11, not PBKDF2; ` + remade},
		"Camellia": {`openssl pkcs8 -topk8 -v2 camellia-256-cbc -in leaf.key -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" has a private key encrypted with 1.2.392.200011.61.1.1.1.4, which is neither AES nor triple DES in CBC mode; ` + remade},
		"PFX, SHA-384": {`openssl pkcs12 -export -macalg SHA384 -inkey leaf.key -in leaf.crt -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" is a PKCS#12 (PFX) file made in a way that is not understood (pkcs12: MAC digest algorithm not supported: 2.16.840.1.101.3.4.2.2); ` + reexported},
		"PFX without a key": {`openssl pkcs12 -export -nokeys -in leaf.crt -passout "pass:$PASSWORD" -out cert`, password,
			`the file "DIR/cert" is a PKCS#12 (PFX) file without exactly one private key and at least one certificate, or it is damaged; ` + reexported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := made(t, test.script)
			cfg := credentials.CertificateFileConfig{Path: filepath.Join(dir, "cert")}
			if _, err := os.Stat(filepath.Join(dir, "key")); err == nil {
				cfg.KeyPath = filepath.Join(dir, "key")
			}
			if test.password != "" {
				cfg.Password = func(context.Context) (string, error) { return test.password, nil }
			}
			want := test.want
			switch name {
			case "expired":
				want = fmt.Sprintf(want, certificate(t, dir, "late.crt").NotAfter.UTC().Format(time.RFC3339))
			case "more than DER":
				want = fmt.Sprintf(want, len(read(t, dir, "leaf.crt")))
			}
			c, err := credentials.CertificateFile(cfg)
			wantRefused(t, err, dir, want)
			if !c.Equal(entra.Credential{}) {
				t.Error("a credential beside the error")
			}
		})
	}
}

// The system's own error can be found.
func TestBadFilesWrapTheSystemsError(t *testing.T) {
	_, err := credentials.SecretFile(filepath.Join(t.TempDir(), "none"))
	var e *entra.Error
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, syscall.ENOENT) || !errors.As(err, &e) || e.Temporary() {
		t.Errorf("%#v", err)
	}
}

func TestMissingPaths(t *testing.T) {
	_, err := credentials.CertificateFile(credentials.CertificateFileConfig{})
	wantRefused(t, err, "", "the name of the certificate file is missing")
	_, err = credentials.SecretFile("")
	wantRefused(t, err, "", "the name of the client secret file is missing")
}

// A password that cannot be had is no wrong password, and keeps its own error.
func TestPasswordFails(t *testing.T) {
	dir := made(t, "cp leaf.pfx cert")
	down := errors.New("the vault is down\nfor now (eyJhbGciOiJub25lIn0.e30.)")
	_, err := credentials.CertificateFile(credentials.CertificateFileConfig{
		Path:     filepath.Join(dir, "cert"),
		Password: func(context.Context) (string, error) { return "", down },
	})
	wantRefused(t, err, dir, `the password for the certificate file "DIR/cert" could not be had: the vault is down for now ([redacted])`)
	if !errors.Is(err, down) {
		t.Error("the callback's error is lost")
	}
}

// A file that would keep a processor busy for hours is refused before it does.
func TestIterationsAreBounded(t *testing.T) {
	dir := made(t, `
		openssl pkcs8 -topk8 -v2 aes256 -iter 70000 -in leaf.key -outform DER -passout "pass:$PASSWORD" -out slow.key
		openssl pkcs12 -export -iter 70000 -inkey leaf.key -in leaf.crt -passout "pass:$PASSWORD" -out slow.pfx`)
	for name, want := range map[string]string{
		"slow.key": `the file "DIR/slow.key" has a private key encrypted with 8388607 iterations, not with 1 to 5000000`,
		"slow.pfx": `the file "DIR/slow.pfx" is a PKCS#12 (PFX) file with 8388607 iterations, more than 5000000; ` + reexported,
	} {
		// 70000 is an INTEGER of three bytes in DER.
		slow := bytes.ReplaceAll([]byte(read(t, dir, name)), []byte{2, 3, 0x01, 0x11, 0x70}, []byte{2, 3, 0x7f, 0xff, 0xff})
		write(t, filepath.Join(dir, name), string(slow))
		_, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: filepath.Join(dir, name), Password: withPassword})
		wantRefused(t, err, dir, want)
	}
}

func TestBadSecretFiles(t *testing.T) {
	const text = "it is to be the value of the secret and nothing else"
	dir := t.TempDir()
	for content, want := range map[string]string{
		"":                   "is empty",
		"\r\n":               "is empty",
		"a secret":           "has white space, a control character or something other than text in it; " + text,
		"secret\nsecret":     "has white space, a control character or something other than text in it; " + text,
		"sec\x00ret":         "has white space, a control character or something other than text in it; " + text,
		"\xff\xfes\x00e\x00": "has white space, a control character or something other than text in it; " + text,
		"7D1C5A0E-1111-4a7b-9c9f-0123456789ab\n": "consists of a GUID, so it is the ID of a secret, or the client's or the tenant's ID; " +
			"it is to be the secret's Value, which the Entra admin center shows only when it is made (make a new one if it is lost)",
	} {
		path := write(t, filepath.Join(dir, "secret"), content)
		_, err := credentials.SecretFile(path)
		wantRefused(t, err, dir, `the client secret file "DIR/secret" `+want)
	}
}

func TestBadTokenFiles(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"":              "is empty",
		" \n":           "is empty",
		"hello":         "holds no JWT",
		"a.b":           "holds no JWT",
		"a.b.c":         "holds no JWT",
		"e30.bm8.c2ln":  "holds no JWT",
		"e30.e30.c2 ln": "holds no JWT",
		"e30..c2ln":     "holds no JWT",
	} {
		path := write(t, filepath.Join(dir, "token"), content)
		_, err := credentials.WorkloadIdentity(credentials.WorkloadIdentityConfig{TokenFile: path})
		wantRefused(t, err, dir, `the federated token file "DIR/token" `+want)
	}
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "")
	_, err := credentials.WorkloadIdentity(credentials.WorkloadIdentityConfig{})
	wantRefused(t, err, "", "the environment has no AZURE_FEDERATED_TOKEN_FILE; "+
		`the pod needs the label azure.workload.identity/use: "true" and the service account that the app trusts, or name the file in the configuration`)
}

// Nothing that is printed of a configuration or of a credential is secret.
func TestNothingSecretIsPrinted(t *testing.T) {
	dir := made(t, "cat leaf.crt leaf-encrypted.key > cert")
	cfg := credentials.CertificateFileConfig{Path: filepath.Join(dir, "cert"), Password: withPassword}
	certificate, err := credentials.CertificateFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := credentials.SecretFile(write(t, filepath.Join(dir, "secret"), "s3cr3t-s3cr3t-s3cr3t"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{cfg, certificate, secret, &http.Client{}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "s3cr3t") || strings.Contains(text, password) {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}
