package cache

import (
	"math"
	"sync/atomic"
	"time"
)

// held is a token and the moment until which it can be served without a second look.
// Fresh, being refreshed and waiting to try again look the same to a hit.
type held struct {
	token *Token
	due   time.Duration // counted from the token's arrival
	lease atomic.Int64  // uptime until which due has been looked at; see hit
}

func (h *held) dueAt() time.Time { return h.token.obtainedAt.Add(h.due) }

// leaseFor is how long a hit relies on one look at both clocks.
const leaseFor = time.Second

var started = time.Now()

// uptime is a reading of the monotonic clock alone, at half the price of [time.Now].
func uptime() time.Duration { return time.Since(started) }

// hold puts a token into the place. mu is held.
func (e *entry) hold(t *Token, due time.Duration) {
	h := &held{token: t, due: due}
	h.lease.Store(math.MinInt64) // uptime can be negative: in a test's own time
	e.held.Store(h)
}

// hit returns the token if it can be served as it is, and nil if a decision is due.
//
// A token is good only while neither of the computer's clocks says that its time is
// over: the monotonic one stands still while a machine is suspended, the wall clock can
// be set back. Both are read once a second; in between the monotonic one must do.
func (e *entry) hit() *Token {
	h := e.held.Load()
	if h == nil {
		return nil
	}
	if now := int64(uptime()); now < h.lease.Load() || h.renew(now) {
		return h.token
	}
	return nil
}

// renew looks at both clocks.
func (h *held) renew(uptime int64) bool {
	now, due := time.Now(), h.dueAt()
	if !before(now, due) {
		return false
	}
	h.lease.Store(uptime + int64(min(leaseFor, until(now, due))))
	return true
}

// until is how long it is from now to t by the clock that is nearer to it.
func until(now, t time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0)))
}

// before reports whether now is before t by both clocks.
func before(now, t time.Time) bool {
	return now.Before(t) && now.Round(0).Before(t.Round(0))
}
