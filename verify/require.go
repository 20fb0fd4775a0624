package verify

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/safecall"
)

// A Rule decides whether the caller with a verified token is admitted. It returns nil to
// admit the caller. The rules of this package return an [*Error] otherwise. A Rule does
// not need HTTP: call it with the result of [Verifier.Verify] or [TokenFromContext], for
// example in a gRPC interceptor.
//
//	canRead := verify.Scope("Tasks.Read") // create it once
//	// ...
//	if err := canRead(token); err != nil {
//		return err // deny the request
//	}
//
// A program may write its own:
//
//	func premium(t *verify.Token) error {
//		if !t.Claims().Groups.Has(premiumGroup) {
//			return errors.New("not a premium customer")
//		}
//		return nil
//	}
type Rule func(*Token) error

// newRule returns a Rule that rejects a nil or zero Token.
func newRule(check func(*Claims) error) Rule {
	return func(t *Token) error {
		if t.Claims() == nil {
			return reject(ReasonNotVerified)
		}
		return check(t.claims)
	}
}

// Require returns middleware that admits callers that all rules admit. It must run behind
// [Verifier.Middleware], or with a context made by [NewContext]. Without a verified token
// it responds with 500.
//
// It responds with Config.ErrorHandler of the Verifier, or with the status, the message
// and the WWW-Authenticate challenge of the [*Error]. Another error of a rule is wrapped
// in an [*Error] with [ReasonDenied]: the caller gets 403 without its text.
//
// Require panics if there are no rules or one is nil, because it would then admit every
// caller, or none.
func Require(rules ...Rule) func(http.Handler) http.Handler {
	rules = slices.Clone(rules)
	mustBeRules("Require", rules)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t, ok := TokenFromContext(r.Context())
			if !ok {
				writeError(w, r, &Error{Reason: ReasonNotVerified})
				return
			}
			if err := check(t, rules); err != nil {
				t.verifier.reject(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Check is [Require] without HTTP: it returns nil if all rules admit the caller with token t. Otherwise the error is an
// [*Error], and Config.OnEvent of the Verifier is called. A single rule may also be called directly, without an event.
// Check panics as Require does.
func Check(t *Token, rules ...Rule) error {
	mustBeRules("Check", rules)
	return check(t, rules)
}

func check(t *Token, rules []Rule) error {
	if t.Claims() == nil {
		return reject(ReasonNotVerified)
	}
	for _, rule := range rules {
		err := rule(t)
		if err == nil {
			continue
		}
		if invalid := safecall.NilPointer(err); invalid != nil {
			err = invalid
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e == nil {
			e = &Error{Reason: ReasonDenied, Err: err}
			err = e
		}
		t.verifier.notify(Event{Kind: EventDenied, Reason: e.Reason})
		return err
	}
	return nil
}

// mustBeRules panics if rules is empty, or if one is nil.
func mustBeRules(function string, rules []Rule) {
	if len(rules) == 0 {
		panic("verify: " + function + " needs at least one Rule")
	}
	if slices.ContainsFunc(rules, func(rule Rule) bool { return rule == nil }) {
		panic("verify: " + function + ": a Rule is nil")
	}
}

// Scope returns a Rule that admits clients that act for a user and have at least one of
// the scopes (delegated permissions, scp). Apps that act for themselves never have
// scopes, and their roles do not replace one; see [Role]. Scopes are written as in scp,
// without the URI of the API: "Tasks.Read". To require several scopes, use several rules.
// The error has [ReasonMissingScope].
//
// Scope panics if scopes is empty or has an entry that cannot be a scope, because that is
// a mistake in the program. It also panics if an entry has the URI or the client ID of the
// API, as in the requests of clients: "api://tasks/Tasks.Read".
//
// Sources: "Verify scopes in APIs called on behalf of users" in Microsoft's page
// on verifying scopes and app roles, and RFC 6750, section 3.1.
func Scope(scopes ...string) Rule {
	scopes = mustBeScopes("Scope", scopes)
	return newRule(func(c *Claims) error {
		if c.forUser() && c.Scopes.HasAny(scopes...) {
			return nil
		}
		return missing(ReasonMissingScope, scopes)
	})
}

// Role returns a Rule that admits apps that act for themselves (app-only tokens) and have
// at least one of the roles (application permissions). Users are rejected, even those with
// such a role; see [UserRole]. The error has [ReasonMissingRole]. Role panics as [Scope]
// does.
//
// Source: "Verify app roles in APIs called by daemon apps" in Microsoft's page on
// verifying scopes and app roles.
func Role(roles ...string) Rule {
	roles = mustBePermissions("Role", roles)
	return newRule(func(c *Claims) error {
		if c.AppOnly() && c.Roles.HasAny(roles...) {
			return nil
		}
		return missing(ReasonMissingRole, roles)
	})
}

// UserRole returns a Rule that admits clients that act for a user who has at least one of
// the app roles. Apps that act for themselves are rejected, and so are tokens for which
// [Claims.User] returns false. A role does not limit the client of the user, so combine
// UserRole with [Scope]. The error has [ReasonMissingUserRole]. UserRole panics as [Scope]
// does.
func UserRole(roles ...string) Rule {
	roles = mustBePermissions("UserRole", roles)
	return newRule(func(c *Claims) error {
		if _, ok := c.User(); ok && c.Roles.HasAny(roles...) {
			return nil
		}
		return missing(ReasonMissingUserRole, roles)
	})
}

// ScopeOrRole returns a Rule that admits both kinds of caller. Clients that act for a user
// need the scope, and apps that act for themselves need the role. A user's role does not
// replace the scope. Errors and panics are those of [Scope] and [Role].
func ScopeOrRole(scope, role string) Rule {
	ofUser, ofApp := Scope(scope), Role(role)
	return func(t *Token) error {
		if c := t.Claims(); c != nil && c.AppOnly() {
			return ofApp(t)
		}
		return ofUser(t)
	}
}

// Tenant returns a Rule that admits callers from one of the tenants, given by their IDs
// (GUIDs). The error has [ReasonOtherTenant]. Tenant panics if tenants is empty or has an
// entry that is not a GUID.
func Tenant(tenants ...string) Rule {
	ids := mustBeGUIDs("Tenant", tenants)
	return newRule(func(c *Claims) error {
		if slices.Contains(ids, c.TenantID) {
			return nil
		}
		return rejectValue(ReasonOtherTenant, "", c.TenantID)
	})
}

// Client returns a Rule that admits one of the clients, given by their client IDs (GUIDs),
// such as the web app of this API. A client without a credential can be imitated, so in a
// user's token the client ID says only which client the user uses; see [Claims.ClientID].
// The error has [ReasonOtherClient]. Client panics if clients is empty or has an entry
// that is not a GUID.
func Client(clients ...string) Rule {
	ids := mustBeGUIDs("Client", clients)
	return newRule(func(c *Claims) error {
		if slices.Contains(ids, strings.ToLower(c.ClientID)) {
			return nil
		}
		return rejectValue(ReasonOtherClient, "", c.ClientID)
	})
}

// AuthContext returns a Rule that admits callers that have satisfied an authentication
// context (acrs), for example "c1". Conditional Access ties such a context to conditions,
// for example a recent multifactor sign-in. The error has [ReasonMissingAuthContext]. The
// response to others is 401 insufficient_claims with the claims that the client must
// request from Entra. Not every client understands this challenge;
// [Claims.HandlesChallenges] reports whether the client says that it does.
//
// AuthContext panics if context is empty or cannot be an authentication context.
//
// Source: Microsoft's claims-challenge page.
func AuthContext(context string) Rule {
	contexts := mustBePermissions("AuthContext", []string{context})
	return newRule(func(c *Claims) error {
		if c.AuthContexts.Has(context) {
			return nil
		}
		return missing(ReasonMissingAuthContext, contexts)
	})
}

// RequireScope returns middleware that applies the rule [Scope], as [Require] does.
func RequireScope(scopes ...string) func(http.Handler) http.Handler { return Require(Scope(scopes...)) }

// RequireRole returns middleware that applies the rule [Role], as [Require] does.
func RequireRole(roles ...string) func(http.Handler) http.Handler { return Require(Role(roles...)) }

// RequireUserRole returns middleware that applies the rule [UserRole], as [Require] does.
func RequireUserRole(roles ...string) func(http.Handler) http.Handler {
	return Require(UserRole(roles...))
}

// RequireScopeOrRole returns middleware that applies the rule [ScopeOrRole], as [Require]
// does.
func RequireScopeOrRole(scope, role string) func(http.Handler) http.Handler {
	return Require(ScopeOrRole(scope, role))
}

// RequireTenant returns middleware that applies the rule [Tenant], as [Require] does.
func RequireTenant(tenants ...string) func(http.Handler) http.Handler {
	return Require(Tenant(tenants...))
}

// RequireClient returns middleware that applies the rule [Client], as [Require] does.
func RequireClient(clients ...string) func(http.Handler) http.Handler {
	return Require(Client(clients...))
}

// RequireAuthContext returns middleware that applies the rule [AuthContext], as [Require]
// does.
func RequireAuthContext(context string) func(http.Handler) http.Handler {
	return Require(AuthContext(context))
}

// missing returns the error of a rule that requires one of the values.
func missing(r Reason, values []string) error {
	return &Error{Reason: r, Required: slices.Clone(values)}
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

// mustBeScopes is mustBePermissions for scopes. It also panics if one is written as clients
// request it, since it would reject every user.
//
// A scope does not begin with a dot (value in the reference of permissionScope in Microsoft Graph). Slashes and colons
// are allowed there, so a scope may look like the URI of an API. Such a scope is rejected here and needs a Rule of its
// own.
func mustBeScopes(function string, values []string) []string {
	scopes := mustBePermissions(function, values)
	for _, v := range scopes {
		i := strings.LastIndexByte(v, '/')
		api, name := v[:max(i, 0)], v[i+1:]
		switch namesAPI := strings.Contains(v, "://") || guid.ValidLower(strings.ToLower(api)); {
		case v[0] == '.', namesAPI && (name == "" || name[0] == '.' || strings.HasSuffix(api, ":/")):
			panic(fmt.Sprintf("verify: %s: %q is not a scope of a token; "+
				"write the scopes that the API exposes, such as \"Tasks.Read\"", function, v))
		case namesAPI:
			panic(fmt.Sprintf("verify: %s: %q also names the API; write only the scope, %q", function, v, name))
		}
	}
	return scopes
}

// mustBeGUIDs returns values in lower case. It panics if values is empty, or if one is not
// a GUID.
func mustBeGUIDs(function string, values []string) []string {
	ids := mustBePermissions(function, values)
	for i, v := range ids {
		if ids[i] = strings.ToLower(v); !guid.ValidLower(ids[i]) {
			panic(fmt.Sprintf("verify: %s: %q is not a GUID", function, v))
		}
	}
	return ids
}
