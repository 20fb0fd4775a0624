package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Handle is a caller's hold on one place in the cache: one session, one scope set. It
// keeps working after the session was evicted or purged. It is safe for concurrent use
// and must not be copied. Make it with [Cache.Handle] or [Handle.Bind].
type Handle struct {
	// OnEvent is told what happens through this handle, besides [Options].OnEvent and in
	// the same way. It is set before the first use. nil: nobody is told.
	OnEvent func(Event)

	cache  *Cache
	place  place
	scopes string
	entry  atomic.Pointer[entry]
}

// Handle returns a handle on the token of k for scopes, which are compared as a
// case-insensitive set. It asks for nothing yet.
func (c *Cache) Handle(k Key, scopes []string) *Handle {
	return &Handle{cache: c, place: k.place(), scopes: scopeSet(scopes)}
}

// Bind makes of a zero Handle, as one stands in a struct, what [Cache.Handle] returns for
// the key of the partition, the subject and the session.
func (h *Handle) Bind(c *Cache, p Partition, subject, session string, scopes []string) {
	h.cache, h.place, h.scopes = c, p.place(subject, session), scopeSet(scopes)
}

// Share makes of a zero Handle a hold on the place that o holds, which o has looked up
// already, perhaps: then a hit on h looks nothing up. What h's events are told is its own.
func (h *Handle) Share(o *Handle) {
	h.cache, h.place, h.scopes = o.cache, o.place, o.scopes
	h.entry.Store(o.entry.Load())
}

// Key returns the key of the handle's session.
func (h *Handle) Key() Key { return h.place.key() }

// Format prints the handle's key, whatever the verb.
func (h *Handle) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "cache.Handle{%s}", h.place.key()) }

// Hit returns the token if it can be served as it is, or else nil: then [Handle.Token]
// is to be called. Except for the first call on a handle, which looks the place up, it
// takes no lock and allocates nothing.
func (h *Handle) Hit() *Token {
	e := h.entry.Load()
	if e == nil {
		e = h.resolve()
	}
	return h.hit(e)
}

func (h *Handle) hit(e *entry) *Token {
	t := e.hit()
	if t != nil {
		h.cache.hits.add()
	}
	return t
}

// Token returns the held token if it can be served, and otherwise the outcome of the
// one fetch that is under way or that it starts. If ctx ends first it returns ctx's
// error; the fetch goes on for the others.
//
// A challenge other than "" is a claims challenge: the token must have been acquired
// with it, else a new one is fetched that replaces the held one.
func (h *Handle) Token(ctx context.Context, challenge string, fetch Fetch) (*Token, error) {
	e := h.resolve()
	if challenge == "" {
		if t := h.hit(e); t != nil {
			return t, nil
		}
	}
	start, waited := time.Now(), false
	for {
		t, f, err := e.ask(ctx, h, challenge, fetch)
		switch {
		case f != nil:
			waited = true
			select {
			case <-f.done:
				// What a request for another challenge brings is no answer, except that
				// any token is one to a caller without a challenge.
				if f.challenge != challenge && (challenge != "" || f.err != nil) {
					continue
				}
				t, err = f.token, f.err
			case <-ctx.Done():
				err = ctx.Err()
			}
		case t == nil && err == nil:
			e = h.resolve()
			continue
		}
		if t != nil && !waited {
			h.cache.hits.add()
			return t, nil
		}
		h.cache.misses.Add(1)
		if waited {
			h.emit(Event{Kind: EventWaited, Key: h.place.key(), Scopes: h.scopes, Took: time.Since(start), Err: err})
		}
		return t, err
	}
}

// Put stores an answer that was acquired otherwise, such as that to an authorization
// code, and returns its token. It is newer than what requests under way bring, and what
// failed for the session before may be asked again.
func (h *Handle) Put(a Response) (*Token, error) {
	e := h.resolve()
	t, err := e.put(a)
	if err == nil {
		e.session.forgive()
	}
	return t, err
}

// Held returns the token that the cache holds now, fresh or not, or nil. It changes
// nothing.
func (h *Handle) Held() *Token {
	if e := h.find(); e != nil {
		if held := e.held.Load(); held != nil {
			return held.token
		}
	}
	return nil
}

// Invalidate drops the token if its text is still accessToken, and with it the memory
// of failures, so that the next caller fetches a new one. It reports whether it did.
func (h *Handle) Invalidate(accessToken string) bool { return h.invalidate(accessToken, "") }

// Refused is Invalidate for a token that was got with a challenge, more than a minute ago,
// and was refused with the same one again. Any other token stays.
func (h *Handle) Refused(accessToken, challenge string) bool {
	return challenge != "" && h.invalidate(accessToken, challenge)
}

func (h *Handle) invalidate(accessToken, challenge string) bool {
	if e := h.find(); e == nil || !e.invalidate(accessToken, challenge) {
		return false
	}
	h.cache.invalidations.Add(1)
	h.emit(Event{Kind: EventInvalidated, Key: h.place.key(), Scopes: h.scopes})
	return true
}

func (h *Handle) emit(e Event) {
	h.cache.emit(e)
	if h.OnEvent != nil {
		h.OnEvent(e)
	}
}

// find returns the place if there is one, and changes nothing.
func (h *Handle) find() *entry {
	if e := h.entry.Load(); e != nil && !e.retired.Load() {
		return e
	}
	return h.cache.find(h.place, h.scopes)
}

// resolve finds the place in the cache, putting the session back if it was evicted.
func (h *Handle) resolve() *entry {
	e := h.cache.session(h.place).entry(h.scopes)
	h.entry.Store(e)
	return e
}
