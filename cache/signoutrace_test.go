package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// A processStore is the store as one process of a fleet reaches it.
type processStore struct {
	*storetest.Memory
	marks         []string     // names of records that are read without a delay
	before, after atomic.Int64 // the time before and after a load, in nanoseconds
	failing       atomic.Value // the calls that fail, as []storetest.Op
}

func newProcessStore(m *storetest.Memory) *processStore {
	return &processStore{Memory: m, marks: cache.MarksNames(sealKeys[0], user("alice"))}
}

var (
	errCut   = errors.New("no route to host")
	allCalls = []storetest.Op{storetest.OpLoad, storetest.OpSave, storetest.OpNotify}
)

// fail makes calls fail. If all do, the process gets no messages either.
func (s *processStore) fail(ops ...storetest.Op) { s.failing.Store(ops) }

func (s *processStore) err(op storetest.Op) error {
	if ops, _ := s.failing.Load().([]storetest.Op); slices.Contains(ops, op) {
		return errCut
	}
	return nil
}

func (s *processStore) isCut() bool {
	ops, _ := s.failing.Load().([]storetest.Op)
	return len(ops) == len(allCalls)
}

func (s *processStore) Load(ctx context.Context, key string) (cache.Record, error) {
	if err := s.err(storetest.OpLoad); err != nil {
		return cache.Record{}, err
	}
	if slices.Contains(s.marks, key) {
		return s.Memory.Load(ctx, key)
	}
	time.Sleep(time.Duration(s.before.Load()))
	after := s.after.Load()
	r, err := s.Memory.Load(ctx, key)
	time.Sleep(time.Duration(after))
	return r, err
}

func (s *processStore) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	if err := s.err(storetest.OpSave); err != nil {
		return "", err
	}
	return s.Memory.Save(ctx, key, value, old, ttl)
}

func (s *processStore) Notify(ctx context.Context, key string) error {
	if err := s.err(storetest.OpNotify); err != nil {
		return err
	}
	return s.Memory.Notify(ctx, key)
}

func (s *processStore) Subscribe(changed func(string), connected func(bool)) {
	s.Memory.Subscribe(func(key string) {
		if !s.isCut() {
			changed(key)
		}
	}, func(on bool) { connected(on && !s.isCut()) })
}

// A process reads the marks of a subject and the record of a session at the same time. Between the two, the user signs
// out, and another process writes the record, with the new mark. The old marks do not show that the session in memory
// has ended, so they are read again.
func TestMarksOlderThanRecordAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := storetest.NewMemory()
		slow := newProcessStore(memory)
		a, b, c := replica(t, memory), replica(t, slow), replica(t, memory)
		signIn(t, interactive(a, user("alice"), "s"), "alice's")
		h := interactive(b, user("alice"), "s")
		token(t, h, redeem)
		slow.before.Store(int64(100 * time.Millisecond))
		go func() { _, _ = h.State(t.Context()) }()
		time.Sleep(20 * time.Millisecond)
		if _, err := a.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		expectLogin(t, "another process", interactive(c, user("alice"), "s")) // takes the lease, and saves the failure
		time.Sleep(10 * time.Second)
		slow.before.Store(0)
		for range 3 {
			for _, process := range []*cache.Cache{a, b, c, replica(t, memory)} {
				expectLogin(t, "after the sign-out", interactive(process, user("alice"), "s"))
			}
			time.Sleep(50 * time.Minute)
		}
	})
}

// The message of a sign-out arrives while a process reads the session for the first time.
func TestSignOutDuringFirstLoad(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, after time.Duration
	}{{"the record is read after it", 100 * time.Millisecond, 0}, {"the response is late", 0, 100 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			memory := storetest.NewMemory()
			slow := newProcessStore(memory)
			a, b := replica(t, memory), replica(t, slow)
			signIn(t, handle(a, user("alice"), "s"), "alice's")
			slow.before.Store(int64(test.before))
			slow.after.Store(int64(test.after))
			h := handle(b, user("alice"), "s")
			go func() { _, _ = tokenOrError(t, h, redeem) }()
			time.Sleep(50 * time.Millisecond)
			if _, err := a.Purge(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			slow.before.Store(0)
			slow.after.Store(0)
			for range 4 {
				expectLogin(t, test.name, h)
				time.Sleep(50 * time.Minute)
			}
		})
	}
}

// A process is cut off from the store for longer than the mark of a sign-out lives. Its session ends, also if the user
// signed in while it was cut off.
func TestSessionWithoutStoreEndsBeforeItsMark(t *testing.T) {
	for _, signInOffline := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			memory := storetest.NewMemory()
			store := newProcessStore(memory)
			short := func(o *cache.Options) { o.SessionTTL = time.Hour }
			a, b := replica(t, store, short), replica(t, memory, short)
			h := interactive(a, user("alice"), "s")
			if !signInOffline {
				signIn(t, h, "alice's")
			}
			store.fail(allCalls...)
			memory.Disconnect()
			memory.Reconnect()
			if signInOffline {
				signIn(t, h, "alice's")
			}
			use := func(d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Minute) {
					token(t, h, redeem)
				}
			}
			use(10 * time.Minute)
			if _, err := b.PurgeSession(t.Context(), user("alice")); err != nil {
				t.Fatal(err)
			}
			use(130 * time.Minute)
			store.fail()
			memory.Reconnect()
			time.Sleep(10 * time.Second)
			for range 5 {
				expectLogin(t, fmt.Sprint("signed in without the store: ", signInOffline), h)
				expectLogin(t, "another process", interactive(b, user("alice"), "s"))
				time.Sleep(30 * time.Minute)
			}
		})
	}
}

// A session in use for longer than SessionTTL is not dropped when messages may have been lost. The marks are read twice
// in that time.
func TestSessionInUseReadsMarksWithPush(t *testing.T) {
	for _, k := range []cache.Key{user("alice"), delegation("alice", "d")} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			a := replica(t, store)
			h := interactive(a, k, "s")
			signIn(t, h, "alice's")
			for range 25 * 6 {
				time.Sleep(10 * time.Minute)
				token(t, h, redeem)
			}
			settle()
			store.Disconnect()
			store.Flush()
			store.Reconnect()
			token(t, h, redeem)
			settle()
		})
	}
}

// While processes write with different keys, each has a record of marks with those of the other one. The marks do not
// multiply.
func TestMarksDoNotMultiplyWithTwoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		keys := func(first, second int) func(*cache.Options) {
			return func(o *cache.Options) { o.Keys = []cache.SealKey{sealKeys[first], sealKeys[second]} }
		}
		a, b := replica(t, store, keys(0, 1)), replica(t, store, keys(1, 0))
		h := interactive(a, user("alice"), "s")
		signIn(t, h, "alice's")
		for i := range 200 {
			c := []*cache.Cache{a, b}[i%2]
			other := withSession(user("alice"), fmt.Sprint("another ", i))
			if _, err := c.PurgeSession(t.Context(), other); err != nil {
				t.Fatal(err)
			}
		}
		token(t, h, noFetch(t))
		settle()
	})
}

// unsubscribedStore cannot establish the connection for messages, and its messages fail.
type unsubscribedStore struct{ *storetest.Memory }

func (s unsubscribedStore) Subscribe(_ func(string), connected func(bool)) {
	go func() {
		for range 120 {
			connected(false)
			time.Sleep(500 * time.Millisecond)
		}
	}()
}

func (unsubscribedStore) Notify(context.Context, string) error { return errors.New("NOPERM") }

// A user of the store may have no permission for messages. The store then costs as much as one without messages: one
// check in Recheck. The breaker stays closed.
func TestStoreWithoutPermissionForMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := storetest.NewMemory()
		a, b := replica(t, unsubscribedStore{memory}), replica(t, unsubscribedStore{memory})
		h := interactive(a, user("alice"), "s")
		signIn(t, h, "alice's")
		before := a.Stats().StoreLoads
		for range 601 {
			token(t, h, redeem)
			time.Sleep(100 * time.Millisecond)
		}
		if n := a.Stats().StoreLoads - before; n != 1 {
			t.Errorf("got %d loads in a minute, want 1", n)
		}
		expectLogin(t, "another user", interactive(b, user("bob"), "s")) // queries the other processes
		if b.Stats().StoreDown {
			t.Error("the breaker is open, want closed")
		}
		if _, err := b.Purge(t.Context(), "alice"); err != nil { // as in a store without messages
			t.Errorf("got error %v", err)
		}
		time.Sleep(time.Minute)
		expectLogin(t, "after Recheck", h)
	})
}

// If the mark of a sign-out is saved and its message fails, only the message is repeated. The user has signed in again
// in the meantime and stays signed in.
func TestRepeatedMessageHasTheSameMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		h := interactive(b, user("alice"), "s")
		signIn(t, h, "first")
		store.Inject(func(c storetest.Call) (f storetest.Fault) {
			if c.Op == storetest.OpNotify {
				f.Err = errors.New("publish failed")
			}
			return f
		})
		if _, err := a.Purge(t.Context(), "alice"); err == nil {
			t.Error("got no error, want that of the message")
		}
		signIn(t, h, "second")
		time.Sleep(4 * time.Second) // the message is repeated once, and fails again
		store.Inject(nil)
		notified, saved := store.Calls(storetest.OpNotify), store.Calls(storetest.OpSave)
		time.Sleep(10 * time.Second)
		if got := token(t, h, redeem); got != "second" {
			t.Errorf("got %q, want the token of the second sign-in", got)
		}
		if n := store.Calls(storetest.OpNotify) - notified; n != 2 { // for sessions and delegations
			t.Errorf("got %d messages, want 2", n)
		}
		if n := store.Calls(storetest.OpSave) - saved; n != 0 {
			t.Errorf("got %d saved records, want 0", n)
		}
		settle()
	})
}

// A sign-out reaches the other processes even if its browser closes the connection between mark and message.
func TestCanceledSignOutIsComplete(t *testing.T) {
	for _, all := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			a, b := replica(t, store), replica(t, store)
			h := interactive(b, user("alice"), "s")
			signIn(t, h, "first")
			ctx, cancel := context.WithCancel(t.Context())
			store.Inject(func(c storetest.Call) (f storetest.Fault) {
				if c.Op == storetest.OpNotify {
					cancel()
				}
				return f
			})
			var err error
			if all {
				_, err = a.Purge(ctx, "alice")
			} else {
				_, err = a.PurgeSession(ctx, user("alice"))
			}
			if err != nil || ctx.Err() == nil {
				t.Errorf("got error %v", err)
			}
			expectLogin(t, "another process", h)
			settle()
		})
	}
}

// The store can only be read, for example because its memory is full. A process that could not save the mark of a
// sign-out does not load the session again.
func TestPendingMarkCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := replica(t, store)
		h := interactive(a, user("alice"), "s")
		signIn(t, h, "alice's")
		store.Inject(func(c storetest.Call) (f storetest.Fault) {
			if c.Op == storetest.OpSave {
				f.Err = errors.New("OOM")
			}
			return f
		})
		if _, err := a.PurgeSession(t.Context(), user("alice")); err == nil {
			t.Error("got no error, want that of the store")
		}
		for range 5 {
			expectLogin(t, "the store is read-only", h)
			time.Sleep(10 * time.Minute)
		}
		signIn(t, h, "second")
		store.Inject(nil)
		time.Sleep(time.Minute)
		if got := token(t, h, redeem); got != "second" {
			t.Errorf("got %q, want the token of the second sign-in", got)
		}
		settle()
	})
}

// Purge overwrites the records of all sessions that the process has, of every app, and of delegations.
func TestPurgeErasesRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := replica(t, store)
		other := user("alice")
		other.ClientID = "another app"
		for _, k := range []cache.Key{user("alice"), other, delegation("alice", "d"), user("bob")} {
			signIn(t, interactive(a, k, "s"), "a token")
		}
		if _, err := a.Purge(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		long := 0
		for _, r := range store.Records() {
			if r.TTL > time.Minute {
				long++
			}
		}
		if long != 3 {
			t.Errorf("got %d records that live longer than a minute, want two of marks and Bob's", long)
		}
		settle()
	})
}

// The authority takes longer than a lease. The other processes serve their token and send no request of their own.
func TestSlowRefreshKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		var requests atomic.Int64
		fetch := func(context.Context, *cache.Request) (cache.Response, error) {
			if n := requests.Add(1); n > 1 {
				time.Sleep(25 * time.Second)
			}
			r := response(fmt.Sprint("token ", requests.Load()), time.Hour)
			r.RefreshIn = 30 * time.Minute
			return r, nil
		}
		var wg sync.WaitGroup
		end := time.Now().Add(50 * time.Minute) // one refresh
		for range 10 {
			h := handle(replica(t, store), key("t", ""), "s")
			token(t, h, fetch)
			wg.Go(func() {
				for ; time.Now().Before(end); time.Sleep(time.Second) {
					token(t, h, fetch)
				}
			})
		}
		wg.Wait()
		if n := requests.Load(); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
		settle()
	})
}

// A session that is idle for less than SessionTTL is not dropped, and other processes get it, although its marks were
// last read at half of SessionTTL before.
func TestIdleSessionIsNotDropped(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			a, b := replica(t, store), replica(t, store)
			h := interactive(a, user("alice"), "s")
			signIn(t, h, "alice's")
			for range 11 {
				time.Sleep(time.Hour + time.Minute)
				token(t, h, redeem)
			}
			settle()
			time.Sleep(14 * time.Hour)
			store.Flush()
			if elsewhere {
				h = interactive(b, user("alice"), "s")
			}
			token(t, h, redeem)
			settle()
		})
	}
}

// While messages always fail, a process repeats one of them every few seconds, and forgets it after SessionTTL.
func TestFailingMessagesCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := replica(t, unsubscribedStore{store})
		for i := range 20 {
			_, _ = a.Purge(t.Context(), fmt.Sprint("user ", i))
			_, _ = a.PurgeSession(t.Context(), user(fmt.Sprint("user ", i)))
		}
		time.Sleep(time.Hour)
		inAMinute := func() (loads int, errs uint64) {
			loads, errs = store.Calls(storetest.OpLoad), a.Stats().StoreErrors
			time.Sleep(time.Minute)
			return store.Calls(storetest.OpLoad) - loads, a.Stats().StoreErrors - errs
		}
		if loads, errs := inAMinute(); loads != 0 || errs < 20 || errs > 31 {
			t.Errorf("got %d loads and %d failed messages in a minute, want 0 and 20 to 31", loads, errs)
		}
		time.Sleep(24 * time.Hour)
		if loads, errs := inAMinute(); loads != 0 || errs != 0 {
			t.Errorf("a day later: got %d loads and %d failed messages in a minute, want 0", loads, errs)
		}
	})
}

// A sign-out fails in one process and is repeated in another one, and the user signs in again. When the first process
// repeats its sign-out, it does not end the new session.
func TestRepeatedMarkDoesNotReplaceALaterOne(t *testing.T) {
	for _, op := range []storetest.Op{storetest.OpNotify, storetest.OpSave} {
		synctest.Test(t, func(t *testing.T) {
			memory := storetest.NewMemory()
			store := newProcessStore(memory)
			a, b := replica(t, store), replica(t, memory)
			h := interactive(b, user("alice"), "s")
			signIn(t, h, "first")
			store.fail(op)
			if _, err := a.Purge(t.Context(), "alice"); err == nil {
				t.Errorf("%v: got no error", op)
			}
			time.Sleep(100 * time.Millisecond)
			if _, err := b.Purge(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
			signIn(t, h, "second")
			store.fail()
			time.Sleep(10 * time.Second)
			if got := token(t, h, redeem); got != "second" {
				t.Errorf("%v: got %q, want the token of the second sign-in", op, got)
			}
			settle()
		})
	}
}

// Reading the marks takes longer than Recheck. A call waits for one check.
func TestSlowCheckIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := replica(t, store.WithoutPush(), func(o *cache.Options) { o.Recheck = 100 * time.Millisecond })
		h := interactive(a, user("alice"), "s")
		signIn(t, h, "alice's")
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: 150 * time.Millisecond} })
		time.Sleep(5 * time.Second)
		start, before := time.Now(), a.Stats().StoreLoads
		token(t, h, redeem)
		if took, loads := time.Since(start), a.Stats().StoreLoads-before; took != 150*time.Millisecond || loads != 1 {
			t.Errorf("got a token after %v and %d loads, want 150ms and 1", took, loads)
		}
		settle()
	})
}

// The message of a sign-out arrives during the first load of a session, and then the store fails. The session is not
// served until the marks can be read, as one that was loaded before.
func TestStoreFailsAfterSignOutDuringFirstLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := storetest.NewMemory()
		store := newProcessStore(memory)
		a, b := replica(t, memory), replica(t, store)
		signIn(t, interactive(a, user("alice"), "s"), "alice's")
		h := interactive(b, user("alice"), "s")
		store.after.Store(int64(100 * time.Millisecond))
		go func() { _, _ = tokenOrError(t, h, redeem) }()
		time.Sleep(50 * time.Millisecond)
		if _, err := a.Purge(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		store.fail(storetest.OpLoad)
		time.Sleep(time.Second)
		for range 4 {
			if got, err := tokenOrError(t, h, redeem); err == nil {
				t.Errorf("got %q without the store, want an error", got)
			}
			time.Sleep(20 * time.Minute)
		}
	})
}

// The message of a sign-out arrives during a sign-in, and then the store fails. The sign-in is later than the sign-out
// and counts without the store.
func TestSignInWithoutStoreAfterMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := storetest.NewMemory()
		store := newProcessStore(memory)
		a, b := replica(t, memory), replica(t, store)
		store.before.Store(int64(time.Second)) // the load of the sign-in times out
		h := interactive(b, user("alice"), "s")
		done := make(chan bool)
		go func() {
			signIn(t, h, "alice's")
			close(done)
		}()
		time.Sleep(50 * time.Millisecond)
		if _, err := a.Purge(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		store.fail(storetest.OpLoad)
		<-done
		time.Sleep(3 * time.Second)
		if got := token(t, h, redeem); got != "alice's" {
			t.Errorf("got %q, want the token of the sign-in", got)
		}
		settle()
	})
}
