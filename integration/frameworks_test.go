package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// callers returns a Verifier for api-b and the Authorization headers of callers with their expected
// status and, if admitted, their user or client.
func callers(t *testing.T) (v *verify.Verifier, calls []caller) {
	t.Helper()
	s := entratest.NewServer(entratest.Sample())
	v, err := verify.New(verify.Config{
		Audiences: []string{s.App("api-b").ClientID}, Tenants: []string{entratest.SampleTenant}, HTTPClient: s.Client(),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err *verify.Error) {
			w.WriteHeader(err.HTTPStatus())
			fmt.Fprintf(w, `{"reason":%q}`, err.Reason)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const alice = "alice@contoso.onmicrosoft.com"
	user := entratest.MintOptions{Resource: "api-b", Client: "webapp", User: alice, Scopes: []string{"Orders.Read"}}
	other := user
	other.Scopes = []string{"Orders.Write"}
	elsewhere := entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice}
	return v, []caller{
		{"with the scope", "Bearer " + s.Mint(user), 200, s.User(alice).ObjectID, ""},
		{"with another scope", "Bearer " + s.Mint(other), 403, `{"reason":"missing_scope"}`, "insufficient_scope"},
		{"an app", "Bearer " + s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon"}), 403,
			`{"reason":"missing_scope"}`, "insufficient_scope"},
		{"a token for another API", "Bearer " + s.Mint(elsewhere), 401, `{"reason":"bad_audience"}`, "invalid_token"},
		{"without a token", "", 401, `{"reason":"no_token"}`, ""},
	}
}

type caller struct {
	name, authorization string
	status              int
	body                string
	code                string // in the challenge
}

// checkCallers sends the requests of all callers to a handler.
func checkCallers(t *testing.T, h http.Handler, calls []caller) {
	t.Helper()
	for _, c := range calls {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		if c.authorization != "" {
			r.Header.Set("Authorization", c.authorization)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		want := `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"`
		challenge := w.Header().Get("WWW-Authenticate")
		if c.code != "" {
			want += `, error="` + c.code + `"`
		}
		if c.status == 200 {
			want = ""
		}
		if len(challenge) > len(want) {
			challenge = challenge[:len(want)]
		}
		if w.Code != c.status || w.Body.String() != c.body || challenge != want {
			t.Errorf("%s: got status %d, body %s, challenge %s, want %d, %s, %s", c.name, w.Code, w.Body,
				w.Header().Get("WWW-Authenticate"), c.status, c.body, want)
		}
	}
}

func objectID(ctx context.Context) string {
	c, ok := verify.ClaimsFromContext(ctx)
	if !ok {
		return "no claims"
	}
	return c.ObjectID
}

func TestVerifyWithChi(t *testing.T) {
	v, calls := callers(t)
	r := chi.NewRouter()
	r.Use(v.Middleware)
	r.With(verify.RequireScope("Orders.Read")).Get("/orders", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, objectID(r.Context()))
	})
	checkCallers(t, r, calls)
}

func TestVerifyWithEcho(t *testing.T) {
	v, calls := callers(t)
	e := echo.New()
	e.Use(echo.WrapMiddleware(v.Middleware))
	e.GET("/orders", func(c echo.Context) error { return c.String(200, objectID(c.Request().Context())) },
		echo.WrapMiddleware(verify.RequireScope("Orders.Read")))
	checkCallers(t, e, calls)
}

// ginMiddleware adapts net/http middleware to gin.
func ginMiddleware(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		admitted := false
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admitted = true
			c.Request = r
			c.Next()
		})
		middleware(next).ServeHTTP(c.Writer, c.Request)
		if !admitted {
			c.Abort()
		}
	}
}

func TestVerifyWithGin(t *testing.T) {
	v, calls := callers(t)
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(ginMiddleware(v.Middleware))
	r.GET("/orders", ginMiddleware(verify.RequireScope("Orders.Read")), func(c *gin.Context) {
		c.String(200, objectID(c.Request.Context()))
	})
	checkCallers(t, r, calls)
}

// grpcAuth returns an interceptor that verifies the token of a call and applies a rule.
func grpcAuth(v *verify.Verifier, rule verify.Rule) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		raw, err := verify.BearerToken(metadata.ValueFromIncomingContext(ctx, "authorization"))
		var token *verify.Token
		if err == nil {
			token, err = v.Verify(ctx, raw)
		}
		if err == nil {
			err = rule(token)
		}
		if err == nil {
			return next(verify.NewContext(ctx, token), req)
		}
		e, ok := errors.AsType[*verify.Error](err)
		switch {
		case !ok:
			return nil, grpcstatus.FromContextError(err).Err()
		case e.Temporary():
			return nil, grpcstatus.Error(codes.Unavailable, e.Message())
		case e.HTTPStatus() == http.StatusForbidden:
			return nil, grpcstatus.Error(codes.PermissionDenied, e.Message())
		}
		return nil, grpcstatus.Error(codes.Unauthenticated, e.Message())
	}
}

// claimsServer is a health service that reports whether the context has claims.
type claimsServer struct{ *health.Server }

func (s claimsServer) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (
	*healthpb.HealthCheckResponse, error,
) {
	if _, ok := verify.ClaimsFromContext(ctx); !ok {
		return nil, grpcstatus.Error(codes.Internal, "no claims")
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func TestVerifyWithGRPC(t *testing.T) {
	v, calls := callers(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(grpcAuth(v, verify.Scope("Orders.Read"))))
	healthpb.RegisterHealthServer(s, claimsServer{health.NewServer()})
	go s.Serve(l)
	defer s.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range calls {
		ctx := t.Context()
		if c.authorization != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", c.authorization)
		}
		_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		want := map[int]codes.Code{200: codes.OK, 401: codes.Unauthenticated, 403: codes.PermissionDenied}[c.status]
		if got := grpcstatus.Code(err); got != want {
			t.Errorf("%s: got %v (%v), want %v", c.name, got, err, want)
		}
	}
}
