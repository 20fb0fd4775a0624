// Package safecall calls functions that are not ours. They may panic, end their goroutine, or not return when their
// context ends.
package safecall

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
)

// maxCalls bounds the calls in progress of one function, so that a function that never returns does not fill the
// memory.
const maxCalls = 256

// A Limiter bounds the calls in progress of one function. The nil Limiter does not bound them.
type Limiter chan struct{}

// NewLimiter returns a Limiter that allows 256 calls at a time.
func NewLimiter() Limiter { return make(Limiter, maxCalls) }

var errGoexit = errors.New("the function called runtime.Goexit")

// Do calls f in a goroutine of its own and returns its results, or ctx's error if ctx ends first. f then keeps its
// place in l until it returns. If l is full, Do waits for a place until ctx ends. A panic and a call of
// [runtime.Goexit] are returned as errors. The error wraps an error of the runtime, such as an index out of range. Any
// other value of a panic may contain a secret, so only its type is named. An error that is a nil pointer is replaced
// by that of [NilPointer].
func Do[T any](ctx context.Context, l Limiter, f func(context.Context) (T, error)) (zero T, err error) {
	if l != nil {
		select {
		case l <- struct{}{}:
		case <-ctx.Done():
			return zero, fmt.Errorf("%d calls of the function have not returned: %w", cap(l), ctx.Err())
		}
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errGoexit}
		defer func() {
			switch p := recover().(type) {
			case nil:
			case runtime.Error:
				r.err = fmt.Errorf("the function panicked: %w", p)
			default:
				r.err = fmt.Errorf("the function panicked with a value of type %T", p)
			}
			if l != nil {
				<-l
			}
			done <- r
		}()
		r.value, r.err = f(ctx)
		if invalid := NilPointer(r.err); invalid != nil {
			r.err = invalid
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// Notify calls listener with event unless listener is nil. A panic in it is discarded, because it would end the program
// if it happened in a goroutine of this module.
func Notify[T any](listener func(T), event T) {
	if listener == nil {
		return
	}
	defer func() { _ = recover() }()
	listener(event)
}

// Trace calls start unless it is nil. It returns the context and the function of start, or ctx and a function that does
// nothing. Panics in both functions are discarded.
func Trace[T any](ctx context.Context, start func(context.Context) (context.Context, func(T)),
) (traced context.Context, end func(T)) {
	traced, end = ctx, func(T) {}
	if start == nil {
		return traced, end
	}
	defer func() { _ = recover() }()
	started, listener := start(ctx)
	if started != nil {
		traced = started
	}
	return traced, func(event T) { Notify(listener, event) }
}

// NilPointer returns an error if err is a nil pointer of an error type. Such an error is not equal to nil, and its
// methods may panic. Otherwise NilPointer returns nil.
func NilPointer(err error) error {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("the function returned a nil %T as its error; without an error it must return nil", err)
	}
	return nil
}
