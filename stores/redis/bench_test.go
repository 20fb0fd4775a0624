package redisstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/testkit/servers"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// trips counts the round trips of a client.
type trips struct{ n atomic.Int64 }

func (t *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		t.n.Add(1)
		return next(ctx, cmd)
	}
}

func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		t.n.Add(1)
		return next(ctx, cmds)
	}
}

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkFlight measures flights that find their token in Redis: "refreshed" if the process knows the session and
// another one has the new token, and "first use" otherwise. "Load" is the call of the store alone. Records have 2.6 KB.
// Sixteen goroutines call at a time, as in a busy process. With one caller, most CPU time is spent on putting the
// process to sleep and waking it for each response.
func BenchmarkFlight(b *testing.B) {
	const callers, sessions = 16, 500
	server := servers.Redis(b)
	open := func(hook *trips) (*redis.Client, *redisstore.Store, *cache.Cache) {
		client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, PoolSize: callers})
		if hook != nil {
			client.AddHook(hook)
		}
		store := redisstore.New(client, nil)
		return client, store, cache.New(cache.Options{
			Store: store, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))}, Size: 1 << 20,
		})
	}
	// each calls f for the numbers below n in several goroutines.
	each := func(n int, f func(int)) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					f(i)
				}
			})
		}
		wg.Wait()
	}
	bind := func(c *cache.Cache, i int) *cache.Handle {
		h := new(cache.Handle)
		h.Bind(c, cache.Key{
			Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "authorization_code",
			Subject: fmt.Sprint("user ", i), Session: "browser",
		}, []string{"api://orders/Orders.Read"}, nil)
		return h
	}
	signIn := func(h *cache.Handle, n int) {
		if _, err := h.Put(b.Context(), cache.Response{
			AccessToken: fmt.Sprint(n, strings.Repeat("a", 1500)), TokenType: "Bearer", Lifetime: time.Hour,
			State: strings.Repeat("r", 1000),
		}); err != nil {
			b.Error(err)
		}
	}
	get := func(h *cache.Handle) string {
		tok, err := h.Token(b.Context(), "", func(context.Context, *cache.Request) (cache.Response, error) {
			b.Error("got a request, want the token in Redis")
			return cache.Response{}, nil
		})
		if err != nil {
			b.Error(err)
			return ""
		}
		return tok.AccessToken
	}
	for _, known := range []bool{true, false} {
		name := "first use"
		if known {
			name = "refreshed"
		}
		b.Run(name, func(b *testing.B) {
			var used time.Duration
			n, counted := 0, int64(0)
			b.StopTimer()
			for n < b.N {
				hook := new(trips)
				writerClient, _, writer := open(nil)
				readerClient, store, reader := open(hook)
				each(10*callers, func(i int) { _, _ = store.Load(b.Context(), fmt.Sprint("warm ", i)) }) // opens connections
				handles, old := make([]*cache.Handle, min(sessions, b.N-n)), make([]string, sessions)
				each(len(handles), func(i int) {
					signIn(bind(writer, i), n)
					handles[i] = bind(reader, i)
					if known {
						old[i] = get(handles[i])
						signIn(bind(writer, i), n+1)
						handles[i].Invalidate(old[i], "")
					}
				})
				time.Sleep(50 * time.Millisecond) // push messages arrive
				before, trips := cpu(b), hook.n.Load()
				b.StartTimer()
				each(len(handles), func(i int) { get(handles[i]) })
				b.StopTimer()
				used += cpu(b) - before
				counted += hook.n.Load() - trips
				n += len(handles)
				writerClient.Close()
				readerClient.Close()
			}
			b.ReportMetric(float64(used.Nanoseconds())/1000/float64(n), "cpu-µs/op")
			b.ReportMetric(float64(counted)/float64(n), "calls/op")
		})
	}
	b.Run("Load", func(b *testing.B) {
		client, store, _ := open(nil)
		defer client.Close()
		key := rand.Text()
		if _, err := store.Save(b.Context(), key, make([]byte, 2600), "", time.Hour); err != nil {
			b.Fatal(err)
		}
		each(10*callers, func(int) { _, _ = store.Load(b.Context(), key) }) // opens connections
		before := cpu(b)
		b.ResetTimer()
		each(b.N, func(int) {
			if _, err := store.Load(b.Context(), key); err != nil {
				b.Error(err)
			}
		})
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
}
