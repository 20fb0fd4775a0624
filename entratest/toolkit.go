package entratest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// TB is the part of [testing.TB] that a [Test] needs.
type TB interface {
	Context() context.Context
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A Test is a [Server] that belongs to a test. Its methods fail the test instead of returning
// an error. If the test fails, its output lists the last requests to the server.
// A Test must be created with [NewTest] or [Server.Test].
type Test struct {
	*Server
	t TB
}

// NewTest returns a server with the tenants, apps and users of cfg for the test t. If t is nil, as in
// an example, a failure panics.
func NewTest(t TB, cfg Config) *Test {
	if t == nil {
		t = noTest{}
	}
	t.Helper()
	s, err := newServer(cfg)
	if err != nil {
		t.Fatalf("entratest: invalid Config: %v", err)
	}
	return s.Test(t)
}

// Test is like [NewTest] for a server that exists. It returns a Test with s.
func (s *Server) Test(t TB) *Test {
	if t == nil {
		t = noTest{}
	}
	test := &Test{Server: s, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", test.journalText())
		}
	})
	return test
}

// noTest is the TB of a program that is not a test.
type noTest struct{}

func (noTest) Context() context.Context          { return context.Background() }
func (noTest) Helper()                           {}
func (noTest) Cleanup(func())                    {}
func (noTest) Failed() bool                      { return false }
func (noTest) Logf(string, ...any)               {}
func (noTest) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// maxLogged is the number of requests in the output of a failed test.
const maxLogged = 50

// journalText returns the last requests, one on each line.
func (t *Test) journalText() string {
	requests := t.Requests()
	if len(requests) == 0 {
		return "The fake Entra did not receive a request."
	}
	var b strings.Builder
	last := requests[max(0, len(requests)-maxLogged):]
	fmt.Fprintf(&b, "The last %d of %d requests to the fake Entra:", len(last), len(requests))
	for _, r := range last {
		fmt.Fprintf(&b, "\n  %s %d %s %s", r.Time.Format("15:04:05.000"), r.Status, r.Method, r.Path)
		client := r.ClientID
		if app := t.registry.appByID[strings.ToLower(client)]; app != nil {
			client = app.Name
		}
		for _, text := range []string{r.GrantType, client, r.Form.Get("scope"), r.Error} {
			if text != "" {
				fmt.Fprintf(&b, " %s", printable(text))
			}
		}
		if r.AADSTS != 0 {
			fmt.Fprintf(&b, " AADSTS%d", r.AADSTS)
		}
		if r.Injected {
			b.WriteString(" (injected)")
		}
	}
	return b.String()
}

// App returns the app with the given name, like [Server.App]. An unknown name fails the test.
func (t *Test) App(name string) App {
	t.t.Helper()
	if t.registry.appByName[name] == nil {
		t.t.Fatalf("entratest: unknown app %q. The apps are %s", name, quoted(maps.Keys(t.registry.appByName)))
	}
	return t.Server.App(name)
}

// User returns the user with the given username, like [Server.User]. An unknown name fails the test.
func (t *Test) User(username string) User {
	t.t.Helper()
	if t.registry.userByName[strings.ToLower(username)] == nil {
		t.t.Fatalf("entratest: unknown user %q. The users are %s", username, quoted(maps.Keys(t.registry.userByName)))
	}
	return t.Server.User(username)
}

// Tenant returns the tenant with the given ID, domain or Name. An unknown name fails the test.
func (t *Test) Tenant(name string) Tenant {
	t.t.Helper()
	if found := t.registry.tenantByName[strings.ToLower(name)]; found != nil {
		return *found
	}
	var names []string
	for _, tenant := range t.registry.tenants {
		if tenant.Name == name {
			return *tenant
		}
		names = append(names, tenant.Name)
	}
	t.t.Fatalf("entratest: unknown tenant %q. The tenants are %s", name, quoted(slices.Values(names)))
	return Tenant{}
}

// quoted returns names in order, with quotes.
func quoted(names func(yield func(string) bool)) string {
	var list []string
	for _, name := range slices.Sorted(names) {
		list = append(list, fmt.Sprintf("%q", name))
	}
	return strings.Join(list, ", ")
}

// clientKeys are the keys of client certificates, by number of the certificate.
var (
	clientKeys   keyPool
	clientNumber atomic.Int64
)

// Certificate creates a client certificate and registers it with an app. Leaf is the certificate,
// and PrivateKey is an *rsa.PrivateKey. The certificate is valid for a year.
func (t *Test) Certificate(app string) tls.Certificate {
	t.t.Helper()
	t.App(app)
	key := clientKeys.key(int(clientNumber.Add(1)-1) % maxClientKeys).private
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: app},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	cert := mustCertificate(template, template, key, key)
	t.UpdateCredentials(app, func(a *App) { a.Certificates = append(a.Certificates, cert.Leaf) })
	return cert
}

// maxClientKeys bounds the client keys of a process. Certificates share them, because RSA keys are slow to generate.
const maxClientKeys = 4

// ServiceAccountIssuer is the issuer of the tokens of [Test.ServiceAccountToken].
const ServiceAccountIssuer = "https://oidc.cluster.example/"

// ServiceAccountToken returns a token of a Kubernetes service account for an app, such as
// "system:serviceaccount:shop:orders". It registers the federated credential that accepts the token.
// The token is valid for an hour, for the audience api://AzureADTokenExchange. Each call returns
// another token, as when Kubernetes rotates the file.
func (t *Test) ServiceAccountToken(app, subject string) string {
	t.t.Helper()
	key := foreignKey()
	known := slices.ContainsFunc(t.App(app).Federated, func(f FederatedCredential) bool {
		return f.Issuer == ServiceAccountIssuer && f.Subject == subject
	})
	if !known {
		t.UpdateCredentials(app, func(a *App) {
			a.Federated = append(a.Federated, FederatedCredential{
				Issuer: ServiceAccountIssuer, Subject: subject, Key: &key.private.PublicKey,
			})
		})
	}
	now := time.Now()
	return signJWT(key.private, claimSet{"typ": "JWT", "alg": "RS256", "kid": key.kid}, claimSet{
		"iss": ServiceAccountIssuer, "sub": subject, "aud": []string{tokenExchangeURI}, "jti": newGUID(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
}
