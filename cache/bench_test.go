package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

func answer(token string, life time.Duration) cache.Answer {
	return cache.Answer{AccessToken: token, TokenType: "Bearer", Lifetime: life}
}

func warm(b *testing.B, c *cache.Cache) *cache.Handle {
	h := c.Handle(cache.Key{Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "client_credentials"}, []string{"api://b/.default"})
	if _, err := h.Put(answer("token", time.Hour)); err != nil {
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
		if _, err := c.Handle(k, scopes).Token(context.Background(), "", nil); err != nil {
			b.Fatal(err)
		}
	}
}
