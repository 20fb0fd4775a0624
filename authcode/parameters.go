package authcode

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entratoken/entra/verify"
)

// ownParameters are the parameters that no caller can set. Begin sets most of them itself. The others would replace
// those, such as request (RFC 9101), or change the API that the token is for (RFC 8707). Request has fields for claims
// and prompt.
var ownParameters = []string{
	"claims", "client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "prompt", "redirect_uri",
	"registration", "request", "request_uri", "resource", "response_mode", "response_type", "scope", "state",
}

// checkParameters checks the field Parameters of Config or Request.
func checkParameters(field string, params map[string]string) error {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(params)) { // in order, so that the error is always the same
		lower := strings.ToLower(name)
		switch {
		case name == "" || !isPrintable(name):
			return invalid(fmt.Sprintf("%s has the name %q; names must be in printable ASCII without spaces", field, name))
		case slices.Contains(ownParameters, lower):
			return invalid(fmt.Sprintf("%s contains %s, which the flow sets itself", field, lower))
		case seen[lower]:
			return invalid(fmt.Sprintf("%s contains %s twice", field, lower))
		case lower == "max_age" && params[name] != "" && !validMaxAge(params[name]):
			return invalid(field + ": max_age must be a number of seconds, up to ten years")
		}
		seen[lower] = true
	}
	return nil
}

// maxMaxAge is ten years. The time before a longer one might not be representable.
const maxMaxAge = 10 * 365 * 24 * 60 * 60

func validMaxAge(s string) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n <= maxMaxAge
}

// setParameter sets a parameter of an authorization request and removes other spellings of its name. An
// empty value removes the parameter.
func setParameter(q url.Values, name, value string) {
	maps.DeleteFunc(q, func(n string, _ []string) bool { return strings.EqualFold(n, name) })
	if value != "" {
		q.Set(name, value)
	}
}

// authAfter returns the earliest time at which the user may have authenticated, or zero if q has no max_age.
func authAfter(q url.Values) time.Time {
	for name, values := range q {
		if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && strings.EqualFold(name, "max_age") {
			return time.Now().Add(-time.Duration(n) * time.Second).UTC().Round(0)
		}
	}
	return time.Time{}
}

// checkAuthTime checks that the user authenticated recently enough for max_age (OpenID Connect Core, section 3.1.3.7).
func (p *login) checkAuthTime(claims *verify.Claims) error {
	if p.AuthAfter.IsZero() {
		return nil
	}
	var at int64
	if err := claims.Decode("auth_time", &at); err != nil {
		return fmt.Errorf("%w: the ID token lacks auth_time; add this optional claim to the app registration", ErrMaxAge)
	}
	if time.Unix(at, 0).Before(p.AuthAfter.Add(-clockSkew)) {
		return ErrMaxAge
	}
	return nil
}
