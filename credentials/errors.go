package credentials

import (
	"fmt"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
)

// maxText bounds the texts of other errors and services that are repeated, in bytes.
const maxText = 200

// invalid returns the error for a credential that cannot be used. The text names files and
// variables and never repeats their contents.
func invalid(format string, args ...any) *entra.Error {
	return &entra.Error{Code: "invalid_client", Description: fmt.Sprintf(format, args...)}
}

// redacted returns the part of a foreign text that may be repeated.
func redacted(text string) string { return redact.Text(text, maxText) }

// requestFailed returns the error for a request without a response.
func requestFailed(host string, err error) *entra.Error {
	text, cause := neterr.Describe(host, err)
	return &entra.Error{Code: entra.CodeRequestFailed, Description: text, Err: cause}
}

// A requestError is the error of one of our requests, which may be repeated.
type requestError struct {
	reported error
	failure  retry.Failure
}

func (e *requestError) Error() string { return e.reported.Error() }

// failureOf returns the description of err for package retry, and the error to report. Only a *requestError is retried.
func failureOf(err error) (retry.Failure, error) {
	if e, ok := err.(*requestError); ok {
		return e.failure, e.reported
	}
	return retry.Failure{}, err
}
