package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/entratoken/entra/internal/redact"
)

// tokenResponse is the answer of the token endpoint (RFC 6749, sections 5.1 and 5.2),
// with what Entra adds.
type tokenResponse struct {
	AccessToken  string  `json:"access_token"`
	TokenType    string  `json:"token_type"`
	ExpiresIn    seconds `json:"expires_in"`
	RefreshIn    seconds `json:"refresh_in"`
	RefreshToken string  `json:"refresh_token"`
	Scope        string  `json:"scope"`

	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         codes  `json:"error_codes"`
	SubError      string `json:"suberror"`
	Claims        string `json:"claims"`
	CorrelationID string `json:"correlation_id"`
	TraceID       string `json:"trace_id"`
}

// seconds is a number of seconds, which some servers send as a string. What is neither
// counts as absent.
type seconds time.Duration

func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err == nil && n > -maxSeconds && n < maxSeconds {
		*s = seconds(time.Duration(n) * time.Second)
	}
	return nil
}

// codes are the numbers of an error; there are few. What is none is left out.
type codes []int

func (c *codes) UnmarshalJSON(b []byte) error {
	var all []json.RawMessage
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	for _, raw := range all[:min(len(all), 10)] {
		if n, err := strconv.Atoi(strings.Trim(string(raw), `"`)); err == nil {
			*c = append(*c, n)
		}
	}
	return nil
}

// read reads a JSON object. A member of an unexpected type counts as absent.
func read(body []byte, t *tokenResponse) error {
	err := json.Unmarshal(body, t)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch.Field != "" {
		return nil
	}
	return err
}

// maxSeconds is ten years: what is longer is a mistake.
const maxSeconds = 10 * 365 * 24 * 60 * 60

// parseTokenResponse reads an answer to a token request: a token, or the error that it says or
// is.
func parseTokenResponse(r *response, secrets redact.Redactor, requestID string) (*tokenResponse, *Error) {
	if r.status != http.StatusOK {
		return nil, readError(r, secrets, requestID)
	}
	var t tokenResponse
	if err := read(r.body, &t); err != nil {
		return nil, invalid(r, secrets, requestID, "the answer is "+describe(r)+"; is a proxy in between?")
	}
	switch {
	case t.Error != "":
		return nil, readError(r, secrets, requestID)
	case t.AccessToken == "":
		return nil, invalid(r, secrets, requestID, "the answer has no access_token")
	case strings.ContainsFunc(t.AccessToken, func(c rune) bool { return c <= ' ' || c > '~' }): // RFC 6750, section 2.1
		return nil, invalid(r, secrets, requestID, "the answer's access_token has a character in it that no token has")
	case t.ExpiresIn <= 0:
		return nil, invalid(r, secrets, requestID, "the answer's expires_in is not a number of seconds between one second and ten years")
	case !strings.EqualFold(t.TokenType, "Bearer"):
		return nil, invalid(r, secrets, requestID, "the answer's token_type is not Bearer")
	}
	return &t, nil
}

// readError reads an error answer.
func readError(r *response, secrets redact.Redactor, requestID string) *Error {
	var t tokenResponse
	if err := read(r.body, &t); err != nil || t.Error == "" {
		return invalid(r, secrets, requestID, "the answer is "+describe(r)+"; is a proxy in between?")
	}
	e := &Error{
		Code:          secrets.Text(t.Error, 100),
		AADSTS:        t.Codes,
		SubError:      secrets.Text(t.SubError, 100),
		Description:   secrets.Text(t.Description, 2000),
		Claims:        secrets.Text(t.Claims, 10_000),
		CorrelationID: secrets.Text(t.CorrelationID, 100),
		TraceID:       secrets.Text(t.TraceID, 100),
		StatusCode:    r.status,
		RetryAfter:    retryAfter(r.header),
	}
	if !json.Valid([]byte(e.Claims)) {
		e.Claims = ""
	}
	if len(e.AADSTS) == 0 {
		if m := aadsts.FindStringSubmatch(e.Description); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				e.AADSTS = []int{n}
			}
		}
	}
	return e.identify(r, secrets, requestID)
}

var aadsts = regexp.MustCompile(`^AADSTS(\d{1,9})`)

// invalid makes the error of an answer that is none.
func invalid(r *response, secrets redact.Redactor, requestID, what string) *Error {
	e := &Error{Code: CodeInvalidResponse, Description: secrets.Text(what, 300), StatusCode: r.status, RetryAfter: retryAfter(r.header)}
	return e.identify(r, secrets, requestID)
}

// identify fills in what the answer's headers and the request say of its identity.
func (e *Error) identify(r *response, secrets redact.Redactor, requestID string) *Error {
	if e.CorrelationID == "" {
		e.CorrelationID = requestID
	}
	if e.TraceID == "" {
		e.TraceID = secrets.Text(r.header.Get("X-Ms-Request-Id"), 100)
	}
	return e
}

// describe says what an answer is without repeating it.
func describe(r *response) string {
	kind := "of no content type"
	if t, _, err := mime.ParseMediaType(r.header.Get("Content-Type")); err == nil {
		kind = t
	}
	if len(kind) > 50 {
		kind = "of a strange content type"
	}
	return fmt.Sprintf("%d bytes, %s, status %d, which is not an OAuth response", len(r.body), kind, r.status)
}

// maxRetryAfter bounds how long an answer can silence us.
const maxRetryAfter = time.Hour

// retryAfter reads the Retry-After header: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	var d time.Duration
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		d = time.Duration(max(0, min(n, int64(maxRetryAfter/time.Second)))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = time.Until(t)
	}
	return max(0, min(d, maxRetryAfter))
}
