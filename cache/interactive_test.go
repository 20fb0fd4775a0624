package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// interactive returns a handle to a session that starts with Put.
func interactive(c *cache.Cache, k cache.Key, scopes ...string) *cache.Handle {
	h := handle(c, k, scopes...)
	h.Interactive = true
	return h
}

func wantLogin(t *testing.T, h *cache.Handle, f fetchFunc) {
	t.Helper()
	if got, err := tokenOrError(t, h, f); !errors.Is(err, errLogin) {
		t.Errorf("got token %q and error %v, want login_required", got, err)
	}
}

// A process with a cached failure notices at once that the user has signed in at another process. Until then the
// failure costs no request.
func TestSignInAtAnotherProcessEndsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := interactive(replica(t, store), user("alice"), "s"), interactive(replica(t, store), user("alice"), "s")
		another := interactive(replica(t, store), user("alice"), "another")
		wantLogin(t, b, redeem)
		for range 3 {
			wantLogin(t, b, noFetch(t))
		}
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
		for range 2 {
			wantLogin(t, b, noFetch(t)) // the store, which fails, makes no difference
		}
		store.Inject(nil)
		time.Sleep(5 * time.Second)
		wantLogin(t, b, redeem)
		wantLogin(t, another, redeem)
		signIn(t, a, "alice's")
		if got := token(t, b, noFetch(t)); got != "alice's" {
			t.Errorf("got %q, want the token of the sign-in", got)
		}
		if got := token(t, another, redeem); got != "refreshed with refresh token of alice's" {
			t.Errorf("another scope: got %q, want a token for the refresh token of the sign-in", got)
		}
		settle()
	})
}

// A resource rejects the token of an earlier sign-in with a claims challenge. The token of a later sign-in, at another
// process, is tried before a request is sent.
func TestChallengeUsesLaterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := interactive(replica(t, store), user("alice"), "s"), interactive(replica(t, store), user("alice"), "s")
		signIn(t, a, "first")
		token(t, b, noFetch(t))
		time.Sleep(time.Minute)
		signIn(t, a, "second")
		if got := token(t, b, noFetch(t)); got != "first" {
			t.Fatalf("got %q, want the token in memory", got)
		}
		for i, want := range []string{"second", "refreshed with refresh token of second"} {
			b.Invalidate(b.Current().Text(), "")
			fetch := noFetch(t)
			if i == 1 {
				fetch = redeem
			}
			tok, err := b.Token(t.Context(), "mfa", fetch)
			if err != nil || tok.AccessToken != want {
				t.Errorf("got %v, error %v; want %q", tok, err, want)
			}
			settle()
		}
	})
}

// After the store was emptied, no user must sign in whose session some process has in memory. Any process may serve the
// next request. Other users are found missing after a second, and after a lost connection, when not all
// processes are connected again, after two.
func TestProcessesRestoreLostSessions(t *testing.T) {
	for name, test := range map[string]struct {
		disconnect bool
		least      time.Duration
		most       time.Duration
		messages   int
	}{
		"flushed":   {false, 560 * time.Millisecond, 1680 * time.Millisecond, 6},
		"restarted": {true, 1060 * time.Millisecond, 3180 * time.Millisecond, 8},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := storetest.NewMemory()
				a, b, c := replica(t, store), replica(t, store), replica(t, store)
				signIn(t, interactive(a, user("alice"), "s"), "alice's")
				signIn(t, interactive(replica(t, store), user("bob"), "s"), "bob's")
				settle()
				store.Flush()
				if test.disconnect {
					store.Disconnect()
					store.Reconnect()
				}
				if got := token(t, interactive(b, user("alice"), "s"), noFetch(t)); got != "alice's" {
					t.Errorf("got %q, want the token that another process has", got)
				}
				if got := token(t, interactive(c, user("alice"), "s"), noFetch(t)); got != "alice's" {
					t.Errorf("got %q, want the token that is in the store again", got)
				}
				before, start := store.Calls(storetest.OpNotify), time.Now()
				if !test.disconnect {
					time.Sleep(time.Minute) // later is not different
					start = time.Now()
				}
				missing := interactive(b, user("carol"), "s")
				wantLogin(t, missing, redeem)
				if took := time.Since(start); took < test.least || took > test.most {
					t.Errorf("a missing session was found missing after %v, want %v to %v", took, test.least, test.most)
				}
				if n := store.Calls(storetest.OpNotify) - before; n != test.messages {
					t.Errorf("got %d messages, want %d", n, test.messages)
				}
				wantLogin(t, missing, noFetch(t)) // cached, no message
				if n := store.Calls(storetest.OpNotify) - before; n != test.messages {
					t.Errorf("a cached failure: got %d messages, want %d", n, test.messages)
				}
				settle()
			})
		})
	}
}

// A caller that waits for a short time gets the error in time.
func TestMissingSessionIsFoundInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replica(t, storetest.NewMemory())
		for i := range 100 { // the waits are random
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if _, err := interactive(c, user(fmt.Sprint(i)), "s").Token(ctx, "", redeem); !errors.Is(err, errLogin) {
				t.Fatalf("got error %v, want login_required", err)
			}
			cancel()
		}
	})
}

// A session that was signed out is not restored, even if the store has lost the mark of the sign-out, too.
func TestSignedOutSessionIsNotRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b, c := replica(t, store), replica(t, store), replica(t, store)
		signIn(t, interactive(a, user("alice"), "s"), "alice's")
		token(t, interactive(b, user("alice"), "s"), noFetch(t))
		if _, err := a.PurgeSession(t.Context(), user("alice")); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wantLogin(t, interactive(a, user("alice"), "s"), redeem) // at once, since the session is known to have ended
		if took := time.Since(start); took != 0 {
			t.Errorf("the error took %v, want no wait", took)
		}
		synctest.Wait() // b has received the message, and has not used the session since
		store.Flush()
		wantLogin(t, interactive(c, user("alice"), "s"), redeem)
		settle()
	})
}

// A record that the store has damaged is replaced by a process that has the session in memory.
func TestProcessesReplaceDamagedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		signIn(t, interactive(a, user("alice"), "s"), "alice's")
		settle()
		var mu sync.Mutex // guards saved
		saved := make(map[string]bool)
		store.Inject(func(c storetest.Call) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			saved[c.Key] = saved[c.Key] || c.Op == storetest.OpSave
			return storetest.Fault{FlipByte: !saved[c.Key]}
		})
		if got := token(t, interactive(b, user("alice"), "s"), noFetch(t)); got != "alice's" {
			t.Errorf("got %q, want alice's", got)
		}
		settle()
	})
}

// A process whose calls failed at a sign-in saves it when another process needs it.
func TestProcessSavesSignInOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		a, b := replica(t, store), replica(t, store)
		store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("connection reset")} })
		signIn(t, interactive(a, user("alice"), "s"), "alice's")
		store.Inject(nil)
		if got := token(t, interactive(b, user("alice"), "s"), noFetch(t)); got != "alice's" {
			t.Errorf("got %q, want alice's", got)
		}
		settle()
	})
}

// A store that fails for a moment costs a user without tokens in memory a slow page and not an error.
func TestUserWaitsForStoreThatFailsForMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		signIn(t, interactive(replica(t, store), user("alice"), "s"), "alice's")
		settle()
		hang := func(storetest.Call) storetest.Fault { return storetest.Fault{Hang: true} }
		store.Inject(hang)
		time.AfterFunc(3*time.Second, func() { store.Inject(nil) })
		start := time.Now()
		if got := token(t, interactive(replica(t, store), user("alice"), "s"), noFetch(t)); got != "alice's" {
			t.Errorf("got %q, want alice's", got)
		}
		if took := time.Since(start); took > 5500*time.Millisecond {
			t.Errorf("took %v, want at most 5.5 s", took)
		}
		// A caller with less time gets the error at once, and any caller does after the fourth failure.
		store.Inject(hang)
		for limit, most := range map[time.Duration]time.Duration{
			5 * time.Second: 250 * time.Millisecond, time.Minute: 7 * time.Second,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			start := time.Now()
			tok, err := interactive(replica(t, store), user("alice"), "s").Token(ctx, "", redeem)
			if !errors.Is(err, errTemporary) {
				t.Errorf("got %v, error %v, want %v", tok, err, errTemporary)
			}
			if took := time.Since(start); took > most {
				t.Errorf("with %v: took %v, want at most %v", limit, took, most)
			}
			cancel()
		}
		settle()
	})
}
