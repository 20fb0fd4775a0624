//go:build unix

package credentials_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entratoken/entra/credentials"
)

// An unreadable file is reported. File modes do not restrict root, and tests often run as
// root, so this test reads the file in a process that gives up root.
func TestPermissionDenied(t *testing.T) {
	dir := testFiles(t, `cat leaf.crt leaf.key > cert; chmod 0 cert; mkdir closed; mv leaf.pfx closed/; chmod 0 closed`)
	for name, want := range map[string]string{
		"cert":            `cannot read the certificate file "DIR/cert": permission denied`,
		"closed/leaf.pfx": `cannot read the certificate file "DIR/closed/leaf.pfx": permission denied`,
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CREDENTIALS_TEST_UNPRIVILEGED="+filepath.Join(dir, name))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := string(out); got != "entra: invalid_client: "+strings.ReplaceAll(want, "DIR", dir) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil { // so that the directory can be removed
		t.Fatal(err)
	}
}

// init runs readUnprivileged in the process that TestPermissionDenied starts.
func init() {
	if path := os.Getenv("CREDENTIALS_TEST_UNPRIVILEGED"); path != "" {
		readUnprivileged(path)
		os.Exit(0)
	}
}

func readUnprivileged(path string) {
	if os.Getuid() == 0 {
		// The temporary directories of root are not readable for others.
		for dir := filepath.Dir(path); dir != "/" && filepath.Base(dir) != "closed"; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 == 0 {
				os.Chmod(dir, 0o711)
			}
		}
		if err := syscall.Setuid(65534); err != nil {
			fmt.Print(err)
			return
		}
	}
	_, err := credentials.CertificateFile(path, nil)
	fmt.Print(err)
}
