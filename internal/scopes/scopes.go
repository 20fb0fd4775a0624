// Package scopes recognizes the default scope of an API and the scopes of OpenID Connect.
package scopes

// WithoutOIDC returns a copy of scopes without those for which [IsOIDC] reports true. MSAL adds
// them to every request for a user. If the caller passes them, MSAL compares them with the
// granted scopes and rejects the token, because Entra's response does not list them.
func WithoutOIDC(scopes []string) []string {
	api := make([]string, 0, len(scopes))
	for _, s := range scopes {
		if !IsOIDC(s) {
			api = append(api, s)
		}
	}
	return api
}

// IsOIDC reports whether scope is one of the OpenID Connect scopes that MSAL adds itself.
func IsOIDC(scope string) bool {
	return scope == "openid" || scope == "profile" || scope == "offline_access"
}
