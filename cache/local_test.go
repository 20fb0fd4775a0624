package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// The system-assigned identities of two machines have the same key and different tokens.
func TestLocalSessionsStayInTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		k := key("t", "")
		k.Local = true
		for _, machine := range []string{"first", "second"} {
			c := replica(t, store)
			own := func(context.Context, *cache.Request) (cache.Response, error) {
				return response("token of the "+machine, time.Hour), nil
			}
			h := handle(c, k, "s")
			if got, want := token(t, h, own), "token of the "+machine; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			time.Sleep(50 * time.Minute) // a refresh is due
			token(t, h, own)
			synctest.Wait()
			if _, err := h.Put(t.Context(), response("put", time.Hour)); err != nil {
				t.Fatal(err)
			}
			settle()
			if got := token(t, h, own); got != "put" {
				t.Errorf("got %q, want the token of Put", got)
			}
			if s := c.Stats(); s.Fetches != 2 || s.StoreLoads != 0 || s.StoreSaves != 0 {
				t.Errorf("got %d fetches, %d loads and %d saves, want 2, 0 and 0", s.Fetches, s.StoreLoads, s.StoreSaves)
			}
			shared := k
			shared.Local = false
			if got := token(t, handle(c, shared, "s"), func(context.Context, *cache.Request) (cache.Response, error) {
				return response("shared", time.Hour), nil
			}); got != "shared" {
				t.Errorf("got %q for the same key without Local, want another token", got)
			}
			settle()
		}
	})
}
