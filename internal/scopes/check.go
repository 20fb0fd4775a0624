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
func Check(list []string) error {
	isDefault, other := "", ""
	for _, s := range list {
		if _, rest, ok := strings.Cut(s, "://"); ok && !strings.Contains(strings.TrimRight(rest, "/"), "/") {
			return fmt.Errorf("%q names an API but no permission; use %s, or scopes of the API", s, SuggestDefault(s))
		}
		switch {
		case len(list) == 1: // as for most requests, which create a source each
		case IsDefault(strings.ToLower(s)):
			isDefault = s
		case apiOf(s) != "":
			other = s
		}
	}
	if isDefault != "" && other != "" {
		return fmt.Errorf("%q stands for all permissions and cannot be combined with %q; use one of the two",
			isDefault, other)
	}
	return nil
}
