// Package scopes recognizes the default scope of an API and the scopes of OpenID Connect.
package scopes

import (
	"strings"

	"github.com/entratoken/entra/internal/guid"
)

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

// OneAPI reports whether all scopes can belong to one API. A URI and a client ID may name the
// same one. Entra rejects other lists only when the code is redeemed (AADSTS28000).
func OneAPI(list []string) bool {
	if len(list) < 2 { // as for most requests, which create a source each
		return true
	}
	api := ""
	for _, s := range list {
		a := apiOf(s)
		switch {
		case a == "":
		case api == "", api == a:
			api = a
		case guid.ValidLower(api) == guid.ValidLower(a), api == graphAPI, a == graphAPI:
			return false
		}
	}
	return true
}

// graphAPI is the client ID of Microsoft Graph in all tenants and clouds.
const graphAPI = "00000003-0000-0000-c000-000000000000"

// apiOf returns the API that a scope names, in lower case: its URI or its client ID. It returns "" for
// a scope of OpenID Connect, which belongs to every API. A scope without an API is one of
// Microsoft Graph ("Scopes and permissions in the Microsoft identity platform").
func apiOf(scope string) string {
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		for _, s := range [...]string{"openid", "profile", "offline_access", "email", "address", "phone"} {
			if strings.EqualFold(scope, s) {
				return ""
			}
		}
		return graphAPI
	}
	api := strings.TrimRight(strings.ToLower(scope[:i]), "/")
	switch strings.TrimPrefix(api, "https://") {
	case "graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn":
		return graphAPI
	}
	return strings.TrimPrefix(api, "api://")
}
