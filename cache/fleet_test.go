package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/internal/testkit"
)

var sealKeys = []cache.SealKey{
	cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef")), cache.NewSealKey([]byte("fedcba9876543210fedcba9876543210")),
}

// replica returns a cache that is one process of a fleet.
func replica(t *testing.T, s cache.Store, change ...func(*cache.Options)) *cache.Cache {
	t.Helper()
	o := cache.Options{Store: s, Keys: sealKeys[:1]}
	for _, f := range change {
		f(&o)
	}
	c := cache.New(o)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// handle returns a handle that shares failures.
func handle(c *cache.Cache, k cache.Key, scopes ...string) *cache.Handle {
	h := cache.NewHandle(c, k, scopes...)
	h.EncodeError = func(err error) []byte {
		if e, ok := errors.AsType[throttled](err); ok {
			return []byte(e.after.String())
		}
		return nil
	}
	h.DecodeError = func(b []byte) error {
		if d, err := time.ParseDuration(string(b)); err == nil {
			return throttled{d}
		}
		return nil
	}
	return h
}

// user is the key of a user's session in a browser.
func user(name string) cache.Key { return withSession(key("t", name), "browser") }

func signIn(t *testing.T, h *cache.Handle, token string) {
	t.Helper()
	r := response(token, time.Hour)
	r.State = "refresh token of " + token
	if _, err := h.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// redeem is a fetch that needs a refresh token. The new token has its text.
func redeem(_ context.Context, r *cache.Request) (cache.Response, error) {
	if r.StateUnknown {
		return cache.Response{}, errTemporary
	}
	if r.State == "" {
		return cache.Response{}, errLogin
	}
	return response("refreshed with "+r.State, time.Hour), nil
}

var (
	errTemporary = errors.New("temporarily_unavailable")
	errLogin     = errors.New("login_required")
)

// settle waits until all flights have ended, with the writes that follow them.
func settle() { time.Sleep(2 * time.Second) }

func noFetch(t *testing.T) fetchFunc {
	return func(context.Context, *cache.Request) (cache.Response, error) {
		t.Error("got a request, want the token of the store")
		return cache.Response{}, errors.New("unexpected request")
	}
}

func token(t *testing.T, h *cache.Handle, f fetchFunc) string {
	t.Helper()
	got, err := tokenOrError(t, h, f)
	if err != nil {
		t.Errorf("got error %v, want a token", err)
	}
	return got
}

func tokenOrError(t *testing.T, h *cache.Handle, f fetchFunc) (string, error) {
	if tok := h.Hit(); tok != nil {
		return tok.AccessToken, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tok, err := h.Token(ctx, "", f)
	if err != nil {
		return "", err
	}
	return tok.AccessToken, nil
}

// Twenty processes with fifty goroutines each start at once. They send one request.
func TestColdFleetSendsOneRequest(t *testing.T) {
	for _, fault := range []error{nil, throttled{5 * time.Minute}} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := storetest.NewMemory()
				store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: time.Millisecond} })
				a := &authority{takes: 300 * time.Millisecond}
				a.fail(fault)
				start := time.Now()
				var wg sync.WaitGroup
				var caches []*cache.Cache
				for range 20 {
					c := replica(t, store)
					caches = append(caches, c)
					for range 50 {
						wg.Go(func() {
							got, err := tokenOrError(t, handle(c, key("t", ""), "s"), a.fetch)
							if fault == nil && (got != "token 1" || err != nil) || fault != nil && !errors.Is(err, fault) {
								t.Errorf("got token %q, error %v; want error %v", got, err, fault)
							}
						})
					}
				}
				wg.Wait()
				if n := a.requests.Load(); n != 1 {
					t.Errorf("got %d requests, want 1", n)
				}
				if took := time.Since(start); took > 1200*time.Millisecond {
					t.Errorf("the slowest call took %v, want at most 1.2 s", took)
				}
				waited := uint64(0)
				for _, c := range caches {
					waited += c.Stats().StoreWaits
				}
				if waited != 19 {
					t.Errorf("got %d processes that waited for another, want 19", waited)
				}
				// Retry-After holds in the whole fleet, and the token is shared.
				time.Sleep(4 * time.Minute)
				tokenOrError(t, handle(replica(t, store), key("t", ""), "s"), a.fetch)
				if n := a.requests.Load(); n != 1 {
					t.Errorf("got %d requests from a process that started later, want 1", n)
				}
				settle()
			})
		})
	}
}

func TestRestartedProcessFindsItsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		app := handle(replica(t, store), key("t", ""), "s")
		token(t, app, (&authority{}).fetch)
		signIn(t, handle(replica(t, store), user("alice"), "s"), "alice's")
		settle()
		time.Sleep(10 * time.Minute)
		restarted := replica(t, store)
		h := handle(restarted, key("t", ""), "s")
		if got := token(t, h, noFetch(t)); got != "token 1" {
			t.Errorf("got %q, want the token of the old process", got)
		}
		if got, want := h.Current().UsableUntil(), app.Current().UsableUntil(); !got.Equal(want) {
			t.Errorf("the token is usable until %v, want %v", got, want)
		}
		if got, want := h.Current().RefreshAt(), app.Current().RefreshAt(); !got.Equal(want) {
			t.Errorf("the refresh is due at %v, want %v as it was drawn once", got, want)
		}
		if got := token(t, handle(restarted, user("alice"), "s"), noFetch(t)); got != "alice's" {
			t.Errorf("got %q, want alice's", got)
		}
		if got := token(t, handle(restarted, user("alice"), "another"), redeem); got != "refreshed with refresh token of alice's" {
			t.Errorf("another scope: got %q, want a token for the stored refresh token", got)
		}
		if s := restarted.Stats(); s.StoreHits != 2 || s.Fetches != 1 {
			t.Errorf("got %d store hits and %d fetches, want 2 and 1", s.StoreHits, s.Fetches)
		}
		settle()
	})
}

// The processes of a fleet refresh a token once, in the background.
func TestFleetRefreshesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := &authority{takes: 200 * time.Millisecond}
		var handles []*cache.Handle
		for range 10 {
			handles = append(handles, handle(replica(t, store), key("t", ""), "s"))
		}
		const days = 2
		for range days * 24 * 60 * 6 {
			for _, h := range handles {
				token(t, h, a.fetch)
			}
			time.Sleep(10 * time.Second)
		}
		alone := &authority{takes: 200 * time.Millisecond}
		one := handle(cache.New(cache.Options{}), key("t", ""), "s")
		for range days * 24 * 60 * 6 {
			token(t, one, alone.fetch)
			time.Sleep(10 * time.Second)
		}
		got, want := a.requests.Load(), alone.requests.Load()
		if got > want+want/20+2 {
			t.Errorf("got %d requests of ten processes, want about the %d of one", got, want)
		}
		settle()
	})
}

func TestSignOutReachesAllProcesses(t *testing.T) {
	for name, push := range map[string]bool{"push": true, "recheck": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := storetest.NewMemory()
				var store cache.Store = memory
				bound := time.Second
				if !push {
					store, bound = memory.WithoutPush(), time.Minute
				}
				a, b := replica(t, store), replica(t, store)
				signIn(t, handle(a, user("alice"), "s"), "alice's")
				signIn(t, handle(a, withSession(user("alice"), "phone"), "s"), "phone's")
				signIn(t, handle(a, user("bob"), "s"), "bob's")
				others := []*cache.Handle{
					handle(b, withSession(user("alice"), "phone"), "s"), handle(b, user("bob"), "s"),
				}
				h := handle(b, user("alice"), "s")
				for _, h := range append(others, h) {
					token(t, h, noFetch(t))
				}
				for range 100 {
					time.Sleep(time.Second)
					token(t, h, noFetch(t))
				}
				loads := b.Stats().StoreLoads
				if n, err := a.PurgeSession(t.Context(), user("alice")); n != 1 || err != nil {
					t.Fatalf("got %d purged sessions and error %v, want 1", n, err)
				}
				synctest.Wait()
				end := time.Now()
				for {
					got, err := tokenOrError(t, h, redeem)
					if errors.Is(err, errLogin) {
						break
					}
					if time.Since(end) > bound {
						t.Fatalf("got %q and error %v %v after the sign-out, want login_required", got, err, time.Since(end))
					}
					time.Sleep(100 * time.Millisecond)
				}
				for i, want := range []string{"phone's", "bob's"} {
					if got := token(t, others[i], noFetch(t)); got != want {
						t.Errorf("got %q, want %s", got, want)
					}
				}
				if push && loads > 6 { // two for each session
					t.Errorf("got %d loads in 100 seconds, want only the first ones", loads)
				}
				settle()
			})
		})
	}
}

// A purge reaches every session of the user, and each of them can be signed in to again.
func TestPurgeReachesAllSessionsOfFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		var keys []cache.Key
		for _, tenant := range []string{"t1", "t2"} {
			for _, session := range []string{"", "desk", "phone"} {
				keys = append(keys, withSession(key(tenant, "alice"), session))
			}
		}
		for _, k := range keys {
			signIn(t, handle(a, k, "s"), "old")
		}
		if n, err := b.Purge(t.Context(), "alice"); n != 0 || err != nil {
			t.Fatalf("got %d sessions, error %v; want none in this process", n, err)
		}
		for _, c := range []*cache.Cache{a, b} {
			for _, k := range keys {
				if got, err := tokenOrError(t, handle(c, k, "s"), redeem); !errors.Is(err, errLogin) {
					t.Errorf("got %q, error %v; want login_required", got, err)
				}
			}
		}
		time.Sleep(2 * time.Minute) // the failure is cached for a while
		for _, k := range keys {
			signIn(t, handle(b, k, "s"), "new")
		}
		for _, k := range keys {
			if got := token(t, handle(a, k, "s"), noFetch(t)); got != "new" {
				t.Errorf("got %q, want new", got)
			}
		}
		settle()
	})
}

// A response that arrives after a sign-out in another process does not bring the session back.
func TestLateResponseDoesNotUndoSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		h := handle(b, user("alice"), "another")
		done := make(chan struct{})
		go func() {
			defer close(done)
			tokenOrError(t, h, func(ctx context.Context, r *cache.Request) (cache.Response, error) {
				time.Sleep(5 * time.Second)
				late := response("late", time.Hour)
				late.State = "late refresh token"
				return late, nil
			})
		}()
		time.Sleep(time.Second)
		if _, err := a.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		<-done
		settle()
		for _, c := range []*cache.Cache{a, b, replica(t, store)} {
			for _, scope := range []string{"s", "another"} {
				if got, err := tokenOrError(t, handle(c, user("alice"), scope), redeem); !errors.Is(err, errLogin) {
					t.Errorf("got %q, error %v; want login_required", got, err)
				}
			}
		}
		settle()
	})
}

// A refresh that began before a sign-in in another process does not replace its tokens.
func TestSignInOvertakesRefreshOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "first")
		token(t, handle(b, user("alice"), "s"), noFetch(t))
		done := make(chan struct{})
		go func() {
			defer close(done)
			token(t, handle(b, user("alice"), "another"), func(context.Context, *cache.Request) (cache.Response, error) {
				time.Sleep(5 * time.Second)
				old := response("old", time.Hour)
				old.State = "old refresh token"
				return old, nil
			})
		}()
		time.Sleep(time.Second)
		signIn(t, handle(a, user("alice"), "s"), "second")
		<-done
		settle()
		for name, c := range map[string]*cache.Cache{"a": a, "b": b, "new": replica(t, store)} {
			if got := token(t, handle(c, user("alice"), "third"), redeem); got != "refreshed with refresh token of second" {
				t.Errorf("%s: got %q, want the refresh token of the second sign-in", name, got)
			}
		}
		if got := token(t, handle(replica(t, store), user("alice"), "s"), noFetch(t)); got != "second" {
			t.Errorf("got %q, want second", got)
		}
		settle()
	})
}

// The second of two sign-ins at the same moment wins. Ages cannot tell their order, since a store may round lifetimes.
func TestSecondOfTwoSignInsAtOnceWins(t *testing.T) {
	for _, processes := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			a, b, third := replica(t, store), replica(t, store), replica(t, store)
			signIn(t, handle(a, user("alice"), "s"), "first")
			token(t, handle(third, user("alice"), "s"), noFetch(t))
			signIn(t, handle([]*cache.Cache{a, b}[processes-1], user("alice"), "s"), "second")
			handle(third, user("alice"), "s").Invalidate("first", "")
			for name, c := range map[string]*cache.Cache{"third": third, "new": replica(t, store)} {
				if got := token(t, handle(c, user("alice"), "s"), noFetch(t)); got != "second" {
					t.Errorf("sign-ins at %d processes, %s process: got the token %q, want second", processes, name, got)
				}
				if got := token(t, handle(c, user("alice"), name), redeem); got != "refreshed with refresh token of second" {
					t.Errorf("sign-ins at %d processes, %s process: got %q, want the refresh token of the second sign-in",
						processes, name, got)
				}
			}
			settle()
		})
	}
}

// A token that a resource has rejected is replaced in all processes by one request.
func TestInvalidateLooksIntoStoreFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := &authority{takes: time.Second}
		var handles []*cache.Handle
		for range 5 {
			h := handle(replica(t, store), key("t", ""), "s")
			token(t, h, a.fetch)
			handles = append(handles, h)
		}
		settle()
		for _, h := range handles {
			h.Invalidate("token 1", "")
			if got := token(t, h, a.fetch); got != "token 2" {
				t.Errorf("got %q, want token 2", got)
			}
			settle()
		}
		if n := a.requests.Load(); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// A claims challenge that another process has satisfied needs no request.
func TestChallengeLooksIntoStoreFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := &authority{}
		first, second := handle(replica(t, store), key("t", "u"), "s"), handle(replica(t, store), key("t", "u"), "s")
		token(t, first, a.fetch)
		token(t, second, noFetch(t))
		settle()
		for _, h := range []*cache.Handle{first, second} {
			tok, err := h.Token(t.Context(), "mfa", a.fetch)
			if err != nil || tok.AccessToken != "token 2" {
				t.Errorf("got %v, error %v; want token 2", tok, err)
			}
			settle()
		}
		if n := a.requests.Load(); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// A process that finds a session in the store does not take its token for a response to a claims challenge.
func TestChallengeInNewProcessNeedsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		signIn(t, handle(replica(t, store), user("alice"), "s"), "first")
		h := handle(replica(t, store), user("alice"), "s")
		tok, err := h.Token(t.Context(), "mfa", redeem)
		if err != nil || tok.AccessToken != "refreshed with refresh token of first" {
			t.Errorf("got %v, error %v; want a token of a new request", tok, err)
		}
		settle()
	})
}

// A store that hangs costs one time-out. Then its breaker is open, and hits are as fast as ever.
func TestHangingStoreCostsOneTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Hang: true} })
		c := replica(t, store)
		a := &authority{}
		for i, want := range []time.Duration{250 * time.Millisecond, 0, 0} {
			start := time.Now()
			token(t, handle(c, key("t", fmt.Sprint(i)), "s"), a.fetch)
			if took := time.Since(start); took != want {
				t.Errorf("call %d took %v, want %v", i, took, want)
			}
		}
		if s := c.Stats(); !s.StoreDown || s.StoreErrors != 2 { // the record and the marks are read at once
			t.Errorf("got %+v, want the store down after 2 errors", s)
		}
		store.Inject(nil)
		time.Sleep(4 * time.Second)
		settle()
		if s := c.Stats(); s.StoreDown || s.StoreUnsaved != 0 {
			t.Errorf("got %+v, want the store back and all saved", s)
		}
		other := replica(t, store)
		for i := range 3 {
			if got := token(t, handle(other, key("t", fmt.Sprint(i)), "s"), noFetch(t)); got != fmt.Sprint("token ", i+1) {
				t.Errorf("got %q, want token %d, which was obtained during the outage", got, i+1)
			}
		}
		settle()
	})
}

// While the store fails, a process serves the sessions that it has. For others, the error is temporary, since they may
// be signed in.
func TestFailingStoreSignsNoUserOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("connection refused")} })
		signIn(t, handle(b, user("bob"), "s"), "bob's")
		for range 120 {
			if got := token(t, handle(a, user("alice"), "s"), noFetch(t)); got != "alice's" {
				t.Errorf("got %q, want alice's", got)
			}
			if got := token(t, handle(a, user("alice"), "another"), redeem); got != "refreshed with refresh token of alice's" {
				t.Errorf("got %q, want a token for the refresh token in memory", got)
			}
			if got, err := tokenOrError(t, handle(b, user("alice"), "s"), redeem); !errors.Is(err, errTemporary) {
				t.Errorf("got %q, error %v; want temporarily_unavailable", got, err)
			}
			time.Sleep(time.Second)
		}
		store.Inject(nil)
		time.Sleep(time.Minute)
		if got := token(t, handle(b, user("alice"), "s"), redeem); got != "alice's" {
			t.Errorf("got %q after the outage, want alice's", got)
		}
		if got := token(t, handle(a, user("bob"), "s"), redeem); got != "bob's" {
			t.Errorf("got %q, want bob's, who signed in during the outage", got)
		}
		settle()
	})
}

// A sign-out that could not be saved is an error. It takes effect when the store is back.
func TestSignOutDuringOutageTakesEffectLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		h := handle(b, user("alice"), "s")
		token(t, h, noFetch(t))
		down := errors.New("user:s3cret-password@store: connection refused")
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: down} })
		n, err := a.PurgeSession(t.Context(), user("alice"))
		if n != 1 || err == nil {
			t.Errorf("got %d sessions, error %v; want 1 and an error", n, err)
		}
		time.Sleep(30 * time.Second)
		if got := token(t, h, noFetch(t)); got != "alice's" {
			t.Errorf("got %q during the outage, want alice's", got)
		}
		store.Inject(nil)
		time.Sleep(4 * time.Second)
		for _, c := range []*cache.Cache{a, b, replica(t, store)} {
			if got, err := tokenOrError(t, handle(c, user("alice"), "s"), redeem); !errors.Is(err, errLogin) {
				t.Errorf("got %q, error %v; want login_required", got, err)
			}
		}
		settle()
	})
}

// A process that was cut off from the store does not bring back a session that was signed out in the meantime.
func TestPartitionedProcessDoesNotUndoSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		cut := &partition{Memory: store}
		a, b := replica(t, store), replica(t, cut)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		signIn(t, handle(a, user("bob"), "s"), "bob's")
		alice, bob := handle(b, user("alice"), "s"), handle(b, user("bob"), "s")
		token(t, alice, noFetch(t))
		token(t, bob, noFetch(t))
		cut.set(true)
		if _, err := a.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		for range 20 * 60 {
			time.Sleep(time.Minute)
			for _, h := range []*cache.Handle{alice, bob} {
				token(t, h, redeem)
			}
		}
		cut.set(false)
		time.Sleep(4 * time.Second)
		if got, err := tokenOrError(t, alice, redeem); !errors.Is(err, errLogin) {
			t.Errorf("got %q, error %v; want login_required", got, err)
		}
		token(t, bob, redeem)
		settle()
		for _, c := range []*cache.Cache{a, replica(t, store)} {
			if got, err := tokenOrError(t, handle(c, user("alice"), "s"), redeem); !errors.Is(err, errLogin) {
				t.Errorf("got %q, error %v; want login_required", got, err)
			}
			token(t, handle(c, user("bob"), "s"), redeem)
		}
		settle()
	})
}

// A partition is a process's view of a store that it cannot reach while cut is set.
type partition struct {
	*storetest.Memory
	mu  sync.Mutex // guards cut
	cut bool
}

func (p *partition) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
}

func (p *partition) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return errors.New("network is unreachable")
	}
	return nil
}

func (p *partition) Load(ctx context.Context, key string) (cache.Record, error) {
	if err := p.err(); err != nil {
		return cache.Record{}, err
	}
	return p.Memory.Load(ctx, key)
}

func (p *partition) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	if err := p.err(); err != nil {
		return "", err
	}
	return p.Memory.Save(ctx, key, value, old, ttl)
}

func (p *partition) Subscribe(changed func(string), connected func(bool)) {
	p.Memory.Subscribe(func(key string) {
		if p.err() == nil {
			changed(key)
		}
	}, connected)
}

// A lost connection counts as lost messages: each session is checked at its next use.
func TestLostPushConnectionCausesChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		h := handle(b, user("alice"), "s")
		token(t, h, noFetch(t))
		store.Inject(func(c storetest.Call) storetest.Fault { return storetest.Fault{LoseWrite: c.Op == storetest.OpNotify} })
		store.Disconnect()
		token(t, h, noFetch(t))
		if _, err := a.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		store.Reconnect()
		if got, err := tokenOrError(t, h, redeem); !errors.Is(err, errLogin) {
			t.Errorf("got %q, error %v; want login_required", got, err)
		}
		settle()
	})
}

// A store that was emptied gets back what processes have in memory.
func TestFlushedStoreIsFilledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "alice's")
		store.Flush()
		if got, err := tokenOrError(t, handle(b, user("alice"), "s"), redeem); !errors.Is(err, errLogin) {
			t.Errorf("got %q, error %v; want login_required, since neither store nor memory has the session", got, err)
		}
		if got := token(t, handle(a, user("alice"), "another"), redeem); got != "refreshed with refresh token of alice's" {
			t.Errorf("got %q, want a token for the refresh token in memory", got)
		}
		settle()
		time.Sleep(2 * time.Minute)
		if got := token(t, handle(b, user("alice"), "s"), noFetch(t)); got != "alice's" {
			t.Errorf("got %q, want alice's", got)
		}
		settle()
	})
}

// A process that waits for the request of another one looks into the store after 20 ms. Each further wait is twice as
// long, up to half a second. The waits vary by half, so that many processes do not look at the same moment.
func TestWaitForLeaseBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := &authority{takes: 5 * time.Second}
		first := handle(cache.New(cache.Options{Store: store.WithoutPush(), Keys: sealKeys[:1]}), key("t", ""), "s")
		go token(t, first, a.fetch)
		synctest.Wait() // the first process has the lease
		var mu sync.Mutex
		var looks []time.Time
		store.Inject(func(c storetest.Call) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if c.Op == storetest.OpLoad {
				looks = append(looks, time.Now())
			}
			return storetest.Fault{}
		})
		second := handle(cache.New(cache.Options{Store: store.WithoutPush(), Keys: sealKeys[:1]}), key("t", ""), "s")
		if got := token(t, second, noFetch(t)); got != "token 1" {
			t.Errorf("got %q, want the token of the first process", got)
		}
		looks = looks[1:] // the marks are loaded at the same time as the session
		want := 20 * time.Millisecond
		for i := range len(looks) - 1 {
			if got := looks[i+1].Sub(looks[i]); got < want/2 || got >= want*3/2 {
				t.Errorf("got %v before load %d, want %v to %v", got, i+2, want/2, want*3/2)
			}
			want = min(2*want, 500*time.Millisecond)
		}
		if n := len(looks); n < 11 || n > 25 {
			t.Errorf("got %d loads in 5 s, want 11 to 25", n)
		}
		settle()
	})
}

// A process that dies with the lease delays the others for ten seconds at most.
func TestLeaseOfDeadProcessExpires(t *testing.T) {
	for _, limit := range []time.Duration{30 * time.Second, 4 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			dead := handle(replica(t, store), key("t", ""), "s")
			go dead.Token(t.Context(), "", func(ctx context.Context, _ *cache.Request) (cache.Response, error) {
				time.Sleep(time.Hour)
				return cache.Response{}, errors.New("dead")
			})
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			start := time.Now()
			tok, err := handle(replica(t, store), key("t", ""), "s").Token(ctx, "", (&authority{}).fetch)
			if err != nil || tok.AccessToken != "token 1" {
				t.Errorf("got %v, error %v; want token 1", tok, err)
			}
			most := min(limit/2, 10*time.Second) + time.Second
			if took := time.Since(start); took < limit/4 || took > most {
				t.Errorf("took %v, want %v to %v", took, limit/4, most)
			}
			settle()
			time.Sleep(2 * time.Hour)
		})
	}
}

// Records that were damaged, swapped or sealed with other keys count as missing, and are never an error for the user.
func TestUnreadableRecordsCountAsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, fault := range map[string]storetest.Fault{
			"flipped": {FlipByte: true}, "swapped": {Swap: true},
		} {
			store := storetest.NewMemory()
			c := replica(t, store)
			signIn(t, handle(c, user("alice"), "s"), "alice's")
			signIn(t, handle(c, user("bob"), "s"), "bob's")
			store.Inject(func(c storetest.Call) storetest.Fault { return fault })
			other := replica(t, store)
			for _, name := range []string{"alice", "bob"} {
				if got, err := tokenOrError(t, handle(other, user(name), "s"), redeem); !errors.Is(err, errLogin) {
					t.Errorf("got %q, error %v; want login_required", got, err)
				}
			}
			if got := other.Stats().StoreUnreadable; got < 2 {
				t.Errorf("%s: got %d unreadable records, want at least 2", name, got)
			}
			store.Inject(nil)
			settle()
			// Memory repairs the record.
			if got := token(t, handle(c, user("alice"), "new"), redeem); got != "refreshed with refresh token of alice's" {
				t.Errorf("%s: got %q, want a token for the refresh token in memory", name, got)
			}
			settle()
		}
		store := storetest.NewMemory()
		signIn(t, handle(replica(t, store), user("alice"), "s"), "alice's")
		wrong := replica(t, store, func(o *cache.Options) { o.Keys = sealKeys[1:] })
		if got, err := tokenOrError(t, handle(wrong, user("alice"), "s"), redeem); !errors.Is(err, errLogin) {
			t.Errorf("got %q, error %v; want login_required", got, err)
		}
		settle()
	})
}

// Keys are rotated in three steps while processes of the step before still run. No session is lost, and a sign-out
// reaches all.
func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		old, next := sealKeys[0], sealKeys[1]
		with := func(keys ...cache.SealKey) *cache.Cache {
			return replica(t, store, func(o *cache.Options) { o.Keys = keys })
		}
		steps := []*cache.Cache{with(old), with(old, next), with(next, old), with(next)}
		for i := range steps[:3] {
			a, b := steps[i], steps[i+1]
			for j, pair := range [][2]*cache.Cache{{a, b}, {b, a}} {
				name := fmt.Sprint("user ", i, j)
				signIn(t, handle(pair[0], user(name), "s"), name)
				if got := token(t, handle(pair[1], user(name), "s"), redeem); got != name {
					t.Errorf("step %d: got %q, want %q", i, got, name)
				}
				settle()
				if _, err := pair[0].Purge(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				settle()
				if got, err := tokenOrError(t, handle(pair[1], user(name), "s"), redeem); !errors.Is(err, errLogin) {
					t.Errorf("step %d: got %q, error %v; want login_required", i, got, err)
				}
			}
		}
		settle()
	})
}

// Clocks of processes may differ by hours. Only durations are stored.
func TestClocksOfProcessesMayDiffer(t *testing.T) {
	var saved []byte
	var name string
	var ttl time.Duration
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		token(t, handle(replica(t, store), key("t", ""), "s"), (&authority{}).fetch)
		settle()
		for k, r := range store.Records() {
			name, saved, ttl = k, r.Value, r.TTL
		}
	})
	for _, ahead := range []time.Duration{0, 2 * time.Hour} { // the clock of a bubble starts at the same time
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(ahead)
			const age = 20 * time.Minute
			h := handle(replica(t, &fixedStore{name, cache.Record{Value: saved, Version: "1", TTL: ttl - age}}), key("t", ""), "s")
			if got := token(t, h, noFetch(t)); got != "token 1" {
				t.Errorf("clock %v ahead: got %q, want token 1", ahead, got)
			}
			const settled = 2 * time.Second
			if got, want := time.Until(h.Current().UsableUntil()), 59*time.Minute-age-settled; got != want {
				t.Errorf("clock %v ahead: the token is usable for %v, want %v", ahead, got, want)
			}
			settle()
		})
	}
}

// A fixedStore has one record.
type fixedStore struct {
	name   string
	record cache.Record
}

func (s *fixedStore) Load(_ context.Context, key string) (cache.Record, error) {
	if key == s.name {
		return s.record, nil
	}
	return cache.Record{}, nil
}

func (s *fixedStore) Save(context.Context, string, []byte, cache.Version, time.Duration) (cache.Version, error) {
	return "2", nil
}

// The store holds neither tokens nor names in the clear.
func TestRecordsAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		c := replica(t, store)
		signIn(t, handle(c, user("alice"), "api://b/read"), "s3cret")
		if _, err := c.Purge(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		settle()
		records := store.Records()
		if len(records) != 3 {
			t.Errorf("got %d records, want a session and two records of marks of bob", len(records))
		}
		for name, r := range records {
			for _, plain := range []string{"s3cret", "alice", "bob", "api", "refresh", "browser", "token"} {
				if strings.Contains(name, plain) || bytes.Contains(r.Value, []byte(plain)) {
					t.Errorf("record %s contains %q", name, plain)
				}
			}
		}
		testkit.NoSecrets(t, c, "s3cret", "0123456789abcdef")
		testkit.NoSecrets(t, cache.Options{Store: store, Keys: sealKeys}, "0123456789abcdef")
	})
}

// In the store, apps, users, tenants, flows, sessions and capabilities are apart. The credential does not count, since
// processes may have different ones during a rotation.
func TestStoredSessionsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		k := user("alice")
		k.Capabilities, k.Variant = "cp1", "credential 1"
		signIn(t, handle(replica(t, store), k, "s"), "alice's")
		for name, test := range map[string]struct {
			change func(*cache.Key)
			shared bool
		}{
			"same":         {func(*cache.Key) {}, true},
			"credential":   {func(k *cache.Key) { k.Variant = "credential 2" }, true},
			"authority":    {func(k *cache.Key) { k.Authority += "2" }, false},
			"client":       {func(k *cache.Key) { k.ClientID += "2" }, false},
			"flow":         {func(k *cache.Key) { k.Flow += "2" }, false},
			"subject":      {func(k *cache.Key) { k.Subject += "2" }, false},
			"session":      {func(k *cache.Key) { k.Session += "2" }, false},
			"capabilities": {func(k *cache.Key) { k.Capabilities = "" }, false},
			"shifted":      {func(k *cache.Key) { k.Subject, k.Session = "alic", "ebrowser" }, false},
		} {
			other := k
			test.change(&other)
			got, err := tokenOrError(t, handle(replica(t, store), other, "s"), redeem)
			if (got == "alice's") != test.shared {
				t.Errorf("%s: got %q, error %v; want shared = %t", name, got, err, test.shared)
			}
		}
		settle()
	})
}

func TestStoreNeedsKeys(t *testing.T) {
	for name, keys := range map[string][]cache.SealKey{
		"none": nil, "short": {cache.NewSealKey([]byte("short"))}, "zero": {cache.SealKey{}},
	} {
		c := cache.New(cache.Options{Store: storetest.NewMemory(), Keys: keys})
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), "Options.Keys") || strings.Contains(err.Error(), "short") {
			t.Errorf("%s: got error %v, want one that names Options.Keys", name, err)
		}
		if _, got := cache.NewHandle(c, key("t", ""), "s").Token(t.Context(), "", noFetch(t)); !errors.Is(got, err) {
			t.Errorf("%s: Token: got error %v, want %v", name, got, err)
		}
	}
	if err := new(cache.Cache).Validate(); err != nil {
		t.Errorf("the zero Cache: got error %v", err)
	}
}

// A negative duration is an error, which calls for tokens return, too. A zero one is the default.
func TestNegativeDurationsAreInvalid(t *testing.T) {
	for name, change := range map[string]func(*cache.Options, time.Duration){
		"Recheck":       func(o *cache.Options, d time.Duration) { o.Recheck = d },
		"SessionTTL":    func(o *cache.Options, d time.Duration) { o.SessionTTL = d },
		"DelegationTTL": func(o *cache.Options, d time.Duration) { o.DelegationTTL = d },
	} {
		for _, o := range []cache.Options{{}, {Store: storetest.NewMemory(), Keys: sealKeys[:1]}} {
			for _, d := range []time.Duration{0, 1} {
				change(&o, d)
				if err := cache.New(o).Validate(); err != nil {
					t.Errorf("%s of %v: got error %v", name, d, err)
				}
			}
			change(&o, -time.Second)
			c := cache.New(o)
			err := c.Validate()
			if want := "cache: Options." + name + " is negative: -1s"; err == nil || err.Error() != want {
				t.Errorf("got error %v, want %s", err, want)
			}
			if _, got := cache.NewHandle(c, key("t", ""), "s").Token(t.Context(), "", noFetch(t)); !errors.Is(got, err) {
				t.Errorf("%s: Token: got error %v, want %v", name, got, err)
			}
		}
	}
}

// A token life costs three calls of the store in the process that refreshes, with push.
func TestStoreCallsPerTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := &authority{takes: 200 * time.Millisecond}
		const processes, hours = 4, 48
		var handles []*cache.Handle
		for range processes {
			handles = append(handles, handle(replica(t, store), key("t", ""), "s"))
		}
		for range hours * 360 {
			for _, h := range handles {
				token(t, h, a.fetch)
			}
			time.Sleep(10 * time.Second)
		}
		settle()
		calls := store.Calls(storetest.OpLoad) + store.Calls(storetest.OpSave)
		perLife := float64(calls) / float64(a.requests.Load()) / processes
		t.Logf("%d loads, %d saves, %d requests: %.2f calls per token life and process",
			store.Calls(storetest.OpLoad), store.Calls(storetest.OpSave), a.requests.Load(), perLife)
		if perLife > 3 {
			t.Errorf("got %.2f calls per token life and process, want at most 3", perLife)
		}
	})
}

// A store that reports a conflict for every write does not keep a flight from its request.
func TestEndlessConflictsDoNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Conflict: true} })
		start := time.Now()
		if got := token(t, handle(replica(t, store), key("t", ""), "s"), (&authority{}).fetch); got != "token 1" {
			t.Errorf("got %q, want token 1", got)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the call took %v, want at most 1 s", took)
		}
		settle()
	})
}

// A user signs in while the store fails, and an earlier session was ended in another process a moment before. The check
// for that sign-out fails, too. It must not drop the new session.
func TestSignInDuringOutageAfterSignOutLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		h := handle(a, user("alice"), "s")
		signIn(t, h, "first")
		signIn(t, handle(a, user("alice"), "other"), "first of other")
		settle()
		if _, err := b.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // ages are uncertain by half a second
		down := storetest.Fault{Err: errors.New("connection refused")}
		store.Inject(func(storetest.Call) storetest.Fault { return down })
		signIn(t, h, "second")
		if got := token(t, handle(a, user("alice"), "s"), noFetch(t)); got != "second" {
			t.Errorf("got %q during the outage, want the token of the second sign-in", got)
		}
		if got := token(t, handle(a, user("alice"), "other"), redeem); got != "refreshed with refresh token of second" {
			t.Errorf("got %q, want no token from before the sign-out", got)
		}
		store.Inject(nil)
		time.Sleep(10 * time.Second)
		if got := token(t, handle(b, user("alice"), "s"), noFetch(t)); got != "second" {
			t.Errorf("got %q after the outage, want the token of the second sign-in", got)
		}
	})
}

// A failure that only the store has caused ends with it, however long it lasted.
func TestUserGetsTokenSoonAfterOutageOfStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, handle(a, user("alice"), "s"), "first")
		settle()
		down := storetest.Fault{Err: errors.New("connection refused")}
		store.Inject(func(storetest.Call) storetest.Fault { return down })
		h := handle(b, user("alice"), "s")
		for range 600 {
			if _, err := tokenOrError(t, h, redeem); !errors.Is(err, errTemporary) {
				t.Errorf("got error %v during the outage, want %v", err, errTemporary)
			}
			time.Sleep(time.Second)
		}
		store.Inject(nil)
		time.Sleep(3 * time.Second)
		if got := token(t, h, noFetch(t)); got != "first" {
			t.Errorf("got %q after the outage, want the token of the sign-in", got)
		}
	})
}

// After an outage, the first users of a process that was idle get their tokens. One of their calls is the probe of the
// store, and the others wait for its outcome.
func TestFirstUsersAfterOutageGetTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		names := []string{"alice", "bob", "carol", "dave"}
		for _, name := range names {
			signIn(t, handle(a, user(name), "s"), name)
		}
		settle()
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("connection refused")} })
		if _, err := tokenOrError(t, handle(b, user("erin"), "s"), redeem); !errors.Is(err, errTemporary) {
			t.Errorf("got error %v during the outage, want %v", err, errTemporary)
		}
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: 10 * time.Millisecond} })
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				if got := token(t, handle(b, user(name), "s"), noFetch(t)); got != name {
					t.Errorf("got token %q, want that of %s", got, name)
				}
			})
		}
		wg.Wait()
	})
}

// A sign-in wins over an older refresh whose result is being saved.
func TestSignInDuringSaveWins(t *testing.T) {
	for at := range 60 {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: 10 * time.Millisecond} })
			c := replica(t, store)
			h := handle(c, user("alice"), "s")
			signIn(t, h, "one")
			settle()
			go tokenOrError(t, handle(c, user("alice"), "other"), redeem)
			time.Sleep(time.Duration(at) * time.Millisecond)
			signIn(t, h, "two")
			settle()
			fresh := replica(t, store)
			for _, got := range []string{
				token(t, h, redeem), token(t, handle(fresh, user("alice"), "s"), noFetch(t)),
			} {
				if got != "two" {
					t.Errorf("sign-in after %d ms: got token %q, want two", at, got)
				}
			}
			if got := token(t, handle(fresh, user("alice"), "third"), redeem); got != "refreshed with refresh token of two" {
				t.Errorf("sign-in after %d ms: got token %q, want one of the second refresh token", at, got)
			}
			settle()
		})
	}
}

// A record does not outlive the mark that ends it, even if its token lives longer than Options.SessionTTL.
func TestRecordDoesNotOutliveSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		short := func(o *cache.Options) { o.SessionTTL = 20 * time.Minute }
		c := replica(t, store, short)
		signIn(t, handle(c, user("alice"), "s"), "one") // for an hour
		settle()
		if _, err := c.Purge(t.Context(), user("alice").Subject); err != nil {
			t.Fatal(err)
		}
		time.Sleep(41 * time.Minute) // the mark has expired
		for _, scope := range []string{"s", "other"} {
			got, err := tokenOrError(t, handle(replica(t, store, short), user("alice"), scope), redeem)
			if !errors.Is(err, errLogin) {
				t.Errorf("scope %q: got token %q, error %v; want %v", scope, got, err, errLogin)
			}
		}
		settle()
	})
}

// A store that stops executes a write when it continues, long after its time-out. The token looks younger by that
// time, until the process that wrote it saves it again, within a few seconds. A process that has read it in between
// corrects its own copy when it reads the record the next time.
func TestLateWriteIsCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stopped = 50 * time.Second
		store := storetest.NewMemory()
		writer, early := handle(replica(t, store), key("t", ""), "s"), replica(t, store)
		fetch := func(context.Context, *cache.Request) (cache.Response, error) {
			store.Inject(func(c storetest.Call) storetest.Fault {
				return storetest.Fault{LateWrite: stopped, Hang: c.Op != storetest.OpSave}
			})
			return response("token", time.Hour), nil
		}
		token(t, writer, fetch)
		time.Sleep(stopped)
		time.Sleep(time.Millisecond)
		store.Inject(nil)
		between := handle(early, key("t", ""), "s")
		if got := token(t, between, noFetch(t)); got != "token" {
			t.Fatalf("got %q, want the token of the late write", got)
		}
		if early := between.Current().UsableUntil().Sub(writer.Current().UsableUntil()); early < stopped-time.Second {
			t.Fatalf("the token of the late write looks %v younger, want about %v, or this test tests nothing", early, stopped)
		}
		time.Sleep(5 * time.Second)
		want := writer.Current().UsableUntil()
		for name, h := range map[string]*cache.Handle{
			"after the correction": handle(replica(t, store), key("t", ""), "s"), "before": between,
		} {
			token(t, h, noFetch(t))
			if name == "before" { // the other scope set is in the same record
				token(t, handle(early, key("t", ""), "other"), (&authority{}).fetch)
				settle()
			}
			if off := h.Current().UsableUntil().Sub(want).Abs(); off > time.Second {
				t.Errorf("read %s: the token is usable until %v, want %v", name, h.Current().UsableUntil(), want)
			}
		}
		settle()
	})
}

// Forty processes share a token that is due while the store fails. Their requests are spread over the rest of its life.
// When the store is back, those with an older token than the stored one write nothing.
func TestOutageOfStoreSpreadsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a := &authority{takes: 200 * time.Millisecond}
		var handles []*cache.Handle
		const processes = 40
		for range processes {
			handles = append(handles, handle(replica(t, store), key("t", ""), "s"))
		}
		work := func(seconds int) {
			for range seconds {
				for _, h := range handles {
					token(t, h, a.fetch)
				}
				time.Sleep(time.Second)
			}
		}
		work(10)
		settle()
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("connection refused")} })
		for a.requests.Load() == 1 {
			work(1)
		}
		before := a.requests.Load()
		work(45)
		if n := a.requests.Load() - before; n > processes/2 {
			t.Errorf("got %d requests in 45 seconds, want at most half of the %d processes", n, processes)
		}
		work(3600)
		if n := a.requests.Load(); n < processes {
			t.Fatalf("got %d requests, want one for each of %d processes", n, processes)
		}
		saves, loads := store.Calls(storetest.OpSave), store.Calls(storetest.OpLoad)
		store.Inject(nil)
		time.Sleep(10 * time.Second)
		saves, loads = store.Calls(storetest.OpSave)-saves, store.Calls(storetest.OpLoad)-loads
		if saves < 1 || saves > processes/2 || loads < processes {
			t.Errorf("got %d writes and %d reads after the outage, want few writes and a read for each of %d processes",
				saves, loads, processes)
		}
		settle()
	})
}
