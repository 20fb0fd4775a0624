package authcode

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/redact"
)

var (
	aadsts        = regexp.MustCompile(`^AADSTS(\d{1,9})`)
	traceID       = regexp.MustCompile(`Trace ID: ([0-9A-Fa-f-]{36})`)
	correlationID = regexp.MustCompile(`Correlation ID: ([0-9A-Fa-f-]{36})`)
)

// errorResponse returns the error in an authorization response (RFC 6749, section 4.1.2.1;
// OpenID Connect Core, section 3.1.2.6), including the parameters that Entra adds. It removes
// the secrets of the login, because the parameters came through the browser. StatusCode
// is zero.
func (p *login) errorResponse(params url.Values) *entra.Error {
	secrets := []string{p.State, p.Nonce, p.Verifier, params.Get("code")}
	text := func(s string, limit int) string { return redact.Text(s, limit, secrets...) }
	description := text(params.Get("error_description"), 2000)
	e := &entra.Error{
		Code:          text(params.Get("error"), 100),
		SubError:      text(cmp.Or(params.Get("suberror"), params.Get("error_subcode")), 100),
		Description:   description,
		CorrelationID: submatch(correlationID, description),
		TraceID:       submatch(traceID, description),
	}
	if n, err := strconv.Atoi(submatch(aadsts, description)); err == nil {
		e.AADSTS = []int{n}
	}
	var claims map[string]json.RawMessage
	c := redact.JSON(params.Get("claims"), 10_000, secrets...)
	if json.Unmarshal([]byte(c), &claims) == nil && claims != nil {
		e.Claims = c
	}
	return e
}

func submatch(r *regexp.Regexp, s string) string {
	if m := r.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}
