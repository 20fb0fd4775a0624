package entra

import (
	"context"
	"errors"
	"fmt"

	"github.com/entratoken/entra/internal/safecall"
)

// CredentialFunc returns a credential that load provides, and that may therefore change
// while the program runs, such as a secret that is rotated or a certificate that is
// renewed. A change affects neither cached tokens nor signed-in users.
//
// load is called before every request to Entra, possibly concurrently, with the zero
// Credential. It should cache expensive results. If Entra rejects the credential that load
// returned, load is called again, and rejected is that credential. load should then fetch a
// new one, unless a concurrent call has already done so. If the result is not
// [Credential.Equal] to the rejected credential, the request is sent again, and its outcome
// is final. A credential that stays invalid therefore costs two requests. The failure is
// then cached like any other (see package cache).
//
// Secrets with the same text are Equal, and so are certificates with the same
// *[rsa.PrivateKey] and options. Any other credential is only Equal to itself and its
// copies, so load should create such a credential once.
//
// load must return when its context ends. The context ends with the request, or earlier if
// another credential follows in a [CredentialChain]. The error of load becomes the Err of an
// [*Error] with the code "invalid_client". That is temporary if load's error is a time-out or
// a temporary [*Error]. If load fails while replacing a rejected credential, the rejection is
// returned and wraps the error. While an earlier credential is still usable, load should
// return that rather than an error. load may return any kind of credential. If it returns
// another CredentialFunc, each of the two requests may become two.
func CredentialFunc(load func(ctx context.Context, rejected Credential) (Credential, error)) Credential {
	limiter := safecall.NewLimiter()
	return Credential{
		id: fmt.Sprintf("func:%d", serials.Add(1)),
		validate: func() *Error {
			if load == nil {
				return errorf("invalid_client", "the function that loads the credential is nil")
			}
			return nil
		},
		start: func(depth int) candidates {
			return &loader{load: load, limiter: limiter, depth: depth}
		},
	}
}

// maxDepth bounds how many CredentialFuncs may be nested.
const maxDepth = 4

// loader yields the candidates of a [CredentialFunc]: those of the loaded credential and, if
// Entra rejects it, those of its replacement.
type loader struct {
	load     func(context.Context, Credential) (Credential, error)
	limiter  safecall.Limiter
	depth    int
	loaded   Credential
	current  candidates // of loaded; nil at first
	replaced bool       // loaded replaces a rejected credential
}

func (l *loader) next(ctx context.Context, prev *failure, more bool) (*candidate, *failure) {
	if l.current == nil {
		if failed := l.reload(ctx, more); failed != nil {
			return nil, &failure{err: failed}
		}
	}
	c, f := l.current.next(ctx, prev, more)
	if c != nil || !f.rejected || l.replaced || ctx.Err() != nil {
		return c, f
	}
	rejected := l.loaded
	if failed := l.reload(ctx, more); failed != nil {
		return nil, &failure{f.err.withoutReplacement(failed), true}
	}
	if l.loaded.Equal(rejected) {
		return nil, f
	}
	l.replaced = true
	tried := f.err
	if c, f = l.current.next(ctx, nil, more); c != nil {
		c.tried = append([]*Error{tried}, c.tried...)
	}
	return c, f
}

func (l *loader) accepted() { l.current.accepted() }

// reload replaces the loaded credential.
func (l *loader) reload(ctx context.Context, more bool) *Error {
	const what = "failed to load the credential"
	if l.depth >= maxDepth {
		return errorf("invalid_client", "%s: CredentialFunc loads itself, or is nested more than %d "+
			"times", what, maxDepth)
	}
	c, err := callWithin(ctx, l.limiter, more, func(ctx context.Context) (Credential, error) {
		return l.load(ctx, l.loaded)
	})
	switch {
	case err != nil:
	case c.start == nil:
		err = errors.New("the function returned the zero Credential")
	default:
		if invalid := c.validate(); invalid != nil {
			err = invalid
		}
	}
	if err != nil {
		return callbackFailed(ctx, what, err)
	}
	l.loaded, l.current = c, c.start(l.depth+1)
	return nil
}
