package entratest

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

func (e *estate) addTenant(t Tenant) error {
	if !isGUID(t.ID) {
		return fmt.Errorf("tenant %q: the ID is no GUID", t.ID)
	}
	t.ID = strings.ToLower(t.ID)
	for _, key := range []string{t.ID, strings.ToLower(t.Domain)} {
		if e.tenant[key] != nil {
			return fmt.Errorf("tenant %q: there is another one of that ID or domain", key)
		}
		if key != "" {
			e.tenant[key] = &t
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
	e.tenants = append(e.tenants, &t)
	return nil
}

func (e *estate) addApp(a App) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("app %q: %w", a.Name, fmt.Errorf(format, args...))
	}
	if a.Name == "" {
		return fail("it has no name (client ID %q)", a.ClientID)
	}
	if e.appNamed[a.Name] != nil {
		return fail("there is another one of that name")
	}
	if !isGUID(a.ClientID) {
		return fail("the client ID %q is no GUID", a.ClientID)
	}
	a.ClientID = strings.ToLower(a.ClientID)
	if e.app[a.ClientID] != nil {
		return fail("there is another one of client ID %s", a.ClientID)
	}
	t := e.tenant[strings.ToLower(a.TenantID)]
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
		if other := e.resource[key]; other != nil && other.ClientID != a.ClientID {
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
	e.apps = append(e.apps, &a)
	e.app[a.ClientID] = &a
	e.appNamed[a.Name] = &a
	e.resource[resourceKey(a.AppIDURI)] = &a
	e.resource[resourceKey("api://"+a.ClientID)] = &a
	e.resource[a.ClientID] = &a
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
func (e *estate) checkPermissions(a *App) error {
	for _, p := range slices.Concat(a.Permissions, a.Required) {
		res := e.resource[resourceKey(p.Resource)]
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

func (e *estate) addUser(u User) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("user %q: %s", u.Username, fmt.Sprintf(format, args...))
	}
	key := strings.ToLower(u.Username)
	if key == "" || strings.TrimSpace(key) != key {
		return fail("that is no username")
	}
	if e.user[key] != nil {
		return fail("there is another one of that name")
	}
	t := e.tenant[strings.ToLower(u.TenantID)]
	if t == nil {
		return fail("there is no tenant %q", u.TenantID)
	}
	u.TenantID = t.ID
	if u.ObjectID == "" {
		u.ObjectID = derivedGUID("user", key, t.ID)
	}
	guests := map[string]string{}
	for tenant, oid := range u.Guest {
		g := e.tenant[strings.ToLower(tenant)]
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
		for _, other := range e.users {
			if other.ObjectID == oid {
				return fail("%s has the same object ID", other.Username)
			}
		}
	}
	if u.Name == "" {
		u.Name = u.Username
	}
	for resource, roles := range u.Roles {
		res := e.resource[resourceKey(resource)]
		if res == nil {
			return fail("there is no app %q to have roles in", resource)
		}
		for _, role := range roles {
			if !slices.Contains(res.Roles, role) {
				return fail("app %q defines no role %q", res.Name, role)
			}
		}
	}
	e.users = append(e.users, &u)
	e.user[key] = &u
	return nil
}
