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

// assertionClaims are the claims that say whether Entra can accept an assertion.
type assertionClaims struct {
	Expiry  json.Number `json:"exp"`
	Type    string      `json:"idtyp"`
	Scopes  string      `json:"scp"`
	Object  string      `json:"oid"`
	Subject string      `json:"sub"`
}

// checkAssertion refuses an assertion that Entra cannot accept, and returns when it
// ends; zero if it does not say. The signature is not looked at.
//
// An app-only token is known by idtyp, or else by having no scp and the same oid and
// sub ("Access token claims reference" and "Access tokens", Microsoft identity
// platform). An encrypted token (JWE) cannot be looked into and is Entra's to judge.
func checkAssertion(assertion string) (end time.Time, err error) {
	parts := strings.SplitN(assertion, ".", 6)
	if len(parts) == 5 && isObject(parts[0]) && len(assertion) <= maxAssertion {
		return time.Time{}, nil
	}
	switch {
	case assertion == "":
		return time.Time{}, refuse("the assertion is empty; it is the access token that the API was called with")
	case len(assertion) > maxAssertion, len(parts) != 3, !isObject(parts[0]), !isObject(parts[1]):
		return time.Time{}, refuse("the assertion is not a token (JWT); it is the access token that the API was called with, without \"Bearer \"")
	}
	var claims assertionClaims
	decode(parts[1], &claims) // a claim of an unexpected type says nothing
	if claims.Type == "app" || claims.Type == "" && claims.Scopes == "" && claims.Object != "" && claims.Object == claims.Subject {
		return time.Time{}, refuse("the assertion is an app's own token; only a user's can be exchanged, for an app use the client credentials flow")
	}
	seconds, err := claims.Expiry.Float64()
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return time.Time{}, nil
	}
	end = time.Unix(int64(seconds), 0)
	if !time.Now().Before(end) {
		return time.Time{}, refuse("the assertion ended at " + end.UTC().Format(time.RFC3339) + "; the caller must send a new token")
	}
	return end, nil
}

func isObject(part string) bool {
	var object map[string]json.RawMessage
	return decode(part, &object) && object != nil
}

func decode(part string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(b, v) == nil
}

func refuse(description string) error {
	return &entra.Error{Code: "invalid_grant", Description: description}
}
