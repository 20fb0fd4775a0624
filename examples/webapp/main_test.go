package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"testing"
)

func TestWebApp(t *testing.T) {
	for _, name := range []string{"ENTRA_TENANT_ID", "ENTRA_CLIENT_ID", "ENTRA_CLIENT_SECRET"} {
		t.Setenv(name, "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, w, "localhost:0", 0)
		w.CloseWithError(err)
		done <- err
	}()
	lines := bufio.NewReader(r)
	tenant, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if want := "The tenant is a fake in this process; set ENTRA_TENANT_ID, ENTRA_CLIENT_ID and ENTRA_CLIENT_SECRET for a live one.\n"; tenant != want {
		t.Errorf("it says %q", tenant)
	}
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`^The web app is at (http://localhost:\d+) - sign in as alice@contoso\.onmicrosoft\.com with the password alice-password\.\n$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("it says %q", line)
	}
	resp, err := http.Get(m[1] + "/login")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Hostname() != "127.0.0.1" {
		t.Errorf("the sign-in page is at %s with status %d", resp.Request.URL.Host, resp.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The fake does not stand in for a live tenant that is half described.
func TestMissingSettings(t *testing.T) {
	t.Setenv("ENTRA_TENANT_ID", "t")
	t.Setenv("ENTRA_CLIENT_ID", "c")
	t.Setenv("ENTRA_CLIENT_SECRET", "")
	const want = "missing in the environment: ENTRA_CLIENT_SECRET (for the fake, set none of the three)"
	if err := run(t.Context(), io.Discard, "localhost:0", 0); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
