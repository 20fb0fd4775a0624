package entratest

import (
	"net/http"
	"net/url"
	"slices"
)

// adminConsent answers the admin consent endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-admin-consent).
// Without a scope it is the older endpoint, which asks for everything that the
// registration lists.
func (s *Server) adminConsent(r *request) *answer {
	if r.http.Method != http.MethodGet {
		return errorPage(r, refuse(900561, "This endpoint takes GET requests, not %s.", quote(r.http.Method)))
	}
	q, redirect, f := s.parseClient(r)
	if f != nil && !redirect {
		return errorPage(r, f)
	}
	q.Admin, q.Mode, q.Prompt = true, "query", "select_account"
	if r.form.Get("redirect_uri") == "" {
		return errorPage(r, missing("redirect_uri"))
	}
	if _, f := s.estate.parseScopes(q.Scope, r.tenant); f != nil {
		return s.respondError(r, q, f)
	}
	q.Claims = ""
	return s.enter(r, q)
}

// proceedAdmin asks an administrator to consent for all users.
func (s *Server) proceedAdmin(r *request, q *signInRequest, u *User, t *Tenant, client *App, scopes *scopeRequest) *answer {
	if !u.administers(t) {
		return s.stop(r, q, refuse(90094, "The grant requires administrator permission. %s is no administrator of %s.", quote(u.Username), t.Name))
	}
	items := s.forAll(scopes, client)
	if !q.Granted && r.as == nil {
		return s.consentPage(r, q, u, t, items)
	}
	for _, item := range items {
		s.consent("", t, item.client, item.resource, item.scopes)
		s.assign(t, item.client, item.resource, item.roles)
	}
	params := url.Values{"admin_consent": {"True"}, "tenant": {t.ID}}
	if q.Scope != "" {
		params.Set("scope", q.Scope)
	}
	return s.respond(r, q, params)
}

// forAll lists what an administrator grants: the scopes named, or for .default
// and for none everything that the registration lists, roles included.
func (s *Server) forAll(scopes *scopeRequest, client *App) []consentItem {
	var items []consentItem
	everything := len(scopes.resources) == 0
	for _, res := range scopes.resources {
		if res.byDflt {
			everything = true
			continue
		}
		items = append(items, consentItem{client: client, resource: res.app, scopes: res.names})
	}
	if everything {
		for _, p := range client.Required {
			items = append(items, consentItem{
				client: client, resource: s.estate.resource[resourceKey(p.Resource)], scopes: p.Scopes, roles: p.Roles,
			})
		}
	}
	return items
}

// assign records app roles that an administrator granted to the client.
func (s *Server) assign(t *Tenant, client, resource *App, roles []string) {
	if len(roles) == 0 {
		return
	}
	key := consentKey{"", t.ID, client.ClientID, resource.ClientID}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, role := range roles {
		if !slices.Contains(s.assigned[key], role) {
			s.assigned[key] = append(s.assigned[key], role)
		}
	}
}

// appRoles are the roles of the resource that the client has in the tenant.
func (s *Server) appRoles(t *Tenant, client, resource *App) []string {
	_, roles := s.estate.granted(client.Permissions, resource)
	s.mu.Lock()
	roles = append(roles, s.assigned[consentKey{"", t.ID, client.ClientID, resource.ClientID}]...)
	s.mu.Unlock()
	slices.Sort(roles)
	return slices.Compact(roles)
}

// needsAdmin reports whether only an administrator may grant the items.
func needsAdmin(items []consentItem) bool {
	return slices.ContainsFunc(items, func(item consentItem) bool {
		return slices.ContainsFunc(item.scopes, func(scope string) bool { return containsFold(item.resource.AdminScopes, scope) })
	})
}
