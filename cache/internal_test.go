package cache

import (
	"errors"
	"hash/maphash"
	"reflect"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// wallJump returns t as it would read after a change of the wall clock by d, in whole seconds. Package time cannot
// make such a value.
func wallJump(t time.Time, d time.Duration) time.Time {
	const secondsShift = 30 // of time.Time.wall, when there is a monotonic reading
	*(*uint64)(unsafe.Pointer(&t)) += uint64(int64(d/time.Second)) << secondsShift
	return t
}

func TestBeforeComparesBothClocks(t *testing.T) {
	now := time.Now()
	due := now.Add(time.Hour)
	for _, tt := range []struct {
		name string
		now  time.Time
		want bool
	}{
		{"an hour before", now, true},
		{"just before", due.Add(-1), true},
		{"at the moment", due, false},
		{"a second after", due.Add(time.Second), false},
		{"the machine was suspended for two hours", wallJump(now, 2*time.Hour), false},
		{"the wall clock was set back by a day", wallJump(now, -24*time.Hour), true},
		{"the wall clock was set back after the hour was over", wallJump(due.Add(time.Second), -24*time.Hour), false},
	} {
		if got := before(tt.now, due); got != tt.want {
			t.Errorf("%s: got before = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestHitsCheckBothClocksOnceASecond(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name  string
		due   time.Time
		ok    bool
		lease time.Duration // at most
	}{
		{"far ahead", now.Add(time.Hour), true, time.Second},
		{"half a second ahead", now.Add(500 * time.Millisecond), true, 500 * time.Millisecond},
		{"half a second ahead by the wall clock alone", wallJump(now.Add(time.Hour+500*time.Millisecond), -time.Hour),
			true, 500 * time.Millisecond},
		{"past by the wall clock", wallJump(now.Add(time.Hour), -2*time.Hour), false, 0},
		{"past by the monotonic clock", wallJump(now.Add(-time.Second), 2*time.Hour), false, 0},
	} {
		tok := &token{obtainedAt: tt.due.Add(-time.Minute)}
		new(session).setDue(tok, time.Minute)
		const uptime = time.Hour
		ok := (&entry{session: &session{}}).renew(tok, uptime)
		if lease := time.Duration(tok.lease.Load()) - uptime; ok != tt.ok || ok && (lease <= 0 || lease > tt.lease) {
			t.Errorf("%s: got %v and a lease of %v, want %v and at most %v", tt.name, ok, lease, tt.ok, tt.lease)
		}
	}
}

// After a machine was suspended, only the wall clock shows how much time a token has left. The wait after a failed
// refresh ends before the token expires.
func TestRetryAfterSuspendIsInTime(t *testing.T) {
	e := &entry{session: &session{}}
	tok := &token{obtainedAt: wallJump(time.Now(), -50*time.Minute), usableFor: 59 * time.Minute}
	e.current.Store(tok)
	h := &Handle{cache: New(Options{})}
	h.entry.Store(e)
	for range 1000 {
		wait := e.fail(&flight{served: tok}, errors.New("no network yet"))
		if wait > 9*time.Minute*9/10 {
			t.Fatalf("got a wait of %v, want at most nine tenths of nine minutes", wait)
		}
		if h.Hit() == nil {
			t.Fatal("got no hit before the wait has ended, want the old token")
		}
	}
}

func TestScopeSetsIgnoreOrderAndCase(t *testing.T) {
	for _, tt := range []struct {
		a, b []string
		same bool
	}{
		{nil, []string{}, true},
		{[]string{"API://B/.default"}, []string{"api://b/.default"}, true},
		{[]string{"b", "A", "a", "B"}, []string{"A", "B"}, true},
		{[]string{"A", "a"}, []string{"a"}, true},
		{[]string{"AZ"}, []string{"az"}, true},
		{[]string{"@["}, []string{"`{"}, false}, // the characters next to A and Z
		{[]string{"a"}, []string{"b"}, false},
		{[]string{"a", "b"}, []string{"a"}, false},
		{nil, []string{"a"}, false},
	} {
		if got := sameScopes(scopeSet(tt.a), scopeSet(tt.b)); got != tt.same {
			t.Errorf("%q and %q: got same = %v, want %v", tt.a, tt.b, got, tt.same)
		}
	}
}

func TestCacheOf1024SessionsIsSharded(t *testing.T) {
	for size, want := range map[int]int{1: 1, 1023: 1, 1024: 64, 1025: 64, 0: 64, -1: 64} {
		c := New(Options{Size: size})
		c.session((&Key{Subject: "s"}).sessionKey())
		if got := len(c.shards); got != want || c.Stats().Sessions != 1 {
			t.Errorf("size %d: got %d shards and %d sessions, want %d and 1", size, got, c.Stats().Sessions, want)
		}
	}
}

// If a new session is alone in its shard, another shard evicts one.
func TestNewSessionIsNotEvicted(t *testing.T) {
	const size = 2 * shardedSize
	c := New(Options{Size: size})
	k, alone := (&Key{}).sessionKey(), ""
	for i, n := 0, 0; n < size || alone == ""; i++ {
		k.subject = strconv.Itoa(i)
		switch {
		case c.shard(k) == 0:
			alone = k.subject
		case n < size:
			c.session(k)
			n++
		}
	}
	k.subject = alone
	s := c.session(k)
	if got := c.shards[0].find(k); got != s {
		t.Errorf("got session %p, want the new one, %p", got, s)
	}
	if s := c.Stats(); s.Sessions != size || s.Evictions != 1 {
		t.Errorf("got %d sessions and %d evictions, want %d and 1", s.Sessions, s.Evictions, size)
	}
}

// The record of a delegation is stored until its refresh token expires, also if it has a token that lives longer.
func TestRecordOfDelegationExpiresWithItsState(t *testing.T) {
	fl := &fleet{sessionTTL: 2 * time.Hour}
	for _, tt := range []struct {
		age, stateTTL time.Duration
		want          string
		ttl           time.Duration
	}{
		{0, time.Hour, "state", time.Hour},
		{20 * time.Minute, time.Hour, "state", 40 * time.Minute},
		{time.Hour - time.Second, time.Hour, "state", time.Minute}, // the least; the state is not used for that long
		{time.Hour, time.Hour, "", time.Minute},
		{time.Hour, 0, "state", 2 * time.Hour}, // a sign-in
	} {
		r := &sessionRecord{State: "state", StateAge: tt.age, Entries: []entryRecord{
			{Scopes: "s", Token: &tokenRecord{Age: 10 * time.Minute, Lifetime: 90 * time.Minute}},
		}}
		fl.prune(&session{stateTTL: tt.stateTTL}, r, "s")
		if r.State != tt.want || r.TTL != tt.ttl {
			t.Errorf("age %v, TTL %v: got state %q, lifetime %v, want %q, %v", tt.age, tt.stateTTL, r.State, r.TTL,
				tt.want, tt.ttl)
		}
	}
}

func TestStateExpiresAtItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := &session{stateTTL: time.Hour, state: &sessionState{"limited", time.Now()}}
		unlimited := &session{state: &sessionState{"unlimited", time.Now()}}
		time.Sleep(time.Hour - time.Nanosecond)
		if got := limited.currentState(); got != "limited" {
			t.Errorf("just before: got %q, want the state", got)
		}
		time.Sleep(time.Nanosecond)
		if got := limited.currentState(); got != "" || limited.state != nil {
			t.Errorf("after an hour: got %q and %v, want no state", got, limited.state)
		}
		time.Sleep(1000 * time.Hour)
		if got := unlimited.currentState(); got != "unlimited" {
			t.Errorf("without a limit: got %q, want the state", got)
		}
	})
}

// A million sessions with their tokens fit into 2.3 GB because these types fit into the size classes of Go's allocator.
func TestSizeOfSession(t *testing.T) {
	if strconv.IntSize != 64 {
		t.Skip("the sizes are those of 64-bit machines")
	}
	for _, tt := range []struct {
		typ  reflect.Type
		want uintptr // at most
	}{
		{reflect.TypeFor[session](), 128},
		{reflect.TypeFor[entry](), 64},
		{reflect.TypeFor[token](), 208},
	} {
		if got := tt.typ.Size(); got > tt.want {
			t.Errorf("%s: got %d bytes, want at most %d", tt.typ.Name(), got, tt.want)
		}
	}
}

// Sessions of other subjects can follow in the index if their hashes collide. They are not the user's.
func TestUsersWithOneHashShareNothing(t *testing.T) {
	sh := newShard(maphash.MakeSeed())
	of := func(subject, id string) *session {
		return &session{key: (&Key{Subject: subject, Session: id}).sessionKey()}
	}
	alice, app := of("alice", "phone"), of("", "")
	sh.add(alice)
	sh.add(app)
	alice.sibling = app
	for i := range maxUserSessions - 1 {
		app.sibling = &session{key: of("bob", strconv.Itoa(i)).key, sibling: app.sibling}
	}
	if got := sh.find(of("alice", "laptop").key); got != nil {
		t.Errorf("got the session of %q %q, want none", got.key.subject, got.key.session)
	}
	if got := sh.ofSubject("alice"); len(got) != 1 || got[0] != alice {
		t.Errorf("got %d sessions of alice, want hers alone", len(got))
	}
	laptop := of("alice", "laptop")
	sh.add(laptop)
	if got := sh.userExcess(laptop); got != nil {
		t.Errorf("got the session of %q %q as the excess of two, want none", got.key.subject, got.key.session)
	}
	sh.users[maphash.String(sh.seed, "")] = app
	if got := sh.ofSubject(""); len(got) != 1 || got[0] != app {
		t.Errorf("got %d sessions without a subject, want that of the app, once", len(got))
	}
}

func TestJoinedTextsDiffer(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{{"a", "b"}, {"ab"}, {"a", "", "b"}, {`a""b`}, {`a""b`, "c"}, {"a", `b""c`}, {`a\`, "b"}} {
		text := joined(parts...)
		if other, ok := seen[text]; ok {
			t.Errorf("got %s for both %q and %q", text, parts, other)
		}
		seen[text] = parts
	}
}
