package purge_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/internal/purge"
	"github.com/entratoken/entra/internal/testkit"
)

const (
	tenant = "11111111-1111-4111-8111-111111111111"
	app    = "22222222-2222-4222-8222-222222222222"
)

// The end of a session leaves a mark, and empties the record that the client of that app, tenant and capabilities
// stored.
func TestSessionIsErasedInTheStore(t *testing.T) {
	store := storetest.NewMemory()
	client, err := entra.New(entra.Config{
		TenantID: tenant, ClientID: app, Credential: entra.Secret("secret"), Capabilities: []string{entra.CapabilityCAE},
		Cache: cache.New(cache.Options{
			Store: store, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	key := cache.Key{Flow: "flow", Subject: "alice", Session: "browser"}
	full := key
	full.Authority, full.ClientID = "https://login.microsoftonline.com/"+tenant, app
	full.Capabilities, full.Variant = entra.CapabilityCAE, "variant"
	var handle cache.Handle
	handle.Bind(client.Cache(), full, []string{"scope"}, nil)
	if _, err := handle.Put(t.Context(), cache.Response{AccessToken: "t", Lifetime: time.Hour, State: "s"}); err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex // guards saved
	var saved []string
	store.Inject(func(c storetest.Call) storetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Op == storetest.OpSave {
			saved = append(saved, c.Key)
		}
		return storetest.Fault{}
	})
	if err := purge.Session(t.Context(), client, tenant, key, "failed"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	slices.Sort(saved)
	if n := len(slices.Compact(saved)); n != 2 {
		t.Errorf("got %d records saved, want that of the marks and that of the session", n)
	}
	mu.Unlock()

	store.Inject(func(storetest.Call) storetest.Fault { return storetest.Fault{Err: errors.New("down")} })
	got := testkit.Error(t, purge.Session(t.Context(), client, tenant, key, "the sign-out failed"))
	if got.Code != "temporarily_unavailable" || got.Description != "the sign-out failed" || got.Err == nil {
		t.Errorf("got %+v", got)
	}
}
