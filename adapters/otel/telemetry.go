package entraotel

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
)

// scopeName is the instrumentation scope.
const scopeName = "github.com/entratoken/entra/adapters/otel"

// other replaces the values of an attribute that has too many, as in the semantic conventions for error.type.
const other = "_OTHER"

// Config configures a [Telemetry]. The zero value uses OpenTelemetry's global providers.
type Config struct {
	// MeterProvider creates the instruments. If nil, otel.GetMeterProvider is used.
	MeterProvider metric.MeterProvider
	// TracerProvider creates the spans. If nil, otel.GetTracerProvider is used.
	TracerProvider trace.TracerProvider
	// Tenants is the maximum number of tenants in the attribute entra.tenant.id of the metrics of tokens. The first ones
	// that get tokens are counted by ID, and all others as "_OTHER". If zero, the metrics lack this attribute.
	Tenants int
}

// Telemetry exports metrics and spans. Create it with [New]. It is safe for concurrent use.
type Telemetry struct {
	meter  metric.Meter
	tracer trace.Tracer

	requestDuration, waitDuration, storeDuration, verifyDuration, keysDuration metric.Float64Histogram
	throttled, verifications, denials, signInStarts, signInOutcomes            metric.Int64Counter
	cacheRequests, evictions, invalidations, storeHits, storeUnreadable        metric.Int64ObservableCounter
	cacheSessions, storeUnsaved                                                metric.Int64ObservableUpDownCounter
	storeDown                                                                  metric.Int64ObservableGauge
	tokenLifetime, credentialLifetime                                          metric.Float64ObservableGauge
	flows, hosts, tenants, reasons                                             *bounded

	perTenant bool // tenants are an attribute

	mu            sync.Mutex // guards the fields below
	registrations []metric.Registration
	closed        bool
}

// The boundaries of histograms, in seconds. Requests to Entra take 50 ms to 30 s, calls of a store less than 250 ms,
// and a signature check less than 1 ms.
var (
	requestBounds = []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30}
	storeBounds   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
	verifyBounds  = []float64{.0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5, 10}
)

// New returns a Telemetry for cfg. The error is that of a MeterProvider that rejects an instrument.
func New(cfg Config) (*Telemetry, error) {
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	t := &Telemetry{
		meter: cfg.MeterProvider.Meter(scopeName), tracer: cfg.TracerProvider.Tracer(scopeName),
		flows: newBounded(20), hosts: newBounded(20), tenants: newBounded(cfg.Tenants),
		reasons: newBounded(100), perTenant: cfg.Tenants > 0,
	}
	if err := t.createInstruments(); err != nil {
		return nil, fmt.Errorf("entraotel: create instruments: %w", err)
	}
	return t, nil
}

func (t *Telemetry) createInstruments() error {
	var failed []error
	histogram := func(name, description string, bounds []float64) metric.Float64Histogram {
		h, err := t.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(bounds...))
		failed = append(failed, err)
		return h
	}
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := t.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return c
	}
	total := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := t.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return c
	}
	size := func(name, unit, description string) metric.Int64ObservableUpDownCounter {
		c, err := t.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return c
	}
	lifetime := func(name, description string) metric.Float64ObservableGauge {
		g, err := t.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
		failed = append(failed, err)
		return g
	}
	t.requestDuration = histogram("entra.token.request.duration",
		"Duration of requests for a token, with retries.", requestBounds)
	t.waitDuration = histogram("entra.token.wait.duration",
		"Time that callers waited because no usable token was cached.", requestBounds)
	t.tokenLifetime = lifetime("entra.token.remaining_lifetime", "Time until the cached token expires.")
	t.throttled = counter("entra.token.throttled", "{response}", "Responses with Retry-After.")
	t.cacheRequests = total("entra.cache.requests", "{request}", "Calls for a token.")
	t.cacheSessions = size("entra.cache.sessions", "{session}", "Sessions in memory.")
	t.evictions = total("entra.cache.evictions", "{session}", "Sessions evicted by a bound of the cache.")
	t.invalidations = total("entra.cache.invalidations", "{token}", "Tokens dropped because a resource rejected them.")
	t.storeDuration = histogram("entra.store.operation.duration", "Duration of calls of the store.", storeBounds)
	t.storeHits = total("entra.store.hits", "{token}", "Tokens found in the store instead of a request.")
	t.storeUnreadable = total("entra.store.unreadable", "{record}", "Records sealed with another key or changed.")
	t.storeUnsaved = size("entra.store.unsaved", "{session}", "Sessions to save when the store is back.")
	t.verifications = counter("entra.verify.requests", "{request}",
		"Tokens accepted or rejected, and requests without one.")
	t.denials = counter("entra.verify.denials", "{request}", "Requests with a valid token that a rule denied.")
	t.verifyDuration = histogram("entra.verify.duration", "Duration of the verification of tokens that are not cached.",
		verifyBounds)
	t.keysDuration = histogram("entra.verify.key_fetch.duration", "Duration of fetches of the signing keys.",
		requestBounds)
	t.signInStarts = counter("entra.signin.starts", "{signin}", "Browsers sent to Entra.")
	t.signInOutcomes = counter("entra.signin.outcomes", "{signin}", "Finished sign-ins, sign-outs and rejected requests.")
	t.credentialLifetime = lifetime("entra.credential.remaining_lifetime",
		"Time until the certificate or federated token expires.")
	var err error
	t.storeDown, err = t.meter.Int64ObservableGauge("entra.store.down", metric.WithUnit("{breaker}"),
		metric.WithDescription("Whether the circuit breaker of the store is open."))
	return errors.Join(append(failed, err)...)
}

// Close stops the export of the caches, tokens and credentials. Events are still counted.
func (t *Telemetry) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	var failed []error
	for _, r := range t.registrations {
		failed = append(failed, r.Unregister())
	}
	t.registrations = nil
	return errors.Join(failed...)
}

// register calls observe for each export until Close.
func (t *Telemetry) register(observe metric.Callback, instruments ...metric.Observable) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.New("entraotel: Telemetry is closed")
	}
	r, err := t.meter.RegisterCallback(observe, instruments...)
	if err != nil {
		return fmt.Errorf("entraotel: register instruments: %w", err)
	}
	t.registrations = append(t.registrations, r)
	return nil
}

// Token exports the remaining lifetime of the cached token of s, with the attribute entra.token.name. It is for the few
// tokens that a program cannot work without, such as that of a daemon. It sends no request. Without a cached token,
// nothing is exported.
func (t *Telemetry) Token(name string, s *entra.TokenSource) error {
	attrs := metric.WithAttributes(attribute.String("entra.token.name", name))
	return t.register(func(_ context.Context, o metric.Observer) error {
		if info, ok := s.Cached(); ok {
			o.ObserveFloat64(t.tokenLifetime, time.Until(info.ExpiresAt).Seconds(), attrs)
		}
		return nil
	}, t.tokenLifetime)
}

// Credential exports how long the credential is still valid, with the attributes entra.credential.name and
// entra.credential.kind. Nothing is exported while the expiry is unknown, as for a client secret, whose expiry only
// Entra knows; see [entra.Credential.Info].
func (t *Telemetry) Credential(name string, c entra.Credential) error {
	return t.register(func(_ context.Context, o metric.Observer) error {
		if info := c.Info(); !info.NotAfter.IsZero() {
			o.ObserveFloat64(t.credentialLifetime, time.Until(info.NotAfter).Seconds(), metric.WithAttributes(
				attribute.String("entra.credential.name", name), attribute.String("entra.credential.kind", info.Kind)))
		}
		return nil
	}, t.credentialLifetime)
}

// A bounded is a set of at most max values of an attribute.
type bounded struct {
	max  int
	mu   sync.Mutex // guards seen
	seen map[string]bool
}

func newBounded(limit int) *bounded { return &bounded{max: limit, seen: map[string]bool{}} }

// value returns s, or other if the set is full.
func (b *bounded) value(s string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.seen[s] {
		if len(b.seen) >= b.max {
			return other
		}
		b.seen[s] = true
	}
	return s
}

// authority returns the host and the tenant of an authority.
func authority(k cache.Key) (host, tenant string) {
	u, err := url.Parse(k.Authority)
	if err != nil {
		return "", ""
	}
	return u.Host, strings.Trim(u.Path, "/")
}
