package cache_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/entratoken/entra/cache"
)

// A metrics system reads the counters of Stats and observes the durations of events.
func ExampleNew() {
	observe := func(kind string, seconds float64) { /* a histogram */ }
	c := cache.New(cache.Options{
		Size: 50_000,
		OnEvent: func(e cache.Event) {
			if e.Took > 0 {
				observe(string(e.Kind), e.Took.Seconds())
			}
		},
	})
	// Clients get it as entra.Config.Cache. They use it in this way:
	k := cache.Key{Authority: "https://login.microsoftonline.com/tenant", ClientID: "app", Flow: "flow"}
	h := cache.NewHandle(c, k, "scope")
	for range 3 {
		if h.Hit() == nil {
			h.Token(context.Background(), "", func(context.Context, *cache.Request) (cache.Response, error) {
				return cache.Response{AccessToken: "a token", Lifetime: time.Hour}, nil
			})
		}
	}
	s := c.Stats()
	fmt.Printf("%d hits, %d misses, %d sessions\n", s.Hits, s.Misses, s.Sessions)
	// Output: 2 hits, 1 misses, 1 sessions
}

func ExampleLog() {
	cache.New(cache.Options{OnEvent: cache.Log(slog.New(slog.NewJSONHandler(os.Stderr, nil)))})
}
