package entra

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// Credential is how an app proves to Entra that it is the app: [Secret], [Certificate] or
// [Assertion]; [CredentialFunc], which may become another one while the program runs; and
// [CredentialChain], which has several. Package credentials makes them of files, of other services
// and of the environment. It may be shared by clients and used concurrently. The zero value
// is no credential. Nothing of it is printed or marshaled.
//
// Tokens belong to the credential that they were got with: clients that share a cache
// share tokens only if they have the same secret, the same certificate with its key, or the
// same Credential value. So nobody gets a token by naming an app's IDs with a credential
// that Entra would refuse.
//
// What Entra has refused eight times in a row, with a number that means the credential (a
// secret that has ended, an assertion, a certificate that is not registered), is not sent
// for every token that is wanted: at intervals of up to a minute one request finds out
// whether it still is refused, and all others get that refusal at once.
type Credential struct {
	// Funcs, because that is the one thing that fmt prints as an address only, wherever
	// it stands.
	check func() *Error // what is wrong with it in itself
	use   use
	id    string                // in every cache key
	info  func() CredentialInfo // nil if unknown
}

// A use makes an exchange's attempts with a credential, until Entra accepts one or there
// is nothing more to attempt.
type use func(context.Context, *attempts) (*Error, verdict)

// A verdict says what came of a credential.
type verdict int

const (
	settled  verdict = iota // a token, or a failure that no other credential mends
	refused                 // Entra refused the credential
	unusable                // there was nothing to send
)

// Equal reports whether c and d are the same credential: the same secret, the same
// certificates with an *[rsa.PrivateKey] and the same options, or the same value of any
// other kind. The zero Credential is equal to itself alone.
func (c Credential) Equal(d Credential) bool { return c.id == d.id }

// Format prints that there is a credential, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.Credential{...}") }

// fixed makes a credential that is always the same.
func fixed(id string, cred confidential.Credential, wrong *Error) Credential {
	return Credential{
		id:    id,
		check: func() *Error { return wrong },
		use: func(ctx context.Context, a *attempts) (*Error, verdict) {
			return a.make(ctx, id, cred)
		},
	}
}

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
	cred, err := confidential.NewCredFromSecret(secret)
	var wrong *Error
	switch {
	case err != nil:
		wrong = refuse("invalid_client", "the client secret is empty")
	case strings.ContainsFunc(secret, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		wrong = refuse("invalid_client",
			"the client secret has white space or a control character in it, as a line feed from a file; Entra's secrets have none")
	case guid.MatchString(secret):
		wrong = refuse("invalid_client", "the client secret is a GUID, so it is the ID of a secret, or the client's or the tenant's ID; "+
			"use the secret's Value, which the Entra admin center shows only when it is made (make a new one if it is lost)")
	}
	return fixed(fingerprint("secret", []byte(secret)), cred, wrong).
		WithInfo(func() CredentialInfo { return CredentialInfo{Kind: "client secret"} })
}
