package entratest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// grantedScopes returns the scopes of the resource that the user, or an
// administrator for all users, granted to the client. They are spelled as in
// App.Scopes.
func (s *Server) grantedScopes(u *User, t *Tenant, client, resource *App) []string {
	scopes, _ := s.registry.grantedPermissions(client.Permissions, resource)
	s.mu.Lock()
	for _, user := range []string{"", strings.ToLower(u.Username)} {
		scopes = append(scopes, s.consents[consentKey{user, t.ID, client.ClientID, resource.ClientID}]...)
	}
	s.mu.Unlock()
	var granted []string
	for _, known := range resource.Scopes {
		if containsFold(scopes, known) {
			granted = append(granted, known)
		}
	}
	return granted
}

// recordConsent records that the user granted the scopes. If user is "", an
// administrator granted them for all users.
func (s *Server) recordConsent(user string, t *Tenant, client, resource *App, scopes []string) {
	if len(scopes) == 0 {
		return
	}
	key := consentKey{strings.ToLower(user), t.ID, client.ClientID, resource.ClientID}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scope := range scopes {
		if !containsFold(s.consents[key], scope) {
			s.consents[key] = append(s.consents[key], scope)
		}
	}
}

// A consentItem is one line of a consent page: permissions of a resource for a
// client. The client is the app that signs the user in, or a middle tier bundled
// with it.
type consentItem struct {
	client, resource *App
	scopes           []string
	roles            []string // app roles, which only an administrator can grant
}

// pendingConsent returns the permissions that the user must grant before the
// request can be served. If all is true, it includes those granted before.
func (s *Server) pendingConsent(q *scopeRequest, u *User, t *Tenant, client *App, all bool) []consentItem {
	var items []consentItem
	add := func(client, resource *App, scopes []string) {
		if !all {
			granted := s.grantedScopes(u, t, client, resource)
			scopes = slices.DeleteFunc(slices.Clone(scopes), func(n string) bool { return containsFold(granted, n) })
		}
		if len(scopes) > 0 {
			items = append(items, consentItem{client: client, resource: resource, scopes: scopes})
		}
	}
	oidc := q.oidc()
	if q.offline {
		oidc = append(oidc, "offline_access")
	}
	for _, res := range q.resources {
		if !res.isDefault {
			add(client, res.app, res.names)
			continue
		}
		// .default requests all registered permissions, unless the user has granted
		// a permission of the resource before
		// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc#default-when-the-user-has-already-given-consent).
		if all || len(s.grantedScopes(u, t, client, res.app)) == 0 {
			s.addRequired(add, client)
			for _, api := range s.registry.apps {
				if containsFold(api.KnownClients, client.ClientID) && s.requiresResource(client, api) {
					s.addRequired(add, api)
				}
			}
		}
	}
	if graph := s.registry.appByID[graphID]; len(items) > 0 || all || !s.consentedBefore(u, t, client) {
		add(client, graph, oidc)
	}
	return items
}

// addRequired calls add with each required permission of client.
func (s *Server) addRequired(add func(client, resource *App, scopes []string), client *App) {
	for _, p := range client.Required {
		add(client, s.registry.resourceByKey[resourceKey(p.Resource)], p.Scopes)
	}
}

// requiresResource reports whether the client's registration lists permissions of
// api.
func (s *Server) requiresResource(client, api *App) bool {
	return slices.ContainsFunc(slices.Concat(client.Required, client.Permissions), func(p Permission) bool {
		return s.registry.resourceByKey[resourceKey(p.Resource)] == api
	})
}

// consentedBefore reports whether the user or an administrator has granted the
// client any permission. A sign-in then needs no further consent.
func (s *Server) consentedBefore(u *User, t *Tenant, client *App) bool {
	if len(client.Permissions) > 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.consents {
		if key.client == client.ClientID && key.tenant == t.ID &&
			(key.user == "" || key.user == strings.ToLower(u.Username)) {
			return true
		}
	}
	return false
}

// tokenScopes returns the scopes of the resource in a token, and those in the
// response. They are the requested scopes. For .default, they are all granted
// scopes, and the response also has .default itself.
func (s *Server) tokenScopes(
	res *resourceScopes, q *scopeRequest, u *User, t *Tenant, client *App,
) (names, spelled []string, aerr *aadstsError) {
	granted := s.grantedScopes(u, t, client, res.app)
	names = res.names
	if res.isDefault {
		names = granted
	}
	for _, n := range names {
		spelled = append(spelled, res.spell(n))
	}
	if res.isDefault {
		spelled = append(spelled, res.spell(".default"))
	}
	missing := slices.ContainsFunc(names, func(n string) bool { return !containsFold(granted, n) })
	if oidc := q.oidc(); res.app.ClientID == graphID && len(oidc) > 0 {
		missing = missing || !s.consentedBefore(u, t, client)
		names = append(oidc, names...)
		spelled = append(q.oidc(), spelled...)
	}
	if missing || len(names) == 0 {
		return nil, nil, consentRequiredError(client)
	}
	return names, spelled, nil
}

// handleAdminConsent serves the admin consent endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-admin-consent).
// A request without a scope, as for the v1 endpoint, requests all permissions in
// the registration.
func (s *Server) handleAdminConsent(r *request) *response {
	if r.http.Method != http.MethodGet {
		return errorPage(r, methodError(r, "GET"))
	}
	q, redirect, aerr := s.parseAuthorizeClient(r)
	if aerr != nil && !redirect {
		return errorPage(r, aerr)
	}
	q.Admin, q.Mode, q.Prompt = true, "query", "select_account"
	if r.form.Get("redirect_uri") == "" {
		return errorPage(r, missingParameter("redirect_uri"))
	}
	if _, aerr := s.registry.parseScopes(q.Scope, r.tenant); aerr != nil {
		return s.redirectError(r, q, aerr)
	}
	q.Claims = ""
	return s.startSignIn(r, q)
}

// continueAdminConsent requests the consent of an administrator for all users.
func (s *Server) continueAdminConsent(
	r *request, q *signInRequest, u *User, t *Tenant, client *App, scopes *scopeRequest,
) *response {
	if !u.isAdminOf(t) {
		return s.failSignIn(r, q, newError(90094, "The grant requires administrator permission. "+
			"%s is not an administrator of %s.", printable(u.Username), t.Name))
	}
	items := s.adminConsentItems(scopes, client)
	if !q.Granted && r.signInUser == nil {
		return s.consentPage(r, q, u, t, items)
	}
	for _, item := range items {
		s.recordConsent("", t, item.client, item.resource, item.scopes)
		s.recordRoles(t, item.client, item.resource, item.roles)
	}
	params := url.Values{"admin_consent": {"True"}, "tenant": {t.ID}}
	if q.Scope != "" {
		params.Set("scope", q.Scope)
	}
	return s.redirectToApp(r, q, params)
}

// adminConsentItems returns the permissions that an administrator grants.
// These are the requested scopes. For .default or an empty scope they are all
// permissions in the registration, including roles.
func (s *Server) adminConsentItems(scopes *scopeRequest, client *App) []consentItem {
	var items []consentItem
	everything := len(scopes.resources) == 0
	for _, res := range scopes.resources {
		if res.isDefault {
			everything = true
			continue
		}
		items = append(items, consentItem{client: client, resource: res.app, scopes: res.names})
	}
	if everything {
		for _, p := range client.Required {
			items = append(items, consentItem{
				client: client, resource: s.registry.resourceByKey[resourceKey(p.Resource)], scopes: p.Scopes, roles: p.Roles,
			})
		}
	}
	return items
}

// recordRoles records app roles that an administrator granted to the client.
func (s *Server) recordRoles(t *Tenant, client, resource *App, roles []string) {
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

// appRoles returns the roles of the resource that the client has in the tenant.
func (s *Server) appRoles(t *Tenant, client, resource *App) []string {
	_, roles := s.registry.grantedPermissions(client.Permissions, resource)
	s.mu.Lock()
	roles = append(roles, s.assigned[consentKey{"", t.ID, client.ClientID, resource.ClientID}]...)
	s.mu.Unlock()
	slices.Sort(roles)
	return slices.Compact(roles)
}

// requiresAdmin reports whether only an administrator may grant the items.
func requiresAdmin(items []consentItem) bool {
	return slices.ContainsFunc(items, func(item consentItem) bool {
		return slices.ContainsFunc(item.scopes, func(scope string) bool {
			return containsFold(item.resource.AdminScopes, scope)
		})
	})
}
