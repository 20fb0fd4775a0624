package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/safecall"
)

// Handle gives access to one entry: the token of a session for one scope set. [Handle.Bind] makes a
// zero Handle usable. A Handle stays usable after its session was evicted or purged. It is safe for concurrent
// use and must not be copied.
type Handle struct {
	// OnEvent is called with the events of this handle, like Options.OnEvent and in addition to it.
	// Set it before the first use. If nil, only Options.OnEvent is called.
	OnEvent func(Event)
	// EncodeError and DecodeError convert errors of a fetch for a store, where other processes find them and do not
	// repeat the request. EncodeError returns nil for an error that concerns only this process. If nil, failures
	// are not shared.
	EncodeError func(error) []byte
	DecodeError func([]byte) error
	// Interactive is for sessions that start with Put, which another process may call. With a store, a cached failure
	// is then returned only if the user has not signed in again since. If the store is a Notifier and has lost the
	// session, a process that has it in memory saves it again.
	Interactive bool

	cache  *Cache
	key    sessionKey
	scopes string
	entry  atomic.Pointer[entry] // once looked up
}

var errUnbound = errors.New("cache: Handle must be initialized with Handle.Bind")

// Bind makes h, which must be zero, a handle to the token of k for scopes. Scopes are compared as a
// case-insensitive set. Bind looks nothing up.
//
// like may be nil. If it is a handle of the same app and flow, Bind costs less, and if it is one to the
// same entry, a later lookup is saved.
func (h *Handle) Bind(c *Cache, k Key, scopes []string, like *Handle) {
	h.cache, h.scopes = c, scopeSet(scopes)
	if like == nil || like.cache != c || like.key.partition.Value() != k.partition() {
		h.key = k.sessionKey()
		return
	}
	h.key = sessionKey{like.key.partition, k.Subject, k.Session}
	if h.key == like.key && h.scopes == like.scopes {
		h.entry.Store(like.entry.Load())
	}
}

// Format prints the handle's key, for every verb.
func (h *Handle) Format(f fmt.State, _ rune) {
	if h.cache == nil {
		fmt.Fprint(f, "cache.Handle{}")
		return
	}
	fmt.Fprintf(f, "cache.Handle{%s}", h.key.key())
}

// fleet returns the second level of the cache, or nil if the session does not have one.
func (h *Handle) fleet() *fleet {
	if h.cache == nil || h.key.partition.Value().local {
		return nil
	}
	return h.cache.fleet
}

// Hit returns the cached token if no refresh is due, and otherwise nil. The caller then calls [Handle.Token]. Apart
// from a handle's first lookup, Hit takes no lock and allocates nothing.
//
// All callers share the token and must not change it.
func (h *Handle) Hit() *oauth2.Token {
	if h.cache == nil {
		return nil
	}
	e := h.entry.Load()
	if e == nil {
		e = h.lookup()
	}
	t := e.current.Load()
	if t == nil {
		return nil
	}
	if now := uptime(); int64(now) >= t.lease.Load() && !e.renew(t, now) {
		return nil
	}
	h.cache.hits.add()
	return &t.oauth
}

// Token returns the cached token if it is usable. Otherwise it waits for the entry's fetch, and starts one if
// necessary. If ctx ends first, Token returns ctx's error and the fetch continues.
//
// If claims is not empty, it is a claims challenge: Token returns only a token that was acquired with it, and
// a new token replaces the cached one.
//
// There is one call of fetch at a time for each entry. Another call may start if a sign-in or a purge has overtaken
// the first, or if the first hangs. The context of fetch has the values of ctx and ends after 30 seconds. An error
// with a method RetryAfterDelay() time.Duration reports how long the server wants no requests, at most a day. A panic
// counts as a failed fetch, and so does a fetch that has not returned 5 seconds after its context ended. fetch may
// repeat a failed request while callers wait ([Request.Wait]).
func (h *Handle) Token(ctx context.Context, claims string,
	fetch func(context.Context, *Request) (Response, error)) (*oauth2.Token, error) {
	var start time.Time
	for {
		e, err := h.lock()
		if err != nil {
			return nil, err
		}
		if check := e.session.startCheck(ctx, h); check != nil {
			e.session.mu.Unlock()
			if start.IsZero() {
				start = time.Now()
			}
			select {
			case <-check:
				continue
			case <-ctx.Done():
				return nil, h.waited(start, ctx.Err())
			}
		}
		t, f, err := e.next(ctx, h, claims, fetch)
		joined := f != nil && (f.claims == claims || claims == "") // other outcomes are not this caller's
		if joined {
			f.join(ctx)
		}
		e.session.mu.Unlock()
		if f != nil {
			if start.IsZero() {
				start = time.Now()
			}
			select {
			case <-f.done:
				// Any token satisfies a caller without claims, but an error for claims is not this caller's.
				if !joined || f.claims != claims && f.err != nil || f.token == nil && f.err == nil {
					continue
				}
				t, err = f.token, f.err
			case <-ctx.Done():
				err = ctx.Err()
				if joined {
					f.leave()
				}
			}
		}
		if h.waited(start, err) != nil {
			return nil, err
		}
		return &t.oauth, nil
	}
}

// waited counts a call that has waited since start, if start is not zero, and returns err.
func (h *Handle) waited(start time.Time, err error) error {
	waited := !start.IsZero()
	if waited || err != nil {
		h.cache.misses.Add(1)
	} else {
		h.cache.hits.add()
	}
	if waited {
		h.emit(Event{Kind: EventWaited, Scopes: h.scopes, Took: time.Since(start), Err: err})
	}
	return err
}

// Put stores a response that was acquired by other means, such as an authorization code, and returns its token.
// Responses in flight for the session are older and do not replace it. The session's cached failures are
// forgotten.
//
// With a store, Put returns when the session has been saved there, so that another process can serve the next request
// of the user. If the store fails, the session is saved when the store is back, and Put returns no error. Only a
// delegation (Key.Delegation) is not stored then, and Put returns the error. Put continues if ctx ends, for a second at
// most.
func (h *Handle) Put(ctx context.Context, r Response) (*oauth2.Token, error) {
	if fl := h.fleet(); fl != nil {
		return fl.put(context.WithoutCancel(ctx), h, r)
	}
	e, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer e.session.mu.Unlock()
	t, err := e.put(r)
	if err != nil {
		return nil, err
	}
	return &t.oauth, nil
}

// State returns the last Response.State of the session of h, or "". It calls no fetch. With a store, the session is
// read there, so that a sign-out in another process counts at once. The error reports that the store failed. A
// delegation (Key.Delegation) without a State does not stay in memory.
func (h *Handle) State(ctx context.Context) (string, error) {
	state, err := h.sessionState(ctx)
	if state != nil {
		return state.text, nil
	}
	if e := h.find(); e != nil && h.key.partition.Value().delegation && !e.session.hasState() {
		h.cache.remove(e.session)
	}
	return "", err
}

// sessionState returns the state for State, or nil.
func (h *Handle) sessionState(ctx context.Context) (*sessionState, error) {
	fl := h.fleet()
	if fl == nil {
		return h.localState()
	}
	e, err := h.lock()
	if err != nil {
		return nil, err
	}
	s := e.session
	s.mu.Unlock()
	l, err := fl.load(ctx, h, s, true)
	if err != nil {
		return nil, err
	}
	if l.ended {
		fl.cache.remove(s)
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.record.merge(s.snapshot(nil))
	s.adopt(l.record, h, nil)
	return s.state, nil
}

func (h *Handle) localState() (*sessionState, error) {
	switch {
	case h.cache == nil:
		return nil, errUnbound
	case h.cache.err != nil:
		return nil, h.cache.err
	}
	s := h.cache.peek(h.key)
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, nil
}

// ForgetFailures drops the cached failures of h from before the State of from arrived, apart from a Retry-After that
// has not passed. It reports whether there were any. It is for a fetch that uses the State of from, a handle to another
// session. With a store, that session is read there. If the store fails, ForgetFailures drops nothing.
func (h *Handle) ForgetFailures(ctx context.Context, from *Handle) bool {
	state, err := from.sessionState(ctx)
	e := h.find()
	if err != nil || state == nil || e == nil {
		return false
	}
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	return e.forgetFailures(state.at)
}

// Cached returns the response of the cached token, usable or not, and when it arrived. Lifetime and RefreshIn are
// those that the cache uses, counted from obtainedAt. RefreshIn is 0 if the token is not refreshed before
// it expires. Cached changes nothing.
func (h *Handle) Cached() (r Response, obtainedAt time.Time, ok bool) {
	var t *token
	if e := h.find(); e != nil {
		t = e.current.Load()
	}
	if t == nil {
		return Response{}, time.Time{}, false
	}
	r = Response{
		AccessToken: t.oauth.AccessToken, TokenType: t.oauth.TokenType, Scope: t.scope,
		Lifetime: t.oauth.Expiry.Sub(t.obtainedAt), RefreshIn: t.refreshAfter,
	}
	if t.refreshAfter == t.usableFor {
		r.RefreshIn = 0
	}
	return r, t.obtainedAt, true
}

// Invalidate drops the cached token if it is accessToken, and the cached failures apart from a Retry-After that has not
// passed, so that the next caller fetches a new one. It reports whether it did. If claims is not empty, Invalidate
// drops the token only if it was acquired with them more than a minute ago. A resource that rejects every token then
// causes one request a minute.
func (h *Handle) Invalidate(accessToken, claims string) bool {
	e := h.find()
	if e == nil || !e.invalidate(accessToken, claims) {
		return false
	}
	h.cache.invalidations.Add(1)
	h.emit(Event{Kind: EventInvalidated, Scopes: h.scopes})
	return true
}

func (e *entry) invalidate(accessToken, claims string) bool {
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	t := e.current.Load()
	if t == nil || t.oauth.AccessToken != accessToken {
		return false
	}
	if claims != "" && (t.claims != claims || time.Since(t.obtainedAt) < time.Minute) {
		return false
	}
	e.current.Store(nil)
	e.record().invalidated = &invalidation{accessToken, time.Now()}
	e.resetFailures()
	return true
}

// emit sets e.Key and calls OnEvent of the cache and of h.
func (h *Handle) emit(e Event) {
	e.Key = h.key.key()
	for _, listener := range []func(Event){h.cache.onEvent, h.OnEvent} {
		safecall.Notify(listener, e)
	}
}

// find returns the entry of h, or nil. It changes nothing.
func (h *Handle) find() *entry {
	if h.cache == nil {
		return nil
	}
	if e := h.entry.Load(); e != nil && e.attached() {
		return e
	}
	s := h.cache.peek(h.key)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(h.scopes)
}

func (e *entry) attached() bool {
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	return !e.detached
}

// lock returns the entry of h and locks its session. It adds both to the cache if they are missing.
func (h *Handle) lock() (*entry, error) {
	if h.cache == nil {
		return nil, errUnbound
	}
	if h.cache.err != nil {
		return nil, h.cache.err
	}
	e := h.entry.Load()
	if e != nil {
		e.session.touched.Store(true)
	}
	for {
		if e == nil {
			e = h.lookup()
		}
		e.session.mu.Lock()
		if !e.detached {
			if fl := h.fleet(); fl != nil {
				fl.join(e.session)
			}
			return e, nil
		}
		e.session.mu.Unlock()
		e = nil
	}
}

// lookup finds the entry in the cache. It adds the entry and its session if they are missing.
func (h *Handle) lookup() *entry {
	for {
		if e := h.cache.session(h.key).entry(h.scopes); e != nil { // nil: dropped since
			h.entry.Store(e)
			return e
		}
	}
}
