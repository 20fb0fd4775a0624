package integration_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of clients in docs/entratest.md")

// clients lists the clients of other projects that tests of this package run against the fake, for the table in
// docs/entratest.md.
var clients = []struct {
	name, source, flows string
	tests               []string
}{
	{"MSAL for Go", "go:github.com/AzureAD/microsoft-authentication-library-for-go",
		"client credentials, authorization code, refresh, on-behalf-of, device code, password",
		[]string{"TestMSALGoForApps", "TestMSALGoForUsers", "TestMSALGoForPublicClients"}},
	{"azidentity for Go", "go:github.com/Azure/azure-sdk-for-go/sdk/azidentity",
		"client credentials, on-behalf-of, continuous access evaluation",
		[]string{"TestAzidentityForApps", "TestAzidentityOnBehalfOf", "TestAzidentityContinuousAccess"}},
	{"MSAL for Node.js", "npm:@azure/msal-node",
		"client credentials, authorization code with PKCE, refresh, on-behalf-of",
		[]string{"TestMSALNodeForApps", "TestMSALNodeForUsers"}},
	{"MSAL for browsers, in Chromium", "npm:@azure/msal-browser",
		"authorization code with PKCE and refresh of a single-page app", []string{"TestMSALBrowser"}},
	{"Azure Identity for JavaScript", "npm:@azure/identity", "client credentials, on-behalf-of, device code",
		[]string{"TestAzureIdentityForApps", "TestAzureIdentityOnBehalfOf", "TestAzureIdentityDeviceCode"}},
	{"MSAL for Python", "debian:python3-msal", "client credentials, authorization code with PKCE, refresh, on-behalf-of",
		[]string{"TestMSALPythonForApps", "TestMSALPythonForUsers"}},
	{"golang.org/x/oauth2", "go:golang.org/x/oauth2", "client credentials, authorization code with PKCE",
		[]string{"TestOAuth2ClientCredentials", "TestGoOIDCRejectsAnotherAudience"}},
	{"go-oidc", "go:github.com/coreos/go-oidc/v3", "discovery, validation of tokens",
		[]string{"TestGoOIDCRejectsAnotherAudience"}},
	{"zitadel/oidc", "go:github.com/zitadel/oidc/v3", "discovery, authorization code with PKCE, refresh token, sign-out",
		[]string{"TestZitadelSignsIn", "TestBrowserSignsOut"}},
	{"hashicorp/cap", "go:github.com/hashicorp/cap",
		"discovery, authorization code with PKCE, UserInfo; many groups from Microsoft Graph",
		[]string{"TestHashiCorpCap", "TestHashiCorpCapResolvesGroups"}},
	{"openid-client", "npm:openid-client", "discovery, authorization code with PKCE, refresh, UserInfo",
		[]string{"TestOpenIDClient"}},
	{"Auth.js, provider `microsoft-entra-id`", "npm:@auth/core", "sign-in, session; photo from Microsoft Graph",
		[]string{"TestAuthJS"}},
	{"oauth2-proxy, providers `oidc` and `entra-id`", "go:github.com/oauth2-proxy/oauth2-proxy/v7",
		"sign-in, UserInfo, groups; many groups from Microsoft Graph", []string{"TestOAuth2Proxy"}},
	{"mod_auth_openidc", "debian:libapache2-mod-auth-openidc", "sign-in, UserInfo", []string{"TestModAuthOpenIDC"}},
}

// debianRelease is the release whose versions the table has, and debianVersions has the versions of its packages. Other
// releases have others, which are tested there.
const debianRelease = "12"

var debianVersions = map[string]string{"python3-msal": "1.21.0", "libapache2-mod-auth-openidc": "2.4.12.3"}

// The table of clients in docs/entratest.md has the versions and the tests of this module. The test writes it with
// the flag -update.
func TestTableOfClients(t *testing.T) {
	const file, begin, end = "../docs/entratest.md", "<!-- The test TestTableOfClients writes this table. -->\n", "\n\n"
	var table strings.Builder
	table.WriteString("| client | version | flows | tests |\n| --- | --- | --- | --- |\n")
	defined := definedTests(t)
	for _, client := range clients {
		for _, name := range client.tests {
			if !slices.Contains(defined, name) {
				t.Errorf("%s: test %s does not exist", client.name, name)
			}
		}
		fmt.Fprintf(&table, "| %s | %s | %s | `%s` |\n", client.name, versionOf(t, client.source), client.flows,
			strings.Join(client.tests, "`, `"))
	}
	page := string(must[[]byte](t)(os.ReadFile(file)))
	before, rest, found := strings.Cut(page, begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s: got no table after %q", file, begin)
	}
	want := strings.TrimSpace(table.String())
	if old == want {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is out of date; run: go -C integration test -run TestTableOfClients . -args -update\n"+
			"got\n%s\nwant\n%s", file, old, want)
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// definedTests returns the names of the tests of this package.
func definedTests(t *testing.T) []string {
	t.Helper()
	var names []string
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, entry := range must[[]os.DirEntry](t)(os.ReadDir(".")) {
		if !strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		for _, match := range function.FindAllStringSubmatch(string(must[[]byte](t)(os.ReadFile(entry.Name()))), -1) {
			names = append(names, match[1])
		}
	}
	return names
}

// versionOf returns the version of a client that the files of this module pin, or that Debian packages.
func versionOf(t *testing.T, source string) string {
	t.Helper()
	kind, name, _ := strings.Cut(source, ":")
	switch kind {
	case "go":
		require := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(name) + ` (v\S+)`)
		for _, file := range []string{"go.mod", "oauth2-proxy/go.mod"} {
			if match := require.FindSubmatch(must[[]byte](t)(os.ReadFile(file))); match != nil {
				return string(match[1])
			}
		}
	case "npm":
		var manifest struct{ Dependencies map[string]string }
		if err := json.Unmarshal(must[[]byte](t)(os.ReadFile("node/package.json")), &manifest); err != nil {
			t.Fatal(err)
		}
		if version := manifest.Dependencies[name]; version != "" {
			return version
		}
	case "debian":
		version := debianVersions[name]
		release, err := os.ReadFile("/etc/os-release")
		if err == nil && strings.Contains(string(release), "\nVERSION_ID=\""+debianRelease+"\"\n") {
			query := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f", "${source:Upstream-Version}", name)
			if installed := must[[]byte](t)(query.Output()); string(installed) != version {
				t.Errorf("%s in Debian %s: got version %s, want %s", name, debianRelease, installed, version)
			}
		}
		return fmt.Sprintf("%s (Debian %s)", version, debianRelease)
	}
	t.Errorf("%s: got no version", source)
	return ""
}
