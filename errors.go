package entra

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/neterr"
)

// Codes of an [Error] that this package adds to those of OAuth 2.0 and OpenID Connect.
const (
	// CodeRequestFailed says that Entra gave no answer: it could not be found or
	// reached, the connection broke, or time ran out.
	CodeRequestFailed = "request_failed"
	// CodeInvalidResponse says that an answer came that is no token response, such as
	// a proxy's HTML page or half a document.
	CodeInvalidResponse = "invalid_response"
)

// Error is what went wrong in acquiring a token. Find it with [errors.As], which also
// finds it as an [*oauth2.RetrieveError], so that code written for that type works.
//
// No field and no printed form contains a secret, token, assertion or code: what the
// request carried is cut out of what the answer says, and the errors of the libraries
// underneath, which do repeat such things, are never wrapped.
type Error struct {
	// Code is the OAuth error code, such as "invalid_client" (RFC 6749, section 5.2;
	// OpenID Connect Core, section 3.1.2.6) or one of the Code constants. With a
	// StatusCode of 0 it was decided here, without an answer from Entra.
	Code string
	// AADSTS are the numbers of Entra's own error codes, most specific first; see
	// Microsoft's "Microsoft Entra authentication and authorization error codes".
	AADSTS []int
	// SubError refines Code, for instance "consent_required" under "invalid_grant".
	SubError string
	// Description is a text for the developer, in one line. It is not for users and
	// not for programs to read.
	Description string
	// Claims is the claims challenge that the user must satisfy in a new sign-in, as
	// JSON: for [TokenSource.WithClaims], or to pass on to the caller of this API.
	Claims string
	// CorrelationID and TraceID find the request in Entra's own logs.
	CorrelationID, TraceID string
	// StatusCode is the HTTP status, 0 if there was no answer.
	StatusCode int
	// RetryAfter is how long Entra wants to be left alone, at most an hour; 0 if it
	// did not say.
	RetryAfter time.Duration

	// Err is the error underneath, if there is one: a context's, the network's, that of
	// an assertion callback, or of what loads a credential or signs with it. A Fetch that
	// fails by itself puts its error here. Nil otherwise.
	Err error `json:"-"`
}

// Error describes the failure in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("entra: ")
	b.WriteString(e.Code)
	if e.SubError != "" {
		fmt.Fprintf(&b, " (%s)", e.SubError)
	}
	if e.Description != "" {
		b.WriteString(": ")
		b.WriteString(e.Description)
	}
	if e.StatusCode != 0 && (e.Code == CodeInvalidResponse || e.Code == CodeRequestFailed || e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500) {
		fmt.Fprintf(&b, " (HTTP status %d)", e.StatusCode)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// As lets [errors.As] find the error as an [*oauth2.RetrieveError]. Its Response has a
// status and the headers Retry-After and x-ms-request-id, no request and no body.
func (e *Error) As(target any) bool {
	t, ok := target.(**oauth2.RetrieveError)
	if !ok {
		return false
	}
	resp := &http.Response{
		StatusCode: e.StatusCode,
		Status:     strings.TrimSpace(fmt.Sprintf("%d %s", e.StatusCode, http.StatusText(e.StatusCode))),
		Header:     http.Header{},
		Body:       http.NoBody,
	}
	if e.RetryAfter > 0 {
		resp.Header.Set("Retry-After", fmt.Sprint(int(e.RetryAfter.Seconds())))
	}
	if e.TraceID != "" {
		resp.Header.Set("X-Ms-Request-Id", e.TraceID)
	}
	*t = &oauth2.RetrieveError{Response: resp, ErrorCode: e.Code, ErrorDescription: e.Description}
	return true
}

// InteractionRequired reports whether only the user can help: by signing in again, by
// consenting, or by satisfying a policy (see Claims). A web app sends the user to sign
// in; an API that acts for its caller answers 401 and passes Claims on.
//
// Entra says so with interaction_required, login_required and consent_required, and
// with invalid_grant when what the app holds for the user (a refresh token, an
// assertion, a code) is no longer good; not when an assertion never was (AADSTS50013,
// AADSTS500131).
func (e *Error) InteractionRequired() bool {
	switch e.Code {
	case "interaction_required", "login_required", "consent_required":
		return true
	case "invalid_grant":
		return !e.Has(aadstsInvalidAssertion) && !e.Has(aadstsAssertionAudience)
	}
	return false
}

// Temporary reports whether the same request may succeed later without anybody doing
// anything: Entra is throttling or unwell, or could not be reached.
func (e *Error) Temporary() bool {
	switch e.Code {
	case CodeRequestFailed:
		return !neterr.Certificate(e.Err)
	case "temporarily_unavailable", "server_error":
		return true
	}
	return e.StatusCode == http.StatusRequestTimeout || e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500
}

// RetryAfterDelay returns RetryAfter, for the cache.
func (e *Error) RetryAfterDelay() time.Duration { return e.RetryAfter }

// Local reports whether the error was decided without a response from Entra: the
// configuration or the grant is invalid, a credential failed to load, or the request was
// not sent or got no response. Then StatusCode is zero, and Code is this package's choice.
func (e *Error) Local() bool { return e.StatusCode == 0 }

// Has reports whether Entra gave this error code.
func (e *Error) Has(aadsts int) bool { return slices.Contains(e.AADSTS, aadsts) }

// LogValue gives the fields that find the cause of a failure in a log. Entra's own
// description, which may name users, is not among them.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("code", e.Code)}
	if e.SubError != "" {
		attrs = append(attrs, slog.String("suberror", e.SubError))
	}
	if len(e.AADSTS) > 0 {
		attrs = append(attrs, slog.Any("aadsts", e.AADSTS))
	}
	if e.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", e.StatusCode))
	}
	if e.RetryAfter != 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	if e.CorrelationID != "" {
		attrs = append(attrs, slog.String("correlation_id", e.CorrelationID))
	}
	if e.TraceID != "" {
		attrs = append(attrs, slog.String("trace_id", e.TraceID))
	}
	if len(e.AADSTS) == 0 {
		attrs = append(attrs, slog.String("description", e.Description))
	}
	return slog.GroupValue(attrs...)
}

// errorf returns an error that is decided locally, without a request to Entra.
func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Description: fmt.Sprintf(format, args...)}
}
