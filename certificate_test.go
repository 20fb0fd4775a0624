package entra_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// vault is a key that only signs.
type vault struct {
	key  crypto.Signer
	fail func() error
}

func (v vault) Public() crypto.PublicKey { return v.key.Public() }

func (v vault) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if v.fail != nil {
		if err := v.fail(); err != nil {
			return nil, err
		}
	}
	return v.key.Sign(random, digest, o)
}

// The assertion is exactly the documented one ("Microsoft identity platform application
// authentication certificate credentials"), for local keys and for signers.
func TestWireCertificate(t *testing.T) {
	cert, key := selfSigned(t)
	other, _ := selfSigned(t)
	one, two := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	x5t, x5tS256 := base64.RawURLEncoding.EncodeToString(one[:]), base64.RawURLEncoding.EncodeToString(two[:])
	x5c := []any{base64.StdEncoding.EncodeToString(cert.Raw), base64.StdEncoding.EncodeToString(other.Raw)}
	for _, tt := range []struct {
		name   string
		o      entra.CertificateOptions
		header map[string]any
	}{
		{"PS256", entra.CertificateOptions{}, map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": x5tS256}},
		{"RS256", entra.CertificateOptions{RS256: true}, map[string]any{"alg": "RS256", "typ": "JWT", "x5t": x5t}},
		{"PS256 with the chain", entra.CertificateOptions{SendChain: true},
			map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": x5tS256, "x5c": x5c}},
		{"RS256 with the chain", entra.CertificateOptions{RS256: true, SendChain: true},
			map[string]any{"alg": "RS256", "typ": "JWT", "x5t": x5t, "x5c": x5c}},
	} {
		for kind, private := range map[string]crypto.PrivateKey{"RSA key": key, "signer": vault{key: key}} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(cert.NotBefore.Add(time.Hour)))
					e := newEstate(func(c *entratest.Config) { c.Apps[0].Certificates = []*x509.Certificate{cert} })
					cfg := e.config("daemon")
					cfg.Credential = entra.Certificate([]*x509.Certificate{nil, other, cert}, private, &tt.o)
					if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token(); err != nil {
						t.Fatal(err)
					}
					assertion := e.Forms()[0].Get("client_assertion")
					wantForms(t, e, url.Values{
						"grant_type":            {"client_credentials"},
						"client_id":             {cfg.ClientID},
						"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
						"client_assertion":      {assertion},
						"client_info":           {"1"},
						"scope":                 {"api://api-b/.default openid offline_access profile"},
					})
					wantAssertion(t, assertion, key, tt.header, map[string]any{
						"aud": tokenURL, "iss": cfg.ClientID, "sub": cfg.ClientID,
						"nbf": float64(time.Now().Unix()), "iat": float64(time.Now().Unix()), "exp": float64(time.Now().Unix() + 600),
					})
				})
			})
		}
	}
}

// wantAssertion compares all of an assertion but its jti, and checks its signature.
func wantAssertion(t *testing.T, assertion string, key *rsa.PrivateKey, header, claims map[string]any) {
	t.Helper()
	parsed, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return key.Public(), nil },
		jwt.WithValidMethods([]string{header["alg"].(string)}))
	if err != nil {
		t.Fatal(err)
	}
	if header["alg"] == "PS256" { // RFC 7518, section 3.5: the salt is as long as the hash
		signed := assertion[:strings.LastIndexByte(assertion, '.')]
		digest := sha256.Sum256([]byte(signed))
		if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], parsed.Signature,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}); err != nil {
			t.Error(err)
		}
	}
	got := map[string]any(parsed.Claims.(jwt.MapClaims))
	id, _ := got["jti"].(string)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("jti %q is not a random GUID", id)
	}
	delete(got, "jti")
	if !reflect.DeepEqual(got, claims) {
		t.Errorf("claims %v, want %v", got, claims)
	}
	if !reflect.DeepEqual(parsed.Header, header) {
		t.Errorf("header %v, want %v", parsed.Header, header)
	}
}

// No two assertions are equal.
func TestAssertionsDiffer(t *testing.T) {
	cert, key := selfSigned(t)
	e := newEstate(func(c *entratest.Config) { c.Apps[0].Certificates = []*x509.Certificate{cert} })
	cfg := e.config("daemon")
	cfg.Credential = entra.Certificate([]*x509.Certificate{cert}, key, nil)
	source := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
	for range 2 {
		tok, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		source.Invalidate(tok)
	}
	ids := map[any]bool{}
	for _, form := range e.Forms() {
		b, err := base64.RawURLEncoding.DecodeString(strings.Split(form.Get("client_assertion"), ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(b, &claims); err != nil {
			t.Fatal(err)
		}
		ids[claims["jti"]] = true
	}
	if len(ids) != 2 {
		t.Errorf("%d different jti in 2 assertions", len(ids))
	}
}

// An app that trusts a subject and issuer accepts a certificate that is not registered.
func TestSubjectNameAndIssuer(t *testing.T) {
	cert, key := selfSigned(t)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	e := newEstate(func(c *entratest.Config) {
		c.Apps[0].TrustedSubjects = []entratest.TrustedSubject{{Subject: "daemon", Roots: roots}}
	})
	for chain, want := range map[bool]string{true: "", false: "invalid_client"} {
		cfg := e.config("daemon")
		cfg.Credential = entra.Certificate([]*x509.Certificate{cert}, key, &entra.CertificateOptions{SendChain: chain})
		_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
		if want == "" && err != nil || want != "" && testkit.Error(t, err).Code != want {
			t.Errorf("with the chain %v: %v", chain, err)
		}
	}
}

// New rejects certificates that cannot work.
func TestInvalidCertificatesAreRejected(t *testing.T) {
	cert, key := selfSigned(t)
	other, _ := selfSigned(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := smallKey(t)
	for _, tt := range []struct {
		name  string
		certs []*x509.Certificate
		key   crypto.PrivateKey
		want  string
	}{
		{"no key", []*x509.Certificate{cert}, nil,
			"the certificate credential needs an RSA private key, an *rsa.PrivateKey or another crypto.Signer, got <nil>"},
		{"a nil key", []*x509.Certificate{cert}, (*rsa.PrivateKey)(nil),
			"the certificate credential needs an RSA private key, an *rsa.PrivateKey or another crypto.Signer, got *rsa.PrivateKey"},
		{"an empty key", []*x509.Certificate{cert}, &rsa.PrivateKey{}, "the private key of the certificate is empty"},
		{"a public key", []*x509.Certificate{cert}, key.Public(),
			"the certificate credential needs an RSA private key, an *rsa.PrivateKey or another crypto.Signer, got *rsa.PublicKey"},
		{"an EC key", []*x509.Certificate{cert}, ec,
			"the certificate's private key, of type *ecdsa.PrivateKey, is not an RSA key: its public key has type *ecdsa.PublicKey; Entra accepts only RSA keys"},
		{"an EC signer", []*x509.Certificate{cert}, vault{key: ec},
			"the certificate's private key, of type entra_test.vault, is not an RSA key: its public key has type *ecdsa.PublicKey; Entra accepts only RSA keys"},
		{"a small key", []*x509.Certificate{cert}, small, "the certificate's RSA key has 1024 bits; it needs at least 2048"},
		{"no certificate", nil, key, "the certificate credential has no certificate"},
		{"a nil certificate", []*x509.Certificate{nil}, key, "the certificate credential has no certificate"},
		{"another's certificate", []*x509.Certificate{other}, vault{key: key},
			"the private key does not belong to the certificate; pass the certificate that was issued for it, alone or with its chain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := entra.Config{TenantID: entratest.SampleTenant, ClientID: entratest.SampleOtherTenant,
				Credential: entra.Certificate(tt.certs, tt.key, nil)}
			_, err := entra.New(cfg)
			if got := testkit.Error(t, err); got.Code != "invalid_client" || got.Description != tt.want || got.StatusCode != 0 {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// smallKey returns a key that crypto/rsa itself would not generate.
func smallKey(t *testing.T) crypto.Signer {
	t.Helper()
	n := new(big.Int).SetBit(big.NewInt(1), 1023, 1)
	return publicOnly{&rsa.PublicKey{N: n, E: 65537}}
}

type publicOnly struct{ *rsa.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.PublicKey }
func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("it has no private part")
}

// A failing signer is reported at once, without a request.
func TestSignerErrorIsReported(t *testing.T) {
	cert, key := selfSigned(t)
	gone := errors.New("the module was removed,\nPIN eyJhbGciOiJub25lIn0.s3cret.")
	for _, tt := range []struct {
		name, want string
		fail       func() error
	}{
		{"with an error", "the certificate's key failed to sign: the module was removed, PIN [redacted]",
			func() error { return gone }},
		{"with a panic", "the certificate's key failed to sign: the function panicked with a value of type string",
			func() error { panic("s3cret") }},
	} {
		e := newEstate()
		cfg := e.config("daemon")
		cfg.Credential = entra.Certificate([]*x509.Certificate{cert}, vault{key, tt.fail}, nil)
		_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
		if got := testkit.Error(t, err); got.Code != "invalid_client" || got.Description != tt.want || got.StatusCode != 0 ||
			got.Temporary() {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if tt.name == "with an error" && !errors.Is(err, gone) {
			t.Error("the signer's error is lost")
		}
		wantForms(t, e)
	}
}

// A signer that hangs delays a request until its context ends, no longer.
func TestHangingSignerEndsWithContext(t *testing.T) {
	cert, key := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		cfg := e.config("daemon")
		repaired := make(chan struct{})
		cfg.Credential = entra.Certificate([]*x509.Certificate{cert},
			vault{key, func() error { <-repaired; return errors.New("too late") }}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := testkit.Client(t, cfg).Exchange(ctx, entra.Grant{Flow: "x", Scopes: []string{"api://api-b/.default"},
			Fetch: oboFetch(e, "api://api-b/.default")})
		if took := time.Since(start); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
		close(repaired)
	})
}

// Concurrent requests use one signer.
func TestSignerIsUsedConcurrently(t *testing.T) {
	cert, key := selfSigned(t)
	e := newEstate(func(c *entratest.Config) { c.Apps[2].Certificates = []*x509.Certificate{cert} })
	if e.App("api-a").Certificates == nil {
		t.Fatal("the sample's apps have changed places")
	}
	cfg := e.config("api-a")
	cfg.Credential = entra.Certificate([]*x509.Certificate{cert}, vault{key: key}, nil)
	c := testkit.Client(t, cfg)
	var wg sync.WaitGroup
	for range 20 {
		fetch := oboFetch(e, "api://api-b/Orders.Read")
		wg.Go(func() {
			if _, err := c.Exchange(t.Context(), entra.Grant{Flow: "x", Scopes: []string{"api://api-b/Orders.Read"},
				Fetch: fetch}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func selfSigned(t testing.TB) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key := testkit.NewRSAKey(t)
	return testkit.Certificate(t, key), key
}
