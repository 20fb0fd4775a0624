package cache_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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

// BenchmarkFlight measures flights that find their token in the store, here one without a network. "Refreshed" is a
// session that the process knows and whose new token another one has acquired. "First use" is a new session, which also
// reads the marks. Records have 3 KB.
func BenchmarkFlight(b *testing.B) {
	store := storetest.NewMemory()
	open := func() *cache.Cache {
		return cache.New(cache.Options{Store: store, Keys: sealKeys[:1], Size: 1 << 20})
	}
	bind := func(c *cache.Cache, i int) *cache.Handle {
		return cache.NewHandle(c, cache.Key{
			Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "authorization_code",
			Subject: fmt.Sprint("user ", i), Session: "browser",
		}, "api://orders/Orders.Read")
	}
	signIn := func(h *cache.Handle, n int) {
		r := response(fmt.Sprint(n, strings.Repeat("a", 1500)), time.Hour)
		r.State = strings.Repeat("r", 1000)
		if _, err := h.Put(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	get := func(h *cache.Handle) string {
		tok, err := h.Token(b.Context(), "", func(context.Context, *cache.Request) (cache.Response, error) {
			b.Fatal("got a request, want the token in the store")
			return cache.Response{}, nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return tok.AccessToken
	}
	writer := open()
	for _, name := range []string{"refreshed", "first use"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; {
				b.StopTimer()
				reader := open()
				var handles []*cache.Handle
				for i := range min(500, b.N-n) {
					signIn(bind(writer, i), n)
					h := bind(reader, i)
					if name == "refreshed" {
						old := get(h)
						signIn(bind(writer, i), n+1)
						h.Invalidate(old, "")
					}
					handles = append(handles, h)
				}
				b.StartTimer()
				for _, h := range handles {
					get(h)
				}
				n += len(handles)
			}
		})
	}
}
