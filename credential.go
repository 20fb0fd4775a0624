package entra

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// Credential is how an app proves to Entra that it is the app: make one with [Secret],
// [Certificate] or [Assertion]. It may be shared by clients and used concurrently. The
// zero value is no credential. Nothing of it is printed or marshaled.
type Credential struct {
	// A func, because that is the one thing that fmt prints as an address only,
	// wherever it stands.
	msal func() (confidential.Credential, error)
}

// Format prints that there is a credential, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.Credential{...}") }

// Secret is a client secret, called the value (not the ID) of a secret in the Entra
// admin center (RFC 6749, section 2.3.1). Certificates and federated credentials are
// safer, since what they send is of no use to anybody else.
func Secret(secret string) Credential {
	return Credential{func() (confidential.Credential, error) {
		if secret == "" {
			return confidential.Credential{}, refuse("invalid_client", "the client secret is empty")
		}
		return confidential.NewCredFromSecret(secret)
	}}
}

// Certificate is a certificate registered with the app and its RSA private key, an
// *[rsa.PrivateKey]. For each request MSAL signs a client assertion with it (RFC 7523,
// section 2.2; PS256). certs holds the certificate that belongs to key, in any place,
// and may hold the chain above it.
func Certificate(certs []*x509.Certificate, key crypto.PrivateKey) Credential {
	certs = slices.Clone(certs)
	return Credential{func() (confidential.Credential, error) {
		if len(certs) == 0 {
			return confidential.Credential{}, refuse("invalid_client", "the certificate credential has no certificate")
		}
		k, ok := key.(*rsa.PrivateKey)
		if !ok || k == nil {
			return confidential.Credential{}, refuse("invalid_client",
				"the certificate credential needs its RSA private key, an *rsa.PrivateKey, but has a %T; Entra accepts no other kind", key)
		}
		cred, err := confidential.NewCredFromCert(certs, k)
		if err != nil {
			return confidential.Credential{}, refuse("invalid_client",
				"the private key belongs to none of the %d certificates; give the certificate that was made for it", len(certs))
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
// expensive to get. Its context ends when the request does. Its error becomes the cause
// of an [Error] with the code "invalid_client".
func Assertion(get func(context.Context, AssertionRequest) (string, error)) Credential {
	return Credential{func() (confidential.Credential, error) {
		if get == nil {
			return confidential.Credential{}, refuse("invalid_client", "the assertion credential has no callback")
		}
		return confidential.NewCredFromAssertionCallback(func(ctx context.Context, o confidential.AssertionRequestOptions) (string, error) {
			assertion, err := get(ctx, AssertionRequest{ClientID: o.ClientID, TokenEndpoint: o.TokenEndpoint})
			if err == nil && assertion == "" {
				err = refuse("invalid_client", "the assertion callback returned an empty assertion")
			}
			if err != nil {
				exchangeOf(ctx).fail(&Error{
					Code: "invalid_client", Description: "the assertion callback failed: " + err.Error(), cause: err,
				})
			}
			return assertion, err
		}), nil
	}}
}
