package entratest

import "time"

// MintOptions describe a token for [Server.Mint]. The zero value of each field
// is explained there; Tenant, Client and Resource are names as in the Config.
type MintOptions struct {
	// Tenant is the issuing tenant, an ID or a domain. Zero: the resource's.
	Tenant string
	// Resource is the app the token is for, by name, client ID or App ID URI.
	// Required. For an ID token it is the client.
	Resource string
	// Client is the app the token is issued to, by name or client ID.
	// Zero: Resource itself.
	Client string
	// User is the username of the subject. Zero: the token is app-only.
	User string
	// IDToken makes it an ID token rather than an access token.
	IDToken bool
	// Nonce is the nonce claim of an ID token. Zero: none.
	Nonce string
	// Scopes are the scp of a user's access token. Zero: the resource's first.
	Scopes []string
	// Roles are the roles claim. Zero: what the estate grants.
	Roles []string
	// Version is the version of an access token, 1 or 2. Zero: the resource's.
	Version int
	// Lifetime is from now to exp. Zero: as for any token. A negative one
	// makes a token that has expired.
	Lifetime time.Duration
	// Claims override the claims: a nil value removes one.
	Claims map[string]any
	// Header overrides the header: a nil value removes an entry. With alg
	// "none" the signature is empty, with alg "HS256" it is an HMAC keyed with
	// the public key in PEM, as an attacker would make it; other values of
	// alg change the header alone.
	Header map[string]any
	// Foreign signs with a key that the server does not publish, under the
	// kid of the one it does.
	Foreign bool
}
