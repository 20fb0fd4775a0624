package postgresstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/internal/testkit/servers"
	postgresstore "github.com/entratoken/entra/stores/postgres"
)

// newPool returns a pool that is closed with the test.
func newPool(t *testing.T, server *servers.Server, changes ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig("postgres://postgres@" + server.Addr + "/postgres?connect_timeout=2")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(cfg)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// migrate creates the tables, twice, since a migration may run again.
func migrate(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for range 2 {
		if _, err := pool.Exec(t.Context(), postgresstore.Schema); err != nil {
			t.Fatal(err)
		}
	}
}

func newStore(t *testing.T, pool *pgxpool.Pool) *postgresstore.Store {
	t.Helper()
	s := postgresstore.New(pool)
	t.Cleanup(s.Close)
	return s
}

// Each store has a pool of its own, like a process of a fleet.
func TestServer(t *testing.T) {
	server := servers.Postgres(t, "max_connections=200")
	migrate(t, newPool(t, server))
	storetest.Run(t, func() cache.Store { return newStore(t, newPool(t, server)) })
}

// A nil pool and a zero Store are reported to the caller of the constructor. Otherwise the goroutine of the
// subscription would end the program.
func TestMissingPoolPanics(t *testing.T) {
	for want, f := range map[string]func(){
		"postgresstore: New needs a pool, got nil":         func() { postgresstore.New(nil) },
		"postgresstore: NewSessions needs a pool, got nil": func() { postgresstore.NewSessions(nil) },
		"postgresstore: the Store must be created with New": func() {
			key := cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))
			cache.New(cache.Options{Store: new(postgresstore.Store), Keys: []cache.SealKey{key}})
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

// The isolation level of the connections does not matter: a serialization failure is not an error of the store.
func TestIsolationLevels(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			server := servers.Postgres(t, "max_connections=200", "default_transaction_isolation="+level)
			pool := newPool(t, server)
			migrate(t, pool)
			store, sessions := newStore(t, pool), postgresstore.NewSessions(pool)
			version, err := store.Save(t.Context(), "key", []byte("value"), "", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for range 30 {
				versions := make(chan cache.Version, 8)
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						next, err := store.Save(t.Context(), "key", []byte("value"), version, time.Minute)
						switch {
						case err == nil:
							versions <- next
						case !errors.Is(err, cache.ErrConflict):
							t.Errorf("Save: %v", err)
						}
						if err := sessions.CommitCtx(t.Context(), "token", []byte("data"), time.Now().Add(time.Hour)); err != nil {
							t.Errorf("CommitCtx: %v", err)
						}
						if err := sessions.DeleteCtx(t.Context(), "token"); err != nil {
							t.Errorf("DeleteCtx: %v", err)
						}
					})
				}
				wg.Wait()
				if len(versions) != 1 {
					t.Fatalf("%d of 8 saves succeeded, want 1", len(versions))
				}
				version = <-versions
			}
			storetest.Run(t, func() cache.Store { return newStore(t, newPool(t, server)) })
		})
	}
}

// A damaged row is not an error, and Save replaces it.
func TestDamagedRow(t *testing.T) {
	pool := newPool(t, servers.Postgres(t))
	migrate(t, pool)
	store := newStore(t, pool)
	for name, test := range map[string]struct {
		values  string
		version cache.Version
		size    int
	}{
		"never expires":  {"'version', 'value', 'infinity'", "", 0},
		"no version":     {"'', 'value', now() + interval '1 hour'", "", 0},
		"no value":       {"'version', '', now() + interval '1 hour'", "version", 0},
		"too long":       {"'version', decode(repeat('00', 600000), 'hex'), now() + interval '1 hour'", "version", 512 << 10},
		"expires late":   {"'version', 'value', now() + interval '1000 years'", "version", 5},
		"always expired": {"'version', 'value', '-infinity'", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pool.Exec(t.Context(), "INSERT INTO entra_tokens VALUES ($1, "+test.values+")", name); err != nil {
				t.Fatal(err)
			}
			r, err := store.Load(t.Context(), name)
			if err != nil || r.Version != test.version || len(r.Value) != test.size || r.TTL < 0 || r.TTL > 10*365*24*time.Hour {
				t.Fatalf("Load: got %d bytes, version %q, TTL %v, %v; want %d bytes, version %q, a TTL of at most ten years",
					len(r.Value), r.Version, r.TTL, err, test.size, test.version)
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

// The subscription notices a server that hangs or restarts, and works again afterwards.
func TestSubscriptionNoticesDeadConnection(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	migrate(t, pool)
	store := newStore(t, pool)
	sub := servers.Subscribe(store)
	sub.Wait(t, true, 20*time.Second)
	server.Kill() // with the process that serves the connection
	sub.Wait(t, false, 10*time.Second)
	server.Start()
	sub.Wait(t, true, 20*time.Second)
	servers.Eventually(t, 10*time.Second, "a message", func() bool {
		if err := store.Notify(t.Context(), "key"); err != nil {
			return false // a connection of the pool may still be broken
		}
		select {
		case key := <-sub.Keys:
			return key == "key"
		case <-time.After(time.Second):
			return false
		}
	})
	// A backend that hangs accepts no query.
	var pids []int
	rows, err := pool.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 1 {
		t.Fatalf("got %d listening connections, want 1", len(pids))
	}
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pids[0], syscall.SIGCONT)
	sub.Wait(t, false, 10*time.Second)
	sub.Wait(t, true, 20*time.Second)
	store.Close()
	sub.Wait(t, false, 10*time.Second)
}

// Expired rows are removed in batches, and the others stay.
func TestDeleteExpired(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	migrate(t, pool)
	store, sessions := newStore(t, pool), postgresstore.NewSessions(pool)
	const rows = `, now() + CASE WHEN i <= 2500 THEN interval '-1 second' ELSE interval '1 hour' END
		FROM generate_series(1, 2600) i`
	for _, statement := range []string{
		`INSERT INTO entra_tokens SELECT 'row ' || i, '', ''` + rows,
		`INSERT INTO entra_sessions SELECT 'row ' || i, ''` + rows,
	} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, remove := range map[string]func(context.Context) (int, error){
		"entra_tokens": store.DeleteExpired, "entra_sessions": sessions.DeleteExpired,
	} {
		if n, err := remove(t.Context()); n != 2500 || err != nil {
			t.Errorf("%s: removed %d rows, %v, want 2500", name, n, err)
		}
		if left := count(t, pool, name); left != 100 {
			t.Errorf("%s: %d rows are left, want 100", name, left)
		}
	}
}

// A store that writes removes expired rows without a call of DeleteExpired.
func TestWritesRemoveExpiredRows(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	migrate(t, pool)
	for _, table := range []string{
		`entra_tokens VALUES ('old', '', '', now())`, `entra_sessions VALUES ('old', '', now())`,
	} {
		if _, err := pool.Exec(t.Context(), "INSERT INTO "+table); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newStore(t, pool).Save(t.Context(), "new", []byte("value"), "", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := postgresstore.NewSessions(pool).Commit("new", []byte("data"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"entra_tokens", "entra_sessions"} {
		servers.Eventually(t, 10*time.Second, table, func() bool { return count(t, pool, table) == 1 })
	}
}

func count(t *testing.T, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSessions(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	migrate(t, pool)
	servers.TestSessions(t, postgresstore.NewSessions(pool), func() {
		var ttl float64
		if err := pool.QueryRow(t.Context(), `SELECT extract(epoch FROM expires_at - now())::float8 FROM entra_sessions`).
			Scan(&ttl); err != nil || ttl < 3590 || ttl > 3600 {
			t.Errorf("got lifetime %v s, %v, want an hour", ttl, err)
		}
	})
}

// A row that expires while the query waits for a lock is a missing record, not one with a negative lifetime.
func TestRowExpiresDuringLoad(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	migrate(t, pool)
	store := newStore(t, pool)
	load := func() cache.Record {
		r, err := store.Load(t.Context(), "key")
		if err != nil {
			t.Errorf("Load: %v", err)
		}
		return r
	}
	const row = `INSERT INTO entra_tokens VALUES ('key', 'version', 'value', now() + interval '2 seconds')`
	if _, err := pool.Exec(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	load() // prepares the statement, so that the next query begins before it waits

	// The lock is not on the connection with the prepared statement.
	lock, err := newPool(t, server).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), "LOCK TABLE entra_tokens"); err != nil {
		t.Fatal(err)
	}
	loaded := make(chan cache.Record)
	go func() { loaded <- load() }()
	time.Sleep(2100 * time.Millisecond)
	if err := lock.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-loaded; r.Value != nil || r.Version != "" || r.TTL != 0 {
		t.Errorf("got %+v, want the zero Record", r)
	}
}

// An unavailable server and missing tables are errors, not missing records: otherwise users would be signed out.
func TestUnavailable(t *testing.T) {
	server := servers.Postgres(t)
	pool := newPool(t, server)
	store, sessions := newStore(t, pool), postgresstore.NewSessions(pool)
	check := func(state, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, loadErr := store.Load(ctx, "key")
		_, saveErr := store.Save(ctx, "key", nil, "", time.Hour)
		_, _, findErr := sessions.FindCtx(ctx, "token")
		for name, err := range map[string]error{
			"Load": loadErr, "Save": saveErr, "FindCtx": findErr,
			"CommitCtx": sessions.CommitCtx(ctx, "token", nil, time.Now().Add(time.Hour)),
			"DeleteCtx": sessions.DeleteCtx(ctx, "token"),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: got %v, want %q in it", state, name, err, want)
			}
		}
	}
	check("without tables", "does not exist")
	server.Kill()
	check("without a server", "")
}

// Each connection authenticates with the current token.
func TestBeforeConnect(t *testing.T) {
	entraServer := testkit.Server()
	client := testkit.Client(t, testkit.ClientConfig(entraServer, "daemon", entraServer.Client().Transport))
	source := clientcreds.TokenSource(client, "api://api-b/.default")
	tok, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	server := servers.Postgres(t)
	admin := newPool(t, server)
	if _, err := admin.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD '"+tok.AccessToken+"'"); err != nil {
		t.Fatal(err)
	}
	login := func(change func(*pgxpool.Config)) error {
		pool := newPool(t, server, func(c *pgxpool.Config) { c.ConnConfig.User = "app" }, change)
		return pool.Ping(t.Context())
	}
	if err := login(func(c *pgxpool.Config) { c.BeforeConnect = postgresstore.BeforeConnect(source) }); err != nil {
		t.Errorf("with the token: %v", err)
	}
	if err := login(func(c *pgxpool.Config) { c.ConnConfig.Password = "wrong" }); err == nil {
		t.Error("the server accepts a wrong password")
	}
}

// A token is the password only where TLS protects it. The default of pgx is sslmode=prefer.
func TestBeforeConnectRequiresTLS(t *testing.T) {
	entraServer := testkit.Server()
	client := testkit.Client(t, testkit.ClientConfig(entraServer, "daemon", entraServer.Client().Transport))
	source := clientcreds.TokenSource(client, "api://api-b/.default")
	beforeConnect := postgresstore.BeforeConnect(source)
	const rejected = "postgresstore: a token is not sent to db.contoso.example without TLS: set sslmode=verify-full"
	for connString, want := range map[string]string{
		"postgres://app@db.contoso.example/app":                                         rejected,
		"postgres://app@db.contoso.example/app?sslmode=prefer":                          rejected,
		"postgres://app@db.contoso.example/app?sslmode=allow":                           rejected,
		"postgres://app@db.contoso.example/app?sslmode=disable":                         rejected,
		"postgres://app@localhost,db.contoso.example/app?sslmode=disable":               rejected,
		"postgres://app@db.contoso.example/app?sslmode=require":                         "",
		"postgres://app@db.contoso.example,db2.contoso.example/app?sslmode=verify-full": "",
		"postgres://app@localhost/app?sslmode=prefer":                                   "",
		"postgres://app@127.0.0.2,[::1]/app?sslmode=disable":                            "",
		"host=/var/run/postgresql user=app":                                             "",
	} {
		cfg, err := pgx.ParseConfig(connString)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Password = ""
		var got string
		if err := beforeConnect(t.Context(), cfg); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got error %q, want %q", connString, got, want)
		}
		if set := cfg.Password != ""; set != (want == "") {
			t.Errorf("%s: password set: got %v, want %v", connString, set, want == "")
		}
	}
}
