package entraotel

import (
	"context"
	"errors"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/verify"
)

// NewCache returns a cache for o whose metrics and spans t exports. OnEvent and Trace of o are called, too. A program
// needs one cache for each Telemetry, because two caches would export the same series. NewCache fails after
// [Telemetry.Close], or if the MeterProvider rejects the registration. [cache.Cache.Validate] reports invalid options.
func (t *Telemetry) NewCache(o cache.Options) (*cache.Cache, error) {
	o.OnEvent = chain(t.countToken, o.OnEvent)
	theirs := o.Trace
	o.Trace = func(ctx context.Context, e cache.Event) (context.Context, func(cache.Event)) {
		if theirs == nil {
			return t.startAcquire(ctx, e)
		}
		ctx, end := theirs(ctx, e)
		ctx, endSpan := t.startAcquire(ctx, e)
		return ctx, chain(endSpan, end)
	}
	if o.Store != nil {
		o.Store = t.store(o.Store)
	}
	c := cache.New(o)
	return c, t.observe(c, o.Store != nil)
}

// chain returns a function that calls first and then second, which may be nil.
func chain[T any](first, second func(T)) func(T) {
	if second == nil {
		return first
	}
	return func(event T) {
		first(event)
		second(event)
	}
}

// observe exports the Stats of c.
func (t *Telemetry) observe(c *cache.Cache, stored bool) error {
	hit := metric.WithAttributes(attribute.String("entra.cache.result", "hit"))
	miss := metric.WithAttributes(attribute.String("entra.cache.result", "miss"))
	instruments := []metric.Observable{t.cacheRequests, t.cacheSessions, t.evictions, t.invalidations}
	if stored {
		instruments = append(instruments, t.storeHits, t.storeUnreadable, t.storeUnsaved, t.storeDown)
	}
	return t.register(func(_ context.Context, o metric.Observer) error {
		s := c.Stats()
		o.ObserveInt64(t.cacheRequests, int64(s.Hits), hit)
		o.ObserveInt64(t.cacheRequests, int64(s.Misses), miss)
		o.ObserveInt64(t.cacheSessions, int64(s.Sessions))
		o.ObserveInt64(t.evictions, int64(s.Evictions))
		o.ObserveInt64(t.invalidations, int64(s.Invalidations))
		if stored {
			o.ObserveInt64(t.storeHits, int64(s.StoreHits))
			o.ObserveInt64(t.storeUnreadable, int64(s.StoreUnreadable))
			o.ObserveInt64(t.storeUnsaved, int64(s.StoreUnsaved))
			down := int64(0)
			if s.StoreDown {
				down = 1
			}
			o.ObserveInt64(t.storeDown, down)
		}
		return nil
	}, instruments...)
}

// countToken records an event of the cache.
func (t *Telemetry) countToken(e cache.Event) {
	ctx := context.Background()
	switch e.Kind {
	case cache.EventFetchDone, cache.EventFetchFailed:
		attrs := append(t.tokenAttributes(e), attribute.Bool("entra.background", e.Background))
		t.requestDuration.Record(ctx, e.Took.Seconds(), metric.WithAttributes(attrs...))
	case cache.EventThrottled:
		e.Err = nil
		t.throttled.Add(ctx, 1, metric.WithAttributes(t.tokenAttributes(e)...))
	case cache.EventWaited:
		t.waitDuration.Record(ctx, e.Took.Seconds(), metric.WithAttributes(t.tokenAttributes(e)...))
	case cache.EventStore:
		if e.Took == 0 { // an unreadable record, which Stats counts
			return
		}
		attrs := withError([]attribute.KeyValue{attribute.String("entra.store.operation", e.Op)}, errorType(e.Err))
		t.storeDuration.Record(ctx, e.Took.Seconds(), metric.WithAttributes(attrs...))
	}
}

// tokenAttributes returns the attributes of a metric about tokens.
func (t *Telemetry) tokenAttributes(e cache.Event) []attribute.KeyValue {
	host, tenant := authority(e.Key)
	attrs := make([]attribute.KeyValue, 0, 5)
	attrs = append(attrs, attribute.String("entra.flow", t.flows.value(e.Key.Flow)),
		attribute.String("server.address", t.hosts.value(host)))
	if t.perTenant {
		attrs = append(attrs, attribute.String("entra.tenant.id", t.tenants.value(tenant)))
	}
	return withError(attrs, errorType(e.Err))
}

// withError appends error.type unless it is empty.
func withError(attrs []attribute.KeyValue, errorType string) []attribute.KeyValue {
	if errorType == "" {
		return attrs
	}
	return append(attrs, attribute.String("error.type", errorType))
}

// codesOfErrors are the values of entra.Error.Code that are exported. Others come from a server.
var codesOfErrors = []string{
	// RFC 6749, sections 4.1.2.1 and 5.2, and RFC 8707, section 2.
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"access_denied", "unsupported_response_type", "server_error", "temporarily_unavailable", "invalid_target",
	// OpenID Connect Core 1.0, section 3.1.2.6.
	"interaction_required", "login_required", "account_selection_required", "consent_required",
	// Entra and package entra.
	"invalid_resource", entra.CodeRequestFailed, entra.CodeInvalidResponse,
}

// errorType returns the value of error.type for err, or "" for nil. It never contains text of the error.
func errorType(err error) string {
	e, isEntra := errors.AsType[*entra.Error](err)
	switch {
	case err == nil:
		return ""
	case isEntra && slices.Contains(codesOfErrors, e.Code):
		return e.Code
	case isEntra:
		return other
	case errors.Is(err, cache.ErrConflict):
		return "conflict"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return other
}

// startAcquire starts the span of a flight.
func (t *Telemetry) startAcquire(ctx context.Context, e cache.Event) (context.Context, func(cache.Event)) {
	host, tenant := authority(e.Key)
	opts := []trace.SpanStartOption{trace.WithAttributes(
		attribute.String("entra.flow", e.Key.Flow), attribute.String("server.address", host),
		attribute.String("entra.tenant.id", tenant), attribute.String("entra.client.id", e.Key.ClientID),
		attribute.String("entra.scopes", e.Scopes), attribute.Bool("entra.background", e.Background),
	)}
	if e.Background {
		opts = append(opts, trace.WithNewRoot())
		if link := trace.LinkFromContext(ctx); link.SpanContext.IsValid() {
			opts = append(opts, trace.WithLinks(link))
		}
	}
	ctx, span := t.tracer.Start(ctx, "entra.token acquire", opts...)
	return ctx, func(e cache.Event) {
		origin := "request"
		if e.Kind == cache.EventStore {
			origin = "cache"
		}
		span.SetAttributes(attribute.String("entra.token.origin", origin))
		if failed, ok := errors.AsType[*entra.Error](e.Err); ok {
			span.SetAttributes(attribute.IntSlice("entra.aadsts", failed.AADSTS),
				attribute.String("entra.correlation_id", failed.CorrelationID),
				attribute.String("entra.trace_id", failed.TraceID))
		}
		endSpan(span, errorType(e.Err))
	}
}

// endSpan ends a span. The description of the status does not repeat the text of an error.
func endSpan(span trace.Span, errorType string) {
	if errorType != "" {
		span.SetAttributes(attribute.String("error.type", errorType))
		if errorType != "conflict" && errorType != "canceled" {
			span.SetStatus(codes.Error, errorType)
		}
	}
	span.End()
}

// Verify returns a copy of cfg whose verifications t exports. OnEvent and Trace of cfg are called, too.
func (t *Telemetry) Verify(cfg verify.Config) verify.Config {
	cfg.OnEvent = chain(t.countVerification, cfg.OnEvent)
	theirs := cfg.Trace
	cfg.Trace = func(ctx context.Context) (context.Context, func(verify.Event)) {
		if theirs == nil {
			return t.startVerify(ctx)
		}
		ctx, end := theirs(ctx)
		ctx, endSpan := t.startVerify(ctx)
		return ctx, chain(endSpan, end)
	}
	return cfg
}

// countVerification records an event of package verify.
func (t *Telemetry) countVerification(e verify.Event) {
	ctx := context.Background()
	failed := t.verifyError(e)
	attrs := metric.WithAttributes(withError(nil, failed)...)
	switch e.Kind {
	case verify.EventVerified, verify.EventRejected, verify.EventCanceled:
		t.verifications.Add(ctx, 1, attrs)
		if !e.Cached && e.Reason != verify.ReasonNoToken && e.Reason != verify.ReasonBadAuthorization {
			t.verifyDuration.Record(ctx, e.Took.Seconds(), attrs)
		}
	case verify.EventDenied:
		t.denials.Add(ctx, 1, attrs)
	case verify.EventKeysFetched, verify.EventKeysFailed:
		t.keysDuration.Record(ctx, e.Took.Seconds(), attrs)
	}
}

// verifyError returns the value of error.type. A rule of the program may have reasons of its own.
func (t *Telemetry) verifyError(e verify.Event) string {
	switch {
	case e.Kind == verify.EventCanceled:
		return "canceled"
	case e.Reason == "":
		return ""
	}
	return t.reasons.value(string(e.Reason))
}

func (t *Telemetry) startVerify(ctx context.Context) (context.Context, func(verify.Event)) {
	ctx, span := t.tracer.Start(ctx, "entra.verify")
	return ctx, func(e verify.Event) { endSpan(span, t.verifyError(e)) }
}
