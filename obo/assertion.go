package obo

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// maxAssertion bounds what is read of an assertion. No server accepts a header near it.
const maxAssertion = 256 << 10

// checkAssertion refuses an assertion that Entra cannot accept, and returns when it
// ends; zero if it does not say. tenant is the tenant that is to be asked. The signature
// is not looked at.
//
// An app-only token is known by idtyp, or else by having no scp and the same oid and
// sub ("Access token claims reference" and "Access tokens", Microsoft identity
// platform). An encrypted token (JWE) cannot be looked into and is Entra's to judge.
func checkAssertion(assertion, tenant string) (end time.Time, err error) {
	if assertion == "" {
		return time.Time{}, refuse("invalid_request", "there is no assertion; it is the access token that the API was called with")
	}
	var claims map[string]json.RawMessage
	if len(assertion) <= maxAssertion {
		switch parts := strings.SplitN(assertion, ".", 6); {
		case len(parts) == 5 && object(parts[0]) != nil:
			return time.Time{}, nil
		case len(parts) == 3 && object(parts[0]) != nil:
			claims = object(parts[1])
		}
	}
	if claims == nil {
		return time.Time{}, refuse("invalid_request", "the assertion is not a token (JWT); it is the access token that the API was called with, without \"Bearer \"")
	}
	// A claim is known by its exact name; one of an unexpected type says nothing.
	text := func(name string) (s string) {
		json.Unmarshal(claims[name], &s)
		return s
	}
	kind, oid, tid := text("idtyp"), text("oid"), text("tid")
	if kind == "app" || kind == "" && text("scp") == "" && oid != "" && oid == text("sub") {
		return time.Time{}, refuse("invalid_request", "the assertion is an app's own token; only a user's can be exchanged, for an app use the client credentials flow")
	}
	if len(tid) == len(tenant) && strings.Count(tenant, "-") == 4 && !strings.EqualFold(tid, tenant) {
		return time.Time{}, refuse("invalid_request", "the assertion is of another tenant than the client; use Client.WithTenant with the tid of the validated token")
	}
	var seconds float64
	if json.Unmarshal(claims["exp"], &seconds) != nil || seconds <= 0 || seconds > 1<<40 {
		return time.Time{}, nil
	}
	end = time.Unix(int64(seconds), 0)
	if !time.Now().Before(end) {
		return time.Time{}, refuse("invalid_grant", "the assertion ended at "+end.UTC().Format(time.RFC3339)+"; the caller must send a new token")
	}
	return end, nil
}

// object returns the JSON object in a part of a JWT, or nil.
func object(part string) (members map[string]json.RawMessage) {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || json.Unmarshal(b, &members) != nil {
		return nil
	}
	return members
}

func refuse(code, description string) error {
	return &entra.Error{Code: code, Description: description}
}
