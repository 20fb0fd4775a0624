package cache

import (
	"errors"
	"strconv"
	"testing"
	"time"
	"unsafe"
)

// wallJump returns t as it would have been read after somebody had moved the wall clock
// by d, in whole seconds. Nothing in package time makes such a value.
func wallJump(t time.Time, d time.Duration) time.Time {
	const secondsShift = 30 // of time.Time.wall, when there is a monotonic reading
	*(*uint64)(unsafe.Pointer(&t)) += uint64(int64(d/time.Second)) << secondsShift
	return t
}

// Both clocks must agree that a token is still good.
func TestClockJumps(t *testing.T) {
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
		{"the machine slept for two hours", wallJump(now, 2*time.Hour), false},
		{"the wall clock was set back by a day", wallJump(now, -24*time.Hour), true},
		{"it was set back, but the hour is over", wallJump(due.Add(time.Second), -24*time.Hour), false},
	} {
		if got := before(tt.now, due); got != tt.want {
			t.Errorf("%s: before = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A hit looks at both clocks at least once a second.
func TestLease(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name  string
		due   time.Time
		ok    bool
		lease time.Duration // at the most
	}{
		{"far ahead", now.Add(time.Hour), true, time.Second},
		{"half a second ahead", now.Add(500 * time.Millisecond), true, 500 * time.Millisecond},
		{"half a second ahead by the wall clock alone", wallJump(now.Add(time.Hour+500*time.Millisecond), -time.Hour), true, 500 * time.Millisecond},
		{"past by the wall clock", wallJump(now.Add(time.Hour), -2*time.Hour), false, 0},
		{"past by the monotonic clock", wallJump(now.Add(-time.Second), 2*time.Hour), false, 0},
	} {
		h := held{token: &Token{obtainedAt: tt.due.Add(-time.Minute)}, due: time.Minute}
		const uptime = int64(time.Hour)
		ok := h.renew(uptime)
		if lease := time.Duration(h.lease.Load() - uptime); ok != tt.ok || ok && (lease <= 0 || lease > tt.lease) {
			t.Errorf("%s: %v, a lease of %v", tt.name, ok, lease)
		}
	}
}

// After a machine has slept only the wall clock knows how little is left of a token. The wait
// after a failed refresh is drawn from that.
func TestPatienceAfterSleep(t *testing.T) {
	e := &entry{session: &session{}}
	e.hold(&Token{obtainedAt: wallJump(time.Now(), -50*time.Minute), usableFor: 59 * time.Minute}, 0)
	for range 1000 {
		wait := e.fail(&flight{served: e.held.Load()}, errors.New("no network yet"))
		if wait > 9*time.Minute*9/10 {
			t.Fatalf("waits %v with nine minutes left", wait)
		}
		if e.hit() == nil {
			t.Fatal("the token is due before the wait is over")
		}
	}
}

// A place whose request is under way is not taken for a retired one, not even for the moment
// of the question: what the request brings at that moment would not be kept.
func TestRetireLeavesFlightsAlone(t *testing.T) {
	e := &entry{session: &session{}}
	e.flying.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100_000 {
			if e.retire() {
				t.Error("retired")
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			if e.retired.Load() {
				t.Fatal("looks retired")
			}
		}
	}
}

func TestScopeSets(t *testing.T) {
	for _, tt := range []struct {
		a, b []string
		same bool
	}{
		{nil, []string{}, true},
		{[]string{"API://B/.default"}, []string{"api://b/.default"}, true},
		{[]string{"b", "A", "a", "B"}, []string{"A", "B"}, true},
		{[]string{"A", "a"}, []string{"a"}, true},
		{[]string{"a"}, []string{"b"}, false},
		{[]string{"a", "b"}, []string{"a"}, false},
		{nil, []string{"a"}, false},
	} {
		if got := sameScopes(scopeSet(tt.a), scopeSet(tt.b)); got != tt.same {
			t.Errorf("%q and %q: same = %v", tt.a, tt.b, got)
		}
	}
}

// A session that is alone in its shard is not the one to give up when the cache is full:
// another shard spares one.
func TestNewSessionStays(t *testing.T) {
	const size = 2 * shardedSize
	c := New(Options{Size: size})
	partition, alone := Key{}.Partition().alone, ""
	for i, held := 0, 0; held < size || alone == ""; i++ {
		k := place{partition, strconv.Itoa(i)}
		switch {
		case c.shard(k) == 0:
			alone = k.holder
		case held < size:
			c.session(k)
			held++
		}
	}
	v := c.session(place{partition, alone})
	if got := c.shards[0].listed.peek(place{partition, alone}); got != v {
		t.Error("the new session was given up")
	}
	if s := c.Stats(); s.Sessions != size || s.Evictions != 1 {
		t.Errorf("%+v", s)
	}
}
