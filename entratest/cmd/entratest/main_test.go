package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs the command. It returns the first line of output, a client that trusts
// the CA, the log, and a function that stops the command and returns its error.
func start(t *testing.T, args ...string) (d description, c *http.Client, log *lines, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	log = &lines{}
	done := make(chan error, 1)
	go func() {
		err := run(ctx, args, w, log)
		w.CloseWithError(io.EOF)
		done <- err
	}()
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		cancel()
		t.Fatal(<-done)
	}
	if err := json.Unmarshal(line, &d); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(d.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("CA file has no certificate")
	}
	c = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(c.CloseIdleConnections)
	return d, c, log, sync.OnceValue(func() error { cancel(); return <-done })
}

func token(t *testing.T, c *http.Client, d description, secret string) int {
	t.Helper()
	resp, err := c.PostForm(d.Authority+"/"+d.Tenants[0].ID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {d.Apps[0].ClientID}, "client_secret": {secret},
		"scope": {"api://api-b/.default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func press(t *testing.T, c *http.Client, d description, pairs ...string) (int, string) {
	t.Helper()
	f := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	resp, err := c.PostForm(d.Authority+"/", f)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestSample(t *testing.T) {
	d, c, log, stop := start(t)
	defer stop()
	if len(d.Tenants) != 2 || d.Tenants[0].Domain != "contoso.onmicrosoft.com" || len(d.Apps) != 4 || len(d.Users) != 3 {
		t.Fatalf("got description %+v", d)
	}
	if a := d.Apps[2]; a.Name != "api-a" || a.AppIDURI != "api://api-a" || a.Secret != "api-a-secret" ||
		a.Scopes[0] != "access_as_user" || a.RedirectURIs == nil {
		t.Errorf("got app %+v", a)
	}
	if u := d.Users[0]; u.Password != "alice-password" || u.OID == "" || u.TenantID != d.Tenants[0].ID {
		t.Errorf("got user %+v", u)
	}
	if got := token(t, c, d, d.Apps[0].Secret); got != 200 {
		t.Errorf("got status %d", got)
	}
	if got := token(t, c, d, "wrong"); got != 401 {
		t.Errorf("got status %d", got)
	}
	if text := log.String(); !strings.Contains(text,
		" 200 POST /"+d.Tenants[0].ID+"/oauth2/v2.0/token client_credentials by daemon\n") ||
		!strings.Contains(text, "by daemon: invalid_client AADSTS7000215\n") || strings.Contains(text, "daemon-secret") {
		t.Errorf("log: got %s", text)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.CAFile); err == nil {
		t.Error("temporary file was not removed")
	}
}

func TestConsole(t *testing.T) {
	d, c, _, stop := start(t)
	defer stop()
	secret := d.Apps[0].Secret
	token(t, c, d, secret)
	status, page := press(t, c, d, "action", "fault", "kind", "429", "endpoint", "token", "times", "1")
	if status != 200 || !strings.Contains(page, "The fault has been injected.") ||
		!strings.Contains(page, "token: status 429, Retry-After 30, 1 times") {
		t.Fatalf("got %d %s", status, page)
	}
	if strings.Contains(page, secret) || strings.Contains(page, "alice-password") {
		t.Error("page has secrets")
	}
	for _, want := range []int{429, 200} {
		if got := token(t, c, d, secret); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
	press(t, c, d, "action", "fault", "kind", "500", "endpoint", "")
	if got := token(t, c, d, secret); got != 500 {
		t.Errorf("got status %d", got)
	}
	if _, page := press(t, c, d, "action", "clear"); !strings.Contains(page, "All faults have been removed.") {
		t.Errorf("got page %s", page)
	}
	if got := token(t, c, d, secret); got != 200 {
		t.Errorf("got status %d", got)
	}
	keys := func() int {
		resp, err := c.Get(d.Authority + "/common/discovery/v2.0/keys")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var set struct{ Keys []any }
		if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
			t.Fatal(err)
		}
		return len(set.Keys)
	}
	for action, want := range map[string]int{"announce": 2} {
		press(t, c, d, "action", action)
		if got := keys(); got != want {
			t.Errorf("%s: got %d keys", action, got)
		}
	}
	press(t, c, d, "action", "rotate")
	press(t, c, d, "action", "retire")
	if got := keys(); got != 1 {
		t.Errorf("got %d keys", got)
	}
	if status, _ := press(t, c, d, "action", "revoke", "username", d.Users[0].Username); status != 200 {
		t.Errorf("revoke: got status %d", status)
	}
	for _, bad := range [][]string{
		{"action", "revoke", "username", "unknown"}, {"action", "fault", "kind", "x"},
		{"action", "fault", "kind", "500", "times", "x"}, {"action", "x"}, {},
	} {
		if status, _ := press(t, c, d, bad...); status != 400 {
			t.Errorf("%v: got %d", bad, status)
		}
	}
	req, err := http.NewRequest("POST", d.Authority+"/", strings.NewReader("action=rotate"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://evil.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("form of another site: got status %d", resp.StatusCode)
	}
	resp, err = c.Get(d.Authority + "/-/requests")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var journal []entratest.Request
	if err := json.NewDecoder(resp.Body).Decode(&journal); err != nil || len(journal) == 0 ||
		journal[1].Status != 429 || !journal[1].Injected {
		t.Errorf("got journal %+v, %v", journal, err)
	}
}

func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	config, ca := filepath.Join(dir, "config.json"), filepath.Join(dir, "ca.pem")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{
		"lifetime": "10m", "refreshIn": "5m",
		"tenants": [{"id": "11111111-1111-4111-8111-111111111111", "domain": "contoso.onmicrosoft.com"}],
		"apps": [
			{"name": "job", "clientId": "AAAAAAAA-0000-4000-8000-000000000001", "tenantId": "contoso.onmicrosoft.com",
			 "secrets": ["s"],
			 "permissions": [{"resource": "api://api-b", "roles": ["Read.All"]}]},
			{"name": "api", "clientId": "aaaaaaaa-0000-4000-8000-000000000002",
			 "tenantId": "11111111-1111-4111-8111-111111111111",
			 "appIdUri": "api://api-b", "roles": ["Read.All"]}
		]
	}`)
	d, c, _, stop := start(t, "-config", config, "-ca-out", ca, "-listen", "localhost:0")
	defer stop()
	if d.CAFile != ca || len(d.Apps) != 2 || d.Apps[0].ClientID != "aaaaaaaa-0000-4000-8000-000000000001" ||
		d.Users == nil || !strings.HasPrefix(d.Authority, "https://localhost:") {
		t.Fatalf("got description %+v", d)
	}
	if got := token(t, c, d, "s"); got != 200 {
		t.Errorf("got status %d", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"{":                                   "unexpected EOF",
		`{"tennants": []}`:                    `unknown field "tennants"`,
		`{"lifetime": "long"}`:                "lifetime",
		`{"tenants": []}`:                     "invalid Config: at least one tenant is required",
		`{"apps": [{"certificates": ["x"]}]}`: "a certificate is not in PEM",
	} {
		write(text)
		if err := run(t.Context(), []string{"-config", config}, io.Discard, io.Discard); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	for _, args := range [][]string{{"-config", filepath.Join(dir, "nothing")}, {"-listen", "nowhere"}, {"surplus"},
		{"-unknown"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v: got no error", args)
		}
	}
}

// Every field of a configuration file sets a field of the Config.
func TestConfigFileSetsEveryField(t *testing.T) {
	cert, ca := entratest.LocalCertificate()
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	der, err := x509.MarshalPKIXPublicKey(cert.PrivateKey.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	quote := func(s string) string { data, _ := json.Marshal(s); return string(data) }
	file := filepath.Join(t.TempDir(), "config.json")
	err = os.WriteFile(file, []byte(`{
		"host": "login.example", "lifetime": "10m", "refreshIn": "5m",
		"tenants": [{"id": "t", "domain": "d", "name": "n"}],
		"apps": [{
			"name": "a", "clientId": "b", "tenantId": "c", "objectId": "d", "multiTenant": true, "public": true,
			"secrets": ["e"], "expiredSecrets": ["f"], "certificates": [`+quote(certPEM)+`],
			"trustedSubjects": [{"subject": "g", "roots": `+quote(certPEM)+`}],
			"federated": [{"issuer": "h", "subject": "i", "audience": "j", "key": `+quote(keyPEM)+`}],
			"appIdUri": "k", "scopes": ["l"], "adminScopes": ["m"], "roles": ["n"], "redirectUris": ["o"],
			"spaRedirectUris": ["o2"], "publicRedirectUris": ["o3"], "logoutUrl": "p",
			"tokenVersion": 1, "permissions": [{"resource": "q", "scopes": ["r"], "roles": ["s"]}],
			"required": [{"resource": "u"}], "knownClients": ["v"], "requireMfa": true, "requireAssignment": true,
			"continuousAccess": true, "omitIdType": true, "optionalClaims": ["w"], "groupClaims": true, "idTokenGrant": true,
			"customSigningKey": true
		}],
		"users": [{
			"username": "a", "password": "b", "tenantId": "c", "objectId": "d", "name": "e", "email": "f",
			"roles": {"g": ["h"]}, "groups": ["i"], "guest": {"j": "k"}, "mfa": true, "admin": true, "disabled": true
		}]
	}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if l, r := got.Lifetime(), got.RefreshIn(0); l != 10*time.Minute || r != 5*time.Minute {
		t.Errorf("got lifetime %v, refresh_in %v, want 10m, 5m", l, r)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if subjects := got.Apps[0].TrustedSubjects; len(subjects) != 1 || subjects[0].Subject != "g" ||
		!subjects[0].Roots.Equal(roots) {
		t.Errorf("got trusted subjects %+v", subjects)
	}
	got.Lifetime, got.RefreshIn, got.Apps[0].TrustedSubjects = nil, nil, nil
	want := entratest.Config{
		Host:    "login.example",
		Tenants: []entratest.Tenant{{ID: "t", Domain: "d", Name: "n"}},
		Apps: []entratest.App{{
			Name: "a", ClientID: "b", TenantID: "c", ObjectID: "d", MultiTenant: true, Public: true,
			Secrets: []string{"e"}, ExpiredSecrets: []string{"f"}, Certificates: []*x509.Certificate{ca},
			Federated: []entratest.FederatedCredential{
				{Issuer: "h", Subject: "i", Audience: "j", Key: cert.PrivateKey.(crypto.Signer).Public()},
			},
			AppIDURI: "k", Scopes: []string{"l"}, AdminScopes: []string{"m"}, Roles: []string{"n"},
			RedirectURIs: []string{"o"}, SPARedirectURIs: []string{"o2"},
			PublicRedirectURIs: []string{"o3"}, LogoutURL: "p", TokenVersion: 1,
			Permissions: []entratest.Permission{{Resource: "q", Scopes: []string{"r"}, Roles: []string{"s"}}},
			Required:    []entratest.Permission{{Resource: "u"}}, KnownClients: []string{"v"}, RequireMFA: true,
			RequireAssignment: true, ContinuousAccess: true, OmitIDType: true, OptionalClaims: []string{"w"},
			GroupClaims: true, CustomSigningKey: true, IDTokenGrant: true,
		}},
		Users: []entratest.User{{
			Username: "a", Password: "b", TenantID: "c", ObjectID: "d", Name: "e", Email: "f",
			Roles: map[string][]string{"g": {"h"}}, Groups: []string{"i"}, Guest: map[string]string{"j": "k"},
			MFA: true, Admin: true, Disabled: true,
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// With -env, the output has the environment variables of one app.
func TestEnv(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-env", "daemon"}, w, &lines{})
		w.Close() // otherwise the scanner waits if run fails
		done <- err
	}()
	got := map[string]string{}
	scanner := bufio.NewScanner(r)
	for len(got) < 5 && scanner.Scan() {
		name, value, _ := strings.Cut(strings.TrimPrefix(scanner.Text(), "export "), "=")
		got[name] = strings.Trim(value, "'")
	}
	if got["AZURE_TENANT_ID"] != entratest.SampleTenant ||
		got["AZURE_CLIENT_ID"] != "aaaaaaaa-0000-4000-8000-00000000000d" || got["AZURE_CLIENT_SECRET"] != "daemon-secret" ||
		!strings.HasPrefix(got["AZURE_AUTHORITY_HOST"], "https://127.0.0.1:") {
		t.Errorf("got output %v", got)
	}
	if _, err := os.Stat(got["SSL_CERT_FILE"]); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), []string{"-env", "unknown"}, io.Discard, &lines{}); err == nil ||
		err.Error() != `unknown app "unknown"` {
		t.Errorf("unknown app: got %v", err)
	}
}

// The certificate has the names of -names. A client that resolves graph.microsoft.com to
// the command finds Microsoft Graph there.
func TestNames(t *testing.T) {
	d, c, _, stop := start(t, "-names", "entra.example,graph.microsoft.com")
	defer stop()
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(d.Authority, "https://"))
	}
	for url, want := range map[string]int{
		"https://entra.example/-/health":       http.StatusOK,
		"https://graph.microsoft.com/v1.0/me":  http.StatusUnauthorized,
		"https://other.example/-/health":       0,
		"https://login.microsoftonline.com/-/": 0,
	} {
		resp, err := c.Get(url)
		if err != nil {
			if want != 0 {
				t.Errorf("%s: %v", url, err)
			}
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got status %d, want %d", url, resp.StatusCode, want)
		}
	}
}
