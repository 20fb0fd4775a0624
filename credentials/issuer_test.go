package credentials_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
)

const (
	issuer  = "https://issuer.example"
	subject = "system:serviceaccount:shop:orders"
)

// idp is a token issuer that the app trusts.
type idp struct {
	*fakeEntra
	key *ecdsa.PrivateKey
}

func (e *fakeEntra) trust(t testing.TB) *idp {
	t.Helper()
	p := &idp{fakeEntra: e}
	p.newKey(t)
	p.onlyKey()
	return p
}

func (p *idp) newKey(t testing.TB) {
	t.Helper()
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
}

// addKey makes the app trust the issuer's key in addition to the others.
func (p *idp) addKey() { p.trustKey(false) }

// onlyKey makes the app trust the issuer's key and no other.
func (p *idp) onlyKey() { p.trustKey(true) }

func (p *idp) trustKey(alone bool) {
	fed := entratest.FederatedCredential{Issuer: issuer, Subject: subject, Key: p.key.Public()}
	p.UpdateCredentials("daemon", func(a *entratest.App) {
		if alone {
			a.Federated = nil
		}
		a.Federated = append(a.Federated, fed)
	})
}

// token returns a new token of the issuer. No two tokens are equal.
func (p *idp) token(t testing.TB, life time.Duration) string {
	t.Helper()
	s, err := p.sign(time.Now().Add(life))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *idp) sign(expiry time.Time) (string, error) {
	claims := jwt.MapClaims{"iss": issuer, "sub": subject, "aud": credentials.Audience, "jti": rand.Text()}
	if !expiry.IsZero() {
		claims["exp"] = expiry.Unix()
	}
	return jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(p.key)
}

// vault stores a secret and counts its reads.
type vault struct {
	mu     sync.Mutex // guards the fields below
	secret string
	reads  int
}

func newVault(secret string) *vault { return &vault{secret: secret} }

func (v *vault) get(context.Context) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reads++
	return v.secret, nil
}

func (v *vault) put(secret string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secret = secret
}

func (v *vault) readCount() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reads
}
