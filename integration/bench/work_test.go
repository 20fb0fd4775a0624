package bench_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/obo"
)

func key(i int) cache.Key {
	return cache.Key{Authority: authority, ClientID: clientID, Flow: "on_behalf_of",
		Subject: fmt.Sprintf("subject %032d", i)}
}

// handle returns a handle of the token for k and scopes.
func handle(c *cache.Cache, k cache.Key, scopes []string) *cache.Handle {
	h := new(cache.Handle)
	h.Bind(c, k, scopes, nil)
	return h
}

// BenchmarkLookup looks up the tokens of many keys from several goroutines, with a new handle for each lookup.
func BenchmarkLookup(b *testing.B) {
	const keys = 1 << 13
	c := cache.New(cache.Options{Size: 2 * keys})
	all, scopes := make([]cache.Key, keys), []string{scope}
	for i := range all {
		all[i] = key(i)
		response := cache.Response{AccessToken: "token", Lifetime: time.Hour}
		if _, err := handle(c, all[i], scopes).Put(context.Background(), response); err != nil {
			b.Fatal(err)
		}
	}
	ctx := context.Background()
	for _, goroutines := range []int{1, 2, 8, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			b.ReportAllocs()
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := g; i < b.N; i += goroutines {
						// The odd factor separates consecutive keys in memory.
						h := handle(c, all[i*2_654_435_761%keys], scopes)
						if h.Hit() != nil {
							continue
						}
						if _, err := h.Token(ctx, "", nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkExchange measures a token request with an immediate response, so only the work of the library counts.
// "entra" creates a client of MSAL for each exchange. "msal" reuses a client, and "msal-new" creates one each time.
func BenchmarkExchange(b *testing.B) {
	ctx := context.Background()
	var n atomic.Int64
	next := func() string { return assertion(int(n.Add(1))) }
	both(b, "assertion", func() error { _ = next(); return nil }) // part of all others
	ours := newEntra(b, &endpoint{tokenSize: 1500}, cache.New(cache.Options{Size: 1000}))
	both(b, "entra", func() error { _, err := obo.TokenSource(ours, next(), scope).TokenContext(ctx); return err })
	msal, scopes := newMSAL(b, &endpoint{tokenSize: 1500}), []string{scope}
	both(b, "msal", func() error { _, err := msal.AcquireTokenOnBehalfOf(ctx, next(), scopes); return err })
	at := &endpoint{tokenSize: 1500}
	both(b, "msal-new", func() error {
		_, err := newMSAL(b, at).AcquireTokenOnBehalfOf(ctx, next(), scopes)
		return err
	})
}

// BenchmarkInsert stores a token in a full cache, which evicts another session ("evicting"), and in an existing session
// ("replacing").
func BenchmarkInsert(b *testing.B) {
	response := cache.Response{AccessToken: "token", TokenType: "Bearer", Lifetime: time.Hour}
	for _, size := range []int{10_000, 100_000} {
		c, scopes := cache.New(cache.Options{Size: size}), []string{scope}
		like := handle(c, key(0), scopes) // one for each client
		insert := func(k cache.Key) {
			h := new(cache.Handle)
			h.Bind(c, k, scopes, like)
			if _, err := h.Put(context.Background(), response); err != nil {
				b.Fatal(err)
			}
		}
		// Before a key is inserted again, the others have evicted it.
		keys := make([]cache.Key, 3*size)
		for i := range keys {
			keys[i] = key(i)
			insert(keys[i])
		}
		i := 0
		b.Run(fmt.Sprintf("size=%d/evicting", size), func(b *testing.B) {
			b.ReportAllocs()
			before := c.Stats().Evictions
			for b.Loop() {
				insert(keys[i%len(keys)])
				i++
			}
			if evicted := c.Stats().Evictions - before; evicted < uint64(b.N) {
				b.Fatalf("%d inserts, %d evictions", b.N, evicted)
			}
		})
		b.Run(fmt.Sprintf("size=%d/replacing", size), func(b *testing.B) {
			stored := keys[(i-1)%len(keys)]
			b.ReportAllocs()
			for b.Loop() {
				insert(stored)
			}
		})
	}
}
