package entra

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// Credential is how an app proves to Entra that it is the app: make one with [Secret],
// [Certificate] or [Assertion]. It may be shared by clients and used concurrently. The
// zero value is no credential. Nothing of it is printed or marshaled.
//
// Tokens belong to the credential that they were got with: clients that share a cache
// share tokens only if they have the same secret or certificate, or the same Credential
// value. So nobody gets a token by naming an app's IDs with a credential that Entra
// would refuse.
type Credential struct {
	// A func, because that is the one thing that fmt prints as an address only,
	// wherever it stands.
	msal func() (confidential.Credential, error)
	id   string // in every cache key
}

// Format prints that there is a credential, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.Credential{...}") }

// fingerprintKey keeps the fingerprints of one process from being compared with those of
// a guess made elsewhere.
var fingerprintKey = []byte(rand.Text())

// fingerprint tells credentials apart without giving anything of them away.
func fingerprint(kind string, parts ...[]byte) string {
	h := hmac.New(sha256.New, fingerprintKey)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return kind + ":" + hex.EncodeToString(h.Sum(nil)[:12])
}

// Secret is a client secret, called the value (not the ID) of a secret in the Entra
// admin center (RFC 6749, section 2.3.1). Certificates and federated credentials are
// safer, since what they send is of no use to anybody else.
func Secret(secret string) Credential {
	return Credential{id: fingerprint("secret", []byte(secret)), msal: func() (confidential.Credential, error) {
		if secret == "" {
			return confidential.Credential{}, refuse("invalid_client", "the client secret is empty")
		}
		if strings.ContainsFunc(secret, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
			return confidential.Credential{}, refuse("invalid_client",
				"the client secret has white space or a control character in it, as a line feed from a file; Entra's secrets have none")
		}
		return confidential.NewCredFromSecret(secret)
	}}
}

// Certificate is a certificate registered with the app and its RSA private key, an
// *[rsa.PrivateKey]. For each request MSAL signs a client assertion with it (RFC 7523,
// section 2.2; PS256). certs holds the certificate that belongs to key, in any place,
// and may hold the chain above it. Microsoft's CertFromPEM, in MSAL's package
// confidential, reads both from a PEM file.
func Certificate(certs []*x509.Certificate, key crypto.PrivateKey) Credential {
	certs = slices.Clone(certs)
	var parts [][]byte
	for _, c := range certs {
		if c != nil {
			parts = append(parts, c.Raw)
		}
	}
	return Credential{id: fingerprint("certificate", parts...), msal: func() (confidential.Credential, error) {
		if len(certs) == 0 {
			return confidential.Credential{}, refuse("invalid_client", "the certificate credential has no certificate")
		}
		k, ok := key.(*rsa.PrivateKey)
		if !ok || k == nil {
			return confidential.Credential{}, refuse("invalid_client",
				"the certificate credential needs its RSA private key, an *rsa.PrivateKey, but has %T; Entra accepts no other kind", key)
		}
		cred, err := confidential.NewCredFromCert(certs, k)
		if err != nil {
			return confidential.Credential{}, refuse("invalid_client",
				"the private key does not belong to the certificate; give the certificate that was made for it, alone or in its chain")
		}
		return cred, nil
	}}
}

// AssertionRequest says what a client assertion is wanted for.
type AssertionRequest struct {
	ClientID      string // the assertion's subject, and its issuer if the app signs it itself
	TokenEndpoint string // the assertion's audience if the app signs it itself
}

// Assertion is a callback that returns a client assertion: a JWT that proves who the app
// is, signed by the app itself or by an issuer that the app registration trusts as a
// federated credential, such as a Kubernetes cluster (RFC 7523, section 2.2).
//
// get is called for every request to Entra, perhaps concurrently, and must keep what is
// expensive to get. It must return when its context ends, which is when the request
// does. Its error becomes the Err of an [*Error] with the code "invalid_client"; if it is
// an [*Error] that is Temporary, so is that one.
func Assertion(get func(context.Context, AssertionRequest) (string, error)) Credential {
	id := fmt.Sprintf("assertion:%d", assertions.Add(1))
	return Credential{id: id, msal: func() (confidential.Credential, error) {
		if get == nil {
			return confidential.Credential{}, refuse("invalid_client", "the assertion credential has no callback")
		}
		return confidential.NewCredFromAssertionCallback(func(ctx context.Context, o confidential.AssertionRequestOptions) (string, error) {
			assertion, err := get(ctx, AssertionRequest{ClientID: o.ClientID, TokenEndpoint: o.TokenEndpoint})
			if err == nil && assertion == "" {
				err = errors.New("it returned an empty assertion")
			}
			if err != nil {
				exchangeOf(ctx).fail(assertionFailed(err))
			}
			return assertion, err
		}), nil
	}}
}

// assertions counts the Credentials that Assertion made, to tell them apart.
var assertions atomic.Int64

func assertionFailed(err error) *Error {
	e := &Error{Code: "invalid_client", Err: err}
	text := err.Error()
	if own, ok := errorAs[*Error](err); ok {
		text = own.Description
		if own.Temporary() {
			e.Code, e.StatusCode, e.RetryAfter = own.Code, own.StatusCode, own.RetryAfter
		}
	}
	e.Description = "the assertion callback failed: " + redactor{}.text(text, 300)
	return e
}
