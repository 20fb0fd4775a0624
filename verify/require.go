package verify

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The functions here wrap handlers that stand behind Middleware and let only some
// callers through. Those that do not fit get 403 and the reason. A request that
// did not come through Middleware gets 500: the program is put together wrongly,
// and no token will help. Each panics if it is given nothing to require, or a
// value that cannot be, since that would be a mistake in the program.

// RequireScope lets through clients that act for a user and hold at least one of
// the scopes (delegated permissions, scp). Applications acting for themselves
// never have scopes and are refused whatever roles they have; for them there is
// RequireRole. Scopes are named as in scp, "Tasks.Read", without the API's URI.
//
// Source: "Verify scopes in APIs called on behalf of users" in Microsoft's page
// on verifying scopes and app roles; RFC 6750 section 3.1.
func RequireScope(next http.Handler, scopes ...string) http.Handler {
	mustName("RequireScope", scopes)
	return require(next, func(c *Claims) *denial {
		if c.forUser() && c.Scopes.HasAny(scopes...) {
			return nil
		}
		return missingScope(scopes)
	})
}

// RequireRole lets through applications that act for themselves (app-only tokens)
// and hold at least one of the roles (application permissions). Users are
// refused, even those with such a role: RequireUserRole is for them.
//
// Source: "Verify app roles in APIs called by daemon apps" in Microsoft's page on
// verifying scopes and app roles.
func RequireRole(next http.Handler, roles ...string) http.Handler {
	mustName("RequireRole", roles)
	return require(next, func(c *Claims) *denial {
		if c.AppOnly() && c.Roles.HasAny(roles...) {
			return nil
		}
		return missingRole("application", roles)
	})
}

// RequireUserRole lets through clients that act for a user to whom at least one
// of the app roles is assigned. What the client may do for its user is another
// question: wrap with RequireScope too. Everybody else is refused: applications
// acting for themselves, and tokens of which Claims.User cannot tell the user.
func RequireUserRole(next http.Handler, roles ...string) http.Handler {
	mustName("RequireUserRole", roles)
	return require(next, func(c *Claims) *denial {
		if _, ok := c.User(); ok && c.Roles.HasAny(roles...) {
			return nil
		}
		return missingRole("user", roles)
	})
}

// RequireScopeOrRole lets through both kinds of caller, each on its own terms:
// clients acting for a user need the scope, applications acting for themselves
// need the role. A user's role does not replace the scope.
func RequireScopeOrRole(next http.Handler, scope, role string) http.Handler {
	mustName("RequireScopeOrRole", []string{scope, role})
	return require(next, func(c *Claims) *denial {
		switch {
		case c.AppOnly() && c.Roles.Has(role):
			return nil
		case c.AppOnly():
			return missingRole("application", []string{role})
		case c.forUser() && c.Scopes.Has(scope):
			return nil
		}
		return missingScope([]string{scope})
	})
}

// RequireTenant lets through callers from one of the tenants, given by ID.
func RequireTenant(next http.Handler, tenants ...string) http.Handler {
	mustName("RequireTenant", tenants)
	ids := make([]string, len(tenants))
	for i, t := range tenants {
		if ids[i] = strings.ToLower(t); !isGUID(ids[i]) {
			panic(fmt.Sprintf("verify: RequireTenant: %q is not a tenant ID", t))
		}
	}
	return require(next, func(c *Claims) *denial {
		if slices.Contains(ids, c.TenantID) {
			return nil
		}
		return &denial{status: http.StatusForbidden, text: "this is not for the tenant of the token"}
	})
}

// RequireAuthContext lets through callers that have satisfied an authentication
// context (acrs), for example "c1", which Conditional Access ties to conditions
// such as a fresh multifactor sign-in. Others get 401 insufficient_claims with
// the claims that a client must ask Entra for. Not every client understands such
// a challenge: Claims.HandlesChallenges tells, for APIs that want to answer the
// others differently.
//
// Source: Microsoft's claims-challenge page.
func RequireAuthContext(next http.Handler, context string) http.Handler {
	mustName("RequireAuthContext", []string{context})
	claims := claimsRequest(context)
	return require(next, func(c *Claims) *denial {
		if c.AuthContexts.Has(context) {
			return nil
		}
		return &denial{
			status: http.StatusUnauthorized,
			code:   "insufficient_claims",
			text:   "a stronger sign-in is needed; ask for a token with the claims given",
			claims: claims,
		}
	})
}

// denial is why a caller is not let through.
type denial struct {
	status int
	code   string // the error of the challenge; "" for none
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

func missingRole(kind string, roles []string) *denial {
	return &denial{
		status: http.StatusForbidden,
		code:   "insufficient_scope",
		text:   "the caller must be of the kind " + kind + " and have one of the roles: " + strings.Join(roles, " "),
	}
}

// require wraps a handler. check returns nil for callers who may pass.
func require(next http.Handler, check func(*Claims) *denial) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, ok := r.Context().Value(contextKey{}).(*verified)
		if !ok {
			answerText(w, http.StatusInternalServerError, "the handler is not behind the middleware that verifies tokens")
			return
		}
		d := check(v.token.claims)
		if d == nil {
			next.ServeHTTP(w, r)
			return
		}
		if d.code == "" {
			answerText(w, d.status, d.text)
			return
		}
		c := v.verifier.challenge()
		c.failure(d.code, d.text)
		if d.scope != "" {
			c.add("scope", d.scope)
		}
		if d.claims != "" {
			c.add("claims", d.claims)
		}
		c.answer(w, d.status, d.text)
	})
}

// mustName panics unless there are values and a challenge can name each.
func mustName(function string, values []string) {
	if len(values) == 0 {
		panic("verify: " + function + " is given nothing to require")
	}
	for _, v := range values {
		if !quotable(v) {
			panic(fmt.Sprintf("verify: %s: %q is empty or has a character that no permission has", function, v))
		}
	}
}
