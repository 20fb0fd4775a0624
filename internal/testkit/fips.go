package testkit

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"testing"
)

// FIPS140Only reports whether the program runs with GODEBUG=fips140=only. Otherwise it runs the test alone in a
// process with that setting, and fails the test if it fails there.
func FIPS140Only(t *testing.T) bool {
	t.Helper()
	if fips140.Enforced() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with GODEBUG=fips140=only: %v\n%s", err, out)
	}
	return false
}
