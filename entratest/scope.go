package entratest

import (
	"slices"
	"strings"
)

// scopeRequest is a scope parameter, taken apart
// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc).
type scopeRequest struct {
	openid, profile, email, offline bool
	resources                       []resourceScopes // in the order they were named
}

// resourceScopes are the scopes asked of one resource.
type resourceScopes struct {
	app       *App
	prefix    string   // the resource as the request names it, with the slash; "" for Graph
	names     []string // as the resource spells them, without prefix
	isDefault bool     // .default was asked for
	requested []string // as the request spells them
}

// parseScopes reads a scope parameter for a tenant, which is nil if it is not
// known yet.
func (reg *registry) parseScopes(param string, t *Tenant) (*scopeRequest, *aadstsError) {
	q := &scopeRequest{}
	for _, scope := range strings.Fields(param) {
		switch strings.ToLower(scope) {
		case "openid":
			q.openid = true
			continue
		case "profile":
			q.profile = true
			continue
		case "email":
			q.email = true
			continue
		case "offline_access":
			q.offline = true
			continue
		}
		if aerr := q.addScope(reg, scope, param, t); aerr != nil {
			return nil, aerr
		}
	}
	for _, res := range q.resources {
		if res.isDefault && (len(res.names) > 0 || len(q.resources) > 1) {
			return nil, newError(70011, "The scope '%s' mixes .default with other scopes.", printable(param))
		}
	}
	return q, nil
}

func (q *scopeRequest) addScope(reg *registry, scope, param string, t *Tenant) *aadstsError {
	prefix, name := "", scope
	if i := strings.LastIndexByte(scope, '/'); i >= 0 {
		prefix, name = scope[:i+1], scope[i+1:]
	}
	key := resourceKey(strings.TrimSuffix(prefix, "/"))
	if prefix == "" {
		key = graphID
	}
	app := reg.resourceByKey[key]
	if prefix == "" && !strings.EqualFold(name, ".default") && !containsFold(app.Scopes, name) || name == "" {
		return newError(70011, "The scope '%s' names no permission. A scope is a resource's URI or client ID, a slash and a name.", printable(param))
	}
	if app == nil || t != nil && !app.worksIn(t) {
		where := "the tenant"
		if t != nil {
			where = "the tenant named " + t.Name
		}
		return newError(500011, "There is no resource named %s in %s.", printable(strings.TrimSuffix(prefix, "/")), where)
	}
	i := slices.IndexFunc(q.resources, func(r resourceScopes) bool { return r.app == app })
	if i < 0 {
		i = len(q.resources)
		q.resources = append(q.resources, resourceScopes{app: app, prefix: prefix})
	}
	res := &q.resources[i]
	res.requested = append(res.requested, scope)
	if strings.EqualFold(name, ".default") {
		res.isDefault = true
		return nil
	}
	for _, known := range app.Scopes {
		if strings.EqualFold(known, name) {
			if !slices.Contains(res.names, known) {
				res.names = append(res.names, known)
			}
			return nil
		}
	}
	return newError(70011, "The scope '%s' is none that the app '%s' exposes.", printable(scope), app.ClientID)
}

// single is the one resource that a token is for: Graph if none is named.
func (q *scopeRequest) singleResource(reg *registry, param string) (*resourceScopes, *aadstsError) {
	switch len(q.resources) {
	case 0:
		if !q.openid && !q.profile && !q.email {
			return nil, newError(28003, "The scope names no resource to get a token for.")
		}
		return &resourceScopes{app: reg.appByID[graphID]}, nil
	case 1:
		return &q.resources[0], nil
	}
	return nil, newError(28000, "A token is for one resource, and the scope '%s' names several.", printable(param))
}

// oidc are the OpenID Connect scopes that were asked for. A token for Graph,
// which hosts them, carries all but offline_access.
func (q *scopeRequest) oidc() []string {
	var names []string
	for _, s := range []struct {
		asked bool
		name  string
	}{{q.email, "email"}, {q.openid, "openid"}, {q.profile, "profile"}} {
		if s.asked {
			names = append(names, s.name)
		}
	}
	return names
}
