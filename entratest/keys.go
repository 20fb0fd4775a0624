package entratest

import (
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A signingKey signs tokens and is published with a self-signed certificate.
type signingKey struct {
	private *rsa.PrivateKey
	kid     string // the SHA-1 thumbprint of the certificate, as in Entra
	der     []byte // the certificate
}

// A keyPool has the keys of all servers of the process. Key n of every server is
// key n of the pool, because tests create many servers and RSA keys are slow to
// generate.
type keyPool struct {
	mu   sync.Mutex // guards keys
	keys []*signingKey
}

var (
	sharedKeys keyPool // sign the tokens of all apps
	customKeys keyPool // sign the tokens of apps with App.CustomSigningKey
)

// foreignKey returns a key that no server publishes.
var foreignKey = sync.OnceValue(newSigningKey)

func (p *keyPool) key(n int) *signingKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.keys) <= n {
		p.keys = append(p.keys, newSigningKey())
	}
	return p.keys[n]
}

func newSigningKey() *signingKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("entratest: generate key: " + err.Error())
	}
	// The certificate is also valid in a synctest bubble, which starts in 2000.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("entratest: create certificate: " + err.Error())
	}
	sum := thumbprint(der)
	return &signingKey{private: key, kid: b64.EncodeToString(sum[:]), der: der}
}

// thumbprint returns the SHA-1 thumbprint of a certificate, by which Entra names it. The
// thumbprint protects nothing, so it is also computed if GODEBUG=fips140=only prohibits SHA-1.
func thumbprint(der []byte) (sum [sha1.Size]byte) {
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(der) })
	return sum
}

// keyRing lists the shared keys that a server uses. Server.mu guards it.
type keyRing struct {
	published []int // in the order of announcement
	signing   int   // one of published
	next      int   // the next key to announce
}

// A servicePrincipal is an app in a tenant. A custom signing key belongs to it.
type servicePrincipal struct{ clientID, tenantID string }

// sharedKey returns the shared key with a number: one of Config.SigningKeys, or one that
// all servers of the process share.
func (s *Server) sharedKey(n int) *signingKey {
	if n < len(s.ownKeys) {
		return s.ownKeys[n]
	}
	return sharedKeys.key(n)
}

// NewSigningKey returns a new key and certificate for SigningKeys of a [Config].
func NewSigningKey() tls.Certificate {
	key := newSigningKey()
	return tls.Certificate{Certificate: [][]byte{key.der}, PrivateKey: key.private}
}

func parseSigningKeys(certs []tls.Certificate) ([]*signingKey, error) {
	var keys []*signingKey
	for _, c := range certs {
		private, ok := c.PrivateKey.(*rsa.PrivateKey)
		if !ok || len(c.Certificate) == 0 {
			return nil, errors.New("a key is not an RSA key with a certificate")
		}
		sum := thumbprint(c.Certificate[0])
		keys = append(keys, &signingKey{private: private, kid: b64.EncodeToString(sum[:]), der: c.Certificate[0]})
	}
	return keys, nil
}

// signingKey returns the key that signs tokens for an app in a tenant.
func (s *Server) signingKey(app *App, tenant *Tenant) *signingKey {
	s.mu.Lock()
	if !app.CustomSigningKey {
		n := s.keys.signing
		s.mu.Unlock()
		return s.sharedKey(n)
	}
	owner := servicePrincipal{app.ClientID, tenant.ID}
	n, ok := s.customKeys[owner]
	if !ok {
		n = len(s.customKeys)
		s.customKeys[owner] = n
	}
	s.mu.Unlock()
	return customKeys.key(n)
}

// AnnounceKey publishes a new key and returns its kid. The key does not sign
// tokens before the next call to [Server.RotateKeys]. Entra, too, publishes keys
// before it uses them.
func (s *Server) AnnounceKey() (kid string) {
	s.mu.Lock()
	n := s.announce()
	s.mu.Unlock()
	return s.sharedKey(n).kid
}

// announce publishes a key. The caller holds s.mu.
func (s *Server) announce() int {
	n := s.keys.next
	s.keys.next++
	s.keys.published = append(s.keys.published, n)
	return n
}

// RotateKeys makes the server sign with the newest announced key and returns its
// kid. If the signing key is already the newest, RotateKeys announces a new one.
// Previous keys stay published until [Server.RetireKeys].
func (s *Server) RotateKeys() (kid string) {
	s.mu.Lock()
	newest := s.keys.published[len(s.keys.published)-1]
	if newest == s.keys.signing {
		newest = s.announce()
	}
	s.keys.signing = newest
	s.mu.Unlock()
	return s.sharedKey(newest).kid
}

// RetireKeys stops publishing all keys except the signing key. Tokens signed
// with other keys can no longer be verified.
func (s *Server) RetireKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.published = []int{s.keys.signing}
}

// publishedKey returns the published key with the given kid, or nil.
func (s *Server) publishedKey(kid string) *signingKey {
	s.mu.Lock()
	published, custom := slices.Clone(s.keys.published), len(s.customKeys)
	s.mu.Unlock()
	for _, n := range published {
		if key := s.sharedKey(n); key.kid == kid {
			return key
		}
	}
	for n := range custom {
		if key := customKeys.key(n); key.kid == kid {
			return key
		}
	}
	return nil
}

// handleKeys serves /{tenant}/discovery/v2.0/keys, a JWK set (RFC 7517) whose
// keys have Microsoft's issuer member, and /{tenant}/discovery/keys, whose keys do
// not have it
// (https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer).
// The keys of an app with a custom signing key are those of its service principal, so
// the path must name the tenant
// (https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-signature).
func (s *Server) handleKeys(r *request) *response {
	var published []*signingKey
	app := s.registry.appByID[strings.ToLower(r.form.Get("appid"))]
	if app != nil && app.CustomSigningKey && r.tenant != nil && app.worksIn(r.tenant) {
		published = []*signingKey{s.signingKey(app, r.tenant)}
	} else {
		s.mu.Lock()
		numbers := slices.Clone(s.keys.published)
		s.mu.Unlock()
		for _, n := range numbers {
			published = append(published, s.sharedKey(n))
		}
	}
	type jwk struct {
		Kty    string   `json:"kty"`
		Use    string   `json:"use"`
		Kid    string   `json:"kid"`
		X5t    string   `json:"x5t"`
		N      string   `json:"n"`
		E      string   `json:"e"`
		X5c    []string `json:"x5c"`
		Cloud  string   `json:"cloud_instance_name"`
		Issuer string   `json:"issuer,omitempty"` // only in the v2.0 set
	}
	v2 := strings.Contains(strings.ToLower(r.http.URL.Path), "/v2.0/")
	tid := "{tenantid}"
	if r.tenant != nil {
		tid = r.tenant.ID
	}
	keys := make([]jwk, 0, len(published))
	for _, key := range published {
		k := jwk{
			Kty: "RSA", Use: "sig", Kid: key.kid, X5t: key.kid,
			N:     b64.EncodeToString(key.private.N.Bytes()),
			E:     b64.EncodeToString(big.NewInt(int64(key.private.E)).Bytes()),
			X5c:   []string{base64.StdEncoding.EncodeToString(key.der)},
			Cloud: cloudAt(r.base).name,
		}
		if v2 {
			k.Issuer = s.registry.v2Issuer(r.base, tid)
		}
		keys = append(keys, k)
	}
	resp := jsonResponse(http.StatusOK, map[string]any{"keys": keys})
	resp.header.Set("Cache-Control", "max-age=86400, private")
	return resp
}
