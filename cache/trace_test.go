package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

type ctxKey string

// tracedStore records the spans that calls of a store belong to.
type tracedStore struct {
	*storetest.Memory
	record func(ctx context.Context, op string)
}

func (s *tracedStore) Load(ctx context.Context, key string) (cache.Record, error) {
	s.record(ctx, "load")
	return s.Memory.Load(ctx, key)
}

func (s *tracedStore) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	s.record(ctx, "save")
	return s.Memory.Save(ctx, key, value, old, ttl)
}

// The function that Trace returns is called when the token is stored, and the context that Trace returns reaches the
// store and the fetch. It has the values of the caller's context.
func TestTraceCoversStoreAndFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		record := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf(format, args...))
		}
		take := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			lines := got
			got = nil
			return lines
		}
		store := &tracedStore{storetest.NewMemory(), func(ctx context.Context, op string) {
			record("%s in %v", op, ctx.Value(ctxKey("span")))
		}}
		newCache := func() *cache.Cache {
			return cache.New(cache.Options{
				Store: store, Keys: sealKeys[:1],
				Trace: func(ctx context.Context, e cache.Event) (context.Context, func(cache.Event)) {
					record("start %s %s %s background=%v for %v", e.Kind, e.Scopes, e.Key.Subject, e.Background, ctx.Value(ctxKey("caller")))
					return context.WithValue(ctx, ctxKey("span"), "flight"), func(e cache.Event) {
						record("end %s %s %s background=%v err=%v", e.Kind, e.Op, e.Key.Subject, e.Background, e.Err)
					}
				},
			})
		}
		a := &authority{takes: time.Second}
		fetch := func(ctx context.Context, r *cache.Request) (cache.Response, error) {
			record("fetch in %v", ctx.Value(ctxKey("span")))
			return a.fetch(ctx, r)
		}
		call := func(h *cache.Handle, caller string) error {
			_, err := h.Token(context.WithValue(t.Context(), ctxKey("caller"), caller), "", fetch)
			return err
		}
		check := func(step string, want ...string) {
			t.Helper()
			lines := slices.CompactFunc(take(), func(a, b string) bool { return a == b }) // loads and saves of several records
			if !slices.Equal(lines, want) {
				t.Errorf("%s: got\n%q\nwant\n%q", step, lines, want)
			}
		}
		h := cache.NewHandle(newCache(), key("t", "person"), "s")
		if err := call(h, "one"); err != nil {
			t.Fatal(err)
		}
		check("cold", "start fetch started s person background=false for one", "load in flight", "save in flight",
			"fetch in flight", "save in flight", "end fetch done  person background=false err=<nil>")
		if err := call(h, "two"); err != nil {
			t.Fatal(err)
		}
		check("a hit")
		if err := call(cache.NewHandle(newCache(), key("t", "person"), "s"), "three"); err != nil {
			t.Fatal(err)
		}
		check("found in the store", "start fetch started s person background=false for three", "load in flight",
			"end store load person background=false err=<nil>")
		time.Sleep(time.Until(h.Current().RefreshAt()) + time.Minute) // with a store, a process looks a little later
		a.fail(errors.New("broken"))
		if err := call(h, "four"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		lines := slices.DeleteFunc(take(), func(line string) bool { return strings.Contains(line, " in ") })
		if want := []string{
			"start fetch started s person background=true for four",
			"end fetch failed  person background=true err=broken",
		}; !slices.Equal(lines, want) {
			t.Errorf("refresh: got %q, want %q", lines, want)
		}
	})
}

// Listeners that panic change nothing, also where no caller's handle is involved.
func TestPanicsOfListenersAreDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		for name, trace := range map[string]func(context.Context, cache.Event) (context.Context, func(cache.Event)){
			"start": func(context.Context, cache.Event) (context.Context, func(cache.Event)) { calls++; panic("start") },
			"end": func(ctx context.Context, _ cache.Event) (context.Context, func(cache.Event)) {
				return ctx, func(cache.Event) { calls++; panic("end") }
			},
			"nil": func(context.Context, cache.Event) (context.Context, func(cache.Event)) { calls++; return nil, nil },
		} {
			c := cache.New(cache.Options{
				Store: storetest.NewMemory(), Keys: sealKeys[:1], Trace: trace,
				OnEvent: func(cache.Event) { panic("event") },
			})
			a := &authority{}
			h := cache.NewHandle(c, key("t", "person"), "s")
			if tok, err := h.Token(t.Context(), "", a.fetch); err != nil || tok.AccessToken != "token 1" {
				t.Errorf("%s: got %v, %v, want token 1", name, tok, err)
			}
			synctest.Wait()
			if n, err := c.Purge(t.Context(), "person"); n != 1 || err != nil {
				t.Errorf("%s: got %d, %v from Purge, want 1", name, n, err)
			}
		}
		if calls != 3 {
			t.Errorf("got %d calls of listeners, want 3", calls)
		}
	})
}
