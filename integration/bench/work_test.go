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
	return cache.Key{Authority: authority, ClientID: clientID, Flow: "on_behalf_of", Subject: fmt.Sprintf("subject %032d", i)}
}

func handle(c *cache.Cache, k cache.Key, scopes []string) *cache.Handle {
	h := new(cache.Handle)
	h.Bind(c, k, scopes, nil)
	return h
}

// BenchmarkLookup finds the tokens of many keys in the cache, each through a handle of its own, from
// several goroutines.
func BenchmarkLookup(b *testing.B) {
	const keys = 1 << 13
	c := cache.New(cache.Options{Size: 2 * keys})
	all, scopes := make([]cache.Key, keys), []string{scope}
	for i := range all {
		all[i] = key(i)
		if _, err := handle(c, all[i], scopes).Put(cache.Response{AccessToken: "token", Lifetime: time.Hour}); err != nil {
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
						// An odd factor, so that neighbors in time are not neighbors in memory.
						if _, err := handle(c, all[i*2_654_435_761%keys], scopes).Token(ctx, "", nil); err != nil {
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

// BenchmarkExchange is a request for a token that is answered at once: what is left is the work of the
// library. Ours makes a client of MSAL for each exchange; beside it are one that is kept, and what
// MSAL alone needs with a new one each time.
func BenchmarkExchange(b *testing.B) {
	ctx := context.Background()
	var n atomic.Int64
	next := func() string { return assertion(int(n.Add(1))) }
	both(b, "assertion", func() error { _ = next(); return nil }) // making it is in both
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

// BenchmarkInsert puts a token into a cache: into one that is full, so that another session has to go
// (evicting), and, to compare, into a session that is there already (replacing).
func BenchmarkInsert(b *testing.B) {
	answer := cache.Response{AccessToken: "token", TokenType: "Bearer", Lifetime: time.Hour}
	for _, size := range []int{cache.DefaultSize, 100_000} {
		c, scopes := cache.New(cache.Options{Size: size}), []string{scope}
		like := handle(c, key(0), scopes) // a client keeps one
		insert := func(k cache.Key) {
			h := new(cache.Handle)
			h.Bind(c, k, scopes, like)
			if _, err := h.Put(answer); err != nil {
				b.Fatal(err)
			}
		}
		// When the turn of the first comes again it has been pushed out by the others.
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
			held := keys[(i-1)%len(keys)]
			b.ReportAllocs()
			for b.Loop() {
				insert(held)
			}
		})
	}
}
