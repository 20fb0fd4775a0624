// Package scopes has what the flows for users share about scopes.
package scopes

import "slices"

// Resource returns a copy of scopes without those that MSAL adds to every request of a
// user's flow. If they were passed to MSAL it would compare them with what was granted,
// where Entra does not repeat them, and refuse the token.
func Resource(scopes []string) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool {
		return s == "openid" || s == "profile" || s == "offline_access"
	})
}
