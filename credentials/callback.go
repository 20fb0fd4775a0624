package credentials

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/retry"
	"github.com/entratoken/entra/internal/safecall"
)

const (
	callTimeout   = 20 * time.Second // of one call
	retryDelay    = 30 * time.Second // before the next call, after one failed in the background
	rejectedDelay = time.Second      // between two calls after rejections of the same value
)

// callback is a credential that a function returns: a callback of the program, or a
// request to another service. One call is in flight at a time. Each caller that waits for
// it leaves when its own context ends.
type callback struct {
	kind   string                               // such as "client secret", for errors and CredentialInfo
	get    func(context.Context) (value, error) // its error may be a *requestError
	calls  safecall.Limiter                     // of get
	budget *retry.Budget                        // of retries of get

	flight  singleflight.Group
	current atomic.Pointer[cachedValue]
}

// value is the result of one call.
type value struct {
	text          func() string           // such as the secret or the assertion; fmt prints a func as an address
	newCredential func() entra.Credential // called if text differs from that of the current value
	refreshAt     time.Time               // when to call again in the background
	expiresAt     time.Time               // if zero, the value is used until Entra rejects it
}

// cachedValue is a value with the credential made from it.
type cachedValue struct {
	value
	credential entra.Credential
	confirmed  time.Time // when a call last failed or returned the same value
}

func (c *callback) credential() entra.Credential {
	c.calls, c.budget = safecall.NewLimiter(), retry.NewBudget()
	return entra.CredentialFunc(c.load).WithInfo(func() entra.CredentialInfo {
		var info entra.CredentialInfo
		if v := c.current.Load(); v != nil {
			info = v.credential.Info()
		}
		info.Kind = c.kind
		return info
	})
}

func (c *callback) load(ctx context.Context, rejected entra.Credential) (entra.Credential, error) {
	now, v := time.Now(), c.current.Load()
	switch {
	case v == nil:
	case v.credential.Equal(rejected):
		if now.Sub(v.confirmed) < rejectedDelay {
			return v.credential, nil
		}
	case v.usable(now):
		if !now.Before(v.refreshAt) {
			c.call(ctx, v, rejected, false) // in the background
		}
		return v.credential, nil
	}
	select {
	case r := <-c.call(ctx, v, rejected, true):
		if r.Err != nil {
			return entra.Credential{}, r.Err
		}
		return r.Val.(*cachedValue).credential, nil
	case <-ctx.Done():
		text := fmt.Sprintf("waiting for the %s: %v", c.kind, ctx.Err())
		return entra.Credential{}, &entra.Error{Code: entra.CodeRequestFailed, Description: text, Err: ctx.Err()}
	}
}

func (v *cachedValue) usable(now time.Time) bool {
	return v.expiresAt.IsZero() || now.Before(v.expiresAt)
}

// call starts a call of get, or joins the call in flight. A failed request is repeated if the caller waits. seen is the
// value that the caller has found. If a usable value has replaced it, call returns that value instead.
func (c *callback) call(
	ctx context.Context, seen *cachedValue, rejected entra.Credential, waits bool,
) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return c.flight.DoChan("", func() (any, error) {
		old := c.current.Load()
		if old != seen && old.usable(time.Now()) && !old.credential.Equal(rejected) {
			return old, nil
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		retrier := c.budget.Start(retry.Sleep)
		v, failure, err := c.getOnce(ctx)
		for err != nil && waits && retrier.Again(ctx, failure) {
			v, failure, err = c.getOnce(ctx)
		}
		if err != nil {
			if old != nil {
				later := *old
				later.refreshAt, later.confirmed = time.Now().Add(retryDelay), time.Now()
				c.current.Store(&later)
			}
			if _, ok := err.(*entra.Error); !ok {
				err = fmt.Errorf("%s: %w", c.kind, err)
			}
			return nil, err
		}
		next := &cachedValue{value: v}
		if old != nil && old.text() == v.text() {
			next.credential, next.confirmed = old.credential, time.Now()
		} else {
			next.credential = v.newCredential()
		}
		c.current.Store(next)
		return next, nil
	})
}

// getOnce calls get and describes its error to package retry.
func (c *callback) getOnce(ctx context.Context) (value, retry.Failure, error) {
	v, err := safecall.Do(ctx, c.calls, c.get)
	failure, err := failureOf(err)
	return v, failure, err
}
