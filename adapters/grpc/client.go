package entragrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/entratoken/entra"
)

// PerRPC returns credentials that add a token of source to each call, for [grpc.WithPerRPCCredentials] or
// [grpc.PerRPCCredentials]. gRPC sends it only over TLS. Without a token, the call is not sent and fails with one of
// these codes:
//
//   - DeadlineExceeded or Canceled if the context of the call ended first;
//   - Unavailable if [entra.Error.Temporary] reports that a later call may succeed;
//   - Unauthenticated for all other errors.
//
// [errors.As] finds the [*entra.Error] in the error of the call. TokenSource.PerRPC does the same without an
// adapter, but then gRPC reports all errors as Unauthenticated or Internal, and only with their text.
func PerRPC(source *entra.TokenSource) credentials.PerRPCCredentials {
	return perRPC{source.PerRPC()}
}

type perRPC struct{ entra.PerRPC }

// GetRequestMetadata is a method of [credentials.PerRPCCredentials].
func (p perRPC) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	md, err := p.PerRPC.GetRequestMetadata(ctx, uri...)
	if err != nil {
		return nil, &tokenError{err, tokenCode(ctx, err)}
	}
	return md, nil
}

func tokenCode(ctx context.Context, err error) codes.Code {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Code()
	}
	if e, ok := errors.AsType[*entra.Error](err); ok && e.Temporary() {
		return codes.Unavailable
	}
	return codes.Unauthenticated
}

// A tokenError is the error of a call without a token. gRPC returns it to the caller because it has a status.
type tokenError struct {
	error
	code codes.Code
}

func (e *tokenError) Unwrap() error              { return e.error }
func (e *tokenError) GRPCStatus() *status.Status { return status.New(e.code, e.Error()) }
