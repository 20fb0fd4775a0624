package cli_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const scopeOfB = "api://api-b/.default"

// listen serves the fake Entra over TLS and makes the transport connect to it for every host
// name. The transport trusts ca.
func (b *bench) listen(t *testing.T, cert tls.Certificate, ca ...*x509.Certificate) {
	t.Helper()
	srv := httptest.NewUnstartedServer(b.Server)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	b.dial(t, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}, ca...)
}

// dial makes the transport use the connections that f returns.
func (b *bench) dial(t *testing.T, f func(context.Context) (net.Conn, error), ca ...*x509.Certificate) {
	t.Helper()
	pool := x509.NewCertPool()
	for _, c := range ca {
		pool.AddCert(c)
	}
	tr := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) },
		TLSClientConfig: &tls.Config{RootCAs: pool},
	}
	t.Cleanup(tr.CloseIdleConnections)
	b.transport = tr
}

// setDates sets the Date header of all responses to d ago.
func (b *bench) setDates(d time.Duration) {
	next := b.transport
	b.transport = testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err == nil {
			resp.Header.Set("Date", time.Now().Add(-d).UTC().Format(http.TimeFormat))
		}
		return resp, err
	})
}

func inject(f entratest.Fault) func(*testing.T, *bench) []string {
	return func(t *testing.T, b *bench) []string {
		b.daemon(t)
		b.Inject(f)
		return []string{scopeOfB}
	}
}

// rejecting makes the token endpoint return an AADSTS number.
func rejecting(code string, aadsts int) func(*testing.T, *bench) []string {
	return inject(entratest.Fault{Endpoint: "token", Status: 400, Error: code, AADSTS: aadsts})
}

// platform makes the instance metadata service respond. An empty body stands for a token, and the status 0 for a
// connection that fails. The time is too short for retries.
func platform(identity string, status int, body string) func(*testing.T, *bench) []string {
	return func(_ *testing.T, b *bench) []string {
		b.transport = testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			switch {
			case status == 0:
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
			case status == http.StatusOK && body == "":
				return testkit.PlatformToken(r, b.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon", Version: 1}),
					75*time.Minute), nil
			case strings.HasPrefix(body, "<"):
				return testkit.Response(r, status, "text/html", body), nil
			}
			return testkit.Response(r, status, "application/json", body), nil
		})
		return []string{"-identity", identity, "-timeout", "900ms", scopeOfB}
	}
}

// timeout is a time-out of a connection.
type timeout struct{}

func (timeout) Error() string   { return "i/o timeout" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// Each fault is found in the right step. The output is in testdata.
func TestDoctorFindsFaults(t *testing.T) {
	dir := testdata(t, "doctor")
	for _, tt := range []struct {
		name   string
		set    func(*testing.T, *bench) []string
		code   int
		failed string // the first step that failed, or else the first with a warning
		aadsts int
	}{
		{"no problems", func(t *testing.T, b *bench) []string { b.daemon(t); return []string{scopeOfB} }, 0, "", 0},

		{"nothing configured", func(*testing.T, *bench) []string { return nil }, 1, "configuration", 0},
		{"secret and client ID swapped", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_CLIENT_ID", "s3cret~value")
			return nil
		}, 1, "configuration", 0},
		{"tenant common", func(t *testing.T, b *bench) []string { b.daemon(t); return []string{"-tenant", "common"} }, 1,
			"configuration", 0},
		{"scope is a permission", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			return []string{"https://graph.microsoft.com/User.Read.All"}
		}, 1, "configuration", 0},
		{"B2C", func(t *testing.T, b *bench) []string { b.daemon(t); return []string{"-cloud", "contoso.b2clogin.com"} }, 1,
			"configuration", 0},

		{"identity bindings not enabled", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			testkit.WriteFile(t, "token", b.trustsCluster(t))
			t.Setenv("AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1")
			return []string{"-federated-token-file", "token", scopeOfB}
		}, 0, "credential", 0},
		{"identity bindings", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			testkit.WriteFile(t, "token", b.trustsCluster(t))
			t.Setenv("AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1")
			return []string{"-federated-token-file", "token", "-azure-proxy", scopeOfB}
		}, 0, "", 0},
		{"secret is a GUID", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			const secret = "7d1c5a0e-1111-4a7b-9c9f-0123456789ab"
			b.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets = []string{secret} })
			t.Setenv("AZURE_CLIENT_SECRET", secret)
			return []string{scopeOfB}
		}, 0, "credential", 0},

		{"name not found", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.dial(t, func(context.Context) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "login.microsoftonline.com", IsNotFound: true}
			})
			return nil
		}, 1, "name", 0},
		{"name server down", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.dial(t, func(context.Context) (net.Conn, error) {
				return nil, &net.DNSError{Err: "i/o timeout", Name: "login.microsoftonline.com", IsTimeout: true}
			})
			return nil
		}, 1, "name", 0},
		{"connection refused", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			b.dial(t, func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
			})
			return nil
		}, 1, "connection", 0},
		{"firewall", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.dial(t, func(context.Context) (net.Conn, error) { return nil, timeout{} })
			return nil
		}, 1, "connection", 0},
		{"connection reset", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.dial(t, func(context.Context) (net.Conn, error) {
				return nil, errors.New("a text that may hold anything: s3cret")
			})
			return nil
		}, 1, "connection", 0},
		{"not TLS", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			srv := httptest.NewServer(b.Server)
			t.Cleanup(srv.Close)
			b.dial(t, func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
			})
			return nil
		}, 1, "connection", 0},
		{"unknown authority", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			cert, _ := entratest.LocalCertificate("login.microsoftonline.com")
			b.listen(t, cert)
			return nil
		}, 1, "connection", 0},
		{"trusted company proxy", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			cert, ca := entratest.LocalCertificate("login.microsoftonline.com")
			b.listen(t, cert, ca)
			return []string{scopeOfB}
		}, 0, "connection", 0},
		{"certificate for another name", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			cert, ca := entratest.LocalCertificate("portal.example")
			b.listen(t, cert, ca)
			return nil
		}, 1, "connection", 0},

		{"certificate expired", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.transport = testkit.RoundTripper(func(*http.Request) (*http.Response, error) {
				return nil, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}
			})
			return nil
		}, 1, "connection", 0},

		{"clock ahead", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.setDates(7 * time.Minute)
			return []string{scopeOfB}
		}, 1, "clock", 0},
		{"clock behind", func(t *testing.T,
			b *bench) []string {
			b.daemon(t)
			b.setDates(-time.Hour)
			return []string{scopeOfB}
		}, 1, "clock", 0},
		{"clock slightly behind", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.setDates(-2 * time.Minute)
			return []string{scopeOfB}
		}, 0, "clock", 0},

		{"unknown tenant", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_TENANT_ID", "33333333-3333-4333-8333-333333333333")
			return nil
		}, 1, "discovery", 90002},
		{"proxy page", inject(entratest.Fault{Endpoint: "discovery", Status: 200,
			Body: "<html>Sign in to the guest network</html>"}), 1, "discovery", 0},
		{"proxy redirect", inject(entratest.Fault{Endpoint: "discovery", Status: 302, Body: "<html>",
			Header: http.Header{"Location": {"https://portal.example/"}}}), 1, "discovery", 0},
		{"discovery unavailable",
			inject(entratest.Fault{Endpoint: "discovery", Status: 502, Body: "<html>Bad Gateway</html>"}), 1, "discovery", 0},

		{"no credential", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_CLIENT_SECRET",
				"")
			return nil
		}, 1, "credential", 0},
		{"secret file missing", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			return []string{"-secret-file",
				"secret.txt"}
		}, 1, "credential", 0},
		{"secret ID instead of value", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_CLIENT_SECRET", "bbbbbbbb-0000-4000-8000-00000000000d")
			return nil
		}, 1, "token", 7000215},
		{"variable not set", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			return []string{"-secret-env",
				"MY_SECRET"}
		}, 1, "credential", 0},
		{"certificate expires soon", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			cert := certificate(t, "app.pem", time.Now().Add(9*24*time.Hour+time.Hour))
			b.UpdateCredentials("daemon", func(c *entratest.App) { c.Certificates = append(c.Certificates, cert) })
			return []string{"-certificate", "app.pem", scopeOfB}
		}, 0, "credential", 0},

		{"wrong secret", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_CLIENT_SECRET", "s3cret~wrong")
			return nil
		}, 1, "token", 7000215},
		{"expired secret", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			b.UpdateCredentials("daemon", func(c *entratest.App) {
				c.Secrets, c.ExpiredSecrets = nil,
					[]string{"daemon-secret"}
			})
			return nil
		}, 1, "token", 7000222},
		{"unknown app", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-000000009999")
			return nil
		}, 1, "token", 700016},
		{"certificate not registered", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			certificate(t, "app.pem", time.Now().Add(365*24*time.Hour))
			return []string{"-certificate", "app.pem", scopeOfB}
		}, 1, "token", 700027},
		{"federated credential missing", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			testkit.WriteFile(t, "token", federated(t, b, time.Hour))
			return []string{"-federated-token-file", "token", scopeOfB}
		}, 1, "token", 700211},
		{"federated token", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			testkit.WriteFile(t, "token", b.trustsCluster(t))
			t.Setenv("AZURE_CLIENT_SECRET", "")
			t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "token")
			return []string{scopeOfB}
		}, 0, "", 0},
		{"several credentials", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "token")
			t.Setenv("AZURE_CLIENT_CERTIFICATE_PATH", "app.pem")
			return []string{scopeOfB}
		}, 0, "", 0},
		{"authority with a path", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/common")
			return []string{scopeOfB}
		}, 1, "configuration", 0},
		{"expired federated token", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			key, token := issue(t, -time.Hour)
			b.UpdateCredentials("daemon", func(a *entratest.App) {
				a.Federated = append(a.Federated, entratest.FederatedCredential{Issuer: "https://cluster.example/",
					Subject: "system:serviceaccount:orders:orders", Key: key})
			})
			testkit.WriteFile(t, "token", token)
			return []string{"-federated-token-file", "token", scopeOfB}
		}, 1, "credential", 0},
		{"region unreachable", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			next := b.transport
			b.transport = testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == "nowhere.login.microsoft.com" {
					return nil, &net.DNSError{Err: "no such host", Name: r.URL.Host, IsNotFound: true}
				}
				return next.RoundTrip(r)
			})
			return []string{"-region", "nowhere", scopeOfB}
		}, 1, "token", 0},
		{"unknown API", func(t *testing.T, b *bench) []string { b.daemon(t); return []string{"api://nowhere/.default"} }, 1,
			"token", 500011},
		{"assertion not valid now", rejecting("invalid_client", 700024), 1, "token", 700024},
		{"app not installed", rejecting("unauthorized_client", 7000229), 1, "token", 7000229},
		{"app disabled", rejecting("unauthorized_client", 7000112), 1, "token", 7000112},
		{"app not assigned", rejecting("invalid_grant", 501051), 1, "token", 501051},
		{"no consent", rejecting("invalid_grant", 65001), 1, "token", 65001},
		{"conditional access", rejecting("access_denied", 53003), 1, "token", 53003},
		{"unknown user", rejecting("invalid_grant", 50034), 1, "token", 50034},
		{"unknown code", rejecting("invalid_request", 999999), 1, "token", 999999},
		{"throttled", inject(entratest.Fault{Endpoint: "token", Status: 429, RetryAfter: "30"}), 1, "token", 90055},
		{"unavailable", inject(entratest.Fault{Endpoint: "token", Status: 503}), 1, "token", 90033},
		{"proxy intercepts POST", inject(entratest.Fault{Endpoint: "token", Status: 200, Body: "<html>blocked</html>"}), 1,
			"token", 0},
		{"connection dropped", inject(entratest.Fault{Endpoint: "token", Drop: true}), 1, "token", 0},

		{"managed identity", platform("system", 200, ""), 0, "", 0},
		{"user-assigned identity", platform("99999999-0000-4000-8000-000000000001", 200, ""), 0, "", 0},
		{"identity not assigned", platform("99999999-0000-4000-8000-000000000001", 400,
			`{"error":"invalid_request","error_description":"Identity not found"}`), 1, "token", 0},
		{"no identity on the machine", platform("system", 400,
			`{"error":"invalid_request","error_description":"Identity not found"}`), 1, "token", 0},
		{"identity is not an ID", platform("s3cret", 200, ""), 1, "configuration", 0},
		{"identity outside of Azure", platform("system", 0, ""), 1, "token", 0},
		{"identity service is updated", platform("system", 410, ""), 1, "token", 0},
		{"identity service behind a proxy", platform("system", 200, "<html>sign in</html>"), 1, "token", 0},
		{"identity and an unknown API", platform("object:99999999-0000-4000-8000-000000000001", 400,
			`{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal was not found"}`), 1,
			"token", 500011},

		{"no roles", func(t *testing.T, b *bench) []string { b.daemon(t); return nil }, 0, "claims", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			args := append([]string{"doctor"}, tt.set(t, b)...)
			code, out, errs := b.run(t, args...)
			if code != tt.code || errs != "" {
				t.Errorf("exit code %d, want %d; %s", code, tt.code, errs)
			}
			golden(t, dir, tt.name, out)
			b.steps(t, tt.failed, tt.aadsts, args)
		})
	}
}

// steps runs the doctor with -json and checks the first step that is not ok.
func (b *bench) steps(t *testing.T, failed string, aadsts int, args []string) {
	t.Helper()
	_, out, _ := b.run(t, append([]string{"doctor", "-json"}, args[1:]...)...)
	var report struct {
		OK    bool
		Steps []struct {
			Step, Status, Text, Advice string
			AADSTS                     []int
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	var names []string
	first := ""
	bad := "warn"
	if !report.OK {
		bad = "FAIL"
	}
	for _, s := range report.Steps {
		names = append(names, s.Step)
		if s.Status == bad && first == "" {
			first = s.Step
			if aadsts != 0 && !slices.Equal(s.AADSTS, []int{aadsts}) {
				t.Errorf("got the codes %v, want %d", s.AADSTS, aadsts)
			}
			if s.Advice == "" {
				t.Errorf("%s has no advice", s.Step)
			}
		}
	}
	if first != failed {
		t.Errorf("got %q as the first step that is not ok, want %q", first, failed)
	}
	want := "configuration name connection clock discovery credential token claims"
	if slices.Contains(args, "-identity") {
		want = "configuration token claims"
	}
	if strings.Join(names, " ") != want {
		t.Errorf("got the steps %v", names)
	}
}

// federated returns a token with the claims of another issuer, signed by the fake Entra.
func federated(t *testing.T, b *bench, life time.Duration) string {
	t.Helper()
	return b.Mint(entratest.MintOptions{Resource: "api-b", Claims: map[string]any{
		"iss": "https://cluster.example/", "sub": "system:serviceaccount:orders:orders", "aud": "api://AzureADTokenExchange",
		"exp": time.Now().Add(life).Unix(),
	}})
}

// issue returns a token of a cluster and the key that verifies it.
func issue(t *testing.T, life time.Duration) (crypto.PublicKey, string) {
	t.Helper()
	key := testkit.RSAKey(t)
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "https://cluster.example/", "sub": "system:serviceaccount:orders:orders", "aud": "api://AzureADTokenExchange",
		"iat": now.Add(-2 * time.Hour).Unix(), "nbf": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(life).Unix(),
	}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public(), token
}

// trustsCluster makes the daemon trust a cluster and returns a token of the cluster.
func (b *bench) trustsCluster(t *testing.T) string {
	t.Helper()
	key, token := issue(t, time.Hour)
	b.UpdateCredentials("daemon", func(a *entratest.App) {
		a.Federated = append(a.Federated, entratest.FederatedCredential{Issuer: "https://cluster.example/",
			Subject: "system:serviceaccount:orders:orders", Key: key})
	})
	return token
}

// In a terminal, lines are wrapped and colored, but contain the same words. NO_COLOR turns
// the colors off.
func TestDoctorInATerminal(t *testing.T) {
	dir := testdata(t, "doctor")
	b := newBench(t)
	b.daemon(t)
	b.terminal = true
	t.Setenv("COLUMNS", "80")
	_, out, _ := b.run(t, "doctor")
	golden(t, dir, "in a terminal", out)
	for _, line := range strings.Split(out, "\n") {
		if plain := strings.NewReplacer("\x1b[32m", "", "\x1b[33m", "", "\x1b[1;31m", "", "\x1b[2m", "", "\x1b[0m",
			"").Replace(line); len(plain) > 80 && strings.Contains(strings.TrimSpace(plain), " ") {
			t.Errorf("got a line of %d columns: %s", len(plain), plain)
		}
	}
	_, last, _ := strings.Cut(out, "claims") // the lines before have durations, which may wrap differently
	t.Setenv("COLUMNS", "")                  // most shells do not export it
	if _, unset, _ := b.run(t, "doctor"); !strings.HasSuffix(unset, "claims"+last) {
		t.Errorf("got without COLUMNS: %s", unset)
	}
	t.Setenv("NO_COLOR", "1")
	if _, out, _ = b.run(t, "doctor"); strings.Contains(out, "\x1b") || !strings.Contains(out, "warn") {
		t.Errorf("got with NO_COLOR: %s", out)
	}
}

// With -ca, a private certificate authority is trusted on a real connection.
func TestTrustedCA(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	b.transport = nil // the network
	cert, ca := entratest.LocalCertificate()
	srv := httptest.NewUnstartedServer(b.Server)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	testkit.WriteFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})))
	testkit.WriteFile(t, "empty.pem", "")
	t.Setenv("AZURE_AUTHORITY_HOST", srv.URL)
	if code, out, _ := b.run(t, "doctor", scopeOfB); code != 1 ||
		!strings.Contains(out, "is not trusted; it is issued by entratest") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, _ := b.run(t, "doctor", "-ca", "ca.pem", scopeOfB); code != 0 ||
		!strings.Contains(out, "TLS 1.3, certificate issued by entratest") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, errs := b.run(t, "token", "-ca", "ca.pem", scopeOfB); code != 0 {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	for _, command := range []string{"doctor", "token"} {
		if code, _, errs := b.run(t, command, "-ca", "missing.pem"); code != 2 ||
			!strings.Contains(errs, "reading the file of -ca failed") {
			t.Errorf("exit code %d: %s", code, errs)
		}
		if code, _, errs := b.run(t, command, "-ca", "empty.pem"); code != 2 ||
			!strings.Contains(errs, "has no PEM certificate") {
			t.Errorf("exit code %d: %s", code, errs)
		}
	}
}

// The advice for firewalls contains the port of the authority.
func TestAdviceNamesPort(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	b.transport = testkit.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED })
	for host, want := range map[string]string{
		"login.example.internal:8443": "connections to login.example.internal on port 8443,",
		"login.example.internal":      "connections to login.example.internal on port 443,",
	} {
		if code, out, _ := b.run(t, "doctor", "-cloud", host, scopeOfB); code != 1 || !strings.Contains(out, want) {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
}
