package entratest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// FuzzTokenParameter changes one parameter, or the tenant, of a request that
// would be granted. A token may only come of it if the request still says what
// it must.
func FuzzTokenParameter(f *testing.F) {
	cfg := sample("webapp", func(a *entratest.App) {
		a.Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
	})
	s := entratest.NewServer(cfg)
	assertion := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Lifetime: 24 * time.Hour})
	refresh := redeem(f, s, signIn(f, s, alice)).text("refresh_token")
	requests := []url.Values{
		form("grant_type", "client_credentials", "client_id", daemon, "client_secret", "daemon-secret", "scope", "api://api-b/.default"),
		form("grant_type", "authorization_code", "client_id", webapp, "client_secret", "webapp-secret", "redirect_uri", callback, "code_verifier", verifier),
		form("grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret", "refresh_token", refresh),
		form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", apiA, "client_secret", "api-a-secret", "assertion", assertion,
			"requested_token_use", "on_behalf_of", "scope", "api://api-b/Orders.Read"),
		form("grant_type", "password", "client_id", apiA, "client_secret", "api-a-secret", "username", alice, "password", "alice-password", "scope", "api://api-b/Orders.Read"),
	}
	for i, request := range requests {
		for name, values := range request {
			f.Add(uint8(i), name, values[0]+"\n")
		}
		f.Add(uint8(i), "tenant", fabrikam)
		f.Add(uint8(i), "client_id", apiB)
		f.Add(uint8(i), "scope", "api://api-b/Orders.Write openid offline_access")
		f.Add(uint8(i), "scope", "https://graph.microsoft.com/.default openid")
		f.Add(uint8(i), "claims", `{"access_token":{"acrs":{"value":"c1"}}}`)
		f.Add(uint8(i), "client_assertion", "e30.e30.")
	}
	f.Add(uint8(1), "code", refresh)
	f.Add(uint8(2), "refresh_token", assertion)
	exact := []string{"grant_type", "client_secret", "code", "redirect_uri", "code_verifier", "refresh_token", "assertion", "requested_token_use", "password"}
	granted := []string{"access_as_user", "Orders.Read", "openid", "profile", "email"}
	f.Fuzz(func(t *testing.T, which uint8, name, value string) {
		request := url.Values{}
		for key, values := range requests[int(which)%len(requests)] {
			request[key] = values
		}
		in := tenant
		if request.Get("grant_type") == "authorization_code" {
			request.Set("code", signIn(t, s, alice))
		}
		before := request.Get(name)
		if name == "tenant" {
			if in = value; strings.ContainsAny(in, "/?#%") {
				return
			}
		} else {
			request.Set(name, value)
		}
		hr := &http.Request{
			Method: "POST", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: io.NopCloser(strings.NewReader(request.Encode())),
			URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: "/" + in + "/oauth2/v2.0/token"},
		}
		resp, err := s.Client().Do(hr)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode >= 500 {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		token, _ := body["access_token"].(string)
		if token == "" {
			return
		}
		folded := name == "client_id" || name == "username"
		if before != "" && (slices.Contains(exact, name) && value != before || folded && !strings.EqualFold(value, before)) {
			t.Fatalf("a token though %s is %q", name, value)
		}
		if name == "client_assertion" && value != "" {
			t.Fatal("a token though the client proved itself twice")
		}
		c := decode(t, token)
		if own := []string{tenant, "contoso.onmicrosoft.com", "common", "organizations"}; slices.Contains(own, strings.ToLower(in)) != (c.text("tid") == tenant) {
			t.Fatalf("a token of tenant %s at %q", c.text("tid"), in)
		}
		if c.text("scp") != "" && c.text("tid") != tenant {
			t.Fatal("Alice in another tenant")
		}
		for _, scope := range strings.Fields(c.text("scp")) {
			if !slices.Contains(granted, scope) {
				t.Fatalf("the scope %q by %s=%q", scope, name, value)
			}
		}
		if c.list("roles") != "" && c.text("scp") == "" && c.list("roles") != "Orders.Read.All" {
			t.Fatalf("the roles %q by %s=%q", c.list("roles"), name, value)
		}
	})
}

// FuzzClientAssertion signs any header and payload with a registered key, and
// with a stranger's. Only an assertion that is the client's own, for this
// endpoint and in its time, may give a token; a stranger's never does.
func FuzzClientAssertion(f *testing.F) {
	cert := certify(f, "daemon", testKey(), nil, nil)
	s := entratest.NewServer(sample("daemon", func(a *entratest.App) {
		a.Certificates = append(a.Certificates, cert)
		a.Federated = []entratest.FederatedCredential{{Issuer: "https://ci.example", Subject: "main", Key: &testKey().PublicKey}}
	}))
	endpoint := authHost + tenant + "/oauth2/v2.0/token"
	future := "4102444800"
	f.Add(`{"alg":"RS256","x5t":"`+thumbprint(cert)+`"}`, `{"iss":"`+daemon+`","sub":"`+daemon+`","aud":"`+endpoint+`","exp":`+future+`}`)
	f.Add(`{"alg":"RS256"}`, `{"iss":"https://ci.example","sub":"main","aud":["api://AzureADTokenExchange"],"exp":`+future+`}`)
	f.Add(`{"alg":"none","x5c":["AA"]}`, `{"iss":"`+daemon+`","sub":"`+daemon+`","aud":"`+endpoint+`","exp":1e400,"nbf":null}`)
	f.Add(`{"alg":"RS256","kid":"`+thumbprint(cert)+`"}`, `{"iss":"`+daemon+`","sub":"`+daemon+`","aud":"`+authHost+`common/oauth2/v2.0/token","exp":`+future+`,"nbf":`+future+`}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		send := func(assertion string) bool {
			a := credentials(t, s, "client_secret", "", "client_assertion", assertion,
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			if a.status >= 500 {
				t.Fatalf("%d %v", a.status, a.body)
			}
			return a.text("access_token") != ""
		}
		if send(signRaw(t, otherKey(), header, payload)) {
			t.Fatal("a token for a stranger's signature")
		}
		if !send(signRaw(t, testKey(), header, payload)) {
			return
		}
		var p struct {
			Iss, Sub string
			Aud      any
			Exp      float64
			Nbf      *float64
		}
		if err := json.Unmarshal([]byte(payload), &p); err != nil {
			t.Fatalf("a token for the payload %q", payload)
		}
		own := strings.EqualFold(p.Iss, daemon) && strings.EqualFold(p.Sub, daemon)
		federated := p.Iss == "https://ci.example" && p.Sub == "main"
		now := float64(time.Now().Unix())
		if !own && !federated || p.Exp < now-1 || p.Nbf != nil && *p.Nbf > now+301 {
			t.Fatalf("a token for the payload %q", payload)
		}
		aud, _ := json.Marshal(p.Aud)
		if federated && !strings.Contains(string(aud), "api://AzureADTokenExchange") || own && !strings.Contains(strings.ToLower(string(aud)), "https://") {
			t.Fatalf("a token for the audience %s", aud)
		}
	})
}

// signRaw signs what may be no JSON.
func signRaw(t testing.TB, key *rsa.PrivateKey, header, payload string) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// FuzzLogin fills in the password page's form. Only the right password gets the
// person to the app with a code.
func FuzzLogin(f *testing.F) {
	s := entratest.NewServer(sample("webapp", func(a *entratest.App) {
		a.Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
	}))
	resp, err := s.Client().Get(authorizeURL(tenant))
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	ctx := hiddenInput.FindSubmatch(page)[2]
	f.Add("password", alice, "alice-password", "", tenant)
	f.Add("password", carol, "carol-password", "", tenant)
	f.Add("mfa", alice, "", "step=consent", tenant)
	f.Add("pick", alice, "", "username=%zq", "organizations")
	f.Add("cancel", "<zq>", "<zq>", "ctx=AAAA", fabrikam)
	f.Fuzz(func(t *testing.T, step, username, password, more, in string) {
		if strings.ContainsAny(in, "/?#%") {
			return
		}
		body := form("ctx", string(ctx), "step", step, "username", username, "password", password).Encode() + "&" + more
		resp, err := s.Client().Do(&http.Request{
			Method: "POST", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: io.NopCloser(strings.NewReader(body)),
			URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: "/" + in + "/login"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 500 {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		if strings.Contains(string(data), "<zq") {
			t.Fatalf("markup came through: %s", data)
		}
		to := resp.Header.Get("Location")
		if to != "" && !strings.HasPrefix(to, callback+"?") {
			t.Fatalf("redirected to %q", to)
		}
		name := strings.ToLower(strings.TrimSpace(username))
		right := name == alice && password == "alice-password" || name == bob && password == "bob-password"
		if strings.Contains(to, "code=") && (!right || step != "password") {
			t.Fatalf("a code for %q, %q", username, password)
		}
	})
}
