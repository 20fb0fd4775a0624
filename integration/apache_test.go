package integration_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// modAuthOpenIDC is the configuration of an Apache server with mod_auth_openidc. The page shows the claims that the
// module passes to applications. The verbs are the directory, the address, the issuer, the client ID, the secret, the
// origin and the CA file.
const modAuthOpenIDC = `
ServerRoot %[1]q
Listen %[2]s
PidFile apache.pid
ServerName localhost
ErrorLog error.log
Mutex file:%[1]s
DefaultRuntimeDir %[1]s
DocumentRoot %[1]s/site
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LoadModule include_module /usr/lib/apache2/modules/mod_include.so
LoadModule auth_openidc_module /usr/lib/apache2/modules/mod_auth_openidc.so

OIDCProviderMetadataURL %[3]s/.well-known/openid-configuration
OIDCClientID %[4]s
OIDCClientSecret %[5]s
OIDCRedirectURI %[6]s/redirect
OIDCCryptoPassphrase a-passphrase
OIDCScope "openid profile email"
OIDCCABundlePath %[7]s
<Location />
	AuthType openid-connect
	Require valid-user
	Options +Includes
	SetOutputFilter INCLUDES
</Location>
`

// startApache starts an Apache server with mod_auth_openidc, as a user without privileges, and returns its origin.
func (f *fake) startApache(t *testing.T) string {
	t.Helper()
	dir := must[string](t)(os.MkdirTemp("", "apache"))
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	origin := "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
	for name, content := range map[string]string{
		"ca.pem": string(must[[]byte](t)(os.ReadFile(f.caFile))),
		"apache.conf": fmt.Sprintf(modAuthOpenIDC, dir, address, f.issuer(), webappID, webappSecret, origin,
			filepath.Join(dir, "ca.pem")),
		"site/index.html": `{"oid": "<!--#echo encoding="none" var="OIDC_CLAIM_oid" -->", ` +
			`"name": "<!--#echo encoding="none" var="OIDC_CLAIM_name" -->", ` +
			`"email": "<!--#echo encoding="none" var="OIDC_CLAIM_email" -->", ` +
			`"picture": "<!--#echo encoding="none" var="OIDC_CLAIM_picture" -->"}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := exec.LookPath("apache2")
	if err != nil {
		program = "/usr/sbin/apache2" // not in the PATH of all users
	}
	command := exec.CommandContext(t.Context(), program, "-f", filepath.Join(dir, "apache.conf"), "-D", "FOREGROUND")
	if os.Getuid() == 0 {
		const unprivileged = 65534
		for _, path := range []string{dir, filepath.Join(dir, "site")} {
			if err := os.Chown(path, unprivileged, unprivileged); err != nil {
				t.Fatal(err)
			}
		}
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged}}
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, err := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("error.log: %s %v", log, err)
		}
	})
	startServer(t, command, address)
	return origin
}

// mod_auth_openidc signs Alice in, and queries UserInfo.
func TestModAuthOpenIDC(t *testing.T) {
	if offline(t) == nil {
		return
	}
	f := newFake(t, withEmail(nil, "http://localhost/redirect"))
	origin := f.startApache(t)
	person := f.newPerson(t, alice, nowhere)
	_, page := person.follow(t, origin+"/index.html")
	var got struct{ OID, Name, Email, Picture string }
	if err := json.Unmarshal([]byte(page), &got); err != nil {
		t.Fatalf("got page\n%s", page)
	}
	if got.OID != aliceID || got.Name != aliceName || got.Email != aliceEmail {
		t.Errorf("got claims %+v, want those of Alice", got)
	}
	if picture := must[*url.URL](t)(url.Parse(got.Picture)); picture.Host != f.host {
		t.Errorf("picture of UserInfo: got %q, want one of the fake", got.Picture)
	}
	if n := f.Count(entratest.Match{Endpoint: entratest.EndpointUserInfo}); n != 1 {
		t.Errorf("requests of UserInfo: got %d, want 1", n)
	}
}
