package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"time"
)

// A pendingMark is a mark that has not been saved yet.
type pendingMark struct {
	record string // names the record of marks
	scope  string
	ttl    time.Duration
}

// markTTL is the lifetime of marks. It exceeds that of the records that they end, and the time for which a process may
// keep a session without reading the marks.
func (fl *fleet) markTTL(delegations bool) time.Duration {
	if delegations {
		return fl.cache.delegationTTL + 2*fl.sessionTTL
	}
	return 2 * fl.sessionTTL
}

// subjectMarks returns the marks that end all sessions and all delegations of a subject.
func (fl *fleet) subjectMarks(subject string) (marks []pendingMark) {
	for _, k := range []Key{{Subject: subject}, {Subject: subject, Delegation: true}} {
		marks = append(marks, pendingMark{k.marksRecords()[0], "", fl.markTTL(k.Delegation)})
	}
	return marks
}

// sessionMark returns a mark that ends the session of k, or all of the subject in the app if k.Session is empty.
func (fl *fleet) sessionMark(k Key) pendingMark {
	records := k.marksRecords()
	if k.Session == "" {
		return pendingMark{records[0], k.appScope(), fl.markTTL(k.Delegation)}
	}
	return pendingMark{records[len(records)-1], k.sessionScope(), fl.markTTL(k.Delegation)}
}

// purge writes a mark that ends sessions, and notifies the other processes. If that fails, it is retried when the store
// is back. purge returns the ID of the mark.
func (fl *fleet) purge(ctx context.Context, m pendingMark) (id string, err error) {
	id = rand.Text()
	if err = fl.mark(ctx, m, id); err != nil {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		fl.marks[m] = true
		fl.schedule()
	}
	return id, err
}

func (fl *fleet) mark(ctx context.Context, m pendingMark, id string) error {
	names := fl.keys.Names(m.record)
	for try := range maxUpdates {
		marks, version, err := fl.loadMarks(ctx, nil, names)
		if err != nil {
			return err
		}
		marks.add(mark{Scope: m.scope, ID: id}, m.ttl)
		if _, err = fl.write(ctx, nil, names[0], encode(marks), version, marks.TTL); err == nil {
			return fl.notify(ctx, names)
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		pause(ctx, try)
	}
	return ErrConflict
}

func (fl *fleet) notify(ctx context.Context, names []string) error {
	if fl.notifier == nil {
		return nil
	}
	for _, name := range names {
		if _, err := call(ctx, fl, nil, opNotify, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, fl.notifier.Notify(ctx, name)
		}); err != nil {
			return err
		}
	}
	return nil
}

// erase overwrites the record of a session that a mark has ended, so that its tokens do not stay in the store until
// they expire. Failures are ignored. A session that has started since then has the mark, and stays.
func (fl *fleet) erase(ctx context.Context, k Key, markID string) {
	for _, name := range newSessionNames(fl.keys, k).session {
		var r sessionRecord
		if old, found, err := fl.read(ctx, nil, name, &r); err == nil && found && !slices.Contains(r.Epochs[:], markID) {
			empty := &sessionRecord{Epochs: r.Epochs, TTL: time.Minute}
			_, _ = fl.write(ctx, nil, name, encode(empty), old.Version, empty.TTL)
		}
	}
}

// loadMarks loads the marks of a subject, and the version of the record to replace.
func (fl *fleet) loadMarks(ctx context.Context, h *Handle, names []string) (*subjectRecord, Version, error) {
	all, version := new(subjectRecord), Version("")
	for i, name := range names {
		var marks subjectRecord
		r, found, err := fl.read(ctx, h, name, &marks)
		if err == nil && !found && len(r.Value) > 0 && r.TTL > 0 {
			// A session that starts without the marks counts as ended when they can be read again.
			r, found, err = fl.read(ctx, h, name, &marks)
		}
		if err != nil {
			return nil, "", err
		}
		if i == 0 {
			version = r.Version
		}
		if found {
			for _, m := range marks.Marks {
				m.Age += age(marks.TTL, r.TTL)
				all.Marks = append(all.Marks, m)
			}
		}
	}
	return all, version, nil
}

// epochs returns the IDs of the current marks for a session.
func (r *subjectRecord) epochs(n *sessionNames) (e epochs) {
	for i, scope := range n.scopes {
		e[i] = r.find(scope).ID
	}
	return e
}

// allow reports whether no mark has ended a record with the epochs e.
func (r *subjectRecord) allow(e epochs, n *sessionNames) bool {
	for i, id := range r.epochs(n) {
		if id != "" && id != e[i] {
			return false
		}
	}
	return true
}

func (s *session) suspicious(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh := s.shared; sh.started && !s.dropped {
		sh.stale, sh.suspect = true, sh.suspect || ended
		sh.suspicions++
		s.limitTokens()
	}
}

// limitTokens applies the time of the next check to the tokens of s.
func (s *session) limitTokens() {
	for e := s.entries; e != nil; e = e.older {
		if t := e.current.Load(); t != nil {
			s.setDue(t, t.refreshDue)
		}
	}
}

// checkDue returns until when hits may return t without a check, counted from t.obtainedAt.
func (s *session) checkDue(t *token) time.Duration {
	switch sh := s.shared; {
	case sh == nil || sh.checkAt.IsZero() && !sh.stale:
		return math.MaxInt64
	case sh.stale:
		return 0
	default:
		return sh.checkAt.Sub(t.obtainedAt)
	}
}

// startCheck returns a channel that is closed when the session has been checked, or nil if no check is due. It starts a
// check unless one is in progress. The session's mutex is held.
func (s *session) startCheck(ctx context.Context, h *Handle) <-chan struct{} {
	sh := s.shared
	if sh == nil || !sh.started || !sh.stale && (sh.checkAt.IsZero() || before(time.Now(), sh.checkAt)) {
		return nil
	}
	if sh.check == nil {
		sh.check = make(chan struct{})
		go sh.fleet.runCheck(context.WithoutCancel(ctx), h, s)
	}
	return sh.check
}

// runCheck reads the marks and drops the session if it has ended.
func (fl *fleet) runCheck(ctx context.Context, h *Handle, s *session) {
	sh := s.shared
	s.mu.Lock()
	suspicions := sh.suspicions
	s.mu.Unlock()
	marks, _, err := fl.loadMarks(ctx, h, sh.names.marks)
	s.mu.Lock()
	ended := false
	switch {
	case err == nil:
		ended = s.judge(marks, suspicions)
	case sh.suspect: // without the store, a session that may have ended is not served
		ended = true
	default:
		s.unchecked()
	}
	done := sh.check
	sh.check = nil
	s.mu.Unlock()
	if ended {
		fl.cache.remove(s)
	}
	close(done)
}

// judge reports whether a mark has ended the session. If not, the session counts as checked. The session's mutex is
// held.
func (s *session) judge(marks *subjectRecord, suspicions int) (ended bool) {
	sh, now := s.shared, time.Now()
	current := marks.epochs(&sh.names)
	for i, scope := range sh.names.scopes {
		if !sh.started || current[i] == "" {
			continue
		}
		// Without known epochs, the session started without the store, and ages tell the order.
		if sh.known && current[i] != sh.epochs[i] || !sh.known && marks.find(scope).Age <= since(now, sh.startedAt)+slack {
			return true
		}
	}
	// A mark may have expired since.
	if !sh.contact.IsZero() && since(now, sh.contact) > sh.fleet.sessionTTL {
		return true
	}
	if !sh.known {
		sh.epochs, sh.known = current, true
	}
	sh.started, sh.contact = true, now
	if sh.suspicions == suspicions {
		sh.stale, sh.suspect = false, false
	}
	sh.checkAt = time.Time{}
	if !sh.fleet.isConnected() {
		sh.checkAt = now.Add(sh.fleet.recheck)
	}
	s.limitTokens()
	return false
}

// unchecked records that the session is used without the store. The session's mutex is held.
func (s *session) unchecked() {
	sh, now := s.shared, time.Now()
	if !sh.started {
		sh.started, sh.startedAt = true, now
	}
	sh.stale, sh.checkAt = sh.suspect, now.Add(breakerMin+time.Duration(mathrand.Int64N(int64(breakerMin))))
	s.limitTokens()
}

// remove drops s, which may have been dropped before.
func (c *Cache) remove(s *session) {
	sh := c.shards[c.shard(s.key)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.find(s.key) == s {
		sh.remove(s)
		c.sessions.Add(-1)
	}
	s.drop()
}
