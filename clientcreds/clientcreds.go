// Package clientcreds gets tokens for a daemon: an app that acts as itself, without a
// user, and calls an API with the app roles (application permissions) that an
// administrator granted to it. The tokens have roles and no scp.
//
//	client, err := entra.New(entra.Config{
//		TenantID:   "11111111-1111-1111-1111-111111111111",
//		ClientID:   "22222222-2222-2222-2222-222222222222",
//		Credential: entra.Secret(os.Getenv("AZURE_CLIENT_SECRET")),
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

	"github.com/entratoken/entra"
)

// FlowName is the grant type in the cache keys of the package's tokens.
const FlowName = "client_credentials"

// TokenSource returns a source of the app's own tokens for one resource. scopes is the
// default scope of that resource, "<App ID URI or client ID>/.default": with this flow
// Entra grants what was consented to beforehand, never single permissions. If it is
// something else, the source's tokens fail with the code "invalid_scope"; [Check] says
// so when the program starts.
func TokenSource(c *entra.Client, scopes ...string) *entra.TokenSource {
	if !valid(scopes) {
		return refusing(c, scopes)
	}
	scope := scopes[0]
	return c.TokenSource(entra.Grant{
		Flow:  FlowName,
		Scope: scope,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			return r.ClientCredentials(ctx)
		},
	})
}

// refusing returns a source whose tokens fail.
func refusing(c *entra.Client, scopes []string) *entra.TokenSource {
	own := slices.Clone(scopes) // the caller's stay on the caller's stack
	return c.TokenSource(entra.Grant{
		Flow:   FlowName,
		Scopes: own,
		Fetch: func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			return nil, check(own)
		},
	})
}

// Check says, without asking anybody, what about c and the scopes makes every token of
// [TokenSource] fail: scopes that are not one default scope, or a client of no tenant of
// its own ("common", "organizations"). The error is an [*entra.Error].
func Check(c *entra.Client, scopes ...string) error {
	if err := check(scopes); err != nil {
		return err
	}
	switch c.TenantID() {
	case "common", "organizations", "consumers":
		return &entra.Error{Code: "invalid_request", Description: fmt.Sprintf("the tenant is %q, which only a sign-in can use; "+
			"a daemon names the tenant whose token it wants, by its ID or domain", c.TenantID())}
	}
	return nil
}

func valid(scopes []string) bool {
	return len(scopes) == 1 && strings.HasSuffix(scopes[0], "/.default") && scopes[0] != "/.default"
}

func check(scopes []string) error {
	if valid(scopes) {
		return nil
	}
	hint := ""
	if len(scopes) == 1 {
		hint = meant(scopes[0])
	}
	return &entra.Error{
		Code: "invalid_scope",
		Description: fmt.Sprintf("the client credentials flow takes one scope, the default scope of one resource, such as "+
			"\"https://graph.microsoft.com/.default\" or \"api://<client ID>/.default\", not %q%s", scopes, hint),
	}
}

// meant says which scope was probably meant: the resource's, where a permission of it was
// named, or the resource itself.
func meant(scope string) string {
	resource := strings.TrimSuffix(scope, "/")
	if _, rest, ok := strings.Cut(resource, "://"); ok {
		if host, path, ok := strings.Cut(rest, "/"); ok && host != "" && !strings.Contains(path, "/") {
			return fmt.Sprintf("; single permissions are not asked for but granted to the app beforehand: ask for %q", strings.TrimSuffix(resource, path)+".default")
		} else if host != "" && !ok {
			return fmt.Sprintf("; ask for %q", resource+"/.default")
		}
	}
	return ""
}
