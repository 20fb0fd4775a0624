// Package verify validates the access tokens that Microsoft Entra ID issues for an
// API, and the ID tokens that it issues for a sign-in.
//
// Create one [Verifier] when the program starts, and wrap the handlers of the API:
//
//	v, err := verify.New(verify.Config{
//		Audiences: []string{clientID, "api://tasks"}, // client ID and App ID URI of this API
//		Tenants:   []string{tenantID},
//	})
//	if err != nil {
//		return err
//	}
//	mux.Handle("/tasks", v.Middleware(verify.RequireScope("Tasks.Read")(tasks)))
//
// A handler reads the claims of its caller from the context of the request:
//
//	claims, ok := verify.ClaimsFromContext(r.Context())
//	if !ok {
//		// The handler is not behind Middleware. Deny the request.
//	}
//	user, ok := claims.User() // the key for the data of this user
//
// # Validation
//
// Everything is denied by default. [Verifier.Verify] and [Verifier.Middleware] accept
// a token only if
//
//   - its signature is RS256 or PS256, by a key that the configured cloud publishes
//     for the issuer of the token;
//   - its issuer is that of the configured cloud, for the tenant in the tid claim;
//   - its tenant is in Config.Tenants, and its audience is in Config.Audiences;
//   - the current time is between its times of issue and of expiry, within
//     Config.Leeway;
//   - it is an access token, not an ID token, and is not bound to a key of the client;
//   - it has scopes, or roles if it is app-only. Config.AllowAppsWithoutRoles makes an
//     exception.
//
// The error for a rejected token is an [*Error]. Its [Reason] says which rule rejected
// the token. The text of an error does not repeat any part of the token.
//
// # Authorization
//
// A token is either for a user or for an app that acts for itself. The token of a
// user has scopes (scp): the permissions of the client to act for the user. The token
// of an app has roles. A scope never replaces a role, and a role never replaces a scope:
//
//   - [RequireScope] admits users.
//   - [RequireRole] admits apps.
//   - [RequireScopeOrRole] admits both.
//   - [RequireUserRole] admits users with an app role, and is combined with RequireScope.
//   - [RequireGroup] admits users in a group, and is combined with RequireScope. With
//     Config.GraphTokens, it also admits users who are in too many groups for a token.
//   - [RequireTenant], [RequireClient] and [RequireAuthContext] admit both, by tenant,
//     client and authentication context.
//
// The Require functions return middleware of the usual form, func(http.Handler)
// http.Handler, so they work with routers such as chi:
//
//	r.With(v.Middleware, verify.RequireScope("Tasks.Read")).Get("/tasks", tasks)
//
// Each of them applies a [Rule], such as [Scope]. [Require] combines rules, also with those
// of the program. Middleware alone is not authorization: it accepts users with any scope
// and apps with any role.
//
// Names and email addresses in a token are for display only. The key for the data of a
// user is the result of [Claims.User].
//
// # Outside net/http
//
// A gRPC interceptor, or the middleware of a framework with handlers of its own, reads the
// token with [BearerToken], calls [Verifier.Verify] and stores the token with [NewContext].
// [ClaimsFromContext] and [TokenFromContext] then work as behind Middleware. A [Rule]
// decides whether the caller is admitted:
//
//	raw, err := verify.BearerToken(metadata.ValueFromIncomingContext(ctx, "authorization"))
//	if err == nil {
//		token, err = v.Verify(ctx, raw)
//	}
//	if err == nil {
//		err = verify.Check(token, canRead) // canRead is verify.Scope("Tasks.Read")
//	}
//
// [Error.HTTPStatus] distinguishes callers without a valid token from those that may not
// use the API. For other error responses over HTTP, set Config.ErrorHandler.
//
// Package github.com/entratoken/entra/adapters/grpc has interceptors that do this.
//
// # Several issuers and registrations
//
// [Any] combines Verifiers, for example for employees and for the customers in an external
// tenant. Each token is verified by the Verifier for its issuer and audience.
//
// # Calling the next API
//
// [TokenFromContext] returns the token of the caller. Package obo exchanges it for a
// token for another API.
//
// # Keys and caching
//
// The first token causes the first key fetch. Later tokens refresh the keys in the
// background, about once an hour. After two hours without a fetch, the next token waits
// for one, so that a withdrawn key is not used. If a fetch fails, the current keys
// remain in use for up to seven days. Tokens with unknown keys cause at most one fetch
// in ten seconds. With Config.KeysFor and several tenants, that is the limit of each
// tenant. If any tenant is allowed, new tenants share another one.
//
// Verified tokens are cached by their SHA-256 hash until they expire or their key is
// withdrawn. The first request with a token costs a signature check, and other requests
// cost a hash.
//
// # Testing
//
// Package entratest has a fake Entra that issues tokens. Set Config.HTTPClient to its
// Client, as the examples of this package do.
//
// # Limits
//
// A [Verifier] accepts the tokens of one cloud; see [Any]. Tokens of an external tenant (Entra
// External ID) are accepted if Config.Cloud is the host of that tenant. Tokens of Azure
// AD B2C, encrypted tokens and tokens of Microsoft's own APIs are not supported.
//
// Package golang-jwt checks the signatures. Its parser is not used, because it accepts
// repeated claims.
package verify
