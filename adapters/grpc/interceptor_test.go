package entragrpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/entratoken/entra"
	entragrpc "github.com/entratoken/entra/adapters/grpc"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

const (
	alice  = "alice@contoso.onmicrosoft.com"
	scopeB = "api://api-b/.default"
	check  = "/grpc.health.v1.Health/Check"
	watch  = "/grpc.health.v1.Health/Watch"
)

// service is the service of the tests, which gRPC itself has. It records the tokens of its callers.
type service struct {
	*health.Server
	calls chan call
	check func(context.Context) error // if nil, Check succeeds
}

// call is a call as its handler sees it. client is empty without a token.
type call struct{ client, raw string }

func record(ctx context.Context) (c call) {
	if t, ok := verify.TokenFromContext(ctx); ok {
		claims, _ := verify.ClaimsFromContext(ctx)
		c = call{claims.ClientID, t.Raw()}
	}
	return c
}

func (s *service) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s.calls <- record(ctx)
	if s.check != nil {
		if err := s.check(ctx); err != nil {
			return nil, err
		}
	}
	return s.Server.Check(ctx, r)
}

func (s *service) Watch(r *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	s.calls <- record(stream.Context())
	return stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING})
}

// world is a gRPC server over TLS that accepts tokens of the fake Entra for api-b.
type world struct {
	*entratest.Server
	service *service
	address string
	tls     credentials.TransportCredentials // of clients
	events  chan verify.Event
}

func newWorld(t *testing.T, opts entragrpc.Options, changes ...func(*entratest.Config)) *world {
	t.Helper()
	w := &world{
		Server:  testkit.Server(changes...),
		service: &service{Server: health.NewServer(), calls: make(chan call, 100)},
		events:  make(chan verify.Event, 100),
	}
	api := w.App("api-b")
	v, err := verify.New(verify.Config{
		Audiences: []string{api.ClientID}, Tenants: []string{entratest.SampleTenant}, HTTPClient: w.Client(),
		OnEvent: func(e verify.Event) { w.events <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	key := testkit.RSAKey(t)
	cert := testkit.Certificate(t, key, func(c *x509.Certificate) { c.DNSNames = []string{"orders.example"} })
	server := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key})),
		grpc.UnaryInterceptor(entragrpc.UnaryServerInterceptor(v, opts)),
		grpc.StreamInterceptor(entragrpc.StreamServerInterceptor(v, opts)),
	)
	healthpb.RegisterHealthServer(server, w.service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	w.address, w.tls = listener.Addr().String(), credentials.NewClientTLSFromCert(roots, "orders.example")
	return w
}

// dial returns a client whose calls have the tokens of creds, which may be nil.
func (w *world) dial(t *testing.T, creds credentials.PerRPCCredentials) healthpb.HealthClient {
	t.Helper()
	opts := []grpc.DialOption{grpc.WithTransportCredentials(w.tls)}
	if creds != nil {
		opts = append(opts, grpc.WithPerRPCCredentials(creds))
	}
	conn, err := grpc.NewClient(w.address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return healthpb.NewHealthClient(conn)
}

func (w *world) source(t *testing.T, app string, capabilities ...string) *entra.TokenSource {
	t.Helper()
	cfg := testkit.ClientConfig(w.Server, app, w.Client().Transport)
	cfg.Capabilities = capabilities
	return clientcreds.TokenSource(testkit.Client(t, cfg), scopeB)
}

func withToken(ctx context.Context, values ...string) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.MD{"authorization": values})
}

// A daemon's calls reach the handlers of unary calls and streams with its token.
func TestHandlersGetTheVerifiedToken(t *testing.T) {
	w := newWorld(t, entragrpc.Options{Rules: []verify.Rule{verify.Role("Orders.Read.All")}})
	client := w.dial(t, w.source(t, "daemon").PerRPC())
	if _, err := client.Check(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	stream, err := client.Watch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	one, two := <-w.service.calls, <-w.service.calls
	if want := w.App("daemon").ClientID; one.client != want || two != one {
		t.Errorf("got clients %s and %s with the same token: %t, want %s twice", one.client, two.client, one == two, want)
	}
	if n := w.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
}

func TestCodesOfRejectedCalls(t *testing.T) {
	opts := entragrpc.Options{
		Rules: []verify.Rule{verify.ScopeOrRole("Orders.Read", "Orders.Read.All")},
		RulesFor: func(method string) []verify.Rule {
			if method == watch {
				return []verify.Rule{verify.Scope("Orders.Write")}
			}
			return nil
		},
	}
	w := newWorld(t, opts)
	user := w.Mint(entratest.MintOptions{
		Client: "api-a", User: alice, Resource: "api-b", Version: 2, Scopes: []string{"Orders.Read"},
	})
	daemon := w.Mint(entratest.MintOptions{Client: "daemon", Resource: "api-b", Version: 2})
	expired := w.Mint(entratest.MintOptions{Client: "daemon", Resource: "api-b", Version: 2, Lifetime: -time.Hour})
	none := w.Mint(entratest.MintOptions{
		Client: "webapp", Resource: "api-b", Version: 2, Claims: map[string]any{"roles": nil},
	})
	const noToken = "the request does not have a bearer token; send one in the Authorization header"
	for name, test := range map[string]struct {
		tokens []string
		method string
		code   codes.Code
		text   string
	}{
		"user":     {[]string{"Bearer " + user}, check, codes.OK, ""},
		"app":      {[]string{"bearer " + daemon}, check, codes.OK, ""},
		"no token": {nil, check, codes.Unauthenticated, noToken},
		"two tokens": {[]string{"Bearer " + user, "Bearer " + user}, check, codes.Unauthenticated,
			"the request must have one Authorization header of the form: Bearer TOKEN"},
		"other scheme": {[]string{"Basic YTpi"}, watch, codes.Unauthenticated, noToken},
		"malformed": {[]string{"Bearer " + alice[:5]}, check, codes.Unauthenticated,
			"the token is not a signed JWT; send the token as Entra issued it"},
		"expired": {[]string{"Bearer " + expired}, watch, codes.Unauthenticated, "the token has expired; request a new one"},
		"no roles": {[]string{"Bearer " + none}, check, codes.PermissionDenied,
			"the token has neither scopes nor roles; an administrator must grant a permission"},
		"scope": {[]string{"Bearer " + user}, watch, codes.PermissionDenied,
			"the client must act for a user and have one of the scopes: Orders.Write"},
	} {
		client := w.dial(t, nil)
		ctx := withToken(t.Context(), test.tokens...)
		var err error
		if test.method == check {
			_, err = client.Check(ctx, nil)
		} else {
			var stream healthpb.Health_WatchClient
			if stream, err = client.Watch(ctx, nil); err == nil {
				_, err = stream.Recv()
			}
		}
		if s := status.Convert(err); s.Code() != test.code || s.Message() != test.text {
			t.Errorf("%s: got %v: %q, want %v: %q", name, s.Code(), s.Message(), test.code, test.text)
		}
	}
	if n := len(w.service.calls); n != 2 {
		t.Errorf("got %d calls of handlers, want 2", n)
	}
	denied := 0
	for len(w.events) > 0 {
		if e := <-w.events; e.Kind == verify.EventDenied {
			denied++
		}
	}
	if denied != 1 {
		t.Errorf("got %d denials, want 1", denied)
	}
}

// Keys that cannot be fetched are not the caller's fault, which may keep its token.
func TestUnavailableKeys(t *testing.T) {
	w := newWorld(t, entragrpc.Options{})
	w.Inject(entratest.Fault{Endpoint: entratest.EndpointKeys, Status: 400})
	raw := w.Mint(entratest.MintOptions{Client: "daemon", Resource: "api-b", Version: 2})
	_, err := w.dial(t, nil).Check(withToken(t.Context(), "Bearer "+raw), nil)
	const want = "failed to fetch the signing keys of the authority"
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != want {
		t.Errorf("got %v, want Unavailable", err)
	}
}

// A fault of RulesFor admits no caller, and does not end the program.
func TestNilRuleOfMethodFailsCall(t *testing.T) {
	w := newWorld(t, entragrpc.Options{RulesFor: func(string) []verify.Rule { return []verify.Rule{nil} }})
	_, err := w.dial(t, w.source(t, "daemon").PerRPC()).Check(t.Context(), nil)
	if s := status.Convert(err); s.Code() != codes.Internal || s.Message() != "entragrpc: a Rule of the method is nil" {
		t.Errorf("got %v, want Internal", err)
	}
	if len(w.service.calls) != 0 {
		t.Error("the handler was called")
	}
}

// Rules that the caller changes later do not change those of the server.
func TestRulesAreCopied(t *testing.T) {
	rules := []verify.Rule{verify.Role("Missing")}
	w := newWorld(t, entragrpc.Options{Rules: rules})
	rules[0] = verify.Role("Orders.Read.All")
	_, err := w.dial(t, w.source(t, "daemon").PerRPC()).Check(t.Context(), nil)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v, want PermissionDenied", err)
	}
}

// A public method has no token in its context, not even one that was sent.
func TestPublicMethods(t *testing.T) {
	w := newWorld(t, entragrpc.Options{Public: func(method string) bool { return method == check }})
	client := w.dial(t, w.source(t, "daemon").PerRPC())
	if _, err := client.Check(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if c := <-w.service.calls; c != (call{}) {
		t.Errorf("got a token of %s, want none", c.client)
	}
	if _, err := w.dial(t, nil).Check(t.Context(), nil); err != nil {
		t.Errorf("got %v without a token, want nil", err)
	}
	stream, err := w.dial(t, nil).Watch(t.Context(), nil)
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want Unauthenticated", err)
	}
}

// A connection that stays open uses each new token as soon as the cache has it, before the old one expires.
func TestOpenConnectionFollowsEarlyRefresh(t *testing.T) {
	w := newWorld(t, entragrpc.Options{}, func(c *entratest.Config) {
		c.Lifetime = func() time.Duration { return time.Hour }
		c.RefreshIn = func(time.Duration) time.Duration { return time.Second }
	})
	source := w.source(t, "daemon")
	client := w.dial(t, entragrpc.PerRPC(source))
	token := func() string {
		t.Helper()
		if _, err := client.Check(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		return (<-w.service.calls).raw
	}
	first := token()
	for deadline := time.Now().Add(20 * time.Second); token() == first; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the first token was used for 20 seconds; refresh_in is a second")
		}
	}
	if info, _ := source.Cached(); time.Until(info.ExpiresAt) < 50*time.Minute {
		t.Errorf("the token expires at %v, want an hour from now", info.ExpiresAt)
	}
}

// A call waits for a token no longer than its deadline.
func TestDeadlineOfTheCallApplies(t *testing.T) {
	w := newWorld(t, entragrpc.Options{})
	remove := w.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Delay: 25 * time.Second})
	defer remove()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := w.dial(t, entragrpc.PerRPC(w.source(t, "daemon"))).Check(ctx, nil)
	if status.Code(err) != codes.DeadlineExceeded || ctx.Err() == nil {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	if took := time.Since(start); took > 20*time.Second { // a slow machine; the request takes 25 s
		t.Errorf("the call took %v, want its deadline", took)
	}
	if len(w.service.calls) != 0 {
		t.Error("the handler was called")
	}
}

// gRPC sends no token without TLS.
func TestTokensNeedTLS(t *testing.T) {
	w := newWorld(t, entragrpc.Options{})
	_, err := grpc.NewClient(w.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(w.source(t, "daemon").PerRPC()))
	if err == nil || !strings.Contains(err.Error(), "the credentials require transport level security") {
		t.Errorf("got %v, want an error", err)
	}
}

// A rule for an authentication context sends a challenge, with which the client gets a token that satisfies it.
func TestClaimsChallengeReachesTheClient(t *testing.T) {
	w := newWorld(t, entragrpc.Options{Rules: []verify.Rule{verify.AuthContext("c1")}})
	raw := w.Mint(entratest.MintOptions{Client: "api-a", User: alice, Resource: "api-b", Version: 2})
	var trailer metadata.MD
	_, err := w.dial(t, nil).Check(withToken(t.Context(), "Bearer "+raw), nil, grpc.Trailer(&trailer))
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want Unauthenticated", err)
	}
	claims, ok := entragrpc.Challenge(trailer)
	if want := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`; !ok || claims != want {
		t.Errorf("got claims %s, want %s", claims, want)
	}
	if claims, ok := entragrpc.Challenge(nil); ok || claims != "" {
		t.Errorf("without a trailer: got %q, want none", claims)
	}
	satisfied := w.Mint(entratest.MintOptions{Client: "api-a", User: alice, Resource: "api-b", Version: 2,
		Claims: map[string]any{"acrs": []string{"c1"}}})
	if _, err := w.dial(t, nil).Check(withToken(t.Context(), "Bearer "+satisfied), nil); err != nil {
		t.Errorf("got %v with the authentication context, want nil", err)
	}
}

// A handler passes on the error of the next API as obo.WriteError does.
func TestStatusError(t *testing.T) {
	w := newWorld(t, entragrpc.Options{})
	raw := w.Mint(entratest.MintOptions{Client: "api-a", User: alice, Resource: "api-b", Version: 2})
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c2"}}}`
	for name, test := range map[string]struct {
		err    error
		code   codes.Code
		text   string
		claims string
	}{
		"claims": {&entra.Error{Code: "interaction_required", Claims: claims}, codes.Unauthenticated,
			"the user must sign in again", claims},
		"consent": {&entra.Error{Code: "invalid_grant", SubError: "consent_required"}, codes.PermissionDenied,
			"the user or an administrator has not consented to the next API", ""},
		"throttled": {&entra.Error{Code: "temporarily_unavailable"}, codes.Unavailable,
			"the next API is temporarily unavailable", ""},
		"secret": {fmt.Errorf("orders: %w", &entra.Error{Code: "invalid_client"}), codes.Internal,
			"the next API is unavailable", ""},
		"unknown": {errors.New("password of " + alice), codes.Internal, "the next API is unavailable", ""},
		"rule": {&verify.Error{Reason: verify.ReasonDenied}, codes.PermissionDenied,
			"the caller may not use this resource", ""},
	} {
		w.service.check = func(ctx context.Context) error { return entragrpc.StatusError(ctx, test.err) }
		var trailer metadata.MD
		_, err := w.dial(t, nil).Check(withToken(t.Context(), "Bearer "+raw), nil, grpc.Trailer(&trailer))
		if s := status.Convert(err); s.Code() != test.code || s.Message() != test.text {
			t.Errorf("%s: got %v: %q, want %v: %q", name, s.Code(), s.Message(), test.code, test.text)
		}
		if got, _ := entragrpc.Challenge(trailer); got != test.claims {
			t.Errorf("%s: got claims %q, want %q", name, got, test.claims)
		}
	}
	if err := entragrpc.StatusError(t.Context(), nil); err != nil {
		t.Errorf("got %v for nil, want nil", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := entragrpc.StatusError(ctx, errors.New("x")); status.Code(err) != codes.Canceled {
		t.Errorf("got %v for a canceled call, want Canceled", err)
	}
}

// The handler acts for the user with the verified token.
func TestHandlersActForTheUser(t *testing.T) {
	w := newWorld(t, entragrpc.Options{Rules: []verify.Rule{verify.Scope("Orders.Read")}}, func(c *entratest.Config) {
		c.Apps[3].Permissions = []entratest.Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}}
	})
	api := testkit.Client(t, testkit.ClientConfig(w.Server, "api-b", w.Client().Transport))
	scopes := make(chan []string, 1)
	w.service.check = func(ctx context.Context) error {
		token, _ := verify.TokenFromContext(ctx)
		source := obo.ForToken(api, token, "api://api-a/access_as_user")
		if _, err := source.TokenContext(ctx); err != nil {
			return entragrpc.StatusError(ctx, err)
		}
		info, _ := source.Cached()
		scopes <- info.Scopes
		return nil
	}
	raw := w.Mint(entratest.MintOptions{
		Client: "api-a", User: alice, Resource: "api-b", Version: 2, Scopes: []string{"Orders.Read"},
	})
	if _, err := w.dial(t, nil).Check(withToken(t.Context(), "Bearer "+raw), nil); err != nil {
		t.Fatal(err)
	}
	if got := <-scopes; !slices.Contains(got, "api://api-a/access_as_user") {
		t.Errorf("got scopes %q", got)
	}
}

func TestInterceptorsPanicWithoutVerifierOrRule(t *testing.T) {
	v := new(verify.Verifier)
	for name, create := range map[string]func(){
		"unary":  func() { entragrpc.UnaryServerInterceptor(nil, entragrpc.Options{}) },
		"stream": func() { entragrpc.StreamServerInterceptor(nil, entragrpc.Options{}) },
		"rule":   func() { entragrpc.UnaryServerInterceptor(v, entragrpc.Options{Rules: []verify.Rule{nil}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic", name)
				}
			}()
			create()
		}()
	}
}

// A call without a token is not sent. Its code reports whether a later one may succeed, and errors.As finds the cause.
func TestCallsWithoutToken(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault entratest.Fault
		code  codes.Code
		err   string // Code of the entra.Error
	}{
		{"unavailable", entratest.Fault{Status: 503, RetryAfter: "60"}, codes.Unavailable, "temporarily_unavailable"},
		{"rejected", entratest.Fault{Status: 401, Error: "invalid_client", AADSTS: 7000215}, codes.Unauthenticated,
			"invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, entragrpc.Options{})
			tt.fault.Endpoint = entratest.EndpointToken
			defer w.Inject(tt.fault)()
			_, err := w.dial(t, entragrpc.PerRPC(w.source(t, "daemon"))).Check(t.Context(), nil)
			e, ok := errors.AsType[*entra.Error](err)
			if status.Code(err) != tt.code || !ok || e.Code != tt.err || e.StatusCode != tt.fault.Status {
				t.Errorf("got %v with %#v, want %v with %s", err, e, tt.code, tt.err)
			}
			if len(w.service.calls) != 0 {
				t.Error("the handler was called")
			}
		})
	}
}
