package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/aadsts"
	"github.com/entratoken/entra/internal/neterr"
)

// Codes of an [Error] in addition to those of OAuth 2.0 and OpenID Connect.
const (
	// CodeRequestFailed means that no complete response arrived: the authority was not
	// found or not reachable, the connection broke, or the request timed out.
	CodeRequestFailed = "request_failed"
	// CodeInvalidResponse means that the response was not a token response, such as the
	// HTML page of a proxy or a truncated document.
	CodeInvalidResponse = "invalid_response"
)

// An Error is a failure to acquire a token. Find it with [errors.As], which also finds it
// as an [*oauth2.RetrieveError] for code that expects that type. An Error is cached and
// returned to many callers, so do not modify it.
//
// No field and no printed form contains a secret, token, assertion or code. Values of the
// request are removed from texts of the response. The errors of MSAL and net/http,
// which repeat such values, are never wrapped.
type Error struct {
	// Code is the OAuth error code, such as "invalid_client" (RFC 6749, section 5.2;
	// OpenID Connect Core 1.0, section 3.1.2.6), or one of the Code constants. Local
	// reports whether this package chose it.
	Code string
	// AADSTS are the numbers of Entra's own error codes, the most specific first; see
	// Microsoft's "Microsoft Entra authentication and authorization error codes".
	AADSTS []int
	// SubError refines Code, such as "consent_required" with "invalid_grant".
	SubError string
	// Description is a text of one line for developers. Do not show it to users, and do
	// not parse it.
	Description string
	// Claims is the claims challenge that a new sign-in must satisfy, as JSON. Pass it to
	// TokenSource.WithClaims or to the caller of this API.
	Claims string
	// CorrelationID and TraceID identify the request in Entra's logs.
	CorrelationID, TraceID string
	// StatusCode is the HTTP status. It is zero if no response arrived.
	StatusCode int
	// RetryAfter is the server's Retry-After, capped at one hour. It is zero if the
	// response did not have one.
	RetryAfter time.Duration

	// Err is the underlying error: of a context, the network, an assertion callback, or of
	// loading a credential or signing with it. It may be nil.
	Err error `json:"-"`

	connection connectionState
	temporary  bool // a replica of Entra may not know the federated credential yet
}

// Error returns the code, the description and other details in one line.
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
	if e.StatusCode != 0 && (e.Code == CodeInvalidResponse || e.Code == CodeRequestFailed ||
		e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500) {
		fmt.Fprintf(&b, " (HTTP status %d)", e.StatusCode)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// As lets [errors.As] convert e to an [*oauth2.RetrieveError]. Its Response has
// a status and the headers Retry-After and X-Ms-Request-Id, but neither request nor body.
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

// InteractionRequired reports whether the user must interact: sign in again, consent, or
// satisfy a policy (see Claims). A web app redirects the user to sign in. An API that acts
// for its caller passes Claims on; obo.WriteError does so.
//
// Entra reports it with interaction_required, login_required and consent_required, and with
// invalid_grant if the user's refresh token, assertion or code is no longer valid. It is
// false for an assertion that never was valid (AADSTS50013, AADSTS500131).
func (e *Error) InteractionRequired() bool {
	switch e.Code {
	case "interaction_required", "login_required", "consent_required":
		return true
	case "invalid_grant":
		return !e.Has(aadstsInvalidAssertion) && !e.Has(aadstsAssertionAudience)
	}
	return false
}

// ConsentRequired reports whether neither the user nor an administrator has consented to
// the permissions that the app requests, or the user has declined. A new sign-in alone does
// not help: a web app prompts the user for the scopes, and for AADSTS90094 only an
// administrator can consent. InteractionRequired may be true, too.
func (e *Error) ConsentRequired() bool {
	const required = "consent_required"
	return e.Code == required || e.SubError == required ||
		e.Has(65001) || e.Has(65004) || e.Has(90094) || e.Has(90095)
}

// Temporary reports whether the same request may succeed later without any change, because
// Entra throttles, has an internal error or is not reachable. It is also true for the first
// eight consecutive responses with the error that no federated credential matches
// (AADSTS70021, AADSTS700211, AADSTS700213), which Entra returns now and then while a new
// one spreads.
func (e *Error) Temporary() bool { return e.temporary || e.unavailable() }

// unavailable reports whether e is the fault of Entra or of the network.
func (e *Error) unavailable() bool {
	switch e.Code {
	case CodeRequestFailed:
		return !neterr.Certificate(e.Err)
	case "temporarily_unavailable", "server_error":
		return true
	}
	return e.StatusCode == http.StatusRequestTimeout || e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500
}

// RetryAfterDelay returns RetryAfter. Package cache calls it.
func (e *Error) RetryAfterDelay() time.Duration { return e.RetryAfter }

// Local reports whether the error was decided without a response from Entra: the
// configuration or the grant is invalid, a credential failed to load, or the request was
// not sent or got no response. Then StatusCode is zero, and Code is this package's choice.
func (e *Error) Local() bool { return e.StatusCode == 0 }

// Has reports whether the response contains this AADSTS number.
func (e *Error) Has(aadsts int) bool { return slices.Contains(e.AADSTS, aadsts) }

// LogValue returns the fields that identify the cause of the failure in a log. It leaves
// out Entra's description, which may contain names of users and which Error returns. Instead, description is this
// package's short explanation of the first AADSTS number that it knows.
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
	if text := e.logText(); text != "" {
		attrs = append(attrs, slog.String("description", text))
	}
	return slog.GroupValue(attrs...)
}

// logText returns a description without the names of users.
func (e *Error) logText() string {
	if len(e.AADSTS) == 0 {
		return e.Description
	}
	for _, n := range e.AADSTS {
		if code, known := aadsts.Lookup(n); known {
			return code.Meaning
		}
	}
	return ""
}

// errorf returns an error that is decided locally, without a request to Entra.
func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Description: fmt.Sprintf(format, args...)}
}

// encodeError returns an error of Entra for other processes that share a store. It returns nil for an
// error that other processes may not get: they may reach Entra, or may have a valid credential.
func encodeError(err error) []byte {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.StatusCode == 0 || e.rejectsCredential() || e.Code == CodeInvalidResponse && e.RetryAfter == 0 {
		return nil
	}
	b, _ := json.Marshal(e) //nolint:errchkjson // strings and numbers always marshal
	return b
}

// decodeError returns what encodeError has encoded, or nil.
func decodeError(b []byte) error {
	e := new(Error)
	if json.Unmarshal(b, e) != nil || e.Code == "" {
		return nil //nolint:nilerr // a record of another version counts as missing
	}
	return e
}
