package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// Request describes the token that a fetch must acquire. fmt prints the State of a Request in an unexported field of
// another type, so do not print such a value.
type Request struct {
	Claims string // the claims challenge that the token must satisfy, or ""
	State  string `json:"-" xml:"-"` // the last Response.State of the session, or ""
	// StateUnknown reports that the session may have a State that could not be read, because the store failed.
	StateUnknown bool

	flight *flight
}

// Wait sleeps for d before a failed request is repeated, and reports whether a caller still waits for the token
// then. It returns false at once if no caller waits, as during a background refresh, or if the contexts of all callers
// end within d. It returns false early if the last caller leaves, or if ctx ends, the context of the fetch.
func (r *Request) Wait(ctx context.Context, d time.Duration) bool {
	f := r.flight
	f.entry.session.mu.Lock()
	end := time.Now().Add(d)
	limit, limited := ctx.Deadline()
	if f.callers == 0 || !f.unlimited && !end.Before(f.deadline) || limited && !end.Before(limit) {
		f.entry.session.mu.Unlock()
		return false
	}
	abandoned := make(chan struct{})
	f.abandoned = abandoned
	f.entry.session.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-abandoned:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// GobEncode returns an error. Package encoding/gob would write the state.
func (r Request) GobEncode() ([]byte, error) {
	return nil, errors.New("cache: a Request contains secrets and cannot be encoded")
}

// Format prints neither claims nor state, for every verb.
func (r Request) Format(f fmt.State, _ rune) { fmt.Fprint(f, "cache.Request{...}") }

// Response is the result of a fetch: an access token, and the data that belongs to it. fmt, log/slog,
// encoding/json and encoding/xml print neither the token nor the state, and encoding/gob returns an error.
// Other packages that use reflection read all exported fields. fmt also prints the token and the state of a
// Response in an unexported field of another type, so do not print such a value.
type Response struct {
	AccessToken string        `json:"-" xml:"-"`
	TokenType   string        // if empty, "Bearer"
	Scope       string        // the granted scopes, separated by spaces
	Lifetime    time.Duration // counted from now; the cache rejects a response without one
	RefreshIn   time.Duration // the server's refresh_in; if zero, the cache chooses
	NotAfter    time.Time     // when the grant ends; if zero, the token is served for its lifetime
	State       string        `json:"-" xml:"-"` // passed to the session's next fetch; if empty, the state stays as it is
}

// GobEncode returns an error. Package encoding/gob would write the token and the state.
func (r Response) GobEncode() ([]byte, error) {
	return nil, errors.New("cache: a Response contains tokens and cannot be encoded")
}

// Format prints no secret, for every verb.
func (r Response) Format(f fmt.State, _ rune) { fmt.Fprint(f, "cache.Response{...}") }

// A token is a cached access token. Only due and lease change after it was stored.
type token struct {
	lease atomic.Int64 // until when hits need not check due, in uptime
	due   atomic.Int64 // until when a hit may return it, counted from obtainedAt

	oauth                   oauth2.Token
	scope                   string
	claims                  string // the claims challenge that it was acquired with
	obtainedAt              time.Time
	refreshAfter, usableFor time.Duration
	refreshDue              time.Duration // when a refresh is due, counted from obtainedAt; guarded by session.mu
}

func (t *token) usableUntil() time.Time { return t.obtainedAt.Add(t.usableFor) }

func (t *token) usableAt(now time.Time) bool { return before(now, t.usableUntil()) }

func (t *token) dueAt() time.Time { return t.obtainedAt.Add(time.Duration(t.due.Load())) }

// freshAt reports whether the token can be served at now without a decision about a refresh.
func (t *token) freshAt(now time.Time) bool { return before(now, t.obtainedAt.Add(t.refreshDue)) }

// setDue sets when a refresh of t is due, counted from t.obtainedAt. Hits may have to check the session before.
func (s *session) setDue(t *token, due time.Duration) {
	t.refreshDue = due
	t.due.Store(int64(min(due, s.checkDue(t))))
	t.lease.Store(noLease)
}

// noLease is before every uptime. An uptime can be negative under testing/synctest.
const noLease = math.MinInt64

// maxLease is how long hits rely on an earlier check of both clocks. In between they read only the monotonic clock.
const maxLease = time.Second

var started = time.Now()

// uptime reads only the monotonic clock, which takes half as long as [time.Now].
func uptime() time.Duration { return time.Since(started) }

// renew extends the lease of t if t is fresh by both clocks, and reports whether it did. The monotonic clock
// stops while a machine is suspended, and the wall clock can be set back.
func (e *entry) renew(t *token, uptime time.Duration) bool {
	now, due := time.Now(), t.dueAt()
	if !before(now, due) {
		return false
	}
	if t.lease.Load() != noLease { // the first hit follows a lookup, which was a use
		e.session.touched.Store(true)
	}
	t.lease.Store(int64(uptime + min(maxLease, until(now, due))))
	return true
}

// until returns how long it is from now to t by the clock that is nearer to t.
func until(now, t time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0)))
}

// before reports whether now is before t by both clocks.
func before(now, t time.Time) bool {
	return now.Before(t) && now.Round(0).Before(t.Round(0))
}
