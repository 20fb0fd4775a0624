// Package entragrpc authenticates calls of gRPC with tokens of Microsoft Entra ID, in the server and in the client. It
// is a module of its own, so that programs without gRPC do not depend on it.
//
// A server verifies the token in the authorization metadata of each call:
//
//	rules := []verify.Rule{verify.ScopeOrRole("Orders.Read", "Orders.Read.All")}
//	server := grpc.NewServer(
//		grpc.Creds(creds),
//		grpc.UnaryInterceptor(entragrpc.UnaryServerInterceptor(verifier, entragrpc.Options{Rules: rules})),
//		grpc.StreamInterceptor(entragrpc.StreamServerInterceptor(verifier, entragrpc.Options{Rules: rules})),
//	)
//
// A client adds a token to each call:
//
//	source := clientcreds.TokenSource(client, "api://orders/.default")
//	conn, err := grpc.NewClient("orders.example:443",
//		grpc.WithTransportCredentials(creds),
//		grpc.WithPerRPCCredentials(entragrpc.PerRPC(source)))
//
// Each call reads the cache, so early refreshes take effect without a new connection. If no usable token is cached, a
// call waits for one until its own deadline at most.
//
// # Claims challenges
//
// A rule such as [verify.AuthContext], or the next API that the server calls for the user, may demand a stronger
// sign-in. The server then sends a challenge in the trailer www-authenticate, like the header of an HTTP response.
// [Challenge] reads it in the client, which passes the claims to TokenSource.WithClaims of package entra and repeats
// the call. A handler whose token source of package obo failed returns [StatusError].
package entragrpc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

// Options configures an interceptor.
type Options struct {
	// Rules admit a caller if all of them do. If empty, every caller with a valid token is admitted, with any scope or
	// role. Use RulesFor for methods that require different permissions, or verify.Check in the handler.
	Rules []verify.Rule
	// RulesFor returns the rules of one method, such as "/orders.Orders/Delete", in addition to Rules. It may be called
	// concurrently. A nil rule in its result fails the call with codes.Internal. If RulesFor is nil, all methods have the
	// same rules.
	RulesFor func(fullMethod string) []verify.Rule
	// Public reports whether a method requires no token, such as "/grpc.health.v1.Health/Check". A token in a call of it
	// is ignored and is not in the context of its handler. If nil, all methods require a token.
	Public func(fullMethod string) bool
}

// UnaryServerInterceptor returns an interceptor that calls the handler of a unary call if v accepts its token and all
// rules admit the caller. [verify.TokenFromContext] and [verify.ClaimsFromContext] return the token in the handler.
// Other calls fail with one of these codes, and with the text of [verify.Error.Message]:
//
//   - Unauthenticated if the token is missing or was rejected, and for a rule that requires a stronger sign-in;
//   - PermissionDenied if a rule denies the caller, or the token has neither scopes nor roles;
//   - Unavailable if the keys of the authority cannot be fetched, or the groups of the user cannot be looked up.
//
// UnaryServerInterceptor panics if v is nil or a rule of opts is nil.
func UnaryServerInterceptor(v *verify.Verifier, opts Options) grpc.UnaryServerInterceptor {
	a := newAuthenticator(v, opts)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, err := a.authenticate(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams. The token is verified when the stream starts. A
// stream may continue after the token has expired; a handler of long streams checks [verify.Token.Expires].
func StreamServerInterceptor(v *verify.Verifier, opts Options) grpc.StreamServerInterceptor {
	a := newAuthenticator(v, opts)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, err := a.authenticate(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		return handler(srv, &serverStream{stream, ctx})
	}
}

// serverStream is a stream whose context has the token.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

type authenticator struct {
	verifier *verify.Verifier
	opts     Options
}

func newAuthenticator(v *verify.Verifier, opts Options) *authenticator {
	if v == nil {
		panic("entragrpc: the Verifier is nil")
	}
	if hasNil(opts.Rules) {
		panic("entragrpc: a Rule is nil")
	}
	opts.Rules = slices.Clone(opts.Rules)
	return &authenticator{v, opts}
}

// authenticate returns ctx with the verified token of the call. The error is a status.
func (a *authenticator) authenticate(ctx context.Context, method string) (context.Context, error) {
	if a.opts.Public != nil && a.opts.Public(method) {
		return ctx, nil
	}
	raw, err := verify.BearerToken(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err != nil {
		return nil, StatusError(ctx, err)
	}
	token, err := a.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, StatusError(ctx, err)
	}
	rules := a.opts.Rules
	if a.opts.RulesFor != nil {
		rules = append(slices.Clip(rules), a.opts.RulesFor(method)...)
		if hasNil(rules) {
			return nil, status.Error(codes.Internal, "entragrpc: a Rule of the method is nil")
		}
	}
	if len(rules) > 0 {
		if err := verify.Check(token, rules...); err != nil {
			return nil, StatusError(ctx, err)
		}
	}
	return verify.NewContext(ctx, token), nil
}

func hasNil(rules []verify.Rule) bool {
	return slices.ContainsFunc(rules, func(rule verify.Rule) bool { return rule == nil })
}

// challengeKey is the key of the trailer. gRPC's keys are in lower case.
const challengeKey = "www-authenticate"

// StatusError returns the status with which a handler responds to a failed call of [verify.Check], or of a token source
// of package obo. It sends the claims challenge of an error that requires the user in the trailer; see [Challenge]. The
// code of an error of package verify is that of [UnaryServerInterceptor]. That of package obo is the one with which
// [obo.WriteError] responds over HTTP: PermissionDenied if consent is missing, Unauthenticated if the user must sign in
// again, Unavailable if the call may succeed later, and Internal for all others. The text has no details of err. If err
// is nil, StatusError returns nil.
func StatusError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	w := &response{header: http.Header{}}
	if e, ok := errors.AsType[*verify.Error](err); ok {
		w.status = e.HTTPStatus()
		w.body.WriteString(e.Message())
		if e.Reason == verify.ReasonMissingAuthContext && len(e.Required) > 0 {
			entra.SetClaimsChallenge(w.header, claimsRequest(e.Required[0]))
		}
	} else {
		obo.WriteError(w, err)
	}
	if challenge := w.header.Get(challengeKey); challenge != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(challengeKey, challenge)) // fails only outside of a call
	}
	return status.Error(w.code(), strings.TrimSpace(w.body.String()))
}

// response is a response over HTTP that is not sent.
type response struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) WriteHeader(status int)      { r.status = status }
func (r *response) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *response) code() codes.Code {
	switch r.status {
	case http.StatusBadRequest, http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	}
	return codes.Internal
}

// claimsRequest returns the claims that a token with the authentication context id has.
func claimsRequest(id string) string {
	type object map[string]any
	text, _ := json.Marshal(object{"access_token": object{"acrs": object{"essential": true, "value": id}}}) // cannot fail
	return string(text)
}

// Challenge returns the claims challenge in the trailer of a failed call, and reports whether there is one. Receive the
// trailer with [grpc.Trailer], and pass the claims to TokenSource.WithClaims of package entra.
func Challenge(trailer metadata.MD) (claims string, ok bool) {
	return entra.ClaimsChallenge(http.Header{"Www-Authenticate": trailer.Get(challengeKey)})
}
