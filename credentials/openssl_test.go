package credentials_test

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
)

const password = "correct horse battery staple"

// hierarchy creates files with OpenSSL. The certificate root issues between, which issues
// leaf. The others are self-signed: other, ec (an elliptic curve) and weak (a short key).
// late is a leaf that has expired.
var hierarchy = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "entra-credentials-")
	if err != nil {
		return "", err
	}
	return dir, sh(dir, `
		ca='basicConstraints=critical,CA:true'
		openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=root -addext "$ca" -keyout root.key -out root.crt
		openssl req -newkey rsa:2048 -noenc -subj /CN=between -keyout between.key -out between.csr
		echo "$ca" > ca.ext
		openssl x509 -req -in between.csr -CA root.crt -CAkey root.key -days 30 -extfile ca.ext -out between.crt
		openssl req -newkey rsa:2048 -noenc -subj /CN=leaf -keyout leaf.key -out leaf.csr
		openssl x509 -req -in leaf.csr -CA between.crt -CAkey between.key -days 20 -out leaf.crt
		openssl x509 -req -in leaf.csr -CA between.crt -CAkey between.key -days 10 -out leaf-before.crt
		openssl x509 -req -in leaf.csr -CA between.crt -CAkey between.key -days -1 -out late.crt
		openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=other -keyout other.key -out other.crt
		openssl req -x509 -newkey rsa:1024 -noenc -days 30 -subj /CN=weak -keyout weak.key -out weak.crt
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30 -subj /CN=ec -keyout ec.key -out ec.crt
		openssl ec -in ec.key -out ec-sec1.key
		openssl genpkey -algorithm ed25519 -out ed25519.key
		openssl rsa -in leaf.key -traditional -out leaf-pkcs1.key
		openssl rsa -in leaf.key -traditional -aes256 -passout "pass:$PASSWORD" -out leaf-old.key
		openssl pkcs8 -topk8 -v2 aes-256-cbc -in leaf.key -passout "pass:$PASSWORD" -out leaf-encrypted.key
		openssl pkcs12 -export -inkey leaf.key -in leaf.crt -passout "pass:$PASSWORD" -out leaf.pfx
	`)
})

func TestMain(m *testing.M) {
	for _, name := range []string{ // the machine's own
		"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME",
		"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
		"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
		"AZURE_KUBERNETES_TOKEN_PROXY", "AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA", "AZURE_KUBERNETES_SNI_NAME",
		"AZURE_FEDERATED_TOKEN_FILE", "AZURE_USERNAME", "AZURE_PASSWORD", "ACTIONS_ID_TOKEN_REQUEST_URL",
		"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "SYSTEM_OIDCREQUESTURI", "SYSTEM_ACCESSTOKEN",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN",
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	} {
		os.Unsetenv(name)
	}
	code := m.Run()
	if dir, err := hierarchy(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// sh runs a script in dir.
func sh(dir, script string) error {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PASSWORD="+password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %s\n%s", err, script, out)
	}
	return nil
}

// testFiles returns a directory with the files of the hierarchy, in which script was run.
func testFiles(t testing.TB, script string) string {
	t.Helper()
	from, err := hierarchy()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := sh(dir, script); err != nil {
		t.Fatal(err)
	}
	return dir
}

func withPassword(context.Context) (string, error) { return password, nil }

func certificate(t testing.TB, path ...string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, path...)))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each file format of OpenSSL is read, the key signs assertions that Entra accepts, and the
// chain is sent in order, independent of the order in the file.
func TestCertificateFormats(t *testing.T) {
	leaf, chain := []string{"leaf.crt"}, []string{"leaf.crt", "between.crt", "root.crt"}
	for name, test := range map[string]struct {
		script    string // creates the file cert, and optionally key
		plain     bool   // without a password
		wantChain []string
	}{
		"one file":                {`cat leaf.crt leaf.key > cert`, true, leaf},
		"key first":               {`cat leaf.key leaf.crt > cert`, true, leaf},
		"PKCS#1":                  {`cat leaf-pkcs1.key leaf.crt > cert`, true, leaf},
		"two files":               {`cp leaf.crt cert; cp leaf.key key`, true, leaf},
		"two files, both in both": {`cat leaf.crt leaf.key > cert; cp cert key`, true, leaf},
		"chain":                   {`cat leaf.key leaf.crt between.crt root.crt > cert`, true, chain},
		"chain reversed":          {`cat root.crt between.crt leaf.crt > cert; cp leaf.key key`, true, chain},
		"chain unordered":         {`cat between.crt leaf.key root.crt leaf.crt > cert`, true, chain},
		"other certificates":      {`cat other.crt between.crt ec.crt leaf.key leaf.crt root.crt > cert`, true, chain},
		"incomplete chain":        {`cat root.crt leaf.key leaf.crt > cert`, true, leaf},
		"same subject, different key": {`
			openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=between -keyout x.key -out x.crt
			cat x.crt leaf.key leaf.crt between.crt root.crt > cert`, true, chain},
		"duplicates":                {`cat leaf.crt leaf.key leaf.crt leaf.key > cert`, true, leaf},
		"previous certificate, too": {`cat leaf-before.crt leaf.key leaf.crt > cert`, true, leaf},
		"other blocks": {`openssl dhparam -dsaparam 512 > cert; openssl ecparam -name P-256 >> cert; cat ` +
			`leaf.csr leaf.key leaf.crt >> cert`, true, leaf},
		"text between":      {`openssl x509 -in leaf.crt -text > cert; openssl rsa -in leaf.key -text >> cert`, true, leaf},
		"CRLF line ends":    {`cat leaf.crt leaf.key | sed 's/$/\r/' > cert`, true, leaf},
		"byte order mark":   {`printf '\357\273\277' > cert; cat leaf.crt leaf.key >> cert`, true, leaf},
		"unneeded password": {`cat leaf.crt leaf.key > cert`, false, leaf},

		"encrypted, default": {`openssl pkcs8 -topk8 -in leaf.key -passout "pass:$PASSWORD" -out key; cp leaf.crt cert`,
			false, leaf},
		"encrypted, one file": {`cat leaf-encrypted.key leaf.crt > cert`, false, leaf},
		"AES-128, SHA-1": {`openssl pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1 -in leaf.key -passout ` +
			`"pass:$PASSWORD" -out key; cp leaf.crt cert`, false, leaf},
		"AES-192, SHA-224": {`openssl pkcs8 -topk8 -v2 aes-192-cbc -v2prf hmacWithSHA224 -in leaf.key -passout ` +
			`"pass:$PASSWORD" -out key; cp leaf.crt cert`, false, leaf},
		"AES-256, SHA-384": {`openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA384 -in leaf.key -passout ` +
			`"pass:$PASSWORD" -out key; cp leaf.crt cert`, false, leaf},
		"AES-256, SHA-512": {`openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512 -in leaf.key -passout ` +
			`"pass:$PASSWORD" -out key; cp leaf.crt cert`, false, leaf},
		"triple DES": {`openssl pkcs8 -topk8 -v2 des3 -in leaf.key -passout "pass:$PASSWORD" -out key; cp ` +
			`leaf.crt cert`, false, leaf},
		"600000 iterations": {`openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 600000 -in leaf.key -passout ` +
			`"pass:$PASSWORD" -out key; cp leaf.crt cert`, false, leaf},
		"DER": {`openssl x509 -in leaf.crt -outform DER -out cert; openssl pkcs8 -topk8 -nocrypt -in ` +
			`leaf.key -outform DER -out key`, true, leaf},
		"DER, PKCS#1": {`openssl x509 -in leaf.crt -outform DER -out cert; openssl rsa -in leaf.key ` +
			`-traditional -outform DER -out key`, true, leaf},
		"DER, encrypted": {`openssl x509 -in leaf.crt -outform DER -out cert; openssl pkcs8 -topk8 -in leaf.key ` +
			`-outform DER -passout "pass:$PASSWORD" -out key`, false, leaf},
		"PFX": {`cp leaf.pfx cert`, false, leaf},
		"PFX, chain": {`cat root.crt between.crt > above; openssl pkcs12 -export -inkey leaf.key -in leaf.crt ` +
			`-certfile above -passout "pass:$PASSWORD" -out cert`, false, chain},
		"PFX, legacy": {`openssl pkcs12 -export -legacy -inkey leaf.key -in leaf.crt -passout ` +
			`"pass:$PASSWORD" -out cert`, false, leaf},
		"PFX, triple DES": {`openssl pkcs12 -export -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg SHA1 ` +
			`-inkey leaf.key -in leaf.crt -passout "pass:$PASSWORD" -out cert`, false, leaf},
		"PFX, SHA-512": {`openssl pkcs12 -export -macalg SHA512 -iter 100000 -inkey leaf.key -in leaf.crt ` +
			`-passout "pass:$PASSWORD" -out cert`, false, leaf},
		"PFX, empty password": {`openssl pkcs12 -export -inkey leaf.key -in leaf.crt -passout pass: -out cert`, true, leaf},
		"PFX, unencrypted": {`openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey leaf.key -in leaf.crt ` +
			`-passout pass: -out cert`, true, leaf},
		"PFX, converted to PEM": {`openssl pkcs12 -in leaf.pfx -passin "pass:$PASSWORD" -passout "pass:$PASSWORD" -out cert`,
			false, leaf},
		"PFX for a certificate": {`cp leaf.pfx cert; cp leaf.key key`, false, leaf},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := testFiles(t, test.script)
			opts := credentials.CertificateFileOptions{SendChain: true}
			if _, err := os.Stat(filepath.Join(dir, "key")); err == nil {
				opts.KeyPath = filepath.Join(dir, "key")
			}
			if !test.plain {
				opts.Password = withPassword
			}
			c, err := credentials.CertificateFile(filepath.Join(dir, "cert"), &opts)
			if err != nil {
				t.Fatal(err)
			}
			e := newFakeEntra()
			e.UpdateCredentials("daemon", func(a *entratest.App) {
				a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")}
			})
			e.mustUse(t, c)
			var want [][]byte
			for _, name := range test.wantChain {
				want = append(want, certificate(t, dir, name).Raw)
			}
			if got := header(t, e.sent("client_assertion")[0]).X5C; !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("got a chain of %d, want %v", len(got), test.wantChain)
			}
		})
	}
}

// The options select the algorithm and whether the chain is sent.
func TestCertificateOptions(t *testing.T) {
	dir := testFiles(t, `cat leaf.crt leaf.key > cert`)
	raw := certificate(t, dir, "leaf.crt").Raw
	one, two := sha1.Sum(raw), sha256.Sum256(raw)
	x5t, s256 := base64.RawURLEncoding.EncodeToString(one[:]), base64.RawURLEncoding.EncodeToString(two[:])
	for _, test := range []struct {
		chain, rs256   bool
		alg, x5t, s256 string
		certs          int
	}{
		{false, false, "PS256", "", s256, 0},
		{true, false, "PS256", "", s256, 1},
		{false, true, "RS256", x5t, "", 0},
		{true, true, "RS256", x5t, "", 1},
	} {
		c, err := credentials.CertificateFile(filepath.Join(dir, "cert"),
			&credentials.CertificateFileOptions{SendChain: test.chain, RS256: test.rs256})
		if err != nil {
			t.Fatal(err)
		}
		e := newFakeEntra()
		e.UpdateCredentials("daemon",
			func(a *entratest.App) { a.Certificates = []*x509.Certificate{certificate(t, dir, "leaf.crt")} })
		e.mustUse(t, c)
		h := header(t, e.sent("client_assertion")[0])
		if h.Alg != test.alg || h.X5T != test.x5t || h.S256 != test.s256 || len(h.X5C) != test.certs {
			t.Errorf("got the header %+v, want %+v", h, test)
		}
	}
}

// An app that trusts a subject name and issuer accepts a renewed certificate that is not
// registered.
func TestSubjectNameAndIssuer(t *testing.T) {
	dir := testFiles(t, `cat leaf-before.crt between.crt leaf.key > cert`)
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, dir, "root.crt"))
	e := newFakeEntra()
	e.UpdateCredentials("daemon", func(a *entratest.App) {
		a.TrustedSubjects = []entratest.TrustedSubject{{Subject: "leaf", Roots: roots}}
	})
	path := filepath.Join(dir, "cert")
	c, err := credentials.CertificateFile(path, &credentials.CertificateFileOptions{SendChain: true})
	if err != nil {
		t.Fatal(err)
	}
	e.mustUse(t, c)
	replace(t, path, strings.Join([]string{read(t, dir, "leaf.crt"), read(t, dir, "between.crt"),
		read(t, dir, "leaf.key")}, ""))
	e.mustUse(t, c)
	sent := e.sent("client_assertion")
	if a, b := header(t, sent[0]).S256, header(t, sent[1]).S256; a == b {
		t.Error("the renewed certificate was not used")
	}
}

func thumbprint(c *x509.Certificate) string { return fmt.Sprintf("%X", sha1.Sum(c.Raw)) }

// counted returns a password callback that counts its calls.
func counted(calls *int, password *string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		*calls++
		return *password, nil
	}
}
