package entra

import (
	"context"
	"time"

	"github.com/entratoken/entra/internal/safecall"
)

type guard = safecall.Limiter

func newGuard() guard { return safecall.NewLimiter() }

// guarded calls f by [safecall.Do]. If there is another credential to try, f gets half of the remaining time.
func guarded[T any](ctx context.Context, g guard, spare bool, f func(context.Context) (T, error)) (T, error) {
	if deadline, ok := ctx.Deadline(); ok && spare {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return safecall.Do(ctx, g, f)
}
