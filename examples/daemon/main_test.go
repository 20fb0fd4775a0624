package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// environment sets the variables of a live tenant to the values given, none by default.
func environment(t *testing.T, tenant, client, secret string) {
	for _, v := range os.Environ() { // of whoever runs the test
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "ACTIONS_ID_TOKEN_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AZURE_TENANT_ID", tenant)
	t.Setenv("AZURE_CLIENT_ID", client)
	t.Setenv("AZURE_CLIENT_SECRET", secret)
}

func TestDaemon(t *testing.T) {
	environment(t, "", "", "")
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `The tenant is a fake in this process; set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.
The app has a token for api://api-b/.default, for N minutes.
The API answers 200 OK: 1017 Ladder, 1018 Rope
The API answers 200 OK: 1017 Ladder, 1018 Rope
The API answers 200 OK: 1017 Ladder, 1018 Rope
3 calls, 1 request for a token.
`
	if got := regexp.MustCompile(`for \d+ minutes`).ReplaceAllString(out.String(), "for N minutes"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(out.String(), "eyJ") {
		t.Error("a token is shown")
	}
}

// The fake does not stand in for a live tenant that is half described.
func TestMissingSettings(t *testing.T) {
	for _, test := range []struct{ tenant, client, secret, want string }{
		{"t", "c", "", "AZURE_CLIENT_SECRET"},
		{"t", "", "s", "AZURE_CLIENT_ID is not set"},
		{"", "c", "s", "AZURE_TENANT_ID is not set"},
	} {
		environment(t, test.tenant, test.client, test.secret)
		var out bytes.Buffer
		if err := run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), test.want) || out.Len() != 0 {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

// What is set is a live tenant, whatever they are.
func TestLive(t *testing.T) {
	environment(t, "contoso.example", "no GUID", "s")
	var out bytes.Buffer
	err := run(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "Config.ClientID") || out.String() != "The tenant is live: contoso.example.\n" {
		t.Errorf("got %v and %q", err, out.String())
	}
}
