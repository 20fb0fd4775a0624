package entratest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A signingKey signs tokens and is published with a self-signed certificate.
type signingKey struct {
	private *rsa.PrivateKey
	kid     string // the SHA-1 thumbprint of the certificate, as in Entra
	der     []byte // the certificate
}

// keyPool has the keys of all servers of the process. Key n of every server is
// key n of the pool, because tests create many servers and RSA keys are slow to
// generate.
var keyPool struct {
	sync.Mutex // guards keys
	keys       []*signingKey
}

// foreignKey returns a key that no server publishes.
var foreignKey = sync.OnceValue(newSigningKey)

func poolKey(n int) *signingKey {
	keyPool.Lock()
	defer keyPool.Unlock()
	for len(keyPool.keys) <= n {
		keyPool.keys = append(keyPool.keys, newSigningKey())
	}
	return keyPool.keys[n]
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
	sum := sha1.Sum(der)
	return &signingKey{private: key, kid: b64.EncodeToString(sum[:]), der: der}
}

// keyRing lists the keys of the pool that a server uses. Server.mu guards it.
type keyRing struct {
	published []int // in the order of announcement
	signing   int   // one of published
	next      int   // the next key to announce
}

func (s *Server) signingKey() *signingKey {
	s.mu.Lock()
	n := s.keys.signing
	s.mu.Unlock()
	return poolKey(n)
}

// AnnounceKey publishes a new key and returns its kid. The key does not sign
// tokens before the next call to [Server.RotateKeys]. Entra, too, publishes keys
// before it uses them.
func (s *Server) AnnounceKey() (kid string) {
	s.mu.Lock()
	n := s.announce()
	s.mu.Unlock()
	return poolKey(n).kid
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
	return poolKey(newest).kid
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
	published := slices.Clone(s.keys.published)
	s.mu.Unlock()
	for _, n := range published {
		if key := poolKey(n); key.kid == kid {
			return key
		}
	}
	return nil
}

// handleKeys serves /{tenant}/discovery/v2.0/keys, a JWK set (RFC 7517) whose
// keys have Microsoft's issuer member
// (https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer).
func (s *Server) handleKeys(r *request) *response {
	s.mu.Lock()
	published := slices.Clone(s.keys.published)
	s.mu.Unlock()
	type jwk struct {
		Kty    string   `json:"kty"`
		Use    string   `json:"use"`
		Kid    string   `json:"kid"`
		X5t    string   `json:"x5t"`
		N      string   `json:"n"`
		E      string   `json:"e"`
		X5c    []string `json:"x5c"`
		Cloud  string   `json:"cloud_instance_name"`
		Issuer string   `json:"issuer"`
	}
	tid := "{tenantid}"
	if r.tenant != nil {
		tid = r.tenant.ID
	}
	keys := make([]jwk, 0, len(published))
	for _, n := range published {
		key := poolKey(n)
		keys = append(keys, jwk{
			Kty: "RSA", Use: "sig", Kid: key.kid, X5t: key.kid,
			N:      b64.EncodeToString(key.private.N.Bytes()),
			E:      b64.EncodeToString(big.NewInt(int64(key.private.E)).Bytes()),
			X5c:    []string{base64.StdEncoding.EncodeToString(key.der)},
			Cloud:  cloudAt(r.base).name,
			Issuer: v2Issuer(r.base, tid),
		})
	}
	resp := jsonResponse(http.StatusOK, map[string]any{"keys": keys})
	resp.header.Set("Cache-Control", "max-age=86400, private")
	return resp
}
