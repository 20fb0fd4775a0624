package managedidentity

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/aadsts"
	"github.com/entratoken/entra/internal/metadata"
)

const temporarilyUnavailable = "temporarily_unavailable"

// convert returns the error for a request that failed.
func (i *Identity) convert(f *metadata.Failure, scope string) *entra.Error {
	e := &entra.Error{Code: "invalid_client", StatusCode: f.Status, RetryAfter: f.RetryAfter, Err: f.Cause}
	advice := ""
	switch f.Reason {
	case metadata.NoResponse:
		e.Code = entra.CodeRequestFailed
		switch i.Source() {
		case metadata.IMDS:
			advice = "; the program may run outside of Azure, or in a network that blocks the service"
		case "ServiceFabric":
			advice = "; the certificate of the service must have the thumbprint in IDENTITY_SERVER_THUMBPRINT"
		}
	case metadata.Malformed, metadata.OtherIdentity:
		e.Code = entra.CodeInvalidResponse
	case metadata.Rejected:
		e.Code, e.AADSTS = cmp.Or(f.Code, e.Code), aadsts.Leading(f.Text)
		switch {
		case f.Temporary:
			e.Code = temporarilyUnavailable
		case f.Text == "":
			advice = "; check whether a proxy sent the response"
		case len(e.AADSTS) > 0 || f.Code == "invalid_resource" || f.Code == "invalid_scope":
			advice = "; check the scope " + scope
		case i.assigned:
			advice = "; assign this identity to the machine or app that runs the program, or correct the ID"
		default:
			advice = "; enable the system-assigned identity of the machine or app that runs the program, " +
				"or select a user-assigned identity by its ClientID"
		}
	case metadata.NotSent, metadata.KeyFile:
	}
	e.Description = "no token for " + i.name + ": " + f.Error() + advice
	return e
}

// Bounds of the retries while callers wait. Microsoft recommends five attempts, with delays that double from two
// seconds, and at least one second before a retry ("Retry guidance" in the documentation of the virtual machine's
// endpoint). The delays here add up to 15 to 30 seconds, and package cache
// bounds a fetch by 30 seconds.
const (
	maxRetries    = 4
	firstDelay    = time.Second
	maxRetryAfter = 2 * time.Second // after a longer one, all callers get the error
)

// retryIn is the RetryIn of the issuer.
func retryIn(err error, retries int, draw float64) (time.Duration, bool) {
	e, ok := errors.AsType[*entra.Error](err)
	if !ok || !e.Temporary() || retries >= maxRetries || e.RetryAfter > maxRetryAfter {
		return 0, false
	}
	return e.RetryAfter + time.Duration((1+draw)*float64(firstDelay<<retries)), true
}

// rejects is the Rejects of the issuer. On other platforms, the same error may mean that the API is unknown.
func (i *Identity) rejects(err error) bool {
	e, ok := errors.AsType[*entra.Error](err)
	return ok && i.Source() == metadata.IMDS && e.StatusCode == http.StatusBadRequest &&
		e.Code == "invalid_request" && len(e.AADSTS) == 0
}
