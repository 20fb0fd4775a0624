package entratest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// fuzzed counts the requests of the fuzz targets in this process.
var fuzzed atomic.Int64

// fuzzMemory is the size of the heap that no sequence of requests may exceed, in bytes. The journal
// of a server and the fuzzing engine need less than half of it.
const fuzzMemory = 512 << 20

// checkFuzzed fails if a response is a server error or has the markup of the input, or if the memory
// of the process is not bounded.
func checkFuzzed(t *testing.T, status int, body string) {
	t.Helper()
	if status >= 500 {
		t.Fatalf("got %d %s", status, body)
	}
	if strings.Contains(body, "<zq") {
		t.Fatalf("got unescaped markup: %s", body)
	}
	if fuzzed.Add(1)%4096 != 0 {
		return
	}
	runtime.GC()
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapAlloc > fuzzMemory {
		t.Fatalf("got %d MB in use after %d requests", m.HeapAlloc>>20, fuzzed.Load())
	}
}

// fuzzRequest sends a request to an endpoint of the authority.
func fuzzRequest(s *entratest.Server, method, path, query, cookie, body string) *httptest.ResponseRecorder {
	r := &http.Request{
		Method: method, Host: "login.microsoftonline.com", Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: path, RawQuery: query},
	}
	if cookie != "" {
		r.Header.Set("Cookie", "ESTSAUTHPERSISTENT="+cookie)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// sessionOf returns the session cookie of a user who has signed in to webapp.
func sessionOf(tb testing.TB, s *entratest.Server, user, password string) string {
	tb.Helper()
	for _, c := range browserOf(tb, s, user, password).Result().Cookies() {
		return c.Value
	}
	tb.Fatal("got no cookie")
	return ""
}

// browserOf returns the response to the password of a user.
func browserOf(tb testing.TB, s *entratest.Server, user, password string) *httptest.ResponseRecorder {
	tb.Helper()
	_, query, _ := strings.Cut(authorizeURL(tenant), "?")
	page := fuzzRequest(s, "GET", "/"+tenant+"/oauth2/v2.0/authorize", query, "", "").Body.String()
	ctx := hiddenInput.FindStringSubmatch(page)[2]
	return fuzzRequest(s, "POST", "/"+tenant+"/login", "", "", form("ctx", ctx, "step", "password", "username", user,
		"password", password).Encode())
}

// granted is the sample Config with a webapp that needs no consent.
func granted() entratest.Config {
	return sample("webapp", func(a *entratest.App) {
		a.Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
		a.LogoutURL = "https://webapp.contoso.example/logout"
	})
}

// FuzzDeviceCode sends any form to the device authorization endpoint, to its page and to the token
// endpoint. Without a user, no response has a token. Only a registered client gets a code.
func FuzzDeviceCode(f *testing.F) {
	s := entratest.NewServer(publicClient())
	f.Add("organizations", "client_id="+cli+"&scope=openid", "")
	f.Add(tenant, "client_id="+cli+"&scope="+strings.Repeat("openid ", 2000), "otc=<zq>")
	f.Add("consumers", "client_id="+cli+"&scope=x", "otc=AAAAAAAAA&step=consent")
	f.Add("common", "client_id="+webapp+"&scope=api://api-a/.default", "grant_type=device_code&device_code=AAAA")
	f.Fuzz(func(t *testing.T, in, start, enter string) {
		w := fuzzRequest(s, "POST", "/"+in+"/oauth2/v2.0/devicecode", "", "", start)
		checkFuzzed(t, w.Code, w.Body.String())
		values, _ := url.ParseQuery(start)
		code := regexp.MustCompile(`"device_code":"([^"]+)"`).FindStringSubmatch(w.Body.String())
		if known := []string{cli, webapp, daemon, apiA, apiB}; code != nil && (!slices.Contains(known,
			strings.ToLower(values.Get("client_id"))) || values.Get("scope") == "") {
			t.Fatalf("got a code for %q", start)
		}
		w = fuzzRequest(s, "POST", "/"+in+"/oauth2/deviceauth", "", "", enter)
		checkFuzzed(t, w.Code, w.Body.String())
		if code != nil {
			enter += "&device_code=" + code[1]
		}
		w = fuzzRequest(s, "POST", "/"+in+"/oauth2/v2.0/token", "", "", "grant_type="+url.QueryEscape(deviceGrant)+
			"&client_id="+cli+"&"+enter)
		if checkFuzzed(t, w.Code, w.Body.String()); strings.Contains(w.Body.String(), "access_token") {
			t.Fatalf("got a token without a user for %q, %q", start, enter)
		}
	})
}

// FuzzDeviceGrant redeems a device code whose user has signed in, with one parameter changed. Only the
// device code and its client get a token.
func FuzzDeviceGrant(f *testing.F) {
	s := entratest.NewServer(publicClient())
	for _, name := range []string{"client_id", "device_code", "grant_type", "scope", "client_secret"} {
		f.Add(tenant, name, "x")
	}
	f.Add(fabrikam, "client_id", strings.ToUpper(cli))
	f.Add("common", "client_id", webapp)
	f.Fuzz(func(t *testing.T, in, name, value string) {
		w := fuzzRequest(s, "POST", "/organizations/oauth2/v2.0/devicecode", "", "", form("client_id", cli, "scope",
			"User.Read openid").Encode())
		body := w.Body.String()
		get := func(member string) string {
			return regexp.MustCompile(`"` + member + `":"([^"]+)"`).FindStringSubmatch(body)[1]
		}
		if err := s.SignInDevice(t.Context(), get("user_code"), alice); err != nil {
			t.Fatal(err)
		}
		request := form("grant_type", deviceGrant, "client_id", cli, "device_code", get("device_code"))
		before := request.Get(name)
		request.Set(name, value)
		for n := range 2 {
			w = fuzzRequest(s, "POST", "/"+in+"/oauth2/v2.0/token", "", "", request.Encode())
			checkFuzzed(t, w.Code, w.Body.String())
			if !strings.Contains(w.Body.String(), "access_token") {
				continue
			}
			if n > 0 {
				t.Fatal("got a second token for a device code")
			}
			if own := []string{tenant, "contoso.onmicrosoft.com", "common", "organizations"}; !slices.Contains(own,
				strings.ToLower(in)) {
				t.Fatalf("got a token for Alice at %q", in)
			}
			if ok := value == before || name == "client_id" && strings.EqualFold(value, before) ||
				name == "grant_type" && value == "device_code"; before != "" && !ok {
				t.Fatalf("got a token with %s=%q", name, value)
			}
			if name == "client_secret" && value != "" {
				t.Fatal("got a token for the secret of a public client")
			}
		}
	})
}

// FuzzSession sends any session cookie with a silent sign-in. Only the cookie of the server gets a code.
func FuzzSession(f *testing.F) {
	s := entratest.NewServer(granted())
	session := sessionOf(f, s, alice, "alice-password")
	_, query, _ := strings.Cut(authorizeURL(tenant, "prompt", "none"), "?")
	f.Add(session, "")
	f.Add(session, "&login_hint="+bob)
	f.Add(session[:len(session)-1], "&max_age=0")
	f.Add(session+"=", "&claims={\"id_token\":{\"acrs\":{\"value\":\"c1\"}}}")
	f.Add("", "&client_id="+daemon)
	f.Fuzz(func(t *testing.T, cookie, more string) {
		w := fuzzRequest(s, "GET", "/"+tenant+"/oauth2/v2.0/authorize", query+more, cookie, "")
		checkFuzzed(t, w.Code, w.Body.String())
		to := w.Header().Get("Location")
		if strings.Contains(to, "code=") && !strings.Contains(to, "error=") && cookie != session {
			t.Fatalf("got a code for the cookie %q", cookie)
		}
		if to != "" && !strings.HasPrefix(to, callback+"?") && !strings.HasPrefix(to, callback+"#") {
			t.Fatalf("got redirect to %q", to)
		}
	})
}

// FuzzLogout sends any query and cookie to the logout endpoint. The browser is only sent to registered
// URLs. Without logout_hint, the session ends.
func FuzzLogout(f *testing.F) {
	s := entratest.NewServer(granted())
	session := sessionOf(f, s, alice, "alice-password")
	f.Add("GET", "", session)
	f.Add("POST", "post_logout_redirect_uri="+callback+"&state=<zq>", session)
	f.Add("GET", "logout_hint="+bob, session)
	f.Add("GET", "post_logout_redirect_uri=https://evil.example&client_id="+webapp, "AAAA")
	frame := regexp.MustCompile(`<iframe src="([^"]*)"`)
	f.Fuzz(func(t *testing.T, method, query, cookie string) {
		w := fuzzRequest(s, method, "/common/oauth2/v2.0/logout", query, cookie, query)
		body := w.Body.String()
		checkFuzzed(t, w.Code, body)
		if to := w.Header().Get("Location"); to != "" {
			u, err := url.Parse(to)
			if err != nil || u.Path != "/callback" || u.Hostname() != "localhost" && u.Host != "webapp.contoso.example" {
				t.Fatalf("got redirect to %q", to)
			}
		}
		for _, m := range frame.FindAllStringSubmatch(body, -1) {
			if !strings.HasPrefix(m[1], "https://webapp.contoso.example/logout?") || cookie != session {
				t.Fatalf("got a frame of %q for the cookie %q", m[1], cookie)
			}
		}
		for _, c := range w.Result().Cookies() {
			if c.Value != "" && (cookie != session || !strings.Contains(query, "logout_hint")) {
				t.Fatalf("got a session for %q after the sign-out %q", cookie, query)
			}
		}
	})
}

// FuzzAdminConsent sends any request to the admin consent endpoint, and the form of its page, as a user
// who is not an administrator. No permission is granted.
func FuzzAdminConsent(f *testing.F) {
	cfg := granted()
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == "webapp" {
			cfg.Apps[i].Required = append(cfg.Apps[i].Required, entratest.Permission{Resource: "api://api-b",
				Roles: []string{"Orders.Write.All"}})
		}
	}
	s := entratest.NewServer(cfg)
	session := sessionOf(f, s, bob, "bob-password")
	f.Add("client_id="+webapp+"&redirect_uri="+callback+"&state=<zq>", "step=consent")
	f.Add("client_id="+webapp+"&redirect_uri="+callback+"&scope=api://api-b/.default", "step=consent&username="+alice)
	f.Add("client_id="+webapp+"&redirect_uri=https://evil.example", "step=mfa")
	f.Fuzz(func(t *testing.T, query, post string) {
		w := fuzzRequest(s, "GET", "/"+tenant+"/v2.0/adminconsent", query, session, "")
		checkFuzzed(t, w.Code, w.Body.String())
		for _, form := range []string{"step=pick&username=" + bob, post} {
			if m := hiddenInput.FindStringSubmatch(w.Body.String()); m != nil {
				w = fuzzRequest(s, "POST", "/"+tenant+"/login", "", session, "ctx="+url.QueryEscape(m[2])+"&"+form)
				checkFuzzed(t, w.Code, w.Body.String())
			}
		}
		if to := w.Header().Get("Location"); strings.Contains(to, "admin_consent=True") && !strings.Contains(to, "error=") {
			t.Fatalf("got consent of a user: %q", to)
		}
		resp := tokenRequest(t, s, tenant, "grant_type", "client_credentials", "client_id", webapp, "client_secret",
			"webapp-secret", "scope", "api://api-b/.default")
		if roles := wantToken(t, resp).joined("roles"); roles != "" {
			t.Fatalf("got roles %q after %q, %q", roles, query, post)
		}
	})
}

// FuzzGraph sends any request to Microsoft Graph. Only the token of a user with the permission gets data.
func FuzzGraph(f *testing.F) {
	s := entratest.NewServer(entratest.Sample())
	mint := func(o entratest.MintOptions) string { o.Resource = "Microsoft Graph"; return s.Mint(o) }
	valid := mint(entratest.MintOptions{User: alice, Scopes: []string{"User.Read", "openid"}, Lifetime: 24 * time.Hour})
	tokens := []string{
		valid, mint(entratest.MintOptions{User: alice, Scopes: []string{"Mail.Read"}}), mint(entratest.MintOptions{}),
		mint(entratest.MintOptions{User: alice, Lifetime: -time.Hour}),
		mint(entratest.MintOptions{User: alice, UnpublishedKey: true}),
		s.Mint(entratest.MintOptions{Resource: "api-a", User: alice}), "",
	}
	for i := range tokens {
		f.Add("GET", "graph.microsoft.com", "/v1.0/me", uint8(i), "Bearer ")
		f.Add("POST", "graph.microsoft.com", "/oidc/userinfo", uint8(i), "bearer ")
	}
	f.Add("GET", "127.0.0.1:1", "/v1.0/me/memberOf", uint8(0), "Bearer ")
	f.Add("GET", "login.microsoftonline.com", "/v1.0/me", uint8(0), "Basic ")
	f.Fuzz(func(t *testing.T, method, host, path string, which uint8, scheme string) {
		token := tokens[int(which)%len(tokens)]
		r := &http.Request{Method: method, Host: host, URL: &url.URL{Path: path}, Body: http.NoBody,
			Header: http.Header{"Authorization": {scheme + token}}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		body := w.Body.String()
		checkFuzzed(t, w.Code, body)
		if data := strings.Contains(body, `"@odata.context"`) || strings.Contains(body, `"sub"`); data && (token != valid ||
			!strings.EqualFold(scheme, "Bearer ")) {
			t.Fatalf("got %s for token %d and the scheme %q", body, which, scheme)
		}
	})
}

// FuzzMembership sends any request about the groups of a user to Microsoft Graph. Only a token with the
// permissions gets groups, and only those of the user.
func FuzzMembership(f *testing.F) {
	cfg := entratest.Sample()
	cfg.Users[0].Groups = []string{"aaaaaaaa-2222-4000-8000-000000000001", "aaaaaaaa-2222-4000-8000-000000000002"}
	cfg.Users[1].Groups = []string{"bbbbbbbb-2222-4000-8000-000000000001"}
	s := entratest.NewServer(cfg)
	id := s.User(alice).ObjectID
	tokens := []string{
		s.Mint(entratest.MintOptions{Resource: "Microsoft Graph", Client: "daemon", Roles: []string{"Directory.Read.All"},
			Lifetime: 24 * time.Hour}),
		s.Mint(entratest.MintOptions{Resource: "Microsoft Graph", Client: "daemon", Roles: []string{"User.Read.All"}}),
		s.Mint(entratest.MintOptions{Resource: "Microsoft Graph", User: bob, Scopes: []string{"User.Read"}}),
		s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon", Roles: []string{"Directory.Read.All"}}), "",
	}
	for i := range tokens {
		f.Add("POST", "/v1.0/users/"+id+"/getMemberGroups", `{"securityEnabledOnly":true}`, uint8(i))
		f.Add("POST", "/v1.0/users/"+id+"/checkMemberGroups", `{"groupIds":["`+cfg.Users[1].Groups[0]+`"]}`, uint8(i))
		f.Add("GET", "/v1.0/users/"+alice+"/getMemberObjects", `{"groupIds":null}`, uint8(i))
	}
	f.Fuzz(func(t *testing.T, method, path, body string, which uint8) {
		which %= uint8(len(tokens))
		r := &http.Request{Method: method, Host: "graph.microsoft.com", URL: &url.URL{Path: path},
			Body:   io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Authorization": {"Bearer " + tokens[which]}, "Content-Type": {"application/json"}}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		got := w.Body.String()
		checkFuzzed(t, w.Code, got)
		others := strings.Contains(strings.ToLower(path), id) && strings.Contains(got, cfg.Users[1].Groups[0])
		if w.Code == 200 && strings.Contains(got, "-2222-4000-8000-") && (which != 0 || others) {
			t.Fatalf("%s %s: got %s for token %d", method, path, got, which)
		}
	})
}

// FuzzScript redeems a code of a single-page app with any Origin and verifier. Only a cross-origin request
// with the verifier gets a token.
func FuzzScript(f *testing.F) {
	cfg := granted()
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == "webapp" {
			cfg.Apps[i].SPARedirectURIs = []string{"https://spa.contoso.example/callback"}
		}
	}
	s := entratest.NewServer(cfg)
	f.Add("https://spa.contoso.example", verifier, "")
	f.Add("", verifier, "webapp-secret")
	f.Add("", verifier, "")
	f.Add("null", verifier+"x", "")
	f.Fuzz(func(t *testing.T, origin, codeVerifier, secret string) {
		const redirect = "https://spa.contoso.example/callback"
		code := signIn(t, s, alice, "redirect_uri", redirect)
		r := &http.Request{Method: "POST", Host: "login.microsoftonline.com",
			URL:    &url.URL{Path: "/" + tenant + "/oauth2/v2.0/token"},
			Header: http.Header{"Origin": {origin}, "Content-Type": {"application/x-www-form-urlencoded"}},
			Body: io.NopCloser(strings.NewReader(form("grant_type", "authorization_code", "client_id", webapp, "code", code,
				"redirect_uri", redirect, "code_verifier", codeVerifier, "client_secret", secret).Encode())),
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		checkFuzzed(t, w.Code, w.Body.String())
		if strings.Contains(w.Body.String(), "access_token") != (origin != "" && codeVerifier == verifier && secret == "") {
			t.Fatalf("got %d %s for the origin %q, verifier %q and secret %q", w.Code, w.Body, origin, codeVerifier, secret)
		}
	})
}

// FuzzFault injects any fault. The response has the status of the fault, and no token.
func FuzzFault(f *testing.F) {
	f.Add("token", "", "", 429, "30", "", "", "", 0, 0, 1)
	f.Add("", tenant, "client_credentials", 200, "", "text/html", "<zq>", "invalid_grant", 50076, 3, 0)
	f.Add("token", "", "", -1, "\r\n", "\r\n", "{", "\xff", -1, -1, -1)
	f.Fuzz(func(t *testing.T, endpoint, in, grant string, status int, after, kind, body, code string,
		number, cut, skip int) {
		s := entratest.NewServer(entratest.Sample())
		remove := s.Inject(entratest.Fault{Endpoint: endpoint, Tenant: in, GrantType: grant, Status: status,
			RetryAfter: after, ContentType: kind, Body: body, Error: code, AADSTS: number, Truncate: cut, Skip: skip})
		w := httptest.NewRecorder()
		send := func() (aborted bool) {
			defer func() {
				if v := recover(); v != nil && v != http.ErrAbortHandler {
					panic(v)
				} else {
					aborted = v != nil
				}
			}()
			r := httptest.NewRequest("POST", authHost+tenant+"/oauth2/v2.0/token", strings.NewReader(form("grant_type",
				"client_credentials", "client_id", daemon, "client_secret", "daemon-secret", "scope",
				"api://api-b/.default").Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			s.ServeHTTP(w, r)
			return false
		}
		aborted := send()
		e := s.Requests()[0]
		if e.Injected && cut <= 0 && w.Code != e.Status || aborted && cut <= 0 {
			t.Fatalf("got %d, aborted %v, want %d", w.Code, aborted, e.Status)
		}
		made := e.Injected && (status != 0 || after != "" || kind != "" || body != "" || code != "")
		if made && !strings.Contains(body, "access_token") && strings.Contains(w.Body.String(), `"access_token"`) {
			t.Fatalf("got a token from a fault: %s", w.Body)
		}
		if remove(); len(s.Faults()) != 0 {
			t.Fatal("the fault is not removed")
		}
		if fuzzed.Add(1); fuzzed.Load()%4096 == 0 {
			checkFuzzed(t, 200, "")
		}
	})
}
