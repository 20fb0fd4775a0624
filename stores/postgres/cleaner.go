package postgresstore

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	cleanInterval = time.Minute
	cleanTimeout  = 30 * time.Second
	cleanBatch    = 1000 // rows that one statement removes, so that none runs for long
)

// cleaner removes the expired rows of a table.
type cleaner struct {
	pool  *pgxpool.Pool
	table string

	mu   sync.Mutex // guards next
	next time.Time  // when to run again
}

// run removes the expired rows in a goroutine of its own, at most once in cleanInterval.
func (c *cleaner) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.After(c.next) {
		c.next = now.Add(cleanInterval)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
			defer cancel()
			c.deleteExpired(ctx) //nolint:errcheck // the next run removes the rest
		}()
	}
}

// deleteExpired removes all expired rows. Rows that another process is removing are skipped.
func (c *cleaner) deleteExpired(ctx context.Context) (total int, err error) {
	for {
		tag, err := c.pool.Exec(ctx, `DELETE FROM `+c.table+` WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM `+c.table+` WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`,
			cleanBatch)
		total += int(tag.RowsAffected())
		if err != nil || tag.RowsAffected() < cleanBatch {
			return total, err
		}
	}
}
