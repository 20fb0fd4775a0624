package entra

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// AssertionRequest says what a client assertion is wanted for.
type AssertionRequest struct {
	ClientID      string // the assertion's subject, and its issuer if the app signs it itself
	TokenEndpoint string // the assertion's audience if the app signs it itself
	Refused       bool   // Entra has just refused what the callback returned: another one is wanted
}

// Assertion is a callback that returns a client assertion: a JWT that proves who the app
// is, signed by the app itself or by an issuer that the app registration trusts as a
// federated credential, such as a Kubernetes cluster (RFC 7523, section 2.2).
//
// get is called for every request to Entra, perhaps concurrently, and must keep what is
// expensive to get. If Entra refuses the assertion, get is called once more, with
// Refused set, and if it returns another one the request is made once more. It must
// return when its context ends, which is when the request does or, if there is another
// credential to try, before. Its error becomes the Err of an [*Error] with the code
// "invalid_client"; if it is a time-out or an [*Error] that is Temporary, so is that one.
func Assertion(get func(context.Context, AssertionRequest) (string, error)) Credential {
	g := newGuard()
	return Credential{
		id:   fmt.Sprintf("assertion:%d", values.Add(1)),
		info: func() CredentialInfo { return CredentialInfo{Kind: "client assertion"} },
		check: func() *Error {
			if get == nil {
				return refuse("invalid_client", "the assertion credential has no callback")
			}
			return nil
		},
		use: func(ctx context.Context, a *attempts) (*Error, verdict) {
			first := asked{get: get, guard: g, attempts: a}
			failed, v := first.use(ctx)
			if v != refused || ctx.Err() != nil {
				return failed, v
			}
			second := asked{get: get, guard: g, attempts: a, before: first.assertion, refusal: failed}
			return second.use(ctx)
		},
	}
}

// values counts the Credentials that are only equal to themselves, to tell them apart.
var values atomic.Int64

// asked is one call of an assertion callback.
type asked struct {
	get       func(context.Context, AssertionRequest) (string, error)
	guard     guard
	attempts  *attempts
	before    string // what Entra has just refused,
	refusal   *Error // and how
	assertion string
}

func (q *asked) use(ctx context.Context) (*Error, verdict) {
	return q.attempts.run(ctx, &exchange{forUser: q.attempts.forUser, spare: q.attempts.spare}, q.credential())
}

func (q *asked) credential() confidential.Credential {
	return confidential.NewCredFromAssertionCallback(func(ctx context.Context, o confidential.AssertionRequestOptions) (string, error) {
		x := exchangeOf(ctx)
		r := AssertionRequest{ClientID: o.ClientID, TokenEndpoint: o.TokenEndpoint, Refused: q.refusal != nil}
		var err error
		q.assertion, err = guarded(ctx, q.guard, x.spare, func(ctx context.Context) (string, error) { return q.get(ctx, r) })
		if err == nil && q.assertion == "" {
			err = errors.New("it returned an empty assertion")
		}
		switch {
		case q.refusal != nil && err == nil && q.assertion == q.before:
			x.unproven(q.refusal, refused)
			err = q.refusal
		case q.refusal != nil && err != nil:
			x.unproven(q.refusal.because(notLoaded(ctx, "the assertion callback failed: ", err)), refused)
		case q.refusal != nil:
			q.attempts.again(ctx, q.refusal)
		case err != nil:
			x.unproven(notLoaded(ctx, "the assertion callback failed: ", err), unusable)
		}
		if err == nil {
			if failed := q.attempts.prove(x, fingerprint("assertion", []byte(q.assertion))); failed != nil {
				x.unproven(failed, refused)
				err = failed
			}
		}
		return q.assertion, err
	})
}
