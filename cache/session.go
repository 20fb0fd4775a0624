package cache

import (
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/refresh"
	"github.com/entratoken/entra/internal/safecall"
)

// maxScopeSets bounds the entries of one session.
const maxScopeSets = 64

// A session has the entries of one subject of one app. Its mutex guards its entries and flights, too. The mutex
// is never held during a fetch or a call of OnEvent.
//
// A cache may have a million sessions. Values that most sessions and entries do not have are behind pointers.
type session struct {
	key      sessionKey
	stateTTL time.Duration // how long state may be used; if zero, without limit

	sibling *session      // the next session in shard.users; guarded by shard.mu
	element *list.Element // in the list of its partition; guarded by shard.mu
	used    uint64        // when it was last looked up; guarded by shard.mu
	touched atomic.Bool   // it was in use without a lookup; see shard.candidate

	mu      sync.Mutex     // guards the fields below, and those of entries and flights
	dropped bool           // evicted or purged: it stores nothing
	entries *entry         // the most recently looked up one; entry.older has the others
	state   *sessionState  // of the last response that had one; may be nil
	version uint64         // counts changes of state, and calls of Put
	shared  *sharedSession // nil without a store
}

// A sessionState is a Response.State. It is never changed.
type sessionState struct {
	text string
	at   time.Time // when it arrived
}

// An entry has the token of one scope set of a session.
type entry struct {
	session *session
	older   *entry // the next entry of the session, which was looked up before; may be nil
	scopes  string

	current   atomic.Pointer[token] // may be nil; hits read it without the mutex
	detached  bool                  // evicted or purged: it stores nothing
	postponed bool                  // the refresh of the current token, because the store failed
	flight    *flight               // the request in flight that callers wait for, if any
	history   *history              // may be nil
}

// A history has what delays or changes the next requests of an entry.
type history struct {
	failures    [2]*failure   // the last failures, of requests without and with claims
	challenges  time.Time     // when the rate limit of claims challenges has forgotten the ones so far
	invalidated *invalidation // the last one; may be nil
}

// past returns the history of e for reading.
func (e *entry) past() history {
	if e.history == nil {
		return history{}
	}
	return *e.history
}

// record returns the history of e for writing.
func (e *entry) record() *history {
	if e.history == nil {
		e.history = new(history)
	}
	return e.history
}

// An invalidation is a call of Handle.Invalidate that dropped a token, or of Handle.ForgetFailures.
type invalidation struct {
	token string    // which the store may still have; empty if Invalidate was not called
	at    time.Time // failures from before this do not count
}

// rejected reports whether the last invalidation dropped t, which may be nil.
func (e *entry) rejected(t *tokenRecord) bool {
	last := e.past().invalidated
	return t != nil && last != nil && t.Text == last.token
}

// entry returns the entry of a scope set, or nil if the session was dropped. It adds a missing entry. Beyond
// maxScopeSets it evicts the least recently looked up entries without a request in flight.
func (s *session) entry(scopes string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		return nil
	}
	e := s.find(scopes)
	if e == nil {
		s.makeRoom()
		e = &entry{session: s, scopes: scopes}
	} else {
		s.unlink(e)
	}
	e.older, s.entries = s.entries, e
	return e
}

// drop empties the session for good. Handles then look for a new one. shard.mu is held.
func (s *session) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.entries; e != nil; e = e.older {
		e.detach()
	}
	s.dropped, s.entries, s.state = true, nil, nil
	if s.shared != nil {
		s.shared.fleet.leave(s)
	}
}

// hasState reports whether the session has a state in memory.
func (s *session) hasState() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != nil
}

// The session's mutex is held during the calls of the methods below.

// find returns the entry of a scope set, or nil.
func (s *session) find(scopes string) *entry {
	e := s.entries
	for e != nil && !sameScopes(e.scopes, scopes) {
		e = e.older
	}
	return e
}

// unlink removes e from the entries of s.
func (s *session) unlink(e *entry) {
	at := &s.entries
	for *at != e {
		at = &(*at).older
	}
	*at, e.older = e.older, nil
}

// makeRoom evicts the least recently looked up entries without a request in flight until there is room for another.
func (s *session) makeRoom() {
	for {
		var oldest *entry // the last one without a request in flight
		n := 0
		for e := s.entries; e != nil; e = e.older {
			n++
			if e.flight == nil {
				oldest = e
			}
		}
		if n < maxScopeSets || oldest == nil {
			return
		}
		oldest.detach()
		s.unlink(oldest)
	}
}

// currentState returns the state. It drops a state that has expired.
func (s *session) currentState() string {
	if s.state != nil && s.stateTTL > 0 && since(time.Now(), s.state.at) >= s.stateTTL {
		s.state = nil
	}
	return s.stateText()
}

func (s *session) stateText() string {
	if s.state == nil {
		return ""
	}
	return s.state.text
}

// setState sets the state that arrived at a time. An empty text removes it.
func (s *session) setState(text string, at time.Time) {
	s.state = nil
	if text != "" {
		s.state = &sessionState{text, at}
	}
	s.version++
}

func (e *entry) detach() {
	e.detached = true
	e.current.Store(nil)
}

// next returns the cached token, an error, or a flight to wait for. It starts a flight if the token is missing
// or due.
func (e *entry) next(ctx context.Context, h *Handle, claims string, fetch fetchFunc) (*token, *flight, error) {
	now, t := time.Now(), e.current.Load()
	if t != nil && !(t.usableAt(now) && (claims == "" || t.claims == claims)) {
		t = nil
	}
	if e.flight == nil && (t == nil || !t.freshAt(now)) {
		err := e.blocked(claims, now)
		// The store may have a later sign-in, except for a delegation.
		look := err != nil && t == nil && h.Interactive && e.session.shared != nil && e.session.stateTTL == 0
		if err == nil && claims != "" && t == nil {
			err = e.limit(now)
		}
		if err == nil || look {
			e.start(ctx, h, claims, t, fetch)
		} else if t == nil {
			return nil, nil, err
		}
	}
	if t != nil {
		return t, nil, nil
	}
	return nil, e.flight, nil
}

// blocked returns the cached error of a request if no new one may be sent yet: the error of a request with
// the same claims, or of any request after which the server sent Retry-After.
func (e *entry) blocked(claims string, now time.Time) error {
	_, err := e.blockedFor(claims, now)
	return err
}

// blockedFor also returns the time that is left.
func (e *entry) blockedFor(claims string, now time.Time) (time.Duration, error) {
	for _, last := range e.past().failures {
		if last != nil && last.claims == claims && before(now, last.retryAt) {
			return until(now, last.retryAt), last.err
		} else if last != nil && before(now, last.throttledUntil) {
			return until(now, last.throttledUntil), last.err
		}
	}
	return 0, nil
}

// A resource that sends another claims challenge for every token would cause a request for each of its responses. After
// challengeBurst challenges of any text, there is one in each challengeEvery.
const (
	challengeBurst = 3
	challengeEvery = time.Minute
)

// limit counts a request with claims, or returns an error if there are too many.
func (e *entry) limit(now time.Time) error {
	debt := max(0, until(now, e.past().challenges))
	if wait := debt - (challengeBurst-1)*challengeEvery; wait > 0 {
		return challengeLimit(wait)
	}
	e.record().challenges = now.Add(debt + challengeEvery)
	return nil
}

// challengeLimit is the error of a claims challenge that came too early, by the time to wait.
type challengeLimit time.Duration

func (l challengeLimit) Error() string {
	return "the resource has sent more than three claims challenges within a few minutes; the next one is sent to " +
		"the authority in " + time.Duration(l).Round(time.Second).String()
}

// RetryAfterDelay returns the time to wait.
func (l challengeLimit) RetryAfterDelay() time.Duration { return time.Duration(l) }

// resetFailures forgets the failures of e, apart from a Retry-After that has not passed.
func (e *entry) resetFailures() {
	now := time.Now()
	for i, last := range e.past().failures {
		if last == nil {
			continue
		}
		e.history.failures[i] = nil
		if before(now, last.throttledUntil) {
			throttled := *last
			throttled.retryAt = throttled.throttledUntil
			e.history.failures[i] = &throttled
		}
	}
}

// forgetFailures calls resetFailures if there are failures from before a time, and reports whether it did. Later, such
// failures do not count if they are in the store.
func (e *entry) forgetFailures(at time.Time) bool {
	earlier := false
	for _, last := range e.past().failures {
		earlier = earlier || last != nil && last.at.Before(at) && last.throttledUntil.Before(last.retryAt)
	}
	if !earlier {
		return false
	}
	e.resetFailures()
	last := invalidation{at: at}
	if old := e.history.invalidated; old != nil {
		last.token = old.token
		if old.at.After(at) {
			last.at = old.at
		}
	}
	e.history.invalidated = &last
	return true
}

// start starts a flight. The token served during the flight is nil if callers wait.
func (e *entry) start(ctx context.Context, h *Handle, claims string, served *token, fetch fetchFunc) {
	e.flight = &flight{
		handle: h, entry: e, claims: claims, served: served, replaces: e.current.Load(),
		version: e.session.version, done: make(chan struct{}),
	}
	if served != nil { // no other flight starts before this one ends
		e.session.setDue(served, served.usableFor)
	}
	go e.flight.run(context.WithoutCancel(ctx), e.session.currentState(), fetch)
}

// accept makes a token of a response to a request with claims. It stores the token unless a newer one has
// arrived, and the response's state unless the session has changed since version. spread is that of
// [refresh.Policy.Schedule].
func (e *entry) accept(r Response, claims string, version uint64, spread, newest bool) (*token, error) {
	now, lifetime := time.Now(), r.Lifetime
	var left time.Duration // of the grant
	if !r.NotAfter.IsZero() {
		left = r.NotAfter.Sub(now)
		lifetime = min(lifetime, left)
	}
	if r.AccessToken == "" || lifetime <= 0 {
		return nil, errUnusable
	}
	t := &token{
		oauth: oauth2.Token{AccessToken: r.AccessToken, TokenType: r.TokenType, Expiry: now.Add(lifetime).Round(0)},
		scope: r.Scope, claims: claims, obtainedAt: now,
	}
	kind := kindOf(claims)
	spread = spread || e.past().failures[kind] != nil
	t.refreshAfter, t.usableFor = refresh.Policy{}.Schedule(r.Lifetime, r.RefreshIn, left, spread, mathrand.Float64())
	t.refreshDue = e.spread(t)
	if newest && !e.detached {
		e.replace(t)
	}
	if s := e.session; r.State != "" && !s.dropped && version == s.version {
		s.setState(r.State, now)
	}
	if h := e.history; h != nil {
		h.failures[kind], h.failures[plain] = nil, nil // the plain failure's wait was computed for an older token
	}
	return t, nil
}

// replace makes t the current token.
func (e *entry) replace(t *token) {
	e.session.setDue(t, t.refreshDue)
	e.current.Store(t)
	e.postponed = false
}

// put stores a response that was acquired by other means. It is newer than the responses of all requests in
// flight for the session, and it ends the waits after earlier failures.
func (e *entry) put(r Response) (*token, error) {
	s := e.session
	t, err := e.accept(r, "", s.version, false, true)
	if err != nil {
		return nil, err
	}
	s.version++
	if s.shared != nil {
		s.shared.replaces, s.shared.signIn, s.shared.signedInAt = s.shared.signIn, rand.Text(), time.Now()
	}
	s.forgetFailures()
	if f := e.flight; f != nil && f.claims == "" {
		e.end(f, t, nil)
	}
	return t, nil
}

// forgetFailures removes the failures from before a sign-in.
func (s *session) forgetFailures() {
	for e := s.entries; e != nil; e = e.older {
		if e.history != nil {
			e.history = &history{invalidated: e.history.invalidated}
		}
	}
}

// end gives the callers that wait for f their result. The request itself may still be in flight.
func (e *entry) end(f *flight, t *token, err error) {
	f.token, f.err = t, err
	e.flight = nil
	close(f.done)
	f.abandon()
}

// A failure is a request without a token.
type failure struct {
	err            error
	claims         string
	inARow         int
	at             time.Time // when it happened
	retryAt        time.Time // no request with the same claims before this
	throttledUntil time.Time // no request at all before this
}

// The indexes of history.failures. A failed claims challenge says little about other requests, and the other
// way round.
const (
	plain = iota
	challenged
)

// kindOf returns the index for a request with claims, which may be empty.
func kindOf(claims string) int {
	if claims == "" {
		return plain
	}
	return challenged
}

// fail stores the failure of f and returns the wait before the next request. It ignores a failure from
// before a sign-in, except for its Retry-After.
func (e *entry) fail(f *flight, err error) (retryIn time.Duration) {
	now, t := time.Now(), e.current.Load()
	served := t != nil && t == f.served
	var left, patience time.Duration // left is that of the token, patience is 0 if callers wait
	if t != nil {
		left = max(0, until(now, t.usableUntil()))
	}
	if served {
		patience = left
	}
	if throttled := retryAfter(err); f.version == e.session.version || throttled > 0 {
		last, inARow := &e.record().failures[kindOf(f.claims)], 1
		if *last != nil {
			inARow += (*last).inARow
		}
		if f.stateUnknown && f.handle.encodeError(err) == nil {
			inARow = 1 // the breaker of the store limits these, and the first call after its recovery should succeed
		}
		retryIn = refresh.Policy{}.RetryIn(inARow, throttled, patience, mathrand.Float64())
		*last = &failure{err, f.claims, inARow, now, now.Add(retryIn), now.Add(throttled)}
		f.failure = *last
	}
	// A failed request with claims changes nothing about a fresh token.
	if served || t != nil && !t.freshAt(now) {
		e.session.setDue(t, t.usableFor-max(0, left-retryIn))
	}
	return retryIn
}

// retryAfter returns the server's Retry-After.
func retryAfter(err error) time.Duration {
	var e interface{ RetryAfterDelay() time.Duration }
	if errors.As(err, &e) {
		return max(0, min(e.RetryAfterDelay(), refresh.MaxWait))
	}
	return 0
}

type fetchFunc = func(context.Context, *Request) (Response, error)

// A fetch gets fetchTimeout, and then grace to return.
const (
	fetchTimeout = 30 * time.Second
	grace        = 5 * time.Second
)

// A flight is one request. It belongs to the cache, not to the caller that started it.
type flight struct {
	handle   *Handle // of the caller that started it
	entry    *entry
	claims   string
	served   *token        // returned to callers during the flight; if nil, they wait
	replaces *token        // current when the flight started
	version  uint64        // of the session when the flight started
	done     chan struct{} // closed when token and err are set
	token    *token
	err      error

	callers   int           // those that wait for the outcome
	deadline  time.Time     // when the last one leaves, unless unlimited is set
	unlimited bool          // a caller's context has no deadline
	abandoned chan struct{} // closed when callers becomes 0; nil unless Request.Wait sleeps

	// With a store:
	id                        string   // of the lease; empty before the first attempt to take it
	leased                    *loaded  // the record with the lease; nil without one
	storeFailed, stateUnknown bool     // the store failed before the request; before the record was read
	signIn                    string   // of the session when the record was read
	state                     string   // likewise
	failure                   *failure // the result, unless a sign-in has overtaken it
}

// join counts a caller that waits for the outcome of f until ctx ends. The session's mutex is held.
func (f *flight) join(ctx context.Context) {
	f.callers++
	if deadline, ok := ctx.Deadline(); !ok {
		f.unlimited = true
	} else if deadline.After(f.deadline) {
		f.deadline = deadline
	}
}

// leave counts a caller that no longer waits.
func (f *flight) leave() {
	f.entry.session.mu.Lock()
	defer f.entry.session.mu.Unlock()
	if f.callers--; f.callers == 0 {
		f.abandon()
	}
}

// abandon records that no caller waits any more. The session's mutex is held.
func (f *flight) abandon() {
	f.callers = 0
	if f.abandoned != nil {
		close(f.abandoned)
		f.abandoned = nil
	}
}

var errUnusable = errors.New("cache: the token of the response is empty or has expired")

// run calls fetch and finishes the flight, even if fetch panics, calls runtime.Goexit or never returns.
func (f *flight) run(ctx context.Context, state string, fetch fetchFunc) {
	type result struct {
		Response
		err error
	}
	h, fl, start := f.handle, f.handle.fleet(), time.Now()
	ctx, traced := f.trace(ctx)
	if fl != nil {
		if fl.begin(ctx, f) {
			event := Event{Kind: EventStore, Op: opLoad, Took: time.Since(start)}
			select {
			case <-f.done:
				event.Err = f.err
			default:
			}
			traced(event)
			return
		}
		state = f.state
		start = time.Now()
	}
	outer, cancel := context.WithTimeout(ctx, fetchTimeout+grace)
	defer cancel()
	r, err := safecall.Do(outer, nil, func(ctx context.Context) (result, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		h.emit(Event{Kind: EventFetchStarted, Scopes: f.entry.scopes, Background: f.served != nil})
		r, err := fetch(ctx, &Request{
			Claims: f.claims, State: state, StateUnknown: f.stateUnknown && state == "", flight: f,
		})
		return result{r, err}, nil
	})
	if err == nil {
		err = r.err
	} else {
		err = fmt.Errorf("cache: fetch did not return a result: %w", err)
	}
	t, event := f.finish(r.Response, err)
	event.Took = time.Since(start)
	h.emit(event)
	defer traced(event) // after the store has the token
	if event.Err != nil && retryAfter(event.Err) > 0 {
		throttled := event
		throttled.Kind, throttled.Took = EventThrottled, 0
		h.emit(throttled)
	}
	if fl != nil {
		fl.end(ctx, f, t, r.State)
	}
}

// trace calls Options.Trace.
func (f *flight) trace(ctx context.Context) (context.Context, func(Event)) {
	trace := f.handle.cache.trace
	if trace == nil {
		return ctx, func(Event) {}
	}
	start := Event{
		Kind: EventFetchStarted, Key: f.handle.key.key(), Scopes: f.entry.scopes, Background: f.served != nil,
	}
	ctx, end := safecall.Trace(ctx, func(ctx context.Context) (context.Context, func(Event)) { return trace(ctx, start) })
	return ctx, func(e Event) {
		e.Key, e.Scopes, e.Background = start.Key, start.Scopes, start.Background
		end(e)
	}
}

// finish stores the outcome of a flight and gives it to the callers that wait. It returns the token, or nil, and
// the event.
func (f *flight) finish(r Response, err error) (*token, Event) {
	e, c, event := f.entry, f.handle.cache, Event{Scopes: f.entry.scopes}
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	current := e.current.Load()
	event.Background = f.served != nil && current != nil && current.usableAt(time.Now())
	var t *token
	if err == nil {
		spread := f.handle.key.subject == "" && !event.Background
		t, err = e.accept(r, f.claims, f.version, spread, current == nil || current == f.replaces)
	}
	c.fetches.Add(1)
	if err == nil {
		event.Kind, event.Lifetime = EventFetchDone, t.oauth.Expiry.Sub(t.obtainedAt)
	} else {
		c.failures.Add(1)
		event.Kind, event.Err, event.RetryIn = EventFetchFailed, err, e.fail(f, err)
	}
	if e.flight == f { // otherwise put has ended it
		e.end(f, t, err)
	}
	return t, event
}
