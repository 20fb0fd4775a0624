package cache_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

// early returns a handle whose held token, got with challenge, has just become early.
func early(t *testing.T, c *cache.Cache, scope, challenge string) *cache.Handle {
	t.Helper()
	h := c.Handle(key("t", "user"), []string{scope})
	if _, err := h.Token(t.Context(), challenge, (&authority{}).fetch); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(h.Held().RefreshAt()))
	return h
}

// A refresh that was started by a caller with a challenge, which the held token satisfies,
// and fails, is not the last one before the token's end.
func TestFailedRefreshWithChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := early(t, cache.New(cache.Options{}), "s", "mfa")
		a := &authority{takes: time.Second}
		a.fail(errors.New("down"))
		if _, err := h.Token(t.Context(), "mfa", a.fetch); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.fail(nil)
		for old := h.Held(); h.Held() == old; time.Sleep(time.Second) {
			if !time.Now().Before(old.UsableUntil()) {
				t.Fatal("not refreshed before the token's end")
			}
			get(t, h, a.fetch)
		}
		if got := a.requests.Load(); got != 2 {
			t.Errorf("%d requests, want 2: one that fails, and another", got)
		}
	})
}

// What a sign-in makes of no account is the failure of a refresh, not the token that is
// served meanwhile: it is still early.
func TestRefreshFailsAfterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := early(t, c, "s", "")
		a := &authority{takes: time.Second}
		a.fail(errors.New("revoked"))
		get(t, h, a.fetch)
		synctest.Wait()
		if _, err := c.Handle(key("t", "user"), []string{"another"}).Put(answer("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.fail(nil)
		get(t, h, a.fetch)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := get(t, h, a.fetch); got != "token 2" {
			t.Errorf("got %q, want token 2 of a second refresh", got)
		}
	})
}

// But throttling is no less true after a sign-in.
func TestThrottledAfterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{})
		h := early(t, c, "s", "")
		a := &authority{takes: time.Second}
		a.fail(throttled{5 * time.Minute})
		get(t, h, a.fetch)
		synctest.Wait()
		if _, err := c.Handle(key("t", "user"), []string{"another"}).Put(answer("signed in", time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		get(t, h, a.fetch)
		synctest.Wait()
		if got := a.requests.Load(); got != 1 {
			t.Errorf("%d requests within Retry-After, want 1", got)
		}
	})
}

// The patience of those who have a token does not outlast it: a shorter one that came with a
// challenge can be refreshed at its own end.
func TestPatienceEndsWithTheToken(t *testing.T) {
	for range 20 { // the patient wait is drawn; at least nine in ten outlast a token of three minutes
		synctest.Test(t, func(t *testing.T) {
			c := cache.New(cache.Options{})
			h := c.Handle(key("t", "user"), []string{"s"})
			day := &authority{life: func() time.Duration { return 28 * time.Hour }}
			get(t, h, day.fetch)
			time.Sleep(time.Until(h.Held().RefreshAt()))
			day.fail(errors.New("down"))
			get(t, h, day.fetch)
			synctest.Wait()
			short := &authority{life: func() time.Duration { return 3 * time.Minute }}
			if _, err := h.Token(t.Context(), "mfa", short.fetch); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Minute)
			get(t, h, short.fetch) // fails the test on any error
		})
	}
}
