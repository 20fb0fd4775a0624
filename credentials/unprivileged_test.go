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

// A file that may not be read says so. Tests often run as root, whom no mode stops, so
// this one reads it in a process of its own that gives root up.
func TestNoPermission(t *testing.T) {
	dir := made(t, `cat leaf.crt leaf.key > cert; chmod 0 cert; mkdir closed; mv leaf.pfx closed/; chmod 0 closed`)
	for name, want := range map[string]string{
		"cert":            `the certificate file "DIR/cert" cannot be read: permission denied`,
		"closed/leaf.pfx": `the certificate file "DIR/closed/leaf.pfx" cannot be read: permission denied`,
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
	if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil { // so that it can be removed
		t.Fatal(err)
	}
}

// That process ends here.
func init() {
	if path := os.Getenv("CREDENTIALS_TEST_UNPRIVILEGED"); path != "" {
		readUnprivileged(path)
		os.Exit(0)
	}
}

func readUnprivileged(path string) {
	if os.Getuid() == 0 {
		// Its temporary directories are root's alone.
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
	_, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: path})
	fmt.Print(err)
}
