package redisstore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra/internal/testkit/servers"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// newClient returns a client that is closed with the test.
func newClient(t *testing.T, addrs ...string) redis.UniversalClient {
	t.Helper()
	c := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSessions(t *testing.T) {
	client := newClient(t, servers.Redis(t).Addr)
	other := redisstore.NewSessions(client, &redisstore.Options{Prefix: "other:"})
	servers.TestSessions(t, redisstore.NewSessions(client, nil), func() {
		if _, found, err := other.Find("token"); found || err != nil {
			t.Errorf("another prefix: got %v, %v, want no session", found, err)
		}
		ttl, err := client.PTTL(t.Context(), "entra:session:token").Result()
		if err != nil || ttl > time.Hour || ttl < 59*time.Minute {
			t.Errorf("got lifetime %v, %v, want an hour", ttl, err)
		}
	})
}

// An unavailable server is an error, not a missing session: otherwise users would be signed out.
func TestSessionsWithoutServer(t *testing.T) {
	server := servers.Redis(t)
	sessions := redisstore.NewSessions(newClient(t, server.Addr), nil)
	server.Kill()
	if _, found, err := sessions.FindCtx(t.Context(), "token"); found || err == nil {
		t.Errorf("got found %v and error %v, want an error", found, err)
	}
	if err := sessions.CommitCtx(t.Context(), "token", nil, time.Now().Add(time.Hour)); err == nil {
		t.Error("CommitCtx returned no error")
	}
	if err := sessions.DeleteCtx(t.Context(), "token"); err == nil {
		t.Error("DeleteCtx returned no error")
	}
}

// An app has sessions of its own (scs) in the same Redis. Its store lists all keys "scs:session:*", and Iterate decodes
// every entry, so it would fail for one of ours.
func TestAppSessionsInTheSameRedis(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: servers.Redis(t).Addr})
	t.Cleanup(func() { client.Close() })
	ours := redisstore.NewSessions(client, nil)
	if err := ours.Commit("token", []byte("sealed, not gob"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	app := scs.New()
	app.Store = goredisstore.New(client)
	ctx, err := app.Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	app.Put(ctx, "cart", "a book")
	if _, _, err := app.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	var carts []string
	iterate := func() error {
		carts = nil
		return app.Iterate(t.Context(), func(ctx context.Context) error {
			carts = append(carts, app.GetString(ctx, "cart"))
			return nil
		})
	}
	if err := iterate(); err != nil || !slices.Equal(carts, []string{"a book"}) {
		t.Errorf("got carts %q and error %v, want one", carts, err)
	}
	if b, found, err := ours.Find("token"); !found || err != nil || string(b) != "sealed, not gob" {
		t.Errorf("got %q, %v, %v, want our session", b, found, err)
	}
	// The reason for a prefix of our own: in the store of the app, our entries break Iterate.
	if err := app.Store.(scs.CtxStore).CommitCtx(t.Context(), "token", []byte("sealed, not gob"),
		time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := iterate(); err == nil {
		t.Error("Iterate decoded our entry, want an error")
	}
}
