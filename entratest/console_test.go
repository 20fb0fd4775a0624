package entratest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/aadsts"
)

// The package is for every project, so it imports only the explanations of errors, which
// import nothing but the standard library.
func TestImports(t *testing.T) {
	for dir, allowed := range map[string][]string{
		".": {`"github.com/entratoken/entra/internal/aadsts"`}, "../internal/aadsts": nil,
	} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imported := range file.Imports {
				path := imported.Path.Value
				if strings.Contains(path, ".") && !slices.Contains(allowed, path) && !strings.HasSuffix(name, "_test.go") {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}

func TestEveryErrorIsExplained(t *testing.T) {
	for _, number := range entratest.ErrorNumbers() {
		if _, known := aadsts.Lookup(number); !known {
			t.Errorf("AADSTS%d has no explanation", number)
		}
	}
}

// consolePage returns the page of the console.
func consolePage(t testing.TB, h http.Handler, query string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "https://127.0.0.1/"+query, nil))
	if w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

var flowTitle = regexp.MustCompile(`<span class="title">([^<]*)</span>`)

func flowTitles(page string) []string {
	titles := []string{}
	for _, m := range flowTitle.FindAllStringSubmatch(page, -1) {
		titles = append(titles, m[1])
	}
	return titles
}

// The page escapes each field. Names of apps and users, and tenants, are from the
// configuration.
func TestConsoleEscapesMarkup(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><b>`
	cfg := sample("webapp", func(a *entratest.App) { a.Name = evil + "app" })
	cfg.Tenants[0].Name, cfg.Users[0].Name = evil+"tenant", evil+"user"
	s := entratest.NewServer(cfg)
	redeem(t, s, signIn(t, s, alice)) // a token with the name
	f := form("grant_type", "client_credentials", "client_id", evil+"id")
	for _, name := range []string{"scope", "state", "claims", "username", "prompt", "nonce", evil + "name"} {
		f.Set(name, evil+name)
	}
	post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", f)
	f.Set("grant_type", evil+"grant")
	post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", f)
	f.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
	f.Set("assertion", s.Mint(entratest.MintOptions{Resource: "api-a", User: alice,
		Claims: map[string]any{"azp": evil + "azp", "aud": evil + "aud"}}))
	post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", f)
	s.Inject(entratest.Fault{Error: evil + "error", RetryAfter: evil + "retry", Times: 1})
	clientCredentials(t, s)
	s.Inject(entratest.Fault{Endpoint: evil + "fault", Tenant: evil + "tenant"})
	req := httptest.NewRequest("GET", "https://login.microsoftonline.com/", nil)
	req.URL.Path = "/" + evil + "/" + evil + "path"
	if resp, err := s.Client().Transport.RoundTrip(req); err != nil {
		t.Fatal(err)
	} else {
		resp.Body.Close()
	}
	page := consolePage(t, s.Console(t.Context()), "?done="+form("", evil+"done").Encode()[1:])
	for _, bad := range []string{"<script>", "<b>app", "<b>user"} {
		if i := strings.Index(page, bad); i >= 0 {
			t.Errorf("page has %s: %s", bad, page[max(0, i-100):i+100])
		}
	}
	text := html.UnescapeString(page)
	for _, field := range []string{"app", "user", "tenant", "id", "scope", "state", "claims", "username", "prompt", "nonce",
		"grant", "azp", "error", "retry", "fault", "path", "done"} {
		if !strings.Contains(text, evil+field) && !strings.Contains(text, strings.ReplaceAll(evil+field, `"`, `\"`)) {
			t.Errorf("page does not show the field %s", field)
		}
	}
}

// The page has no secret: no password, code, assertion, token or signature.
func TestConsoleHidesSecrets(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant)).signIn(alice, "alice-password")
	code := b.press("consent").wantCallback().Get("code")
	tokens := redeem(t, s, code)
	onBehalfOf(t, s, tokens.stringField("access_token"))
	tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret",
		"refresh_token", tokens.stringField("refresh_token"))
	tokenRequest(t, s, tenant, "grant_type", "password", "client_id", webapp, "client_secret", "webapp-secret",
		"username", alice, "password", "alice-password", "scope", "api://api-a/.default")
	page := html.UnescapeString(consolePage(t, s.Console(t.Context()), ""))
	secrets := []string{"alice-password", "webapp-secret", "api-a-secret", verifier, code, tokens.stringField("refresh_token")}
	for _, name := range []string{"access_token", "id_token"} {
		parts := strings.Split(tokens.stringField(name), ".")
		secrets = append(secrets, parts[1], parts[2])
	}
	for _, secret := range secrets {
		if strings.Contains(page, secret) {
			t.Errorf("page has the secret %s", secret)
		}
	}
	for _, want := range []string{`"preferred_username": "alice@contoso.onmicrosoft.com"`, `"alg": "RS256"`,
		"<dt>code_verifier</dt><dd>REDACTED</dd>", "<dt>assertion</dt><dd>REDACTED</dd>", `"scp": "Orders.Read"`} {
		if !strings.Contains(page, want) {
			t.Errorf("page does not have %s", want)
		}
	}
}

// The page loads only its own files.
func TestConsolePolicy(t *testing.T) {
	h := entratest.NewServer(entratest.Sample()).Console(t.Context())
	get := func(path string) (*httptest.ResponseRecorder, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w, w.Body.String()
	}
	w, page := get("/")
	want := "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("got policy %s, want %s", got, want)
	}
	var loaded []string
	for _, m := range regexp.MustCompile(`<(?:link|script|img|iframe)[^>]*(?:href|src)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		w, body := get(m[1])
		loaded = append(loaded, fmt.Sprint(m[1], " ", w.Code, " ", w.Header().Get("Content-Type")))
		if strings.Contains(body, "http:") || strings.Contains(body, "https:") || strings.Contains(body, "@import") {
			t.Errorf("%s names another file", m[1])
		}
	}
	if want := []string{"/-/console.css 200 text/css; charset=utf-8",
		"/-/console.js 200 text/javascript; charset=utf-8"}; !slices.Equal(loaded, want) {
		t.Errorf("got %q, want %q", loaded, want)
	}
	if strings.Contains(page, "style=") || strings.Contains(page, "onclick") {
		t.Error("page has inline styles or scripts")
	}
}

func TestConsoleFilter(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	h := s.Console(t.Context())
	clientCredentials(t, s)
	tokenRequest(t, s, fabrikam, "grant_type", "client_credentials", "client_id", daemon, "client_secret", "wrong")
	onBehalfOf(t, s, s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice}))
	post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/devicecode", form("client_id", webapp, "scope", "openid"))
	redeem(t, s, signIn(t, s, bob))
	const daemonOK, daemonError, obo = "client credentials", "client credentials", "on-behalf-of"
	const device, bobs = "device code", "sign-in, authorization code"
	for query, want := range map[string][]string{
		"":                                  {bobs, device, obo, daemonError, daemonOK},
		"app=" + daemon:                     {daemonError, daemonOK},
		"app=" + strings.ToUpper(daemon):    {daemonError, daemonOK},
		"app=" + webapp:                     {bobs, device, obo}, // also as the caller of api-a
		"app=" + apiA:                       {obo},
		"user=" + strings.ToUpper(alice):    {obo},
		"user=" + bob:                       {bobs},
		"tenant=" + fabrikam:                {daemonError},
		"outcome=error":                     {daemonError},
		"outcome=ok":                        {bobs, device, obo, daemonOK},
		"outcome=ok&app=" + daemon:          {daemonOK},
		"user=" + bob + "&app=" + daemon:    {},
		"user=" + bob + "&tenant=" + tenant: {},
	} {
		if got := flowTitles(consolePage(t, h, "?"+query)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	page := consolePage(t, h, "?app="+daemon+"&outcome=error")
	for _, want := range []string{`<option value="` + daemon + `" selected>daemon</option>`,
		`<option selected>error</option>`, `<a href="/">Show all</a>`} {
		if !strings.Contains(page, want) {
			t.Errorf("page does not have %s", want)
		}
	}
}

// A stream is an open stream of events.
type stream struct {
	t    *testing.T
	text *bufio.Reader
	body io.Closer
}

// openStream opens the stream of a console, after the version of its page.
func openStream(t *testing.T, url, query string) *stream {
	t.Helper()
	resp, err := http.Get(url + "/" + query)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`data-version="([^"]*)"`).FindStringSubmatch(string(page))[1]
	if query == "" {
		query = "?"
	}
	events, err := http.Get(url + "/-/events" + query + "&since=" + version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Body.Close() })
	if kind := events.Header.Get("Content-Type"); events.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("got %d %s", events.StatusCode, kind)
	}
	return &stream{t, bufio.NewReader(events.Body), events.Body}
}

// next returns the name and the data of the next event.
func (s *stream) next() (name, data string) {
	s.t.Helper()
	for {
		line, err := s.text.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			return name, data
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		}
	}
}

// flows returns the flows of the events until the next total: the ID and the outcome in the
// title, or "gone".
func (s *stream) flows() (flows []string, total string) {
	s.t.Helper()
	for {
		name, data := s.next()
		if name == "total" {
			return flows, data
		}
		var flow struct{ ID, HTML string }
		if err := json.Unmarshal([]byte(data), &flow); err != nil || name != "flow" {
			s.t.Fatalf("got event %s %s", name, data)
		}
		outcome := "gone"
		if m := regexp.MustCompile(`<span class="(?:ok|bad)">([^<]*)</span></h3>`).FindStringSubmatch(flow.HTML); m != nil {
			outcome = m[1]
		}
		flows = append(flows, flow.ID+" "+outcome)
	}
}

// want reads events until the total has a number of requests, and checks the last flow.
func (s *stream) want(requests int, want string) {
	s.t.Helper()
	last := ""
	for {
		flows, total := s.flows()
		if len(flows) > 0 {
			last = flows[len(flows)-1]
		}
		if strings.HasPrefix(total, fmt.Sprint(requests, " requests, ")) {
			break
		}
	}
	if last != want {
		s.t.Errorf("got last flow %q, want %q", last, want)
	}
}

func TestConsoleStreamsFlows(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	clientCredentials(t, s) // on the page, so not in the stream
	server := httptest.NewServer(s.Console(t.Context()))
	t.Cleanup(server.Close)
	all := openStream(t, server.URL, "")
	healthy := openStream(t, server.URL, "?outcome=ok")
	failed := openStream(t, server.URL, "?outcome=error")
	for _, each := range []*stream{all, healthy, failed} {
		each.want(1, "")
	}
	tokens := redeem(t, s, signIn(t, s, alice))
	all.want(3, "flow-2 ok")
	healthy.want(3, "flow-2 ok")
	failed.want(3, "")
	onBehalfOf(t, s, tokens.stringField("access_token"), "scope", "api://api-b/Orders.Write")
	all.want(4, "flow-2 1 error")
	healthy.want(4, "flow-2 gone")
	failed.want(4, "flow-2 1 error")
}

// The page of an earlier process, or with an invalid version, must be loaded again.
func TestConsoleStreamOfOldPage(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	h := s.Console(t.Context())
	version := regexp.MustCompile(`data-version="([^"]*)"`).FindStringSubmatch(consolePage(t, s.Console(t.Context()), ""))[1]
	for _, since := range []string{version, "", "x.y", "."} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/-/events?since="+since, nil))
		if got := w.Body.String(); w.Code != 200 || got != "event: reload\ndata:\n\n" {
			t.Errorf("%q: got %d %q", since, w.Code, got)
		}
	}
}

// The number of streams is bounded. All end with the context of the console.
func TestConsoleStreamsAreBoundedAndEnd(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	server := httptest.NewUnstartedServer(s.Console(ctx))
	idle := make(chan struct{})
	server.Config.RegisterOnShutdown(func() { close(idle) })
	server.Start()
	t.Cleanup(server.Close)
	var open []*stream
	for range 16 {
		open = append(open, openStream(t, server.URL, ""))
	}
	get := func() int {
		resp, err := http.Get(server.URL + "/-/events?since=x")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := get(); status != http.StatusServiceUnavailable {
		t.Errorf("17th stream: got status %d, want 503", status)
	}
	open[0].body.Close()
	for get() != 200 { // the server notices the closed connection
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	for _, each := range open[1:] {
		if _, err := io.Copy(io.Discard, each.text); err != nil {
			t.Errorf("stream: got error %v, want its end", err)
		}
	}
	if err := server.Config.Shutdown(t.Context()); err != nil { // waits for the handlers
		t.Error(err)
	}
	<-idle
}

// StartTLS serves the console, and its stop function ends the streams.
func TestStartTLSServesConsole(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	url, ca, stop := s.StartTLS()
	defer stop()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(page), "<code>"+url+"</code>") {
		t.Errorf("got %v, page %s", err, page)
	}
}

// After 100,000 requests, the page has the size and the cost of the newest flows.
func TestConsoleAfterManyRequests(t *testing.T) {
	n := 10_000
	if os.Getenv("ENTRA_SOAK") != "" {
		n = 100_000
	}
	s := entratest.NewServer(entratest.Sample())
	h := s.Console(t.Context())
	cost := func() (size int, least time.Duration) {
		for range 10 {
			start := time.Now()
			size = len(consolePage(t, h, ""))
			if took := time.Since(start); least == 0 || took < least {
				least = took
			}
		}
		return size, least
	}
	empty, emptyTime := cost()
	for range n {
		clientCredentials(t, s, "scope", "invalid") // flows of 32 requests
	}
	size, took := cost()
	t.Logf("empty page: %d bytes in %v; after %d requests: %d bytes in %v", empty, emptyTime, n, size, took)
	if got := strings.Count(consolePage(t, h, ""), `class="flow"`); got != 30 {
		t.Errorf("got %d flows, want 30", got)
	}
	if size > 3<<20 {
		t.Errorf("got a page of %d bytes, want at most 3 MiB", size)
	}
}
