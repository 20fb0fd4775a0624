package entra

import (
	"context"
	"encoding/json"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
)

// A refreshToken is a session's refresh token, in the form in which MSAL redeems one:
// it is the accessor of an MSAL cache that holds nothing else, so that
// AcquireTokenSilent must redeem it. It never leaves this package.
type refreshToken struct {
	document func() []byte // a func, so that printing prints an address
}

// newRefreshToken makes the smallest document in MSAL's cache format from which
// AcquireTokenSilent finds the refresh token of homeAccountID.
func newRefreshToken(c *Client, homeAccountID, token string) *refreshToken {
	type item map[string]string
	document, _ := json.Marshal(map[string]map[string]item{ // strings marshal
		"RefreshToken": {"rt": {
			"home_account_id": homeAccountID,
			"environment":     c.cloud.Host(),
			"credential_type": "RefreshToken",
			"client_id":       c.clientID,
			"secret":          token,
		}},
		"AppMetadata": {"app": {
			"environment": c.cloud.Host(),
			"client_id":   c.clientID,
		}},
	})
	return &refreshToken{func() []byte { return document }}
}

// Replace gives MSAL the document. It implements MSAL's cache.ExportReplace.
func (r *refreshToken) Replace(_ context.Context, u cache.Unmarshaler, _ cache.ReplaceHints) error {
	return u.Unmarshal(r.document())
}

// Export ignores what MSAL would keep: the token response was read already.
func (r *refreshToken) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }
