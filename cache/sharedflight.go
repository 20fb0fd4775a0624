package cache

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// begin looks for the result of a flight in the store. Otherwise it takes the lease, or waits for the process that has
// it. It reports whether the flight has ended. If not, the caller sends a request, and calls fleet.end.
func (fl *fleet) begin(ctx context.Context, f *flight) (ended bool) {
	h, s, l := f.handle, f.entry.session, lookup{fleet: fl, flight: f, start: time.Now()}
	for {
		var err error
		l.loaded, err = fl.load(ctx, h, s, false)
		switch l.next(err) {
		case finished:
			return true
		case purged:
			fl.cache.remove(s)
			return true
		case send:
			return false
		case retryStore:
			l.retries++
			fl.breaker.wait(ctx, f.done)
		case queryOthers:
			fl.query(ctx, h, s)
			f.await(ctx, l.queries, l.left)
			l.queries++
		case awaitLease:
			if l.waits == 0 {
				fl.waits.Add(1)
			}
			f.await(ctx, l.waits, l.left)
			l.waits++
		case takeLease:
			version, err := fl.write(ctx, h, s.shared.names.session[0], l.plain, l.loaded.version, l.loaded.record.TTL)
			switch {
			case err == nil:
				l.loaded.version, f.leased = version, l.loaded
				return false
			case !errors.Is(err, ErrConflict):
				f.storeFailed = true
				return false
			}
			if l.conflicts++; l.conflicts == maxUpdates { // the lease only saves requests
				return false
			}
			pause(ctx, l.conflicts)
		}
	}
}

// A lookup is the state of fleet.begin.
type lookup struct {
	fleet  *fleet
	flight *flight
	start  time.Time

	loaded *loaded       // nil if the store failed
	left   time.Duration // of the flight's patience
	plain  []byte        // the record with the lease

	retries, queries, waits, conflicts int
}

// A step is what fleet.begin does after it has read the store.
type step int

const (
	finished    step = iota // the flight has ended
	purged                  // the flight has ended, and a mark has ended the session
	send                    // send a token request
	retryStore              // call the store again when it may be called
	queryOthers             // query the other processes for the session
	awaitLease              // wait for the process that has the lease
	takeLease
)

// next ends the flight if the session has its result, and otherwise returns the next step. err is that of the store.
func (l *lookup) next(err error) step {
	fl, f, e, s := l.fleet, l.flight, l.flight.entry, l.flight.entry.session
	s.mu.Lock()
	defer s.mu.Unlock()
	l.left = f.patience(l.start) - time.Since(l.start)
	switch {
	case e.flight != f:
		return finished
	case e.detached:
		e.end(f, nil, nil)
		return finished
	case err != nil:
		return l.withoutStore()
	case l.loaded.ended:
		e.end(f, nil, nil)
		return purged
	}
	record, known := l.loaded.record, s.shared.signIn
	record.merge(s.snapshot(nil))
	s.adopt(record, f.handle, nil)
	f.prepare()
	if f.finishFrom(fl, known != "" && known != s.shared.signIn) {
		return finished
	}
	signedOut := s.shared.epochs[2] != "" // no other process has the session
	stored := record.entry(e.scopes)
	switch {
	case f.missesSession() && !signedOut && l.left > 0 && l.queries < fl.mostQueries():
		return queryOthers
	case l.loaded.corrupt: // maybe only as it was read; without a token there is nothing better to write
		return send
	case f.served != nil && stored.leased(f.id, refreshLease):
		e.postpone(f.served, min(refreshLease-stored.LeaseAge, 2*time.Second))
		e.end(f, f.served, nil)
		return finished
	case f.served == nil && stored.leased(f.id, leaseTime):
		if l.left > 0 {
			return awaitLease
		}
		return send
	}
	if e.rejected(stored.Token) {
		stored.Token = nil
	}
	if f.id == "" {
		f.id = rand.Text()
	}
	stored.Lease, stored.LeaseAge = f.id, 0
	l.plain = fl.prune(s, record, e.scopes)
	return takeLease
}

// withoutStore is next after the store has failed. The session's mutex is held.
func (l *lookup) withoutStore() step {
	f, e, now := l.flight, l.flight.entry, time.Now()
	if f.missesSession() && l.retries < maxRetries && e.blocked(f.claims, now) == nil && l.left > 3*breakerMin {
		return retryStore
	}
	e.session.unchecked()
	f.prepare()
	if f.finishFrom(l.fleet, false) {
		return finished
	}
	if t := f.served; t != nil && !e.postponed {
		// The refresh is due at about the same time in all processes that share the token. Without the store, each of them
		// sends a request. The requests are spread over time, as after a failure.
		e.postponed = true
		e.postpone(t, refresh.Policy{}.RetryIn(1, 0, until(now, t.usableUntil()), mathrand.Float64()))
		e.end(f, t, nil)
		return finished
	}
	f.storeFailed, f.stateUnknown = true, true
	return send
}

// prepare records the values that the result of the flight is compared with. The session's mutex is held.
func (f *flight) prepare() {
	s := f.entry.session
	f.version, f.replaces, f.signIn, f.state = s.version, f.entry.current.Load(), s.shared.signIn, s.currentState()
}

// finishFrom ends the flight if the session has its result, and reports whether it did. signedIn reports that the user
// has signed in again in another process. The token that caused a claims challenge is then older than the current one,
// which usually satisfies the challenge. The session's mutex is held.
func (f *flight) finishFrom(fl *fleet, signedIn bool) bool {
	e, now := f.entry, time.Now()
	t := e.current.Load()
	if t != nil && t != f.served && t.usableAt(now) && (f.claims == "" || t.claims == f.claims || signedIn) {
		fl.hits.Add(1)
		e.end(f, t, nil)
		return true
	}
	wait, err := e.blockedFor(f.claims, now)
	if err == nil {
		return false
	}
	if f.served != nil {
		e.postpone(f.served, wait)
		e.end(f, f.served, nil)
	} else {
		e.end(f, nil, err)
	}
	return true
}

// missesSession reports whether the callers of f get an error unless the store or another process has the session. The
// session's mutex is held.
func (f *flight) missesSession() bool {
	return f.handle.Interactive && f.handle.key.subject != "" && f.entry.session.state == nil && f.served == nil
}

// patience is how long the flight waits for another process: half of the time that its callers have.
func (f *flight) patience(start time.Time) time.Duration {
	if !f.unlimited && f.callers > 0 {
		return min(f.deadline.Sub(start), fetchTimeout) / 2
	}
	return fetchTimeout / 2
}

// await waits before the flight looks again, for 10 to 750 ms and no longer than most.
func (f *flight) await(ctx context.Context, try int, most time.Duration) {
	start := time.Now()
	d := min(20*time.Millisecond<<min(try, 5), 500*time.Millisecond)
	select {
	case <-time.After(min(d/2+time.Duration(mathrand.Int64N(int64(d))), most)):
	case <-f.done: // a sign-in has ended the flight
	case <-ctx.Done():
	}
	if fl := f.entry.session.shared.fleet; fl.observed(f.handle) {
		f.handle.emit(Event{Kind: EventStore, Op: opWait, Scopes: f.entry.scopes, Took: time.Since(start)})
	}
}

// postpone sets when the refresh of t is due, counted from now.
func (e *entry) postpone(t *token, wait time.Duration) {
	e.session.setDue(t, since(time.Now(), t.obtainedAt)+wait)
}

// end saves the result of a flight and gives back its lease.
func (fl *fleet) end(ctx context.Context, f *flight, t *token, state string) {
	e, s := f.entry, f.entry.session
	if f.storeFailed {
		if t != nil {
			fl.saveLater(s)
		}
		return
	}
	if t == nil && f.leased == nil {
		return
	}
	base := ""
	if f.replaces != nil {
		base = f.replaces.oauth.AccessToken
	}
	failed := kindOf(f.claims)
	saved := fl.update(ctx, f.handle, s, f.leased, e, func(r *sessionRecord) bool {
		stored := r.entry(e.scopes)
		changed := stored.Lease == f.id
		if changed {
			stored.Lease, stored.LeaseAge = "", 0
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		overtaken := r.SignIn != f.signIn
		if t == nil {
			if last := f.failure; last != nil && (!overtaken || last.throttledUntil.After(last.at)) {
				if failure := newFailureRecord(last, f.handle); failure != nil {
					stored.Failures[failed], changed = failure, true
				}
			}
			return changed
		}
		theirs := stored.Token
		if !theirs.usable() || theirs.Text == base || e.rejected(theirs) ||
			!overtaken && f.claims != "" && theirs.Claims != f.claims {
			stored.Token = newTokenRecord(t, time.Now())
		}
		stored.Failures[failed], stored.Failures[plain] = nil, nil
		if state != "" && !overtaken {
			r.State, r.StateAge = state, 0
		}
		return true
	})
	if saved != nil && t != nil {
		fl.saveLater(s)
	}
}
