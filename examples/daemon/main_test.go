package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// environment sets the variables of a live tenant and clears all other Azure variables.
func environment(t *testing.T, tenant, client, secret string) {
	for _, v := range os.Environ() { // remove the variables of this machine
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AZURE_") ||
			strings.HasPrefix(name, "ACTIONS_ID_TOKEN_") {
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
	const want = "The tenant is a fake in this process; " +
		"set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.\n" +
		"Acquired a token for api://api-b/.default. It expires in N minutes.\n" +
		"The API returned 200 OK: 1017 Ladder, 1018 Rope\n" +
		"The API returned 200 OK: 1017 Ladder, 1018 Rope\n" +
		"The API returned 200 OK: 1017 Ladder, 1018 Rope\n" +
		"Calls: 3. Token requests: 1.\n"
	if got := regexp.MustCompile(`in \d+ minutes`).ReplaceAllString(out.String(), "in N minutes"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(out.String(), "eyJ") {
		t.Error("the output contains a token")
	}
}

// An incomplete configuration is an error. The fake tenant does not replace it.
func TestIncompleteConfiguration(t *testing.T) {
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

// Any tenant and client ID select a live tenant.
func TestLiveTenant(t *testing.T) {
	environment(t, "contoso.example", "not a GUID", "s")
	var out bytes.Buffer
	err := run(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "Config.ClientID") ||
		out.String() != "The tenant is live: contoso.example.\n" {
		t.Errorf("got %v and output %q, want an error about Config.ClientID", err, out.String())
	}
}
