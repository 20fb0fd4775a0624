package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// A scriptedStore returns the given records, one for each call of Load. After them it has none.
type scriptedStore struct {
	records []func(name string) (Record, error)
	loaded  []string // names
	saved   []Record // plain text
	fleet   *fleet

	mu      sync.Mutex // guards the fields below, and records and loaded
	saveErr error      // of all calls of Save
}

func (s *scriptedStore) failSaves(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saveErr = err
}

func (s *scriptedStore) Load(_ context.Context, name string) (Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = append(s.loaded, name)
	if len(s.records) == 0 {
		return Record{}, nil
	}
	next := s.records[0]
	s.records = s.records[1:]
	return next(name)
}

func (s *scriptedStore) Save(_ context.Context, name string, value []byte, old Version, ttl time.Duration,
) (Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	plain, _ := s.fleet.keys.Open(name, value)
	s.saved = append(s.saved, Record{plain, old, ttl})
	return "saved", s.saveErr
}

// sealed returns a record that can be read.
func (s *scriptedStore) sealed(r record, version Version, ttl time.Duration) func(string) (Record, error) {
	return s.sealedText(string(encode(r)), version, ttl)
}

func (s *scriptedStore) sealedText(plain string, version Version, ttl time.Duration) func(string) (Record, error) {
	return func(name string) (Record, error) {
		return Record{s.fleet.keys.Seal(name, []byte(plain)), version, ttl}, nil
	}
}

// raw returns a record with that value.
func raw(value string, ttl time.Duration) func(string) (Record, error) {
	return func(string) (Record, error) { return Record{[]byte(value), "raw", ttl}, nil }
}

var errStore = errors.New("no connection")

func fails(string) (Record, error) { return Record{}, errStore }

var aliceKey = Key{
	Authority: "https://login.example/t", ClientID: "app", Flow: "flow", Subject: "alice", Session: "browser",
}

// scripted returns a cache with such a store, and an entry of alice's session.
func scripted(change ...func(*Options)) (*scriptedStore, *Handle, *entry) {
	store := &scriptedStore{}
	o := Options{Store: store, Keys: []SealKey{NewSealKey([]byte("0123456789abcdef0123456789abcdef"))}}
	for _, f := range change {
		f(&o)
	}
	c := New(o)
	store.fleet = c.fleet
	h := NewHandle(c, aliceKey, "s")
	e, err := h.lock()
	if err != nil {
		panic(err)
	}
	e.session.mu.Unlock()
	return store, h, e
}

// cached returns a token of an hour that was obtained earlier.
func cached(text string, age time.Duration) *token {
	at := time.Now().Add(-age)
	t := &token{
		oauth:      oauth2.Token{AccessToken: text, TokenType: "Bearer", Expiry: at.Add(time.Hour).Round(0)},
		obtainedAt: at, refreshAfter: 40 * time.Minute, usableFor: 59 * time.Minute,
	}
	new(session).setDue(t, t.refreshAfter)
	return t
}

func TestFleetForgetsDroppedSessions(t *testing.T) {
	_, h, e := scripted()
	fl := h.cache.fleet
	names := e.session.shared.names.all()
	other := aliceKey
	other.Session = "phone"
	second, err := NewHandle(h.cache, other, "s").lock()
	if err != nil {
		t.Fatal(err)
	}
	second.session.mu.Unlock()
	if got := len(fl.sessions); got != 3 {
		t.Fatalf("got %d names, want 3: two sessions and their subject", got)
	}
	fl.unsaved[e.session] = true
	h.cache.remove(e.session)
	if fl.sessions[names[0]] != nil || !fl.sessions[names[1]][second.session] || len(fl.sessions[names[1]]) != 1 ||
		len(fl.unsaved) != 0 {
		t.Errorf("got sessions %v and %d unsaved, want only the second session", fl.sessions, len(fl.unsaved))
	}
	h.cache.remove(second.session)
	if len(fl.sessions) != 0 {
		t.Errorf("got the names %v after all sessions were dropped, want none", fl.sessions)
	}
}

func TestSuspicionAppliesToStartedSessions(t *testing.T) {
	for _, tt := range []struct {
		name             string
		started, dropped bool
		ended            []bool // of each call
		stale, suspect   bool
		count            int
	}{
		{"not started", false, false, []bool{true}, false, true, 1},
		{"dropped", true, true, []bool{true}, false, true, 1},
		{"maybe ended", true, false, []bool{true}, true, true, 1},
		{"lost messages", true, false, []bool{false}, true, false, 1},
		{"both", true, false, []bool{true, false}, true, true, 2},
	} {
		_, _, e := scripted()
		s := e.session
		s.shared.started, s.dropped = tt.started, tt.dropped
		e.current.Store(cached("t", 0))
		for _, ended := range tt.ended {
			s.suspicious(ended)
		}
		sh := s.shared
		if sh.stale != tt.stale || sh.suspect != tt.suspect || sh.suspicions != tt.count {
			t.Errorf("%s: got stale = %v, suspect = %v, %d suspicions; want %v, %v, %d", tt.name,
				sh.stale, sh.suspect, sh.suspicions, tt.stale, tt.suspect, tt.count)
		}
		if served := e.current.Load().due.Load() > 0; served == tt.stale {
			t.Errorf("%s: got a token that is served without a check = %v, want %v", tt.name, served, !tt.stale)
		}
	}
}

// judge compares the marks with the session.
func TestMarkEndsEarlierSessions(t *testing.T) {
	own := [3]string{"e0", "e1", "e2"}
	for _, tt := range []struct {
		name       string
		started    bool
		startedAgo time.Duration // of a session without known epochs
		known      bool
		contactAgo time.Duration // 0 means never
		marks      func(scopes [3]string) []mark
		want       bool
	}{
		{"no mark", true, 0, true, time.Minute, nil, false},
		{"its own marks", true, 0, true, time.Minute, func(s [3]string) []mark {
			return []mark{{s[0], "e0", 1}, {s[1], "e1", 1}, {s[2], "e2", 1}}
		}, false},
		{"another mark of its subject", true, 0, true, time.Minute,
			func(s [3]string) []mark { return []mark{{s[0], "other", 1}} }, true},
		{"another mark of the session", true, 0, true, time.Minute,
			func(s [3]string) []mark { return []mark{{s[2], "other", 1}} }, true},
		{"a mark of another session", true, 0, true, time.Minute,
			func(s [3]string) []mark { return []mark{{"x", "other", 1}} }, false},
		{"not started", false, 0, false, 0, func(s [3]string) []mark { return []mark{{s[0], "other", 1}} }, false},
		{"a mark from before an offline start", true, 10 * time.Second, false, 0,
			func(s [3]string) []mark { return []mark{{s[0], "other", 10*time.Second + slack + 1}} }, false},
		{"a mark that may be from after it", true, 10 * time.Second, false, 0,
			func(s [3]string) []mark { return []mark{{s[0], "other", 10*time.Second + slack}} }, true},
		{"offline, and no mark has expired", true, defaultSessionTTL * 3 / 2, false, 0, nil, false},
		{"offline for longer", true, defaultSessionTTL*3/2 + 1, false, 0, nil, true},
		{"no mark has expired since they were read", true, 0, true, defaultSessionTTL * 3 / 2, nil, false},
		{"longer ago", true, 0, true, defaultSessionTTL*3/2 + 1, nil, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, _, e := scripted()
			s, sh := e.session, e.session.shared
			sh.started, sh.known, sh.epochs = tt.started, tt.known, own
			if !tt.known {
				sh.epochs = epochs{}
			}
			sh.startedAt = time.Now().Add(-tt.startedAgo)
			if tt.contactAgo > 0 {
				sh.contact = time.Now().Add(-tt.contactAgo)
			}
			marks := loadedMarks{at: time.Now()}
			if tt.marks != nil {
				marks.Marks = tt.marks(sh.names.scopes)
			}
			if got := s.judge(&marks, 0); got != tt.want {
				t.Errorf("%s: got ended = %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}

// A session counts as checked unless a message has arrived during the check.
func TestMessageDuringCheckCausesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []bool{false, true} {
			_, _, e := scripted()
			s, sh := e.session, e.session.shared
			sh.started, sh.known = true, true
			s.suspicious(true)
			seen := sh.suspicions
			if late {
				s.suspicious(true)
			}
			marks := loadedMarks{at: time.Now()}
			time.Sleep(time.Millisecond) // the response of the store
			if s.judge(&marks, seen) || sh.stale != late || sh.suspect != late {
				t.Errorf("late message %v: got stale = %v and suspect = %v, want %v", late, sh.stale, sh.suspect, late)
			}
			if got := sh.checkAt.Sub(marks.at); got != defaultRecheck || sh.contact != marks.at {
				t.Errorf("got the next check in %v, want %v", got, defaultRecheck)
			}
			sh.fleet.connected = true
			if ended := s.judge(&marks, seen); ended || sh.checkAt.Sub(marks.at) != defaultSessionTTL/2 {
				t.Errorf("with messages: got the next check in %v, want half of SessionTTL", sh.checkAt.Sub(marks.at))
			}
		}
	})
}

// Waits after a failure of the store are spread over a second, so that processes do not call it at the same moment.
func TestWaitsForTheStoreAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, e := scripted()
		var waits []time.Duration
		for range 200 {
			e.session.unchecked()
			waits = append(waits, time.Until(e.session.shared.checkAt), new(storeBreaker).open())
		}
		first, last := slices.Min(waits), slices.Max(waits)
		if first < time.Second || first > 1200*time.Millisecond || last < 1800*time.Millisecond || last >= 2*time.Second {
			t.Errorf("got waits from %v to %v, want them spread from 1s to 2s", first, last)
		}
	})
}

func TestEventsOfTheStore(t *testing.T) {
	var mu sync.Mutex // of the lists of events: a sign-in loads two records at once
	record := func(to *[]string) func(Event) {
		return func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == EventStore {
				*to = append(*to, fmt.Sprint(e.Op, " ", e.Err))
			}
		}
	}
	for _, tt := range []struct{ all, own bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		var all, own []string
		store, h, _ := scripted(func(o *Options) {
			if tt.all {
				o.OnEvent = record(&all)
			}
		})
		if tt.own {
			h.OnEvent = record(&own)
		}
		if _, err := h.Put(t.Context(), Response{AccessToken: "t", Lifetime: time.Hour}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		slices.Sort(own)
		signIn := []string{"load <nil>", "load <nil>", "save <nil>"}
		for name, got := range map[string]struct {
			on     bool
			events []string
		}{"Options.OnEvent": {tt.all, all}, "Handle.OnEvent": {tt.own, own}} {
			want := signIn
			if !got.on {
				want = nil
			}
			if !slices.Equal(got.events, want) {
				t.Errorf("%+v: %s got the events %q, want %q", tt, name, got.events, want)
			}
		}
		all, own = nil, nil
		store.records = append(store.records, raw("x", time.Hour), raw("x", time.Hour))
		if _, err := h.cache.PurgeSession(t.Context(), aliceKey); err != nil {
			t.Fatal(err)
		}
		unreadable := "load " + errUnreadable.Error()
		purge := []string{"load <nil>", unreadable, "load <nil>", unreadable, "save <nil>", "load <nil>"}
		if !tt.all {
			purge = nil
		}
		if !slices.Equal(all, purge) || len(own) != 0 {
			t.Errorf("%+v: a purge without a handle: got the events %q and %q, want %q and none", tt, all, own, purge)
		}
	}
}

func TestReadOfStore(t *testing.T) {
	stored := &subjectRecord{TTL: 1, Marks: []mark{{"s", "m", 1}}}
	for _, tt := range []struct {
		name       string
		record     func(s *scriptedStore) func(string) (Record, error)
		found      bool
		version    Version
		unreadable uint64
	}{
		{"a record", func(s *scriptedStore) func(string) (Record, error) { return s.sealed(stored, "v", 1) }, true, "v", 0},
		{"an expired record", func(s *scriptedStore) func(string) (Record, error) { return s.sealed(stored, "v", 0) },
			false, "v", 0},
		{"an empty value", func(*scriptedStore) func(string) (Record, error) { return raw("", time.Hour) }, false, "raw", 0},
		{"another seal", func(*scriptedStore) func(string) (Record, error) { return raw("x", time.Hour) }, false, "raw", 1},
		{"another format", func(s *scriptedStore) func(string) (Record, error) { return s.sealedText("{}", "v", 1) },
			false, "v", 1},
	} {
		store, h, _ := scripted()
		store.records = append(store.records, tt.record(store))
		var v subjectRecord
		r, found, err := h.cache.fleet.read(t.Context(), h, "name", &v)
		stats := h.cache.Stats()
		if err != nil || found != tt.found || r.Version != tt.version || found && !reflect.DeepEqual(&v, stored) ||
			stats.StoreLoads != 1 || stats.StoreUnreadable != tt.unreadable {
			t.Errorf("%s: got found = %v, version %q, error %v, %d loads and %d unreadable; want %v, %q, no error, 1 and %d",
				tt.name, found, r.Version, err, stats.StoreLoads, stats.StoreUnreadable, tt.found, tt.version, tt.unreadable)
		}
	}
}

func TestWritesAreCounted(t *testing.T) {
	store, h, _ := scripted()
	for i, err := range []error{nil, ErrConflict, errStore} {
		store.failSaves(err)
		_, got := h.cache.fleet.write(t.Context(), h, "name", encode(&subjectRecord{}), "", time.Hour)
		if (got == nil) != (err == nil) {
			t.Errorf("got error %v, want %v", got, err)
		}
		s := h.cache.Stats()
		if want := []uint64{1, uint64(min(i, 1)), uint64(i / 2)}; s.StoreSaves != want[0] || s.StoreConflicts != want[1] ||
			s.StoreErrors != want[2] {
			t.Errorf("after %v: got %d saves, %d conflicts, %d errors; want %d", err,
				s.StoreSaves, s.StoreConflicts, s.StoreErrors, want)
		}
	}
}

// An unreadable record of marks is read twice: without them, a session that starts would count as ended later.
func TestUnreadableMarksAreReadAgain(t *testing.T) {
	for _, tt := range []struct {
		name    string
		records func(s *scriptedStore) []func(string) (Record, error)
		loads   int
		marks   int
		ok      bool
	}{
		{"marks", func(s *scriptedStore) []func(string) (Record, error) {
			return []func(string) (Record, error){s.sealed(&subjectRecord{TTL: 9, Marks: []mark{{"s", "m", 1}}}, "v", 4)}
		}, 1, 1, true},
		{"none", func(*scriptedStore) []func(string) (Record, error) { return nil }, 1, 0, true},
		{"expired", func(*scriptedStore) []func(string) (Record, error) {
			return []func(string) (Record, error){raw("x", 0)}
		}, 1, 0, true},
		{"empty", func(*scriptedStore) []func(string) (Record, error) {
			return []func(string) (Record, error){raw("", time.Hour)}
		}, 1, 0, true},
		{"unreadable once", func(s *scriptedStore) []func(string) (Record, error) {
			return []func(string) (Record, error){
				raw("x", time.Hour), s.sealed(&subjectRecord{TTL: 9, Marks: []mark{{"s", "m", 1}}}, "v", 4),
			}
		}, 2, 1, true},
		{"unreadable", func(*scriptedStore) []func(string) (Record, error) {
			return []func(string) (Record, error){raw("x", time.Hour), raw("x", time.Hour)}
		}, 2, 0, true},
		{"an error", func(*scriptedStore) []func(string) (Record, error) {
			return []func(string) (Record, error){fails}
		}, 1, 0, false},
	} {
		store, h, _ := scripted()
		store.records = tt.records(store)
		marks, err := h.cache.fleet.loadMarks(t.Context(), h, []string{"name"})
		if len(store.loaded) != tt.loads || (err == nil) != tt.ok {
			t.Errorf("%s: got %d loads and error %v, want %d and success = %v", tt.name, len(store.loaded), err, tt.loads, tt.ok)
		}
		if err != nil {
			continue
		}
		if len(marks.Marks) != tt.marks ||
			tt.marks > 0 && (marks.Marks[0] != mark{"s", "m", 6} || marks.version != "v") {
			t.Errorf("%s: got the marks %+v of version %q, want %d with an age of 6 ns", tt.name, marks.Marks, marks.version,
				tt.marks)
		}
	}
}

func TestLoadReadsMarksIfNecessary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := epochs{"e"}
		record := sessionRecord{Epochs: own, TTL: 10, State: "state", StateAge: 1}
		for _, tt := range []struct {
			name     string
			change   func(*sharedSession)
			marksToo bool
			epochs   epochs // of the record
			loads    int
		}{
			{"checked", nil, false, own, 1},
			{"on demand", nil, true, own, 2},
			{"unknown epochs", func(sh *sharedSession) { sh.known = false }, false, own, 2},
			{"stale", func(sh *sharedSession) { sh.stale = true }, false, own, 2},
			{"the next check is not due", func(sh *sharedSession) { sh.checkAt = time.Now().Add(1) }, false, own, 1},
			{"the next check is due", func(sh *sharedSession) { sh.checkAt = time.Now() }, false, own, 2},
			{"other epochs", nil, false, epochs{"f"}, 2},
			{"other epochs than the marks", nil, true, epochs{"f"}, 3}, // the marks may be older than the record
		} {
			store, h, e := scripted()
			sh := e.session.shared
			sh.started, sh.known, sh.epochs, sh.contact = true, true, own, time.Now()
			if tt.change != nil {
				tt.change(sh)
			}
			record.Epochs = tt.epochs
			session := sh.names.session[0]
			r := store.sealed(&record, "v", 7)
			find := func(name string) (Record, error) {
				if name == session {
					return r(name)
				}
				return Record{}, nil
			}
			store.records = append(store.records, find, find)
			l, err := h.cache.fleet.load(t.Context(), h, e.session, tt.marksToo)
			if err != nil || l.ended || l.corrupt || l.version != "v" || l.record.State != "state" ||
				l.record.StateAge != 4 {
				t.Fatalf("%s: got %+v, error %v; want the record, 3 ns old", tt.name, l, err)
			}
			if len(store.loaded) != tt.loads {
				t.Errorf("%s: got %d loads, want %d", tt.name, len(store.loaded), tt.loads)
			}
			if sh.epochs != tt.epochs {
				t.Errorf("%s: got the epochs %q, want those of the record", tt.name, sh.epochs)
			}
		}
	})
}

func TestUnreadableRecordIsCorrupt(t *testing.T) {
	for _, tt := range []struct {
		name    string
		records []func(string) (Record, error) // for both keys
		want    bool
	}{
		{"none", nil, false},
		{"unreadable", []func(string) (Record, error){raw("x", time.Hour)}, true},
		{"unreadable with the second key", []func(string) (Record, error){raw("", 0), raw("x", time.Hour)}, true},
		{"expired", []func(string) (Record, error){raw("x", 0)}, false},
		{"empty", []func(string) (Record, error){raw("", time.Hour)}, false},
	} {
		store, h, e := scripted(func(o *Options) {
			o.Keys = append(o.Keys, NewSealKey([]byte("fedcba9876543210fedcba9876543210")))
		})
		sh := e.session.shared
		sh.started, sh.known = true, true
		store.records = tt.records
		l, err := h.cache.fleet.load(t.Context(), h, e.session, false)
		if err != nil || l.corrupt != tt.want || len(store.loaded) != 2 {
			t.Errorf("%s: got corrupt = %v, error %v after %d loads; want %v after 2", tt.name, l.corrupt, err,
				len(store.loaded), tt.want)
		}
	}
}

func TestSnapshotHasTheContentsOfSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h, e := scripted()
		s, sh := e.session, e.session.shared
		sh.epochs = epochs{"a", "", "c"}
		wantRecord(t, "empty", s.snapshot(nil), sessionRecord{Epochs: sh.epochs})
		now := time.Now()
		s.state = &sessionState{"state", now.Add(-time.Minute)}
		sh.signIn, sh.signedInAt = "id", now.Add(-time.Hour)
		e.current.Store(cached("t", 5*time.Minute))
		s.entry("no token")
		other := s.entry("other")
		other.current.Store(cached("u", 6*time.Minute))
		want := sessionRecord{
			Epochs: sh.epochs, SignIn: "id", SignedIn: time.Hour, State: "state", StateAge: time.Minute,
			Entries: []entryRecord{
				{Scopes: "other", Token: newTokenRecord(other.current.Load(), now)},
				{Scopes: "s", Token: newTokenRecord(e.current.Load(), now)},
			},
		}
		wantRecord(t, "all", s.snapshot(nil), want)
		want.Entries = want.Entries[:1]
		wantRecord(t, "without one", s.snapshot(e), want)
		h.cache.remove(s)
		wantRecord(t, "dropped", s.snapshot(nil), sessionRecord{Epochs: sh.epochs})
	})
}

func TestSessionAdoptsNewerValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const own = 10 * time.Second // the age of the token in memory
		entryOf := func(text string, age time.Duration) []entryRecord {
			return []entryRecord{{Scopes: "S", Token: aged(text, age)}}
		}
		for _, tt := range []struct {
			name      string
			r         sessionRecord
			preferred bool
			rejected  string
			token     string
			version   uint64
		}{
			{"nothing", sessionRecord{}, false, "", "memory", 1},
			{"another scope set", sessionRecord{Entries: []entryRecord{{Scopes: "x", Token: aged("x", 1)}}}, false, "", "memory", 1},
			{"an older token", sessionRecord{Entries: entryOf("stored", own+1)}, false, "", "memory", 1},
			{"a token of the same age", sessionRecord{Entries: entryOf("stored", own)}, false, "", "memory", 1},
			{"a younger token", sessionRecord{Entries: entryOf("stored", own-1)}, false, "", "stored", 1},
			{"an older token that is preferred", sessionRecord{Entries: entryOf("stored", own+1)}, true, "", "stored", 1},
			{"an expired token", sessionRecord{Entries: entryOf("stored", time.Hour)}, true, "", "memory", 1},
			{"a rejected token", sessionRecord{Entries: entryOf("stored", own-1)}, true, "stored", "memory", 1},
			{"an older token of a later sign-in",
				sessionRecord{SignIn: "later", SignedIn: 3, Entries: entryOf("stored", own+1)}, false, "", "stored", 2},
			{"another state", sessionRecord{State: "stored", StateAge: 4}, false, "", "memory", 2},
			{"a later sign-in with a state", sessionRecord{SignIn: "later", State: "stored", StateAge: 4},
				false, "", "memory", 3},
		} {
			_, h, e := scripted()
			s, sh := e.session, e.session.shared
			memory := cached("memory", own)
			e.current.Store(memory)
			if tt.rejected != "" {
				e.record().invalidated = &invalidation{token: tt.rejected}
			}
			s.version, s.state, sh.signIn = 1, &sessionState{text: "own"}, "own"
			signIn, state := tt.r.SignIn, tt.r.State
			if signIn == "" {
				tt.r.SignIn = "own"
			}
			if state == "" {
				tt.r.State = "own"
			}
			preferred := e
			if !tt.preferred {
				preferred = nil
			}
			s.adopt(&tt.r, h, preferred)
			if got := e.current.Load().oauth.AccessToken; got != tt.token || s.version != tt.version {
				t.Errorf("%s: got token %q and version %d, want %q and %d", tt.name, got, s.version, tt.token, tt.version)
			}
			if signIn != "" && (sh.signIn != signIn || time.Since(sh.signedInAt) != tt.r.SignedIn) {
				t.Errorf("%s: got sign-in %q %v ago, want %q %v ago", tt.name, sh.signIn, time.Since(sh.signedInAt),
					signIn, tt.r.SignedIn)
			}
			if state != "" && (s.stateText() != state || time.Since(s.state.at) != tt.r.StateAge) {
				t.Errorf("%s: got state %+v, want %q of %v ago", tt.name, s.state, state, tt.r.StateAge)
			}
			same := aged("memory", 0)
			s.adopt(&sessionRecord{SignIn: "latest", Entries: []entryRecord{{Scopes: "s", Token: same}}}, h, e)
			if tt.token == "memory" && e.current.Load() != memory {
				t.Errorf("%s: got a copy of the token in memory, want the same one", tt.name)
			}
		}
	})
}

func TestEntryAdoptsLaterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decode := func(b []byte) error {
			if len(b) == 0 {
				return nil
			}
			return errors.New(string(b))
		}
		stored := failureRecord{
			Error: "stored", Claims: "c", InARow: 3, Age: 10 * time.Second, RetryIn: time.Minute,
			Throttled: 30 * time.Second,
		}
		for _, tt := range []struct {
			name           string
			change         func(*failureRecord)
			decode         func([]byte) error
			lastAgo        time.Duration // of the failure in memory; 0 if there is none
			invalidatedAgo time.Duration
			want           time.Duration // until retryAt; 0 if it is not adopted
		}{
			{"none in memory", nil, decode, 0, 0, 50 * time.Second},
			{"an earlier one in memory", nil, decode, 10*time.Second + 1, 0, 50 * time.Second},
			{"the same one in memory", nil, decode, 10 * time.Second, 0, 0},
			{"a later one in memory", nil, decode, 9 * time.Second, 0, 0},
			{"before the last call of Invalidate", nil, decode, 0, 9 * time.Second, 20 * time.Second},
			{"after the last call of Invalidate", nil, decode, 0, 10 * time.Second, 50 * time.Second},
			{"the wait has just ended", func(r *failureRecord) { r.RetryIn = r.Age }, decode, 0, 0, 0},
			{"unknown error", func(r *failureRecord) { r.Error = "" }, decode, 0, 0, 0},
			{"failures are not shared", nil, nil, 0, 0, 0},
		} {
			_, h, e := scripted()
			h.DecodeError = tt.decode
			now := time.Now()
			if tt.invalidatedAgo > 0 {
				e.record().invalidated = &invalidation{at: now.Add(-tt.invalidatedAgo)}
			}
			var last *failure
			if tt.lastAgo > 0 {
				last = &failure{err: errStore, at: now.Add(-tt.lastAgo)}
			}
			e.record().failures[challenged] = last
			r := stored
			if tt.change != nil {
				tt.change(&r)
			}
			e.adoptFailure(challenged, &r, h, now)
			got := e.past().failures[challenged]
			if tt.want == 0 {
				if got != last {
					t.Errorf("%s: got %+v, want the failure in memory", tt.name, got)
				}
				continue
			}
			if got == nil || got.err.Error() != "stored" || got.claims != "c" || got.inARow != 3 ||
				now.Sub(got.at) != 10*time.Second || got.retryAt.Sub(now) != tt.want ||
				got.throttledUntil.Sub(now) != 20*time.Second {
				t.Errorf("%s: got %+v, want the stored failure with a wait of %v", tt.name, got, tt.want)
			}
			e.record().failures[challenged] = nil
			if e.adoptFailure(challenged, &r, nil, now); e.past().failures[challenged] != nil {
				t.Errorf("%s, without a handle: got a failure, want none", tt.name)
			}
		}
	})
}

func TestFailureRecordHasTheWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h, _ := scripted()
		at := time.Now().Add(-time.Second)
		f := &failure{err: errStore, claims: "c", inARow: 2, at: at, retryAt: at.Add(time.Minute), throttledUntil: at.Add(-1)}
		if got := newFailureRecord(f, h); got != nil {
			t.Errorf("without EncodeError: got %+v, want none", got)
		}
		h.EncodeError = func(err error) []byte { return []byte(err.Error()) }
		want := failureRecord{Error: "no connection", Claims: "c", InARow: 2, Age: time.Second, RetryIn: time.Minute}
		wantRecord(t, "not throttled", newFailureRecord(f, h), want)
		f.throttledUntil, want.Throttled = at.Add(time.Hour), time.Hour
		wantRecord(t, "throttled", newFailureRecord(f, h), want)
		h.EncodeError = func(error) []byte { return nil }
		if got := newFailureRecord(f, h); got != nil {
			t.Errorf("an error of this process: got %+v, want none", got)
		}
	})
}

// The processes look for a new token within a tenth of the time that the old one has left, and within 30 seconds.
func TestRefreshesOfFleetAreSpread(t *testing.T) {
	_, _, e := scripted()
	for usableFor, most := range map[time.Duration]time.Duration{
		59 * time.Minute: 30 * time.Second, 40*time.Minute + 100*time.Second: 10 * time.Second, 40 * time.Minute: 0,
	} {
		tok := &token{refreshAfter: 40 * time.Minute, usableFor: usableFor}
		var draws []time.Duration
		for range 200 {
			draws = append(draws, e.spread(tok)-tok.refreshAfter)
		}
		first, last := slices.Min(draws), slices.Max(draws)
		if first < 0 || first > most/5 || last > most || last < most-most/5 {
			t.Errorf("usable for %v: got refreshes %v to %v later, want 0 to %v", usableFor, first, last, most)
		}
	}
	alone := &entry{session: &session{}}
	if got := alone.spread(&token{refreshAfter: time.Minute, usableFor: time.Hour}); got != time.Minute {
		t.Errorf("without a store: got %v, want one minute", got)
	}
}

// newFlight returns a flight of e in progress.
func newFlight(h *Handle, e *entry) *flight {
	f := &flight{handle: h, entry: e, done: make(chan struct{})}
	e.flight = f
	return f
}

func closedFlight(f *flight) bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// A flight ends if a purge or a sign-in overtakes it during the first call of the store.
func TestOvertakenFlightEnds(t *testing.T) {
	_, h, e := scripted()
	f := newFlight(h, e)
	e.detached = true
	if !h.cache.fleet.begin(t.Context(), f) || !closedFlight(f) || f.token != nil || f.err != nil || e.flight != nil {
		t.Errorf("purged: got token %v, error %v, want a flight that has ended without a result", f.token, f.err)
	}
	_, h, e = scripted()
	f = newFlight(h, e)
	e.flight = nil
	if !h.cache.fleet.begin(t.Context(), f) || closedFlight(f) {
		t.Error("signed in: got a flight that has ended twice, want it to end once")
	}
}

// A background refresh leaves the lease to another process and looks again after it, within two seconds.
func TestRefreshWaitsForTheLeaseOfAnother(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		0: 2 * time.Second, refreshLease - time.Second: time.Second, refreshLease: -1, // expired: its own lease
	} {
		synctest.Test(t, func(t *testing.T) {
			store, h, e := scripted()
			served := cached("served", 50*time.Minute)
			e.current.Store(served)
			sh := e.session.shared
			sh.started, sh.known = true, true
			f := newFlight(h, e)
			f.served = served
			record := sessionRecord{TTL: time.Hour, Entries: []entryRecord{{Scopes: "s", Lease: "other", LeaseAge: age}}}
			store.records = append(store.records, store.sealed(&record, "v", time.Hour))
			ended := h.cache.fleet.begin(t.Context(), f)
			if ended != (want >= 0) || closedFlight(f) != ended || len(store.saved) == 0 != ended {
				t.Fatalf("lease of %v: got ended = %v and %d saved records, want %v", age, ended, len(store.saved), want >= 0)
			}
			if got := time.Until(served.dueAt()); ended && (got != want || f.token != served) {
				t.Errorf("lease of %v: got the next look after %v, want %v", age, got, want)
			}
		})
	}
}

// The record with the lease keeps the token, unless the token was rejected.
func TestLeaseKeepsTheToken(t *testing.T) {
	for _, rejected := range []string{"", "stored"} {
		synctest.Test(t, func(t *testing.T) {
			store, h, e := scripted()
			sh := e.session.shared
			sh.started, sh.known = true, true
			f := newFlight(h, e)
			f.claims = "other claims, for which the token does not do"
			if rejected != "" {
				e.record().invalidated = &invalidation{token: rejected}
			}
			record := sessionRecord{TTL: time.Hour, Entries: []entryRecord{{Scopes: "s", Token: aged("stored", 0)}}}
			store.records = append(store.records, store.sealed(&record, "v", time.Hour))
			if h.cache.fleet.begin(t.Context(), f) || f.leased == nil || len(store.saved) != 1 {
				t.Fatalf("got %d saved records, want one with the lease", len(store.saved))
			}
			want := record
			want.Entries = []entryRecord{{Scopes: "s", Lease: f.id}}
			want.TTL = time.Minute
			if rejected == "" {
				want.Entries[0].Token, want.TTL = aged("stored", 0), time.Hour
			}
			saved := store.saved[0]
			wantRecord(t, fmt.Sprintf("rejected %q", rejected), decodeSession(t, saved.Value), want)
			if saved.Version != "v" || saved.TTL != want.TTL {
				t.Errorf("rejected %q: saved over version %q for %v, want v and %v", rejected, saved.Version, saved.TTL, want.TTL)
			}
			if f.leased.version != "saved" {
				t.Errorf("got version %q, want that of the saved record", f.leased.version)
			}
		})
	}
}

func TestPatienceIsHalfOfTheCallersTime(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		name      string
		callers   int
		unlimited bool
		deadline  time.Duration
		want      time.Duration
	}{
		{"no callers", 0, false, 10 * time.Second, fetchTimeout / 2},
		{"a deadline", 1, false, 10 * time.Second, 5 * time.Second},
		{"a late deadline", 2, false, time.Minute, fetchTimeout / 2},
		{"a caller without a deadline", 2, true, 10 * time.Second, fetchTimeout / 2},
	} {
		f := flight{callers: tt.callers, unlimited: tt.unlimited, deadline: start.Add(tt.deadline)}
		if got := f.patience(start); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A flight queries the other processes more often while they may not be connected yet.
func TestQueriesAfterALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h, _ := scripted()
		fl := h.cache.fleet
		want := func(when string, most int) {
			t.Helper()
			if got := fl.mostQueries(); got != most {
				t.Errorf("%s: got %d queries, want %d", when, got, most)
			}
		}
		want("a store without messages", 0)
		fl.notifier = pushStore{}
		want("not connected yet", queries)
		fl.setConnected(false)
		want("still not connected", queries)
		fl.setConnected(true)
		time.Sleep(time.Hour)
		want("connected", queries)
		fl.setConnected(false)
		time.Sleep(time.Hour)
		want("lost", queriesAfterLoss)
		fl.setConnected(true)
		want("connected again", queriesAfterLoss)
		time.Sleep(afterLoss - 1)
		want("connected for almost five seconds", queriesAfterLoss)
		time.Sleep(time.Nanosecond)
		want("connected for five seconds", queries)
	})
}

// A pushStore sends no messages.
type pushStore struct{ Store }

func (pushStore) Notify(context.Context, string) error { return nil }

func (pushStore) Subscribe(func(string), func(bool)) {}

// The result of a flight replaces its lease.
func TestResultOfFlightIsSaved(t *testing.T) {
	failed := &failureRecord{Error: "failed", InARow: 1, RetryIn: time.Minute}
	throttled := &failureRecord{Error: "failed", InARow: 1, RetryIn: time.Minute, Throttled: time.Hour}
	entryOf := func(lease string, t *tokenRecord, failures ...*failureRecord) []entryRecord {
		e := entryRecord{Scopes: "s", Lease: lease, Token: t}
		copy(e.Failures[:], failures)
		return []entryRecord{e}
	}
	for _, tt := range []struct {
		name     string
		claims   string
		token    bool
		state    string
		failure  *failureRecord
		replaces string
		leased   []entryRecord // nil if the flight has no lease
		signIn   string        // of the record, in place of the flight's
		want     []entryRecord // nil if nothing is saved
		wantTTL  time.Duration
	}{
		{name: "a token", token: true, leased: entryOf("own", nil, failed, failed),
			want: entryOf("", aged("new", 0), nil, failed), wantTTL: time.Hour},
		{name: "a token for claims", claims: "c", token: true, leased: entryOf("own", nil, failed, failed),
			want: entryOf("", aged("new", 0)), wantTTL: time.Hour},
		{name: "a token without a lease", token: true, want: entryOf("", aged("new", 0)), wantTTL: time.Hour},
		{name: "a token in place of the old one", token: true, replaces: "old", leased: entryOf("own", aged("old", 0)),
			want: entryOf("", aged("new", 0)), wantTTL: time.Hour},
		{name: "a token next to a newer one", token: true, replaces: "old", leased: entryOf("own", aged("newer", 0)),
			want: entryOf("", aged("newer", 0)), wantTTL: time.Hour},
		{name: "a token for claims next to one without them", claims: "c", token: true,
			leased: entryOf("own", aged("newer", 0)), want: entryOf("", aged("new", 0)), wantTTL: time.Hour},
		{name: "the same after a later sign-in", claims: "c", token: true, signIn: "later",
			leased: entryOf("own", aged("newer", 0)), want: entryOf("", aged("newer", 0)), wantTTL: time.Hour},
		{name: "nothing", leased: entryOf("own", aged("old", 0)), want: entryOf("", aged("old", 0)), wantTTL: time.Hour},
		{name: "nothing, with the lease of another", leased: entryOf("other", aged("old", 0))},
		{name: "nothing, without a lease"},
		{name: "a failure", failure: failed, leased: entryOf("own", nil), want: entryOf("", nil, failed),
			wantTTL: 6 * time.Minute},
		{name: "a failure with the lease of another", failure: failed, leased: entryOf("other", nil),
			want: entryOf("other", nil, failed), wantTTL: 6 * time.Minute},
		{name: "a failure of a request with claims", claims: "c", failure: failed, leased: entryOf("own", nil),
			want: entryOf("", nil, nil, failed), wantTTL: 6 * time.Minute},
		{name: "a failure after a later sign-in", failure: failed, signIn: "later", leased: entryOf("other", nil)},
		{name: "Retry-After after a later sign-in", failure: throttled, signIn: "later", leased: entryOf("other", nil),
			want: entryOf("other", nil, throttled), wantTTL: time.Hour + 5*time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			store, h, e := scripted()
			h.EncodeError = func(err error) []byte { return []byte(err.Error()) }
			sh := e.session.shared
			sh.started, sh.known, sh.signIn = true, true, "first"
			sh.signedInAt = time.Now()
			f := newFlight(h, e)
			f.id, f.claims, f.signIn = "own", tt.claims, "first"
			if tt.replaces != "" {
				f.replaces = cached(tt.replaces, 0)
			}
			if r := tt.failure; r != nil {
				now := time.Now()
				f.failure = &failure{
					err: errors.New("failed"), inARow: 1, at: now, retryAt: now.Add(r.RetryIn), throttledUntil: now.Add(r.Throttled),
				}
			}
			record := &sessionRecord{SignIn: cmp.Or(tt.signIn, "first"), Entries: tt.leased}
			if tt.leased != nil {
				f.leased = &loaded{record: record, at: time.Now(), version: "v"}
			}
			var result *token
			if tt.token {
				result = cached("new", 0)
			}
			h.cache.fleet.end(t.Context(), f, result, "")
			if tt.want == nil {
				if len(store.saved) != 0 {
					t.Errorf("%s: got %+v, want nothing saved", tt.name, decodeSession(t, store.saved[0].Value))
				}
				return
			}
			if len(store.saved) != 1 {
				t.Fatalf("%s: got %d records, want one", tt.name, len(store.saved))
			}
			for i := range tt.want {
				if tok := tt.want[i].Token; tok != nil && tok.Text == "new" {
					tok.Type = "Bearer"
				}
			}
			want := sessionRecord{TTL: tt.wantTTL, SignIn: record.SignIn, Entries: tt.want}
			wantRecord(t, tt.name, decodeSession(t, store.saved[0].Value), want)
		})
	}
}

// A token that cannot be saved is saved later.
func TestTokenIsSavedWhenTheStoreIsBack(t *testing.T) {
	for _, tt := range []struct {
		name                        string
		token, failedBefore, failed bool
		want                        int
	}{
		{"saved", true, false, false, 0}, {"not saved", true, false, true, 1}, {"the store failed before", true, true, false, 1},
		{"no token", false, false, true, 0}, {"no token, the store failed before", false, true, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			store, h, e := scripted()
			e.session.shared.started, e.session.shared.known = true, true
			f := newFlight(h, e)
			f.id, f.storeFailed = "own", tt.failedBefore
			f.leased = &loaded{record: &sessionRecord{Entries: []entryRecord{{Scopes: "s", Lease: "own"}}}, at: time.Now()}
			var result *token
			if tt.token {
				result = cached("new", 0)
			}
			if tt.failed {
				store.failSaves(errStore)
			}
			h.cache.fleet.end(t.Context(), f, result, "")
			if got := h.cache.fleet.countUnsaved(); got != tt.want {
				t.Errorf("%s: got %d sessions to save later, want %d", tt.name, got, tt.want)
			}
			store.failSaves(nil)
			time.Sleep(3 * breakerMin)
			if got := h.cache.fleet.countUnsaved(); got != 0 {
				t.Errorf("%s: got %d sessions to save after three seconds, want 0", tt.name, got)
			}
		})
	}
}

// A sign-in without the store is checked when the store is back.
func TestSignInWithoutStoreIsCheckedLater(t *testing.T) {
	for _, failing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store, h, _ := scripted()
			if failing {
				store.records = append(store.records, fails, fails)
				store.failSaves(errStore)
			}
			start := time.Now()
			if _, err := h.Put(t.Context(), Response{AccessToken: "t", Lifetime: time.Hour}); err != nil {
				t.Fatal(err)
			}
			sh := h.entry.Load().session.shared
			if sh.known == failing || sh.startedAt.Equal(start) != failing || h.cache.fleet.countUnsaved() == 1 != failing {
				t.Errorf("store fails = %v: got known epochs = %v, a start at %v and %d sessions to save later", failing,
					sh.known, sh.startedAt, h.cache.fleet.countUnsaved())
			}
			store.failSaves(nil)
			time.Sleep(time.Minute)
		})
	}
}

// What could not be saved is saved together, two to three seconds later.
func TestLaterSavesAreScheduledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h, e := scripted()
		fl := h.cache.fleet
		fl.mu.Lock()
		fl.schedule()
		fl.mu.Unlock()
		if fl.scheduled {
			t.Error("got a call of flush without anything to save, want none")
		}
		fl.saveLater(e.session)
		time.Sleep(2*breakerMin - time.Nanosecond)
		if got := fl.countUnsaved(); got != 1 {
			t.Errorf("got %d sessions to save after two seconds, want 1", got)
		}
		fl.saveLater(e.session)
		time.Sleep(breakerMin + time.Nanosecond)
		if got := fl.countUnsaved(); got != 0 || fl.scheduled {
			t.Errorf("got %d sessions to save after three seconds and scheduled = %v, want 0 and false", got, fl.scheduled)
		}
	})
}

// A sign-out overwrites the record with the tokens, and reports that other processes could not be notified.
func TestSignOutErasesTheRecord(t *testing.T) {
	for _, failing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store, h, e := scripted()
			fl := h.cache.fleet
			if failing {
				fl.notifier, fl.connected = deafStore{}, true
			}
			own := sessionRecord{Epochs: epochs{"e"}, State: "state", Entries: []entryRecord{{Token: aged("t", 0)}}}
			none := func(string) (Record, error) { return Record{}, nil }
			store.records = append(store.records, none, store.sealed(&own, "v", time.Hour)) // the marks are loaded first
			if _, err := h.cache.PurgeSession(t.Context(), aliceKey); (err != nil) != failing {
				t.Errorf("messages fail = %v: got error %v", failing, err)
			}
			want := []string{asJSON(t, sessionRecord{TTL: time.Minute, Epochs: own.Epochs})}
			if failing {
				want = nil // the mark alone ends the session
			}
			var got []string
			for _, r := range store.saved[1:] { // the first has the marks
				got = append(got, asJSON(t, decodeSession(t, r.Value)))
				if r.Version != "v" || r.TTL != time.Minute {
					t.Errorf("got a record in place of version %q for %v, want v and a minute", r.Version, r.TTL)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("messages fail = %v: got the records %q, want %q", failing, got, want)
			}
			fl.mu.Lock()
			if got := len(fl.marks); got == 1 != failing {
				t.Errorf("messages fail = %v: got %d marks to save again", failing, got)
			}
			fl.notifier = nil
			fl.mu.Unlock()
			if e.current.Load() != nil {
				t.Error("got a token after the sign-out, want none")
			}
			time.Sleep(time.Minute)
		})
	}
}

// A deafStore cannot send messages.
type deafStore struct{ pushStore }

func (deafStore) Notify(context.Context, string) error { return errStore }
