package entratest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// FuzzToken sends any body to the token endpoint. Only a request with the secret gets
// a token, and no response is a server error.
func FuzzToken(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	token := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	for _, seed := range []string{
		"", "&&&", "grant_type=client_credentials", "%zz=%", "grant_type=client_credentials&grant_type=password",
		"grant_type=client_credentials&client_id=" + daemon + "&client_secret=daemon-secret&scope=api://api-b/.default",
		"grant_type=client_credentials&client_id=" + daemon + "&client_secret=x&scope=//.default",
		"grant_type=authorization_code&client_id=" + webapp + "&client_secret=webapp-secret&code=AAAA" +
			"&redirect_uri=" + callback,
		"grant_type=refresh_token&client_id=" + webapp + "&client_secret=webapp-secret&refresh_token=AAAA&scope=openid",
		"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&client_id=" + apiA + "&client_secret=api-a-secret" +
			"&requested_token_use=on_behalf_of&scope=api://api-b/.default&assertion=" + token,
		"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&client_id=" + apiA + "&client_secret=api-a-secret" +
			"&requested_token_use=on_behalf_of&scope=x&assertion=e30.e30.e30",
		"grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer" +
			"&client_assertion=eyJ4NWMiOlsxXX0.eyJpc3MiOiJhYWFhYWFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMGQiLC" +
			"JzdWIiOiJhYWFhYWFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMGQifQ.AA",
		"grant_type=password&client_id=" + apiA + "&client_secret=api-a-secret&username=a&password=b&scope=openid" +
			"&claims={\"access_token\":{\"acrs\":null}}",
	} {
		f.Add("/"+tenant+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", seed)
	}
	f.Add("//oauth2/v2.0/token", "text/plain", "grant_type=x")
	f.Fuzz(func(t *testing.T, path, kind, body string) {
		hr := &http.Request{
			Method: "POST", URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: path},
			Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)),
		}
		resp, err := s.Client().Do(hr)
		if err != nil {
			return // the client would not send it
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 500 {
			t.Fatalf("got %d %v %s", resp.StatusCode, err, data)
		}
		var a struct {
			AccessToken string `json:"access_token"`
			Error       string `json:"error"`
		}
		if resp.Header.Get("Content-Type") == "application/json; charset=utf-8" {
			if err := json.Unmarshal(data, &a); err != nil || (a.AccessToken == "") == (a.Error == "") {
				t.Fatalf("%s: got %v", data, err)
			}
		}
		form, _ := url.ParseQuery(body)
		secrets := map[string]string{daemon: "daemon-secret", webapp: "webapp-secret", apiA: "api-a-secret",
			apiB: "api-b-secret"}
		if a.AccessToken != "" && form.Get("client_secret") != secrets[strings.ToLower(form.Get("client_id"))] {
			t.Fatalf("got a token without the secret for %q", body)
		}
	})
}

// FuzzAuthorize sends any query to the pages. No response is a server error, redirects
// to an unregistered URL, or has the query as markup.
func FuzzAuthorize(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	for _, seed := range []string{
		authorizeURL(tenant), authorizeURL(tenant, "prompt", "none"),
		authorizeURL(tenant, "response_mode", "form_post", "prompt", "none"),
		authorizeURL(tenant, "login_hint", `"><zq>`), authorizeURL(tenant, "redirect_uri", "https://evil.example"),
		authorizeURL(tenant, "max_age", "0"), authorizeURL(tenant, "scope", "openid / // .default /.default"),
		authorizeURL(tenant, "claims", `{"access_token":{"polids":{"values":[1,"x"]}}}`),
	} {
		_, query, _ := strings.Cut(seed, "?")
		f.Add("authorize", query, "")
	}
	f.Add("logout", "post_logout_redirect_uri=https://evil.example&state=x", "")
	f.Add("login", "ctx=AAAA&step=password&username=<zq>", "ESTSAUTHPERSISTENT=AAAA")
	f.Fuzz(func(t *testing.T, endpoint, query, cookie string) {
		hr := &http.Request{
			Method: "GET", Header: http.Header{"Cookie": {cookie}},
			URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com",
				Path: "/" + tenant + "/oauth2/v2.0/" + endpoint, RawQuery: query},
		}
		if endpoint == "login" {
			hr.Method, hr.URL.Path, hr.URL.RawQuery = "POST", "/"+tenant+"/login", ""
			hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			hr.Body = io.NopCloser(strings.NewReader(query))
		}
		resp, err := s.Client().Do(hr)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 500 {
			t.Fatalf("got %d %v %s", resp.StatusCode, err, data)
		}
		if to := resp.Header.Get("Location"); to != "" {
			u, err := url.Parse(to)
			if err != nil || u.Hostname() != "localhost" && u.Host != "webapp.contoso.example" || u.Path != "/callback" {
				t.Fatalf("got redirect to %q", to)
			}
			if u.Query().Get("code") != "" {
				t.Fatalf("got a code without a user: %q", to)
			}
		}
		if strings.Contains(string(data), "<zq") {
			t.Fatalf("got unescaped markup: %s", data)
		}
	})
}

// FuzzSignIn passes any URL to SignIn.
func FuzzSignIn(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	f.Add(authorizeURL(tenant))
	f.Add(authorizeURL("common", "scope", "openid api://api-b/.default", "prompt", "consent", "response_mode", "fragment"))
	f.Add("https://x/y/oauth2/v2.0/authorize?client_id=" + webapp)
	f.Fuzz(func(t *testing.T, raw string) {
		cb, err := s.SignIn(t.Context(), raw, alice)
		if err == nil && (cb.Path != "/callback" || cb.Hostname() != "localhost" && cb.Host != "webapp.contoso.example") {
			t.Fatalf("%q: got redirect to %q", raw, cb)
		}
	})
}

// FuzzDocuments requests any path of any host. No response is a server error, and JSON
// is valid.
func FuzzDocuments(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	f.Add("GET", "login.microsoftonline.com", "/common/v2.0/.well-known/openid-configuration", "")
	f.Add("HEAD", "login.windows.net:443", "/contoso.onmicrosoft.com/discovery/v2.0/keys", "appid=x")
	f.Add("GET", "sts.windows.net", "/common/discovery/instance",
		"api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/%2e%2e/x")
	f.Add("GET", "x.login.microsoft.com", "/organizations/v2.0/adminconsent",
		"client_id="+webapp+"&redirect_uri="+callback+"&scope=.default")
	f.Add("OPTIONS", "127.0.0.1:1", "/error", "code=7000215")
	f.Add("GET", `a"b`, "//", "%")
	f.Add("GET", "graph.microsoft.com", "/oidc/userinfo", "")
	f.Add("GET", "127.0.0.1:1", "/v1.0/me/memberOf", "")
	f.Add("GET", "login.microsoftonline.com", "/common/UserRealm/alice@contoso.onmicrosoft.com", "")
	f.Add("GET", "login.microsoftonline.com", "/common/oauth2/deviceauth", "otc=<zq>")
	f.Add("POST", "login.microsoftonline.com", "/common/oauth2/v2.0/devicecode", "client_id=x")
	f.Fuzz(func(t *testing.T, method, host, path, query string) {
		hr := &http.Request{
			Method: method, Host: host, Header: http.Header{}, Body: http.NoBody,
			URL: &url.URL{Path: path, RawQuery: query},
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, hr)
		if w.Code >= 500 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		if method != http.MethodHead && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") &&
			!json.Valid(w.Body.Bytes()) {
			t.Fatalf("got invalid JSON: %s", w.Body)
		}
	})
}

// FuzzGraphToken sends any token to the UserInfo endpoint. Only the token of the server is
// accepted.
func FuzzGraphToken(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	valid := s.Mint(entratest.MintOptions{Resource: "Microsoft Graph", User: alice, Scopes: []string{"openid"}})
	f.Add(valid)
	f.Add(s.Mint(entratest.MintOptions{Resource: "api-a", User: alice}))
	f.Add("e30.e30.e30")
	f.Add(strings.Replace(valid, ".", "=.", 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest("GET", "https://graph.microsoft.com/oidc/userinfo", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if (w.Code == 200) != (token == valid) || w.Code >= 500 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	})
}

// FuzzTokenParameter changes one parameter, or the tenant, of a valid request. The
// response has a token only if the request is still valid.
func FuzzTokenParameter(f *testing.F) {
	cfg := sample("webapp", func(a *entratest.App) {
		a.Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
	})
	s := entratest.NewServer(cfg)
	assertion := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Lifetime: 24 * time.Hour})
	refresh := redeem(f, s, signIn(f, s, alice)).stringField("refresh_token")
	requests := []url.Values{
		form("grant_type", "client_credentials", "client_id", daemon, "client_secret", "daemon-secret", "scope",
			"api://api-b/.default"),
		form("grant_type", "authorization_code", "client_id", webapp, "client_secret", "webapp-secret", "redirect_uri",
			callback, "code_verifier", verifier),
		form("grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret", "refresh_token", refresh),
		form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", apiA, "client_secret",
			"api-a-secret", "assertion", assertion,
			"requested_token_use", "on_behalf_of", "scope", "api://api-b/Orders.Read"),
		form("grant_type", "password", "client_id", apiA, "client_secret", "api-a-secret", "username", alice, "password",
			"alice-password", "scope", "api://api-b/Orders.Read"),
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
	exact := []string{"grant_type", "client_secret", "code", "redirect_uri", "code_verifier", "refresh_token",
		"assertion", "requested_token_use", "password"}
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
			Method: "POST", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			Body: io.NopCloser(strings.NewReader(request.Encode())),
			URL:  &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: "/" + in + "/oauth2/v2.0/token"},
		}
		resp, err := s.Client().Do(hr)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode >= 500 {
			t.Fatalf("got %d %v", resp.StatusCode, err)
		}
		token, _ := body["access_token"].(string)
		if token == "" {
			return
		}
		folded := name == "client_id" || name == "username"
		if before != "" && (slices.Contains(exact, name) && value != before || folded && !strings.EqualFold(value, before)) {
			t.Fatalf("got a token with %s=%q", name, value)
		}
		if name == "client_assertion" && value != "" {
			t.Fatal("got a token for two client credentials")
		}
		c := decode(t, token)
		if own := []string{tenant, "contoso.onmicrosoft.com", "common", "organizations"}; slices.Contains(own,
			strings.ToLower(in)) != (c.stringClaim("tid") == tenant) {
			t.Fatalf("got a token of tenant %s from the endpoint of %q", c.stringClaim("tid"), in)
		}
		if c.stringClaim("scp") != "" && c.stringClaim("tid") != tenant {
			t.Fatal("got a token for Alice in another tenant")
		}
		for _, scope := range strings.Fields(c.stringClaim("scp")) {
			if !slices.Contains(granted, scope) {
				t.Fatalf("got scope %q with %s=%q", scope, name, value)
			}
		}
		if c.joined("roles") != "" && c.stringClaim("scp") == "" && c.joined("roles") != "Orders.Read.All" {
			t.Fatalf("got roles %q with %s=%q", c.joined("roles"), name, value)
		}
	})
}

// FuzzClientAssertion signs any header and payload with a registered key and with
// another key. Only an assertion of the client, for this endpoint, within its validity,
// signed with the registered key, gets a token.
func FuzzClientAssertion(f *testing.F) {
	cert := certify(f, "daemon", testKey(), nil, nil)
	s := entratest.NewServer(sample("daemon", func(a *entratest.App) {
		a.Certificates = append(a.Certificates, cert)
		a.Federated = []entratest.FederatedCredential{{Issuer: "https://ci.example", Subject: "main",
			Key: &testKey().PublicKey}}
	}))
	endpoint := authHost + tenant + "/oauth2/v2.0/token"
	future := "4102444800"
	f.Add(`{"alg":"RS256","x5t":"`+thumbprint(cert)+`"}`,
		`{"iss":"`+daemon+`","sub":"`+daemon+`","aud":"`+endpoint+`","exp":`+future+`}`)
	f.Add(`{"alg":"RS256"}`, `{"iss":"https://ci.example","sub":"main","aud":["api://AzureADTokenExchange"],`+
		`"exp":`+future+`}`)
	f.Add(`{"alg":"none","x5c":["AA"]}`, `{"iss":"`+daemon+`","sub":"`+daemon+`","aud":"`+endpoint+
		`","exp":1e400,"nbf":null}`)
	f.Add(`{"alg":"RS256","kid":"`+thumbprint(cert)+`"}`,
		`{"iss":"`+daemon+`","sub":"`+daemon+`","aud":"`+authHost+`common/oauth2/v2.0/token","exp":`+
			future+`,"nbf":`+future+`}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		send := func(assertion string) bool {
			resp := clientCredentials(t, s, "client_secret", "", "client_assertion", assertion,
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			if resp.status >= 500 {
				t.Fatalf("got %d %v", resp.status, resp.body)
			}
			return resp.stringField("access_token") != ""
		}
		if send(signRaw(t, otherKey(), header, payload)) {
			t.Fatal("got a token for the signature of an unregistered key")
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
			t.Fatalf("got a token for the payload %q", payload)
		}
		own := strings.EqualFold(p.Iss, daemon) && strings.EqualFold(p.Sub, daemon)
		federated := p.Iss == "https://ci.example" && p.Sub == "main"
		now := float64(time.Now().Unix())
		if !own && !federated || p.Exp < now-1 || p.Nbf != nil && *p.Nbf > now+301 {
			t.Fatalf("got a token for the payload %q", payload)
		}
		aud, _ := json.Marshal(p.Aud)
		if federated && !strings.Contains(string(aud), "api://AzureADTokenExchange") || own &&
			!strings.Contains(strings.ToLower(string(aud)), "https://") {
			t.Fatalf("got a token for the audience %s", aud)
		}
	})
}

// signRaw signs a header and payload that may be invalid JSON.
func signRaw(t testing.TB, key *rsa.PrivateKey, header, payload string) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// FuzzLogin submits the form of the password page. Only the right password leads to a
// code.
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
			Method: "POST", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			Body: io.NopCloser(strings.NewReader(body)),
			URL:  &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: "/" + in + "/login"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 500 {
			t.Fatalf("got %d %v", resp.StatusCode, err)
		}
		if strings.Contains(string(data), "<zq") {
			t.Fatalf("got unescaped markup: %s", data)
		}
		to := resp.Header.Get("Location")
		if to != "" && !strings.HasPrefix(to, callback+"?") {
			t.Fatalf("got redirect to %q", to)
		}
		name := strings.ToLower(strings.TrimSpace(username))
		right := name == alice && password == "alice-password" || name == bob && password == "bob-password"
		if strings.Contains(to, "code=") && (!right || step != "password") {
			t.Fatalf("got a code for username %q, password %q", username, password)
		}
	})
}
