package entratest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// FuzzToken sends any body to the token endpoint. Only a request with the right
// secret may have a token, and no answer is a server error.
func FuzzToken(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	token := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	for _, seed := range []string{
		"", "&&&", "grant_type=client_credentials", "%zz=%", "grant_type=client_credentials&grant_type=password",
		"grant_type=client_credentials&client_id=" + daemon + "&client_secret=daemon-secret&scope=api://api-b/.default",
		"grant_type=client_credentials&client_id=" + daemon + "&client_secret=x&scope=//.default",
		"grant_type=authorization_code&client_id=" + webapp + "&client_secret=webapp-secret&code=AAAA&redirect_uri=" + callback,
		"grant_type=refresh_token&client_id=" + webapp + "&client_secret=webapp-secret&refresh_token=AAAA&scope=openid",
		"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&client_id=" + apiA + "&client_secret=api-a-secret&requested_token_use=on_behalf_of&scope=api://api-b/.default&assertion=" + token,
		"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&client_id=" + apiA + "&client_secret=api-a-secret&requested_token_use=on_behalf_of&scope=x&assertion=e30.e30.e30",
		"grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=eyJ4NWMiOlsxXX0.eyJpc3MiOiJhYWFhYWFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMGQiLCJzdWIiOiJhYWFhYWFhYS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMGQifQ.AA",
		"grant_type=password&client_id=" + apiA + "&client_secret=api-a-secret&username=a&password=b&scope=openid&claims={\"access_token\":{\"acrs\":null}}",
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
			t.Fatalf("%d %v %s", resp.StatusCode, err, data)
		}
		var a struct {
			AccessToken string `json:"access_token"`
			Error       string `json:"error"`
		}
		if resp.Header.Get("Content-Type") == "application/json; charset=utf-8" {
			if err := json.Unmarshal(data, &a); err != nil || (a.AccessToken == "") == (a.Error == "") {
				t.Fatalf("%s: %v", data, err)
			}
		}
		form, _ := url.ParseQuery(body)
		secrets := map[string]string{daemon: "daemon-secret", webapp: "webapp-secret", apiA: "api-a-secret", apiB: "api-b-secret"}
		if a.AccessToken != "" && form.Get("client_secret") != secrets[strings.ToLower(form.Get("client_id"))] {
			t.Fatalf("a token without the secret for %q", body)
		}
	})
}

// FuzzAuthorize sends any query to the pages. No answer is a server error,
// leads to an address that the app did not register, or repeats the query as
// markup.
func FuzzAuthorize(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	for _, seed := range []string{
		authorizeURL(tenant), authorizeURL(tenant, "prompt", "none"), authorizeURL(tenant, "response_mode", "form_post", "prompt", "none"),
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
			URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: "/" + tenant + "/oauth2/v2.0/" + endpoint, RawQuery: query},
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
			t.Fatalf("%d %v %s", resp.StatusCode, err, data)
		}
		if to := resp.Header.Get("Location"); to != "" {
			u, err := url.Parse(to)
			if err != nil || u.Hostname() != "localhost" && u.Host != "webapp.contoso.example" || u.Path != "/callback" {
				t.Fatalf("redirected to %q", to)
			}
			if u.Query().Get("code") != "" {
				t.Fatalf("a code for nobody: %q", to)
			}
		}
		if strings.Contains(string(data), "<zq") {
			t.Fatalf("markup came through: %s", data)
		}
	})
}

// FuzzSignIn takes any URL.
func FuzzSignIn(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	f.Add(authorizeURL(tenant))
	f.Add(authorizeURL("common", "scope", "openid api://api-b/.default", "prompt", "consent", "response_mode", "fragment"))
	f.Add("https://x/y/oauth2/v2.0/authorize?client_id=" + webapp)
	f.Fuzz(func(t *testing.T, raw string) {
		cb, err := s.SignIn(t.Context(), raw, alice)
		if err == nil && (cb.Path != "/callback" || cb.Hostname() != "localhost" && cb.Host != "webapp.contoso.example") {
			t.Fatalf("%q leads to %q", raw, cb)
		}
	})
}

// FuzzDocuments asks for any path of any host. No answer is a server error, and
// JSON is JSON.
func FuzzDocuments(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	f.Add("GET", "login.microsoftonline.com", "/common/v2.0/.well-known/openid-configuration", "")
	f.Add("HEAD", "login.windows.net:443", "/contoso.onmicrosoft.com/discovery/v2.0/keys", "appid=x")
	f.Add("GET", "sts.windows.net", "/common/discovery/instance", "api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/%2e%2e/x")
	f.Add("GET", "x.login.microsoft.com", "/organizations/v2.0/adminconsent", "client_id="+webapp+"&redirect_uri="+callback+"&scope=.default")
	f.Add("OPTIONS", "127.0.0.1:1", "/error", "code=7000215")
	f.Add("GET", `a"b`, "//", "%")
	f.Fuzz(func(t *testing.T, method, host, path, query string) {
		hr := &http.Request{
			Method: method, Host: host, Header: http.Header{}, Body: http.NoBody,
			URL: &url.URL{Path: path, RawQuery: query},
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, hr)
		if w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if method != http.MethodHead && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("no JSON: %s", w.Body)
		}
	})
}
