package integration_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit/servers"
	"github.com/entratoken/entra/signin"
	postgresstore "github.com/entratoken/entra/stores/postgres"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// replicaVariable has the configuration of a process that is a replica of a web app. The process is the test binary.
const replicaVariable = "ENTRA_TEST_REPLICA"

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if text := os.Getenv(replicaVariable); text != "" {
		var c replicaConfig
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = serveReplica(c)
		}
		fmt.Fprintln(os.Stderr, "replica:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// quiet is a logger for go-redis, which logs each attempt to connect.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// replicaConfig is the configuration of a replica.
type replicaConfig struct {
	Addr   string // on which it listens
	Name   string
	Origin string // of the site
	Entra  string // host of the fake
	CAFile string
	API    string // URL of the API

	Tokens, Sessions string // addresses of Redis servers; if empty, both are in memory
	Recheck          time.Duration
}

var sharedKey = []byte("0123456789abcdef0123456789abcdef")

// serveReplica serves the web app until the process gets SIGTERM. Then it finishes the requests in progress.
func serveReplica(c replicaConfig) error {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	var tokens cache.Store
	var sessions signin.Store
	if c.Tokens != "" {
		tokens = redisstore.New(redisClient(c.Tokens), nil)
		sessions = redisstore.NewSessions(redisClient(c.Sessions), nil)
	}
	app, err := newReplica(c, &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}, tokens, sessions)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: c.Addr, Handler: app, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(errors.New("stopped"), server.Shutdown(ctx))
}

func redisClient(addr string) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{addr}, ContextTimeoutEnabled: true})
}

// A replica is a process of the web app, or a part of the test's process that shares no memory with the others.
type replica struct {
	http.Handler
	site *signin.Site
}

// newReplica returns the web app. Its pages call an API: /page/N with a scope of the sign-in, /orders with one that
// needs consent, and /payslip with a step-up.
func newReplica(c replicaConfig, toEntra *http.Client, tokens cache.Store, sessions signin.Store) (*replica, error) {
	r := &replica{}
	client, err := entra.New(entra.Config{
		TenantID: tenant, ClientID: webappID, Credential: entra.Secret(webappSecret), Cloud: entra.Cloud(c.Entra),
		HTTPClient: toEntra, Capabilities: []string{entra.CapabilityCAE}, Cache: cache.New(cache.Options{
			Store: tokens, Keys: []cache.SealKey{cache.NewSealKey(sharedKey)}, Recheck: c.Recheck,
		}),
	})
	if err != nil {
		return nil, err
	}
	flow, err := authcode.New(client, authcode.Config{
		RedirectURL: c.Origin + "/callback", Scopes: []string{apiAScope},
	})
	if err != nil {
		return nil, err
	}
	r.site, err = signin.New(flow, signin.Config{Store: sessions, Keys: []signin.Key{signin.NewKey(sharedKey)}})
	if err != nil {
		return nil, err
	}
	var served atomic.Int64
	show := func(w http.ResponseWriter, req *http.Request) {
		account, _ := signin.AccountFromContext(req.Context())
		_ = replicaPage.Execute(w, map[string]any{ // fails only if the client is gone
			"Path": req.URL.Path, "Name": account.Name, "Replica": c.Name, "N": served.Add(1),
		})
	}
	call := func(path string, scopes ...string) http.Handler {
		return r.site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			ctx := req.Context()
			api, err := http.NewRequestWithContext(ctx, http.MethodGet, c.API+path, nil)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			resp, err := r.site.TokenSource(req, scopes...).HTTPClient().Do(api)
			if err == nil {
				defer resp.Body.Close()
				err = signin.Challenge(resp)
			}
			switch {
			case r.site.Interact(w, req, err, scopes...):
			case err != nil || resp.StatusCode != http.StatusOK:
				http.Error(w, fmt.Sprint("call of the API: ", err), http.StatusBadGateway)
			default:
				show(w, req)
			}
		}))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", show)
	mux.Handle("/page/", call("/page"))
	mux.Handle("/orders", call("/orders", ordersScope))
	mux.Handle("/payslip", call("/payslip"))
	r.Handler = r.site.Handler(mux)
	return r, nil
}

var replicaPage = template.Must(template.New("").Parse(`<!DOCTYPE html><title>Web app</title>
<main id="page">{{.Path}} {{or .Name "signed out"}} <small id="replica">{{.Replica}} {{.N}}</small></main>
{{if .Name}}<form method="post" action="/logout"><button id="logout">Sign out</button></form>
{{else}}<a id="login" href="/login">Sign in</a>{{end}}`))

// newReplicaAPI starts the API that replicas call. /payslip requires the authentication context c1.
func newReplicaAPI(t *testing.T) string {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claims struct {
			ACRs  []string `json:"acrs"`
			Scope string   `json:"scp"`
		}
		parts := strings.Split(r.Header.Get("Authorization"), ".")
		if len(parts) == 3 {
			payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(payload, &claims) // otherwise the token has no scope
		}
		want := map[string]string{"/page": "access_as_user", "/payslip": "access_as_user", "/orders": "Orders.Read"}
		switch {
		case claims.Scope != want[r.URL.Path]:
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/payslip" && !slices.Contains(claims.ACRs, "c1"):
			entra.SetClaimsChallenge(w.Header(), `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(api.Close)
	return api.URL
}

// A replicaProcess is a replica in a process of its own.
type replicaProcess struct {
	config replicaConfig
	cmd    *exec.Cmd
	output *strings.Builder
}

func startReplica(t *testing.T, c replicaConfig) *replicaProcess {
	t.Helper()
	p := &replicaProcess{config: c}
	p.start(t)
	t.Cleanup(func() { p.stop(t, syscall.SIGKILL) })
	return p
}

func (p *replicaProcess) start(t *testing.T) {
	t.Helper()
	config := must[[]byte](t)(json.Marshal(p.config))
	p.cmd, p.output = exec.Command(must[string](t)(os.Executable())), new(strings.Builder)
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), replicaVariable+"="+string(config)), p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, time.Minute, "start of a replica", func() bool {
		conn, err := net.DialTimeout("tcp", p.config.Addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// stop ends the process and waits until it has ended.
func (p *replicaProcess) stop(t *testing.T, how os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(how) // fails if it has ended
	_ = p.cmd.Wait()              // reports the signal
	if t.Failed() {
		t.Logf("replica %s: %s", p.config.Name, p.output)
	}
}

// replicatedApp is the web app behind nginx, with a fake Entra.
type replicatedApp struct {
	*fake
	proxy
	url      string
	replicas []*replicaProcess
}

// newReplicatedApp starts n replicas behind the nginx configuration in docs/webapps.md that contains marker.
func newReplicatedApp(t *testing.T, n int, marker string, change func(*replicaConfig)) *replicatedApp {
	t.Helper()
	a := &replicatedApp{}
	port := freePort(t)
	a.url = fmt.Sprintf("https://localhost:%d", port)
	a.fake = newFake(t, func(estate *entratest.Config) {
		for i := range estate.Apps {
			if app := &estate.Apps[i]; app.ClientID == webappID {
				app.RedirectURIs = append(app.RedirectURIs, a.url+"/callback", a.url+"/")
				app.OptionalClaims = append(app.OptionalClaims, "login_hint", "sid")
			}
		}
	})
	api := newReplicaAPI(t)
	var addrs []string
	for i := range n {
		c := replicaConfig{
			Addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), Name: fmt.Sprint("replica", i), Origin: a.url, Entra: a.host,
			CAFile: a.caFile, API: api,
		}
		change(&c)
		addrs = append(addrs, c.Addr)
		a.replicas = append(a.replicas, startReplica(t, c))
	}
	a.proxy = startNginx(t, port, documentedNginx(t, marker, port, addrs))
	return a
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, _ := listen(t)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// documentedNginx returns the configuration in docs/webapps.md that contains marker, for other addresses.
func documentedNginx(t *testing.T, marker string, port int, addrs []string) string {
	t.Helper()
	page := string(must[[]byte](t)(os.ReadFile("../docs/webapps.md")))
	for block := range strings.SplitSeq(page, "```nginx\n") {
		config, _, _ := strings.Cut(block, "```")
		if !strings.Contains(config, marker) {
			continue
		}
		servers := ""
		for _, addr := range addrs {
			servers += "server " + addr + ";\n"
		}
		return strings.NewReplacer(
			"listen 443 ", fmt.Sprintf("listen 127.0.0.1:%d ", port),
			"server 10.0.0.11:8080;", servers, "server 10.0.0.12:8080;", "",
			"/etc/nginx/app.example.pem", "cert.pem", "/etc/nginx/app.example.key", "key.pem",
		).Replace(config)
	}
	t.Fatalf("docs/webapps.md has no configuration of nginx with %q", marker)
	return ""
}

// seen are the requests to the fake that the number of replicas must not change.
type seen struct{ Redirects, Codes, Refreshes int }

func (f *fake) seen() seen {
	return seen{
		f.Count(entratest.Match{Endpoint: entratest.EndpointAuthorize}),
		f.Count(entratest.Match{Endpoint: entratest.EndpointToken, GrantType: "authorization_code"}),
		f.Count(entratest.Match{Endpoint: entratest.EndpointToken, GrantType: "refresh_token"}),
	}
}

// Two replicas behind nginx, which passes them the requests in turn, need the same redirects and token requests as one
// process: for a sign-in, 100 pages, consent and a step-up. A restart of each replica costs none, and no request to
// Entra at all. No page shows an error.
func TestReplicasBehindNginx(t *testing.T) {
	want := seen{Redirects: 3, Codes: 3, Refreshes: 2} // two refreshes fail: without the consent, without the step-up
	t.Run("one process", func(t *testing.T) {
		a := newReplicatedApp(t, 1, "# round robin", func(*replicaConfig) {})
		c := a.browse(t)
		a.use(t, c)
		if got := a.seen(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("two replicas", func(t *testing.T) {
		tokens, sessions := servers.Redis(t).Addr, servers.Redis(t).Addr
		a := newReplicatedApp(t, 2, "# round robin", func(c *replicaConfig) { c.Tokens, c.Sessions = tokens, sessions })
		c := a.browse(t)
		pages := a.use(t, c)
		if got := a.seen(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for name, n := range pages {
			if n < 40 {
				t.Errorf("%s served %d pages of about 110, want half of them", name, n)
			}
		}
		requests := a.Count(entratest.Match{})
		for i, how := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			a.replicas[i].stop(t, how)
			a.visit(t, c, "/page/while-one-is-stopped")
			a.replicas[i].start(t)
			// nginx avoids a replica for ten seconds after it failed.
			for start := time.Now(); a.visit(t, c, "/page/after") != fmt.Sprintf("replica%d 1", i); {
				if time.Since(start) > time.Minute {
					t.Fatalf("replica %d gets no requests", i)
				}
				time.Sleep(200 * time.Millisecond)
			}
			for range 4 {
				a.visit(t, c, "/orders")
				a.visit(t, c, "/payslip")
			}
		}
		if n := a.Count(entratest.Match{}) - requests; n != 0 {
			t.Errorf("the restarts cost %d requests to Entra, want 0", n)
		}
		c.screenshot(t, "page of a replica")
		c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
		for range 4 {
			c.do(t, chromedp.Navigate(a.url+"/"))
			c.wantText(t, "/ signed out")
		}
		if got := a.seen(); got != want {
			t.Errorf("with restarts and sign-out: got %+v, want %+v", got, want)
		}
	})
}

// browse starts a browser that trusts the certificates of nginx and the fake.
func (a *replicatedApp) browse(t *testing.T) *chromium {
	t.Helper()
	sum := sha256.Sum256(a.leaf.RawSubjectPublicKeyInfo)
	pins := a.pin + "," + base64.StdEncoding.EncodeToString(sum[:])
	return newChromium(t, chromedp.Flag("ignore-certificate-errors-spki-list", pins))
}

// use signs Alice in, loads 100 pages, consents and steps up. It returns how many pages each replica has served.
func (a *replicatedApp) use(t *testing.T, c *chromium) map[string]int {
	t.Helper()
	pages := map[string]int{}
	visit := func(path string) {
		t.Helper()
		name, _, _ := strings.Cut(a.visit(t, c, path), " ")
		pages[name]++
	}
	c.do(t, chromedp.Navigate(a.url+"/page/first"))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(signedInPage))
	c.wantText(t, "/page/first "+aliceName)
	for i := range 100 {
		visit(fmt.Sprintf("/page/%d", i))
	}
	c.do(t, chromedp.Navigate(a.url+"/orders"), chromedp.WaitVisible(consentItem), chromedp.Click(submitButton),
		chromedp.WaitVisible(signedInPage))
	for range 4 {
		visit("/orders")
	}
	c.do(t, chromedp.Navigate(a.url+"/payslip"), chromedp.WaitVisible(submitButton), chromedp.Click(submitButton),
		chromedp.WaitVisible(signedInPage))
	for range 4 {
		visit("/payslip")
	}
	for range 2 {
		visit("/page/last")
	}
	return pages
}

// visit loads a page, which must show Alice's name, and returns its replica and how many pages that has served.
func (a *replicatedApp) visit(t *testing.T, c *chromium, path string) string {
	t.Helper()
	c.do(t, chromedp.Navigate(a.url+path))
	text := eval(t, c, chromedp.Evaluate[string](`document.body.innerText`))
	if !strings.HasPrefix(text, path+" "+aliceName) {
		t.Fatalf("got a page without Alice's name at %s:\n%s", eval(t, c, chromedp.Location()), text)
	}
	return eval(t, c, chromedp.Text(chromedp.CSS("#replica")))
}

// A cluster is some replicas without a proxy, in this process. They share no memory.
type cluster struct {
	*fake
	url      string
	replicas []*replica
	start    func() *replica
}

// newCluster starts n replicas. open returns a store of tokens for each of them.
func newCluster(t *testing.T, n int, recheck time.Duration, sessions signin.Store, open func() cache.Store) *cluster {
	t.Helper()
	c := &cluster{url: "https://webapp.contoso.example"}
	c.fake = newFake(t, func(estate *entratest.Config) {
		estate.Users = nil
		for i := range 2 * n {
			user := entratest.User{Username: clusterUser(i), Name: clusterUser(i), TenantID: tenant}
			estate.Users = append(estate.Users, user)
		}
	})
	config := replicaConfig{Origin: c.url, Entra: c.host, API: newReplicaAPI(t), Recheck: recheck}
	c.start = func() *replica { return must[*replica](t)(newReplica(config, c.client, open(), sessions)) }
	for range n {
		c.replicas = append(c.replicas, c.start())
	}
	return c
}

func clusterUser(i int) string { return fmt.Sprintf("user%d@contoso.onmicrosoft.com", i) }

// visit loads a page at a replica, signs the user in when the browser comes to Entra, and returns how often it did. A
// problem fails the test.
func (c *cluster) visit(t *testing.T, b cookies, replica int, path, user string) (redirects int) {
	t.Helper()
	app, target := c.replicas[replica], c.url+path
	for range 6 {
		w := b.send(app, http.MethodGet, target)
		to := w.Header().Get("Location")
		switch {
		case w.Code == http.StatusOK && strings.Contains(w.Body.String(), path+" "+user):
			return redirects
		case w.Code != http.StatusSeeOther:
			t.Fatalf("%s at replica %d: got status %d and page\n%s", path, replica, w.Code, w.Body)
		case strings.HasPrefix(to, c.fake.url+"/"):
			redirects++
			target = must[*url.URL](t)(c.SignIn(t.Context(), to, user)).String()
		default:
			target = c.url + to
		}
	}
	t.Fatalf("%s at replica %d: got too many redirects", path, replica)
	return 0
}

// newRedisClient returns a client that is closed with the test.
func newRedisClient(t *testing.T, server *servers.Server) redis.UniversalClient {
	t.Helper()
	client := redisClient(server.Addr)
	t.Cleanup(func() { client.Close() })
	return client
}

// The Redis server of the tokens is emptied, or killed and restarted empty. The sessions are in another one. No user
// must sign in whose tokens some replica has in memory, although another replica serves the next request. The others go
// through Entra once.
func TestTokensLostInRedis(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *servers.Server){
		"restarted empty": func(_ *testing.T, s *servers.Server) {
			s.Kill()
			s.Start()
		},
		"emptied": func(t *testing.T, s *servers.Server) {
			if err := newRedisClient(t, s).FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const replicas = 3
			server := servers.Redis(t)
			var clients []redis.UniversalClient
			c := newCluster(t, replicas, 0, redisstore.NewSessions(newRedisClient(t, servers.Redis(t)), nil),
				func() cache.Store {
					clients = append(clients, newRedisClient(t, server))
					return redisstore.New(clients[len(clients)-1], nil)
				})
			browsers := make([]cookies, 2*replicas)
			for i := range browsers {
				browsers[i] = cookies{}
				if n := c.visit(t, browsers[i], i%replicas, "/page/0", clusterUser(i)); n != 1 {
					t.Errorf("%s: got %d redirects at the sign-in, want 1", clusterUser(i), n)
				}
			}
			clients[2].Close() // the only replica that has had the tokens of users 2 and 5 ends
			c.replicas[2] = c.start()
			lose(t, server)
			before := c.seen()
			for i, b := range browsers {
				redirects, want := 0, 0
				if i%replicas == 2 {
					want = 1
				}
				for step := range replicas { // the one with the tokens comes last
					redirects += c.visit(t, b, (i+1+step)%replicas, "/page/1", clusterUser(i))
				}
				if redirects != want {
					t.Errorf("%s: got %d redirects, want %d", clusterUser(i), redirects, want)
				}
			}
			after := c.seen()
			after.Redirects, after.Codes = after.Redirects-before.Redirects, after.Codes-before.Codes
			if want := (seen{Redirects: 2, Codes: 2}); after != want {
				t.Errorf("got %+v, want %+v", after, want)
			}
		})
	}
}

// After a sign-out at one replica, the others return no token of the session. The messages of Redis and PostgreSQL
// arrive within milliseconds, so a Recheck of an hour plays no role. Without messages, Recheck is the limit.
func TestSignOutReachesReplicas(t *testing.T) {
	redisServer := servers.Redis(t)
	pool := newPostgresPool(t)
	for name, test := range map[string]struct {
		open    func(t *testing.T) cache.Store
		recheck time.Duration
	}{
		"Redis": {func(t *testing.T) cache.Store { return redisstore.New(newRedisClient(t, redisServer), nil) }, time.Hour},
		"PostgreSQL": {func(t *testing.T) cache.Store {
			s := postgresstore.New(pool)
			t.Cleanup(s.Close)
			return s
		}, time.Hour},
		"Redis without messages": {func(t *testing.T) cache.Store {
			return struct{ cache.Store }{redisstore.New(newRedisClient(t, redisServer), nil)}
		}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, test.recheck, redisstore.NewSessions(newRedisClient(t, redisServer), nil),
				func() cache.Store { return test.open(t) })
			b := cookies{}
			for i := range c.replicas {
				c.visit(t, b, i, "/page/0", clusterUser(0))
			}
			var source *entra.TokenSource // of a request in progress at the other replica
			b.send(c.replicas[1].site.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				source = c.replicas[1].site.TokenSource(r)
			})), http.MethodGet, c.url+"/")
			if _, err := source.Token(); err != nil {
				t.Fatal(err)
			}
			before := c.seen()
			if w := b.send(c.replicas[0], http.MethodPost, c.url+"/logout"); w.Code != http.StatusSeeOther {
				t.Fatalf("got status %d, want 303", w.Code)
			}
			start, last := time.Now(), time.Duration(0)
			servers.Eventually(t, 20*time.Second, "end of the session at the other replica", func() bool {
				_, err := source.Token()
				if err == nil {
					last = time.Since(start)
				}
				var e *entra.Error
				return errors.As(err, &e) && e.Code == "login_required"
			})
			t.Logf("the other replica returned the last token %v after the sign-out, and an error after %v",
				last.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
			if w := b.send(c.replicas[1], http.MethodGet, c.url+"/page/1"); w.Code != http.StatusSeeOther {
				t.Errorf("got status %d and page\n%s\nwant a redirect", w.Code, w.Body)
			}
			if after := c.seen(); after != before {
				t.Errorf("got %+v, want no request after %+v", after, before)
			}
		})
	}
}

func newPostgresPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := must[*pgxpool.Pool](t)(pgxpool.New(t.Context(),
		"postgres://postgres@"+servers.Postgres(t).Addr+"/postgres?connect_timeout=2"))
	t.Cleanup(pool.Close)
	must[pgconn.CommandTag](t)(pool.Exec(t.Context(), postgresstore.Schema))
	return pool
}

// Without a store, each browser must stay at one replica. Eight browsers behind the configuration of nginx that
// docs/webapps.md has for that need one redirect each, although the replicas share nothing but keys.
func TestStickySessionsBehindNginx(t *testing.T) {
	a := newReplicatedApp(t, 2, "# sticky sessions", func(*replicaConfig) {})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	names := map[string]int{}
	for range 8 {
		client := &http.Client{
			Transport: transport, Jar: must[*cookiejar.Jar](t)(cookiejar.New(nil)),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		redirects := 0
		for i := range 4 {
			name, n := a.load(t, client, fmt.Sprintf("/page/%d", i))
			redirects += n
			names[name]++
		}
		if redirects != 1 {
			t.Errorf("got %d redirects to Entra for a browser, want 1", redirects)
		}
	}
	if len(names) != 2 {
		t.Errorf("got pages of %v, want both replicas in use", names)
	}
	for name, n := range names {
		if n%4 != 0 {
			t.Errorf("%s served %d pages, want all four of each of its browsers", name, n)
		}
	}
}

var replicaName = regexp.MustCompile(`replica\d`)

// load loads a page through nginx and signs Alice in. It returns the replica and how often the browser came to Entra.
func (a *replicatedApp) load(t *testing.T, client *http.Client, path string) (name string, redirects int) {
	t.Helper()
	target := a.url + path
	for range 6 {
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		resp := must[*http.Response](t)(client.Do(req))
		body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
		resp.Body.Close()
		to := resp.Header.Get("Location")
		switch {
		case resp.StatusCode == http.StatusOK && strings.Contains(body, path+" "+aliceName):
			return replicaName.FindString(body), redirects
		case resp.StatusCode != http.StatusSeeOther:
			t.Fatalf("%s: got status %d and page\n%s", path, resp.StatusCode, body)
		case strings.HasPrefix(to, a.fake.url+"/"):
			redirects++
			target = must[*url.URL](t)(a.SignIn(t.Context(), to, alice)).String()
		default:
			target = a.url + to
		}
	}
	t.Fatalf("%s: got too many redirects", path)
	return "", 0
}
