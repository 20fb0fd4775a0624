package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

// In any sequence of calls and outages, no token is returned after its expiry or for another subject. A call at least a
// minute after the end of an outage gets a token, and the next early refresh takes place.
func TestGuaranteesHoldInRandomSequences(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomSequence(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func randomSequence(t *testing.T, r *rand.Rand) {
	c := cache.New(cache.Options{Size: 2})
	var handles []*cache.Handle
	for _, subject := range []string{"a", "b", "c"} {
		handles = append(handles, cache.NewHandle(c, key("t", subject), "x"), cache.NewHandle(c, key("t", subject), "y"))
	}
	s := server{up: time.Now()}
	for range 400 {
		h := handles[r.IntN(len(handles))]
		switch r.IntN(16) {
		case 0, 1:
			s.setError([]error{nil, errors.New("down"), throttled{time.Duration(r.IntN(3600)) * time.Second}}[r.IntN(3)])
		case 2:
			if cached := h.Current(); cached != nil {
				h.Invalidate(cached.Text(), "")
			}
		case 3:
			h.Put(t.Context(), s.token(h))
		case 4:
			purge(c, h.Key().Subject)
		case 5, 6, 7:
			go s.get(t, h, []string{"", "mfa", "other"}[r.IntN(3)])
		case 8:
			s.get(t, h, "mfa")
		default:
			s.get(t, h, "")
		}
		step := []time.Duration{0, time.Millisecond, time.Second, time.Minute, 5 * time.Hour}[r.IntN(5)]
		time.Sleep(step * time.Duration(r.IntN(5)))
	}
	s.setError(nil)
	time.Sleep(2 * time.Hour)
	for _, h := range handles {
		s.get(t, h, "")
		old := h.Current()
		time.Sleep(time.Until(old.RefreshAt()))
		s.get(t, h, "")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if h.Current() == old {
			t.Error("got the old token after its refresh point, want a new one")
		}
	}
}

// A server is a fake token endpoint with outages.
type server struct {
	mu  sync.Mutex // guards the fields below
	err error      // of all requests, if not nil
	up  time.Time  // when the last outage or Retry-After ended
}

func (s *server) setError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && err == nil && time.Now().After(s.up) {
		s.up = time.Now()
	}
	s.err = err
}

// token returns a token whose text has its subject and expiry.
func (s *server) token(h *cache.Handle) cache.Response {
	lifetime := []time.Duration{3 * time.Minute, time.Hour, 28 * time.Hour}[time.Now().Unix()%3]
	return response(fmt.Sprint(h.Key().Subject, " ", time.Now().Add(lifetime).UnixNano()), lifetime)
}

func (s *server) get(t *testing.T, h *cache.Handle, challenge string) {
	start := time.Now()
	tok, err := h.Token(t.Context(), challenge, func(context.Context, *cache.Request) (cache.Response, error) {
		time.Sleep(3 * time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		if e, ok := s.err.(throttled); ok && time.Now().Add(e.after).After(s.up) {
			s.up = time.Now().Add(e.after)
		}
		return s.token(h), s.err
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if challenge == "" && s.err == nil && start.Sub(s.up) > time.Minute {
			t.Errorf("got %v, want a token %v after the outage", err, start.Sub(s.up))
		}
		return
	}
	var subject string
	var end int64
	fmt.Sscan(tok.AccessToken, &subject, &end)
	if subject != h.Key().Subject || !time.Now().Before(time.Unix(0, end)) {
		t.Errorf("got %q, want a token of %s that expires after %d", tok.AccessToken, h.Key().Subject, time.Now().UnixNano())
	}
}
