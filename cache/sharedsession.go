package cache

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"golang.org/x/oauth2"
)

// sharedSession is the part of a session that belongs to the store. The session's mutex guards it.
type sharedSession struct {
	fleet *fleet
	names sessionNames

	started   bool      // the session was loaded or has contents
	startedAt time.Time // if its epochs are unknown
	known     bool      // the epochs are known
	epochs    epochs

	contact    time.Time     // when the marks were last read
	checkAt    time.Time     // no token is served after it without a check; if zero, until stale is set
	stale      bool          // a check is due now
	suspect    bool          // a session of the subject was ended, maybe this one
	suspicions int           // counts the calls of suspicious
	check      chan struct{} // closed when the check in progress ends; nil without one
	restoring  bool          // it is being saved for another process

	signIn     string // random ID of the last call of Put; empty without one
	replaces   string // signIn of the previous one
	signedInAt time.Time
}

// A loaded session is the result of fleet.load.
type loaded struct {
	record  *sessionRecord // never nil
	at      time.Time      // to which the ages in the record count
	version Version        // of the record to replace
	ended   bool           // the session in memory has ended; it is still in the cache
	corrupt bool           // there is a record that cannot be read
}

// load loads the record of s and, if a check is due or marksToo is set, the marks of its subject.
func (fl *fleet) load(ctx context.Context, h *Handle, s *session, marksToo bool) (*loaded, error) {
	sh := s.shared
	s.mu.Lock()
	suspicions, known, own := sh.suspicions, sh.known, sh.epochs
	marksToo = marksToo || !known || sh.stale || !sh.checkAt.IsZero() && !before(time.Now(), sh.checkAt)
	s.mu.Unlock()
	var marks *loadedMarks
	var marksErr error
	read := make(chan struct{})
	if marksToo {
		go func() {
			defer close(read)
			marks, marksErr = fl.loadMarks(ctx, h, sh.names.marks)
		}()
	} else {
		close(read)
	}
	l := &loaded{at: time.Now()}
	var records []*sessionRecord
	var err error
	for i, name := range sh.names.session {
		var record sessionRecord
		var r Record
		var found bool
		if r, found, err = fl.read(ctx, h, name, &record); err != nil {
			break
		}
		if i == 0 {
			l.version = r.Version
		}
		l.corrupt = l.corrupt || !found && len(r.Value) > 0 && r.TTL > 0
		if found {
			record.grow(age(record.TTL, r.TTL))
			records = append(records, &record)
			marksToo = marksToo || record.Epochs != own
		}
	}
	<-read
	// A mark may have been written between the two reads. A record from after it must not be compared with older marks.
	newer := func(r *sessionRecord) bool { return r.Epochs != own && r.Epochs != marks.epochs(&sh.names) }
	if err == nil && marksErr == nil && marksToo && (marks == nil || slices.ContainsFunc(records, newer)) {
		marks, marksErr = fl.loadMarks(ctx, h, sh.names.marks)
	}
	if err := errors.Join(err, marksErr); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if marks != nil {
		l.ended = s.judge(marks, suspicions)
	}
	for _, r := range records {
		switch {
		case marks != nil && !marks.allow(r.Epochs, &sh.names): // from before a sign-out
		case l.record == nil:
			l.record = r
		default:
			l.record.merge(r)
		}
	}
	if l.record == nil {
		l.record = &sessionRecord{Epochs: sh.epochs}
	} else if !l.ended {
		sh.epochs = l.record.Epochs // also valid, and the next record is compared with it
	}
	return l, nil
}

// age returns how long ago a record was saved, by the store's clock.
func age(saved, left time.Duration) time.Duration { return max(0, saved-left) }

// snapshot returns the contents of s as a record, without the token for one scope set. The session's mutex is held.
func (s *session) snapshot(without *entry) *sessionRecord {
	sh, now := s.shared, time.Now()
	if s.dropped {
		return &sessionRecord{Epochs: sh.epochs}
	}
	r := &sessionRecord{Epochs: sh.epochs, SignIn: sh.signIn, Replaces: sh.replaces, State: s.stateText()}
	if sh.signIn != "" {
		r.SignedIn = since(now, sh.signedInAt)
	}
	if s.state != nil {
		r.StateAge = since(now, s.state.at)
	}
	for e := s.entries; e != nil; e = e.older {
		if t := e.current.Load(); t != nil && e != without {
			r.Entries = append(r.Entries, entryRecord{Scopes: e.scopes, Token: newTokenRecord(t, now)})
		}
	}
	return r
}

// adopt takes over newer values of a record that was merged with a snapshot of s. It replaces the token of preferred
// even if the one in memory is younger. The session's mutex is held.
func (s *session) adopt(r *sessionRecord, h *Handle, preferred *entry) {
	sh, now := s.shared, time.Now()
	if s.dropped {
		return
	}
	later := r.SignIn != sh.signIn
	if later {
		sh.signIn, sh.replaces, sh.signedInAt = r.SignIn, r.Replaces, now.Add(-r.SignedIn)
		s.version++
		s.forgetFailures()
	}
	if r.State != s.stateText() {
		s.setState(r.State, now.Add(-r.StateAge))
	}
	for _, stored := range r.Entries {
		e := s.find(stored.Scopes)
		if e == nil {
			continue
		}
		if t := stored.Token; t.usable() && !e.rejected(t) {
			current := e.current.Load()
			if current == nil || current.oauth.AccessToken != t.Text &&
				(later || e == preferred || t.Age < since(now, current.obtainedAt)) ||
				current.oauth.AccessToken == t.Text && t.Age > since(now, current.obtainedAt)+slack {
				next := t.token(now)
				next.refreshDue = e.spread(next)
				e.replace(next)
			}
		}
		for i, f := range stored.Failures {
			if f != nil {
				e.adoptFailure(i, f, h, now)
			}
		}
	}
}

// adoptFailure takes over a failure of another process. If the failure is older than the last call of Invalidate, only
// its Retry-After counts.
func (e *entry) adoptFailure(i int, r *failureRecord, h *Handle, now time.Time) {
	if h == nil || h.DecodeError == nil {
		return
	}
	at := now.Add(-r.Age)
	if last := e.past().failures[i]; last != nil && !at.After(last.at) {
		return
	}
	f := &failure{
		claims: r.Claims, inARow: int(r.InARow), at: at, retryAt: at.Add(r.RetryIn), throttledUntil: at.Add(r.Throttled),
	}
	if last := e.past().invalidated; last != nil && at.Before(last.at) {
		f.retryAt = f.throttledUntil
	}
	if f.err = h.DecodeError([]byte(r.Error)); f.err != nil && before(now, f.retryAt) {
		e.record().failures[i] = f
	}
}

// encodeError returns nil for an error that concerns only this process.
func (h *Handle) encodeError(err error) []byte {
	if h.EncodeError == nil {
		return nil
	}
	return h.EncodeError(err)
}

func newFailureRecord(f *failure, h *Handle) *failureRecord {
	encoded := h.encodeError(f.err)
	if len(encoded) == 0 {
		return nil
	}
	return &failureRecord{
		Error: string(encoded), Claims: f.claims, InARow: int64(f.inARow), Age: since(time.Now(), f.at),
		RetryIn: f.retryAt.Sub(f.at), Throttled: max(0, f.throttledUntil.Sub(f.at)),
	}
}

// spread returns when t is due in this process, counted from obtainedAt. Processes look into the store at slightly
// different moments, so that the first one has a new token when the others look.
func (e *entry) spread(t *token) time.Duration {
	if e.session.shared == nil {
		return t.refreshAfter
	}
	most := min((t.usableFor-t.refreshAfter)/10, 30*time.Second)
	return t.refreshAfter + time.Duration(mathrand.Float64()*float64(most))
}

// update saves the changes of a session: it merges the session into the record, calls change and saves the result. If
// another process has changed the record, it loads the record and tries again. l may be nil. change may be nil, and
// reports whether there is something to save.
func (fl *fleet) update(ctx context.Context, h *Handle, s *session, l *loaded, without *entry,
	change func(*sessionRecord) bool) error {
	sh := s.shared
	for try := range maxUpdates {
		if l == nil {
			var err error
			if l, err = fl.load(ctx, h, s, false); err != nil {
				return err
			}
		}
		if l.ended {
			fl.cache.remove(s)
			return nil
		}
		now := time.Now()
		l.record.grow(since(now, l.at))
		l.at = now
		var before []string
		if change == nil {
			before = l.record.contents()
		}
		s.mu.Lock()
		l.record.merge(s.snapshot(without))
		version := s.version
		if change == nil && slices.Equal(before, l.record.contents()) {
			// There is nothing to save. After an outage, many processes with older tokens than the stored one may come here.
			s.adopt(l.record, h, without)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		scopes := ""
		if without != nil {
			scopes = without.scopes
		}
		if change != nil && !change(l.record) {
			return nil
		}
		plain := fl.prune(s, l.record, scopes)
		_, err := fl.write(ctx, h, sh.names.session[0], plain, l.version, l.record.TTL)
		if err == nil {
			s.mu.Lock()
			if s.version == version {
				s.adopt(l.record, h, without)
			}
			s.mu.Unlock()
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		l = nil
		pause(ctx, try)
	}
	return ErrConflict
}

// pause waits for a moment before the next attempt, so that many processes do not collide again.
func pause(ctx context.Context, try int) {
	most := min(time.Millisecond<<min(try, 10), 50*time.Millisecond)
	select {
	case <-time.After(time.Duration(mathrand.Int64N(int64(most)))):
	case <-ctx.Done():
	}
}

// prune prepares the record r of s to be saved, and returns its plain text.
func (fl *fleet) prune(s *session, r *sessionRecord, scopes string) []byte {
	ttl := fl.sessionTTL
	if s.stateTTL > 0 {
		ttl = r.expire(s.stateTTL)
	}
	return r.prune(scopes, ttl)
}

// put is [Handle.Put] with a store.
func (fl *fleet) put(ctx context.Context, h *Handle, r Response) (*oauth2.Token, error) {
	e, l, err := fl.lockLoaded(ctx, h)
	if err != nil {
		return nil, err
	}
	s := e.session
	t, err := e.put(r)
	switch {
	case err != nil:
		s.mu.Unlock()
		return nil, err
	case l == nil:
		s.shared.known, s.shared.startedAt, s.shared.suspect = false, time.Now(), false
		s.unchecked()
	case l.record.SignIn != "":
		s.shared.replaces = l.record.SignIn
	}
	s.mu.Unlock()
	if l != nil {
		err = fl.update(ctx, h, s, l, nil, nil)
	}
	if err != nil && s.stateTTL > 0 {
		fl.cache.remove(s)
		return nil, err
	}
	if l == nil || err != nil {
		fl.saveLater(s)
	}
	return &t.oauth, nil
}

// lockLoaded is Handle.lock for a new sign-in. It also returns the record of the session, or nil if the store failed.
// The session has not been ended in another process.
func (fl *fleet) lockLoaded(ctx context.Context, h *Handle) (*entry, *loaded, error) {
	for {
		e, err := h.lock()
		if err != nil {
			return nil, nil, err
		}
		s := e.session
		s.mu.Unlock()
		l, failed := fl.load(ctx, h, s, true)
		switch {
		case failed != nil && s.stateTTL > 0: // another process would take the missing record for the end of the delegation
			fl.cache.remove(s)
			return nil, nil, failed
		case failed == nil && l.ended:
			fl.cache.remove(s)
			continue
		}
		if e, err = h.lock(); err != nil {
			return nil, nil, err
		}
		if e.session != s { // purged in the meantime
			e.session.mu.Unlock()
			continue
		}
		if failed != nil && s.shared.started {
			// The session may have ended in another process. The tokens from before that must not become part of the
			// new one, and a check that fails must not drop the new one.
			s.mu.Unlock()
			fl.cache.remove(s)
			e, err = h.lock()
		}
		return e, l, err
	}
}
