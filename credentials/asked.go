package credentials

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/entratoken/entra"
)

const (
	askTimeout = 20 * time.Second // of one question
	askRetry   = 30 * time.Second // until the next, after one that failed while nobody was waiting
	askRefused = time.Second      // until the next about the same answer, when it was refused
	maxCalls   = 256              // of a callback that do not return
)

// Asked is a credential that somebody is asked for: a callback, or another service. It
// asks once however many requests wait, and each of them leaves when its context ends.
type asked struct {
	what string // "client secret", for errors
	get  func(context.Context) (answer, error)
	make func(text string) (entra.Credential, error)

	flight  singleflight.Group
	calls   atomic.Int64 // of get that have not returned
	current atomic.Pointer[held]
}

// An answer is what a question brought.
type answer struct {
	text     func() string // the secret or the assertion; a func so that nothing prints it
	askAfter time.Time     // when to ask again, while it is still good
	until    time.Time     // when it is good no more; zero: when it is refused
}

// Held is an answer that is held.
type held struct {
	answer
	credential entra.Credential
	confirmed  time.Time // when it was last asked for in vain: nothing new came of it
}

func (a *asked) credential() entra.Credential { return entra.CredentialFunc(a.load) }

func (a *asked) load(ctx context.Context, refused entra.Credential) (entra.Credential, error) {
	now, h := time.Now(), a.current.Load()
	switch {
	case h == nil:
	case h.credential.Equal(refused):
		if now.Sub(h.confirmed) < askRefused {
			return h.credential, nil
		}
	case h.good(now):
		if !now.Before(h.askAfter) {
			a.ask(ctx, h, refused) // nobody waits
		}
		return h.credential, nil
	}
	select {
	case r := <-a.ask(ctx, h, refused):
		if r.Err != nil {
			return entra.Credential{}, r.Err
		}
		return r.Val.(*held).credential, nil
	case <-ctx.Done():
		return entra.Credential{}, &entra.Error{Code: entra.CodeRequestFailed, Description: "time ran out while waiting for the " + a.what, Err: ctx.Err()}
	}
}

// good reports whether what is held may be used.
func (h *held) good(now time.Time) bool { return h.until.IsZero() || now.Before(h.until) }

// ask asks, unless somebody does or has since seen was.
func (a *asked) ask(ctx context.Context, seen *held, refused entra.Credential) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return a.flight.DoChan("", func() (any, error) {
		h := a.current.Load()
		if h != seen && h.good(time.Now()) && !h.credential.Equal(refused) {
			return h, nil
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		next, err := a.answer(ctx)
		if err != nil {
			if h != nil {
				later := *h
				later.askAfter, later.confirmed = time.Now().Add(askRetry), time.Now()
				a.current.Store(&later)
			}
			return nil, err
		}
		n := &held{answer: next}
		if h != nil && h.text() == next.text() {
			n.credential, n.confirmed = h.credential, time.Now()
		} else if n.credential, err = a.make(next.text()); err != nil {
			return nil, err
		}
		a.current.Store(n)
		return n, nil
	})
}

// answer gets one. What is called is not ours: it may panic, end its goroutine, or not
// return when its context ends.
func (a *asked) answer(ctx context.Context) (answer, error) {
	type outcome struct {
		answer
		err error
	}
	if a.calls.Add(1) > maxCalls {
		a.calls.Add(-1)
		return answer{}, &entra.Error{Code: entra.CodeRequestFailed, Description: fmt.Sprintf("the callback for the %s hangs: %d calls of it have not returned", a.what, maxCalls)}
	}
	done := make(chan outcome, 1)
	go func() {
		defer a.calls.Add(-1)
		o := outcome{err: fmt.Errorf("the callback for the %s ended its goroutine", a.what)}
		defer func() {
			if r := recover(); r != nil { // its value may hold anything
				o.err = fmt.Errorf("the callback for the %s panicked with a value of type %T", a.what, r)
			}
			done <- o
		}()
		o.answer, o.err = a.get(ctx)
	}()
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}
