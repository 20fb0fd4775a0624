package obo

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/safecall"
)

// WriteError responds to the caller of an API that failed to acquire a token for the next API. It reports whether it
// wrote a response, and writes none if err is nil or a nil pointer. An API cannot prompt the user, but its caller can.
// The status says how:
//
//   - 403 if consent is missing ([entra.Error.ConsentRequired]). The error in the
//     WWW-Authenticate header is consent_required. A new token for this API does not help:
//     the user or an administrator must consent to the next API.
//   - 401 if the user must sign in again ([entra.Error.InteractionRequired]). The
//     WWW-Authenticate header has the claims challenge of Entra, which the caller sends with
//     the sign-in, or invalid_token without one; see [entra.SetClaimsChallenge].
//   - 503 with Retry-After if the same call may succeed later ([entra.Error.Temporary]).
//   - 502 for other errors, such as an expired secret of this API.
//
// The body is a line of text without details of err. WriteError does not log err. If the next
// API itself responds with a claims challenge, pass it on like one of Entra:
//
//	if claims, ok := entra.ClaimsChallenge(resp.Header); ok {
//		err = &entra.Error{Code: "interaction_required", Claims: claims}
//	}
//
// Sources: "Error response example" in Microsoft's page on the on-behalf-of flow, its page on
// claims challenges, and RFC 6750, section 3.
func WriteError(w http.ResponseWriter, err error) bool {
	if err == nil || safecall.NilPointer(err) != nil {
		return false
	}
	status, text := http.StatusBadGateway, "the next API is unavailable"
	h := w.Header()
	e, ok := errors.AsType[*entra.Error](err)
	switch {
	case !ok || e == nil:
	case e.ConsentRequired():
		status, text = http.StatusForbidden, "the user or an administrator has not consented to the next API"
		h.Set("WWW-Authenticate", `Bearer error="consent_required", error_description="`+text+`"`)
	case e.InteractionRequired():
		status, text = http.StatusUnauthorized, "the user must sign in again"
		entra.SetClaimsChallenge(h, e.Claims)
	case e.Temporary():
		status, text = http.StatusServiceUnavailable, "the next API is temporarily unavailable"
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.Itoa(max(1, int(seconds))))
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // an error means that the caller has gone
	return true
}
