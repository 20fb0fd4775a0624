package entra_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// A rotated credential, of which generations come one after the other. Entra accepts
// what register says.
type rotated struct {
	name       string
	credential entra.Credential
	publish    func(generation int)                       // makes the program see a generation
	register   func(a *entratest.App, generations ...int) // makes Entra accept these and no others
	wrong      int                                        // how many attempts before the right one may be rejected
}

const generations = 4

// rotations are one of each kind of credential that can change.
func rotations(t *testing.T) []rotated {
	var now [4]atomic.Int64
	publish := func(i int) func(int) { return func(g int) { now[i].Store(int64(g)) } }

	secret := func(g int) string { return fmt.Sprintf("secret-of-%d", g) }
	registerSecrets := func(a *entratest.App, valid ...int) {
		a.Secrets, a.ExpiredSecrets = nil, nil
		for g := range generations {
			if slices.Contains(valid, g) {
				a.Secrets = append(a.Secrets, secret(g))
			} else {
				a.ExpiredSecrets = append(a.ExpiredSecrets, secret(g))
			}
		}
	}
	all := make([]entra.Credential, generations)
	for g := range all {
		all[g] = entra.Secret(secret(g))
	}

	certs := make([]*x509.Certificate, generations)
	keys := make([]*rsa.PrivateKey, generations)
	loaded := make([]entra.Credential, generations)
	for g := range certs {
		certs[g], keys[g] = selfSigned(t)
		loaded[g] = entra.Certificate(certs[g:g+1], keys[g], nil)
	}

	federated := func(g int) string {
		assertion, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": "https://cluster.example", "sub": "system:serviceaccount:ns:daemon", "aud": "api://AzureADTokenExchange",
			"exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text(),
		}).SignedString(keys[g])
		if err != nil {
			panic(err)
		}
		return assertion
	}
	assertions := make([]string, generations)
	for g := range assertions {
		assertions[g] = federated(g)
	}
	registerIssuers := func(a *entratest.App, valid ...int) {
		a.Federated = nil
		for _, g := range valid {
			a.Federated = append(a.Federated, entratest.FederatedCredential{Issuer: "https://cluster.example",
				Subject: "system:serviceaccount:ns:daemon", Key: keys[g].Public()})
		}
	}
	registerCertificates := func(a *entratest.App, valid ...int) {
		a.Certificates = nil
		for _, g := range valid {
			a.Certificates = append(a.Certificates, certs[g])
		}
	}
	return []rotated{
		{"secret", entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return entra.Secret(secret(int(now[0].Load()))), nil
		}), publish(0), registerSecrets, 1},
		{"certificate", entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return loaded[now[1].Load()], nil
		}), publish(1), registerCertificates, 1},
		{"assertion", entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			return assertions[now[2].Load()], nil
		}), publish(2), registerIssuers, 1},
		{"list of secrets", entra.CredentialChain(all...), func(int) {}, registerSecrets, generations - 1},
	}
}

// A hundred callers use six cache keys while the credential is replaced and the old one
// revoked, three times. No call fails.
func TestRotationUnderLoad(t *testing.T) {
	scopes := []string{"api://api-a/.default", scopeB, "https://graph.microsoft.com/.default"}
	tenants := []string{entratest.SampleTenant, entratest.SampleOtherTenant}
	keys := len(scopes) * len(tenants)
	for _, r := range rotations(t) {
		for _, overlap := range []bool{false, true} {
			name := r.name
			if overlap {
				name += " with an overlap"
			}
			t.Run(name, func(t *testing.T) {
				e := newEstate()
				e.UpdateCredentials("daemon", func(a *entratest.App) { r.register(a, 0) })
				r.publish(0)
				cfg := e.config("daemon")
				cfg.Credential, cfg.Cache = r.credential, cache.New(cache.Options{})
				var sources []*entra.TokenSource
				for _, tenant := range tenants {
					cfg.TenantID = tenant
					c := testkit.Client(t, cfg)
					for _, scope := range scopes {
						sources = append(sources, clientcreds.TokenSource(c, scope))
					}
				}
				callers := newCallers(100, func(i int) {
					source := sources[i%len(sources)]
					tok, err := source.Token()
					if err != nil {
						t.Error(err)
						return
					}
					source.Invalidate(tok)
				})
				for g := 1; g < generations; g++ {
					callers.settle()
					if overlap {
						e.UpdateCredentials("daemon", func(a *entratest.App) { r.register(a, g-1, g) })
						callers.settle()
						r.publish(g)
						callers.settle()
						e.UpdateCredentials("daemon", func(a *entratest.App) { r.register(a, g) })
						continue
					}
					// The new one is seen only when the old one is gone: both in one step of Entra's.
					e.UpdateCredentials("daemon", func(a *entratest.App) { r.register(a, g); r.publish(g) })
				}
				callers.settle()
				callers.stop()

				stats := cfg.Cache.Stats()
				rejections := e.Count(entratest.Match{Endpoint: "token", Error: "invalid_client"})
				if got, want := e.TokenRequests(), int(stats.Fetches)+rejections; got != want || stats.Failures != 0 {
					t.Errorf("%d requests for %d tokens and %d rejections, %d failures", got, stats.Fetches, rejections,
						stats.Failures)
				}
				most := (generations - 1) * keys * r.wrong
				if overlap && r.wrong == 1 {
					most = 0 // no request is rejected while the old one is still valid
				}
				if rejections > most {
					t.Errorf("%d rejections, want at most %d", rejections, most)
				}
				t.Logf("%d tokens, %d rejections", stats.Fetches, rejections)
			})
		}
	}
}

// callers call repeatedly until they are stopped.
type callers struct {
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	called  sync.Cond
	calls   []int
	stopped bool
}

func newCallers(n int, call func(i int)) *callers {
	c := &callers{calls: make([]int, n)}
	c.called.L = &c.mu
	for i := range n {
		c.running.Go(func() {
			for !c.count(i) {
				call(i)
			}
		})
	}
	return c
}

func (c *callers) count(i int) (stopped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[i]++
	c.called.Broadcast()
	return c.stopped
}

// settle waits until every caller has made a whole call, so that no earlier request is in
// flight.
func (c *callers) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := slices.Clone(c.calls)
	for i := range before {
		for c.calls[i] < before[i]+2 {
			c.called.Wait()
		}
	}
}

func (c *callers) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.running.Wait()
}
