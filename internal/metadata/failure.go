package metadata

import (
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/redact"
)

// maxText bounds the texts of responses that are repeated, in bytes.
const maxText = 200

// A Reason is the kind of a [Failure].
type Reason int

// The reasons of failures.
const (
	NotSent       Reason = iota // the environment does not name a valid, local service
	NoResponse                  // the service was not reachable, or it did not respond in time
	Rejected                    // the service responded with an error status
	Malformed                   // the response is not a token, such as the HTML page of a proxy
	OtherIdentity               // the token is for another identity than the selected one
	KeyFile                     // the key file of Azure Arc was not found, not readable, or not where it belongs
)

// A Failure is the reason why there is no token. No field contains a secret or a token.
type Failure struct {
	Reason     Reason
	Status     int           // 0 without a response
	RetryAfter time.Duration // of the response
	Temporary  bool          // a rejected request may succeed later
	Code       string        // the error code in the response, or ""
	Text       string        // the message in the response, or ""
	Cause      error         // of NoResponse; safe to wrap. It may be nil

	what string
}

// Error describes the failure in one line.
func (f *Failure) Error() string {
	if f.Text != "" {
		return f.what + ": " + f.Text
	}
	return f.what
}

// failure returns the failure of a call of MSAL.
func (c *Client) failure(x *exchange, err error) *Failure {
	var r response
	switch {
	case x.notLocal:
		f := x.fail(NotSent)
		f.what = x.service + " is not on a local network and does not use TLS, so no request was sent; " +
			"check the environment variables that the platform sets"
		return f
	case !x.sent:
		return x.fail(NotSent)
	case x.status == 0:
		f := x.fail(NoResponse)
		f.what, f.Cause = neterr.Describe(x.service, cmp.Or(x.err, err))
		return f
	case x.status == http.StatusUnauthorized && c.source == "AzureArc" && x.header.Get("Www-Authenticate") != "":
		return x.fail(KeyFile) // MSAL sends a second request after a valid challenge
	case x.status != http.StatusOK && x.status != http.StatusAccepted:
		f := x.fail(Rejected)
		f.Temporary = c.temporary(x.status)
		return f
	case c.source == "AzureArc" && json.Unmarshal(x.body, &r) == nil && r.AccessToken != "":
		return x.fail(OtherIdentity) // MSAL rejects a token if the agent ignores the selection
	}
	return x.fail(Malformed)
}

// temporary reports whether a request with this response may succeed later. The instance metadata service returns 404
// and 410 while it is updated.
func (c *Client) temporary(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return c.source == IMDS
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// fail returns a failure with what x has recorded.
func (x *exchange) fail(reason Reason) *Failure {
	f := &Failure{Reason: reason, Status: x.status}
	if x.status != 0 {
		f.RetryAfter = httpclient.RetryAfter(x.header)
	}
	switch reason {
	case NotSent:
		f.what = "MSAL could not send a request to " + x.service + "; check the environment variables that the platform sets"
	case Rejected:
		f.what = x.service + " did not return a token"
		if f.Code, f.Text = x.message(); f.Text == "" {
			f.what += " but " + httpclient.DescribeBody(x.status, x.header, len(x.body))
		}
	case Malformed:
		f.what = x.service + " did not return a token but " + httpclient.DescribeBody(x.status, x.header, len(x.body)) +
			"; check whether a proxy sent it"
	case OtherIdentity:
		f.what = x.service + " returned a token of another identity or did not confirm the identity, so the token is not used"
	case KeyFile:
		f.what = "the agent of Azure Arc names a key file that cannot be read or is not in its directory; run the program " +
			"as a member of the group himds, or on Windows of Hybrid agent extension applications"
	case NoResponse:
	}
	return f
}

// message returns the error code and the message in an error response. The message is "" if it repeats a secret of the
// environment. One that is escaped or split is redacted.
func (x *exchange) message() (code, text string) {
	var r struct {
		Error       json.RawMessage `json:"error"` // a text, or an object on some platforms
		Description string          `json:"error_description"`
		Message     string          // App Service
	}
	if json.Unmarshal(x.body, &r) != nil {
		return "", ""
	}
	_ = json.Unmarshal(r.Error, &code) // stays empty for an object
	var nested struct{ Code, Message string }
	_ = json.Unmarshal(r.Error, &nested)
	code, text = cmp.Or(code, nested.Code), cmp.Or(r.Description, r.Message, nested.Message)
	secrets := []string{os.Getenv("IDENTITY_HEADER"), os.Getenv("MSI_SECRET")}
	for _, secret := range secrets { // redact.Text ignores short ones
		if secret != "" && (strings.Contains(text, secret) || strings.Contains(code, secret)) {
			return "", ""
		}
	}
	return redact.Text(code, 100, secrets...), redact.Text(text, maxText, secrets...)
}
