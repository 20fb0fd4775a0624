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
// Expired rows are removed in batches by the processes that write.
//
// A pooler in transaction mode, such as PgBouncer, accepts LISTEN and loses the messages. The store notices that with a
// message to itself. Without messages, other processes notice a sign-out after [cache.Options].Recheck.
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

// current is the condition of rows that count. Save replaces others, such as damaged ones without a version.
const current = "(t.expires_at > now() AND t.expires_at < 'infinity' AND t.version <> '')"

const (
	maxValue = 512 << 10                     // the largest value of a cache.Store; the rest of a damaged one is not read
	maxTTL   = float64(10 * 365 * 24 * 3600) // seconds; that of a damaged row may not fit into a Duration
)

// Load implements [cache.Store] with one query.
func (s *Store) Load(ctx context.Context, key string) (cache.Record, error) {
	var (
		r       cache.Record
		version []byte
		ttl     float64
	)
	err := retry(ctx, func() error {
		return s.pool.QueryRow(ctx, `SELECT substring(value FOR $2), version,
				extract(epoch FROM expires_at - clock_timestamp())::float8
			FROM entra_tokens AS t WHERE key = $1 AND `+current, key, maxValue).Scan(&r.Value, &version, &ttl)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return cache.Record{}, nil
	case err != nil:
		return cache.Record{}, err
	case ttl <= 0: // The row expired after the query had begun, for example while it waited for a lock.
		return cache.Record{}, nil
	}
	r.Version, r.TTL = cache.Version(version), max(1, time.Duration(min(ttl, maxTTL)*float64(time.Second)))
	return r, nil
}

// Save implements [cache.Store] with one statement.
func (s *Store) Save(
	ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	version := make([]byte, 16)
	rand.Read(version) // never fails
	statement := `INSERT INTO entra_tokens AS t (key, version, value, expires_at)
		VALUES ($1, $2, $3, clock_timestamp() + $4)
		ON CONFLICT (key) DO UPDATE
			SET version = excluded.version, value = excluded.value, expires_at = excluded.expires_at
			WHERE NOT ` + current
	args := []any{key, version, value, ttl}
	if old != "" {
		statement = `UPDATE entra_tokens AS t SET version = $2, value = $3, expires_at = clock_timestamp() + $4
			WHERE key = $1 AND version = $5 AND ` + current
		args = append(args, []byte(old))
	}
	var tag pgconn.CommandTag
	err := retry(ctx, func() (err error) {
		tag, err = s.pool.Exec(ctx, statement, args...)
		return err
	})
	switch {
	case isSerializationFailure(err):
		return "", cache.ErrConflict
	case err != nil:
		return "", err
	case tag.RowsAffected() == 0:
		return "", cache.ErrConflict
	}
	s.cleaner.run()
	return cache.Version(version), nil
}

// retry calls f again after a serialization failure. Statements fail so if others write at the same time and the
// default isolation level of the connection is "repeatable read" or "serializable".
func retry(ctx context.Context, f func() error) (err error) {
	const attempts, pause = 100, 2 * time.Millisecond // on average half of pause
	for range attempts {
		if err = f(); !isSerializationFailure(err) || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Duration(mathrand.Int64N(int64(pause))))
	}
	return err
}

func isSerializationFailure(err error) bool {
	const serializationFailure = "40001"
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == serializationFailure
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
	probeInterval = 2 * time.Second // of a silent connection, at most; one on which no probe arrives in this time is lost
	reconnectWait = time.Second     // at most, between two attempts to connect
	silentWait    = time.Minute     // at most, after connections on which no message has arrived
)

// probe precedes the payload of a message that is not a key. Keys have no space.
const probe = "probe "

// Subscribe implements [cache.Notifier] with LISTEN. It takes one connection out of the pool, and uses one goroutine
// until [Store.Close]. It notices a connection that is dead or receives no messages within four seconds: when a
// connection has been silent for one to two seconds, it sends a message through the pool. All processes receive that
// message, so they send about one per second together.
func (s *Store) Subscribe(changed func(key string), connected func(bool)) {
	if s.pool == nil { // a panic of the goroutine would not show the caller
		panic("postgresstore: the Store must be created with New")
	}
	go func() {
		limit := reconnectWait
		for s.closed.Err() == nil {
			if s.listen(changed, connected) {
				limit = min(2*limit, silentWait)
			} else {
				limit = reconnectWait
			}
			select {
			case <-time.After(time.Duration(mathrand.Int64N(int64(limit)))):
			case <-s.closed.Done():
			}
		}
	}()
}

// listen passes on messages until the connection fails. It calls connected only after its probe has arrived, since a
// pooler may accept LISTEN and lose the messages. silent reports that no probe has arrived.
func (s *Store) listen(changed func(key string), connected func(bool)) (silent bool) {
	conn, err := s.connect()
	if conn != nil {
		defer func() { _ = conn.Close(context.Background()) }()
	}
	if err != nil {
		return false
	}
	works := false
	defer func() {
		if works {
			connected(false)
		}
	}()
	awaited, deadline := s.sendProbe(), time.Now().Add(probeInterval)
	for {
		payload, err := s.receive(conn, deadline)
		switch {
		case pgconn.Timeout(err) && awaited == "":
			awaited, deadline = s.sendProbe(), time.Now().Add(probeInterval)
			continue
		case err != nil:
			return pgconn.Timeout(err) && !works
		case payload == awaited && !works:
			works = true
			connected(true)
		case !strings.HasPrefix(payload, probe):
			changed(payload)
		}
		if works { // Any message shows that messages arrive.
			awaited = ""
			deadline = time.Now().Add(probeInterval/2 + time.Duration(mathrand.Int64N(int64(probeInterval/2))))
		}
	}
}

// connect takes a connection out of the pool, which would otherwise wait for it in Close, and listens on it.
func (s *Store) connect() (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(s.closed, probeInterval)
	defer cancel()
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack()
	_, err = conn.Exec(ctx, "LISTEN "+channel)
	return conn, err
}

func (s *Store) receive(conn *pgx.Conn, deadline time.Time) (payload string, err error) {
	ctx, cancel := context.WithDeadline(s.closed, deadline)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

// sendProbe sends a message through the pool and returns its payload. A pooler would deliver a message that is sent on
// the listening connection itself.
func (s *Store) sendProbe() (payload string) {
	payload = probe + rand.Text()
	go func() {
		ctx, cancel := context.WithTimeout(s.closed, probeInterval)
		defer cancel()
		_ = s.Notify(ctx, payload) // without it, the message does not arrive
	}()
	return payload
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
