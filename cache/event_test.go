package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
)

func TestEventsDescribeEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		c := cache.New(cache.Options{Size: 1, OnEvent: func(e cache.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Key.Subject != "person" && e.Key.Subject != "other" {
				t.Errorf("got an event of %q, want person or other", e.Key.Subject)
			}
			got = append(got, fmt.Sprintf("%s %s background=%v took=%v err=%v retry=%v lifetime=%v",
				e.Kind, e.Scopes, e.Background, e.Took, e.Err, e.RetryIn > 0, e.Lifetime))
		}})
		a := &authority{takes: time.Second}
		h := cache.NewHandle(c, key("t", "person"), "s")
		var own []cache.EventKind
		h.OnEvent = func(e cache.Event) {
			mu.Lock()
			defer mu.Unlock()
			own = append(own, e.Kind)
		}
		get(t, h, a.fetch)
		synctest.Wait()
		get(t, h, a.fetch) // a hit emits nothing
		time.Sleep(time.Until(h.Current().RefreshAt()))
		a.fail(throttled{time.Minute})
		get(t, h, a.fetch)
		time.Sleep(time.Second)
		synctest.Wait()
		h.Invalidate("token 1", "")
		time.Sleep(time.Minute) // Retry-After outlives Invalidate
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		h.Token(ctx, "", a.fetch)
		time.Sleep(time.Second)
		synctest.Wait()
		h.Token(t.Context(), "", a.fetch) // the cached failure emits nothing
		cache.NewHandle(c, key("t", "other")).Put(t.Context(), response("x", time.Hour))
		want := []string{
			"fetch started s background=false took=0s err=<nil> retry=false lifetime=0s",
			"fetch done s background=false took=1s err=<nil> retry=false lifetime=1h0m0s",
			"waited s background=false took=1s err=<nil> retry=false lifetime=0s",
			"fetch started s background=true took=0s err=<nil> retry=false lifetime=0s",
			"fetch failed s background=true took=1s err=throttled retry=true lifetime=0s",
			"throttled s background=true took=0s err=throttled retry=true lifetime=0s",
			"invalidated s background=false took=0s err=<nil> retry=false lifetime=0s",
			"fetch started s background=false took=0s err=<nil> retry=false lifetime=0s",
			"waited s background=false took=1ms err=context deadline exceeded retry=false lifetime=0s",
			"fetch failed s background=false took=1s err=throttled retry=true lifetime=0s",
			"throttled s background=false took=0s err=throttled retry=true lifetime=0s",
			"evicted  background=false took=0s err=<nil> retry=false lifetime=0s",
		}
		mu.Lock()
		defer mu.Unlock()
		// The first caller and its request end at the same moment, in either order.
		if got[1] > got[2] {
			got[1], got[2] = got[2], got[1]
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("got\n%s\nwant\n%s", g, w)
		}
		// The handle emits its own events, but not the eviction of a session.
		if len(own) != len(want)-1 || slices.Contains(own, cache.EventEvicted) {
			t.Errorf("got events %v of the handle, want %d without an eviction", own, len(want)-1)
		}
	})
}

func TestLogWritesEventsAtTheirLevel(t *testing.T) {
	var out bytes.Buffer
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	text := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: withoutTime})
	log := cache.Log(slog.New(text))
	k := cache.Key{Authority: "https://a/t", ClientID: "c", Flow: "f", Subject: "person"}
	log(cache.Event{Kind: cache.EventFetchDone, Key: k})
	log(cache.Event{
		Kind: cache.EventFetchFailed, Key: k, Scopes: "s", Took: time.Second, Err: throttled{}, RetryIn: time.Minute,
	})
	log(cache.Event{Kind: cache.EventFetchFailed, Key: k, Scopes: "s", Background: true, Err: throttled{}})
	log(cache.Event{Kind: cache.EventEvicted, Key: k})
	const key = `key="https://a/t client=c flow=f subject=38a81e87e796"`
	want := `level=WARN msg="token cache: fetch failed" ` + key + ` scopes=s took=1s retry_in=1m0s error=throttled
level=INFO msg="token cache: fetch failed" ` + key + ` scopes=s background=true error=throttled
level=INFO msg="token cache: evicted" ` + key + "\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The error of a fetch may come from outside and have a token in its text.
func TestLogCutsTokensInErrors(t *testing.T) {
	var out bytes.Buffer
	log := cache.Log(slog.New(slog.NewTextHandler(&out, nil)))
	err := errors.New("vault: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln was rejected")
	log(cache.Event{Kind: cache.EventFetchFailed, Err: err})
	if got := out.String(); !strings.HasSuffix(got, ` error="vault: [redacted] was rejected"`+"\n") {
		t.Errorf("got %s", got)
	}
}
