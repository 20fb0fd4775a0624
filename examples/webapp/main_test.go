package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// start runs the program. It returns the two lines of output and a function that stops it and returns its error.
func start(t *testing.T) (tenant, address string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
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
	if address, err = lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return tenant, address, func() error { cancel(); return <-done }
}

func environment(t *testing.T, tenant, client, secret string) {
	for _, v := range os.Environ() { // of the process that runs the test
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AZURE_") ||
			strings.HasPrefix(name, "ACTIONS_ID_TOKEN_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AZURE_TENANT_ID", tenant)
	t.Setenv("AZURE_CLIENT_ID", client)
	t.Setenv("AZURE_CLIENT_SECRET", secret)
}

func TestFakeTenant(t *testing.T) {
	environment(t, "", "", "")
	tenant, line, stop := start(t)
	if want := "Using a fake Entra in this process. For a real tenant, set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential.\n"; tenant != want {
		t.Errorf("got %q, want %q", tenant, want)
	}
	m := regexp.MustCompile(`^Open (http://localhost:\d+) and sign in as alice@contoso\.onmicrosoft\.com with the password alice-password\.\n$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("got %q", line)
	}
	resp, err := http.Get(m[1] + "/login")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Hostname() != "127.0.0.1" {
		t.Errorf("got sign-in page at %s with status %d", resp.Request.URL.Host, resp.StatusCode)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// With a registration in the environment, the app uses that tenant and requests only the scope of the first API.
func TestRealTenant(t *testing.T) {
	const id, client = "11111111-2222-4333-8444-555555555555", "66666666-2222-4333-8444-555555555555"
	environment(t, id, client, "s")
	t.Setenv("ENTRA_STEPUP", "c1")
	tenant, line, stop := start(t)
	if want := "Using the tenant " + id + ".\n"; tenant != want {
		t.Errorf("got %q, want %q", tenant, want)
	}
	m := regexp.MustCompile(`^Open (http://localhost:\d+) and sign in with an account of your tenant\.\n$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("got %q", line)
	}
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := stay.Get(m[1] + "/login")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	if at := to.Scheme + "://" + to.Host + to.Path; at != "https://login.microsoftonline.com/"+id+
		"/oauth2/v2.0/authorize" {
		t.Errorf("got sign-in page %s", at)
	}
	if q.Get("client_id") != client || q.Get("redirect_uri") != m[1]+"/callback" ||
		q.Get("scope") != "https://graph.microsoft.com/User.Read openid profile offline_access" {
		t.Errorf("got scope %q, client %s, redirect URI %s", q.Get("scope"), q.Get("client_id"), q.Get("redirect_uri"))
	}
	resp, err = stay.Get(m[1] + "/step-up")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized { // without Accept: text/html
		t.Errorf("step-up page: got status %d, want 401", resp.StatusCode)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// An incomplete registration is an error, not a reason to use the fake.
func TestIncompleteRegistrationFails(t *testing.T) {
	environment(t, "t", "c", "")
	const want = "AZURE_CLIENT_SECRET"
	if err := run(t.Context(), io.Discard, "localhost:0", 0); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error about %s", err, want)
	}
}
