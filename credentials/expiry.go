package credentials

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// An expiry warns in the log that what files hold is about to end.
type expiry struct {
	before time.Duration // how long ahead; negative: never
	warned atomic.Int64  // when last, in Unix seconds
}

// check warns once a day at most.
func (e *expiry) check(ctx context.Context, f *files, v *version) {
	if f.logger == nil || e.before < 0 || v.notAfter.IsZero() {
		return
	}
	now := time.Now()
	left := v.notAfter.Sub(now)
	last := e.warned.Load()
	if left > e.before || now.Unix()-last < 24*60*60 || !e.warned.CompareAndSwap(last, now.Unix()) {
		return
	}
	text := "entra: the " + f.kind + " ends soon; renew it"
	if left <= 0 {
		text = "entra: the " + f.kind + " has ended; renew it"
	}
	f.logger.LogAttrs(ctx, slog.LevelWarn, text, append([]slog.Attr{slog.String("file", f.paths[0])}, v.attrs...)...)
}
