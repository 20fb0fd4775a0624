package entratest

import (
	"slices"
	"strings"
)

// delegated are the scopes of the resource that the user, or an administrator
// for everyone, granted to the client, as the resource spells them.
func (s *Server) delegated(u *User, t *Tenant, client, resource *App) []string {
	scopes, _ := s.estate.granted(client.Permissions, resource)
	s.mu.Lock()
	for _, who := range []string{"", strings.ToLower(u.Username)} {
		scopes = append(scopes, s.consents[consentKey{who, t.ID, client.ClientID, resource.ClientID}]...)
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

// consent records that the user, or if user is "" an administrator for
// everyone, granted the scopes.
func (s *Server) consent(user string, t *Tenant, client, resource *App, scopes []string) {
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

// A consentItem is one line of a consent page: scopes of a resource for a
// client, which is the app that signs in or a middle tier bundled with it.
type consentItem struct {
	client, resource *App
	scopes           []string
	roles            []string // app roles, which only an administrator grants
}

// toConsent lists what the user must grant before the request can be served;
// with all, also what was granted before.
func (s *Server) toConsent(q *scopeRequest, u *User, t *Tenant, client *App, all bool) []consentItem {
	var items []consentItem
	add := func(client, resource *App, scopes []string) {
		if !all {
			granted := s.delegated(u, t, client, resource)
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
		if !res.byDflt {
			add(client, res.app, res.names)
			continue
		}
		// .default asks for everything registered, unless something of the
		// resource was granted before
		// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc#default-when-the-user-has-already-given-consent).
		if all || len(s.delegated(u, t, client, res.app)) == 0 {
			s.addRequired(add, client)
			for _, api := range s.estate.apps {
				if slices.ContainsFunc(api.KnownClients, func(id string) bool { return strings.EqualFold(id, client.ClientID) }) && s.requires(client, api) {
					s.addRequired(add, api)
				}
			}
		}
	}
	if graph := s.estate.app[graphID]; len(items) > 0 || all || !s.consentedBefore(u, t, client) {
		add(client, graph, oidc)
	}
	return items
}

// addRequired adds what the registration of an app lists.
func (s *Server) addRequired(add func(client, resource *App, scopes []string), client *App) {
	for _, p := range client.Required {
		add(client, s.estate.resource[resourceKey(p.Resource)], p.Scopes)
	}
}

// requires reports whether the client's registration lists permissions of api.
func (s *Server) requires(client, api *App) bool {
	return slices.ContainsFunc(slices.Concat(client.Required, client.Permissions), func(p Permission) bool {
		return s.estate.resource[resourceKey(p.Resource)] == api
	})
}

// consentedBefore reports whether the user or an administrator granted the
// client anything: signing in needs no more consent then.
func (s *Server) consentedBefore(u *User, t *Tenant, client *App) bool {
	if len(client.Permissions) > 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.consents {
		if key.client == client.ClientID && key.tenant == t.ID && (key.user == "" || key.user == strings.ToLower(u.Username)) {
			return true
		}
	}
	return false
}

// grantedFor settles which scopes of the resource a token carries, and how the
// answer spells them: what was asked for, or for .default everything granted
// and .default itself.
func (s *Server) grantedFor(res *resourceScopes, q *scopeRequest, u *User, t *Tenant, client *App) (names, spelled []string, f *refusal) {
	granted := s.delegated(u, t, client, res.app)
	names, spelled = res.names, res.verbose
	if res.byDflt {
		names = granted
		spelled = nil
		for _, n := range granted {
			spelled = append(spelled, res.prefix+n)
		}
		spelled = append(spelled, res.verbose...)
	}
	missing := slices.ContainsFunc(names, func(n string) bool { return !containsFold(granted, n) })
	if oidc := q.oidc(); res.app.ClientID == graphID && len(oidc) > 0 {
		missing = missing || !s.consentedBefore(u, t, client)
		names = append(oidc, names...)
		spelled = append(q.oidc(), spelled...)
	}
	if missing || len(names) == 0 {
		f := refuse(65001, "Neither the user nor an administrator has consented to what the app '%s' named '%s' asks for. Ask for consent interactively.", client.ClientID, client.Name)
		f.suberror = "consent_required"
		return nil, nil, f
	}
	return names, spelled, nil
}
