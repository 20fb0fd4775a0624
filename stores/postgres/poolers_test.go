package postgresstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/testkit/servers"
	postgresstore "github.com/entratoken/entra/stores/postgres"
)

// A pooler forwards connections to PostgreSQL. While it is lossy, it does not pass on the messages of NOTIFY, like a
// pooler in transaction mode.
type pooler struct {
	addr  string
	lossy atomic.Bool
}

func newPooler(t *testing.T, target string) *pooler {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &pooler{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(client, target)
		}
	}()
	return p
}

func (p *pooler) forward(client net.Conn, target string) {
	defer client.Close()
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	for { // each message of the server: its type, its length with the length itself, its contents
		head := make([]byte, 5)
		if _, err := io.ReadFull(server, head); err != nil {
			return
		}
		message := make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
		copy(message, head)
		if _, err := io.ReadFull(server, message[5:]); err != nil {
			return
		}
		const notification = 'A'
		if message[0] == notification && p.lossy.Load() {
			continue
		}
		if _, err := client.Write(message); err != nil {
			return
		}
	}
}

// pool returns a pool that connects through p.
func (p *pooler) pool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return newPool(t, &servers.Server{Addr: p.addr}, func(c *pgxpool.Config) {
		c.ConnConfig.TLSConfig, c.ConnConfig.Fallbacks = nil, nil
	})
}

// A subscription whose messages a pooler loses is not reported as connected, neither at first nor later.
func TestSubscriptionNoticesLostMessages(t *testing.T) {
	server := servers.Postgres(t)
	p := newPooler(t, server.Addr)
	p.lossy.Store(true)
	states := make(chan bool, 1000)
	newStore(t, p.pool(t)).Subscribe(func(string) {}, func(on bool) { states <- on })
	time.Sleep(5 * time.Second) // at least one probe has failed
	if n := len(states); n != 0 {
		t.Errorf("got connected(%v) and %d more calls without messages, want none", <-states, n-1)
	}
	for _, lossy := range []bool{false, true, false} {
		p.lossy.Store(lossy)
		select {
		case on := <-states:
			if on == lossy {
				t.Errorf("messages are lost: %v; got connected(%v)", lossy, on)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("messages are lost: %v; got no call of connected", lossy)
		}
	}
}

// Behind a pooler that loses messages, other processes notice a sign-out after Recheck.
func TestSignOutBehindPooler(t *testing.T) {
	server := servers.Postgres(t)
	migrate(t, newPool(t, server))
	p := newPooler(t, server.Addr)
	p.lossy.Store(true)
	process := func() *cache.Cache {
		return cache.New(cache.Options{
			Store: newStore(t, p.pool(t)), Recheck: time.Second,
			Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
		})
	}
	key := cache.Key{
		Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "authorization_code",
		Subject: "alice", Session: "browser",
	}
	bind := func(c *cache.Cache) *cache.Handle {
		h := new(cache.Handle)
		h.Bind(c, key, []string{"scope"}, nil)
		return h
	}
	first, second := process(), process()
	response := cache.Response{AccessToken: "alice's token", Lifetime: time.Hour, State: "refresh token"}
	if _, err := bind(first).Put(t.Context(), response); err != nil {
		t.Fatal(err)
	}
	h := bind(second)
	get := func() error {
		_, err := h.Token(t.Context(), "", func(context.Context, *cache.Request) (cache.Response, error) {
			return cache.Response{}, errors.New("signed out")
		})
		return err
	}
	servers.Eventually(t, 10*time.Second, "the token in the second process", func() bool { return get() == nil })
	if _, err := first.PurgeSession(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, 15*time.Second, "the sign-out in the second process", func() bool {
		err := get()
		return err != nil && strings.Contains(err.Error(), "signed out")
	})
}

// Probes of other processes are not keys. Processes send few of them, since all receive each other's.
func TestProbes(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	keys := make(chan string, 1000)
	for range 10 {
		sub := servers.Subscribe(postgresSubscriber{newStore(t, newPool(t, server)), keys})
		sub.Wait(t, true, 20*time.Second)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "LISTEN entra_tokens"); err != nil {
		t.Fatal(err)
	}
	const seconds = 10
	ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
	defer cancel()
	probes := 0
	for ; ; probes++ {
		n, err := conn.Conn().WaitForNotification(ctx)
		if err != nil {
			break
		}
		if !strings.HasPrefix(n.Payload, "probe ") {
			t.Errorf("got message %q, want probes only", n.Payload)
		}
	}
	// Ten processes send about ten. If none heard the others, they would send more than 50.
	if probes < 1 || probes > 40 {
		t.Errorf("got %d probes of ten processes in %d seconds, want 1 to 40", probes, seconds)
	}
	if n := len(keys); n != 0 {
		t.Errorf("got %d keys, first %q, want none", n, <-keys)
	}
}

// postgresSubscriber copies the keys of a subscription to a channel.
type postgresSubscriber struct {
	*postgresstore.Store
	keys chan string
}

func (s postgresSubscriber) Subscribe(changed func(key string), connected func(bool)) {
	s.Store.Subscribe(func(key string) { s.keys <- key; changed(key) }, connected)
}
