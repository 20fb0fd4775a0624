package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Fetch asks the authority for a token. It is called from one goroutine at a time for
// each session and scope set, except that a call from before a sign-in or a purge, or one
// that hangs, may still be running. Its context ends only after 30 seconds, whatever becomes of the caller's; the values of the context are those of the
// caller that happened to start it. The arguments are what the session holds:
// claims is the claims challenge that the new token must satisfy, or "", and keep the
// [Response].Keep of an earlier response. An error with a method RetryAfterDelay() time.Duration says how long
// the authority wants to be left alone, at most a day. A panic is a failure, and so is not
// returning within some seconds of the end of the context.
type Fetch func(ctx context.Context, claims string, keep any) (Response, error)

// Response is what the authority gave.
type Response struct {
	AccessToken string
	TokenType   string        // "Bearer"; "" means the same
	Scope       string        // the scopes granted, separated by spaces
	Lifetime    time.Duration // of the token, from now; not above zero: the answer is refused
	RefreshIn   time.Duration // when the authority wants it refreshed; 0: it did not say
	NotAfter    time.Time     // the token is never served past this; zero: only its life counts
	Keep        any           // kept with the session for its next fetch; nil: what is kept stays
}

// Format prints nothing of what the answer holds.
func (a Response) Format(f fmt.State, _ rune) { fmt.Fprint(f, "cache.Response{...}") }

// MarshalJSON gives nothing of what the answer holds.
func (a Response) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }

var (
	errUnusable = errors.New("cache: the authority's answer has no usable token: it is empty or has already expired")
	errExited   = errors.New("cache: the function that fetches the token ended its goroutine")
	errStuck    = errors.New("cache: the function that fetches the token did not return when its time was over")
)

// A flight is one request to the authority. It belongs to the cache, not to the caller
// that started it.
type flight struct {
	by        *Handle // whose caller started it
	challenge string
	begun     Event
	version   uint64        // of what the session kept when the request began
	served    *held         // what its callers get meanwhile; nil: they wait
	done      chan struct{} // closed when token and err are set

	// Guarded by the entry's lock until done is closed.
	landed     bool // its outcome is known; what the request brings from now on is too late
	outdated   bool // a sign-in came in between: a failure says nothing any more
	superseded bool // and it brought a newer token for this place
	token      *Token
	err        error
}

// grace is how long a fetch may take to return when its context has ended.
// timeout bounds a fetch.
const timeout = 30 * time.Second

const grace = 5 * time.Second

// fly makes the request. However that ends, the flight lands.
func (e *entry) fly(ctx context.Context, f *flight, claims string, fetch Fetch) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	stuck := time.AfterFunc(timeout+grace, func() { e.finish(f, start, Response{}, errStuck) })
	defer stuck.Stop()
	keep, version := e.session.kept()
	f.version = version
	a, err := Response{}, errExited
	defer func() { e.finish(f, start, a, err) }()
	f.by.emit(f.begun)
	a, err = call(ctx, fetch, claims, keep)
}

// finish lands a flight and tells what came of it, once.
func (e *entry) finish(f *flight, start time.Time, a Response, err error) {
	outcome, already := e.land(f, a, err)
	if already {
		return
	}
	outcome.Took = time.Since(start)
	f.by.emit(outcome)
	if outcome.Err != nil && retryAfter(outcome.Err) > 0 {
		outcome.Kind, outcome.Took = EventThrottled, 0
		f.by.emit(outcome)
	}
}

// call calls fetch and makes an error of a panic. The value of the panic may hold
// anything, so only what the runtime itself says is repeated.
func call(ctx context.Context, fetch Fetch, claims string, keep any) (a Response, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("cache: the function that fetches the token panicked: %w", r)
		default:
			err = fmt.Errorf("cache: the function that fetches the token panicked with a value of type %T", r)
		}
	}()
	return fetch(ctx, claims, keep)
}
