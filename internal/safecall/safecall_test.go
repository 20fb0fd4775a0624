package safecall_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/internal/safecall"
)

var errFailed = errors.New("failed")

func TestResults(t *testing.T) {
	var none []int
	for name, test := range map[string]struct {
		f    func(context.Context) (int, error)
		want int
		err  string // "" if there is none
	}{
		"value": {func(context.Context) (int, error) { return 7, nil }, 7, ""},
		"error": {func(context.Context) (int, error) { return 7, errFailed }, 7, "failed"},
		"nil pointer as an error": {func(context.Context) (int, error) { var e *net.OpError; return 7, e }, 7,
			"the function returned a nil *net.OpError as its error; without an error it must return nil"},
		"panic": {func(context.Context) (int, error) { panic("s3cret") }, 0,
			"the function panicked with a value of type string"},
		"panic, error": {func(context.Context) (int, error) { panic(errFailed) }, 0,
			"the function panicked with a value of type *errors.errorString"},
		"runtime panic": {func(context.Context) (int, error) { return none[1], nil }, 0,
			"the function panicked: runtime error: index out of range [1] with length 0"},
		"nil panic": {func(context.Context) (int, error) { panic(nil) }, 0,
			"the function panicked: panic called with nil argument"},
		"Goexit": {func(context.Context) (int, error) { runtime.Goexit(); return 7, nil }, 0,
			"the function called runtime.Goexit"},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(how string, got int, err error) {
				t.Helper()
				if got != test.want || err == nil != (test.err == "") || err != nil && err.Error() != test.err {
					t.Errorf("%s: got %d, %v, want %d, %s", how, got, err, test.want, test.err)
				}
			}
			got, err := safecall.Do(t.Context(), nil, test.f)
			check("Do", got, err)
			l := safecall.NewLimiter()
			got, err = safecall.Do(t.Context(), l, test.f)
			check("Do with a Limiter", got, err)
			if len(l) != 0 {
				t.Errorf("%d places are taken after the call, want 0", len(l))
			}
		})
	}
	_, err := safecall.Do(t.Context(), nil, func(context.Context) (int, error) { return none[1], nil })
	if _, ok := errors.AsType[runtime.Error](err); !ok {
		t.Errorf("got %v, want an error that wraps a runtime.Error", err)
	}
}

func TestDoReturnsWhenContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l := safecall.NewLimiter()
		start := time.Now()
		got, err := safecall.Do(ctx, l, func(ctx context.Context) (int, error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the function does not get the context")
			}
			time.Sleep(time.Hour)
			return 7, nil
		})
		if got != 0 || err != context.DeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("got %d, %v after %v, want 0, %v after 1s", got, err, time.Since(start), context.DeadlineExceeded)
		}
		if len(l) != 1 {
			t.Errorf("got %d places taken while the function runs, want 1", len(l))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(l) != 0 {
			t.Errorf("got %d places taken after the function has returned, want 0", len(l))
		}
	})
}

func TestLimiterBoundsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := safecall.NewLimiter()
		release := make(chan struct{})
		var running, most int
		for range cap(l) + 10 {
			go safecall.Do(t.Context(), l, func(context.Context) (int, error) {
				running++ // only the calls before the first release run at once
				most = max(most, running)
				<-release
				return 0, nil
			})
			synctest.Wait()
		}
		if running != 256 {
			t.Errorf("got %d calls at once, want 256", running)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := safecall.Do(ctx, l, func(context.Context) (int, error) { t.Error("was called"); return 0, nil })
		if !errors.Is(err, context.DeadlineExceeded) ||
			err.Error() != "256 calls of the function have not returned: context deadline exceeded" {
			t.Errorf("got %v", err)
		}
		for range cap(l) {
			release <- struct{}{}
			synctest.Wait()
		}
		if running != 266 {
			t.Errorf("got %d calls in all, want 266: a call that waits must get the place of one that returned", running)
		}
		close(release)
	})
}

func TestNotifyDiscardsPanics(t *testing.T) {
	safecall.Notify(nil, 1)
	got := 0
	safecall.Notify(func(n int) { got = n; panic("listener") }, 7)
	if got != 7 {
		t.Errorf("got %d, want 7", got)
	}
}

func TestTrace(t *testing.T) {
	type key struct{}
	plain := t.Context()
	inner := context.WithValue(plain, key{}, true)
	ended := 0
	end := func(n int) { ended += n; panic("end") }
	for name, test := range map[string]struct {
		start func(context.Context) (context.Context, func(int))
		ctx   context.Context
		ended int
	}{
		"no function": {nil, plain, 0},
		"both":        {func(context.Context) (context.Context, func(int)) { return inner, end }, inner, 7},
		"no context":  {func(context.Context) (context.Context, func(int)) { return nil, end }, plain, 7},
		"no end":      {func(context.Context) (context.Context, func(int)) { return inner, nil }, inner, 0},
		"panic":       {func(context.Context) (context.Context, func(int)) { panic("start") }, plain, 0},
	} {
		ended = 0
		ctx, end := safecall.Trace(plain, test.start)
		if end(7); ctx != test.ctx || ended != test.ended {
			t.Errorf("%s: got context %v and %d, want %v and %d", name, ctx, ended, test.ctx, test.ended)
		}
	}
}
