package integration_test

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The first line that the command prints is enough for a program in another language to use it.
func TestCommandServesNode(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "entratest")
	build := exec.Command("go", "build", "-o", binary, "github.com/entratoken/entra/entratest/cmd/entratest")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	command := exec.Command(binary, "-ca-out", filepath.Join(t.TempDir(), "ca.pem"))
	command.Stderr = t.Output()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := command.Wait(); err != nil {
			t.Errorf("exit after an interrupt: %v", err)
		}
	})

	var estate struct {
		Authority, CAFile string
		Apps              []struct{ Name, ClientID, Secret, TenantID string }
	}
	if err := json.Unmarshal(must[[]byte](t)(bufio.NewReader(out).ReadBytes('\n')), &estate); err != nil {
		t.Fatal(err)
	}
	f := &fake{caFile: estate.CAFile}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(estate.CAFile))) {
		t.Fatal("got a CA file without a certificate")
	}
	f.reach(t, estate.Authority, pool)

	node := f.newNode(t, "msal.mjs")
	for _, app := range estate.Apps {
		if app.Name != "daemon" {
			continue
		}
		if app.TenantID != tenant {
			t.Errorf("tenant of the daemon: got %q, want %q", app.TenantID, tenant)
		}
		node.app(t, f, app.Name, app.ClientID, map[string]any{"clientSecret": app.Secret})
		var result msalResult
		node.must(t, call(app.Name, "acquireTokenByClientCredential", map[string]any{"scopes": []string{appScope}}), &result)
		f.wantApp(t, result.AccessToken, daemonID)
		return
	}
	t.Errorf("got apps %v, want one named daemon", estate.Apps)
}
