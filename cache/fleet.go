package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/refresh"
	"github.com/entratoken/entra/internal/safecall"
	"github.com/entratoken/entra/internal/seal"
)

// docs/design/fleet.md explains the protocol of this file and its constants.
const (
	storeTimeout      = 250 * time.Millisecond // of one call of the store
	breakerMin        = time.Second            // the breaker stays open for this, and at most twice as long
	leaseTime         = 10 * time.Second
	maxUpdates        = 20 // attempts to save a record that others change
	maxRetries        = 3  // of a store that fails, for a user who would get an error
	defaultRecheck    = time.Minute
	defaultSessionTTL = 24 * time.Hour
	failureMemory     = 5 * time.Minute // how long a failure is stored after its wait, so that the next wait is longer
	// A flight that misses a session queries the other processes this often, within about a second. Just after the
	// connection for messages was lost, they may not be connected yet, and it queries them for two seconds.
	queries, queriesAfterLoss = 6, 8
	afterLoss                 = 5 * time.Second
	// slack is the uncertainty of an age, which is measured between a call of the store and its response.
	slack = 2 * storeTimeout
)

// The values of [Event].Op.
const (
	opLoad   = "load"
	opSave   = "save"
	opNotify = "notify"
	opWait   = "wait"
)

// A fleet is the second level of a cache: the records in a store that several processes share. Only flights, checks,
// sign-ins and purges use it.
type fleet struct {
	cache      *Cache
	store      Store
	notifier   Notifier // may be nil
	keys       *seal.Keyring
	recheck    time.Duration
	sessionTTL time.Duration
	calls      safecall.Limiter
	breaker    storeBreaker

	hits, loads, saves, conflicts, waits, failures, unreadable atomic.Uint64

	mu        sync.Mutex                   // guards the fields below; no other mutex is acquired while it is held
	connected bool                         // the notifier sends messages
	lostAt    time.Time                    // when it last did not, after it did
	sessions  map[string]map[*session]bool // by the names of their records and of those of their subject
	unsaved   map[*session]bool            // obtained without the store
	marks     map[pendingMark]bool
	scheduled bool // a call of flush
}

// A pendingMark is a mark that has not been saved yet.
type pendingMark struct {
	record string // names the record of marks
	scope  string
	ttl    time.Duration
}

func newFleet(c *Cache, o Options) (*fleet, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("cache: Options.Store needs Options.Keys, the same ones in all processes")
	}
	keys, err := seal.NewKeyring(purpose, o.Keys)
	if err != nil {
		return nil, fmt.Errorf("cache: Options.Keys %w", err)
	}
	fl := &fleet{
		cache: c, store: o.Store, keys: keys, recheck: o.Recheck, sessionTTL: o.SessionTTL, calls: safecall.NewLimiter(),
		sessions: make(map[string]map[*session]bool), unsaved: make(map[*session]bool), marks: make(map[pendingMark]bool),
	}
	if fl.recheck <= 0 {
		fl.recheck = defaultRecheck
	}
	if fl.sessionTTL <= 0 {
		fl.sessionTTL = defaultSessionTTL
	}
	if n, ok := o.Store.(Notifier); ok {
		fl.notifier = n
		n.Subscribe(fl.receive, fl.setConnected)
	}
	return fl, nil
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

// prune prepares the record r of s to be saved, and returns its plain text.
func (fl *fleet) prune(s *session, r *sessionRecord, scopes string) []byte {
	ttl := fl.sessionTTL
	if s.stateTTL > 0 {
		ttl = r.expire(s.stateTTL)
	}
	return r.prune(scopes, ttl)
}

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

	signIn     string // random ID of the last call of Put; empty if there was none
	replaces   string // signIn of the previous one
	signedInAt time.Time
}

// join makes s a session that the fleet shares. The session's mutex is held.
func (fl *fleet) join(s *session) {
	if s.shared != nil {
		return
	}
	s.shared = &sharedSession{fleet: fl, names: newSessionNames(fl.keys, s.key.key())}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, name := range s.shared.names.all() {
		if fl.sessions[name] == nil {
			fl.sessions[name] = make(map[*session]bool)
		}
		fl.sessions[name][s] = true
	}
}

// leave is the opposite of join.
func (fl *fleet) leave(s *session) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.unsaved, s)
	for _, name := range s.shared.names.all() {
		delete(fl.sessions[name], s)
		if len(fl.sessions[name]) == 0 {
			delete(fl.sessions, name)
		}
	}
}

// receive handles a message from another process. If that process ended a session, name is the subject's. If it did not
// find the record of a session, name is the session's.
func (fl *fleet) receive(name string) {
	fl.mu.Lock()
	sessions := slices.Collect(maps.Keys(fl.sessions[name]))
	fl.mu.Unlock()
	for _, s := range sessions {
		if slices.Contains(s.shared.names.session, name) {
			fl.restore(s)
		} else { // at their next use, the sessions of the subject check the marks
			s.suspicious(true)
		}
	}
}

// restore saves a session for another process that misses its record, because the store has evicted or lost it.
func (fl *fleet) restore(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shared
	// With the record, the store may have lost the mark of a sign-out.
	if s.state == nil || sh.suspect || sh.restoring {
		return
	}
	sh.restoring = true
	fl.breaker.retry() // the message has shown that the store works
	go func() {
		ctx := context.Background()
		l, err := fl.load(ctx, nil, s, false)
		if err == nil && l.record.State == "" {
			_ = fl.update(ctx, nil, s, l, nil, nil) // after a failure, the other process repeats its query
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		sh.restoring = false
	}()
}

// query tells the other processes that the record of s is missing.
func (fl *fleet) query(ctx context.Context, h *Handle, s *session) {
	for _, name := range s.shared.names.session {
		_, _ = call(ctx, fl, h, opNotify, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, fl.notifier.Notify(ctx, name)
		})
	}
}

// mostQueries returns how often a flight calls query.
func (fl *fleet) mostQueries() int {
	if fl.notifier == nil {
		return 0
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if !fl.lostAt.IsZero() && (!fl.connected || since(time.Now(), fl.lostAt) < afterLoss) {
		return queriesAfterLoss
	}
	return queries
}

// setConnected makes all sessions check the marks at their next use, because messages may have been lost.
func (fl *fleet) setConnected(connected bool) {
	fl.mu.Lock()
	if fl.connected || !fl.lostAt.IsZero() {
		fl.lostAt = time.Now()
	}
	fl.connected = connected
	all := make(map[*session]bool)
	for _, sessions := range fl.sessions {
		maps.Copy(all, sessions)
	}
	fl.mu.Unlock()
	for s := range all {
		s.suspicious(false)
	}
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
// check if there is none. The session's mutex is held.
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

func (fl *fleet) isConnected() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.connected
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

// call calls the store, unless its breaker is open.
func call[T any](ctx context.Context, fl *fleet, h *Handle, op string, f func(context.Context) (T, error),
) (v T, err error) {
	for {
		ok, probe := fl.breaker.allow()
		if ok {
			break
		}
		if probe == nil {
			return v, errStoreOpen
		}
		select {
		case <-probe:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	v, err = safecall.Do(limited, fl.calls, f)
	event := Event{Kind: EventStore, Op: op, Took: time.Since(start)}
	switch {
	case err == nil:
		fl.breaker.close()
	case errors.Is(err, ErrConflict):
		fl.breaker.close()
		fl.conflicts.Add(1)
		err = ErrConflict
	case ctx.Err() != nil:
		fl.breaker.abandon()
		err = ctx.Err()
	default:
		fl.failures.Add(1)
		event.RetryIn = fl.breaker.open()
		err = fmt.Errorf("cache: %s of the store failed: %s", op, redact.Text(err.Error(), 300))
	}
	if fl.observed(h) {
		event.Err = err
		fl.emit(h, event)
	}
	return v, err
}

var (
	errStoreOpen  = errors.New("cache: the store failed a moment ago and is not called yet")
	errUnreadable = errors.New("cache: a record in the store cannot be read; it was sealed with another key or changed")
)

func (fl *fleet) observed(h *Handle) bool {
	return fl.cache.onEvent != nil || h != nil && h.OnEvent != nil
}

// emit calls OnEvent. h is nil if no handle caused the event.
func (fl *fleet) emit(h *Handle, e Event) {
	if h != nil {
		h.emit(e)
	} else {
		safecall.Notify(fl.cache.onEvent, e)
	}
}

// A storeBreaker stops calls of a failing store, so that it costs one time-out and not one for each caller.
type storeBreaker struct {
	mu      sync.Mutex    // guards the fields below
	retryAt time.Time     // zero if the breaker is closed
	probe   chan struct{} // closed after the probe in flight; nil without one
}

// allow reports whether the store may be called. After the wait it allows one probe. While that is in flight, allow
// returns a channel that is closed after it. Otherwise the first users after an outage would get an error.
func (b *storeBreaker) allow() (ok bool, probe <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.retryAt.IsZero():
		return true, nil
	case b.probe != nil:
		return false, b.probe
	case before(time.Now(), b.retryAt):
		return false, nil
	}
	b.probe = make(chan struct{})
	return true, nil
}

func (b *storeBreaker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retryAt = time.Time{}
	b.endProbe()
}

// endProbe lets the callers continue that wait for the probe. b.mu is held.
func (b *storeBreaker) endProbe() {
	if b.probe != nil {
		close(b.probe)
		b.probe = nil
	}
}

func (b *storeBreaker) open() (retryIn time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	retryIn = breakerMin + time.Duration(mathrand.Int64N(int64(breakerMin)))
	b.retryAt = time.Now().Add(retryIn)
	b.endProbe()
	return retryIn
}

// abandon allows another probe, since the caller of this one has left.
func (b *storeBreaker) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endProbe()
}

// retry allows the next call.
func (b *storeBreaker) retry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.retryAt.IsZero() {
		b.retryAt = time.Now()
	}
}

// wait returns when the store may be called, or done is closed.
func (b *storeBreaker) wait(ctx context.Context, done <-chan struct{}) {
	b.mu.Lock()
	left := until(time.Now(), b.retryAt)
	b.mu.Unlock()
	select {
	case <-time.After(left):
	case <-done:
	case <-ctx.Done():
	}
}

func (b *storeBreaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.retryAt.IsZero()
}

// read loads the record of name into v and returns it. found is false if there is no record or it cannot be read. The
// version of an unreadable record is returned for the write that replaces it.
func (fl *fleet) read(ctx context.Context, h *Handle, name string, v record) (r Record, found bool, err error) {
	r, err = call(ctx, fl, h, opLoad, func(ctx context.Context) (Record, error) { return fl.store.Load(ctx, name) })
	if err != nil {
		return Record{}, false, err
	}
	fl.loads.Add(1)
	if r.TTL <= 0 || len(r.Value) == 0 {
		return r, false, nil
	}
	plain, ok := fl.keys.Open(name, r.Value)
	if !ok || !decode(plain, v) {
		fl.unreadable.Add(1)
		if fl.observed(h) {
			fl.emit(h, Event{Kind: EventStore, Op: opLoad, Err: errUnreadable})
		}
		return r, false, nil
	}
	return r, true, nil
}

func (fl *fleet) write(ctx context.Context, h *Handle, name string, plain []byte, old Version, ttl time.Duration,
) (Version, error) {
	sealed := fl.keys.Seal(name, plain)
	version, err := call(ctx, fl, h, opSave, func(ctx context.Context) (Version, error) {
		return fl.store.Save(ctx, name, sealed, old, ttl)
	})
	if err == nil {
		fl.saves.Add(1)
	}
	return version, err
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

// age returns how long ago a record was saved, by the store's clock.
func age(saved, left time.Duration) time.Duration { return max(0, saved-left) }

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
	var marks *subjectRecord
	var marksErr error
	read := make(chan struct{})
	if marksToo {
		go func() {
			defer close(read)
			marks, _, marksErr = fl.loadMarks(ctx, h, sh.names.marks)
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
	if err == nil && marksErr == nil && marksToo && marks == nil {
		marks, _, marksErr = fl.loadMarks(ctx, h, sh.names.marks)
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

// next ends the flight if the session has its result, and otherwise returns the next step. err is the error of the store.
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
	case stored.leased(f.id) && f.served != nil:
		e.postpone(f.served, min(leaseTime-stored.LeaseAge, 2*time.Second))
		e.end(f, f.served, nil)
		return finished
	case stored.leased(f.id) && l.left > 0:
		return awaitLease
	case stored.leased(f.id):
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
		s.shared.known, s.shared.startedAt = false, time.Now()
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

// saveLater saves a session when the store is back.
func (fl *fleet) saveLater(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		return
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.unsaved[s] = true
	fl.schedule()
}

func (fl *fleet) countUnsaved() int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return len(fl.unsaved)
}

// schedule calls flush in a while. fl.mu is held.
func (fl *fleet) schedule() {
	if !fl.scheduled && len(fl.unsaved)+len(fl.marks) > 0 {
		fl.scheduled = true
		time.AfterFunc(2*breakerMin+time.Duration(mathrand.Int64N(int64(breakerMin))), fl.flush)
	}
}

// flush saves what could not be saved before. Marks are first, so that no ended session is saved.
func (fl *fleet) flush() {
	ctx := context.Background()
	fl.mu.Lock()
	marks, unsaved := slices.Collect(maps.Keys(fl.marks)), slices.Collect(maps.Keys(fl.unsaved))
	fl.mu.Unlock()
	var failed atomic.Bool
	for _, m := range marks {
		if failed.Load() || fl.mark(ctx, m, rand.Text()) != nil {
			failed.Store(true)
			break
		}
		fl.mu.Lock()
		delete(fl.marks, m)
		fl.mu.Unlock()
	}
	for chunk := range slices.Chunk(unsaved, 16) {
		var wg sync.WaitGroup
		for i, s := range chunk {
			save := func() {
				if failed.Load() {
					return
				}
				// An error other than a conflict is one of the store.
				if err := fl.update(ctx, nil, s, nil, nil, nil); err != nil {
					failed.Store(!errors.Is(err, ErrConflict))
					return
				}
				fl.mu.Lock()
				delete(fl.unsaved, s)
				fl.mu.Unlock()
			}
			if i == 0 { // alone, as the probe of the breaker
				save()
			} else {
				wg.Go(save)
			}
		}
		wg.Wait()
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.scheduled = false
	fl.schedule()
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
// they expire. A failure has no effect. A session that has started since then has the mark, and stays.
func (fl *fleet) erase(ctx context.Context, k Key, markID string) {
	for _, name := range newSessionNames(fl.keys, k).session {
		var r sessionRecord
		if old, found, err := fl.read(ctx, nil, name, &r); err == nil && found && !slices.Contains(r.Epochs[:], markID) {
			empty := &sessionRecord{Epochs: r.Epochs, TTL: time.Minute}
			_, _ = fl.write(ctx, nil, name, encode(empty), old.Version, empty.TTL)
		}
	}
}
