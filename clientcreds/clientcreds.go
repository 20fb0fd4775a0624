// Package clientcreds gets tokens for a daemon: an app that acts as itself, without a
// user, and calls an API with the app roles (application permissions) that an
// administrator granted to it. The tokens have roles and no scp.
//
//	client, err := entra.New(entra.Config{
//		TenantID:   "11111111-1111-1111-1111-111111111111",
//		ClientID:   "22222222-2222-2222-2222-222222222222",
//		Credential: entra.Secret(os.Getenv("ENTRA_CLIENT_SECRET")),
//	})
//	source := clientcreds.TokenSource(client, "https://graph.microsoft.com/.default")
//	resp, err := source.HTTPClient().Get("https://graph.microsoft.com/v1.0/users")
//
// For an app that serves many tenants there is one source for each of them, made with
// [entra.Client.WithTenant]; they share the client's cache.
//
// Source: RFC 6749, section 4.4; "OAuth 2.0 client credentials flow on the Microsoft
// identity platform".
package clientcreds

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
)

// FlowName is the grant type in the cache keys of the package's tokens.
const FlowName = "client_credentials"

// TokenSource returns a source of the app's own tokens for one resource. scopes is the
// default scope of that resource, "<App ID URI or client ID>/.default": with this flow
// Entra grants what was consented to beforehand, never single permissions. If it is
// something else, the source's tokens fail with the code "invalid_scope".
func TokenSource(c *entra.Client, scopes ...string) *entra.TokenSource {
	if len(scopes) != 1 || !strings.HasSuffix(scopes[0], "/.default") || scopes[0] == "/.default" {
		return refusing(c, scopes)
	}
	scope := scopes[0]
	return c.TokenSource(entra.Grant{
		Flow:  FlowName,
		Scope: scope,
		Fetch: func(ctx context.Context, app confidential.Client, prev *cache.Token) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{scope}, confidential.WithClaims(prev.Challenge()))
		},
	})
}

// refusing returns a source whose tokens fail.
func refusing(c *entra.Client, scopes []string) *entra.TokenSource {
	own := slices.Clone(scopes) // the caller's stay on the caller's stack
	return c.TokenSource(entra.Grant{
		Flow:   FlowName,
		Scopes: own,
		Fetch: func(context.Context, confidential.Client, *cache.Token) (confidential.AuthResult, error) {
			return confidential.AuthResult{}, &entra.Error{
				Code: "invalid_scope",
				Description: fmt.Sprintf("the client credentials flow takes one scope, the default scope of one resource, such as "+
					"\"https://graph.microsoft.com/.default\" or \"api://<client ID>/.default\", not %q", own),
			}
		},
	})
}
