package entra

import (
	"context"
	"errors"
	"fmt"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/internal/safecall"
)

// AssertionRequest describes the client assertion that an [Assertion] callback must return.
type AssertionRequest struct {
	ClientID      string // the assertion's subject, and its issuer if the app signs it itself
	TokenEndpoint string // the assertion's audience if the app signs it itself
	Rejected      bool   // Entra has just rejected the last assertion; return a new one
}

// Assertion returns a credential for a callback that returns client assertions. A client
// assertion is a JWT that authenticates the app. The app itself signs it, or an issuer that
// the app registration trusts as a federated credential, such as a Kubernetes cluster (RFC
// 7523, section 2.2).
//
// get is called for every request to Entra, possibly concurrently, and should cache
// expensive results. If Entra rejects the assertion, get is called again with Rejected set. If
// it returns another assertion, the request is sent again. get must return when its
// context ends. The context ends with the request, or earlier if another credential follows
// in a [CredentialChain]. The error of get becomes the Err of an [*Error] with the code
// "invalid_client". That is temporary if get's error is a time-out or a temporary [*Error].
func Assertion(get func(context.Context, AssertionRequest) (string, error)) Credential {
	limiter := safecall.NewLimiter()
	return Credential{
		id:   fmt.Sprintf("assertion:%d", serials.Add(1)),
		info: func() CredentialInfo { return CredentialInfo{Kind: "client assertion"} },
		validate: func() *Error {
			if get == nil {
				return errorf("invalid_client", "the function that returns client assertions is nil")
			}
			return nil
		},
		start: func(int) candidates { return &assertions{get: get, limiter: limiter} },
	}
}

// assertions yields the callback of an [Assertion], a second time if Entra rejects the
// assertion.
type assertions struct {
	get       func(context.Context, AssertionRequest) (string, error)
	limiter   safecall.Limiter
	calls     int
	last      string // the last assertion
	rejected  string // the assertion that Entra rejected
	rejection *Error
}

func (a *assertions) next(ctx context.Context, prev *failure, more bool) (*candidate, *failure) {
	c := &candidate{msal: confidential.NewCredFromAssertionCallback(a.assertion), more: more}
	if a.calls > 0 {
		if !prev.rejected || a.calls > 1 || ctx.Err() != nil {
			return nil, prev
		}
		a.rejected, a.rejection = a.last, prev.err
		c.tried = []*Error{prev.err}
	}
	a.calls++
	return c, nil
}

func (a *assertions) accepted() {}

// assertion calls the callback for MSAL.
func (a *assertions) assertion(ctx context.Context, o confidential.AssertionRequestOptions) (string, error) {
	x := exchangeFromContext(ctx)
	r := AssertionRequest{ClientID: o.ClientID, TokenEndpoint: o.TokenEndpoint, Rejected: a.rejection != nil}
	text, err := callWithin(ctx, a.limiter, x.candidate.more, func(ctx context.Context) (string, error) {
		return a.get(ctx, r)
	})
	if err == nil && text == "" {
		err = errors.New("the callback returned an empty assertion")
	}
	if err != nil {
		failed := callbackFailed(ctx, "the assertion callback failed", err)
		if a.rejection != nil {
			return "", x.unauthenticated(a.rejection.withoutReplacement(failed), true)
		}
		return "", x.unauthenticated(failed, false)
	}
	if a.rejection != nil && text == a.rejected {
		return "", x.unauthenticated(a.rejection, true)
	}
	a.last = text
	if rejection := x.allow(fingerprint("assertion", []byte(text))); rejection != nil {
		return "", x.unauthenticated(rejection, true)
	}
	return text, nil
}
