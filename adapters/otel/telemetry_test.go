package entraotel_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/oauth2"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/entratoken/entra"
	entraotel "github.com/entratoken/entra/adapters/otel"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/signin"
	"github.com/entratoken/entra/verify"
)

const (
	alice  = "alice@contoso.onmicrosoft.com"
	origin = "https://webapp.contoso.example"
	scopeB = "api://api-b/.default"
)

var sealKeys = []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))}

// backend is the other end of OpenTelemetry: it collects the exports of a program.
type backend struct {
	*entraotel.Telemetry
	reader *sdkmetric.ManualReader
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
}

func newBackend(t *testing.T, tenants int) *backend {
	t.Helper()
	b := &backend{reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans))
	b.tracer = tracers.Tracer("test")
	var err error
	b.Telemetry, err = entraotel.New(entraotel.Config{
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(b.reader), sdkmetric.WithCardinalityLimit(0)),
		TracerProvider: tracers, Tenants: tenants,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *backend) newCache(t *testing.T, o cache.Options) *cache.Cache {
	t.Helper()
	c, err := b.NewCache(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *backend) metrics(t *testing.T) (all []metricdata.Metrics) {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := b.reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	for _, scope := range data.ScopeMetrics {
		all = append(all, scope.Metrics...)
	}
	return all
}

// series returns the series of a metric: the attributes, and the value or the count of a histogram.
func (b *backend) series(t *testing.T, name string) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, m := range b.metrics(t) {
		if m.Name == name {
			maps.Copy(got, seriesOf(m))
		}
	}
	return got
}

func seriesOf(m metricdata.Metrics) map[string]float64 {
	got := map[string]float64{}
	text := func(s attribute.Set) string { return s.Encoded(attribute.DefaultEncoder()) }
	switch d := m.Data.(type) {
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			got[text(p.Attributes)] = float64(p.Count)
		}
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			got[text(p.Attributes)] = float64(p.Value)
		}
	case metricdata.Gauge[int64]:
		for _, p := range d.DataPoints {
			got[text(p.Attributes)] = float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range d.DataPoints {
			got[text(p.Attributes)] = p.Value
		}
	}
	return got
}

func (b *backend) want(t *testing.T, name string, want map[string]float64) {
	t.Helper()
	if got := b.series(t, name); !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// slow sends a request for a token a second later.
func slow(s *entratest.Server) http.RoundTripper {
	return testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			time.Sleep(time.Second)
		}
		return s.Client().Transport.RoundTrip(r)
	})
}

func TestMetricsOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testkit.Server(func(c *entratest.Config) { c.Lifetime = func() time.Duration { return time.Hour } })
		b := newBackend(t, 0)
		store := storetest.NewMemory()
		cfg := testkit.ClientConfig(s, "daemon", slow(s))
		cfg.Cache = b.newCache(t, cache.Options{Store: store, Keys: sealKeys})
		client := testkit.Client(t, cfg)
		source := clientcreds.TokenSource(client, scopeB)
		if err := b.Token("orders", source); err != nil {
			t.Fatal(err)
		}
		b.want(t, "entra.token.remaining_lifetime", map[string]float64{})
		for range 3 {
			if _, err := source.TokenContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		const app = "entra.flow=client_credentials,server.address=login.microsoftonline.com"
		b.want(t, "entra.token.request.duration", map[string]float64{"entra.background=false," + app: 1})
		b.want(t, "entra.token.wait.duration", map[string]float64{app: 1})
		b.want(t, "entra.token.remaining_lifetime", map[string]float64{"entra.token.name=orders": 3600})
		b.want(t, "entra.cache.requests", map[string]float64{"entra.cache.result=hit": 2, "entra.cache.result=miss": 1})
		b.want(t, "entra.cache.sessions", map[string]float64{"": 1})
		b.want(t, "entra.store.down", map[string]float64{"": 0})
		b.want(t, "entra.store.hits", map[string]float64{"": 0})
		b.want(t, "entra.store.unsaved", map[string]float64{"": 0})

		s.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Status: 429, RetryAfter: "60"})
		store.Inject(func(storetest.Call) storetest.Fault {
			return storetest.Fault{Delay: time.Millisecond, Err: errors.New("down")}
		})
		source.Invalidate(mustToken(t, source))
		if _, err := source.TokenContext(t.Context()); err == nil {
			t.Fatal("got a token, want an error")
		}
		synctest.Wait()
		b.want(t, "entra.cache.invalidations", map[string]float64{"": 1})
		b.want(t, "entra.store.down", map[string]float64{"": 1})
		b.want(t, "entra.token.throttled", map[string]float64{app: 1})
		got := b.series(t, "entra.token.request.duration")
		if len(got) != 2 || got["entra.background=false,"+"entra.flow=client_credentials,error.type=temporarily_unavailable,"+
			"server.address=login.microsoftonline.com"] != 1 {
			t.Errorf("got %v, want a failure with error.type=temporarily_unavailable", got)
		}
		if got := b.series(t, "entra.store.operation.duration")["entra.store.operation=load,error.type=_OTHER"]; got == 0 {
			t.Errorf("got %v failed loads, want some", got)
		}
	})
}

func mustToken(t *testing.T, s *entra.TokenSource) (tok *oauth2.Token) {
	t.Helper()
	tok, err := s.TokenContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// All metrics have a unit, a description and, if they are histograms, boundaries in seconds.
func TestInstrumentsAreDescribed(t *testing.T) {
	b := run(t, newBackend(t, 0))
	var names []string
	for _, m := range b.metrics(t) {
		names = append(names, m.Name)
		if m.Unit == "" || m.Description == "" || !strings.HasSuffix(m.Description, ".") {
			t.Errorf("%s: got unit %q and description %q", m.Name, m.Unit, m.Description)
		}
		h, ok := m.Data.(metricdata.Histogram[float64])
		if !ok {
			continue
		}
		if bounds := h.DataPoints[0].Bounds; m.Unit != "s" || len(bounds) != 11 || bounds[10] > 30 {
			t.Errorf("%s: got unit %q and boundaries %v, want eleven of at most 30 s", m.Name, m.Unit, bounds)
		}
	}
	slices.Sort(names)
	want := strings.Fields(`entra.cache.evictions entra.cache.invalidations entra.cache.requests entra.cache.sessions
		entra.credential.remaining_lifetime entra.signin.outcomes entra.signin.starts entra.store.down entra.store.hits
		entra.store.operation.duration entra.store.unreadable entra.store.unsaved entra.token.remaining_lifetime
		entra.token.request.duration entra.token.wait.duration entra.verify.denials entra.verify.duration
		entra.verify.key_fetch.duration entra.verify.requests`)
	if !slices.Equal(names, want) {
		t.Errorf("got metrics %q, want %q", names, want)
	}
}

// 10,000 tenants cause one series, or as many as Config.Tenants and one for the others.
func TestTenantsAreBounded(t *testing.T) {
	for _, test := range []struct{ tenants, want int }{{0, 1}, {5, 6}} {
		b := newBackend(t, test.tenants)
		c := b.newCache(t, cache.Options{Size: 20_000})
		fetch := func(context.Context, *cache.Request) (cache.Response, error) {
			return cache.Response{AccessToken: "t", TokenType: "Bearer", Lifetime: time.Hour}, nil
		}
		for i := range 10_000 {
			var h cache.Handle
			tenant := fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)
			h.Bind(c, cache.Key{Authority: "https://login.microsoftonline.com/" + tenant, ClientID: "app",
				Flow: "client_credentials"}, []string{"s"}, nil)
			if _, err := h.Token(t.Context(), "", fetch); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(b.series(t, "entra.token.request.duration")); got != test.want {
			t.Errorf("Tenants: %d: got %d series of requests, want %d", test.tenants, got, test.want)
		}
		total := 0
		for _, m := range b.metrics(t) {
			total += len(seriesOf(m))
		}
		// Two histograms have tenants. Five other series are of the cache.
		if want := 2*test.want + 5; total != want {
			t.Errorf("Tenants: %d: got %d series, want %d", test.tenants, total, want)
		}
	}
}

// Flows, hosts, and error codes that come from outside are bounded, too.
func TestOtherAttributesAreBounded(t *testing.T) {
	b := newBackend(t, 0)
	c := b.newCache(t, cache.Options{Size: 20_000})
	for i := range 1000 {
		var h cache.Handle
		h.Bind(c, cache.Key{Authority: fmt.Sprintf("https://host%d/t", i), ClientID: "app", Flow: "flow"}, []string{"s"}, nil)
		_, _ = h.Token(t.Context(), "", func(context.Context, *cache.Request) (cache.Response, error) {
			return cache.Response{}, &entra.Error{Code: fmt.Sprintf("code %d", i), StatusCode: 400}
		})
	}
	got := b.series(t, "entra.token.wait.duration")
	if len(got) != 21 || got["entra.flow=flow,error.type=_OTHER,server.address=_OTHER"] != 980 {
		t.Errorf("got %d series %v, want 20 hosts and _OTHER, all with error.type=_OTHER", len(got), got)
	}
	v := b.Verify(verify.Config{})
	for i := range 1000 {
		v.OnEvent(verify.Event{Kind: verify.EventDenied, Reason: verify.Reason(fmt.Sprintf("reason %d", i))})
	}
	if got := b.series(t, "entra.verify.denials"); len(got) != 101 {
		t.Errorf("got %d series of denials, want 101", len(got))
	}
}

// A flight that a caller waits for is a child of the caller's span. A refresh in the background has a trace of its own
// with a link to the caller's span. Calls of the store and of Entra are inside of both.
func TestSpansOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testkit.Server(func(c *entratest.Config) { c.Lifetime = func() time.Duration { return time.Hour } })
		b := newBackend(t, 0)
		inside := ""
		cfg := testkit.ClientConfig(s, "daemon", testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			inside = trace.SpanContextFromContext(r.Context()).SpanID().String()
			return s.Client().Transport.RoundTrip(r)
		}))
		cfg.Cache = b.newCache(t, cache.Options{Store: storetest.NewMemory(), Keys: sealKeys})
		source := clientcreds.TokenSource(testkit.Client(t, cfg), scopeB)
		call := func() trace.SpanContext {
			ctx, span := b.tracer.Start(t.Context(), "request")
			defer span.End()
			if _, err := source.TokenContext(ctx); err != nil {
				t.Error(err)
			}
			return span.SpanContext()
		}
		flight := func() sdktrace.ReadOnlySpan {
			synctest.Wait()
			var found sdktrace.ReadOnlySpan
			for _, span := range b.spans.Ended() {
				if span.Name() == "entra.token acquire" {
					found = span
				}
			}
			return found
		}
		caller := call()
		waited := flight()
		if waited.Parent().SpanID() != caller.SpanID() || waited.SpanContext().TraceID() != caller.TraceID() {
			t.Errorf("got parent %v, want the caller's span %v", waited.Parent().SpanID(), caller.SpanID())
		}
		if inside != waited.SpanContext().SpanID().String() {
			t.Errorf("the token request has the span %s, want that of the flight", inside)
		}
		children := map[string]int{}
		for _, span := range b.spans.Ended() {
			if span.Parent().SpanID() == waited.SpanContext().SpanID() {
				children[span.Name()]++
			}
		}
		if children["entra.store load"] == 0 || children["entra.store save"] == 0 {
			t.Errorf("got children %v, want loads and saves of the store", children)
		}
		info, _ := source.Cached()
		time.Sleep(time.Until(info.RefreshAt) + time.Minute)
		caller = call()
		refresh := flight()
		if refresh == waited || refresh.Parent().IsValid() || refresh.SpanContext().TraceID() == caller.TraceID() {
			t.Errorf("got a refresh with parent %v, want a trace of its own", refresh.Parent())
		}
		if links := refresh.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != caller.SpanID() {
			t.Errorf("got links %v, want one to the caller's span", links)
		}
		if call(); flight() != refresh {
			t.Error("a hit has a span")
		}
	})
}

// OnEvent and Trace of the program are still called.
func TestListenersOfTheProgramAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testkit.Server()
		b := newBackend(t, 0)
		type key struct{}
		var got []string
		cfg := testkit.ClientConfig(s, "daemon", testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Context().Value(key{}) == nil {
				t.Error("the context of the program's Trace is lost")
			}
			return s.Client().Transport.RoundTrip(r)
		}))
		cfg.Cache = b.newCache(t, cache.Options{
			OnEvent: func(e cache.Event) {
				if e.Kind == cache.EventFetchDone {
					got = append(got, "event")
				}
			},
			Trace: func(ctx context.Context, _ cache.Event) (context.Context, func(cache.Event)) {
				got = append(got, "start")
				return context.WithValue(ctx, key{}, true), func(cache.Event) { got = append(got, "end") }
			},
		})
		mustToken(t, clientcreds.TokenSource(testkit.Client(t, cfg), scopeB))
		synctest.Wait()
		if want := []string{"start", "event", "end"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if spans := b.spans.Ended(); len(spans) != 1 {
			t.Errorf("got %d spans, want 1", len(spans))
		}
	})
}

// run exercises all parts of the module for Alice, with failures, and returns b.
func run(t *testing.T, b *backend) *backend {
	t.Helper()
	s := testkit.Server()
	shared := b.newCache(t, cache.Options{Store: storetest.NewMemory(), Keys: sealKeys})
	cfg := testkit.ClientConfig(s, "daemon", s.Client().Transport)
	cfg.Cache = shared
	daemon := clientcreds.TokenSource(testkit.Client(t, cfg), scopeB)
	mustToken(t, daemon)
	key := testkit.RSAKey(t)
	cert := testkit.Certificate(t, key, testkit.Valid(time.Now(), time.Now().Add(time.Hour)))
	if err := errors.Join(b.Token("daemon", daemon),
		b.Credential("orders", entra.Certificate([]*x509.Certificate{cert}, key, nil)),
		b.Credential("secret", entra.Secret("without expiry"))); err != nil {
		t.Fatal(err)
	}

	api := s.App("api-a")
	v, err := verify.New(b.Verify(verify.Config{
		Audiences: []string{api.ClientID}, Tenants: []string{entratest.SampleTenant}, HTTPClient: s.Client(),
	}))
	if err != nil {
		t.Fatal(err)
	}
	raw := s.Mint(entratest.MintOptions{Client: "webapp", User: alice, Resource: "api-a", Version: 2})
	verified, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	_ = verify.Check(verified, verify.Scope("Orders.Delete"))
	_, _ = v.Verify(t.Context(), raw[:len(raw)-8]+"AAAAAAAA")
	_, _ = v.Verify(t.Context(), alice)
	cfg = testkit.ClientConfig(s, "api-a", s.Client().Transport)
	cfg.Cache = shared
	mustToken(t, obo.ForToken(testkit.Client(t, cfg), verified, "api://api-b/Orders.Read"))
	_, _ = obo.ForToken(testkit.Client(t, cfg), verified, "api://api-b/Orders.Nope").TokenContext(t.Context())

	cfg = testkit.ClientConfig(s, "webapp", s.Client().Transport)
	cfg.Cache = shared
	flow, err := authcode.New(testkit.Client(t, cfg), authcode.Config{
		RedirectURL: origin + "/callback", Scopes: []string{"api://api-a/access_as_user"},
	})
	if err != nil {
		t.Fatal(err)
	}
	site, err := signin.New(flow, b.SignIn(signin.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	app := site.Handler(site.RequireSignIn(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = site.TokenSource(r).TokenContext(r.Context())
		_, _ = site.TokenSource(r, "api://api-b/Orders.Read").TokenContext(r.Context()) // redeems the refresh token
	})))
	jar, _ := cookiejar.New(nil)
	browse := func(method, target string) string {
		r := httptest.NewRequest(method, target, nil)
		r.Header.Set("Accept", "text/html")
		for _, c := range jar.Cookies(r.URL) {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		jar.SetCookies(r.URL, w.Result().Cookies())
		return w.Header().Get("Location")
	}
	callback, err := s.SignIn(t.Context(), browse("GET", origin+"/orders"), alice)
	if err != nil {
		t.Fatal(err)
	}
	browse("GET", callback.String())
	browse("GET", origin+"/orders")
	browse("POST", origin+"/logout")
	browse("GET", callback.String())
	browse("GET", origin+"/callback?code=x&state="+alice)
	for range 6000 { // the spans of flights end after their callers have the token
		if len(b.spans.Ended()) == len(b.spans.Started()) {
			return b
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("a span has not ended within a minute")
	return nil
}

// No attribute, name or status has anything of the user, the tokens or the secrets.
func TestNothingPersonalIsExported(t *testing.T) {
	b := run(t, newBackend(t, 3))
	var values []string
	for _, m := range b.metrics(t) {
		values = append(values, m.Name, m.Description)
		for text := range seriesOf(m) {
			values = append(values, text)
		}
	}
	add := func(attrs []attribute.KeyValue) {
		for _, a := range attrs {
			values = append(values, string(a.Key), a.Value.String())
		}
	}
	spans := b.spans.Ended()
	for _, span := range spans {
		values = append(values, span.Name(), span.Status().Description, span.SpanContext().TraceState().String())
		add(span.Attributes())
		for _, e := range span.Events() {
			values = append(values, e.Name)
			add(e.Attributes)
		}
		for _, l := range span.Links() {
			add(l.Attributes)
		}
	}
	names := map[string]int{}
	for _, span := range spans {
		names[span.Name()]++
	}
	if names["entra.token acquire"] < 4 || names["entra.verify"] < 2 || names["entra.store load"] == 0 {
		t.Fatalf("got spans %v, want those of tokens, verifications and the store", names)
	}
	all := strings.ToLower(strings.Join(values, "\n"))
	u := testkit.Server().User(alice)
	for _, personal := range []string{
		u.ObjectID, "alice", "adams", "eyj", "daemon-secret", "api-a-secret", "webapp-secret", "uid.utid",
		u.ObjectID + "." + entratest.SampleTenant,
	} {
		if strings.Contains(all, strings.ToLower(personal)) {
			t.Errorf("%q is exported:\n%s", personal, all)
		}
	}
	outcomes := b.series(t, "entra.signin.outcomes")
	for _, want := range []string{
		"entra.signin.outcome=signed_in", "entra.signin.outcome=signed_out", "entra.signin.outcome=failed,error.type=no_login",
	} {
		if outcomes[want] == 0 {
			t.Errorf("got outcomes %v, want %s", outcomes, want)
		}
	}
	b.want(t, "entra.verify.requests", map[string]float64{
		"": 1, "error.type=malformed": 1, "error.type=bad_signature": 1})
	b.want(t, "entra.verify.denials", map[string]float64{"error.type=missing_scope": 1})
	credentials := b.series(t, "entra.credential.remaining_lifetime")
	left := credentials["entra.credential.kind=certificate,entra.credential.name=orders"]
	if len(credentials) != 1 || left < 3000 || left > 3600 {
		t.Errorf("got %v, want one certificate with less than an hour left", credentials)
	}
}

// After Close, nothing is observed and nothing can be registered.
func TestClose(t *testing.T) {
	b := newBackend(t, 0)
	b.newCache(t, cache.Options{})
	b.want(t, "entra.cache.sessions", map[string]float64{"": 0})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.want(t, "entra.cache.sessions", map[string]float64{})
	if err := b.Token("x", new(entra.TokenSource)); err == nil {
		t.Error("got no error of Token after Close")
	}
}

// A store keeps its push messages.
func TestStoreStaysANotifier(t *testing.T) {
	b := newBackend(t, 0)
	m := storetest.NewMemory()
	c := b.newCache(t, cache.Options{Store: m, Keys: sealKeys})
	if _, err := c.Purge(t.Context(), "person"); err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, span := range b.spans.Ended() {
		names[span.Name()]++
	}
	if names["entra.store notify"] == 0 || m.Calls(storetest.OpNotify) == 0 {
		t.Errorf("got spans %v and %d messages, want a message", names, m.Calls(storetest.OpNotify))
	}
}
