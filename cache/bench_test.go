package cache_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

func response(token string, lifetime time.Duration) cache.Response {
	return cache.Response{AccessToken: token, TokenType: "Bearer", Lifetime: lifetime}
}

func warm(b *testing.B, c *cache.Cache) *cache.Handle {
	k := cache.Key{Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "client_credentials"}
	h := cache.NewHandle(c, k, "api://b/.default")
	if _, err := h.Put(b.Context(), response("token", time.Hour)); err != nil {
		b.Fatal(err)
	}
	return h
}

func BenchmarkHit(b *testing.B) {
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			_ = time.Now()
		}
	})
	b.Run("serial", func(b *testing.B) {
		h := warm(b, cache.New(cache.Options{}))
		b.ReportAllocs()
		for b.Loop() {
			if h.Hit() == nil {
				b.Fatal("no hit")
			}
		}
	})
	b.Run("serial with a store", func(b *testing.B) {
		h := warm(b, cache.New(cache.Options{Store: storetest.NewMemory(), Keys: sealKeys[:1]}))
		b.ReportAllocs()
		for b.Loop() {
			if h.Hit() == nil {
				b.Fatal("no hit")
			}
		}
	})
	b.Run("time.Now parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_ = time.Now()
			}
		})
	})
	b.Run("parallel", func(b *testing.B) {
		h := warm(b, cache.New(cache.Options{}))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if h.Hit() == nil {
					b.Fatal("no hit")
				}
			}
		})
	})
}

func BenchmarkHandleHit(b *testing.B) {
	c := cache.New(cache.Options{})
	warm(b, c)
	k := cache.Key{Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "client_credentials"}
	scopes := []string{"api://b/.default"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.NewHandle(c, k, scopes...).Token(context.Background(), "", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// With size 10,000, each insert evicts a session.
func BenchmarkInsert(b *testing.B) {
	for _, size := range []int{1 << 30, 10_000} {
		b.Run(fmt.Sprint("size ", size), func(b *testing.B) {
			c := cache.New(cache.Options{Size: size})
			k := cache.Key{Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "on_behalf_of"}
			scopes := []string{"api://b/.default"}
			r := response("token", time.Hour)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k.Subject = strconv.Itoa(i)
				cache.NewHandle(c, k, scopes...).Put(b.Context(), r)
			}
		})
	}
}
