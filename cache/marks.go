package cache

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"time"
)

// A pendingMark is a mark that has not been saved yet, or of which the other processes have not been notified.
type pendingMark struct {
	names []string // of the record of marks, one for each key
	scope string
	ttl   time.Duration
	id    string
	at    time.Time // of the call that creates it
	saved bool      // only its message is missing
}

// rounding is more than the error of an age in the store, which may round to milliseconds.
const rounding = 5 * time.Millisecond

func (fl *fleet) newMark(record, scope string, delegations bool) pendingMark {
	return pendingMark{
		names: fl.keys.Names(record), scope: scope, ttl: fl.markTTL(delegations), id: rand.Text(), at: time.Now(),
	}
}

func (m *pendingMark) mark() mark { return mark{m.scope, m.id, since(time.Now(), m.at)} }

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
		marks = append(marks, fl.newMark(k.marksRecords()[0], "", k.Delegation))
	}
	return marks
}

// sessionMark returns a mark that ends the session of k, or all of the subject in the app if k.Session is empty.
func (fl *fleet) sessionMark(k Key) pendingMark {
	records := k.marksRecords()
	if k.Session == "" {
		return fl.newMark(records[0], k.appScope(), k.Delegation)
	}
	return fl.newMark(records[len(records)-1], k.sessionScope(), k.Delegation)
}

// purge saves a mark that ends sessions, and notifies the other processes. If that fails, it is retried when the store
// is back. Until then, the mark counts in this process. The error of a message is not returned if this process gets
// none either, since the store then works without them.
func (fl *fleet) purge(ctx context.Context, m pendingMark) error {
	err := fl.saveMark(ctx, m)
	m.saved = err == nil
	failed := err
	if m.saved {
		if failed = fl.notify(ctx, m); fl.isConnected() {
			err = failed
		}
	}
	if failed != nil {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		name := m.names[0]
		others := slices.DeleteFunc(fl.marks[name], func(o pendingMark) bool { return o.scope == m.scope })
		fl.marks[name] = append(others, m)
		fl.schedule()
	}
	return err
}

// saveMark saves a mark, unless a later call has saved one that ends the same sessions.
func (fl *fleet) saveMark(ctx context.Context, m pendingMark) error {
	for try := range maxUpdates {
		marks, err := fl.readMarks(ctx, nil, m.names)
		if err != nil {
			return err
		}
		last := marks.find(m.scope)
		isLater := last.ID != "" && last.Age+rounding < since(marks.at, m.at)
		if isLater || last.ID == m.id {
			return nil
		}
		marks.add(m.mark(), m.ttl)
		_, err = fl.write(ctx, nil, m.names[0], encode(&marks.subjectRecord), marks.version, marks.TTL)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		pause(ctx, try)
	}
	return ErrConflict
}

func (fl *fleet) notify(ctx context.Context, m pendingMark) error {
	if fl.notifier == nil {
		return nil
	}
	for _, name := range m.names {
		if _, err := call(ctx, fl, nil, opNotify, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, fl.notifier.Notify(ctx, name)
		}); err != nil {
			return err
		}
	}
	return nil
}

// flushMarks saves the pending marks. It reports whether the store works.
func (fl *fleet) flushMarks(ctx context.Context) bool {
	for _, m := range fl.pendingMarks() {
		switch age := since(time.Now(), m.at); {
		case age > m.ttl, m.saved && age > fl.sessionTTL: // sessions have ended, or have been checked without the message
			fl.updateMark(m, true)
		case m.saved:
		case fl.saveMark(ctx, m) != nil:
			return false
		default:
			m.saved = true
			fl.updateMark(m, false)
		}
	}
	return true
}

// flushMessages notifies the other processes of pending marks, until a message fails.
func (fl *fleet) flushMessages(ctx context.Context) {
	for _, m := range fl.pendingMarks() {
		if m.saved {
			if fl.notify(ctx, m) != nil {
				return
			}
			fl.updateMark(m, true)
		}
	}
}

func (fl *fleet) pendingMarks() []pendingMark {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return slices.Concat(slices.Collect(maps.Values(fl.marks))...)
}

// updateMark replaces a pending mark, or removes it. It has no effect if another one has replaced it.
func (fl *fleet) updateMark(m pendingMark, remove bool) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	name := m.names[0]
	i := slices.IndexFunc(fl.marks[name], func(o pendingMark) bool { return o.id == m.id })
	switch {
	case i < 0:
	case !remove:
		fl.marks[name][i] = m
	case len(fl.marks[name]) == 1:
		delete(fl.marks, name)
	default:
		fl.marks[name] = slices.Delete(fl.marks[name], i, i+1)
	}
}

// erase overwrites the record of a session that one of the marks has ended, so that its tokens do not stay in the store
// until they expire. Failures are ignored. A session that has started since then has the mark, and stays.
func (fl *fleet) erase(ctx context.Context, k Key, marks ...pendingMark) {
	for _, name := range newSessionNames(fl.keys, k).session {
		var r sessionRecord
		isNewer := func(m pendingMark) bool { return slices.Contains(r.Epochs[:], m.id) }
		if old, found, err := fl.read(ctx, nil, name, &r); err == nil && found && !slices.ContainsFunc(marks, isNewer) {
			empty := &sessionRecord{Epochs: r.Epochs, TTL: time.Minute}
			_, _ = fl.write(ctx, nil, name, encode(empty), old.Version, empty.TTL)
		}
	}
}

// loadedMarks are all marks of a subject.
type loadedMarks struct {
	subjectRecord
	at      time.Time // before they were read
	version Version   // of the record to replace
}

// loadMarks returns the marks of a subject, with those that this process has not saved yet.
func (fl *fleet) loadMarks(ctx context.Context, h *Handle, names []string) (*loadedMarks, error) {
	marks, err := fl.readMarks(ctx, h, names)
	if err != nil {
		return nil, err
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, name := range names {
		for _, m := range fl.marks[name] {
			marks.merge(m.mark())
		}
	}
	return marks, nil
}

// readMarks returns the saved marks.
func (fl *fleet) readMarks(ctx context.Context, h *Handle, names []string) (*loadedMarks, error) {
	all := &loadedMarks{at: time.Now()}
	for i, name := range names {
		var marks subjectRecord
		r, found, err := fl.read(ctx, h, name, &marks)
		if err == nil && !found && len(r.Value) > 0 && r.TTL > 0 {
			// A session that starts without the marks counts as ended when they can be read again.
			r, found, err = fl.read(ctx, h, name, &marks)
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			all.version = r.Version
		}
		if found {
			for _, m := range marks.Marks {
				m.Age += age(marks.TTL, r.TTL)
				all.merge(m)
			}
		}
	}
	return all, nil
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

// suspicious makes the next use of s check the marks. A session that has not started may be reading them now. It reads
// them again after that.
func (s *session) suspicious(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shared
	sh.suspicions++
	sh.suspect = sh.suspect || ended
	if sh.started && !s.dropped {
		sh.stale = true
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
	marks, err := fl.loadMarks(ctx, h, sh.names.marks)
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
func (s *session) judge(marks *loadedMarks, suspicions int) (ended bool) {
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
	if last := cmp.Or(sh.contact, sh.startedAt); !last.IsZero() && since(now, last) > sh.fleet.sessionTTL*3/2 {
		return true
	}
	if !sh.known {
		sh.epochs, sh.known = current, true
	}
	sh.started, sh.contact = true, marks.at
	if sh.stale = sh.suspicions != suspicions; !sh.stale {
		sh.suspect = false
	}
	most := sh.fleet.sessionTTL / 2 // before contact is too long ago
	if !sh.fleet.isConnected() {
		most = sh.fleet.recheck
	}
	sh.checkAt = marks.at.Add(most)
	if later := now.Add(most / 2); later.After(sh.checkAt) { // the store is slow
		sh.checkAt = later
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
