// Package scopes has what the flows for users share about scopes.
package scopes

// Resource returns a copy of scopes without those that MSAL adds to every request of a
// user's flow. If they were passed to MSAL it would compare them with what was granted,
// where Entra does not repeat them, and refuse the token.
func Resource(scopes []string) []string {
	kept := make([]string, 0, len(scopes))
	for _, s := range scopes {
		if !Added(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// Added reports whether MSAL adds the scope by itself.
func Added(scope string) bool {
	return scope == "openid" || scope == "profile" || scope == "offline_access"
}
