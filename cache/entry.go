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

	mu       sync.Mutex // guards the fields below
	flight   *flight    // the one request under way, if any
	failure  error      // of the last request, nil if it brought a token
	failures int        // in a row
	retryAt  time.Time  // no new request before this, after a failure
	refused  string     // the challenge that the last, failed request was to satisfy
	retired  bool       // no longer the place of its scope set: nothing may be stored
}

// held is a token and the moment until which it can be served without a second look.
type held struct {
	token     *Token
	due       time.Time
	satisfies string // the claims challenge that the token was acquired with
}

// hit returns the token if it can be served as it is, and nil if a decision is due.
func (e *entry) hit() *Token {
	if h := e.held.Load(); h != nil && before(time.Now(), h.due) {
		return h.token
	}
	return nil
}

// ask decides what a caller gets whom a hit could not serve: a token, an error, or a
// flight to wait for.
func (e *entry) ask(ctx context.Context, c *Cache, k Key, challenge string, fetch Fetch) (*Token, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	h := e.held.Load()
	serve := h != nil && before(now, h.token.UsableUntil) && (challenge == "" || h.satisfies == challenge)
	if serve && before(now, h.due) {
		return h.token, nil, nil
	}
	if e.flight == nil {
		if !serve && e.failure != nil && e.refused == challenge && before(now, e.retryAt) {
			return nil, nil, e.failure
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
		e.held.Store(&held{h.token, h.token.UsableUntil, h.satisfies})
	}
	e.flight = &flight{done: make(chan struct{}), challenge: challenge}
	go e.fly(context.WithoutCancel(ctx), c, k, e.flight, prev, serve, fetch)
}

// land takes the outcome of a flight.
func (e *entry) land(c *Cache, f *flight, a Answer, err error) (retryIn time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if err == nil {
		f.token, err = e.accept(c.policy, now, f.challenge, a)
	}
	c.fetches.Add(1)
	if err != nil {
		c.failures.Add(1)
		f.err = err
		e.failure, e.refused = err, f.challenge
		e.failures++
		retryIn = c.policy.retryIn(e.failures, retryAfter(err), rand.Float64())
		e.retryAt = now.Add(retryIn)
		if h := e.held.Load(); h != nil {
			due := h.token.UsableUntil
			if e.retryAt.Before(due) {
				due = e.retryAt
			}
			e.held.Store(&held{h.token, due, h.satisfies})
		}
	}
	e.flight = nil
	close(f.done)
	return retryIn
}

func (e *entry) put(p Policy, a Answer) (*Token, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accept(p, time.Now(), "", a)
}

// accept turns an answer into the entry's token. mu is held.
func (e *entry) accept(p Policy, now time.Time, challenge string, a Answer) (*Token, error) {
	if a.AccessToken == "" || a.Lifetime <= 0 {
		return nil, errUnusable
	}
	if !a.NotAfter.IsZero() && !before(now, a.NotAfter) {
		return nil, errUnusable
	}
	refreshAt, usableUntil := p.schedule(now, a.Lifetime, a.RefreshIn, a.NotAfter, rand.Float64())
	expiry := now.Add(a.Lifetime)
	if !a.NotAfter.IsZero() && a.NotAfter.Before(expiry) {
		expiry = a.NotAfter
	}
	t := &Token{
		Scopes: a.Scopes, ObtainedAt: now, RefreshAt: refreshAt, UsableUntil: usableUntil,
		oauth: &oauth2.Token{AccessToken: a.AccessToken, TokenType: a.TokenType, Expiry: expiry.Round(0)},
	}
	e.session.store(a.Keep)
	if !e.retired { // else the token still serves those who waited for it
		e.held.Store(&held{t, refreshAt, challenge})
	}
	e.forget()
	return t, nil
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
	e.forget()
	return true
}

func (e *entry) forgive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget()
}

// forget clears the memory of failures. mu is held.
func (e *entry) forget() { e.failure, e.failures, e.refused = nil, 0, "" }

// retire empties the place for good; handles on it look for its successor.
func (e *entry) retire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retired = true
	e.held.Store(nil)
}
