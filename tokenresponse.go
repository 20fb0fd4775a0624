package entra

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entratoken/entra/internal/aadsts"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/redact"
)

// tokenResponse is a response of the token endpoint (RFC 6749, sections 5.1 and 5.2), with
// Entra's additional members.
type tokenResponse struct {
	AccessToken  string  `json:"access_token"`
	TokenType    string  `json:"token_type"`
	ExpiresIn    seconds `json:"expires_in"`
	RefreshIn    seconds `json:"refresh_in"`
	RefreshToken string  `json:"refresh_token"`
	Scope        string  `json:"scope"`

	// For MSAL, which parses them:
	IDToken    json.RawMessage `json:"id_token"`
	ClientInfo json.RawMessage `json:"client_info"`

	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         codes  `json:"error_codes"`
	SubError      string `json:"suberror"`
	Claims        string `json:"claims"`
	CorrelationID string `json:"correlation_id"`
	TraceID       string `json:"trace_id"`
}

// seconds is a number of seconds, which some servers send as a string. Any other value
// counts as absent.
type seconds time.Duration

func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err == nil && n > -maxSeconds && n < maxSeconds {
		*s = seconds(time.Duration(n) * time.Second)
	}
	return nil
}

// codes are the numbers of an error, at most ten. Elements that are not numbers are
// ignored.
type codes []int

func (c *codes) UnmarshalJSON(b []byte) error {
	var all []json.RawMessage
	if json.Unmarshal(b, &all) != nil {
		return nil //nolint:nilerr // unreadable codes count as absent
	}
	for _, raw := range all[:min(len(all), 10)] {
		if n, err := strconv.Atoi(strings.Trim(string(raw), `"`)); err == nil {
			*c = append(*c, n)
		}
	}
	return nil
}

// unmarshal parses a JSON object. A member of an unexpected type counts as absent.
func unmarshal(body []byte, t *tokenResponse) error {
	err := json.Unmarshal(body, t)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch.Field != "" {
		return nil
	}
	return err
}

// maxSeconds is ten years. A longer lifetime is an error.
const maxSeconds = 10 * 365 * 24 * 60 * 60

// parseTokenResponse returns the token in r, or the error that r contains or that r is
// malformed.
func parseTokenResponse(r *response, redactor redact.Redactor, requestID string) (*tokenResponse, *Error) {
	if r.status != http.StatusOK {
		return nil, parseErrorResponse(r, redactor, requestID)
	}
	var t tokenResponse
	if err := unmarshal(r.body, &t); err != nil {
		return nil, malformed(r, redactor, requestID, "the response is "+notOAuth(r))
	}
	switch {
	case t.Error != "":
		return nil, parseErrorResponse(r, redactor, requestID)
	case t.AccessToken == "":
		return nil, malformed(r, redactor, requestID, "the response lacks an access_token")
	case !validToken(t.AccessToken):
		return nil, malformed(r, redactor, requestID, "the access_token in the response contains an invalid character")
	case t.ExpiresIn <= 0:
		return nil, malformed(r, redactor, requestID, "expires_in in the response is not a number of seconds "+
			"between one second and ten years")
	case !strings.EqualFold(t.TokenType, "Bearer"):
		return nil, malformed(r, redactor, requestID, "token_type in the response is not Bearer")
	}
	return &t, nil
}

// validToken reports whether t is not empty and may be sent in a header (RFC 6750, section 2.1).
func validToken(t string) bool {
	return t != "" && !strings.ContainsFunc(t, func(c rune) bool { return c <= ' ' || c > '~' })
}

// parseErrorResponse returns the error in r.
func parseErrorResponse(r *response, redactor redact.Redactor, requestID string) *Error {
	var t tokenResponse
	if err := unmarshal(r.body, &t); err != nil || t.Error == "" {
		return malformed(r, redactor, requestID, "the response is "+notOAuth(r))
	}
	e := &Error{
		Code:          redactor.Text(t.Error, 100),
		AADSTS:        t.Codes,
		SubError:      redactor.Text(t.SubError, 100),
		Description:   redactor.Text(t.Description, 2000),
		Claims:        redactor.JSON(t.Claims, 10_000),
		CorrelationID: redactor.Text(t.CorrelationID, 100),
		TraceID:       redactor.Text(t.TraceID, 100),
		StatusCode:    r.status,
		RetryAfter:    httpclient.RetryAfter(r.header),
	}
	if len(e.AADSTS) == 0 {
		e.AADSTS = aadsts.Leading(e.Description)
	}
	return e.identify(r, redactor, requestID)
}

// malformed returns the error for an unusable response.
func malformed(r *response, redactor redact.Redactor, requestID, text string) *Error {
	e := &Error{
		Code: CodeInvalidResponse, Description: redactor.Text(text, 300),
		StatusCode: r.status, RetryAfter: httpclient.RetryAfter(r.header),
	}
	return e.identify(r, redactor, requestID)
}

// identify sets the IDs of e that only the headers and the request contain.
func (e *Error) identify(r *response, redactor redact.Redactor, requestID string) *Error {
	if e.CorrelationID == "" {
		e.CorrelationID = requestID
	}
	if e.TraceID == "" {
		e.TraceID = redactor.Text(r.header.Get("X-Ms-Request-Id"), 100)
	}
	return e
}

// notOAuth describes a response that is not an OAuth response, without repeating it.
func notOAuth(r *response) string {
	if r.status == http.StatusTooManyRequests {
		return describe(r) + "; the authority throttles the app's requests"
	}
	return describe(r) + "; check whether a proxy sent it"
}

// describe returns the size, the content type and the status of r.
func describe(r *response) string {
	return httpclient.DescribeBody(r.status, r.header, len(r.body)) + ", which is not an OAuth response"
}
