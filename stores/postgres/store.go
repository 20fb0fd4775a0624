// Package postgresstore shares the tokens and the sessions of a fleet in PostgreSQL.
//
//	pool, err := pgxpool.New(ctx, "postgres://app@db.contoso.example/app")
//	...
//	tokens := cache.New(cache.Options{
//		Store: postgresstore.New(pool),
//		Keys:  []cache.SealKey{cache.NewSealKey(key)},
//	})
//
// The tables must exist: run [Schema] with the tool for the migrations of the app, or with pool.Exec. [Store] is the
// second level of a cache, and [Sessions] the store of package signin. Everything in the tables is encrypted by their
// callers.
//
// Expired rows are removed in batches by the processes that write. The messages of LISTEN and NOTIFY do not pass
// through a pooler in transaction mode, such as PgBouncer's. Without them, other processes notice a sign-out
// after [cache.Options].Recheck.
package postgresstore

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
)

// Schema creates the tables and their indexes if they are missing. The tables belong to the first schema of the
// connection's search_path.
//
//go:embed schema.sql
var Schema string

// Store is a [cache.Store] and a [cache.Notifier] in the table entra_tokens. Create it with [New]: the zero Store
// cannot be used, and cache.New panics with it. It is safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	cleaner cleaner
	closed  context.Context
	close   context.CancelFunc
}

var (
	_ cache.Store    = (*Store)(nil)
	_ cache.Notifier = (*Store)(nil)
)

// New returns a store in the database of pool, and panics if pool is nil. It sends no request. The store never closes
// pool.
func New(pool *pgxpool.Pool) *Store {
	if pool == nil {
		panic("postgresstore: New needs a pool, got nil")
	}
	s := &Store{pool: pool, cleaner: cleaner{pool: pool, table: "entra_tokens"}}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// Close ends the connection on which the store listens for messages. The other methods still work.
func (s *Store) Close() { s.close() }

// Load implements [cache.Store] with one query.
func (s *Store) Load(ctx context.Context, key string) (cache.Record, error) {
	var (
		r       cache.Record
		version []byte
		ttl     float64
	)
	err := s.pool.QueryRow(ctx, `SELECT value, version, extract(epoch FROM expires_at - clock_timestamp())::float8
		FROM entra_tokens WHERE key = $1 AND expires_at > now()`, key).Scan(&r.Value, &version, &ttl)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return cache.Record{}, nil
	case err != nil:
		return cache.Record{}, err
	case ttl <= 0: // The row expired after the query had begun, for example while it waited for a lock.
		return cache.Record{}, nil
	}
	r.Version, r.TTL = cache.Version(version), max(1, time.Duration(ttl*float64(time.Second)))
	return r, nil
}

// Save implements [cache.Store] with one statement.
func (s *Store) Save(
	ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	version := make([]byte, 16)
	rand.Read(version) // never fails
	// An expired row is the same as no row.
	statement := `INSERT INTO entra_tokens AS t (key, version, value, expires_at)
		VALUES ($1, $2, $3, clock_timestamp() + $4)
		ON CONFLICT (key) DO UPDATE
			SET version = excluded.version, value = excluded.value, expires_at = excluded.expires_at
			WHERE t.expires_at <= now()`
	args := []any{key, version, value, ttl}
	if old != "" {
		statement = `UPDATE entra_tokens SET version = $2, value = $3, expires_at = clock_timestamp() + $4
			WHERE key = $1 AND version = $5 AND expires_at > now()`
		args = append(args, []byte(old))
	}
	tag, err := s.pool.Exec(ctx, statement, args...)
	switch {
	case err != nil:
		return "", err
	case tag.RowsAffected() == 0:
		return "", cache.ErrConflict
	}
	s.cleaner.run()
	return cache.Version(version), nil
}

// DeleteExpired removes all expired rows in batches and returns their number. The store calls it once a minute while
// it writes, so a program need not call it.
func (s *Store) DeleteExpired(ctx context.Context) (int, error) { return s.cleaner.deleteExpired(ctx) }

// channel is the channel of LISTEN and NOTIFY.
const channel = "entra_tokens"

// Notify implements [cache.Notifier] with NOTIFY.
func (s *Store) Notify(ctx context.Context, key string) error {
	_, err := s.pool.Exec(ctx, "SELECT pg_notify($1, $2)", channel, key)
	return err
}

const (
	pingInterval  = 2 * time.Second // of a silent connection; one without a response in this time is lost
	reconnectWait = time.Second     // at most, between two attempts to connect
)

// Subscribe implements [cache.Notifier] with LISTEN. It takes one connection out of the pool, and uses one goroutine
// until [Store.Close]. It notices a dead connection within four seconds.
func (s *Store) Subscribe(changed func(key string), connected func(bool)) {
	if s.pool == nil { // a panic of the goroutine would not show the caller
		panic("postgresstore: the Store must be created with New")
	}
	go func() {
		for s.closed.Err() == nil {
			s.listen(changed, connected)
			connected(false)
			select {
			case <-time.After(time.Duration(mathrand.Int64N(int64(reconnectWait)))):
			case <-s.closed.Done():
			}
		}
	}()
}

// listen passes on messages until the connection fails.
func (s *Store) listen(changed func(key string), connected func(bool)) {
	within := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(s.closed, pingInterval)
		defer cancel()
		return f(ctx)
	}
	var conn *pgx.Conn
	err := within(func(ctx context.Context) error {
		pooled, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		conn = pooled.Hijack() // pool.Close would wait for it
		_, err = conn.Exec(ctx, "LISTEN "+channel)
		return err
	})
	if conn != nil {
		defer func() { _ = conn.Close(context.Background()) }()
	}
	if err != nil {
		return
	}
	connected(true)
	for {
		err := within(func(ctx context.Context) error {
			n, err := conn.WaitForNotification(ctx)
			if err == nil {
				changed(n.Payload)
			}
			return err
		})
		if pgconn.Timeout(err) {
			err = within(conn.Ping)
		}
		if err != nil {
			return
		}
	}
}

// BeforeConnect returns a function for the field BeforeConnect of pgxpool.Config. It authenticates each connection
// with a token of source as the password. For Azure Database for PostgreSQL the scope is
// "https://ossrdbms-aad.database.windows.net/.default", and the user name is that of the app's role. ("Use Microsoft
// Entra ID for authentication with Azure Database for PostgreSQL".)
//
// Set sslmode=verify-full in the connection string. Then only the server of that name receives the token:
//
//	postgres://app@db.contoso.example/app?sslmode=verify-full
//
// The default of pgx is sslmode=prefer, which continues without TLS if the server does not offer it. A connection over
// TCP that may lack TLS is therefore an error, except on the loopback interface. With sslmode=require, TLS does not
// authenticate the server.
func BeforeConnect(source *entra.TokenSource) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, cfg *pgx.ConnConfig) error {
		if host, ok := plainHost(&cfg.Config); ok {
			return fmt.Errorf("postgresstore: a token is not sent to %s without TLS: set sslmode=verify-full", host)
		}
		password, err := source.AccessToken(ctx)
		cfg.Password = password
		return err
	}
}

// plainHost returns a host to which pgx may send the password without TLS over a network.
func plainHost(cfg *pgconn.Config) (string, bool) {
	attempts := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}},
		cfg.Fallbacks...)
	for _, a := range attempts {
		network, _ := pgconn.NetworkAddress(a.Host, a.Port)
		loopback := strings.EqualFold(a.Host, "localhost") || net.ParseIP(a.Host).IsLoopback()
		if a.TLSConfig == nil && network == "tcp" && !loopback {
			return a.Host, true
		}
	}
	return "", false
}
