package entra

import (
	"context"
	"crypto"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/internal/safecall"
)

// CertificateOptions control how a certificate is used.
type CertificateOptions struct {
	// SendChain controls whether assertions contain the certificates (x5c). An app
	// registration that trusts a subject name and issuer needs them; renewed certificates
	// then need no registration. By default only the thumbprint is sent.
	SendChain bool
	// RS256 selects RSASSA-PKCS1-v1_5 with the SHA-1 thumbprint (x5t), for keys and
	// authorities that support nothing newer. By default assertions are signed with
	// PS256 and contain the SHA-256 thumbprint (x5t#S256). RS256 is an error if
	// GODEBUG=fips140=only prohibits SHA-1.
	RS256 bool
}

// Certificate returns a credential for a certificate that is registered with the app, and
// its RSA private key of at least 2048 bits. key is an *[rsa.PrivateKey] or, for a key in a
// hardware module or a vault, any [crypto.Signer] whose public key is an *[rsa.PublicKey].
// For each request it signs a client assertion that is valid for ten minutes (RFC 7523,
// section 2.2). If opts is nil, the default options are used.
//
// certs contains the certificate that belongs to key, at any index. The chain above it may
// follow, from the lowest to the highest. If several belong to key, the first is used. certs
// and opts are copied. The certificates and the key must not be modified.
// Package credentials reads both from files.
//
// Credentials with a key that is not an *[rsa.PrivateKey] are never [Credential.Equal], so
// create such a Credential once and reuse it. Its signer is called concurrently, without a
// context, and no request waits for it longer than its own time-out. The signer's error
// becomes the Err of an [*Error] with the code "invalid_client". That is temporary if the
// error is a time-out or a temporary [*Error].
//
// Source: "Microsoft identity platform application authentication certificate
// credentials".
func Certificate(certs []*x509.Certificate, key crypto.PrivateKey, opts *CertificateOptions) Credential {
	if opts == nil {
		opts = &CertificateOptions{}
	}
	parts := [][]byte{fmt.Append(nil, *opts)}
	for _, c := range certs {
		if c != nil {
			parts = append(parts, c.Raw)
		}
	}
	s, invalid := newAssertionSigner(certs, key, *opts)
	id := fingerprint("certificate", parts...)
	if !isLocalKey(key) {
		id = fmt.Sprintf("signer:%d", serials.Add(1))
	}
	var leaf *x509.Certificate
	if s != nil {
		leaf = s.leaf
	}
	return newCredential(candidate{id: id, msal: confidential.NewCredFromAssertionCallback(s.assertion)}, invalid).
		WithInfo(func() CredentialInfo { return certificateInfo(leaf) })
}

// isLocalKey reports whether key contains its private part. Only such a key proves that the
// program owns the certificate, because the public part is known to others.
func isLocalKey(key crypto.PrivateKey) bool {
	k, ok := key.(*rsa.PrivateKey)
	return ok && k != nil && k.N != nil && k.D != nil && k.Validate() == nil
}

// An assertionSigner signs client assertions.
type assertionSigner struct {
	header  string // base64url
	leaf    *x509.Certificate
	key     crypto.Signer
	opts    crypto.SignerOpts
	limiter safecall.Limiter // for a key that is not local
}

const minKeyBits = 2048

func newAssertionSigner(
	certs []*x509.Certificate, key crypto.PrivateKey, o CertificateOptions,
) (*assertionSigner, *Error) {
	signer, ok := key.(crypto.Signer)
	if v := reflect.ValueOf(key); !ok || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errorf("invalid_client", "the certificate credential needs an RSA private key, an "+
			"*rsa.PrivateKey or another crypto.Signer, got %T", key)
	}
	public, ok := signer.Public().(*rsa.PublicKey)
	switch {
	case !ok:
		return nil, errorf("invalid_client", "the certificate's private key, of type %T, is not an RSA key: its "+
			"public key has type %T; "+
			"Entra accepts only RSA keys", key, signer.Public())
	case public == nil || public.N == nil:
		return nil, errorf("invalid_client", "the private key of the certificate is empty")
	case public.N.BitLen() < minKeyBits:
		return nil, errorf("invalid_client", "the certificate's RSA key has %d bits; it needs at least "+
			"%d", public.N.BitLen(), minKeyBits)
	}
	var leaf *x509.Certificate
	var chain []string
	found := 0
	for _, c := range certs {
		switch {
		case c == nil:
			continue
		case leaf == nil && public.Equal(c.PublicKey):
			leaf = c
		default:
			chain = append(chain, base64.StdEncoding.EncodeToString(c.Raw))
		}
		found++
	}
	switch {
	case found == 0:
		return nil, errorf("invalid_client", "the certificate credential has no certificate")
	case leaf == nil:
		return nil, errorf("invalid_client", "the private key does not belong to the certificate; pass the "+
			"certificate that was issued for it, "+
			"alone or with its chain")
	}
	// RFC 7515, section 4.1.
	header := struct {
		Algorithm string   `json:"alg"`
		Type      string   `json:"typ"`
		SHA256    string   `json:"x5t#S256,omitempty"`
		SHA1      string   `json:"x5t,omitempty"`
		Chain     []string `json:"x5c,omitempty"`
	}{Algorithm: "PS256", Type: "JWT"}
	s := &assertionSigner{
		leaf: leaf, key: signer, limiter: safecall.NewLimiter(),
		opts: &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256},
	}
	if o.RS256 && fips140.Enforced() {
		return nil, errorf("invalid_client", "CertificateOptions.RS256 needs the certificate's SHA-1 thumbprint, "+
			"but this program prohibits SHA-1 (GODEBUG=fips140=only); use PS256")
	}
	if o.RS256 {
		sum := sha1.Sum(leaf.Raw)
		header.Algorithm, header.SHA1, s.opts = "RS256", base64.RawURLEncoding.EncodeToString(sum[:]), crypto.SHA256
	} else {
		sum := sha256.Sum256(leaf.Raw)
		header.SHA256 = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if o.SendChain {
		header.Chain = append([]string{base64.StdEncoding.EncodeToString(leaf.Raw)}, chain...)
	}
	s.header = encodeJWTPart(header)
	return s, nil
}

// assertionLifetime is the longest lifetime that Microsoft's documentation recommends.
const assertionLifetime = 10 * time.Minute

// assertion signs an assertion for MSAL.
func (s *assertionSigner) assertion(ctx context.Context, o confidential.AssertionRequestOptions) (string, error) {
	now := time.Now()
	signed := s.header + "." + encodeJWTPart(struct {
		Audience  string `json:"aud"`
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		ID        string `json:"jti"`
		NotBefore int64  `json:"nbf"`
		IssuedAt  int64  `json:"iat"`
		Expires   int64  `json:"exp"`
	}{o.TokenEndpoint, o.ClientID, o.ClientID, newGUID(), now.Unix(), now.Unix(), now.Add(assertionLifetime).Unix()})
	digest := sha256.Sum256([]byte(signed))
	signature, err := s.sign(ctx, digest[:])
	if err != nil {
		failed := callbackFailed(ctx, "the certificate's key failed to sign", err)
		return "", exchangeFromContext(ctx).unauthenticated(failed, false)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (s *assertionSigner) sign(ctx context.Context, digest []byte) ([]byte, error) {
	if _, local := s.key.(*rsa.PrivateKey); local {
		return s.key.Sign(rand.Reader, digest, s.opts)
	}
	more := exchangeFromContext(ctx).candidate.more
	return callWithin(ctx, s.limiter, more, func(context.Context) ([]byte, error) {
		return s.key.Sign(rand.Reader, digest, s.opts)
	})
}

// encodeJWTPart returns v as JSON in base64url, like the parts of a JWT.
func encodeJWTPart(v any) string {
	b, _ := json.Marshal(v) // strings and numbers always marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

// newGUID returns a random UUID (RFC 9562, section 5.4).
func newGUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
