package entra

import (
	"context"
	"errors"
	"fmt"
)

// CredentialFunc is a credential that may change while the program runs: a secret that is
// rotated, a certificate that is renewed on disk. What it changes to makes no difference
// to the tokens and users that clients hold.
//
// load is called for every request to Entra, perhaps concurrently, and must be cheap when
// nothing has changed: it keeps what is expensive. refused is the zero Credential, except
// when Entra has just refused the one that load returned. Then load is called with that
// one, and should look anew, unless it has another by then because it has looked for
// somebody else. If what it returns is not [Credential.Equal] to the refused one the request
// is made once more, and what comes of that is the outcome. So a refusal that stays costs two
// requests, and is then remembered like any other failure (see package cache). A secret, or a
// certificate with an *[rsa.PrivateKey], that is made anew of the same parts is still Equal;
// an [Assertion] and a certificate with another signer are not, and should be kept.
//
// load must return when its context ends, which is when the request does or, if there is
// another credential to try, before. Its error becomes the Err of an [*Error] with the code
// "invalid_client"; if it is a time-out or an [*Error] that is Temporary, so is that one.
// When it was to replace a refused credential, it becomes the Err of the refusal. While
// there is a credential that was loaded before, load does better to go on returning it than
// to return an error. load may return any kind of credential, also one that is CredentialFunc
// itself; each of the two requests may then be two, and so on.
func CredentialFunc(load func(ctx context.Context, refused Credential) (Credential, error)) Credential {
	g := newGuard()
	return Credential{
		id: fmt.Sprintf("reloading:%d", values.Add(1)),
		check: func() *Error {
			if load == nil {
				return refuse("invalid_client", "the Reloading credential has no function that loads it")
			}
			return nil
		},
		use: func(ctx context.Context, a *attempts) (*Error, verdict) {
			if a.depth >= maxDepth {
				return refuse("invalid_client", "the credential cannot be loaded: it is Reloading, and loads itself or another that is, %d times over", maxDepth), unusable
			}
			a.depth++
			defer func() { a.depth-- }()
			c, failed := a.load(ctx, g, load, Credential{})
			if failed != nil {
				return failed, unusable
			}
			refusal, v := c.use(ctx, a)
			if v != refused || ctx.Err() != nil {
				return refusal, v
			}
			d, failed := a.load(ctx, g, load, c)
			if failed != nil {
				return refusal.because(failed), refused
			}
			if d.Equal(c) {
				return refusal, refused
			}
			a.again(ctx, refusal)
			return d.use(ctx, a)
		},
	}
}

// maxDepth bounds how often what is loaded loads again.
const maxDepth = 4

// load calls the load of a Reloading credential and checks what it returns.
func (a *attempts) load(ctx context.Context, g guard, load func(context.Context, Credential) (Credential, error), refused Credential) (Credential, *Error) {
	c, err := guarded(ctx, g, a.spare, func(ctx context.Context) (Credential, error) { return load(ctx, refused) })
	switch {
	case err != nil:
	case c.use == nil:
		err = errors.New("there is none")
	default:
		if wrong := c.check(); wrong != nil {
			err = wrong
		}
	}
	if err != nil {
		return Credential{}, notLoaded(ctx, "the credential cannot be loaded: ", err)
	}
	return c, nil
}

// notLoaded makes an error of a callback's. Where the cause is a matter of time, so is it.
func notLoaded(ctx context.Context, what string, err error) *Error {
	if ctx.Err() != nil {
		return &Error{Code: CodeRequestFailed, Description: what + "time ran out", Err: ctx.Err()}
	}
	e := &Error{Code: "invalid_client", Err: err}
	text := err.Error()
	var timeout interface{ Timeout() bool }
	if own, ok := errorAs[*Error](err); ok {
		text = own.Description
		if own.Temporary() {
			e.Code, e.StatusCode, e.RetryAfter = own.Code, own.StatusCode, own.RetryAfter
		}
	} else if errors.As(err, &timeout) && timeout.Timeout() {
		e.Code = CodeRequestFailed
	}
	e.Description = what + redactor{}.text(text, 300)
	return e
}

// because returns a refusal that says why there is nothing to try in place of what was
// refused.
func (e *Error) because(failed *Error) *Error {
	both := *e
	both.Description += "; nothing else was tried: " + failed.Description
	both.Err = failed.Err
	return &both
}
