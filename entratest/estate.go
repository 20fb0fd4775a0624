package entratest

import (
	"fmt"
	"slices"
	"strings"
)

// estate is a checked Config, indexed. It never changes.
type estate struct {
	tenants []*Tenant
	apps    []*App
	users   []*User

	tenant   map[string]*Tenant // by lower-case ID and domain
	app      map[string]*App    // by lower-case client ID
	appNamed map[string]*App    // by name
	resource map[string]*App    // by lower-case App ID URI and client ID
	user     map[string]*User   // by lower-case username
}

// Microsoft Graph is in every tenant of Entra: scopes without a resource are
// its own.
const (
	graphID  = "00000003-0000-0000-c000-000000000000"
	graphURI = "https://graph.microsoft.com"
)

// newEstate checks a Config. The error says what is wrong with it.
func newEstate(cfg Config) (*estate, error) {
	e := &estate{
		tenant:   map[string]*Tenant{},
		app:      map[string]*App{},
		appNamed: map[string]*App{},
		resource: map[string]*App{},
		user:     map[string]*User{},
	}
	if len(cfg.Tenants) == 0 {
		return nil, fmt.Errorf("there is no tenant")
	}
	for _, t := range cfg.Tenants {
		if err := e.addTenant(t); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(cfg.Apps, func(a App) bool { return strings.EqualFold(a.ClientID, graphID) }) {
		cfg.Apps = append(slices.Clone(cfg.Apps), App{
			Name: "Microsoft Graph", ClientID: graphID, TenantID: cfg.Tenants[0].ID,
			MultiTenant: true, AppIDURI: graphURI, TokenVersion: 1,
			Scopes: []string{"openid", "profile", "email", "offline_access", "User.Read", "User.ReadBasic.All", "Mail.Read", "Mail.Send"},
			Roles:  []string{"User.Read.All", "Mail.Read", "Application.Read.All"},
		})
	}
	for _, a := range cfg.Apps {
		if err := e.addApp(a); err != nil {
			return nil, err
		}
	}
	for _, a := range e.apps {
		if err := e.checkPermissions(a); err != nil {
			return nil, err
		}
	}
	for _, u := range cfg.Users {
		if err := e.addUser(u); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// resourceKey is how a resource is looked up: without regard to case and a
// slash at the end.
func resourceKey(identifier string) string {
	return strings.TrimSuffix(strings.ToLower(identifier), "/")
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(t string) bool { return strings.EqualFold(s, t) })
}

// isMultiTenantName reports whether the name in a path stands for many tenants.
func isMultiTenantName(name string) bool {
	return name == "common" || name == "organizations" || name == "consumers"
}

// servesTenant reports whether the app can be used in the tenant.
func (a *App) servesTenant(t *Tenant) bool { return a.MultiTenant || a.TenantID == t.ID }

// objectIDIn is the oid of the app's service principal in the tenant.
func (a *App) objectIDIn(t *Tenant) string {
	if a.ObjectID != "" && a.TenantID == t.ID {
		return strings.ToLower(a.ObjectID)
	}
	return derivedGUID("service principal", a.ClientID, t.ID)
}

// objectIDIn is the user's oid in the tenant, "" if it has no such user.
func (u *User) objectIDIn(t *Tenant) string {
	if u.TenantID == t.ID {
		return u.ObjectID
	}
	return u.Guest[t.ID]
}

// administers reports whether the user is an administrator of the tenant, which
// guests never are.
func (u *User) administers(t *Tenant) bool { return u.Admin && u.TenantID == t.ID }

// rolesIn are the app roles the user has in the resource.
func (e *estate) rolesIn(u *User, resource *App) []string {
	var roles []string
	for id, names := range u.Roles {
		if e.resource[resourceKey(id)] == resource {
			roles = append(roles, names...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// granted collects what permissions give for the resource.
func (e *estate) granted(permissions []Permission, resource *App) (scopes, roles []string) {
	for _, p := range permissions {
		if e.resource[resourceKey(p.Resource)] == resource {
			scopes = append(scopes, p.Scopes...)
			roles = append(roles, p.Roles...)
		}
	}
	slices.Sort(scopes)
	slices.Sort(roles)
	return slices.Compact(scopes), slices.Compact(roles)
}
