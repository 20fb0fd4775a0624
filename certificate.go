package entra

import (
	"context"
	"crypto"
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
)

// Certificate is [CertificateWith] without options.
func Certificate(certs []*x509.Certificate, key crypto.PrivateKey) Credential {
	return CertificateWith(certs, key, CertificateOptions{})
}

// CertificateOptions say how a certificate is used.
type CertificateOptions struct {
	// SendChain sends the certificates along (x5c), for an app that trusts the subject
	// name and issuer of a certificate rather than the certificate itself, so that a
	// renewed one need not be registered. False: only the thumbprint is sent.
	SendChain bool
	// RS256 signs with RSASSA-PKCS1-v1_5 and names the certificate by its SHA-1
	// thumbprint (x5t), for keys and authorities that know nothing newer. False: PS256
	// with the SHA-256 thumbprint (x5t#S256).
	RS256 bool
}

// CertificateWith is a certificate registered with the app and its RSA private key of at
// least 2048 bits: an *[rsa.PrivateKey] or, where the key cannot be had, as in a hardware
// module or a vault, any [crypto.Signer] whose public key is an *[rsa.PublicKey]. For each
// request it signs a client assertion that is good for ten minutes (RFC 7523, section
// 2.2).
//
// certs holds the certificate that belongs to key, in any place, and may hold the chain
// above it, from the lowest to the highest. If several belong to key, the first is used.
// Package credentials reads both from files.
//
// A signer shows that it has the key by signing alone. So one made twice makes two
// credentials that are not [Credential.Equal] and share no tokens: keep the Credential. A
// signer is called concurrently. It is given no context, but nobody waits for it longer
// than a request may take. Its error becomes the Err of an [*Error] with the code
// "invalid_client"; if it is a time-out or an [*Error] that is Temporary, so is that one.
//
// Source: "Microsoft identity platform application authentication certificate
// credentials".
func CertificateWith(certs []*x509.Certificate, key crypto.PrivateKey, o CertificateOptions) Credential {
	parts := [][]byte{fmt.Append(nil, o)}
	for _, c := range certs {
		if c != nil {
			parts = append(parts, c.Raw)
		}
	}
	s, wrong := newAssertionSigner(certs, key, o)
	id := fingerprint("certificate", parts...)
	if !ownKey(key) {
		id = fmt.Sprintf("signer:%d", values.Add(1))
	}
	var leaf *x509.Certificate
	if s != nil {
		leaf = s.leaf
	}
	return fixed(id, confidential.NewCredFromAssertionCallback(s.assertion), wrong).
		WithInfo(func() CredentialInfo { return certificateInfo(leaf) })
}

// ownKey reports whether key is at hand, so that its public part, which anybody may claim
// who has seen the certificate, says who holds it.
func ownKey(key crypto.PrivateKey) bool {
	k, ok := key.(*rsa.PrivateKey)
	return ok && k != nil && k.N != nil && k.D != nil && k.Validate() == nil
}

// An assertionSigner signs client assertions.
type assertionSigner struct {
	leaf   *x509.Certificate
	header string // in base64
	key    crypto.Signer
	opts   crypto.SignerOpts
	guard  guard // of a key that is not local
}

const minKeyBits = 2048

func newAssertionSigner(certs []*x509.Certificate, key crypto.PrivateKey, o CertificateOptions) (*assertionSigner, *Error) {
	signer, ok := key.(crypto.Signer)
	if v := reflect.ValueOf(key); !ok || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, refuse("invalid_client", "the certificate credential needs its RSA private key, an *rsa.PrivateKey or another crypto.Signer, but has %T", key)
	}
	public, ok := signer.Public().(*rsa.PublicKey)
	switch {
	case !ok:
		return nil, refuse("invalid_client", "the certificate's private key, of type %T, is not an RSA key: its public key is of type %T; Entra accepts no other kind", key, signer.Public())
	case public == nil || public.N == nil:
		return nil, refuse("invalid_client", "the private key of the certificate is empty")
	case public.N.BitLen() < minKeyBits:
		return nil, refuse("invalid_client", "the certificate's RSA key has %d bits; it needs at least %d", public.N.BitLen(), minKeyBits)
	}
	var leaf *x509.Certificate
	var others []string
	found := 0
	for _, c := range certs {
		switch {
		case c == nil:
			continue
		case leaf == nil && public.Equal(c.PublicKey):
			leaf = c
		default:
			others = append(others, base64.StdEncoding.EncodeToString(c.Raw))
		}
		found++
	}
	switch {
	case found == 0:
		return nil, refuse("invalid_client", "the certificate credential has no certificate")
	case leaf == nil:
		return nil, refuse("invalid_client", "the private key does not belong to the certificate; give the certificate that was made for it, alone or in its chain")
	}
	// RFC 7515, section 4.1.
	header := struct {
		Algorithm string   `json:"alg"`
		Type      string   `json:"typ"`
		SHA256    string   `json:"x5t#S256,omitempty"`
		SHA1      string   `json:"x5t,omitempty"`
		Chain     []string `json:"x5c,omitempty"`
	}{Algorithm: "PS256", Type: "JWT"}
	s := &assertionSigner{leaf: leaf, key: signer, guard: newGuard(), opts: &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}}
	if o.RS256 {
		sum := sha1.Sum(leaf.Raw)
		header.Algorithm, header.SHA1, s.opts = "RS256", base64.RawURLEncoding.EncodeToString(sum[:]), crypto.SHA256
	} else {
		sum := sha256.Sum256(leaf.Raw)
		header.SHA256 = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if o.SendChain {
		header.Chain = append([]string{base64.StdEncoding.EncodeToString(leaf.Raw)}, others...)
	}
	s.header = encoded(header)
	return s, nil
}

// assertionLife is what the documentation recommends at most.
const assertionLife = 10 * time.Minute

// assertion signs an assertion for MSAL.
func (s *assertionSigner) assertion(ctx context.Context, o confidential.AssertionRequestOptions) (string, error) {
	now := time.Now()
	signed := s.header + "." + encoded(struct {
		Audience  string `json:"aud"`
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		ID        string `json:"jti"`
		NotBefore int64  `json:"nbf"`
		IssuedAt  int64  `json:"iat"`
		Expires   int64  `json:"exp"`
	}{o.TokenEndpoint, o.ClientID, o.ClientID, newGUID(), now.Unix(), now.Unix(), now.Add(assertionLife).Unix()})
	digest := sha256.Sum256([]byte(signed))
	signature, err := s.sign(ctx, digest[:])
	if err != nil {
		exchangeOf(ctx).unproven(notLoaded(ctx, "the certificate's key does not sign: ", err), unusable)
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (s *assertionSigner) sign(ctx context.Context, digest []byte) ([]byte, error) {
	if _, local := s.key.(*rsa.PrivateKey); local {
		return s.key.Sign(rand.Reader, digest, s.opts)
	}
	return guarded(ctx, s.guard, exchangeOf(ctx).spare, func(context.Context) ([]byte, error) { return s.key.Sign(rand.Reader, digest, s.opts) })
}

// encoded returns v as JSON in base64url, as parts of a JWT are.
func encoded(v any) string {
	b, _ := json.Marshal(v) // strings and numbers marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

// newGUID returns a random UUID (RFC 9562, section 5.4).
func newGUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
