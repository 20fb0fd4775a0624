package authcode

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/entratoken/entra"
)

const redacted = "[redacted]"

var (
	aadsts      = regexp.MustCompile(`^AADSTS(\d{1,9})`)
	traceID     = regexp.MustCompile(`Trace ID: ([0-9A-Fa-f-]{36})`)
	correlation = regexp.MustCompile(`Correlation ID: ([0-9A-Fa-f-]{36})`)
	// tokenLike matches what is as long as a code or begins as a JWT does.
	tokenLike = regexp.MustCompile(`eyJ[\w\-.=]*|[\w\-.=]{64,}`)
)

// refusal reads the error in an answer (RFC 6749, section 4.1.2.1; OpenID Connect Core,
// section 3.1.2.6), with what Entra adds. There is no HTTP status.
func (p *login) errorResponse(params url.Values) *entra.Error {
	secrets := []string{p.State, p.Nonce, p.Verifier, params.Get("code")}
	clean := func(s string, limit int) string { return clean(s, secrets, limit) }
	description := clean(params.Get("error_description"), 2000)
	e := &entra.Error{
		Code:          clean(params.Get("error"), 100),
		SubError:      clean(cmp.Or(params.Get("suberror"), params.Get("error_subcode")), 100),
		Description:   description,
		CorrelationID: submatch(correlation, description),
		TraceID:       submatch(traceID, description),
	}
	if n, err := strconv.Atoi(submatch(aadsts, description)); err == nil {
		e.AADSTS = []int{n}
	}
	var claims map[string]json.RawMessage
	if c := clean(params.Get("claims"), 10_000); json.Unmarshal([]byte(c), &claims) == nil && claims != nil {
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

// minSecret is as in package entra: nothing shorter is a secret, but it may be any word.
const minSecret = 8

// clean returns s in one line of at most limit bytes, without the secrets and what could
// be one: it came through the browser. Where a secret is in pieces, nothing is left.
func clean(s string, secrets []string, limit int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, " "), func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c)
	}), " ")
	for _, secret := range secrets {
		if len(secret) < minSecret {
			continue
		}
		s = strings.ReplaceAll(s, secret, redacted)
		if strings.Contains(strings.ReplaceAll(s, " ", ""), secret) {
			return redacted
		}
	}
	if s = tokenLike.ReplaceAllString(s, redacted); len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
