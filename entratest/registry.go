package entratest

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// estate is a checked Config, indexed. It never changes.
type registry struct {
	tenants []*Tenant
	apps    []*App
	users   []*User

	tenantByName   map[string]*Tenant // by lower-case ID and domain
	appByID      map[string]*App    // by lower-case client ID
	appByName map[string]*App    // by name
	resourceByKey map[string]*App    // by lower-case App ID URI and client ID
	userByName     map[string]*User   // by lower-case username
}

// Microsoft Graph is in every tenant of Entra: scopes without a resource are
// its own.
const (
	graphID  = "00000003-0000-0000-c000-000000000000"
	graphURI = "https://graph.microsoft.com"
)

// newEstate checks a Config. The error says what is wrong with it.
func newRegistry(cfg Config) (*registry, error) {
	reg := &registry{
		tenantByName:   map[string]*Tenant{},
		appByID:      map[string]*App{},
		appByName: map[string]*App{},
		resourceByKey: map[string]*App{},
		userByName:     map[string]*User{},
	}
	if len(cfg.Tenants) == 0 {
		return nil, fmt.Errorf("there is no tenant")
	}
	for _, t := range cfg.Tenants {
		if err := reg.addTenant(t); err != nil {
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
		if err := reg.addApp(a); err != nil {
			return nil, err
		}
	}
	for _, a := range reg.apps {
		if err := reg.checkPermissions(a); err != nil {
			return nil, err
		}
	}
	for _, u := range cfg.Users {
		if err := reg.addUser(u); err != nil {
			return nil, err
		}
	}
	return reg, nil
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
func (a *App) worksIn(t *Tenant) bool { return a.MultiTenant || a.TenantID == t.ID }

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
func (u *User) isAdminOf(t *Tenant) bool { return u.Admin && u.TenantID == t.ID }

// rolesIn are the app roles the user has in the resource.
func (reg *registry) userRoles(u *User, resource *App) []string {
	var roles []string
	for id, names := range u.Roles {
		if reg.resourceByKey[resourceKey(id)] == resource {
			roles = append(roles, names...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// granted collects what permissions give for the resource.
func (reg *registry) grantedPermissions(permissions []Permission, resource *App) (scopes, roles []string) {
	for _, p := range permissions {
		if reg.resourceByKey[resourceKey(p.Resource)] == resource {
			scopes = append(scopes, p.Scopes...)
			roles = append(roles, p.Roles...)
		}
	}
	slices.Sort(scopes)
	slices.Sort(roles)
	return slices.Compact(scopes), slices.Compact(roles)
}

func (reg *registry) addTenant(t Tenant) error {
	if !isGUID(t.ID) {
		return fmt.Errorf("tenant %q: the ID is no GUID", t.ID)
	}
	t.ID = strings.ToLower(t.ID)
	for _, key := range []string{t.ID, strings.ToLower(t.Domain)} {
		if reg.tenantByName[key] != nil {
			return fmt.Errorf("tenant %q: there is another one of that ID or domain", key)
		}
		if key != "" {
			reg.tenantByName[key] = &t
		}
	}
	if strings.ContainsAny(t.Domain, "/?# ") || isMultiTenantName(strings.ToLower(t.Domain)) {
		return fmt.Errorf("tenant %q: the domain %q is not one", t.ID, t.Domain)
	}
	if t.Name == "" {
		t.Name = t.Domain
	}
	if t.Name == "" {
		t.Name = t.ID
	}
	reg.tenants = append(reg.tenants, &t)
	return nil
}

func (reg *registry) addApp(a App) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("app %q: %w", a.Name, fmt.Errorf(format, args...))
	}
	if a.Name == "" {
		return fail("it has no name (client ID %q)", a.ClientID)
	}
	if reg.appByName[a.Name] != nil {
		return fail("there is another one of that name")
	}
	if !isGUID(a.ClientID) {
		return fail("the client ID %q is no GUID", a.ClientID)
	}
	a.ClientID = strings.ToLower(a.ClientID)
	if reg.appByID[a.ClientID] != nil {
		return fail("there is another one of client ID %s", a.ClientID)
	}
	t := reg.tenantByName[strings.ToLower(a.TenantID)]
	if t == nil {
		return fail("there is no tenant %q", a.TenantID)
	}
	a.TenantID = t.ID
	if a.ObjectID != "" && !isGUID(a.ObjectID) {
		return fail("the object ID %q is no GUID", a.ObjectID)
	}
	switch a.TokenVersion {
	case 0:
		a.TokenVersion = 2
	case 1, 2:
	default:
		return fail("there are no tokens of version %d", a.TokenVersion)
	}
	if a.AppIDURI == "" {
		a.AppIDURI = "api://" + a.ClientID
	}
	if u, err := url.Parse(a.AppIDURI); err != nil || u.Scheme == "" || strings.ContainsAny(a.AppIDURI, " ?#") {
		return fail("%q is no App ID URI", a.AppIDURI)
	}
	for _, key := range []string{resourceKey(a.AppIDURI), resourceKey("api://" + a.ClientID), a.ClientID} {
		if other := reg.resourceByKey[key]; other != nil && other.ClientID != a.ClientID {
			return fail("%s has the same App ID URI", other.Name)
		}
	}
	for _, name := range slices.Concat(a.Scopes, a.Roles) {
		if name == "" || strings.ContainsAny(name, " \"\\") {
			return fail("%q is no name of a scope or role", name)
		}
	}
	for _, scope := range a.AdminScopes {
		if !containsFold(a.Scopes, scope) {
			return fail("it exposes no scope %q", scope)
		}
	}
	for _, raw := range a.RedirectURIs {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme == "" || u.Fragment != "" || strings.Contains(raw, "*") {
			return fail("%q is no redirect URI", raw)
		}
	}
	if a.LogoutURL != "" {
		if u, err := url.Parse(a.LogoutURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return fail("%q is no logout URL", a.LogoutURL)
		}
	}
	if err := a.checkCredentials(); err != nil {
		return fail("%w", err)
	}
	reg.apps = append(reg.apps, &a)
	reg.appByID[a.ClientID] = &a
	reg.appByName[a.Name] = &a
	reg.resourceByKey[resourceKey(a.AppIDURI)] = &a
	reg.resourceByKey[resourceKey("api://"+a.ClientID)] = &a
	reg.resourceByKey[a.ClientID] = &a
	return nil
}

// checkCredentials checks what the app can prove itself with.
func (a *App) checkCredentials() error {
	for _, f := range a.Federated {
		switch f.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
		default:
			return fmt.Errorf("the key of a federated credential is a %T, not an RSA or ECDSA public key", f.Key)
		}
		if f.Issuer == "" || f.Subject == "" {
			return fmt.Errorf("a federated credential has no issuer or no subject")
		}
	}
	for _, c := range a.Certificates {
		if c == nil {
			return fmt.Errorf("a certificate is nil")
		}
	}
	for _, c := range a.TrustedSubjects {
		if c.Subject == "" || c.Roots == nil {
			return fmt.Errorf("a trusted subject has no name or no roots")
		}
	}
	if a.Public && len(a.Secrets)+len(a.Certificates)+len(a.Federated)+len(a.TrustedSubjects) > 0 {
		return fmt.Errorf("a public client has no credentials")
	}
	return nil
}

// checkPermissions checks what one app says about others.
func (reg *registry) checkPermissions(a *App) error {
	for _, p := range slices.Concat(a.Permissions, a.Required) {
		res := reg.resourceByKey[resourceKey(p.Resource)]
		if res == nil {
			return fmt.Errorf("app %q: it has permissions of %q, which is no app", a.Name, p.Resource)
		}
		for _, scope := range p.Scopes {
			if !containsFold(res.Scopes, scope) {
				return fmt.Errorf("app %q: app %q exposes no scope %q", a.Name, res.Name, scope)
			}
		}
		for _, role := range p.Roles {
			if !slices.Contains(res.Roles, role) {
				return fmt.Errorf("app %q: app %q defines no role %q", a.Name, res.Name, role)
			}
		}
	}
	return nil
}

func (reg *registry) addUser(u User) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("user %q: %s", u.Username, fmt.Sprintf(format, args...))
	}
	key := strings.ToLower(u.Username)
	if key == "" || strings.TrimSpace(key) != key {
		return fail("that is no username")
	}
	if reg.userByName[key] != nil {
		return fail("there is another one of that name")
	}
	t := reg.tenantByName[strings.ToLower(u.TenantID)]
	if t == nil {
		return fail("there is no tenant %q", u.TenantID)
	}
	u.TenantID = t.ID
	if u.ObjectID == "" {
		u.ObjectID = derivedGUID("user", key, t.ID)
	}
	guests := map[string]string{}
	for tenant, oid := range u.Guest {
		g := reg.tenantByName[strings.ToLower(tenant)]
		if g == nil || g == t {
			return fail("%q is no other tenant to be a guest in", tenant)
		}
		if oid == "" {
			oid = derivedGUID("user", key, g.ID)
		}
		guests[g.ID] = strings.ToLower(oid)
	}
	u.Guest = guests
	u.ObjectID = strings.ToLower(u.ObjectID)
	oids := []string{u.ObjectID}
	for _, oid := range guests {
		oids = append(oids, oid)
	}
	for _, oid := range oids {
		if !isGUID(oid) {
			return fail("the object ID %q is no GUID", oid)
		}
		for _, other := range reg.users {
			if other.ObjectID == oid {
				return fail("%s has the same object ID", other.Username)
			}
		}
	}
	if u.Name == "" {
		u.Name = u.Username
	}
	for resource, roles := range u.Roles {
		res := reg.resourceByKey[resourceKey(resource)]
		if res == nil {
			return fail("there is no app %q to have roles in", resource)
		}
		for _, role := range roles {
			if !slices.Contains(res.Roles, role) {
				return fail("app %q defines no role %q", res.Name, role)
			}
		}
	}
	reg.users = append(reg.users, &u)
	reg.userByName[key] = &u
	return nil
}
