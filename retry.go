package entra

import (
	"context"
	"errors"

	"github.com/entratoken/entra/internal/retry"
)

// passing describes e to package retry.
//
// A failed request may have used up a single-use grant. It is then repeated only if it was certainly not sent, or if
// Entra rejected the client's credential. Entra examines the credential before the grant (RFC 6749, section 4.1.3).
func (e *Error) passing(singleUse bool) retry.Failure {
	f := retry.Failure{RetryAfter: e.RetryAfter, Stale: e.connection == connectionStale}
	switch {
	case e.spreading():
		f.Transient, f.Once = true, true
	case e.transient():
		f.Transient = !singleUse || e.connection == connectionMissing
	}
	return f
}

// transient reports whether a request that failed with e may succeed when it is repeated at once: there was no
// response, the connection broke, the server or a proxy failed, or the response has a short Retry-After.
func (e *Error) transient() bool {
	return retry.TransientStatus(e.StatusCode) || e.RetryAfter > 0 ||
		e.connection != connectionUnknown && e.Temporary() && !errors.Is(e.Err, context.Canceled)
}

// connectionState describes the connection of a request without a complete response.
type connectionState int

const (
	connectionUnknown connectionState = iota // no request failed
	connectionFailed
	connectionMissing // the connection was never made, so the request was certainly not sent
	connectionStale   // it had worked before, so its failure says nothing about the authority
)
