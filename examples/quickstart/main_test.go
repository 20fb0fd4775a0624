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

// The report is the same in every run, except for the times.
func TestQuickstart(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, "localhost:0", false); err != nil {
		t.Fatal(err)
	}
	const want = `A fake Entra, a web app, two APIs and a daemon run in this process and share one cache.

Round 1, in TIME
CALL FLOW TOKEN SUBJECT AUDIENCE SCP / ROLES LIFETIME REFRESH IN FROM
web app -> api-a authorization_code delegated Alice Adams api-a scp access_as_user TIME TIME Entra
api-a -> api-b on_behalf_of delegated Alice Adams api-b scp Orders.Read TIME TIME Entra
daemon -> api-b client_credentials app-only daemon api-b roles Orders.Read.All TIME TIME Entra

Round 2, in TIME
CALL FLOW TOKEN SUBJECT AUDIENCE SCP / ROLES LIFETIME REFRESH IN FROM
web app -> api-a authorization_code delegated Alice Adams api-a scp access_as_user TIME TIME cache
api-a -> api-b on_behalf_of delegated Alice Adams api-b scp Orders.Read TIME TIME cache
daemon -> api-b client_credentials app-only daemon api-b roles Orders.Read.All TIME TIME cache

Entra: 3 token requests in round 1, 0 in round 2
Cache: 3 sessions, 4 hits, 2 misses, 2 fetches (the sign-in is not one), 0 failures, 0 evictions
`
	var got strings.Builder
	times := regexp.MustCompile(`\d[\dms.µ]*s|\d+ min|never`)
	for line := range strings.Lines(out.String()) {
		got.WriteString(strings.Join(strings.Fields(times.ReplaceAllString(line, "TIME")), " ") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	if strings.Contains(out.String(), "eyJ") || strings.Contains(out.String(), "secret") {
		t.Error("the report contains a secret")
	}
	expectAligned(t, out.String())
}

// expectAligned checks that the cells of the last column are aligned with its heading.
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
		t.Errorf("got %d tables, want 2", tables)
	}
}

// With -serve the web app and the sign-in page run until interrupted.
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
			t.Fatalf("run returned early: %v, %v", err, <-done)
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
	if at := page.Request.URL; page.StatusCode != http.StatusOK || at.Hostname() != "127.0.0.1" ||
		!strings.Contains(string(body), "password") {
		t.Errorf("got status %d from %s, want the sign-in page", page.StatusCode, at)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The error for an invalid address names the failed step.
func TestInvalidAddress(t *testing.T) {
	err := run(t.Context(), io.Discard, "localhost:99999", false)
	if err == nil || !strings.HasPrefix(err.Error(), "start the web app: listen tcp:") {
		t.Errorf("got %v, want an error of listen", err)
	}
}
