package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// An entry is the place of one token: one session, one scope set.
type entry struct {
	session *session
	scopes  string

	held atomic.Pointer[held] // what a hit reads; written under mu

	mu      sync.Mutex // guards the fields below
	flight  *flight    // the one request under way, if any
	failure *failure   // of the last request, nil if it brought a token
	retired bool       // no longer the place of its scope set: nothing may be stored
}

// A failure is the memory of requests that brought no token.
type failure struct {
	err       error
	inARow    int
	retryAt   time.Time // no new request before this
	challenge string    // that the request was to satisfy
}

// ask decides what a caller gets whom a hit could not serve: a token, an error, or a
// flight to wait for.
func (e *entry) ask(ctx context.Context, c *Cache, k Key, challenge string, fetch Fetch) (*Token, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	h := e.held.Load()
	serve := h != nil && before(now, h.token.UsableUntil()) && (challenge == "" || h.satisfies == challenge)
	if serve && before(now, h.due) {
		return h.token, nil, nil
	}
	if e.flight == nil {
		if f := e.failure; f != nil && !serve && f.challenge == challenge && before(now, f.retryAt) {
			return nil, nil, f.err
		}
		e.start(ctx, c, k, challenge, fetch, h, serve)
	}
	if serve {
		return h.token, nil, nil
	}
	return nil, e.flight, nil
}

// start begins the one request. mu is held.
func (e *entry) start(ctx context.Context, c *Cache, k Key, challenge string, fetch Fetch, h *held, serve bool) {
	var prev *Token
	if h != nil {
		prev = h.token
	}
	if challenge != "" {
		p := Token{}
		if prev != nil {
			p = *prev
		}
		p.challenge = challenge
		prev = &p
	}
	if serve { // until the flight has ended nothing more is due before the token's end
		e.hold(h.token, h.token.UsableUntil(), h.satisfies)
	}
	e.flight = &flight{done: make(chan struct{}), challenge: challenge}
	go e.fly(context.WithoutCancel(ctx), c, k, e.flight, prev, serve, fetch)
}

// land takes the outcome of a flight.
func (e *entry) land(c *Cache, f *flight, a Answer, err error) (retryIn time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		f.token, err = e.accept(c.policy, f.challenge, a)
	}
	c.fetches.Add(1)
	if err != nil {
		c.failures.Add(1)
		f.err = err
		retryIn = e.fail(c.policy, f.challenge, err)
	}
	e.flight = nil
	close(f.done)
	return retryIn
}

// fail remembers a failure. mu is held.
func (e *entry) fail(p Policy, challenge string, err error) (retryIn time.Duration) {
	inARow := 1
	if e.failure != nil {
		inARow += e.failure.inARow
	}
	retryIn = p.RetryIn(inARow, retryAfter(err), rand.Float64())
	e.failure = &failure{err, inARow, time.Now().Add(retryIn), challenge}
	if h := e.held.Load(); h != nil {
		due := h.token.UsableUntil()
		if e.failure.retryAt.Before(due) {
			due = e.failure.retryAt
		}
		e.hold(h.token, due, h.satisfies)
	}
	return retryIn
}

// accept turns an answer into the entry's token. mu is held.
func (e *entry) accept(p Policy, challenge string, a Answer) (*Token, error) {
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
	t := &Token{
		oauth: &oauth2.Token{AccessToken: a.AccessToken, TokenType: a.TokenType, Expiry: expiry.Round(0)},
		scope: a.Scope, obtainedAt: now,
	}
	t.refreshAfter, t.usableFor = p.Schedule(a.Lifetime, a.RefreshIn, left, rand.Float64())
	e.session.store(a.Keep)
	if !e.retired { // else the token still serves those who waited for it
		e.hold(t, t.RefreshAt(), challenge)
	}
	e.failure = nil
	return t, nil
}

func (e *entry) put(p Policy, a Answer) (*Token, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accept(p, "", a)
}

// invalidate drops the token if it is still the held one.
func (e *entry) invalidate(accessToken string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held.Load()
	if h == nil || h.token.oauth.AccessToken != accessToken {
		return false
	}
	e.held.Store(nil)
	e.failure = nil
	return true
}

// forgive lets the next caller ask again at once.
func (e *entry) forgive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failure = nil
}

// retire empties the place for good; handles on it look for its successor.
func (e *entry) retire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retired = true
	e.held.Store(nil)
}
