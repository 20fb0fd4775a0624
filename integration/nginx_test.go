package integration_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/signin"
)

// proxiedApp is a web app behind nginx with its default buffers, over HTTP/2.
type proxiedApp struct {
	proxy
	url string

	mu         sync.Mutex // guards the fields below
	cookies    int        // most bytes that cookies of sign-ins took in the Cookie header of a request
	anonymous  int        // requests of /folder/ without any cookie
	atOnce     int        // requests of /folder/ that wait for each other
	allArrived chan struct{}
}

const tabsAtOnce = 12

// newProxiedApp serves /folder/N and /part/N for signed-in users and the public page /dashboard with 12 frames.
func newProxiedApp(t *testing.T, mode string) *proxiedApp {
	t.Helper()
	a := &proxiedApp{allArrived: make(chan struct{})}
	front, _ := listen(t)
	port := front.Addr().(*net.TCPAddr).Port
	front.Close() // for nginx
	a.url = fmt.Sprintf("https://localhost:%d", port)

	company := must[*contoso.Contoso](t)(contoso.Start(func(estate *entratest.Config) {
		for i := range estate.Apps {
			if app := &estate.Apps[i]; app.ClientID == webappID {
				app.RedirectURIs = append(app.RedirectURIs, a.url+"/callback", a.url+"/")
			}
		}
	}))
	t.Cleanup(company.Stop)
	client := must[*entra.Client](t)(entra.New(company.Config("webapp")))
	flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{
		RedirectURL: a.url + "/callback", ResponseMode: mode, Scopes: []string{contoso.DeskScope},
	}))
	site := must[*signin.Site](t)(signin.New(flow, signin.Config{}))
	mux := http.NewServeMux()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, _ := signin.AccountFromContext(r.Context())
		fmt.Fprintf(w, `<!DOCTYPE html><title>Page</title><main id="page">%s %s</main>`, r.URL.Path, account.Name)
	})
	mux.Handle("/folder/", site.RequireSignIn(page))
	mux.Handle("/part/", site.RequireSignIn(page))
	mux.HandleFunc("/dashboard", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<!DOCTYPE html><title>Dashboard</title><main id="page">Dashboard</main>`)
		for i := range tabsAtOnce {
			fmt.Fprintf(w, `<iframe src="/part/%d" width="230" height="230"></iframe>`, i)
		}
	})
	app, stop, err := company.Browser(site.Handler(mux))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.count(r)
		app.ServeHTTP(w, r)
	}))
	t.Cleanup(back.Close)
	a.proxy = startNginx(t, port, fmt.Sprintf(`
	server {
		listen 127.0.0.1:%d ssl http2;
		ssl_certificate cert.pem;
		ssl_certificate_key key.pem;
		location / {
			proxy_pass http://%s;
			proxy_set_header Host $http_host;
		}
	}
`, port, back.Listener.Addr()))
	return a
}

// count notes the cookies of r. Requests of /folder/ without a cookie wait for each other, so that none of their
// responses is known to the others.
func (a *proxiedApp) count(r *http.Request) {
	total := 0
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, "__Host-login-") {
			total += len(c.Name) + len("=") + len(c.Value) + len("; ")
		}
	}
	a.mu.Lock()
	a.cookies = max(a.cookies, total)
	wait := strings.HasPrefix(r.URL.Path, "/folder/") && len(r.Cookies()) == 0
	if wait {
		if a.anonymous++; a.anonymous == a.atOnce {
			close(a.allArrived)
		}
		wait = a.atOnce > 0
	}
	a.mu.Unlock()
	if wait {
		select {
		case <-a.allArrived:
		case <-time.After(20 * time.Second):
		}
	}
}

// A proxy is a running nginx.
type proxy struct {
	pin   string         // of its certificate, for a browser
	roots *x509.CertPool // its certificate
}

// startNginx runs nginx until the test ends. The configuration of its servers uses cert.pem and key.pem.
func startNginx(t *testing.T, port int, servers string) proxy {
	t.Helper()
	var a proxy
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not in the PATH of all users
	}
	dir := t.TempDir()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(key.Public()))
	sum := sha256.Sum256(spki)
	a.roots = x509.NewCertPool()
	a.roots.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	a.pin = base64.StdEncoding.EncodeToString(sum[:])
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := `
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy;
	fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
` + servers + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	command := exec.CommandContext(t.Context(), program, "-p", dir, "-c", "nginx.conf")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // also ends the worker
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatalf("%v; integration/install.sh installs nginx", err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
		if t.Failed() {
			t.Logf("nginx: %s", log.String())
		}
	})
	var dialer net.Dialer
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return a
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("nginx does not listen: %v", err)
		}
	}
}

// wantCookies fails the test if cookies of sign-ins took 4 KB or more of a request.
func (a *proxiedApp) wantCookies(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	t.Logf("cookies of sign-ins: at most %d bytes", a.cookies)
	if a.cookies == 0 || a.cookies > 4096 {
		t.Errorf("cookies of sign-ins: got %d bytes, want 1 to 4096", a.cookies)
	}
}

// newBrowser starts a browser that trusts nginx's certificate.
func (a *proxiedApp) newBrowser(t *testing.T) *chromium {
	t.Helper()
	return newChromium(t, chromedp.Flag("ignore-certificate-errors-spki-list", a.pin))
}

var signedInPage = chromedp.CSS("#page")

// The user opens a folder of bookmarks at once, without a session. All of them lead to their pages after one sign-in,
// and the proxy accepts the cookies.
func TestFolderOfBookmarksBehindNginx(t *testing.T) {
	for _, mode := range []string{authcode.ResponseModeQuery, authcode.ResponseModeFormPost} {
		t.Run(mode, func(t *testing.T) {
			a := newProxiedApp(t, mode)
			a.atOnce = tabsAtOnce
			c := a.newBrowser(t)
			c.do(t)
			tabs := make([]*chromium, tabsAtOnce)
			for i := range tabs {
				tabs[i] = c.tab(t)
				tabs[i].do(t)
			}
			var wg sync.WaitGroup
			for i, tab := range tabs {
				wg.Go(func() {
					if _, err := chromedp.Run(tab.ctx, chromedp.Navigate(fmt.Sprintf("%s/folder/%d", a.url, i))); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if a.anonymous != tabsAtOnce {
				t.Fatalf("got %d requests without cookies, want %d", a.anonymous, tabsAtOnce)
			}
			for i, tab := range tabs {
				tab.do(t, chromedp.WaitVisible(passwordField))
				tab.signIn(t, alice, alicePassword)
				if i == 0 {
					tab.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton))
				}
				tab.do(t, chromedp.WaitVisible(signedInPage))
				tab.wantText(t, fmt.Sprintf("/folder/%d %s", i, aliceName))
				if at := eval(t, tab, chromedp.Location()); at != fmt.Sprintf("%s/folder/%d", a.url, i) {
					t.Errorf("tab %d: got location %s", i, at)
				}
			}
			c.do(t, chromedp.Navigate(a.url+"/folder/after"), chromedp.WaitVisible(signedInPage))
			c.wantText(t, "/folder/after "+aliceName)
			a.wantCookies(t)
		})
	}
}

// Frames of a dashboard whose session has expired start no sign-in. Each says so, and its link signs the user in.
func TestDashboardOfFramesBehindNginx(t *testing.T) {
	a := newProxiedApp(t, authcode.ResponseModeQuery)
	c := a.newBrowser(t)
	const frame = `document.querySelector("iframe").contentDocument`
	c.do(t, chromedp.Navigate(a.url+"/dashboard"), chromedp.WaitVisible(signedInPage))
	for i := range tabsAtOnce {
		text := eval(t, c, chromedp.Evaluate[string](
			fmt.Sprintf(`document.querySelectorAll("iframe")[%d].contentDocument.body.innerText`, i)))
		if !strings.Contains(text, "You are signed out") {
			t.Errorf("frame %d: got text %q", i, text)
		}
	}
	c.screenshot(t, "signin's page in frames")
	c.do(t, chromedp.Navigate(a.url+"/dashboard"), chromedp.WaitVisible(signedInPage))
	a.mu.Lock()
	if a.cookies != 0 {
		t.Errorf("got %d bytes of cookies of sign-ins, want 0", a.cookies)
	}
	a.mu.Unlock()

	c.do(t, chromedp.Evaluate[chromedp.Void](frame+`.querySelector("a").click()`), chromedp.WaitVisible(passwordField))
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(signedInPage))
	if at := must[*url.URL](t)(url.Parse(eval(t, c, chromedp.Location()))); at.Path != "/dashboard" {
		t.Errorf("got location %s, want the dashboard", at)
	}
	if text := eval(t, c, chromedp.Evaluate[string](frame+`.body.innerText`)); !strings.Contains(text, aliceName) {
		t.Errorf("got text %q in a frame, want the user's name", text)
	}
	a.wantCookies(t)
}

// The redirect to Entra fits into the proxy's default buffer for responses (4 KB), unless the address of the page is
// longer than 1,600 bytes.
func TestLongLinkBehindNginx(t *testing.T) {
	a := newProxiedApp(t, authcode.ResponseModeQuery)
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for _, length := range []int{20, 600, 1000, 1600} {
		target := a.url + "/folder/" + strings.Repeat("x", length-len("/folder/"))
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		size := 0
		for name, values := range resp.Header {
			for _, value := range values {
				size += len(name) + len(": ") + len(value) + len("\r\n")
			}
		}
		t.Logf("address of %d bytes: status %d and %d bytes of header", length, resp.StatusCode, size)
		if resp.StatusCode != http.StatusSeeOther {
			t.Errorf("address of %d bytes: got status %d, want 303", length, resp.StatusCode)
		}
	}
}
