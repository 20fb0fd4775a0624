package cli_test

import (
	"bytes"
	"crypto/x509"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/cli"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

var update = flag.Bool("update", false, "write the output to testdata; check the difference afterwards")

// bench is a shell in an empty directory with a fake Entra.
type bench struct {
	*entratest.Server
	transport http.RoundTripper
	stdin     string
	terminal  bool
}

func newBench(t *testing.T, change ...func(*entratest.Config)) *bench {
	t.Helper()
	for _, name := range []string{
		"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH",
		"AZURE_CLIENT_CERTIFICATE_PASSWORD",
		"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_USERNAME",
		"AZURE_PASSWORD",
		"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "REGION_NAME",
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
		"NO_COLOR", "COLUMNS", "TERM", "AZURE_KUBERNETES_TOKEN_PROXY",
	} {
		t.Setenv(name, "")
	}
	t.Chdir(t.TempDir())
	cfg := entratest.Sample()
	cfg.Lifetime = func() time.Duration { return 75 * time.Minute }
	for _, f := range change {
		f(&cfg)
	}
	s := entratest.NewServer(cfg)
	return &bench{Server: s, transport: s.Client().Transport}
}

// daemon sets the environment variables of the sample's daemon.
func (b *bench) daemon(t *testing.T) {
	t.Helper()
	t.Setenv("AZURE_TENANT_ID", entratest.SampleTenant)
	t.Setenv("AZURE_CLIENT_ID", b.App("daemon").ClientID)
	t.Setenv("AZURE_CLIENT_SECRET", "daemon-secret")
}

// run runs the command and checks that it prints no secret. Only -raw prints a token.
func (b *bench) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	s := &cli.System{
		Stdin: strings.NewReader(b.stdin), Stdout: &out, Stderr: &err, Env: os.Environ(), Terminal: b.terminal,
		Transport: b.transport,
	}
	code = s.Run(t.Context(), args)
	for _, printed := range []string{out.String(), err.String()} {
		for _, secret := range []string{"daemon-secret", "api-a-secret", "s3cret"} {
			if strings.Contains(printed, secret) {
				t.Errorf("a secret is printed: %s", printed)
			}
		}
		if strings.Contains(printed, "eyJ") && !strings.Contains(strings.Join(args, " "), "-raw") {
			t.Errorf("a token is printed: %s", printed)
		}
	}
	return code, out.String(), err.String()
}

// variable are the parts of the output that differ in each run.
var variable = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`correlation ID [0-9a-f-]{36}, trace ID [0-9a-f-]{36}`), "correlation ID ID, trace ID ID"},
	{regexp.MustCompile(`correlation ID [0-9a-f-]{36}`), "correlation ID ID"},
	{regexp.MustCompile(`\(\d+ ms\)`), "(N ms)"},
	{regexp.MustCompile(`in \d+ ms`), "in N ms"},
	{regexp.MustCompile(`\b[0-9A-F]{40}\b`), "THUMBPRINT"},
	{regexp.MustCompile(`\b1h14m\d\ds`), "1h15m0s"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`((iat|nbf|exp) +)\d+`), "${1}SECONDS"},
	{regexp.MustCompile(`((aio|rh|uti) +)\S+`), "${1}OPAQUE"},
	{regexp.MustCompile(`\s+\(N ms\)`), ""},
	{regexp.MustCompile(`\(1h0m\ds ago\)`), "(1h0m0s ago)"},
}

// golden compares the output with a file in testdata.
func golden(t *testing.T, dir, name, got string) {
	t.Helper()
	for _, c := range variable {
		got = c.pattern.ReplaceAllString(got, c.text)
	}
	path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".txt")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// testdata returns the absolute path of a directory in testdata.
func testdata(t *testing.T, sub string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", sub))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// certificate writes a new certificate and its key to a file.
func certificate(t *testing.T, path string, expires time.Time) *x509.Certificate {
	t.Helper()
	key := testkit.RSAKey(t)
	cert := testkit.Certificate(t, key, testkit.Valid(time.Now().Add(-time.Hour), expires))
	testkit.WriteFile(t, path, testkit.PEM(t, key, cert))
	return cert
}
