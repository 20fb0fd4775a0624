package scopes

import (
	"fmt"
	"strings"
)

// IsDefault reports whether scope is the default scope of one API: "<App ID URI>/.default" or "<client ID>/.default".
func IsDefault(scope string) bool {
	return strings.HasSuffix(scope, "/.default") && scope != "/.default"
}

// isDefaultFold is [IsDefault] without regard to case.
func isDefaultFold(scope string) bool {
	const suffix = "/.default"
	i := len(scope) - len(suffix)
	return i > 0 && strings.EqualFold(scope[i:], suffix)
}

// SuggestDefault returns the scope that the caller probably meant. scope may be the App ID URI
// of an API or one of its permissions, and the result is the default scope of that API. If
// scope does not name an API, SuggestDefault returns examples.
func SuggestDefault(scope string) string {
	api := strings.TrimSuffix(scope, "/")
	if _, rest, ok := strings.Cut(api, "://"); ok {
		host, permission, found := strings.Cut(rest, "/")
		if host != "" && !strings.Contains(permission, "/") {
			if found {
				api = strings.TrimSuffix(api, "/"+permission)
			}
			return fmt.Sprintf("%q", api+"/.default")
		}
	}
	return `a scope such as "https://graph.microsoft.com/.default" or "api://<client ID>/.default"`
}
