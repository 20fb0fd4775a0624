package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/internal/testkit/servers"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// Each store of a conformance test has a client of its own, like a process of a fleet.
func TestServer(t *testing.T) {
	addr := servers.Redis(t).Addr
	storetest.Run(t, func() cache.Store { return redisstore.New(newClient(t, addr), nil) })
}

func TestCluster(t *testing.T) {
	var addrs []string
	for _, node := range servers.RedisCluster(t) {
		addrs = append(addrs, node.Addr)
	}
	storetest.Run(t, func() cache.Store { return redisstore.New(newClient(t, addrs...), nil) })
}

// After a replica has replaced a node of a cluster, the store calls the replica.
func TestClusterFailover(t *testing.T) {
	nodes := servers.RedisCluster(t)
	var addrs []string
	for _, node := range nodes {
		addrs = append(addrs, node.Addr)
	}
	store := redisstore.New(newClient(t, addrs...), nil)
	work := func() (err error) { // in all nodes
		for i := range 30 {
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			_, loadErr := store.Load(ctx, strconv.Itoa(i))
			cancel()
			err = errors.Join(err, loadErr)
		}
		return err
	}
	servers.Eventually(t, 20*time.Second, "work", func() bool { return work() == nil })
	servers.Eventually(t, 20*time.Second, "replication", func() bool {
		info, err := newClient(t, nodes[0].Addr).Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "state=online")
	})
	nodes[0].Kill()
	if work() == nil {
		t.Error("the killed node had no keys, so this test tests nothing")
	}
	servers.Eventually(t, 40*time.Second, "work without the node", func() bool { return work() == nil })
}

func TestSentinel(t *testing.T) {
	primary := servers.Redis(t)
	sentinel := servers.Sentinel(t, primary)
	storetest.Run(t, func() cache.Store { return redisstore.New(failoverClient(t, sentinel), nil) })
}

func failoverClient(t *testing.T, sentinel *servers.Server) redis.UniversalClient {
	t.Helper()
	c := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: []string{sentinel.Addr}, MasterName: servers.SentinelName, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// After Sentinel has replaced the primary, the store uses the new one, and the subscription is restored.
func TestSentinelFailover(t *testing.T) {
	primary := servers.Redis(t)
	replica := servers.RedisReplica(t, primary)
	sentinel := servers.Sentinel(t, primary)
	store := redisstore.New(failoverClient(t, sentinel), nil)
	sub := servers.Subscribe(store)
	sub.Wait(t, true, 20*time.Second)
	if _, err := store.Save(t.Context(), "a", []byte("value"), "", time.Minute); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, 10*time.Second, "replication", func() bool {
		n, err := newClient(t, replica.Addr).Exists(t.Context(), "entra:token:a").Result()
		return err == nil && n == 1
	})
	servers.Eventually(t, 20*time.Second, "Sentinel knowing the replica", func() bool {
		s := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
		defer s.Close()
		replicas, err := s.Replicas(t.Context(), servers.SentinelName).Result()
		return err == nil && len(replicas) == 1
	})
	primary.Kill()
	sub.Wait(t, false, 10*time.Second)
	sub.Wait(t, true, 30*time.Second)
	servers.Eventually(t, 30*time.Second, "a write to the new primary", func() bool {
		r, err := store.Load(t.Context(), "a")
		if err != nil || string(r.Value) != "value" {
			return false
		}
		_, err = store.Save(t.Context(), "a", []byte("new"), r.Version, time.Minute)
		return err == nil
	})
}

// A server that hangs is noticed, and so is its recovery.
func TestSubscriptionNoticesDeadConnection(t *testing.T) {
	server := servers.Redis(t)
	store := redisstore.New(newClient(t, server.Addr), nil)
	sub := servers.Subscribe(store)
	sub.Wait(t, true, 20*time.Second)
	server.Signal(syscall.SIGSTOP)
	sub.Wait(t, false, 10*time.Second)
	server.Signal(syscall.SIGCONT)
	sub.Wait(t, true, 20*time.Second)
	if err := store.Notify(t.Context(), "key"); err != nil {
		t.Fatal(err)
	}
	select {
	case key := <-sub.Keys:
		if key != "key" {
			t.Errorf("got key %q, want key", key)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no message")
	}
	server.Kill()
	sub.Wait(t, false, 10*time.Second)
	server.Start()
	sub.Wait(t, true, 20*time.Second)
}

// Closing the client ends the subscription.
func TestSubscriptionEndsWithClient(t *testing.T) {
	client := newClient(t, servers.Redis(t).Addr)
	sub := servers.Subscribe(redisstore.New(client, nil))
	sub.Wait(t, true, 20*time.Second)
	client.Close()
	sub.Wait(t, false, 10*time.Second)
}

// A nil client and a zero Store are reported to the caller of the constructor. Otherwise the goroutine of the
// subscription would end the program.
func TestMissingClientPanics(t *testing.T) {
	for want, f := range map[string]func(){
		"redisstore: New needs a client, got nil":         func() { redisstore.New(nil, nil) },
		"redisstore: NewSessions needs a client, got nil": func() { redisstore.NewSessions(nil, nil) },
		"redisstore: the Store must be created with New": func() {
			key := cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))
			cache.New(cache.Options{Store: new(redisstore.Store), Keys: []cache.SealKey{key}})
		},
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("got panic %v, want %s", got, want)
				}
			}()
			f()
		}()
	}
}

// The store uses two names, which Options.Prefix changes.
func TestNames(t *testing.T) {
	client := newClient(t, servers.Redis(t).Addr)
	for prefix, opts := range map[string]*redisstore.Options{
		"entra:": nil, "shop:": {Prefix: "shop:"},
	} {
		if _, err := redisstore.New(client, opts).Save(t.Context(), "key", []byte("value"), "", time.Minute); err != nil {
			t.Fatal(err)
		}
		b, err := client.Get(t.Context(), prefix+"token:key").Bytes()
		if err != nil || len(b) != 16+5 || !bytes.HasSuffix(b, []byte("value")) {
			t.Errorf("prefix %q: got %q, %v, want 16 bytes and the value", prefix, b, err)
		}
	}
}

// A damaged record, or another program's data under our name, is not an error: one such record would stop the store for
// all users. Load returns what cannot be opened, and Save replaces it. Both check its version.
func TestDamagedRecord(t *testing.T) {
	client := newClient(t, servers.Redis(t).Addr)
	store := redisstore.New(client, nil)
	const intact = "sixteen byte ID.value" // as Save writes it
	giant := strings.Repeat("x", 600<<10)
	for name, test := range map[string]struct {
		damage func(ctx context.Context, name string) error
		want   cache.Record // with the highest TTL
	}{
		"short": {
			func(ctx context.Context, name string) error { return client.Set(ctx, name, "x", time.Hour).Err() },
			cache.Record{Value: []byte("x"), Version: "x", TTL: time.Hour},
		},
		"empty": {
			func(ctx context.Context, name string) error { return client.Set(ctx, name, "", time.Hour).Err() },
			cache.Record{},
		},
		"without an expiry": {
			func(ctx context.Context, name string) error { return client.Set(ctx, name, intact, 0).Err() },
			cache.Record{Value: []byte(intact), Version: "sixteen byte ID.", TTL: 1},
		},
		"empty without an expiry": {
			func(ctx context.Context, name string) error { return client.Set(ctx, name, "", 0).Err() },
			cache.Record{},
		},
		"too long": {
			func(ctx context.Context, name string) error { return client.Set(ctx, name, giant, time.Hour).Err() },
			cache.Record{Value: []byte(giant[:512<<10]), Version: cache.Version(giant[:16]), TTL: time.Hour},
		},
		"hash": {
			func(ctx context.Context, name string) error { return client.HSet(ctx, name, "field", "x").Err() },
			cache.Record{Value: []byte("WRONGTYPE"), Version: "other type", TTL: 1},
		},
		"list with an expiry": {
			func(ctx context.Context, name string) error {
				return errors.Join(client.LPush(ctx, name, "x").Err(), client.PExpire(ctx, name, time.Hour).Err())
			},
			cache.Record{Value: []byte("WRONGTYPE"), Version: "other type", TTL: time.Hour},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.damage(t.Context(), "entra:token:"+name); err != nil {
				t.Fatal(err)
			}
			r, err := store.Load(t.Context(), name)
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			if r.TTL > test.want.TTL || test.want.TTL > 0 && r.TTL <= 0 || r.TTL < test.want.TTL-time.Minute {
				t.Errorf("TTL: got %v, want %v", r.TTL, test.want.TTL)
			}
			if r.Version != test.want.Version || !bytes.Equal(r.Value, test.want.Value) {
				t.Errorf("got version %q and %d bytes %.80q, want %q and %d bytes %.80q",
					r.Version, len(r.Value), r.Value, test.want.Version, len(test.want.Value), test.want.Value)
			}
			if _, err := store.Save(t.Context(), name, []byte("new"), "another version", time.Hour); !errors.Is(
				err, cache.ErrConflict) {
				t.Errorf("Save with another version: got %v, want ErrConflict", err)
			}
			version, err := store.Save(t.Context(), name, []byte("new"), r.Version, time.Hour)
			if err != nil {
				t.Fatalf("Save: %v", err)
			}
			if r, err := store.Load(t.Context(), name); err != nil || r.Version != version || string(r.Value) != "new" {
				t.Errorf("got %q, version %q, %v after Save, want the new record", r.Value, r.Version, err)
			}
		})
	}
}

// Load reads at most the largest value, and not all of a huge string.
func TestLoadReadsNoMoreThanARecord(t *testing.T) {
	client := newClient(t, servers.Redis(t).Addr)
	store := redisstore.New(client, nil)
	if err := client.SetRange(t.Context(), "entra:token:key", 200<<20, "x").Err(); err != nil {
		t.Fatal(err)
	}
	load := func() {
		if r, err := store.Load(t.Context(), "key"); err != nil || len(r.Value) != 16+512<<10 {
			t.Fatalf("got %d bytes, %v, want 16 bytes and 512 KB", len(r.Value), err)
		}
	}
	load()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	load()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("Load allocated %d MB, want at most 8", n>>20)
	}
}

// The damaged record of a user affects no other user, and the user can sign in again.
func TestDamagedRecordHeals(t *testing.T) {
	server := servers.Redis(t)
	admin := newClient(t, server.Addr)
	process := func() *cache.Cache {
		return cache.New(cache.Options{
			Store: redisstore.New(newClient(t, server.Addr), nil),
			Keys:  []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
			OnEvent: func(e cache.Event) {
				if e.Err != nil && strings.Contains(e.Err.Error(), "WRONGTYPE") {
					t.Errorf("%s: the store failed: %v", e.Op, e.Err)
				}
			},
		})
	}
	handle := func(c *cache.Cache, user string) *cache.Handle {
		h := &cache.Handle{Interactive: true}
		h.Bind(c, cache.Key{
			Authority: "https://login.microsoftonline.com/t", ClientID: "app", Flow: "authorization_code",
			Subject: user, Session: "browser",
		}, []string{"scope"}, nil)
		return h
	}
	signIn := func(c *cache.Cache, user, token string) {
		t.Helper()
		response := cache.Response{AccessToken: token, Lifetime: time.Hour, State: "refresh token"}
		if _, err := handle(c, user).Put(t.Context(), response); err != nil {
			t.Fatal(err)
		}
	}
	get := func(c *cache.Cache, user string) string {
		tok, err := handle(c, user).Token(t.Context(), "", func(context.Context, *cache.Request) (cache.Response, error) {
			return cache.Response{}, errors.New("interaction required")
		})
		if err != nil {
			return err.Error()
		}
		return tok.AccessToken
	}
	names := func() []string { return admin.Keys(t.Context(), "entra:token:*").Val() }
	first := process()
	signIn(first, "bob", "bob's token")
	others := names()
	signIn(first, "alice", "old token")
	for _, name := range names() {
		if !slices.Contains(others, name) {
			if err := errors.Join(admin.Del(t.Context(), name).Err(), admin.LPush(t.Context(), name, "x").Err()); err != nil {
				t.Fatal(err)
			}
		}
	}
	second := process()
	// The first process saves the session again if it receives the query of the second one in time.
	if got := get(second, "alice"); got != "interaction required" && got != "old token" {
		t.Errorf("alice: got %q, want the error of the request or the old token", got)
	}
	if got := get(second, "bob"); got != "bob's token" {
		t.Errorf("bob: got %q, want that of the sign-in", got)
	}
	signIn(second, "alice", "new token")
	third := process()
	servers.Eventually(t, 10*time.Second, "alice's new token", func() bool { return get(third, "alice") == "new token" })
}

// aclRules are the rules in the documentation of the package. The channel follows.
var aclRules = strings.Fields("on >password ~entra:* +@connection +@transaction +@pubsub +eval +evalsha " +
	"+get +set +del +getrange +pttl")

// setUser changes the user "app" of the servers.
func setUser(t *testing.T, rules []string, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		args := []any{"ACL", "SETUSER", "app"}
		for _, rule := range rules {
			args = append(args, rule)
		}
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func newUserClient(t *testing.T, addrs ...string) redis.UniversalClient {
	t.Helper()
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: addrs, Username: "app", Password: "password", ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// A user with the documented rules can use both stores, on one server and in a cluster.
func TestUserWithDocumentedRules(t *testing.T) {
	rules := append(slices.Clone(aclRules), "&entra:changed")
	t.Run("server", func(t *testing.T) {
		addr := servers.Redis(t).Addr
		setUser(t, rules, addr)
		storetest.Run(t, func() cache.Store { return redisstore.New(newUserClient(t, addr), nil) })
		servers.TestSessions(t, redisstore.NewSessions(newUserClient(t, addr), nil), func() {})
		if err := newUserClient(t, addr).Ping(t.Context()).Err(); err != nil { // a subscription sends it
			t.Error(err)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		var addrs []string
		for _, node := range servers.RedisCluster(t) {
			addrs = append(addrs, node.Addr)
		}
		setUser(t, append(rules, "+cluster|slots"), addrs...)
		storetest.Run(t, func() cache.Store { return redisstore.New(newUserClient(t, addrs...), nil) })
	})
	doc, err := os.ReadFile("store.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if rule = strings.Replace(rule, "password", "PASSWORD", 1); !strings.Contains(string(doc), " "+rule) &&
			!strings.Contains(string(doc), "\t"+rule) {
			t.Errorf("the documentation does not have the rule %s", rule)
		}
	}
}

// Without the channel, the store never reports a subscription, whose loss would have all sessions checked. Once the
// user may use the channel, the subscription works.
func TestUserWithoutChannel(t *testing.T) {
	addr := servers.Redis(t).Addr
	setUser(t, append(slices.Clone(aclRules), "resetchannels"), addr)
	store := redisstore.New(newUserClient(t, addr), nil)
	states, keys := make(chan bool, 1000), make(chan string, 1)
	store.Subscribe(func(key string) { keys <- key }, func(on bool) { states <- on })
	version, err := store.Save(t.Context(), "key", []byte("value"), "", time.Minute)
	if r, loadErr := store.Load(t.Context(), "key"); err != nil || loadErr != nil || r.Version != version {
		t.Errorf("got version %q, errors %v and %v, want the saved record", r.Version, err, loadErr)
	}
	if err := store.Notify(t.Context(), "key"); !redis.IsPermissionError(err) {
		t.Errorf("Notify: got %v, want the server's NOPERM", err)
	}
	time.Sleep(3 * time.Second) // some attempts
	setUser(t, []string{"&entra:changed"}, addr)
	select {
	case on := <-states:
		if !on || len(states) != 0 {
			t.Errorf("got connected(%v) and %d more calls, want connected(true) only", on, len(states))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("got no call of connected")
	}
	if err := store.Notify(t.Context(), "key"); err != nil {
		t.Errorf("Notify: %v", err)
	}
	select {
	case key := <-keys:
		if key != "key" {
			t.Errorf("got message %q, want key", key)
		}
	case <-time.After(20 * time.Second):
		t.Error("got no message")
	}
}

// A record in its last millisecond is not an error. PTTL is then 0, and -2 after the record has expired.
func TestRecordInItsLastMillisecond(t *testing.T) {
	client := newClient(t, servers.Redis(t).Addr)
	store := redisstore.New(client, nil)
	version, err := store.Save(t.Context(), "key", []byte("value"), "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var pttl time.Duration
	client.AddHook(pttlHook{&pttl})
	for _, test := range []struct {
		pttl time.Duration
		want cache.Record
	}{
		{0, cache.Record{Value: []byte("value"), Version: version, TTL: 1}},
		{-2, cache.Record{}},
	} {
		pttl = test.pttl
		if r, err := store.Load(t.Context(), "key"); err != nil || !reflect.DeepEqual(r, test.want) {
			t.Errorf("PTTL %d: got %+v, %v, want %+v", pttl, r, err, test.want)
		}
	}
}

// pttlHook replaces the results of PTTL in transactions.
type pttlHook struct{ result *time.Duration }

func (pttlHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (pttlHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h pttlHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if pttl, ok := cmd.(*redis.DurationCmd); ok {
				pttl.SetVal(*h.result)
			}
		}
		return err
	}
}

// A full server that may not evict rejects writes. The error is not a conflict.
func TestFullServer(t *testing.T) {
	server := servers.Redis(t, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
	store := redisstore.New(newClient(t, server.Addr), nil)
	value := make([]byte, 400<<10)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = store.Save(t.Context(), string(rune('a'+i)), value, "", time.Minute)
	}
	if err == nil || errors.Is(err, cache.ErrConflict) {
		t.Errorf("got %v, want the error of the server", err)
	}
}
