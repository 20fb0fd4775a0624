package entra_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// Every cloud, and a private authority, end to end, without a request to another host.
func TestEveryCloudEndToEnd(t *testing.T) {
	for _, cloud := range []entra.Cloud{
		"", entra.CloudPublic, entra.CloudUSGovernment, entra.CloudChina, entra.CloudBleu, entra.CloudDelos, entra.CloudGovSG,
		"login.microsoft.com", "login-us.microsoftonline.com", "login.usgovcloudapi.net", "contoso.ciamlogin.com",
		entratest.SampleTenant + ".ciamlogin.com",
	} {
		e := newEstate()
		cfg := e.config("daemon")
		cfg.Cloud = cloud
		if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB).Token(); err != nil {
			t.Errorf("%s: %v", cloud, err)
		}
		if got := e.hosts(); got[0] != "GET "+cloud.Host() || len(got) != 2 {
			t.Errorf("%s: got requests to %q", cloud, got)
		}
	}
}

// Every name of a cloud behaves as its main host, to which Entra's tokens and documents refer.
// Clients that are configured with different names share the cached tokens. Package cloud of
// azcore calls China login.chinacloudapi.cn.
func TestEveryNameOfACloudIsItsMainHost(t *testing.T) {
	for alias, want := range map[entra.Cloud]entra.Cloud{
		"login.windows.net": entra.CloudPublic, "login.microsoft.com": entra.CloudPublic, "sts.windows.net": entra.CloudPublic,
		"LOGIN.Windows.net": entra.CloudPublic, "login.usgovcloudapi.net": entra.CloudUSGovernment,
		"login.chinacloudapi.cn": entra.CloudChina,
	} {
		e := newEstate()
		cfg := e.config("api-a")
		cfg.Cloud = want
		main := testkit.Client(t, cfg)
		cfg.Cloud, cfg.Cache = alias, main.Cache()
		c := testkit.Client(t, cfg)
		if got := c.Cloud(); got != want || alias.Host() != want.Host() {
			t.Errorf("%s: got %s and the host %s, want %s", alias, got, alias.Host(), want)
		}
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Host: string(alias)})
		for _, client := range []*entra.Client{c, main} {
			if _, err := clientcreds.TokenSource(client, scopeOfB).Token(); err != nil {
				t.Errorf("%s: %v", alias, err)
			}
			if _, err := obo.TokenSource(client, assertion, scopeOfB).Token(); err != nil {
				t.Errorf("%s: on behalf of: %v", alias, err)
			}
		}
		wantHosts(t, e, "GET "+want.Host(), "POST "+want.Host(), "POST "+want.Host())
	}
}

// An external tenant behind a custom URL domain, whose issuer stays on the tenant's own host
// (https://github.com/AzureAD/microsoft-authentication-library-for-dotnet/issues/5931).
func TestExternalIDBehindACustomURLDomain(t *testing.T) {
	custom := func(c *entratest.Config) { c.Tenants[0].CustomURLDomain = "login.contoso.com" }
	for _, tenant := range []string{entratest.SampleTenant, "contoso.onmicrosoft.com"} {
		e := newEstate(custom)
		cfg := e.config("api-a")
		cfg.Cloud, cfg.TenantID = entra.ExternalIDCloud("Login.Contoso.com"), tenant
		c := testkit.Client(t, cfg)
		if c.Cloud() != entra.ExternalIDCloud("login.contoso.com") || !c.Cloud().ExternalID() ||
			c.Cloud().Host() != "login.contoso.com" {
			t.Errorf("got the cloud %s", c.Cloud())
		}
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice,
			Host: "login.contoso.com"})
		if got := testkit.Claims(t, assertion)["iss"]; got != "https://"+entratest.SampleTenant+".ciamlogin.com/"+
			entratest.SampleTenant+"/v2.0" {
			t.Errorf("got the issuer %v", got)
		}
		if _, err := obo.TokenSource(c, assertion, scopeOfB).Token(); err != nil {
			t.Errorf("%s: on behalf of: %v", tenant, err)
		}
		if _, err := clientcreds.TokenSource(c, scopeOfB).Token(); err != nil {
			t.Errorf("%s: app-only: %v", tenant, err)
		}
		wantHosts(t, e, "GET login.contoso.com", "POST login.contoso.com", "POST login.contoso.com")

		// Without ExternalIDCloud, the error names it.
		cfg.Cloud = "login.contoso.com"
		_, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB).Token()
		if got := testkit.Error(t, err); got.Code != "invalid_request" || got.Description !=
			`login.contoso.com is a custom URL domain of External ID; set Config.Cloud to entra.ExternalIDCloud("login.contoso.com")` {
			t.Errorf("got %v", err)
		}
	}
	if got := entra.ExternalIDCloud("contoso.ciamlogin.com"); got != "contoso.ciamlogin.com" {
		t.Errorf("got %s, want the tenant's own host", got)
	}
	for _, host := range []string{"", "login.microsoftonline.com", "westeurope.login.microsoft.com", "login.contoso.com/x",
		"https://login.contoso.com", "a.b.ciamlogin.com", "contoso.b2clogin.com"} {
		cfg := newEstate().config("daemon")
		cfg.Cloud = entra.ExternalIDCloud(host)
		_, err := entra.New(cfg)
		if got := testkit.Error(t, err); got.Code != "invalid_request" || !strings.HasPrefix(got.Description, "Config.Cloud ") {
			t.Errorf("%q: got %v", host, err)
		}
	}
}

// MSAL trusts the hosts of our clouds: it queries each of them for its aliases. For any other
// host it queries the public cloud.
func TestMSALKnowsTheClouds(t *testing.T) {
	for host, want := range map[entra.Cloud]string{
		entra.CloudPublic: "", entra.CloudUSGovernment: "", entra.CloudChina: "", entra.CloudBleu: "", entra.CloudDelos: "",
		entra.CloudGovSG:               "",
		"login-us.microsoftonline.com": "", "login.usgovcloudapi.net": "", "login.chinacloudapi.cn": "",
		"login.windows.net": "", "login.microsoft.com": "", "sts.windows.net": "",
		"login.example.internal": entra.CloudPublic.Host(),
	} {
		e := newEstate()
		cred, err := confidential.NewCredFromSecret("secret")
		if err != nil {
			t.Fatal(err)
		}
		app, err := confidential.New("https://"+string(host)+"/"+entratest.SampleTenant, e.App("daemon").ClientID, cred,
			confidential.WithHTTPClient(e.httpClient()))
		if err != nil {
			t.Fatal(err)
		}
		app.AcquireTokenByCredential(t.Context(), []string{scopeOfB})
		if got := e.hosts()[0]; got != "GET "+cmp.Or(want, string(host)) {
			t.Errorf("%s: MSAL begins with %s", host, got)
		}
	}
}

// MSAL rejects the discovery documents of External ID, whose issuer is on a host that contains
// the tenant ID.
func TestMSALRejectsExternalID(t *testing.T) {
	e := newEstate()
	cred, err := confidential.NewCredFromSecret(e.App("daemon").Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	for host, works := range map[string]bool{"contoso.ciamlogin.com": false,
		entratest.SampleTenant + ".ciamlogin.com": true} {
		app, err := confidential.New("https://"+host+"/"+entratest.SampleTenant, e.App("daemon").ClientID, cred,
			confidential.WithHTTPClient(e.httpClient()), confidential.WithInstanceDiscovery(false))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := app.AcquireTokenByCredential(t.Context(), []string{scopeOfB}); (err == nil) != works {
			t.Errorf("%s: MSAL says %v", host, err)
		}
	}
}

// An external tenant by its ID and by its domain, app-only and for a user, at its own host.
func TestExternalIDEndToEnd(t *testing.T) {
	for _, tenant := range []string{entratest.SampleTenant, "contoso.onmicrosoft.com"} {
		e := newEstate()
		cfg := e.config("api-a")
		cfg.Cloud, cfg.TenantID = "contoso.ciamlogin.com", tenant
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice,
			Host: "contoso.ciamlogin.com"})
		c := testkit.Client(t, cfg)
		if _, err := obo.TokenSource(c, assertion, scopeOfB).Token(); err != nil {
			t.Errorf("%s: on behalf of: %v", tenant, err)
		}
		if _, err := clientcreds.TokenSource(c, scopeOfB).Token(); err != nil {
			t.Errorf("%s: app-only: %v", tenant, err)
		}
		wantHosts(t, e, "GET contoso.ciamlogin.com", "POST contoso.ciamlogin.com", "POST contoso.ciamlogin.com")
	}
	// Another tenant is not at that host.
	e := newEstate()
	cfg := e.config("daemon")
	cfg.Cloud, cfg.TenantID = "contoso.ciamlogin.com", entratest.SampleOtherTenant
	_, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB).Token()
	if got := testkit.Error(t, err); !got.Has(90002) {
		t.Errorf("another tenant: %v", err)
	}
}

// document responds to discovery requests with one document.
func document(issuer, authorize, token string) func(*http.Request, url.Values) (*http.Response, error) {
	body, _ := json.Marshal(map[string]string{"issuer": issuer, "authorization_endpoint": authorize,
		"token_endpoint": token})
	return func(req *http.Request, form url.Values) (*http.Response, error) {
		if req.Method != http.MethodGet {
			return nil, nil
		}
		req = req.Clone(req.Context())
		req.Method = http.MethodPost
		return respondWith(200, "application/json", string(body))(req, form)
	}
}

// A discovery document cannot send a secret to another host, nor replace one tenant of External
// ID with another.
func TestDiscoveryOfAnotherTenantIsRejected(t *testing.T) {
	const (
		own, other = entratest.SampleTenant, entratest.SampleOtherTenant
		at         = "https://contoso.ciamlogin.com/" + own + "/oauth2/v2.0/"
		issuer     = "https://" + own + ".ciamlogin.com/" + own + "/v2.0"
		public     = "https://login.microsoftonline.com/" + own
		gov        = "https://login.microsoftonline.us/" + own
	)
	for _, tt := range []struct {
		cloud            entra.Cloud
		region           string
		issuer, tokenURL string
		ok               bool
	}{
		{"contoso.ciamlogin.com", "", issuer, at + "token", true},
		{"contoso.ciamlogin.com", "", "https://" + other + ".ciamlogin.com/" + other + "/v2.0", at + "token", false},
		{"contoso.ciamlogin.com", "", "https://" + own + ".ciamlogin.com/" + other + "/v2.0", at + "token", false},
		{"contoso.ciamlogin.com", "", "https://" + own + ".ciamlogin.com.evil.example/" + own + "/v2.0", at + "token", false},
		{"contoso.ciamlogin.com", "", "https://contoso.ciamlogin.com/" + own + "/v2.0", at + "token", false},
		{"contoso.ciamlogin.com", "", public + "/v2.0", at + "token", false},
		{"contoso.ciamlogin.com", "", "http" + issuer[5:], at + "token", false},
		{"contoso.ciamlogin.com", "", issuer, "https://fabrikam.ciamlogin.com/" + own + "/oauth2/v2.0/token", false},
		{"contoso.ciamlogin.com", "", issuer, public + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", "https://contoso.ciamlogin.com/" + own + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", "https://login.microsoftonline.com.evil.example/" + own + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", "https://a.b.login.microsoft.com/" + own + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", "https://login.microsoft.com@evil.example/" + own + "/oauth2/v2.0/token", false},
		{"", "westeurope", public + "/v2.0", "https://westeurope.login.microsoft.com.evil.example/" + own +
			"/oauth2/v2.0/token", false},
		{"", "westeurope", public + "/v2.0", "https://westeurope.evil.example/" + own + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", public + "/../" + other + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", public + "/%2e%2E/" + other + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", "https://user:password@login.microsoftonline.com/" + own + "/oauth2/v2.0/token", false},
		{"", "", public + "/v2.0", "https://login.windows.net/" + own + "/oauth2/v2.0/token", true},
		{"", "", public + "/v2.0", "https://login.chinacloudapi.cn/" + own + "/oauth2/v2.0/token", false},
		{entra.CloudUSGovernment, "", gov + "/v2.0", "https://login.usgovcloudapi.net/" + own + "/oauth2/v2.0/token", true},
		{entra.CloudUSGovernment, "", gov + "/v2.0", public + "/oauth2/v2.0/token", false},
		{entra.CloudUSGovernment, "", gov + "/v2.0", "https://login.chinacloudapi.cn/" + own + "/oauth2/v2.0/token", false},
		{entra.CloudUSGovernment, "", gov + "/v2.0", "https://x.login.microsoft.com/" + own + "/oauth2/v2.0/token", false},
		{"login.example.internal", "westeurope", "https://login.example.internal/" + own + "/v2.0",
			"https://westeurope.login.example.internal/" + own + "/oauth2/v2.0/token", true},
		{"login.example.internal", "westeurope", "https://login.example.internal/" + own + "/v2.0",
			"https://eastus.login.example.internal/" + own + "/oauth2/v2.0/token", false},
		{"login.example.internal", "", "https://login.example.internal/" + own + "/v2.0",
			"https://westeurope.login.example.internal/" + own + "/oauth2/v2.0/token", false},
	} {
		e := newEstate(func(c *entratest.Config) {
			if tt.cloud == "login.example.internal" {
				c.Host = "login.example.internal"
			}
		})
		e.Intercept(document(tt.issuer, strings.Replace(tt.tokenURL, "/token", "/authorize", 1), tt.tokenURL))
		cfg := e.config("daemon")
		cfg.Cloud, cfg.Region = tt.cloud, tt.region
		_, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB).Token()
		if (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		if err != nil && (testkit.Error(t, err).Code != entra.CodeInvalidResponse || len(e.Forms()) != 0) {
			t.Errorf("%+v: %v, %d token requests", tt, err, len(e.Forms()))
		}
	}
}

// No discovery document makes the client send a secret to a host outside of the authority.
func FuzzDiscovery(f *testing.F) {
	for _, cloud := range []string{"login.microsoftonline.com", "contoso.ciamlogin.com", "login.example.internal"} {
		for _, host := range []string{cloud, cloud + ".evil.example", "evil.example", "westeurope." + cloud,
			cloud + "@evil.example", cloud + ":1", "evil.example#." + cloud, strings.Replace(cloud, "i", "\u0130", 1)} {
			at := "https://" + host + "/" + entratest.SampleTenant
			f.Add(cloud, at+"/v2.0", at+"/oauth2/v2.0/authorize", at+"/oauth2/v2.0/token")
		}
	}
	f.Fuzz(func(t *testing.T, cloud, issuer, authorize, token string) {
		e := newEstate()
		respond := document(issuer, authorize, token)
		e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
			if resp, err := respond(req, form); resp != nil || err != nil {
				return resp, err
			}
			return nil, errors.New("no network")
		})
		cfg := e.config("daemon")
		cfg.Cloud = entra.Cloud(cloud)
		c, err := entra.New(cfg)
		if err != nil {
			return
		}
		clientcreds.TokenSource(c, scopeOfB).Token()
		for _, request := range e.hosts() {
			if strings.ContainsFunc(request, func(c rune) bool { return c > '~' }) { // in lower case some look like ASCII
				t.Errorf("%q, %q: got a request to %s", cloud, token, request)
			}
			host, ok := strings.CutPrefix(strings.ToLower(request), "post ")
			_, parent, _ := strings.Cut(host, ".")
			microsoft := func(h string) bool {
				return strings.HasPrefix(h, "login") && (strings.Contains(h, ".microsoftonline.") ||
					strings.Contains(h, ".sovcloud-identity.")) ||
					h == "login.microsoft.com" || h == "login.windows.net" || h == "sts.windows.net" ||
					h == "login.usgovcloudapi.net" || h == "login.chinacloudapi.cn"
			}
			if ok && host != entra.Cloud(cloud).Host() && !microsoft(host) && !microsoft(parent) {
				t.Errorf("%q, %q: a secret went to %s", cloud, token, host)
			}
		}
	})
}
