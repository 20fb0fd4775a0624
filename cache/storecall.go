package cache

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/safecall"
)

// The values of [Event].Op.
const (
	opLoad   = "load"
	opSave   = "save"
	opNotify = "notify"
	opWait   = "wait"
)

// call calls the store. If the breaker is open, it fails at once, or waits for a probe in flight and then tries.
func call[T any](ctx context.Context, fl *fleet, h *Handle, op string, f func(context.Context) (T, error),
) (v T, err error) {
	for {
		ok, probe := fl.breaker.allow()
		if ok {
			break
		}
		if probe == nil {
			return v, errStoreOpen
		}
		select {
		case <-probe:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	v, err = safecall.Do(limited, fl.calls, f)
	event := Event{Kind: EventStore, Op: op, Took: time.Since(start)}
	switch {
	case err == nil:
		fl.breaker.close()
	case errors.Is(err, ErrConflict):
		fl.breaker.close()
		fl.conflicts.Add(1)
		err = ErrConflict
	case ctx.Err() != nil:
		fl.breaker.abandon()
		err = ctx.Err()
	case op == opNotify: // loads and saves may work, for example if a user of Redis has no access to channels
		fl.failures.Add(1)
		fl.breaker.abandon()
		err = callError(op, err)
	default:
		fl.failures.Add(1)
		event.RetryIn = fl.breaker.open()
		err = callError(op, err)
	}
	if fl.observed(h) {
		event.Err = err
		fl.emit(h, event)
	}
	return v, err
}

func callError(op string, err error) error {
	return fmt.Errorf("cache: %s of the store failed: %s", op, redact.Text(err.Error(), 300))
}

var (
	errStoreOpen  = errors.New("cache: the store failed a moment ago and is not called yet")
	errUnreadable = errors.New("cache: a record in the store cannot be read; it was sealed with another key or changed")
)

func (fl *fleet) observed(h *Handle) bool {
	return fl.cache.onEvent != nil || h != nil && h.OnEvent != nil
}

// emit calls OnEvent. h is nil if no handle caused the event.
func (fl *fleet) emit(h *Handle, e Event) {
	if h != nil {
		h.emit(e)
	} else {
		safecall.Notify(fl.cache.onEvent, e)
	}
}

// read loads the record of name into v and returns it. found is false if the record is missing or cannot be read. The
// version of an unreadable record is returned for the write that replaces it.
func (fl *fleet) read(ctx context.Context, h *Handle, name string, v record) (r Record, found bool, err error) {
	r, err = call(ctx, fl, h, opLoad, func(ctx context.Context) (Record, error) { return fl.store.Load(ctx, name) })
	if err != nil {
		return Record{}, false, err
	}
	fl.loads.Add(1)
	if r.TTL <= 0 || len(r.Value) == 0 {
		return r, false, nil
	}
	plain, ok := fl.keys.Open(name, r.Value)
	if !ok || !decode(plain, v) {
		fl.unreadable.Add(1)
		if fl.observed(h) {
			fl.emit(h, Event{Kind: EventStore, Op: opLoad, Err: errUnreadable})
		}
		return r, false, nil
	}
	return r, true, nil
}

func (fl *fleet) write(ctx context.Context, h *Handle, name string, plain []byte, old Version, ttl time.Duration,
) (Version, error) {
	sealed := fl.keys.Seal(name, plain)
	version, err := call(ctx, fl, h, opSave, func(ctx context.Context) (Version, error) {
		return fl.store.Save(ctx, name, sealed, old, ttl)
	})
	if err == nil {
		fl.saves.Add(1)
	}
	return version, err
}

// A storeBreaker stops calls of a failing store, so that it costs one time-out and not one for each caller.
type storeBreaker struct {
	mu      sync.Mutex    // guards the fields below
	retryAt time.Time     // zero if the breaker is closed
	probe   chan struct{} // closed after the probe in flight; nil without one
}

// allow reports whether the store may be called. After the wait it allows one probe. While that is in flight, allow
// returns a channel that is closed after it. Otherwise the first users after an outage would get an error.
func (b *storeBreaker) allow() (ok bool, probe <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.retryAt.IsZero():
		return true, nil
	case b.probe != nil:
		return false, b.probe
	case before(time.Now(), b.retryAt):
		return false, nil
	}
	b.probe = make(chan struct{})
	return true, nil
}

func (b *storeBreaker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retryAt = time.Time{}
	b.endProbe()
}

// endProbe lets the callers continue that wait for the probe. b.mu is held.
func (b *storeBreaker) endProbe() {
	if b.probe != nil {
		close(b.probe)
		b.probe = nil
	}
}

func (b *storeBreaker) open() (retryIn time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	retryIn = breakerMin + time.Duration(mathrand.Int64N(int64(breakerMin)))
	b.retryAt = time.Now().Add(retryIn)
	b.endProbe()
	return retryIn
}

// abandon allows another probe, since the caller of this one has left.
func (b *storeBreaker) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endProbe()
}

// retry allows the next call.
func (b *storeBreaker) retry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.retryAt.IsZero() {
		b.retryAt = time.Now()
	}
}

// wait returns when the store may be called, or done is closed.
func (b *storeBreaker) wait(ctx context.Context, done <-chan struct{}) {
	b.mu.Lock()
	left := until(time.Now(), b.retryAt)
	b.mu.Unlock()
	select {
	case <-time.After(left):
	case <-done:
	case <-ctx.Done():
	}
}

func (b *storeBreaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.retryAt.IsZero()
}
