// Package verify validates the tokens that Microsoft Entra ID issues for an
// application, before the application acts on them, and reads their claims.
//
// An API wraps its handlers:
//
//	v, err := verify.New(verify.Config{
//		Audiences: []string{clientID, "api://tasks"}, // its ID and its App ID URI
//		Tenants:   []string{tenantID},
//	})
//	...
//	http.Handle("/tasks", v.Middleware(verify.RequireScope("Tasks.Read")(tasks)))
//
// and a handler finds out who is calling:
//
//	claims, ok := verify.ClaimsFromContext(r.Context()) // not ok: there is no Middleware
//	...
//	user, ok := claims.User() // the key for this user's data
//
// Everything is denied unless a rule lets it in: only tokens signed with
// RS256 or PS256 by a key that the configured authority publishes, for that
// issuer, from a tenant on the list, for one of the audiences named, within
// their time. Each refusal is an *Error with its own Reason; its text holds
// nothing of the token. The rules are written down, with their sources, at the
// functions that apply them: see parse.go and rules.go.
//
// # Who is calling
//
// A token speaks either for a user, with scopes (scp), or for an application
// itself, with roles. RequireScope, RequireRole, RequireUserRole and
// RequireScopeOrRole say which of the two they are for. A scope never stands in
// for a role, nor a role for a scope. Names and addresses in a token are for
// display only; data belongs to the key that Claims.User returns.
//
// # What it costs
//
// The first request with a token costs a signature check; the next ones cost a
// hash, because verified tokens are remembered by their SHA-256 until they
// expire or their key is withdrawn. Keys are fetched with the first token,
// refreshed in the background by later ones (the first after two quiet hours waits
// for them, so that withdrawn keys do not serve), and kept while the authority cannot
// be reached. Tokens that name unknown keys cause one fetch in ten seconds,
// however many there are.
//
// # What carries it
//
// golang-jwt, which MSAL brings along anyway, checks the signatures. Its parser
// is not used: it reads JSON as encoding/json does, and takes repeated claims.
// golang-lru bounds the memory of verified tokens.
//
// Tokens of an external tenant (Entra External ID) are accepted where Config.Cloud is
// that tenant's own host. Those of Azure AD B2C follow other rules and are refused.
package verify
