package postgresstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entratoken/entra/signin"
)

// Sessions is a [signin.Store] in the table entra_sessions. Create it with [NewSessions]: the zero Sessions cannot be
// used. It is safe for concurrent use.
type Sessions struct {
	pool    *pgxpool.Pool
	cleaner cleaner
}

var _ signin.Store = (*Sessions)(nil)

// NewSessions returns a session store in the database of pool, and panics if pool is nil. It sends no request. The
// store never closes pool.
func NewSessions(pool *pgxpool.Pool) *Sessions {
	if pool == nil {
		panic("postgresstore: NewSessions needs a pool, got nil")
	}
	return &Sessions{pool: pool, cleaner: cleaner{pool: pool, table: "entra_sessions"}}
}

// Find implements [signin.Store].
func (s *Sessions) Find(token string) (b []byte, found bool, err error) {
	return s.FindCtx(context.Background(), token)
}

// FindCtx is Find with the context of the request.
func (s *Sessions) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT data FROM entra_sessions WHERE token = $1 AND expires_at > now()`, token).Scan(&b)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return b, err == nil, err
}

// Commit implements [signin.Store].
func (s *Sessions) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}

// CommitCtx is Commit with the context of the request.
func (s *Sessions) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	// The lifetime counts from the database's clock, which also ends it.
	err := retry(ctx, func() error {
		_, err := s.pool.Exec(ctx, `INSERT INTO entra_sessions (token, data, expires_at)
			VALUES ($1, $2, clock_timestamp() + $3)
			ON CONFLICT (token) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at`,
			token, b, time.Until(expiry))
		return err
	})
	if err == nil {
		s.cleaner.run()
	}
	return err
}

// Delete implements [signin.Store].
func (s *Sessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// DeleteCtx is Delete with the context of the request.
func (s *Sessions) DeleteCtx(ctx context.Context, token string) error {
	return retry(ctx, func() error {
		_, err := s.pool.Exec(ctx, `DELETE FROM entra_sessions WHERE token = $1`, token)
		return err
	})
}

// DeleteExpired removes all expired rows in batches and returns their number. The store calls it once a minute while
// it writes, so a program need not call it.
func (s *Sessions) DeleteExpired(ctx context.Context) (int, error) {
	return s.cleaner.deleteExpired(ctx)
}
