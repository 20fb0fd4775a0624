package entraotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/entratoken/entra/cache"
)

// store returns a store that calls s in spans. It is a [cache.Notifier] if s is one.
func (t *Telemetry) store(s cache.Store) cache.Store {
	traced := &tracedStore{telemetry: t, store: s}
	if n, ok := s.(cache.Notifier); ok {
		return &tracedNotifier{traced, n}
	}
	return traced
}

type tracedStore struct {
	telemetry *Telemetry
	store     cache.Store
}

// span calls f in the span of an operation.
func span[T any](ctx context.Context, t *Telemetry, operation string, f func(context.Context) (T, error)) (T, error) {
	failed := "panic" // unless f returns
	ctx, span := t.tracer.Start(ctx, "entra.store "+operation, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("entra.store.operation", operation)))
	defer func() { endSpan(span, failed) }()
	v, err := f(ctx)
	failed = errorType(err)
	return v, err
}

func (s *tracedStore) Load(ctx context.Context, key string) (cache.Record, error) {
	return span(ctx, s.telemetry, "load", func(ctx context.Context) (cache.Record, error) {
		return s.store.Load(ctx, key)
	})
}

func (s *tracedStore) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	return span(ctx, s.telemetry, "save", func(ctx context.Context) (cache.Version, error) {
		return s.store.Save(ctx, key, value, old, ttl)
	})
}

type tracedNotifier struct {
	*tracedStore
	cache.Notifier
}

func (n *tracedNotifier) Notify(ctx context.Context, key string) error {
	_, err := span(ctx, n.telemetry, "notify", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, n.Notifier.Notify(ctx, key)
	})
	return err
}
