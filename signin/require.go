package signin

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

// RequireRole is [Site.RequireSignIn] for users who have at least one of the roles: app
// roles of this app's registration, as the ID token named them at the sign-in. Others get
// 403 and a page that says so, or JSON with the error not_allowed. Nobody has a role of an API
// here: that is for the API to look at.
//
// It needs [Config].KeepClaims and a role, and panics without, which is a mistake in the
// program.
func (s *Site) RequireRole(next http.Handler, roles ...string) http.Handler {
	s.mustKeepClaims("RequireRole")
	if len(roles) == 0 || slices.Contains(roles, "") {
		panic("signin: RequireRole without a role")
	}
	roles = slices.Clone(roles)
	return s.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if claims, ok := s.claims(r); !ok || !slices.ContainsFunc(roles, claims.Roles.Has) {
			s.refuse(w, r, s.here(r), errNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

var errNotAllowed = errors.New("signin: the user has none of the roles that the page is for")

// RequireAuthContext is [Site.RequireSignIn] for users whose sign-in has satisfied an
// authentication context, such as "c1", to which the tenant ties conditions: a second
// factor, a managed device. Others are sent to satisfy it, as [Site.Interact] does, and
// come back. It is for what the app itself demands; an API demands it of the token, with a
// challenge.
//
// It needs [Config].KeepClaims and a context, and panics without, which is a mistake in the
// program.
//
// Source: "Developer guide to Conditional Access authentication context".
func (s *Site) RequireAuthContext(next http.Handler, context string) http.Handler {
	s.mustKeepClaims("RequireAuthContext")
	if context == "" {
		panic("signin: RequireAuthContext without a context")
	}
	return s.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if claims, ok := s.claims(r); ok && claims.AuthContexts.Has(context) || !s.Interact(w, r, stepUp(context)) {
			next.ServeHTTP(w, r)
		}
	}))
}

// claims are those of the session at this site, whichever site's session the context has: an
// app may have several, and a role at one is none at another.
func (s *Site) claims(r *http.Request) (*verify.Claims, bool) {
	v, _, err := s.visit(r).session()
	if err != nil {
		return nil, false
	}
	return v.claims()
}

func (s *Site) mustKeepClaims(name string) {
	if !s.config.KeepClaims {
		panic("signin: " + name + " needs Config.KeepClaims")
	}
}

// StepUp returns the error with which [Site.Interact] sends the user of r to satisfy an
// authentication context, or nil if the sign-in of this session has, as far as
// [ClaimsFromContext] knows: that of the inner [Site.Handler], where an app has several sites.
// It is what [Site.RequireAuthContext] does, for handlers that find out themselves that they
// need it.
func StepUp(r *http.Request, context string) error {
	if claims, ok := ClaimsFromContext(r.Context()); ok && claims.AuthContexts.Has(context) {
		return nil
	}
	return stepUp(context)
}

func stepUp(context string) *entra.Error {
	type request map[string]map[string]any
	acrs := map[string]any{"essential": true, "value": context}
	demand, _ := json.Marshal(request{"id_token": {"acrs": acrs}, "access_token": {"acrs": acrs}}) // strings and a bool marshal
	return &entra.Error{
		Code: "interaction_required", Claims: string(demand),
		Description: "the session has not satisfied an authentication context that the page is for",
	}
}
