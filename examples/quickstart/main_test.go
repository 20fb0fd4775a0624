package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The account says what happened, line by line; only the times differ from run to run.
func TestQuickstart(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, "localhost:0", false); err != nil {
		t.Fatal(err)
	}
	const want = `A fake Entra, two APIs behind TLS, a web app and a daemon, in one process with one cache.

Round 1, in TIME
CALL FLOW TOKEN SUBJECT AUDIENCE SCP / ROLES LIFE REFRESHED IN FROM
web app -> api-a authorization_code delegated Alice Adams api-a scp access_as_user TIME TIME Entra
api-a -> api-b on_behalf_of delegated Alice Adams api-b scp Orders.Read TIME TIME Entra
daemon -> api-b client_credentials app-only daemon api-b roles Orders.Read.All TIME TIME Entra

Round 2, in TIME
CALL FLOW TOKEN SUBJECT AUDIENCE SCP / ROLES LIFE REFRESHED IN FROM
web app -> api-a authorization_code delegated Alice Adams api-a scp access_as_user TIME TIME cache
api-a -> api-b on_behalf_of delegated Alice Adams api-b scp Orders.Read TIME TIME cache
daemon -> api-b client_credentials app-only daemon api-b roles Orders.Read.All TIME TIME cache

Entra: 3 token requests in round 1, 0 in round 2
Cache: 3 sessions, 4 hits, 2 misses, 2 fetches besides the sign-in, 0 failures, 0 evictions
`
	var got strings.Builder
	times := regexp.MustCompile(`\d[\dms.µ]*s|\d+ min|at its end`)
	for line := range strings.Lines(out.String()) {
		got.WriteString(strings.Join(strings.Fields(times.ReplaceAllString(line, "TIME")), " ") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	if strings.Contains(out.String(), "eyJ") || strings.Contains(out.String(), "secret") {
		t.Error("the account shows a secret")
	}
	expectAligned(t, out.String())
}

// expectAligned fails unless the cells of every table begin where the heading's do.
func expectAligned(t *testing.T, text string) {
	t.Helper()
	from, tables := 0, 0
	for line := range strings.Lines(text) {
		switch i := strings.Index(line, "FROM"); {
		case i > 0:
			from, tables = i, tables+1
		case strings.Contains(line, " -> "):
			if cell := strings.TrimSpace(line[from:]); cell != "Entra" && cell != "cache" {
				t.Errorf("not aligned: %q", line)
			}
		}
	}
	if tables != 2 {
		t.Errorf("%d tables, want 2", tables)
	}
}

// With -serve the web app stays up, with the fake's sign-in page in reach of a browser,
// until it is interrupted.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, w, "localhost:0", true)
		w.Close()
		done <- err
	}()
	var text strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(text.String(), "Ctrl-C") {
		n, err := r.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			t.Fatalf("it ended: %v %v", err, <-done)
		}
	}
	go io.Copy(io.Discard, r)
	m := regexp.MustCompile(`http://localhost:\d+`).FindString(text.String())
	page, err := http.Get(m + "/login?return_to=/orders")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	body, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	if at := page.Request.URL; page.StatusCode != http.StatusOK || at.Hostname() != "127.0.0.1" || !strings.Contains(string(body), "password") {
		t.Errorf("the sign-in page is at %s with status %d", at, page.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A port that is taken is a clear failure.
func TestCannotListen(t *testing.T) {
	err := run(t.Context(), io.Discard, "localhost:99999", false)
	if err == nil || !strings.HasPrefix(err.Error(), "starting the web app: listen tcp:") {
		t.Errorf("got %v", err)
	}
}
