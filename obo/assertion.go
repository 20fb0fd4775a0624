package obo

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
)

// maxAssertion bounds the size of an assertion that is parsed. No server accepts a header of
// that size.
const maxAssertion = 256 << 10

// assertionClaims are the claims of an assertion with which its token must agree.
type assertionClaims struct {
	expires            time.Time // zero if unknown
	tenantID, objectID string    // of the user; empty if unknown
}

// isOf reports whether home, the home account ID of a response, can be that of the user. The home account ID of a guest
// has another tenant than the assertion. Its object ID cannot be compared, so isOf returns true.
func (c assertionClaims) isOf(home string) bool {
	objectID, tenantID, _ := strings.Cut(home, ".")
	return c.objectID == "" || !strings.EqualFold(tenantID, c.tenantID) || strings.EqualFold(objectID, c.objectID)
}

// checkAssertion returns an error if Entra cannot accept the assertion, and otherwise its
// claims. tenant is the tenant that receives the request. checkAssertion does not check the
// signature.
//
// An app-only token has the claim idtyp, or it lacks scp and has equal oid and sub ("Access
// token claims reference" and "Access tokens", Microsoft identity platform). Only Entra can
// read an encrypted token (JWE).
func checkAssertion(assertion, tenant string) (assertionClaims, error) {
	if assertion == "" {
		return assertionClaims{}, errorf("invalid_request",
			"the assertion is empty; pass the access token that the API was called with")
	}
	var claims map[string]json.RawMessage
	if len(assertion) <= maxAssertion {
		switch parts := strings.SplitN(assertion, ".", 6); {
		case len(parts) == 5 && decodeObject(parts[0]) != nil:
			return assertionClaims{}, nil
		case len(parts) == 3 && decodeObject(parts[0]) != nil:
			claims = decodeObject(parts[1])
		}
	}
	if claims == nil {
		return assertionClaims{}, errorf("invalid_request",
			"the assertion is not a JWT; pass the access token that the API was called with, without \"Bearer \"")
	}
	// Claim names are case-sensitive. A claim of an unexpected type counts as absent.
	text := func(name string) (s string) {
		_ = json.Unmarshal(claims[name], &s)
		return s
	}
	kind, oid, tid := text("idtyp"), text("oid"), text("tid")
	if kind == "app" || kind == "" && text("scp") == "" && oid != "" && oid == text("sub") {
		return assertionClaims{}, errorf("invalid_request",
			"the assertion is an app-only token, but only a user's token can be exchanged; "+
				"use the client credentials flow for apps")
	}
	if guid.Valid(tenant) && len(tid) == len(tenant) && !strings.EqualFold(tid, tenant) {
		return assertionClaims{}, errorf("invalid_request",
			"the assertion is from another tenant than the client's; "+
				"use Client.WithTenant with the tid of the validated token")
	}
	c := assertionClaims{tenantID: tid, objectID: oid}
	seconds := numericDate(claims["exp"])
	if seconds <= 0 || seconds > 1<<40 {
		return c, nil
	}
	c.expires = time.Unix(int64(seconds), 0)
	if !time.Now().Before(c.expires) {
		return assertionClaims{}, errorf("invalid_grant", "the assertion expired at %s; the caller must send a new token",
			c.expires.UTC().Format(time.RFC3339))
	}
	return c, nil
}

// numericDate returns the seconds of a NumericDate (RFC 7519, section 2), or 0 if the value is
// not a number. The number may be in a string, as some token services write it.
func numericDate(value json.RawMessage) (seconds float64) {
	var quoted string
	if json.Unmarshal(value, &quoted) == nil {
		value = json.RawMessage(quoted)
	}
	if json.Unmarshal(value, &seconds) != nil {
		return 0
	}
	return seconds
}

// decodeObject returns the JSON object in a part of a JWT, or nil if the part is invalid.
func decodeObject(part string) (members map[string]json.RawMessage) {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || json.Unmarshal(b, &members) != nil {
		return nil
	}
	return members
}

func errorf(code, format string, args ...any) error {
	return &entra.Error{Code: code, Description: fmt.Sprintf(format, args...)}
}
