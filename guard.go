package entra

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// A guard calls a function that is not ours, whatever becomes of that: it may panic, and it
// may not return when its context ends. How many calls are under way at once is bounded,
// so that one that hangs for good does not fill the memory.
type guard chan struct{}

// maxCalls bounds the calls under way of one function.
const maxCalls = 256

func newGuard() guard { return make(guard, maxCalls) }

// guarded calls f and leaves when ctx ends or, if there is another credential to try, when
// half of its time is over.
func guarded[T any](ctx context.Context, g guard, spare bool, f func(context.Context) (T, error)) (none T, err error) {
	if end, ok := ctx.Deadline(); ok && spare {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	type outcome struct {
		value T
		err   error
	}
	select {
	case g <- struct{}{}:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-g }()
		o := outcome{err: errors.New("the function ended its goroutine")}
		defer func() {
			switch r := recover().(type) {
			case nil:
			case runtime.Error:
				o.err = fmt.Errorf("the function panicked: %w", r)
			default: // its value may hold anything
				o.err = fmt.Errorf("the function panicked with a value of type %T", r)
			}
			done <- o
		}()
		o.value, o.err = f(ctx)
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
