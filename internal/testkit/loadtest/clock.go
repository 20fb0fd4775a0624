//go:build linux

package loadtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clockEnv is the time in seconds by which the clock of a program of [ProgramWithClock] is ahead.
const clockEnv = "ENTRA_LOADTEST_CLOCK"

// ClockAhead returns the environment for [Fleet.Add] of a process whose clock is ahead.
func ClockAhead(by time.Duration) string { return fmt.Sprintf("%s=%d", clockEnv, int(by.Seconds())) }

// ProgramWithClock builds the test program of the working directory again, with a time.Now that ClockAhead moves. (A
// program of Go reads the clock without a call that another library could replace, and Linux has no namespaces for the
// time of day.)
func ProgramWithClock(t *testing.T) string {
	t.Helper()
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	source := filepath.Join(run("env", "GOROOT"), "src", "time", "time.go")
	b, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const now, imports = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n", "import (\n"
	text := string(b)
	if !strings.Contains(text, now) || !strings.Contains(text, imports) {
		t.Fatalf("%s has changed; adapt this function", source)
	}
	text = strings.Replace(text, now, now+"\tsec += clockAhead\n", 1)
	text = strings.Replace(text, imports, imports+"\t\"syscall\"\n", 1)
	text += "\nvar clockAhead = func() int64 {\n\ts, _ := syscall.Getenv(\"" + clockEnv + "\")\n" +
		"\tn, _ := atoi(s)\n\treturn int64(n)\n}()\n"
	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "p")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	run("test", "-c", "-overlay", overlay, "-o", program, ".")
	return program
}
