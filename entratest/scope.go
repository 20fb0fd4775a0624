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
	app     *App
	prefix  string   // the resource as the request names it, with the slash; "" for Graph
	names   []string // as the resource spells them, without prefix
	byDflt  bool     // .default was asked for
	verbose []string // as the request spells them
}

// parseScopes reads a scope parameter for a tenant, which is nil if it is not
// known yet.
func (e *estate) parseScopes(param string, t *Tenant) (*scopeRequest, *refusal) {
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
		if f := q.add(e, scope, param, t); f != nil {
			return nil, f
		}
	}
	for _, res := range q.resources {
		if res.byDflt && (len(res.names) > 0 || len(q.resources) > 1) {
			return nil, refuse(70011, "The scope '%s' mixes .default with other scopes.", quote(param))
		}
	}
	return q, nil
}

func (q *scopeRequest) add(e *estate, scope, param string, t *Tenant) *refusal {
	prefix, name := "", scope
	if i := strings.LastIndexByte(scope, '/'); i >= 0 {
		prefix, name = scope[:i+1], scope[i+1:]
	}
	key := resourceKey(strings.TrimSuffix(prefix, "/"))
	if prefix == "" {
		key = graphID
	}
	app := e.resource[key]
	if prefix == "" && !strings.EqualFold(name, ".default") && !containsFold(app.Scopes, name) || name == "" {
		return refuse(70011, "The scope '%s' names no permission. A scope is a resource's URI or client ID, a slash and a name.", quote(param))
	}
	if app == nil || t != nil && !app.servesTenant(t) {
		where := "the tenant"
		if t != nil {
			where = "the tenant named " + t.Name
		}
		return refuse(500011, "There is no resource named %s in %s.", quote(strings.TrimSuffix(prefix, "/")), where)
	}
	i := slices.IndexFunc(q.resources, func(r resourceScopes) bool { return r.app == app })
	if i < 0 {
		i = len(q.resources)
		q.resources = append(q.resources, resourceScopes{app: app, prefix: prefix})
	}
	res := &q.resources[i]
	res.verbose = append(res.verbose, scope)
	if strings.EqualFold(name, ".default") {
		res.byDflt = true
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
	return refuse(70011, "The scope '%s' is none that the app '%s' exposes.", quote(scope), app.ClientID)
}

// single is the one resource that a token is for: Graph if none is named.
func (q *scopeRequest) single(e *estate, param string) (*resourceScopes, *refusal) {
	switch len(q.resources) {
	case 0:
		if !q.openid && !q.profile && !q.email {
			return nil, refuse(28003, "The scope names no resource to get a token for.")
		}
		return &resourceScopes{app: e.app[graphID]}, nil
	case 1:
		return &q.resources[0], nil
	}
	return nil, refuse(28000, "A token is for one resource, and the scope '%s' names several.", quote(param))
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
