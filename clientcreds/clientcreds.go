// Package clientcreds acquires tokens for a daemon with the OAuth 2.0 client credentials
// flow. A daemon acts as itself, without a user. It calls APIs with the app roles
// (application permissions) that an administrator granted to it. The tokens carry roles and
// no scp.
//
//	client, err := entra.New(entra.Config{
//		TenantID:   "11111111-1111-1111-1111-111111111111",
//		ClientID:   "22222222-2222-2222-2222-222222222222",
//		Credential: entra.Secret(os.Getenv("AZURE_CLIENT_SECRET")),
//	})
//	graph := clientcreds.TokenSource(client, "https://graph.microsoft.com/.default").HTTPClient()
//	graph.Timeout = 30 * time.Second // a client of net/http has none by itself
//	resp, err := graph.Get("https://graph.microsoft.com/v1.0/users")
//
// Create the client and the source once and share them. TokenSource makes no request. The
// first call of Token does. Later calls return the cached token, which is refreshed in the
// background before it expires.
//
// An app that serves many tenants uses one source per tenant, created with
// [entra.Client.WithTenant]. They share the client's cache.
//
// Sources: RFC 6749, section 4.4, and "OAuth 2.0 client credentials flow on the Microsoft
// identity platform".
package clientcreds

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/scopes"
)

// FlowName is the [entra.Grant.Flow] of this package's tokens.
const FlowName = "client_credentials"

// TokenSource returns a source of app-only tokens for one API. scope is the API's default
// scope: "<App ID URI>/.default" or "<client ID>/.default". In this flow Entra grants all app
// roles that an administrator has consented to, never single permissions.
//
// With any other scope, the source's methods return an error with the code "invalid_scope",
// without a request. Call [Check] to detect this when the program starts.
func TokenSource(c *entra.Client, scope string) *entra.TokenSource {
	return c.TokenSource(entra.Grant{
		Flow:  FlowName,
		Scope: scope,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			if err := checkScope(scope); err != nil {
				return nil, err
			}
			return r.ClientCredentials(ctx)
		},
	})
}

// Check reports mistakes that make every call of [TokenSource] fail: a scope that is not the
// default scope of one API, a client whose tenant is "common", "organizations" or
// "consumers", or one that [entra.New] has not created. It makes no network requests. The
// error is an [*entra.Error].
func Check(c *entra.Client, scope string) error {
	if c == nil || c.ClientID() == "" {
		return &entra.Error{Code: "invalid_request",
			Description: "the Client is nil or its zero value; it must be created with entra.New"}
	}
	if err := checkScope(scope); err != nil {
		return err
	}
	switch c.TenantID() {
	case "common", "organizations", "consumers":
		return &entra.Error{Code: "invalid_request",
			Description: fmt.Sprintf("the tenant is %q, which is only for sign-in; "+
				"a daemon needs the ID or domain of one tenant", c.TenantID())}
	}
	return nil
}

func checkScope(scope string) error {
	if strings.ContainsFunc(scope, unicode.IsSpace) {
		return &entra.Error{Code: "invalid_scope", Description: fmt.Sprintf("%q contains white space; "+
			"pass the default scope of one API alone, and use a source for each API", scope)}
	}
	if scope != "" && !scopes.Valid(scope) {
		return &entra.Error{Code: "invalid_scope", Description: fmt.Sprintf("%q contains a character that no scope has, "+
			"such as a quotation mark, a backslash, or one outside of ASCII", scope)}
	}
	if scopes.IsDefault(scope) {
		return nil
	}
	return &entra.Error{
		Code: "invalid_scope",
		Description: fmt.Sprintf("%q is not the default scope of an API, "+
			"and a daemon has the permissions that it was granted in advance; use %s",
			scope, scopes.SuggestDefault(scope)),
	}
}
