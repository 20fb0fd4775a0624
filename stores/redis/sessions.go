package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra/signin"
)

// Sessions is a [signin.Store] in Redis. Create it with [NewSessions]: the zero Sessions cannot be used. It is safe for
// concurrent use. The server must not evict sessions: an evicted session signs its user out.
type Sessions struct {
	client redis.UniversalClient
	prefix string
}

var _ signin.Store = (*Sessions)(nil)

// NewSessions returns a session store in the server, or servers, of client, and panics if client is nil. opts may be
// nil. NewSessions sends no request. The store never closes client.
func NewSessions(client redis.UniversalClient, opts *Options) *Sessions {
	if client == nil {
		panic("redisstore: NewSessions needs a client, got nil")
	}
	return &Sessions{client, opts.prefix() + "session:"}
}

// Find implements [signin.Store].
func (s *Sessions) Find(token string) (b []byte, found bool, err error) {
	return s.FindCtx(context.Background(), token)
}

// FindCtx is Find with the context of the request.
func (s *Sessions) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	b, err = s.client.Get(ctx, s.prefix+token).Bytes()
	if errors.Is(err, redis.Nil) {
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
	ttl := time.Until(expiry).Truncate(time.Millisecond)
	if ttl <= 0 {
		return s.DeleteCtx(ctx, token)
	}
	return s.client.Set(ctx, s.prefix+token, b, ttl).Err()
}

// Delete implements [signin.Store].
func (s *Sessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// DeleteCtx is Delete with the context of the request.
func (s *Sessions) DeleteCtx(ctx context.Context, token string) error {
	return s.client.Del(ctx, s.prefix+token).Err()
}
