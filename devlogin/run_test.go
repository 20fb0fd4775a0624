package devlogin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A program that does not return is stopped.
func TestHangingProgramIsStopped(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\nexec sleep 100000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	l, err := AzureCLI(Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = l.token(ctx, "https://vault.azure.net/.default", "")
	want := "entra: request_failed: Azure CLI did not return in time"
	if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %s", err, want)
	}
	if n := len(l.running); n != 0 {
		t.Errorf("got %d programs that run, want 0", n)
	}

	l.running <- struct{}{} // another run is in progress
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err = l.token(ctx, "https://vault.azure.net/.default", ""); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Any output leads to a token or to an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"accessToken": "t", "expiresOn": "2026-01-02 03:04:05.000000", "tenant": "x"}`), `{"error": "e"}`)
	f.Add([]byte(`{"accessToken": "t", "expires_on": 1}`), "ERROR: AADSTS50076: m")
	f.Add([]byte(`{"token": "t", "expiresOn": "2026-01-02T03:04:05Z"}`), `{"data": {"message": "m"}}`)
	f.Fuzz(func(t *testing.T, stdout []byte, stderr string) {
		for _, p := range []program{azureCLI, azureDeveloperCLI} {
			if r, err := p.parse(stdout); err == nil && r.token == "" && r.tenant != "" && len(stdout) == 0 {
				t.Error("got a tenant from no output")
			}
			l := Login{program: &p}
			if e := l.failed("s", "", stderr, errors.New("exit status 1")); e.Code == "" || len(e.Description) > 1000 {
				t.Errorf("got %v", e)
			}
		}
	})
}
