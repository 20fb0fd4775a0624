package scopes

import (
	"fmt"
	"strings"
)

// Valid reports whether scope is a scope-token (RFC 6749, section 3.3).
func Valid(scope string) bool {
	for _, c := range scope {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return scope != ""
}

// Check returns an error for scopes that Entra rejects in every request for a user: the URI of an API without a
// permission, and a default scope together with other scopes of an API ("Scopes and permissions in the Microsoft
// identity platform", "The .default scope"). Scopes of OpenID Connect may be in any list.
//
// Most requests of an app create a source and check its scopes, so Check does not allocate for valid lists.
func Check(list []string) error {
	standsForAll := ""
	for _, s := range list {
		if _, rest, ok := strings.Cut(s, "://"); ok && !strings.Contains(strings.TrimRight(rest, "/"), "/") {
			return fmt.Errorf("%q names an API but no permission; use %s, or scopes of the API", s, SuggestDefault(s))
		}
		if isDefaultFold(s) {
			standsForAll = s
		}
	}
	if standsForAll == "" || len(list) == 1 {
		return nil
	}
	for _, s := range list {
		if !isDefaultFold(s) && apiOf(s) != "" {
			return fmt.Errorf("%q stands for all permissions and cannot be combined with %q; use one of the two",
				standsForAll, s)
		}
	}
	return nil
}
