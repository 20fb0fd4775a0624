package verify

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/entratoken/entra/internal/guid"
)

// RequireScope returns middleware that admits clients that act for a user and
// have at least one of the scopes (delegated permissions, scp). Apps that act for
// themselves never have scopes, and their roles do not replace one; see
// [RequireRole]. Scopes are written as in scp, without the URI of the API:
// "Tasks.Read". To require several scopes, combine several calls.
//
// The middleware must run behind [Verifier.Middleware], or with a context made by
// [NewContext]. It responds with 403 and a WWW-Authenticate challenge that names
// the scopes, or with 500 if the context lacks a verified token.
//
// RequireScope panics if scopes is empty or has an entry that cannot be a scope,
// because that is a mistake in the program.
//
// Sources: "Verify scopes in APIs called on behalf of users" in Microsoft's page
// on verifying scopes and app roles, and RFC 6750, section 3.1.
func RequireScope(scopes ...string) func(http.Handler) http.Handler {
	scopes = mustBePermissions("RequireScope", scopes)
	return require(func(c *Claims) *denial {
		if c.forUser() && c.Scopes.HasAny(scopes...) {
			return nil
		}
		return missingScope(scopes)
	})
}

// RequireRole returns middleware that admits apps that act for themselves
// (app-only tokens) and have at least one of the roles (application permissions).
// Users are rejected, even those with such a role; see [RequireUserRole].
//
// It responds and panics as [RequireScope] does.
//
// Source: "Verify app roles in APIs called by daemon apps" in Microsoft's page on
// verifying scopes and app roles.
func RequireRole(roles ...string) func(http.Handler) http.Handler {
	roles = mustBePermissions("RequireRole", roles)
	return require(func(c *Claims) *denial {
		if c.AppOnly() && c.Roles.HasAny(roles...) {
			return nil
		}
		return missingAppRole(roles)
	})
}

// RequireUserRole returns middleware that admits clients that act for a user who
// has at least one of the app roles. Apps that act for themselves are rejected,
// and so are tokens for which [Claims.User] returns false. A role does not
// limit the client of the user, so combine RequireUserRole with [RequireScope].
//
// It responds and panics as [RequireScope] does.
func RequireUserRole(roles ...string) func(http.Handler) http.Handler {
	roles = mustBePermissions("RequireUserRole", roles)
	return require(func(c *Claims) *denial {
		if _, ok := c.User(); ok && c.Roles.HasAny(roles...) {
			return nil
		}
		return missingRole("the client must act for a user who has one of the roles: ", roles)
	})
}

// RequireScopeOrRole returns middleware that admits both kinds of caller. Clients
// that act for a user need the scope, and apps that act for themselves need the
// role. A user's role does not replace the scope.
//
// It responds and panics as [RequireScope] does.
func RequireScopeOrRole(scope, role string) func(http.Handler) http.Handler {
	mustBePermissions("RequireScopeOrRole", []string{scope, role})
	return require(func(c *Claims) *denial {
		switch {
		case c.AppOnly() && c.Roles.Has(role):
			return nil
		case c.AppOnly():
			return missingAppRole([]string{role})
		case c.forUser() && c.Scopes.Has(scope):
			return nil
		}
		return missingScope([]string{scope})
	})
}

// RequireTenant returns middleware that admits callers from one of the tenants,
// given by their IDs (GUIDs). Others get 403 without a challenge.
//
// RequireTenant panics if tenants is empty or has an entry that is not a GUID.
func RequireTenant(tenants ...string) func(http.Handler) http.Handler {
	ids := mustBePermissions("RequireTenant", tenants)
	for i, t := range ids {
		if ids[i] = strings.ToLower(t); !guid.ValidLower(ids[i]) {
			panic(fmt.Sprintf("verify: RequireTenant: %q is not a tenant ID", t))
		}
	}
	return require(func(c *Claims) *denial {
		if slices.Contains(ids, c.TenantID) {
			return nil
		}
		return &denial{status: http.StatusForbidden, text: "the tenant of the token may not use this resource"}
	})
}

// RequireAuthContext returns middleware that admits callers that have satisfied an
// authentication context (acrs), for example "c1". Conditional Access ties such a
// context to conditions, for example a recent multifactor sign-in. Others get 401
// insufficient_claims with the claims that the client must request from Entra. Not
// every client understands this challenge; [Claims.HandlesChallenges] reports
// whether the client says that it does.
//
// RequireAuthContext panics if context is empty or cannot be an authentication
// context. Without a verified token it responds with 500.
//
// Source: Microsoft's claims-challenge page.
func RequireAuthContext(context string) func(http.Handler) http.Handler {
	mustBePermissions("RequireAuthContext", []string{context})
	claims := claimsRequest(context)
	return require(func(c *Claims) *denial {
		if c.AuthContexts.Has(context) {
			return nil
		}
		return &denial{
			status: http.StatusUnauthorized,
			code:   "insufficient_claims",
			text:   "a stronger sign-in is required; request a token with the given claims",
			claims: claims,
		}
	})
}

// denial is the response to a caller that is not admitted.
type denial struct {
	status int
	code   string // the error code of the challenge; if empty, no challenge is sent
	text   string
	scope  string
	claims string
}

func missingScope(scopes []string) *denial {
	return &denial{
		status: http.StatusForbidden,
		code:   "insufficient_scope",
		text:   "the client must act for a user and have one of the scopes: " + strings.Join(scopes, " "),
		scope:  strings.Join(scopes, " "),
	}
}

func missingAppRole(roles []string) *denial {
	return missingRole("the app must act for itself and have one of the roles: ", roles)
}

func missingRole(text string, roles []string) *denial {
	return &denial{
		status: http.StatusForbidden,
		code:   "insufficient_scope",
		text:   text + strings.Join(roles, " "),
	}
}

// require returns middleware that calls the next handler if check returns nil.
func require(check func(*Claims) *denial) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t, ok := TokenFromContext(r.Context())
			if !ok {
				writeText(w, http.StatusInternalServerError, "the handler is not behind the middleware that verifies tokens")
				return
			}
			d := check(t.claims)
			if d == nil {
				next.ServeHTTP(w, r)
				return
			}
			if d.code == "" {
				writeText(w, d.status, d.text)
				return
			}
			c := newChallenge(t.host)
			c.addError(d.code, d.text)
			if d.scope != "" {
				c.add("scope", d.scope)
			}
			if d.claims != "" {
				c.add("claims", d.claims)
			}
			c.write(w, d.status, d.text)
		})
	}
}

// mustBePermissions returns a copy of values. It panics if values is empty, or if
// one cannot stand in a challenge.
func mustBePermissions(function string, values []string) []string {
	if len(values) == 0 {
		panic("verify: " + function + " needs at least one argument")
	}
	for _, v := range values {
		if !quotable(v) {
			panic(fmt.Sprintf("verify: %s: %q is empty or has a character that is not allowed", function, v))
		}
	}
	return slices.Clone(values)
}
