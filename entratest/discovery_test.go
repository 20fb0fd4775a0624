package entratest_test

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

func get(t *testing.T, c *http.Client, url string, v any) int {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func TestDiscovery(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	custom := entratest.Sample()
	custom.Host = "login.example.test"
	branded := entratest.Sample()
	branded.Tenants[0].CustomURLDomain = "login.contoso.com"
	for _, test := range []struct {
		name, url, issuer, endpoints string
		server                       *entratest.Server
	}{
		{"ID", authHost + tenant + "/v2.0", authHost + tenant + "/v2.0", authHost + tenant, s},
		{"domain", authHost + "Contoso.onmicrosoft.com/v2.0", authHost + tenant + "/v2.0", authHost + tenant, s},
		{"common", authHost + "common/v2.0", authHost + "{tenantid}/v2.0", authHost + "common", s},
		{"organizations", authHost + "organizations/v2.0", authHost + "{tenantid}/v2.0", authHost + "organizations", s},
		{"consumers", authHost + "consumers/v2.0", authHost + "9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
			authHost + "consumers", s},
		{"v1", authHost + tenant, "https://sts.windows.net/" + tenant + "/", authHost + tenant, s},
		{"alias", "https://login.windows.net/" + tenant + "/v2.0", authHost + tenant + "/v2.0", authHost + tenant, s},
		{"government", "https://login.microsoftonline.us/" + tenant + "/v2.0",
			"https://login.microsoftonline.us/" + tenant + "/v2.0", "https://login.microsoftonline.us/" + tenant, s},
		{"China", "https://login.chinacloudapi.cn/" + tenant + "/v2.0",
			"https://login.partner.microsoftonline.cn/" + tenant + "/v2.0",
			"https://login.partner.microsoftonline.cn/" + tenant, s},
		{"v1 in China", "https://login.partner.microsoftonline.cn/" + tenant,
			"https://sts.chinacloudapi.cn/" + tenant + "/", "https://login.partner.microsoftonline.cn/" + tenant, s},
		{"custom host", "https://login.example.test/" + tenant + "/v2.0",
			"https://login.example.test/" + tenant + "/v2.0", "https://login.example.test/" + tenant,
			entratest.NewServer(custom)},
		{"external tenant", "https://contoso.ciamlogin.com/" + tenant + "/v2.0",
			"https://" + tenant + ".ciamlogin.com/" + tenant + "/v2.0", "https://contoso.ciamlogin.com/" + tenant, s},
		{"external tenant by its ID", "https://" + tenant + ".ciamlogin.com/contoso.onmicrosoft.com/v2.0",
			"https://" + tenant + ".ciamlogin.com/" + tenant + "/v2.0", "https://" + tenant + ".ciamlogin.com/" + tenant, s},
		{"custom URL domain", "https://Login.Contoso.com/" + tenant + "/v2.0",
			"https://" + tenant + ".ciamlogin.com/" + tenant + "/v2.0", "https://login.contoso.com/" + tenant,
			entratest.NewServer(branded)},
		{"custom host, by Microsoft's", authHost + tenant + "/v2.0", "https://login.example.test/" + tenant + "/v2.0",
			"https://login.example.test/" + tenant, entratest.NewServer(custom)},
	} {
		t.Run(test.name, func(t *testing.T) {
			var doc map[string]any
			if status := get(t, test.server.Client(), test.url+"/.well-known/openid-configuration", &doc); status != 200 {
				t.Fatalf("got status %d", status)
			}
			version, keys := "/v2.0", test.endpoints+"/discovery/v2.0/keys"
			if authority, v1 := strings.CutSuffix(test.endpoints, tenant); v1 && strings.HasPrefix(test.name, "v1") {
				version, keys = "", authority+"common/discovery/keys"
			}
			for name, want := range map[string]string{
				"issuer": test.issuer, "token_endpoint": test.endpoints + "/oauth2" + version + "/token",
				"authorization_endpoint":        test.endpoints + "/oauth2" + version + "/authorize",
				"end_session_endpoint":          test.endpoints + "/oauth2" + version + "/logout",
				"device_authorization_endpoint": test.endpoints + "/oauth2" + version + "/devicecode",
				"jwks_uri":                      keys,
				"kerberos_endpoint":             test.endpoints + "/kerberos",
			} {
				if doc[name] != want {
					t.Errorf("%s is %v, want %s", name, doc[name], want)
				}
			}
		})
	}
	var e map[string]any
	if status := get(t, s.Client(), authHost+"nowhere.example/v2.0/.well-known/openid-configuration",
		&e); status != 400 || e["error"] != "invalid_tenant" || e["error_codes"].([]any)[0] != float64(90002) {
		t.Errorf("unknown tenant: got %d %v", status, e)
	}
}

// The members of the OpenID configuration document are those of Entra. Clients
// branch on code_challenge_methods_supported, which Entra does not publish
// (immich-app/immich#18725, modelcontextprotocol/typescript-sdk#832). The documents
// are recorded in panva/wellknown.
func TestDiscoveryMembers(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	both := []string{
		"authorization_endpoint", "claims_supported", "cloud_graph_host_name", "cloud_instance_name",
		"device_authorization_endpoint", "end_session_endpoint", "frontchannel_logout_supported", "http_logout_supported",
		"id_token_signing_alg_values_supported", "issuer", "jwks_uri", "kerberos_endpoint", "msgraph_host", "rbac_url",
		"response_modes_supported", "response_types_supported", "scopes_supported", "subject_types_supported",
		"tenant_region_scope", "token_endpoint", "token_endpoint_auth_methods_supported", "userinfo_endpoint",
	}
	for _, test := range []struct {
		path    string
		members []string
		types   string
		region  any
	}{
		{"common/v2.0", []string{"request_uri_parameter_supported"}, "code,id_token,code id_token,id_token token", nil},
		{tenant + "/v2.0", []string{"request_uri_parameter_supported"}, "code,id_token,code id_token,id_token token", "WW"},
		{tenant, []string{"check_session_iframe", "microsoft_multi_refresh_token"},
			"code,id_token,code id_token,token id_token,token", "WW"},
	} {
		var doc map[string]any
		if status := get(t, s.Client(), authHost+test.path+"/.well-known/openid-configuration", &doc); status != 200 {
			t.Fatalf("%s: got status %d", test.path, status)
		}
		want := slices.Sorted(slices.Values(slices.Concat(both, test.members)))
		if got := slices.Sorted(maps.Keys(doc)); !slices.Equal(got, want) {
			t.Errorf("%s: got members %v, want %v", test.path, got, want)
		}
		var types []string
		for _, v := range doc["response_types_supported"].([]any) {
			types = append(types, v.(string))
		}
		if got := strings.Join(types, ","); got != test.types || doc["tenant_region_scope"] != test.region {
			t.Errorf("%s: got response types %s, region %v", test.path, got, doc["tenant_region_scope"])
		}
	}
}

func TestKeys(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	type key struct {
		Kty, Use, Kid, X5t, N, E, Issuer string
		X5c                              []string
	}
	keys := func(path string) []key {
		var set struct{ Keys []key }
		if status := get(t, s.Client(), authHost+path, &set); status != 200 {
			t.Fatalf("got status %d", status)
		}
		return set.Keys
	}
	signedWith := func() string {
		return decodePart(t, clientCredentials(t, s).stringField("access_token"), 0).stringClaim("kid")
	}

	first := keys(tenant + "/discovery/v2.0/keys")
	if len(first) != 1 || first[0].Kid != signedWith() || first[0].Issuer != authHost+tenant+"/v2.0" ||
		first[0].Kty != "RSA" || first[0].Use != "sig" {
		t.Fatalf("got keys %+v", first)
	}
	if k := keys("common/discovery/v2.0/keys"); k[0].Issuer != authHost+"{tenantid}/v2.0" {
		t.Errorf("got issuer %q", k[0].Issuer)
	}
	if k := keys("common/discovery/keys"); k[0].Issuer != "" || k[0].Kid != first[0].Kid {
		t.Errorf("v1: got issuer %q, kid %q", k[0].Issuer, k[0].Kid)
	}
	der, err := base64.StdEncoding.DecodeString(first[0].X5c[0])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(der)
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); first[0].X5t != want || first[0].Kid != want {
		t.Errorf("x5t %q, kid %q, want %q", first[0].X5t, first[0].Kid, want)
	}
	n, err := base64.RawURLEncoding.DecodeString(first[0].N)
	if err != nil || first[0].E != "AQAB" || cert.PublicKey.(*rsa.PublicKey).N.Cmp(new(big.Int).SetBytes(n)) != 0 {
		t.Error("certificate has another key")
	}

	announced := s.AnnounceKey()
	if k := keys(tenant + "/discovery/v2.0/keys"); len(k) != 2 || k[1].Kid != announced || signedWith() != first[0].Kid {
		t.Errorf("after announcing: got %+v", k)
	}
	if kid := s.RotateKeys(); kid != announced || signedWith() != announced {
		t.Errorf("got kid %s, want the announced %s", kid, announced)
	}
	if kid := s.RotateKeys(); kid == announced || signedWith() != kid || len(keys(tenant+"/discovery/v2.0/keys")) != 3 {
		t.Errorf("second rotation: got kid %s", kid)
	}
	s.RetireKeys()
	if k := keys(tenant + "/discovery/v2.0/keys"); len(k) != 1 || k[0].Kid != signedWith() {
		t.Errorf("after retiring: got %+v", k)
	}
}

// An app with a custom signing key has a key in each tenant. It signs the tokens whose audience
// is the app, and only the key document of the tenant with appid has it
// (Widen/cloudfront-auth#85, VirtoCommerce/vc-platform#2142).
func TestCustomSigningKey(t *testing.T) {
	s := entratest.NewServer(sample("api-a", func(a *entratest.App) { a.CustomSigningKey = true }))
	kids := func(path string) (all []string) {
		t.Helper()
		var set struct {
			Keys []struct{ Kid, Issuer string }
		}
		if status := get(t, s.Client(), authHost+path, &set); status != 200 {
			t.Fatalf("got status %d", status)
		}
		for _, k := range set.Keys {
			if !strings.HasPrefix(k.Issuer, authHost) {
				t.Errorf("got issuer %q", k.Issuer)
			}
			all = append(all, k.Kid)
		}
		return all
	}
	kid := func(token string) string { return decodePart(t, token, 0).stringClaim("kid") }
	shared := kids("common/discovery/v2.0/keys")
	own := kids(tenant + "/discovery/v2.0/keys?appid=" + apiA)
	other := kids(fabrikam + "/discovery/v2.0/keys?appid=" + strings.ToUpper(apiA))
	if len(shared) != 1 || len(own) != 1 || len(other) != 1 || own[0] == shared[0] || other[0] == own[0] {
		t.Fatalf("got shared keys %v, keys %v in one tenant, and %v in another; want three keys", shared, own, other)
	}
	for _, path := range []string{
		tenant + "/discovery/v2.0/keys", tenant + "/discovery/v2.0/keys?appid=" + apiB,
		"common/discovery/v2.0/keys?appid=" + apiA,
	} {
		if got := kids(path); !slices.Equal(got, shared) {
			t.Errorf("%s: got keys %v, want %v", path, got, shared)
		}
	}

	redeemed := redeem(t, s, signIn(t, s, alice))
	token := redeemed.stringField("access_token")
	minted := entratest.MintOptions{Resource: "api-a", User: alice}
	elsewhere := entratest.MintOptions{Resource: "api-a", Tenant: fabrikam}
	idToken := entratest.MintOptions{Resource: "api-b", Client: "api-a", User: alice, IDToken: true}
	for name, got := range map[string][2]string{
		"access token":             {kid(token), own[0]},
		"ID token for another app": {kid(redeemed.stringField("id_token")), shared[0]},
		"token for another API":    {kid(clientCredentials(t, s).stringField("access_token")), shared[0]},
		"minted token":             {kid(s.Mint(minted)), own[0]},
		"token of another tenant":  {kid(s.Mint(elsewhere)), other[0]},
		"ID token":                 {kid(s.Mint(idToken)), own[0]},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: got kid %q, want %q", name, got[0], got[1])
		}
	}
	s.RotateKeys()
	if got := kid(s.Mint(minted)); got != own[0] {
		t.Errorf("after RotateKeys: got kid %q, want %q", got, own[0])
	}
	if resp := onBehalfOf(t, s, token); resp.status != 200 {
		t.Errorf("on-behalf-of: got %d %v", resp.status, resp.body)
	}
	var doc map[string]any
	if get(t, s.Client(), authHost+tenant+"/v2.0/.well-known/openid-configuration?appid="+apiA, &doc); doc["jwks_uri"] !=
		authHost+tenant+"/discovery/v2.0/keys?appid="+apiA {
		t.Errorf("got jwks_uri %v", doc["jwks_uri"])
	}
}

func TestInstanceDiscovery(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	var doc struct {
		Endpoint string `json:"tenant_discovery_endpoint"`
		Metadata []struct {
			Network string `json:"preferred_network"`
			Aliases []string
		}
		Error string
		Codes []int `json:"error_codes"`
	}
	url := authHost + "common/discovery/instance?api-version=1.1&authorization_endpoint="
	if status := get(t, s.Client(), url+"https://login.windows.net/"+tenant+"/oauth2/v2.0/authorize",
		&doc); status != 200 {
		t.Fatalf("got status %d", status)
	}
	if doc.Endpoint != "https://login.windows.net/"+tenant+"/v2.0/.well-known/openid-configuration" {
		t.Errorf("got endpoint %q", doc.Endpoint)
	}
	if doc.Metadata[0].Network != "login.microsoftonline.com" || doc.Metadata[0].Aliases[1] != "login.windows.net" {
		t.Errorf("got metadata %+v", doc.Metadata)
	}
	for _, bad := range []string{"https://evil.example/x", "http://login.microsoftonline.com/x", "", "%zz",
		"https://login.microsoftonline.com.evil.example/x"} {
		if status := get(t, s.Client(), url+bad, &doc); status != 400 || doc.Error != "invalid_instance" ||
			doc.Codes[0] != 50049 {
			t.Errorf("%q: got %d %s %v", bad, status, doc.Error, doc.Codes)
		}
	}
}

func TestClientHosts(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, url := range []string{"https://graph.microsoft.com.evil.example/v1.0/me", "https://evil.example/",
		"http://login.microsoftonline.com/", "https://login.microsoftonline.com.evil.example/"} {
		if resp, err := s.Client().Get(url); err == nil {
			resp.Body.Close()
			t.Errorf("%s: got a response, want an error", url)
		}
	}
	for _, host := range []string{
		"login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net",
		"login.microsoftonline.us",
		"login.usgovcloudapi.net", "login-us.microsoftonline.com", "login.partner.microsoftonline.cn",
		"login.chinacloudapi.cn",
		"login.sovcloud-identity.fr", "login.sovcloud-identity.de", "login.sovcloud-identity.sg",
		"westeurope.login.microsoft.com", "usgovvirginia.login.microsoftonline.us", "LOGIN.MICROSOFTONLINE.COM:443",
	} {
		var doc map[string]any
		if status := get(t, s.Client(), "https://"+host+"/"+tenant+"/v2.0/.well-known/openid-configuration",
			&doc); status != 200 {
			t.Errorf("%s: got status %d", host, status)
		}
	}
	resp, err := s.Client().Get(authHost + tenant + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("got status %d", resp.StatusCode)
	}
}

// A server can be the handler of the caller's own listener, over plain HTTP.
func TestHandlerUsesRequestHost(t *testing.T) {
	srv := httptest.NewServer(entratest.NewServer(entratest.Sample()))
	defer srv.Close()
	var doc map[string]any
	get(t, srv.Client(), srv.URL+"/"+tenant+"/v2.0/.well-known/openid-configuration", &doc)
	if want := srv.URL + "/" + tenant + "/v2.0"; doc["issuer"] != want {
		t.Errorf("issuer %v, want %s", doc["issuer"], want)
	}
	req, err := http.NewRequest("GET", srv.URL+"/"+tenant+"/v2.0/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = `evil"/<script>`
	resp, err := srv.Client().Do(req)
	if err == nil {
		defer resp.Body.Close()
		var doc map[string]any
		if json.NewDecoder(resp.Body).Decode(&doc) == nil && strings.Contains(doc["issuer"].(string), "script") {
			t.Errorf("got issuer %v", doc["issuer"])
		}
	}
}

// The discovery document of a regional host names it only as the token endpoint.
func TestRegionalHosts(t *testing.T) {
	custom := entratest.Sample()
	custom.Host = "login.example.test"
	for _, test := range []struct {
		server *entratest.Server
		host   string
		global string
	}{
		{entratest.NewServer(entratest.Sample()), "westeurope.login.microsoft.com", "login.microsoftonline.com"},
		{entratest.NewServer(entratest.Sample()), "usgovvirginia.login.microsoftonline.us", "login.microsoftonline.us"},
		{entratest.NewServer(custom), "westeurope.login.example.test", "login.example.test"},
	} {
		var doc map[string]any
		document := "https://" + test.host + "/" + tenant + "/v2.0/.well-known/openid-configuration"
		if status := get(t, test.server.Client(), document, &doc); status != 200 {
			t.Fatalf("%s: got status %d", test.host, status)
		}
		for name, want := range map[string]string{
			"token_endpoint":         "https://" + test.host + "/" + tenant + "/oauth2/v2.0/token",
			"authorization_endpoint": "https://" + test.global + "/" + tenant + "/oauth2/v2.0/authorize",
			"issuer":                 "https://" + test.global + "/" + tenant + "/v2.0",
		} {
			if doc[name] != want {
				t.Errorf("%s: %s is %v, want %s", test.host, name, doc[name], want)
			}
		}
	}
}

// A host of External ID serves its own tenant, but not common or organizations.
func TestExternalHostServesOneTenant(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, path := range []string{"22222222-2222-4222-8222-222222222222", "fabrikam.onmicrosoft.com", "common",
		"organizations", "consumers"} {
		var body struct {
			Codes []int `json:"error_codes"`
		}
		if status := get(t, s.Client(), "https://contoso.ciamlogin.com/"+path+"/v2.0/.well-known/openid-configuration",
			&body); status != 400 || len(body.Codes) != 1 || body.Codes[0] != 90002 {
			t.Errorf("%s: got status %d, %v", path, status, body.Codes)
		}
	}
}
