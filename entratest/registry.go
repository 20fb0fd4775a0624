package entratest

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// A registry is a validated and indexed Config with its defaults filled in. It
// is immutable.
type registry struct {
	tenants []*Tenant
	apps    []*App
	users   []*User

	tenantByName  map[string]*Tenant // by lower-case ID and domain
	tenantByHost  map[string]*Tenant // by custom URL domain
	appByID       map[string]*App    // by lower-case client ID
	appByName     map[string]*App
	resourceByKey map[string]*App  // by resourceKey of App ID URI and client ID
	userByName    map[string]*User // by lower-case username
}

// Microsoft Graph exists in every tenant of Entra. Scopes without a resource
// are scopes of Graph.
const (
	graphID  = "00000003-0000-0000-c000-000000000000"
	graphURI = "https://graph.microsoft.com"
)

// newRegistry validates cfg. Its errors have no prefix.
func newRegistry(cfg Config) (*registry, error) {
	reg := &registry{
		tenantByName:  map[string]*Tenant{},
		tenantByHost:  map[string]*Tenant{},
		appByID:       map[string]*App{},
		appByName:     map[string]*App{},
		resourceByKey: map[string]*App{},
		userByName:    map[string]*User{},
	}
	if len(cfg.Tenants) == 0 {
		return nil, errors.New("at least one tenant is required")
	}
	for _, t := range cfg.Tenants {
		if err := reg.addTenant(t); err != nil {
			return nil, fmt.Errorf("tenant %q: %w", t.ID, err)
		}
	}
	for _, a := range withTokenExchange(withGraph(cfg.Apps, cfg.Tenants[0].ID), cfg.Tenants[0].ID) {
		if err := reg.addApp(a); err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
	}
	for _, a := range reg.apps {
		if err := reg.checkPermissions(a); err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
		if err := reg.checkBlueprint(a); err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
	}
	for _, u := range cfg.Users {
		if err := reg.addUser(u); err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Username, err)
		}
	}
	return reg, nil
}

// withGraph returns apps with Microsoft Graph, which is added if it is missing.
func withGraph(apps []App, tenantID string) []App {
	if slices.ContainsFunc(apps, func(a App) bool { return strings.EqualFold(a.ClientID, graphID) }) {
		return apps
	}
	return append(slices.Clone(apps), App{
		Name: "Microsoft Graph", ClientID: graphID, TenantID: tenantID,
		MultiTenant: true, AppIDURI: graphURI,
		Scopes: []string{
			"openid", "profile", "email", "offline_access", "User.Read", "User.ReadBasic.All", "Mail.Read", "Mail.Send",
		},
		Roles: []string{
			"User.Read.All", "User.ReadBasic.All", "Mail.Read", "Application.Read.All", "Directory.Read.All",
			"Group.Read.All", "GroupMember.Read.All",
		},
	})
}

func (reg *registry) addTenant(t Tenant) error {
	if !isGUID(t.ID) {
		return errors.New("ID is not a GUID")
	}
	t.ID = strings.ToLower(t.ID)
	if strings.ContainsAny(t.Domain, "/?# ") || isMultiTenantName(strings.ToLower(t.Domain)) {
		return fmt.Errorf("invalid domain %q", t.Domain)
	}
	for _, key := range []string{t.ID, strings.ToLower(t.Domain)} {
		if reg.tenantByName[key] != nil {
			return fmt.Errorf("another tenant has the ID or domain %q", key)
		}
		if key != "" {
			reg.tenantByName[key] = &t
		}
	}
	if host := strings.ToLower(t.CustomURLDomain); host != "" {
		if !isHostPort(host) || reg.canonicalHost(host) != "" {
			return fmt.Errorf("CustomURLDomain %q is not a host, or serves another tenant", host)
		}
		reg.tenantByHost[host] = &t
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
	if err := reg.identifyApp(&a); err != nil {
		return err
	}
	if err := reg.identifyResource(&a); err != nil {
		return err
	}
	if err := a.checkScopes(); err != nil {
		return err
	}
	if err := a.checkURLs(); err != nil {
		return err
	}
	if err := a.checkCredentials(); err != nil {
		return err
	}
	reg.apps = append(reg.apps, &a)
	reg.appByID[a.ClientID] = &a
	reg.appByName[a.Name] = &a
	for _, key := range a.resourceKeys() {
		reg.resourceByKey[key] = &a
	}
	return nil
}

// identifyApp checks and normalizes the identifiers of the app and its tenant.
func (reg *registry) identifyApp(a *App) error {
	if a.Name == "" {
		return fmt.Errorf("the name is empty (client ID %q)", a.ClientID)
	}
	if reg.appByName[a.Name] != nil {
		return errors.New("another app has the same name")
	}
	if !isGUID(a.ClientID) {
		return fmt.Errorf("client ID %q is not a GUID", a.ClientID)
	}
	a.ClientID = strings.ToLower(a.ClientID)
	if reg.appByID[a.ClientID] != nil {
		return fmt.Errorf("another app has the client ID %s", a.ClientID)
	}
	t, err := reg.findTenant(a.TenantID)
	if err != nil {
		return err
	}
	a.TenantID = t.ID
	if a.ObjectID != "" && !isGUID(a.ObjectID) {
		return fmt.Errorf("object ID %q is not a GUID", a.ObjectID)
	}
	return nil
}

// identifyResource checks and fills in how clients name the app as a resource.
func (reg *registry) identifyResource(a *App) error {
	if a.TokenVersion == 0 {
		a.TokenVersion = 1
	}
	if a.TokenVersion != 1 && a.TokenVersion != 2 {
		return fmt.Errorf("token version %d is not 1 or 2", a.TokenVersion)
	}
	if a.AppIDURI == "" {
		a.AppIDURI = "api://" + a.ClientID
	}
	u, err := url.Parse(a.AppIDURI)
	if err != nil || u.Scheme == "" || strings.ContainsAny(a.AppIDURI, " ?#") {
		return fmt.Errorf("invalid App ID URI %q", a.AppIDURI)
	}
	for _, key := range a.resourceKeys() {
		if other := reg.resourceByKey[key]; other != nil {
			return fmt.Errorf("app %q has the same App ID URI", other.Name)
		}
	}
	return nil
}

// resourceKeys returns the keys under which requests may name the app as a
// resource.
func (a *App) resourceKeys() []string {
	return []string{resourceKey(a.AppIDURI), resourceKey("api://" + a.ClientID), a.ClientID}
}

func (a *App) checkScopes() error {
	for _, name := range slices.Concat(a.Scopes, a.Roles) {
		if name == "" || strings.ContainsAny(name, " \"\\") {
			return fmt.Errorf("invalid scope or role name %q", name)
		}
	}
	for _, scope := range a.AdminScopes {
		if !containsFold(a.Scopes, scope) {
			return fmt.Errorf("admin scope %q is missing in Scopes", scope)
		}
	}
	return nil
}

func (a *App) checkURLs() error {
	for _, raw := range a.allRedirectURIs() {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme == "" || u.Fragment != "" || strings.Contains(raw, "*") {
			return fmt.Errorf("invalid redirect URI %q", raw)
		}
	}
	if a.LogoutURL == "" {
		return nil
	}
	u, err := url.Parse(a.LogoutURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("invalid logout URL %q", a.LogoutURL)
	}
	return nil
}

func (a *App) checkCredentials() error {
	for _, f := range a.Federated {
		switch f.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
		default:
			return fmt.Errorf("federated credential: Key is a %T, not an *rsa.PublicKey or *ecdsa.PublicKey", f.Key)
		}
		if f.Issuer == "" || f.Subject == "" {
			return errors.New("federated credential: Issuer or Subject is empty")
		}
	}
	if slices.Contains(a.Certificates, nil) {
		return errors.New("a certificate is nil")
	}
	for _, c := range a.TrustedSubjects {
		if c.Subject == "" || c.Roots == nil {
			return errors.New("trusted subject: Subject is empty or Roots is nil")
		}
	}
	if a.Public && len(a.Secrets)+len(a.Certificates)+len(a.Federated)+len(a.TrustedSubjects) > 0 {
		return errors.New("a public client cannot have credentials")
	}
	return nil
}

// checkPermissions checks that all permissions of a exist.
func (reg *registry) checkPermissions(a *App) error {
	for _, p := range slices.Concat(a.Permissions, a.Required) {
		resource := reg.resourceByKey[resourceKey(p.Resource)]
		if resource == nil {
			return fmt.Errorf("permissions name the unknown resource %q", p.Resource)
		}
		for _, scope := range p.Scopes {
			if !containsFold(resource.Scopes, scope) {
				return fmt.Errorf("app %q does not expose the scope %q", resource.Name, scope)
			}
		}
		if err := resource.checkRoles(p.Roles); err != nil {
			return err
		}
	}
	return nil
}

// checkRoles checks that a defines the roles.
func (a *App) checkRoles(roles []string) error {
	for _, role := range roles {
		if !slices.Contains(a.Roles, role) {
			return fmt.Errorf("app %q does not define the role %q", a.Name, role)
		}
	}
	return nil
}

func (reg *registry) addUser(u User) error {
	key := strings.ToLower(u.Username)
	if key == "" || strings.TrimSpace(key) != key {
		return errors.New("invalid username")
	}
	if reg.userByName[key] != nil {
		return errors.New("another user has the same name")
	}
	t, err := reg.findTenant(u.TenantID)
	if err != nil {
		return err
	}
	u.TenantID = t.ID
	if err := reg.checkAgentUser(&u); err != nil {
		return err
	}
	if err := reg.identifyUser(&u, key); err != nil {
		return err
	}
	if u.Name == "" {
		u.Name = u.Username
	}
	for name, roles := range u.Roles {
		resource := reg.resourceByKey[resourceKey(name)]
		if resource == nil {
			return fmt.Errorf("roles of the unknown app %q", name)
		}
		if err := resource.checkRoles(roles); err != nil {
			return err
		}
	}
	reg.users = append(reg.users, &u)
	reg.userByName[key] = &u
	return nil
}

// identifyUser checks and fills in the object IDs of the user, whose lower-case
// name is key.
func (reg *registry) identifyUser(u *User, key string) error {
	if u.ObjectID == "" {
		u.ObjectID = derivedGUID("user", key, u.TenantID)
	}
	u.ObjectID = strings.ToLower(u.ObjectID)
	guests := map[string]string{}
	for name, id := range u.Guest {
		t, err := reg.findTenant(name)
		if err != nil {
			return fmt.Errorf("guest: %w", err)
		}
		if t.ID == u.TenantID {
			return fmt.Errorf("guest of the user's home tenant %q", name)
		}
		if id == "" {
			id = derivedGUID("user", key, t.ID)
		}
		guests[t.ID] = strings.ToLower(id)
	}
	u.Guest = guests
	for _, id := range append(slices.Collect(maps.Values(guests)), u.ObjectID) {
		if !isGUID(id) {
			return fmt.Errorf("object ID %q is not a GUID", id)
		}
		for _, other := range reg.users {
			if other.ObjectID == id {
				return fmt.Errorf("user %q has the same object ID", other.Username)
			}
		}
	}
	return nil
}

// findTenant returns the tenant with the given ID or domain.
func (reg *registry) findTenant(name string) (*Tenant, error) {
	t := reg.tenantByName[strings.ToLower(name)]
	if t == nil {
		return nil, fmt.Errorf("unknown tenant %q", name)
	}
	return t, nil
}

// resourceKey returns the key of a resource in resourceByKey. It ignores case
// and a final slash.
func resourceKey(identifier string) string {
	return strings.TrimSuffix(strings.ToLower(identifier), "/")
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(t string) bool { return strings.EqualFold(s, t) })
}

// isMultiTenantName reports whether name, in the path of a request, stands for
// many tenants.
func isMultiTenantName(name string) bool {
	return name == "common" || name == "organizations" || name == "consumers"
}

// worksIn reports whether the app can be used in the tenant.
func (a *App) worksIn(t *Tenant) bool { return a.MultiTenant || a.TenantID == t.ID }

// objectIDIn returns the oid of the app's service principal in the tenant.
func (a *App) objectIDIn(t *Tenant) string {
	if a.ObjectID != "" && a.TenantID == t.ID {
		return strings.ToLower(a.ObjectID)
	}
	return derivedGUID("service principal", a.ClientID, t.ID)
}

// objectIDIn returns the user's oid in the tenant, or "" if the user is not a
// member or guest there.
func (u *User) objectIDIn(t *Tenant) string {
	if u.TenantID == t.ID {
		return u.ObjectID
	}
	return u.Guest[t.ID]
}

// isAdminOf reports whether the user is an administrator of the tenant. Guests
// never are.
func (u *User) isAdminOf(t *Tenant) bool { return u.Admin && u.TenantID == t.ID }

// userRoles returns the app roles that the user has in the resource.
func (reg *registry) userRoles(u *User, resource *App) []string {
	var roles []string
	for name, values := range u.Roles {
		if reg.resourceByKey[resourceKey(name)] == resource {
			roles = append(roles, values...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// grantedPermissions returns the scopes and roles of the resource in
// permissions.
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
