package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/refresh"
)

// An entry is the place of one token: one session, one scope set.
type entry struct {
	session *session
	scopes  string

	held    atomic.Pointer[held] // what a hit reads; written under mu
	flying  atomic.Bool          // a request is under way or about to be
	retired atomic.Bool          // no longer the place of its scope set: nothing may be stored

	mu       sync.Mutex // guards the fields below
	flight   *flight    // the one request under way, if any
	failures failures
}

// ask decides what a caller gets whom a hit could not serve: a token, an error, or a
// flight to wait for; nothing of them if this is no longer the place.
func (e *entry) ask(ctx context.Context, by *Handle, challenge string, fetch Fetch) (*Token, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	h := e.held.Load()
	serve := h != nil && before(now, h.token.UsableUntil()) && (challenge == "" || h.token.challenge == challenge)
	if serve && before(now, h.dueAt()) {
		return h.token, nil, nil
	}
	if e.flight == nil {
		if err := e.failures.forbids(challenge, now); err != nil {
			if serve {
				return h.token, nil, nil
			}
			return nil, nil, err
		}
		if !e.start(ctx, by, challenge, fetch, h, serve) {
			return nil, nil, nil
		}
	}
	if serve {
		return h.token, nil, nil
	}
	return nil, e.flight, nil
}

// start begins the one request, if this still is the place. mu is held.
func (e *entry) start(ctx context.Context, by *Handle, challenge string, fetch Fetch, h *held, serve bool) bool {
	// Whoever retires an entry looks at flying after setting retired, so that one of
	// the two sees the other.
	e.flying.Store(true)
	if e.retired.Load() {
		e.flying.Store(false)
		return false
	}
	e.flight = &flight{
		by: by, challenge: challenge, done: make(chan struct{}),
		begun: Event{Kind: EventFetchStarted, Key: by.place.key(), Scopes: e.scopes, Background: serve},
	}
	if serve { // until the flight has ended nothing more is due before the token's end
		e.hold(h.token, h.token.usableFor)
		e.flight.served = e.held.Load()
	}
	go e.fly(context.WithoutCancel(ctx), e.flight, challenge, fetch)
	return true
}

// land takes the outcome of a flight, unless it had one already, and says what is to be told.
func (e *entry) land(f *flight, a Response, err error) (outcome Event, already bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.landed {
		return Event{}, true
	}
	f.landed = true
	c, outcome := f.by.cache, f.begun
	if h := e.held.Load(); h == nil || !before(time.Now(), h.token.UsableUntil()) {
		outcome.Background = false
	}
	var t *Token
	if err == nil {
		spread := outcome.Key.Subject == "" && !outcome.Background
		t, err = e.accept(f.challenge, a, f.version, spread, !f.superseded)
	}
	c.fetches.Add(1)
	if err == nil {
		outcome.Kind, outcome.Life = EventFetchDone, t.Expiry().Sub(t.ObtainedAt())
	} else {
		c.failed.Add(1)
		outcome.Kind, outcome.Err, outcome.RetryIn = EventFetchFailed, err, e.fail(f, err)
	}
	if e.flight == f { // else those who waited have had a newer token
		e.end(f, t, err)
	}
	return outcome, false
}

// end gives an outcome to those who wait for a flight. mu is held.
func (e *entry) end(f *flight, t *Token, err error) {
	f.token, f.err = t, err
	e.flight = nil
	e.flying.Store(false)
	close(f.done)
}

// accept turns an answer into a token and, if newest, into the entry's. version is that of
// what the session kept when the answer was asked for; spread is as for [refresh.Policy.Schedule].
// mu is held.
func (e *entry) accept(challenge string, a Response, version uint64, spread, newest bool) (*Token, error) {
	now := time.Now()
	var left time.Duration
	if !a.NotAfter.IsZero() {
		if left = a.NotAfter.Sub(now); left <= 0 {
			return nil, errUnusable
		}
	}
	if a.AccessToken == "" || a.Lifetime <= 0 {
		return nil, errUnusable
	}
	expiry := now.Add(a.Lifetime)
	if left > 0 && left < a.Lifetime {
		expiry = a.NotAfter
	}
	t := newToken(oauth2.Token{AccessToken: a.AccessToken, TokenType: a.TokenType, Expiry: expiry.Round(0)})
	t.scope, t.obtainedAt, t.challenge = a.Scope, now, challenge
	failed := e.failures.of(challenge)
	t.refreshAfter, t.usableFor = refresh.Policy{}.Schedule(a.Lifetime, a.RefreshIn, left, spread || *failed != nil, rand.Float64())
	if newest && !e.retired.Load() { // else the token still serves those who waited for it
		e.hold(t, t.refreshAfter)
	}
	e.session.store(a.Keep, version)
	*failed, e.failures.plain = nil, nil // the plain one's wait was drawn from the life of an older token
	return t, nil
}

// put stores an answer that was acquired otherwise. A request that is under way is older
// than that: those who wait for it get the new token, and what it brings is not kept.
func (e *entry) put(a Response) (*Token, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, version := e.session.kept()
	t, err := e.accept("", a, version, false, true)
	if f := e.flight; err == nil && f != nil {
		f.superseded, f.outdated = true, true
		if f.challenge == "" {
			e.end(f, t, nil)
		}
	}
	return t, err
}

// invalidate drops the token if it is still the held one. Where a challenge is named, it
// must have been got with that, and not just now: a resource that is content with no
// token must not send us to the authority with every request.
func (e *entry) invalidate(accessToken, challenge string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held.Load()
	if h == nil || h.token.oauth.AccessToken != accessToken {
		return false
	}
	if challenge != "" && (h.token.challenge != challenge || time.Since(h.token.obtainedAt) < time.Minute) {
		return false
	}
	e.held.Store(nil)
	e.failures = failures{}
	return true
}

// forgive lets the next caller ask again at once.
func (e *entry) forgive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures = failures{}
	if e.flight != nil {
		e.flight.outdated = true
	}
}

// retire makes the entry no longer the place of its scope set, unless a request is under
// way, whose landing reads retired. Its session's lock is held.
func (e *entry) retire() bool {
	if e.flying.Load() {
		return false
	}
	e.retired.Store(true)
	if e.flying.Load() {
		e.retired.Store(false)
		return false
	}
	return true
}

// clear empties a retired place.
func (e *entry) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held.Store(nil)
}
