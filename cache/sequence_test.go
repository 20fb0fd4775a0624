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

// Whatever happened before, in whatever order: no token is served past its end or to another
// subject, who asks a minute after the authority is well again gets one, and the next early
// refresh comes.
func TestRandomSequences(t *testing.T) {
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
	w := weather{fine: time.Now()}
	for range 400 {
		h := handles[r.IntN(len(handles))]
		switch r.IntN(16) {
		case 0, 1:
			w.change([]error{nil, errors.New("down"), throttled{time.Duration(r.IntN(3600)) * time.Second}}[r.IntN(3)])
		case 2:
			if held := h.Current(); held != nil {
				h.Invalidate(held.Text(), "")
			}
		case 3:
			h.Put(w.token(h))
		case 4:
			purge(c, h.Key().Subject)
		case 5, 6, 7:
			go w.ask(t, h, []string{"", "mfa", "other"}[r.IntN(3)])
		case 8:
			w.ask(t, h, "mfa")
		default:
			w.ask(t, h, "")
		}
		time.Sleep([]time.Duration{0, time.Millisecond, time.Second, time.Minute, 5 * time.Hour}[r.IntN(5)] * time.Duration(r.IntN(5)))
	}
	w.change(nil)
	time.Sleep(2 * time.Hour)
	for _, h := range handles {
		w.ask(t, h, "")
		old := h.Current()
		time.Sleep(time.Until(old.RefreshAt()))
		w.ask(t, h, "")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if h.Current() == old {
			t.Error("not refreshed early")
		}
	}
}

// weather is an authority that is not always well.
type weather struct {
	mu   sync.Mutex // guards the fields below
	err  error
	fine time.Time // since when it is well and silences nobody
}

func (w *weather) change(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil && err == nil && time.Now().After(w.fine) {
		w.fine = time.Now()
	}
	w.err = err
}

// token returns a token that says whom it is for and when it ends.
func (w *weather) token(h *cache.Handle) cache.Response {
	life := []time.Duration{3 * time.Minute, time.Hour, 28 * time.Hour}[time.Now().Unix()%3]
	return response(fmt.Sprint(h.Key().Subject, " ", time.Now().Add(life).UnixNano()), life)
}

func (w *weather) ask(t *testing.T, h *cache.Handle, challenge string) {
	start := time.Now()
	tok, err := h.Token(t.Context(), challenge, func(context.Context, string, any) (cache.Response, error) {
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if e, ok := w.err.(throttled); ok && time.Now().Add(e.after).After(w.fine) {
			w.fine = time.Now().Add(e.after)
		}
		return w.token(h), w.err
	})
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if challenge == "" && w.err == nil && start.Sub(w.fine) > time.Minute {
			t.Errorf("%v, though the authority has been well for %v", err, start.Sub(w.fine))
		}
		return
	}
	var subject string
	var end int64
	fmt.Sscan(tok.AccessToken, &subject, &end)
	if subject != h.Key().Subject || !time.Now().Before(time.Unix(0, end)) {
		t.Errorf("%s got %q at %d", h.Key().Subject, tok.AccessToken, time.Now().UnixNano())
	}
}
