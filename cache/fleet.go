package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entratoken/entra/internal/safecall"
	"github.com/entratoken/entra/internal/seal"
)

// docs/design/fleet.md explains the protocol and its constants.
const (
	storeTimeout      = 250 * time.Millisecond // of one call of the store
	breakerMin        = time.Second            // the breaker stays open for this, and at most twice as long
	leaseTime         = 10 * time.Second
	refreshLease      = fetchTimeout + grace // of a lease for callers that have a token in the meantime
	maxUpdates        = 20                   // attempts to save a record that others change
	maxRetries        = 3                    // of a store that fails, for a user who would get an error
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

// A fleet is the second level of a cache: the records in a store that several processes share. Flights
// (sharedflight.go), sign-ins (sharedsession.go), checks and purges (marks.go) use it. So do the saves after an outage
// (flush) and for another process (restore). A hit does not.
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
	marks     map[string][]pendingMark     // by the first name of the record
	scheduled bool                         // a call of flush
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
		sessions: make(map[string]map[*session]bool), unsaved: make(map[*session]bool), marks: make(map[string][]pendingMark),
	}
	if fl.recheck == 0 {
		fl.recheck = defaultRecheck
	}
	if fl.sessionTTL == 0 {
		fl.sessionTTL = defaultSessionTTL
	}
	if n, ok := o.Store.(Notifier); ok {
		fl.notifier = n
		n.Subscribe(fl.receive, fl.setConnected)
	}
	return fl, nil
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
	if !connected && !fl.connected { // another attempt has failed
		fl.mu.Unlock()
		return
	}
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

func (fl *fleet) isConnected() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.connected
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
	var failed atomic.Bool
	failed.Store(!fl.flushMarks(ctx))
	fl.mu.Lock()
	unsaved := slices.Collect(maps.Keys(fl.unsaved))
	fl.mu.Unlock()
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
	fl.flushMessages(ctx)
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.scheduled = false
	fl.schedule()
}
