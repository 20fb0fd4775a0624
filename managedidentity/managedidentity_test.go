package managedidentity_test

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/managedidentity"
)

const (
	clientID   = "33333333-3333-3333-3333-333333333333"
	otherID    = "44444444-4444-4444-4444-444444444444"
	resourceID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
	scope      = "https://vault.azure.net/.default"
	day        = 24 * time.Hour
)

// A platform is a fake of the service that issues tokens. Its token number n is "token n".
type platform struct {
	*testkit.Recorder
	mu     sync.Mutex // guards issued
	issued int
	takes  time.Duration
}

func newPlatform(t *testing.T, lifetime time.Duration, more ...string) *platform {
	testkit.NoPlatform(t)
	p := &platform{}
	p.Recorder = testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
		time.Sleep(p.takes)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.issued++
		return testkit.PlatformToken(req, fmt.Sprintf("token-%d", p.issued), lifetime, more...), nil
	}))
	return p
}

// respond makes the platform return the same response until further notice.
func (p *platform) respond(status int, contentType, body string, headers ...string) {
	p.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
		return testkit.Response(req, status, contentType, body, headers...), nil
	})
}

// identity returns an identity whose requests go to p.
func (p *platform) identity(t *testing.T, cfg managedidentity.Config) *managedidentity.Identity {
	t.Helper()
	cfg.HTTPClient = &http.Client{Transport: p}
	id, err := managedidentity.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func get(t *testing.T, s *entra.TokenSource) *oauth2.Token {
	t.Helper()
	tok, err := s.TokenContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// A start of a thousand callers sends one request, however slow the service is.
func TestColdCallersSendOneMetadataRequest(t *testing.T) {
	p := newPlatform(t, day)
	p.takes = 8 * time.Second
	synctest.Test(t, func(t *testing.T) {
		id := p.identity(t, managedidentity.Config{})
		if n := len(p.Sent()); n != 0 {
			t.Errorf("New: got %d requests, want 0", n)
		}
		start := time.Now()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if tok := get(t, id.TokenSource(scope)); tok.AccessToken != "token-1" || tok.Type() != "Bearer" {
					t.Errorf("got the token %q of type %q, want token-1 of type Bearer", tok.AccessToken, tok.Type())
				}
			})
		}
		wg.Wait()
		if n := len(p.Sent()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
		if took := time.Since(start); took != p.takes {
			t.Errorf("got the tokens after %v, want %v", took, p.takes)
		}
	})
}

// The early refresh takes place at refresh_in or at a random point of the lifetime. No call waits for it.
func TestTokenIsRefreshedEarly(t *testing.T) {
	for _, tt := range []struct {
		name          string
		more          []string
		fresh, early  time.Duration // there is no refresh before fresh, and a refresh is due at early
		refreshAtMost time.Duration
	}{
		{"refresh_in", []string{"refresh_in", "43200"}, 12*time.Hour - time.Second, 12 * time.Hour, 12 * time.Hour},
		{"no refresh_in", nil, day/10 - time.Second, day * 7 / 10, day * 7 / 10},
		{"refresh_in of the whole lifetime", []string{"refresh_in", "86400"}, day/10 - time.Second, day * 7 / 10,
			day * 7 / 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlatform(t, day, tt.more...)
			synctest.Test(t, func(t *testing.T) {
				s := p.identity(t, managedidentity.Config{}).TokenSource(scope)
				get(t, s)
				info, ok := s.Cached()
				if at := info.RefreshAt.Sub(info.ObtainedAt); !ok || at > tt.refreshAtMost || at < tt.fresh {
					t.Errorf("got a refresh after %v, want between %v and %v", at, tt.fresh, tt.refreshAtMost)
				}
				time.Sleep(tt.fresh)
				if tok := get(t, s); tok.AccessToken != "token-1" || len(p.Sent()) != 1 {
					t.Errorf("got %s after %d requests before the refresh, want token-1 after 1", tok.AccessToken, len(p.Sent()))
				}
				time.Sleep(tt.early - tt.fresh)
				start := time.Now()
				p.takes = time.Second
				if tok := get(t, s); tok.AccessToken != "token-1" || time.Since(start) != 0 {
					t.Errorf("got %s after %v while the refresh is in flight, want token-1 at once", tok.AccessToken, time.Since(start))
				}
				time.Sleep(2 * time.Second)
				if tok := get(t, s); tok.AccessToken != "token-2" || len(p.Sent()) != 2 {
					t.Errorf("got %s after %d requests, want token-2 after 2", tok.AccessToken, len(p.Sent()))
				}
			})
		})
	}
}

// The lifetime does not depend on the program's clock: expires_on is compared with the Date of the response.
func TestExpiryFollowsTheClockOfThePlatform(t *testing.T) {
	for _, tt := range []struct {
		name    string
		skew    time.Duration // of the platform's clock
		date    bool
		members string
		want    time.Duration
	}{
		{"two hours behind", -2 * time.Hour, true, `"expires_on":"%d"`, time.Hour},
		{"two hours ahead", 2 * time.Hour, true, `"expires_on":%d`, time.Hour},
		{"without a Date", 10 * time.Minute, false, `"expires_on":"%d"`, 70 * time.Minute},
		{"expires_in", 2 * time.Hour, true, `"expires_in":"3600","x":"%d"`, time.Hour},
		{"null", -2 * time.Hour, true, `"expires_on":null,"expires_in":"3600","x":"%d"`, time.Hour},
		{"empty", -2 * time.Hour, true, `"expires_on":"","expires_in":"3600","x":"%d"`, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testkit.NoPlatform(t)
			synctest.Test(t, func(t *testing.T) {
				p := &platform{Recorder: testkit.NewRecorder(testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
					clock := time.Now().Add(tt.skew)
					resp := testkit.Response(r, 200, "application/json", fmt.Sprintf(
						`{"access_token":"t","token_type":"Bearer","resource":"r",`+tt.members+`}`, clock.Add(time.Hour).Unix()))
					if tt.date {
						resp.Header.Set("Date", clock.UTC().Format(http.TimeFormat))
					}
					return resp, nil
				}))}
				tok := get(t, p.identity(t, managedidentity.Config{}).TokenSource(scope))
				if got := time.Until(tok.Expiry); got != tt.want {
					t.Errorf("got a token for %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// Platforms return the same token for most of its lifetime. The refreshes then come closer together, but stay few.
func TestPlatformWithItsOwnCache(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		var issued time.Time
		n := 0
		p := &platform{Recorder: testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
			if n == 0 || time.Since(issued) > day-5*time.Minute {
				n, issued = n+1, time.Now()
			}
			return testkit.PlatformToken(req, fmt.Sprintf("token-%d", n), day-time.Since(issued)), nil
		}))}
		s := p.identity(t, managedidentity.Config{}).TokenSource(scope)
		start := time.Now()
		for time.Since(start) < 3*day {
			tok := get(t, s)
			if time.Until(tok.Expiry) < 30*time.Second {
				t.Fatalf("got a token that expires in %v", time.Until(tok.Expiry))
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		// Each request leaves at most 9/10 of the remaining lifetime at a start, and 4/10 later.
		if sent := len(p.Sent()); sent < 3 || sent > 45 {
			t.Errorf("got %d requests in three days, want at most 15 for each token", sent)
		}
	})
}

// The request has the form that each platform documents.
func TestRequestOfEachPlatform(t *testing.T) {
	const imds = "http://169.254.169.254/metadata/identity/oauth2/token"
	metadata := http.Header{"Metadata": {"true"}}
	query := func(version string, more ...string) url.Values {
		v := url.Values{"api-version": {version}, "resource": {"https://vault.azure.net"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	for _, tt := range []struct {
		name, source string
		cfg          managedidentity.Config
		env          map[string]string
		method, url  string
		query        url.Values
		header       http.Header
		form         url.Values
	}{
		{name: "virtual machine", source: "IMDS", url: imds, query: query("2018-02-01"), header: metadata},
		{name: "client ID", source: "IMDS", cfg: managedidentity.Config{ClientID: clientID}, url: imds,
			query: query("2018-02-01", "client_id", clientID), header: metadata},
		{name: "object ID", source: "IMDS", cfg: managedidentity.Config{ObjectID: clientID}, url: imds,
			query: query("2018-02-01", "object_id", clientID), header: metadata},
		{name: "resource ID", source: "IMDS", cfg: managedidentity.Config{ResourceID: resourceID}, url: imds,
			query: query("2018-02-01", "msi_res_id", resourceID), header: metadata},
		{name: "App Service", source: "AppService", cfg: managedidentity.Config{ResourceID: resourceID},
			env: map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:41234/msi/token", "IDENTITY_HEADER": "s3cr3t"},
			url: "http://127.0.0.1:41234/msi/token", query: query("2019-08-01", "mi_res_id", resourceID),
			header: http.Header{"X-Identity-Header": {"s3cr3t"}}},
		{name: "Azure ML", source: "AzureML", cfg: managedidentity.Config{ClientID: clientID},
			env: map[string]string{"MSI_ENDPOINT": "http://127.0.0.1:46808/MSI/auth", "MSI_SECRET": "s3cr3t"},
			url: "http://127.0.0.1:46808/MSI/auth", query: query("2017-09-01", "clientid", clientID),
			header: http.Header{"Secret": {"s3cr3t"}}},
		{name: "Cloud Shell", source: "CloudShell",
			env:    map[string]string{"MSI_ENDPOINT": "http://localhost:50342/oauth2/token"},
			method: http.MethodPost, url: "http://localhost:50342/oauth2/token", query: url.Values{}, header: metadata,
			form: url.Values{"resource": {"https://vault.azure.net"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlatform(t, day)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			id := p.identity(t, tt.cfg)
			if id.Source() != tt.source {
				t.Errorf("source: got %s, want %s", id.Source(), tt.source)
			}
			get(t, id.TokenSource(scope))
			sent := p.Sent()
			if len(sent) != 1 {
				t.Fatalf("got %d requests, want 1", len(sent))
			}
			got := sent[0]
			address, raw, _ := strings.Cut(got.URL, "?")
			values, err := url.ParseQuery(raw)
			if err != nil {
				t.Fatal(err)
			}
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			if got.Method != tt.method || address != tt.url || values.Encode() != tt.query.Encode() ||
				got.Form.Encode() != tt.form.Encode() {
				t.Errorf("got %s %s with %v and %v, want %s %s with %v and %v", got.Method, address, values, got.Form,
					tt.method, tt.url, tt.query, tt.form)
			}
			for name := range tt.header {
				if got.Header.Get(name) != tt.header.Get(name) {
					t.Errorf("%s: got %q, want %q", name, got.Header.Get(name), tt.header.Get(name))
				}
			}
		})
	}
}

// Service Fabric has a certificate of its own, whose thumbprint is in the environment.
func TestServiceFabric(t *testing.T) {
	testkit.NoPlatform(t)
	fabric := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Secret") != "s3cr3t-header" || r.URL.Query().Get("api-version") != "2019-07-01-preview" {
			t.Errorf("got the Secret header %q and %s", r.Header.Get("Secret"), r.URL)
		}
		fmt.Fprintf(w, `{"token_type":"Bearer","access_token":"token-1","expires_on":%d,"resource":"r"}`,
			time.Now().Add(day).Unix())
	}))
	fabric.Config.ErrorLog = log.New(io.Discard, "", 0)
	fabric.StartTLS()
	defer fabric.Close()
	t.Setenv("IDENTITY_ENDPOINT", fabric.URL)
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	for _, tt := range []struct{ thumbprint, want string }{
		{fmt.Sprintf("%X", sha1.Sum(fabric.Certificate().Raw)), ""},
		{strings.Repeat("0", 40), "no token for the system-assigned identity: request to the managed identity service " +
			"(ServiceFabric) failed: the connection or a proxy failed; the certificate of the service must have the " +
			"thumbprint in IDENTITY_SERVER_THUMBPRINT"},
	} {
		t.Setenv("IDENTITY_SERVER_THUMBPRINT", tt.thumbprint)
		id, err := managedidentity.New(managedidentity.Config{})
		if err != nil {
			t.Fatal(err)
		}
		timeout := time.Minute
		if tt.want != "" {
			timeout = 900 * time.Millisecond // too short for a retry
		}
		ctx, cancel := contextWithTimeout(t, timeout)
		_, err = id.TokenSource(scope).TokenContext(ctx)
		cancel()
		if tt.want == "" && err != nil || tt.want != "" && testkit.Error(t, err).Description != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// Without the proxy and the redirect, requests reach the platform alone.
func TestRequestsGoToThePlatformDirectly(t *testing.T) {
	testkit.NoPlatform(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("got a request for %s from a proxy or after a redirect, want none", r.URL)
	}))
	defer elsewhere.Close()
	redirect := false
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if redirect {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			return
		}
		fmt.Fprintf(w, `{"token_type":"Bearer","access_token":"token-1","expires_on":"%d"}`, time.Now().Add(day).Unix())
	}))
	defer service.Close()
	t.Setenv("IDENTITY_ENDPOINT", service.URL)
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")

	proxy := func(*http.Request) (*url.URL, error) { return url.Parse(elsewhere.URL) }
	shared := http.DefaultTransport.(*http.Transport) //nolint:forcetypeassert // no test replaces it
	old := shared.Proxy
	shared.Proxy = proxy // as with HTTP_PROXY, which net/http reads once and ignores for loopback addresses
	defer func() { shared.Proxy = old }()
	for name, client := range map[string]*http.Client{
		"default": nil, "without a transport": {}, "with a proxy": {Transport: &http.Transport{Proxy: proxy}},
	} {
		for _, redirect = range []bool{false, true} {
			id, err := managedidentity.New(managedidentity.Config{HTTPClient: client})
			if err != nil {
				t.Fatal(err)
			}
			_, err = id.TokenSource(scope).Token()
			if !redirect {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			const want = ", text/html, status 302; check whether a proxy sent the response"
			if e := testkit.Error(t, err); e.StatusCode != http.StatusFound || e.Temporary() ||
				!strings.HasSuffix(e.Description, want) {
				t.Errorf("%s: got %v, want %s", name, e, want)
			}
		}
	}
}

// Without TLS, no request leaves the local network. The address of the environment is not repeated.
func TestServiceElsewhereGetsNoRequest(t *testing.T) {
	p := newPlatform(t, day)
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	const service = "no token for the system-assigned identity: "
	for endpoint, want := range map[string]string{
		"http://s3cr3t.example/msi/token": service + "the managed identity service (AppService) is not on a local network " +
			"and does not use TLS, so no request was sent; check the environment variables that the platform sets",
		"http://s3cr3t\x7f/": service + "MSAL could not send a request to the managed identity service (AppService); " +
			"check the environment variables that the platform sets",
	} {
		t.Setenv("IDENTITY_ENDPOINT", endpoint)
		_, err := p.identity(t, managedidentity.Config{}).TokenSource(scope).TokenContext(t.Context())
		e := testkit.Error(t, err)
		if e.Code != "invalid_client" || e.Description != want || !e.Local() || len(p.Sent()) != 0 {
			t.Errorf("got %v with code %s after %d requests, want %s", e, e.Code, len(p.Sent()), want)
		}
		testkit.NoSecrets(t, e, "s3cr3t")
	}
}

// Azure Arc names a file with a key. Only a file in the directory of its agent is read.
func TestArcKeyFileElsewhereIsNotRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret.key", []byte("s3cr3t-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, challenge := range []string{
		"Basic realm=" + dir + "/secret.key", "Basic realm=/var/opt/azcmagent/tokens/../../../../etc/passwd.key",
		"Basic realm=/var/opt/azcmagent/tokens/missing.key", "Basic realm=/var/opt/azcmagent/tokens/key.txt", "Basic realm=",
		"Bearer",
	} {
		p := newPlatform(t, day)
		t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:40342/metadata/identity/oauth2/token")
		t.Setenv("IMDS_ENDPOINT", "http://127.0.0.1:40342")
		p.respond(http.StatusUnauthorized, "text/plain", "", "WWW-Authenticate", challenge)
		id := p.identity(t, managedidentity.Config{})
		_, err := id.TokenSource(scope).TokenContext(t.Context())
		e := testkit.Error(t, err)
		const want = "no token for the system-assigned identity: the agent of Azure Arc names a key file that cannot be " +
			"read or is not in its directory; run the program as a member of the group himds, " +
			"or on Windows of Hybrid agent extension applications"
		if e.Description != want || e.Code != "invalid_client" || e.StatusCode != 401 || len(p.Sent()) != 1 {
			t.Errorf("%s: got %v with code %s after %d requests, want %s", challenge, e, e.Code, len(p.Sent()), want)
		}
		for _, r := range p.Sent() {
			if r.Header.Get("Authorization") != "" {
				t.Errorf("%s: got an Authorization header, want none", challenge)
			}
		}
	}
}

// A token of one identity is never returned for another, although all share one cache and its store.
func TestIdentitiesShareNoTokens(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		keys := []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))}
		for _, machine := range []string{"first", "second"} {
			c := cache.New(cache.Options{Store: store, Keys: keys})
			p := &platform{Recorder: testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
				q := req.URL.Query()
				return testkit.PlatformToken(req, machine+q.Get("client_id")+q.Get("object_id")+q.Get("msi_res_id"), day), nil
			}))}
			for range 2 {
				for _, cfg := range []managedidentity.Config{
					{}, {ClientID: clientID}, {ClientID: otherID}, {ObjectID: clientID}, {ResourceID: resourceID},
				} {
					want := machine + cfg.ClientID + cfg.ObjectID + cfg.ResourceID
					cfg.Cache = c
					if got := get(t, p.identity(t, cfg).TokenSource(scope)).AccessToken; got != want {
						t.Errorf("got the token of %s, want that of %s", got, want)
					}
				}
			}
			if n := len(p.Sent()); n != 5 {
				t.Errorf("got %d requests, want 5", n)
			}
			time.Sleep(2 * time.Second)
			if s := c.Stats(); s.StoreLoads != 0 || s.StoreSaves != 0 || s.Sessions != 5 {
				t.Errorf("got %d loads, %d saves and %d sessions, want 0, 0 and 5", s.StoreLoads, s.StoreSaves, s.Sessions)
			}
		}
	})
}

// Two identities of the same ID share a token in a shared cache. An ID is not case-sensitive.
func TestSameIdentitySharesToken(t *testing.T) {
	p := newPlatform(t, day)
	c := cache.New(cache.Options{})
	for _, id := range []string{"abcdefab-3333-3333-3333-333333333333", "ABCDEFAB-3333-3333-3333-333333333333"} {
		get(t, p.identity(t, managedidentity.Config{ClientID: id, Cache: c}).TokenSource(scope))
	}
	if n := len(p.Sent()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

func TestNewRejectsInvalidConfig(t *testing.T) {
	fabric := map[string]string{
		"IDENTITY_ENDPOINT": "https://localhost:2377", "IDENTITY_HEADER": "s3cr3t",
		"IDENTITY_SERVER_THUMBPRINT": strings.Repeat("0", 40),
	}
	const unsupported = "MSAL does not support this selection of a managed identity on this platform (%s); " +
		"use a different one of ClientID, ObjectID and ResourceID, or none"
	for _, tt := range []struct {
		name string
		cfg  managedidentity.Config
		env  map[string]string
		want string
	}{
		{"client ID", managedidentity.Config{ClientID: "s3cr3t~value"}, nil, "Config.ClientID is not a GUID"},
		{"object ID", managedidentity.Config{ObjectID: "s3cr3t~value"}, nil, "Config.ObjectID is not a GUID"},
		{"resource ID", managedidentity.Config{ResourceID: "s3cr3t~value"}, nil, "Config.ResourceID is not a path such as " +
			"/subscriptions/<ID>/resourceGroups/<name>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>"},
		{"two IDs", managedidentity.Config{ClientID: clientID, ObjectID: otherID}, nil,
			"more than one of ClientID, ObjectID and ResourceID is set"},
		{"cache", managedidentity.Config{Cache: cache.New(cache.Options{Store: storetest.NewMemory()})}, nil,
			"Config.Cache is invalid: cache: Options.Store needs Options.Keys"},
		{"Service Fabric", managedidentity.Config{ClientID: clientID}, fabric, fmt.Sprintf(unsupported, "ServiceFabric")},
		{"Cloud Shell", managedidentity.Config{ClientID: clientID}, map[string]string{"MSI_ENDPOINT": "http://localhost:1"},
			fmt.Sprintf(unsupported, "CloudShell")},
		{"Azure ML", managedidentity.Config{ObjectID: clientID},
			map[string]string{"MSI_ENDPOINT": "http://localhost:1", "MSI_SECRET": "s"}, fmt.Sprintf(unsupported, "AzureML")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testkit.NoPlatform(t)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			_, err := managedidentity.New(tt.cfg)
			if e := testkit.Error(t, err); e.Code != "invalid_request" || !strings.HasPrefix(e.Description, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestOtherScopesAreRejected(t *testing.T) {
	p := newPlatform(t, day)
	id := p.identity(t, managedidentity.Config{})
	_, err := id.TokenSource("https://vault.azure.net").Token()
	e := testkit.Error(t, err)
	if want := `"https://vault.azure.net" is not the default scope of an API, which a managed identity needs; ` +
		`use "https://vault.azure.net/.default"`; e.Code != "invalid_scope" || e.Description != want || len(p.Sent()) != 0 {
		t.Errorf("got %v after %d requests, want %s", e, len(p.Sent()), want)
	}
}

func TestNothingSecretIsPrinted(t *testing.T) {
	p := newPlatform(t, day)
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41234/msi/token")
	t.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	var records testkit.Log
	id := p.identity(t, managedidentity.Config{ClientID: clientID, Logger: records.Logger()})
	s := id.TokenSource(scope)
	get(t, s)
	for _, v := range []any{id, s, &managedidentity.Identity{}} {
		testkit.NoSecrets(t, v, "token-1", "s3cr3t")
	}
	want := "managedidentity.Identity{AppService: the user-assigned identity with the client ID " + clientID + "}"
	if got := fmt.Sprint(id); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for i, body := range []string{
		`{"message":"bad header s3cr3t-header"}`, `{"error":"s3cr3t-header","error_description":"x"}`,
		`{"error":{"code":"s3cr3t-header","message":"bad s3cr3t-header"}}`, "<html>s3cr3t-header</html>",
		`{"message":"bad header s3cr3t%2Dheader"}`,
	} {
		for _, header := range []string{"s3cr3t-header", "s3cr3t"} { // short secrets need care
			t.Setenv("IDENTITY_HEADER", header)
			p.respond(400, "application/json", body)
			_, err := id.TokenSource(fmt.Sprintf("api://%d/%s/.default", i, header[6:])).TokenContext(t.Context())
			testkit.NoSecrets(t, testkit.Error(t, err), "token-1", "s3cr3t")
		}
	}
	p.Intercept(func(*http.Request, url.Values) (*http.Response, error) { return nil, errors.New("s3cr3t") })
	ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
	defer cancel()
	_, err := id.TokenSource("api://broken/.default").TokenContext(ctx)
	testkit.NoSecrets(t, err, "s3cr3t")
	if text := records.String(); strings.Contains(text, "s3cr3t") || strings.Contains(text, "token-1") || text == "" {
		t.Errorf("got the log %s", text)
	}
}

func TestZeroIdentity(t *testing.T) {
	var id managedidentity.Identity
	_, err := id.TokenSource(scope).Token()
	if e := testkit.Error(t, err); e.Code != "invalid_request" || !strings.Contains(e.Description, "an Identity, Login") {
		t.Errorf("got %v, want invalid_request that names the Identity", err)
	}
	if got := id.Source(); got != "" {
		t.Errorf("got the source %q, want none", got)
	}
}
