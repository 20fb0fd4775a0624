package entratest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

func TestErrorBody(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	req, err := http.NewRequest("POST", authHost+tenant+"/oauth2/v2.0/token",
		strings.NewReader("grant_type=client_credentials&client_id="+daemon+
			"&client_secret=wrong&scope=api://api-b/.default"))
	if err != nil {
		t.Fatal(err)
	}
	const id = "0a1b2c3d-0000-4000-8000-123456789abc"
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("client-request-id", id)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Error         string `json:"error"`
		Description   string `json:"error_description"`
		Codes         []int  `json:"error_codes"`
		Timestamp     string `json:"timestamp"`
		TraceID       string `json:"trace_id"`
		CorrelationID string `json:"correlation_id"`
		URI           string `json:"error_uri"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 401 || body.Error != "invalid_client" || len(body.Codes) != 1 || body.Codes[0] != 7000215 {
		t.Fatalf("got %d %+v", resp.StatusCode, body)
	}
	if body.CorrelationID != id || resp.Header.Get("client-request-id") != id {
		t.Errorf("got correlation ID %q, header %q", body.CorrelationID, resp.Header.Get("client-request-id"))
	}
	if body.TraceID == "" || body.TraceID != resp.Header.Get("x-ms-request-id") {
		t.Errorf("got trace ID %q, x-ms-request-id %q", body.TraceID, resp.Header.Get("x-ms-request-id"))
	}
	if body.URI != authHost+"error?code=7000215" {
		t.Errorf("got error_uri %q", body.URI)
	}
	want := `^AADSTS7000215: .* Trace ID: ` + body.TraceID + ` Correlation ID: ` + id +
		` Timestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$`
	if !regexp.MustCompile(want).MatchString(body.Description) {
		t.Errorf("got error_description %q", body.Description)
	}
	if _, err := time.Parse("2006-01-02 15:04:05Z", body.Timestamp); err != nil {
		t.Error(err)
	}
	if strings.Contains(body.Description, "wrong") {
		t.Error("description has the secret")
	}
}

func TestErrorLookup(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authHost+"error?code=7000215").wantPage("Error lookup", "AADSTS7000215: the OAuth error invalid_client.")
	if b.status != 200 {
		t.Errorf("got status %d", b.status)
	}
	for _, code := range []string{"1", "x", "<zq>"} {
		if b.open(authHost + "error?code=" + code); b.status != 404 || strings.Contains(b.page, "<zq") {
			t.Errorf("%s: got %d %s", code, b.status, b.page)
		}
	}
}

// Each AADSTS number has one OAuth error.
func TestErrorCodeOfEachNumber(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	for code, numbers := range map[string][]int{
		"invalid_request": {28000, 28003, 50059, 50147, 50194, 70007, 90002, 90013, 90014, 90023, 240002,
			500113, 501491, 700022, 900144, 900561, 901002, 9001023, 9002313, 9002325,
			9002326, 9002327, 9002332},
		"invalid_resource": {50001, 500011, 650057},
		"invalid_client": {50011, 50027, 500112, 650053, 700023, 700024, 700025, 700027, 700030, 700211, 700212,
			700213, 7000215, 7000218, 7000222},
		"invalid_grant": {50013, 50034, 50057, 50105, 50126, 50173, 65001, 70000, 70008, 500131, 500133,
			501051, 501481, 54005, 700005, 700082, 700084},
		"interaction_required":      {50020, 50076, 50079},
		"invalid_instance":          {50049},
		"authorization_pending":     {70016},
		"bad_verification_code":     {70018},
		"expired_token":             {70019},
		"login_required":            {50058},
		"access_denied":             {65004, 90094},
		"unsupported_grant_type":    {70003},
		"unsupported_response_type": {70005, 700054},
		"invalid_scope":             {70011, 1002012},
		"temporarily_unavailable":   {90033, 90055},
		"unauthorized_client":       {700016, 7000114},
	} {
		for _, number := range numbers {
			remove := s.Inject(entratest.Fault{Endpoint: "token", Status: 400, AADSTS: number})
			wantError(t, clientCredentials(t, s), 400, code, number)
			remove()
			b.open(fmt.Sprintf("%serror?code=%d", authHost, number)).wantPage("Error lookup",
				fmt.Sprintf("AADSTS%d: the OAuth error %s.", number, code))
		}
	}
}

// Errors of client authentication and of malformed token requests.
func TestClientErrors(t *testing.T) {
	cfg := sample("daemon", func(a *entratest.App) { a.ExpiredSecrets = []string{"old-secret"} })
	cfg.Apps = append(cfg.Apps,
		entratest.App{Name: "cli", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c1", TenantID: tenant, Public: true},
		entratest.App{Name: "local", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c2", TenantID: tenant,
			Secrets: []string{"local-secret"}},
		entratest.App{Name: "guarded", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c3", TenantID: tenant,
			RequireAssignment: true},
	)
	s := entratest.NewServer(cfg)
	const cli, local, guarded = "aaaaaaaa-0000-4000-8000-0000000000c1", "aaaaaaaa-0000-4000-8000-0000000000c2",
		"aaaaaaaa-0000-4000-8000-0000000000c3"
	for _, test := range []struct {
		name   string
		tenant string
		change []string
		status int
		code   string
		aadsts int
	}{
		{"wrong secret", tenant, []string{"client_secret", "wrong"}, 401, "invalid_client", 7000215},
		{"expired secret", tenant, []string{"client_secret", "old-secret"}, 401, "invalid_client", 7000222},
		{"no secret", tenant, []string{"client_secret", ""}, 401, "invalid_client", 7000218},
		{"unknown app", tenant, []string{"client_id", "aaaaaaaa-0000-4000-8000-00000000ffff"}, 400, "unauthorized_client",
			700016},
		{"app of another tenant", fabrikam, []string{"client_id", local, "client_secret", "local-secret"}, 400,
			"unauthorized_client", 700016},
		{"unknown tenant", "99999999-0000-4000-8000-00000000ffff", nil, 400, "invalid_request", 90002},
		{"unknown domain", "nowhere.example", nil, 400, "invalid_request", 90002},
		{"no tenant", "organizations", nil, 400, "invalid_request", 50059},
		{"common, single tenant", "common", []string{"client_id", local, "client_secret", "local-secret"}, 400,
			"invalid_request", 50194},
		{"consumers", "consumers", nil, 400, "invalid_request", 9002332},
		{"public with a secret", tenant, []string{"client_id", cli}, 401, "invalid_client", 700025},
		{"public, app-only", tenant, []string{"client_id", cli, "client_secret", ""}, 401, "invalid_client", 7000218},
		{"no grant", tenant, []string{"grant_type", ""}, 400, "invalid_request", 900144},
		{"unknown grant", tenant, []string{"grant_type", "magic"}, 400, "unsupported_grant_type", 70003},
		{"no client", tenant, []string{"client_id", ""}, 400, "invalid_request", 900144},
		{"no scope", tenant, []string{"scope", ""}, 400, "invalid_request", 900144},
		{"scope without .default", tenant, []string{"scope", "api://api-b/Orders.Read.All"}, 400, "invalid_scope", 1002012},
		{"OIDC scopes alone", tenant, []string{"scope", "openid profile"}, 400, "invalid_scope", 1002012},
		{"unknown resource", tenant, []string{"scope", "api://nothing/.default"}, 400, "invalid_resource", 500011},
		{"two resources", tenant, []string{"scope", "api://api-a/.default api://api-b/.default"}, 400, "invalid_request",
			28000},
		{"resource parameter", tenant, []string{"resource", "api://api-b"}, 400, "invalid_request", 901002},
		{"bad claims", tenant, []string{"claims", "{"}, 400, "invalid_request", 90023},
		{"no role", tenant, []string{"scope", guarded + "/.default"}, 400, "invalid_grant", 501051},
		{"secret and assertion", tenant, []string{"client_assertion", "x"}, 400, "invalid_request", 90023},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := []string{"grant_type", "client_credentials", "client_id", daemon, "client_secret", "daemon-secret", "scope",
				"api://api-b/.default"}
			wantError(t, tokenRequest(t, s, test.tenant, append(f, test.change...)...), test.status, test.code, test.aadsts)
		})
	}
	t.Run("GET", func(t *testing.T) {
		var resp response
		resp.status = get(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", &resp.body)
		wantError(t, resp, 405, "invalid_request", 900561)
	})
	for name, request := range map[string][2]string{
		"repeated parameter": {"application/x-www-form-urlencoded", "grant_type=client_credentials&grant_type=password"},
		"too long":           {"application/x-www-form-urlencoded", "grant_type=" + strings.Repeat("x", 2<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := s.Client().Post(authHost+tenant+"/oauth2/v2.0/token", request[0], strings.NewReader(request[1]))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body struct {
				Codes []int `json:"error_codes"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != 400 ||
				body.Codes[0] != 9002313 {
				t.Errorf("got %d %v %v", resp.StatusCode, body, err)
			}
		})
	}
}

func TestBasicAuthentication(t *testing.T) {
	s := entratest.NewServer(sample("daemon", func(a *entratest.App) { a.Secrets = []string{"a:b c%"} }))
	do := func(user, password string, more ...string) int {
		body := "grant_type=client_credentials&scope=api://api-b/.default" + strings.Join(more, "")
		req, err := http.NewRequest("POST", authHost+tenant+"/oauth2/v2.0/token", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(user, password)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := do(daemon, "a%3Ab+c%25"); got != 200 {
		t.Errorf("got status %d", got)
	}
	if got := do(daemon, "nope"); got != 401 {
		t.Errorf("wrong secret: got status %d", got)
	}
	if got := do(daemon, "a%3Ab+c%25", "&client_secret=another"); got != 400 {
		t.Errorf("two secrets: got status %d", got)
	}
	if got := do(daemon, "a%3Ab+c%25", "&client_id="+apiA); got != 400 {
		t.Errorf("two clients: got status %d", got)
	}
}

func TestClientAssertionErrors(t *testing.T) {
	cert := certify(t, "daemon", testKey(), nil, nil)
	ca := certify(t, "a CA", otherKey(), nil, nil)
	leaf := certify(t, "stranger.example", testKey(), ca, otherKey())
	impostor := certify(t, "daemon.contoso.example", testKey(), nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := entratest.NewServer(sample("daemon", func(a *entratest.App) {
		a.Certificates = []*x509.Certificate{cert, ecCert(t, ec)}
		a.TrustedSubjects = []entratest.TrustedSubject{{Subject: "daemon.contoso.example", Roots: roots}}
		a.Federated = []entratest.FederatedCredential{
			{Issuer: "https://ci.example", Subject: "repo:main", Key: &otherKey().PublicKey},
			{Issuer: "https://cluster.example", Subject: "job", Audience: "api://mine", Key: &ec.PublicKey},
		}
	}))
	now := time.Now()
	good := func() (header, payload map[string]any) {
		return map[string]any{"x5t": thumbprint(cert)}, map[string]any{
			"iss": daemon, "sub": daemon, "aud": authHost + tenant + "/oauth2/v2.0/token", "jti": "1",
			"nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		}
	}
	send := func(t *testing.T, assertion string) response {
		return clientCredentials(t, s, "client_secret", "", "client_assertion", assertion,
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	for _, aud := range []string{
		authHost + tenant + "/oauth2/v2.0/token", authHost + tenant + "/v2.0",
		authHost + "contoso.onmicrosoft.com/oauth2/v2.0/token",
		"https://login.windows.net/" + tenant + "/oauth2/v2.0/token", authHost + tenant + "/oauth2/token",
	} {
		h, p := good()
		p["aud"] = aud
		wantToken(t, send(t, sign(t, testKey(), h, p)))
	}
	h, p := good()
	h["alg"] = "PS256"
	wantToken(t, send(t, sign(t, testKey(), h, p)))

	for _, test := range []struct {
		name   string
		change func(h, p map[string]any)
		aadsts int
	}{
		{"expired", func(_, p map[string]any) { p["exp"] = now.Add(-time.Second).Unix() }, 700024},
		{"not yet", func(_, p map[string]any) { p["nbf"] = now.Add(time.Hour).Unix() }, 700024},
		{"no exp", func(_, p map[string]any) { delete(p, "exp") }, 700024},
		{"odd nbf", func(_, p map[string]any) { p["nbf"] = "soon" }, 700024},
		{"audience", func(_, p map[string]any) { p["aud"] = authHost + fabrikam + "/oauth2/v2.0/token" }, 700023},
		{"audience elsewhere", func(_, p map[string]any) {
			p["aud"] = "https://evil.example/" + tenant + "/oauth2/v2.0/token"
		}, 700023},
		{"subject", func(_, p map[string]any) { p["sub"] = apiA }, 700027},
		{"unknown certificate", func(h, _ map[string]any) { h["x5t"] = thumbprint(ca) }, 700027},
		{"no thumbprint", func(h, _ map[string]any) { delete(h, "x5t") }, 50027},
		{"subject name", func(h, _ map[string]any) {
			delete(h, "x5t")
			h["x5c"] = []string{base64.StdEncoding.EncodeToString(leaf.Raw)}
		}, 700030},
		{"subject name of another issuer", func(h, _ map[string]any) {
			delete(h, "x5t")
			h["x5c"] = []string{base64.StdEncoding.EncodeToString(impostor.Raw)}
		}, 700030},
		{"x5c without a certificate", func(h, _ map[string]any) { delete(h, "x5t"); h["x5c"] = []any{1} }, 50027},
		{"unknown issuer", func(_, p map[string]any) { p["iss"] = "https://other.example" }, 700211},
		{"federated subject", func(_, p map[string]any) { p["iss"], p["sub"] = "https://ci.example", "repo:dev" }, 700213},
		{"federated audience", func(_, p map[string]any) {
			p["iss"], p["sub"], p["aud"] = "https://ci.example", "repo:main", "api://other"
		}, 700212},
		{"federated signature", func(_, p map[string]any) {
			p["iss"], p["sub"], p["aud"] = "https://ci.example", "repo:main", "api://AzureADTokenExchange"
		}, 700027},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, p := good()
			test.change(h, p)
			wantError(t, send(t, sign(t, testKey(), h, p)), 401, "invalid_client", test.aadsts)
		})
	}
	t.Run("signature", func(t *testing.T) {
		h, p := good()
		wantError(t, send(t, sign(t, otherKey(), h, p)), 401, "invalid_client", 700027)
	})
	t.Run("algorithm", func(t *testing.T) {
		h, p := good()
		h["alg"] = "none"
		wantError(t, send(t, sign(t, testKey(), h, p)), 401, "invalid_client", 700027)
	})
	t.Run("malformed", func(t *testing.T) {
		wantError(t, send(t, "not.a.token"), 401, "invalid_client", 50027)
	})
	t.Run("ES256", func(t *testing.T) {
		h, p := good()
		p["iss"], p["sub"], p["aud"] = "https://cluster.example", "job", "api://mine"
		wantToken(t, send(t, signEC(t, ec, h, p)))
		h, p = good()
		s := entratest.NewServer(sample("daemon", func(a *entratest.App) {
			a.Certificates = []*x509.Certificate{ecCert(t,
				ec)}
		}))
		h["x5t"] = thumbprint(s.App("daemon").Certificates[0])
		wantError(t, clientCredentials(t, s, "client_secret", "", "client_assertion", signEC(t, ec, h, p),
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), 401, "invalid_client", 700027)
	})
}

// A certificate cannot be used after it has expired.
func TestExpiredCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert := certify(t, "daemon", testKey(), nil, nil)
		s := entratest.NewServer(sample("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{cert} }))
		do := func() response {
			return clientCredentials(t, s, "client_secret", "", "client_assertion_type",
				"urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
				"client_assertion", sign(t, testKey(), map[string]any{"x5t": thumbprint(cert)}, map[string]any{
					"iss": daemon, "sub": daemon, "aud": authHost + tenant + "/oauth2/v2.0/token",
					"exp": time.Now().Add(time.Minute).Unix(),
				}))
		}
		wantToken(t, do())
		time.Sleep(25 * time.Hour)
		wantError(t, do(), 401, "invalid_client", 700027)
	})
}

func TestCodeErrors(t *testing.T) {
	cfg := sample("webapp", func(a *entratest.App) {
		a.RedirectURIs = append(a.RedirectURIs, "https://webapp.contoso.example/other")
	})
	cfg.Apps = append(cfg.Apps, entratest.App{
		Name: "other", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c4", TenantID: tenant, MultiTenant: true,
		Secrets: []string{"other-secret"}, RedirectURIs: []string{callback},
	})
	s := entratest.NewServer(cfg)
	for _, test := range []struct {
		name   string
		change []string
		status int
		code   string
		aadsts int
	}{
		{"verifier", []string{"code_verifier", "another-verifier-of-enough-characters-to-be-accepted"}, 400,
			"invalid_grant", 501481},
		{"no verifier", []string{"code_verifier", ""}, 400, "invalid_grant", 501481},
		{"redirect not registered", []string{"redirect_uri", "https://evil.example/"}, 400, "invalid_client", 50011},
		{"another redirect", []string{"redirect_uri", "https://webapp.contoso.example/other"}, 400, "invalid_client", 500112},
		{"no redirect", []string{"redirect_uri", ""}, 400, "invalid_request", 900144},
		{"another client", []string{"client_id", "aaaaaaaa-0000-4000-8000-0000000000c4", "client_secret", "other-secret"},
			400, "invalid_grant", 70000},
		{"malformed", []string{"code", "nonsense"}, 400, "invalid_grant", 9002313},
		{"no code", []string{"code", ""}, 400, "invalid_request", 900144},
		{"two resources", []string{"scope", "api://api-a/access_as_user api://api-b/Orders.Read"}, 400, "invalid_request",
			28000},
		{"no resource", []string{"scope", "offline_access"}, 400, "invalid_request", 28003},
		{"unknown scope", []string{"scope", "api://api-a/nothing"}, 400, "invalid_client", 650053},
		{"bare scope", []string{"scope", "nothing"}, 400, "invalid_client", 650053},
		{"no permission", []string{"scope", "api://api-a/"}, 400, "invalid_scope", 70011},
		{"mixed .default", []string{"scope", "api://api-a/.default api://api-a/access_as_user"}, 400, "invalid_scope", 70011},
		{"no consent", []string{"scope", "api://api-b/Orders.Read"}, 400, "invalid_grant", 65001},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp := redeem(t, s, signIn(t, s, alice), test.change...)
			wantError(t, resp, test.status, test.code, test.aadsts)
			if test.aadsts == 65001 && resp.stringField("suberror") != "consent_required" {
				t.Errorf("got suberror %q", resp.stringField("suberror"))
			}
		})
	}
	t.Run("another tenant", func(t *testing.T) {
		resp := tokenRequest(t, s, fabrikam, "grant_type", "authorization_code", "client_id", webapp, "client_secret",
			"webapp-secret",
			"code", signIn(t, s, alice), "redirect_uri", callback, "code_verifier", verifier)
		wantError(t, resp, 400, "invalid_grant", 700005)
	})
	t.Run("verifier without a challenge", func(t *testing.T) {
		code := signIn(t, s, alice, "code_challenge", "", "code_challenge_method", "")
		wantError(t, redeem(t, s, code), 400, "invalid_grant", 501481)
	})
	t.Run("plain challenge", func(t *testing.T) {
		code := signIn(t, s, alice, "code_challenge", verifier, "code_challenge_method", "")
		wantToken(t, redeem(t, s, code))
	})
	t.Run("a rejected redemption does not use the code", func(t *testing.T) {
		code := signIn(t, s, alice)
		wantError(t, redeem(t, s, code, "client_secret", "wrong"), 401, "invalid_client", 7000215)
		wantToken(t, redeem(t, s, code))
	})
	t.Run("a code is not a refresh token", func(t *testing.T) {
		resp := tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret",
			"webapp-secret", "refresh_token", signIn(t, s, alice))
		wantError(t, resp, 400, "invalid_grant", 9002313)
	})
}

func TestExpiredGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		code := signIn(t, s, alice)
		time.Sleep(10*time.Minute + time.Second)
		wantError(t, redeem(t, s, code), 400, "invalid_grant", 70008)

		resp := redeem(t, s, signIn(t, s, alice))
		wantToken(t, resp)
		time.Sleep(2 * time.Hour)
		wantError(t, onBehalfOf(t, s, resp.stringField("access_token")), 400, "invalid_grant", 500133)

		refresh := []string{"grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret",
			"refresh_token", resp.stringField("refresh_token")}
		time.Sleep(89 * 24 * time.Hour)
		wantToken(t, tokenRequest(t, s, tenant, refresh...))
		time.Sleep(24 * time.Hour)
		wantError(t, tokenRequest(t, s, tenant, refresh...), 400, "invalid_grant", 700082)
	})
}

func TestRefreshErrors(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Apps = append(cfg.Apps, entratest.App{
		Name: "other", ClientID: "aaaaaaaa-0000-4000-8000-0000000000c4", TenantID: tenant, MultiTenant: true,
		Secrets: []string{"other-secret"},
	})
	s := entratest.NewServer(cfg)
	token := redeem(t, s, signIn(t, s, alice)).stringField("refresh_token")
	base := []string{"grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret",
		"refresh_token", token}
	wantError(t, tokenRequest(t, s, fabrikam, base...), 400, "interaction_required", 50020)
	wantError(t, tokenRequest(t, s, tenant, append(base, "client_id", "aaaaaaaa-0000-4000-8000-0000000000c4",
		"client_secret", "other-secret")...), 400, "invalid_grant", 70000)
	wantError(t, tokenRequest(t, s, tenant, append(base, "refresh_token", "x")...), 400, "invalid_grant", 9002313)
	wantError(t, tokenRequest(t, s, tenant, append(base, "refresh_token", "")...), 400, "invalid_request", 900144)
	wantError(t, tokenRequest(t, entratest.NewServer(cfg), tenant, base...), 400, "invalid_grant", 9002313)
	if !s.RevokeToken(token) || s.RevokeToken("nothing") ||
		s.RevokeToken(s.Mint(entratest.MintOptions{Resource: "api-a", UnpublishedKey: true})) {
		t.Error("RevokeToken: got true for other text or false for a token")
	}
	wantError(t, tokenRequest(t, s, tenant, base...), 400, "invalid_grant", 50173)
	wantToken(t, redeem(t, s, signIn(t, s, alice)))
}

func TestOnBehalfOfErrors(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) { a.OmitIDType = true })
	s := entratest.NewServer(cfg)
	good := userToken(t, s, alice)
	mint := func(o entratest.MintOptions) string {
		if o.Resource == "" {
			o.Resource, o.Client, o.User = "api-a", "webapp", alice
		}
		return s.Mint(o)
	}
	wantToken(t, onBehalfOf(t, s, mint(entratest.MintOptions{})))
	wantToken(t, onBehalfOf(t, s, mint(entratest.MintOptions{Version: 1})))
	for _, test := range []struct {
		name      string
		assertion string
		change    []string
		status    int
		code      string
		aadsts    int
	}{
		{"malformed", "nonsense", nil, 400, "invalid_grant", 50013},
		{"signature", mint(entratest.MintOptions{UnpublishedKey: true}), nil, 400, "invalid_grant", 50013},
		{"alg none", mint(entratest.MintOptions{Header: map[string]any{"alg": "none"}}), nil, 400, "invalid_grant", 50013},
		{"alg HS256", mint(entratest.MintOptions{Header: map[string]any{"alg": "HS256"}}), nil, 400, "invalid_grant", 50013},
		{"unknown key", mint(entratest.MintOptions{Header: map[string]any{"kid": "x"}}), nil, 400, "invalid_grant", 50013},
		{"issuer", mint(entratest.MintOptions{Claims: map[string]any{"iss": "https://evil.example/"}}), nil, 400,
			"invalid_grant", 50013},
		{"issuer of another tenant", mint(entratest.MintOptions{Claims: map[string]any{"tid": fabrikam}}), nil, 400,
			"invalid_grant", 50013},
		{"expired", mint(entratest.MintOptions{Lifetime: -time.Second}), nil, 400, "invalid_grant", 500133},
		{"no exp", mint(entratest.MintOptions{Claims: map[string]any{"exp": nil}}), nil, 400, "invalid_grant", 500133},
		{"not yet valid", mint(entratest.MintOptions{Claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}}),
			nil, 400, "invalid_grant", 500133},
		{"audience", s.Mint(entratest.MintOptions{Resource: "api-b", Client: "webapp", User: alice}), nil, 400,
			"invalid_grant", 500131},
		{"app-only", s.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon"}), nil, 400, "unauthorized_client",
			7000114},
		{"app-only without idtyp", s.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon",
			Claims: map[string]any{"idtyp": nil}}), nil, 400, "unauthorized_client", 7000114},
		{"app-only with a scope", s.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon",
			Claims: map[string]any{"scp": "access_as_user"}}), nil, 400, "unauthorized_client", 7000114},
		{"ID token", s.Mint(entratest.MintOptions{Resource: apiA, User: alice, IDToken: true}), nil, 400,
			"invalid_request", 240002},
		{"ID token with a scope", s.Mint(entratest.MintOptions{Resource: apiA, User: alice, IDToken: true,
			Claims: map[string]any{"scp": "access_as_user"}}), nil, 400, "invalid_request", 240002},
		{"unknown user", mint(entratest.MintOptions{Claims: map[string]any{"oid": tenant}}), nil, 400, "invalid_grant",
			50034},
		{"no assertion", "", nil, 400, "invalid_request", 900144},
		{"no use", good, []string{"requested_token_use", ""}, 400, "invalid_request", 900144},
		{"another use", good, []string{"requested_token_use", "else"}, 400, "invalid_request", 90023},
		{"no scope", good, []string{"scope", ""}, 400, "invalid_request", 900144},
		{"unknown resource", good, []string{"scope", "api://nothing/.default"}, 400, "invalid_resource", 500011},
		{"no consent", good, []string{"scope", "api://api-b/Orders.Write"}, 400, "invalid_grant", 65001},
		{"no consent at all", good, []string{"scope", "https://graph.microsoft.com/.default"}, 400, "invalid_grant", 65001},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, onBehalfOf(t, s, test.assertion, test.change...), test.status, test.code, test.aadsts)
		})
	}
	t.Run("another tenant", func(t *testing.T) {
		resp := tokenRequest(t, s, fabrikam, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id",
			apiA, "client_secret", "api-a-secret",
			"assertion", good, "requested_token_use", "on_behalf_of", "scope", "api://api-b/Orders.Read")
		wantError(t, resp, 400, "invalid_grant", 50013)
	})
	t.Run("revoked", func(t *testing.T) {
		s.RevokeSessions(alice)
		wantError(t, onBehalfOf(t, s, good), 400, "invalid_grant", 50173)
		if !s.IsRevoked(good) {
			t.Error("IsRevoked: got false, want true")
		}
		wantToken(t, onBehalfOf(t, s, userToken(t, s, alice)))
	})
}

func TestRetiredKeyIsRejected(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	token := userToken(t, s, alice)
	s.RotateKeys()
	wantToken(t, onBehalfOf(t, s, token))
	s.RetireKeys()
	wantError(t, onBehalfOf(t, s, token), 400, "invalid_grant", 50013)
	wantToken(t, onBehalfOf(t, s, userToken(t, s, alice)))
}

// A claims challenge of the downstream API is satisfied by a new sign-in with its claims.
func TestMFAChallengeIsSatisfiedBySignIn(t *testing.T) {
	s := entratest.NewServer(sample("api-b", func(a *entratest.App) { a.RequireMFA = true }))
	resp := onBehalfOf(t, s, userToken(t, s, alice))
	wantError(t, resp, 400, "interaction_required", 50076)
	challenge := resp.stringField("claims")
	var c struct {
		AccessToken struct {
			Polids struct {
				Essential bool
				Values    []string
			}
		} `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(challenge), &c); err != nil || !c.AccessToken.Polids.Essential ||
		len(c.AccessToken.Polids.Values) != 1 {
		t.Fatalf("got claims %q", challenge)
	}
	if resp.stringField("suberror") != "basic_action" {
		t.Errorf("got suberror %q", resp.stringField("suberror"))
	}
	token := redeem(t, s, signIn(t, s, alice, "claims", challenge)).stringField("access_token")
	wantToken(t, onBehalfOf(t, s, token))

	_, err := s.SignIn(t.Context(), authorizeURL(tenant, "claims", challenge), bob)
	if e, ok := err.(*entratest.SignInError); !ok || e.AADSTS != 50079 {
		t.Errorf("user without second factor: got %v", err)
	}
}

func TestPasswordGrant(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Users = append(cfg.Users, entratest.User{Username: "disabled@contoso.onmicrosoft.com",
		Password: "disabled-password", TenantID: tenant, Disabled: true})
	s := entratest.NewServer(cfg)
	do := func(pairs ...string) response {
		f := []string{"grant_type", "password", "client_id", apiA, "client_secret", "api-a-secret", "username", alice,
			"password", "alice-password", "scope", "api://api-b/Orders.Read"}
		return tokenRequest(t, s, tenant, append(f, pairs...)...)
	}
	if c := wantToken(t, do()); c.stringClaim("preferred_username") != alice {
		t.Errorf("got claims %v", c)
	}
	wantError(t, do("password", "wrong"), 400, "invalid_grant", 50126)
	wantError(t, do("username", "unknown@contoso.onmicrosoft.com"), 400, "invalid_grant", 50034)
	wantError(t, do("username", "disabled@contoso.onmicrosoft.com", "password", "disabled-password"), 400,
		"invalid_grant", 50057)
	wantError(t, do("username", carol, "password", "carol-password"), 400, "interaction_required", 50020)
}

// The password grant applies the policies of the sign-in pages.
func TestPasswordGrantAppliesPolicies(t *testing.T) {
	do := func(cfg entratest.Config, scope string) response {
		return tokenRequest(t, entratest.NewServer(cfg), tenant, "grant_type", "password", "client_id", webapp,
			"client_secret", "webapp-secret",
			"username", bob, "password", "bob-password", "scope", scope)
	}
	wantError(t, do(entratest.Sample(), "openid profile offline_access"), 400, "invalid_grant", 65001)
	wantError(t, do(entratest.Sample(), "https://graph.microsoft.com/.default openid"), 400, "invalid_grant", 65001)
	granted := func(a *entratest.App) {
		a.Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
	}
	wantToken(t, do(sample("webapp", granted), "api://api-a/access_as_user"))
	wantToken(t, do(sample("webapp", granted), "openid"))
	wantError(t, do(sample("webapp", func(a *entratest.App) { granted(a); a.RequireAssignment = true }), "openid"),
		400, "invalid_grant", 50105)
	wantError(t, do(sample("webapp", func(a *entratest.App) { granted(a); a.RequireMFA = true }), "openid"), 400,
		"interaction_required", 50079)
}

func TestUserAssignment(t *testing.T) {
	s := entratest.NewServer(sample("api-a", func(a *entratest.App) { a.RequireAssignment = true }))
	wantToken(t, redeem(t, s, signIn(t, s, alice)))
	wantError(t, redeem(t, s, signIn(t, s, bob)), 400, "invalid_grant", 50105)
}
