package entra

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/internal/clientsecret"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/safecall"
)

// A Credential authenticates an app to Entra: [Secret], [Certificate] or [Assertion]. A
// [CredentialFunc] may change while the program runs, and a [CredentialChain] tries several.
// Package credentials loads credentials from files, other services and the environment. A
// Credential may be shared by clients and used concurrently. The zero value is invalid. Its
// contents are never printed or marshaled.
//
// In memory, tokens belong to the credential that acquired them. Clients that share a cache
// share tokens only if they have the same secret, the same certificate with its key, or the
// same Credential value. So knowing an app's IDs is not enough to get its cached tokens. A
// cache with a store is different: a program with the store and its keys gets the tokens of
// each app that uses those keys, even with another Credential. Give each app its own keys.
//
// A circuit breaker protects Entra and the app from a credential that Entra keeps
// rejecting, such as an expired secret. After eight rejections in a row with an error
// number that names the credential, one request at a time probes it, at intervals of up
// to a minute. All other requests fail at once with the last rejection.
type Credential struct {
	// A field that leads to a secret is a func, because fmt prints only the address of a func.
	validate func() *Error
	start    func(depth int) candidates
	info     func() CredentialInfo // nil if unknown
	id       string                // part of every cache key
}

// candidates yields the candidates of a credential for one token request. It is used by
// one goroutine.
type candidates interface {
	// next returns the next candidate. prev is the failure of the previous one, or nil at
	// first. Without another candidate it returns the failure of the credential as a whole.
	// If more is set, another credential follows, so that loading a candidate may take
	// at most half of ctx's time.
	next(ctx context.Context, prev *failure, more bool) (*candidate, *failure)
	// accepted records that Entra accepted the last candidate.
	accepted()
}

// A candidate is a credential with which one attempt is made.
type candidate struct {
	msal    confidential.Credential
	id      string   // its key in the circuit breaker; empty for assertions of a callback, whose text is the key
	more    bool     // another credential follows
	tried   []*Error // failures since the previous candidate, to be logged when a request is sent
	warning string   // CredentialInfo.Warning, which is logged once when a request is sent

	transport http.RoundTripper // sends the requests of the attempt; nil for Config.HTTPClient's
}

// A failure is the reason why a candidate does not authenticate the app.
type failure struct {
	err      *Error
	rejected bool // by Entra; if false, there was nothing to send
}

// single yields one candidate.
type single struct {
	candidate candidate
	yielded   bool
}

func (s *single) next(_ context.Context, prev *failure, more bool) (*candidate, *failure) {
	if s.yielded {
		return nil, prev
	}
	s.yielded, s.candidate.more = true, more
	return &s.candidate, nil
}

func (s *single) accepted() {}

// newCredential returns a credential with a single candidate.
func newCredential(c candidate, invalid *Error) Credential {
	return Credential{
		id:       c.id,
		validate: func() *Error { return invalid },
		start:    func(int) candidates { return &single{candidate: c} },
	}
}

// Equal reports whether c and d are the same credential. Secrets are equal if their texts
// are, and certificates with an *[rsa.PrivateKey] if the certificates, the key and the
// options are. Any other Credential is equal only to its copies.
func (c Credential) Equal(d Credential) bool { return c.id == d.id }

// WithTransport returns a copy of c with which token requests, and requests for discovery
// documents, are sent through transport instead of the Transport of [Config].HTTPClient. It is
// for credentials that only work behind a proxy of their own. transport must be safe for
// concurrent use. It gets the URL of the authority and must not send requests elsewhere without
// TLS. The copy is [Credential.Equal] to c.
func (c Credential) WithTransport(transport http.RoundTripper) Credential {
	if start := c.start; start != nil {
		c.start = func(depth int) candidates { return &routed{start(depth), transport} }
	}
	return c
}

// routed yields the candidates of a credential with a transport.
type routed struct {
	candidates
	transport http.RoundTripper
}

func (r *routed) next(ctx context.Context, prev *failure, more bool) (*candidate, *failure) {
	c, failed := r.candidates.next(ctx, prev, more)
	if c != nil {
		c.transport = r.transport
	}
	return c, failed
}

// Format prints that there is a credential, for every verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entra.Credential{...}") }

// Secret returns a credential for a client secret. It takes the secret's Value, not its ID,
// from the Entra admin center (RFC 6749, section 2.3.1). Certificates and federated
// credentials are safer, because the assertions that they send expire.
//
// A secret that is a GUID or contains white space is accepted, because older tools created
// such secrets. As it is more often a mistake, [CredentialInfo] has a Warning, which
// [Config].Logger logs when the secret is first sent.
func Secret(secret string) Credential {
	cred, err := confidential.NewCredFromSecret(secret)
	var invalid *Error
	if problem := clientsecret.Problem(secret); problem != "" || err != nil {
		invalid = errorf("invalid_client", "the client secret %s", cmp.Or(problem, "is invalid"))
	}
	info := CredentialInfo{Kind: "client secret"}
	if warning := clientsecret.Warning(secret); warning != "" {
		info.Warning = "the client secret " + warning
	}
	c := candidate{id: fingerprint("secret", []byte(secret)), msal: cred, warning: info.Warning}
	return newCredential(c, invalid).WithInfo(func() CredentialInfo { return info })
}

// serials counts the credentials that are only equal to themselves.
var serials atomic.Int64

// fingerprintKey makes fingerprints useless outside of this process.
var fingerprintKey = []byte(rand.Text())

// fingerprint returns an ID for a credential that reveals nothing about it.
func fingerprint(kind string, parts ...[]byte) string {
	h := hmac.New(sha256.New, fingerprintKey)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return kind + ":" + hex.EncodeToString(h.Sum(nil)[:12])
}

// callWithin calls f, a function of the program, until ctx ends. If more is set, another
// credential follows, and f gets half of the remaining time.
func callWithin[T any](
	ctx context.Context, l safecall.Limiter, more bool, f func(context.Context) (T, error),
) (T, error) {
	if deadline, ok := ctx.Deadline(); ok && more {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return safecall.Do(ctx, l, f)
}

// callbackFailed returns the error for a callback that failed with err. It is temporary if
// err is.
func callbackFailed(ctx context.Context, what string, err error) *Error {
	if ctx.Err() != nil {
		return &Error{Code: CodeRequestFailed, Description: what + ": timed out", Err: ctx.Err()}
	}
	e := &Error{Code: "invalid_client", Err: err}
	text := err.Error()
	var timeout interface{ Timeout() bool }
	if own, ok := errors.AsType[*Error](err); ok {
		text = own.Description
		if own.Temporary() {
			e.Code, e.StatusCode, e.RetryAfter = own.Code, own.StatusCode, own.RetryAfter
		}
	} else if errors.As(err, &timeout) && timeout.Timeout() {
		e.Code = CodeRequestFailed
	}
	e.Description = what + ": " + redact.Text(text, 300)
	return e
}

// withoutReplacement returns the rejection e, extended by the reason why there is nothing
// to replace the rejected credential with.
func (e *Error) withoutReplacement(reason *Error) *Error {
	both := *e
	both.Description += "; no other credential was tried: " + reason.Description
	both.Err = reason.Err
	return &both
}
