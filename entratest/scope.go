package entratest

import (
	"slices"
	"strings"
)

// scopeRequest is a parsed scope parameter
// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc).
type scopeRequest struct {
	openid, profile, email, offline bool
	resources                       []resourceScopes // in order of appearance
}

// resourceScopes are the requested scopes of one resource.
type resourceScopes struct {
	app       *App
	prefix    string   // the resource as in the request, with the slash; may be "" for Graph
	names     []string // as in App.Scopes, without prefix
	isDefault bool     // .default was requested
}

// maxScope is the maximum size of a scope parameter, in bytes. Codes, refresh tokens and device
// authorizations store it.
const maxScope = 8 << 10

// parseScopes parses a scope parameter for a tenant, which is nil if it is not yet
// known.
func (reg *registry) parseScopes(param string, t *Tenant) (*scopeRequest, *aadstsError) {
	q := &scopeRequest{}
	if len(param) > maxScope {
		return nil, newError(70011, "The scope has more than %d bytes.", maxScope)
	}
	for _, scope := range strings.Fields(param) {
		if q.addOIDC(scope) {
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

// addOIDC adds a scope of OpenID Connect. It reports false for other scopes.
func (q *scopeRequest) addOIDC(scope string) bool {
	switch strings.ToLower(scope) {
	case "openid":
		q.openid = true
	case "profile":
		q.profile = true
	case "email":
		q.email = true
	case "offline_access":
		q.offline = true
	default:
		return false
	}
	return true
}

// withOIDC returns q with the scopes of OpenID Connect in param, unless q has some.
func (q *scopeRequest) withOIDC(param string) *scopeRequest {
	all := *q
	if all.openid || all.profile || all.email || all.offline {
		return &all
	}
	for _, scope := range strings.Fields(param) {
		all.addOIDC(scope)
	}
	return &all
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
	if name == "" {
		return newError(70011, "The scope '%s' is not valid. A scope is the URI or client ID of a resource, "+
			"a slash and the name of a permission.", printable(param))
	}
	if app == nil || t != nil && !app.worksIn(t) {
		where := "the tenant"
		if t != nil {
			where = "the tenant named " + t.Name
		}
		return newError(500011, "The resource named %s was not found in %s.",
			printable(strings.TrimSuffix(prefix, "/")), where)
	}
	i := slices.IndexFunc(q.resources, func(r resourceScopes) bool { return r.app == app })
	if i < 0 {
		i = len(q.resources)
		q.resources = append(q.resources, resourceScopes{app: app, prefix: prefix})
	}
	res := &q.resources[i]
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
	return newError(650053, "The client requested the scope '%s', which the resource '%s' does not expose.",
		printable(name), app.ClientID)
}

// identifier returns the identifier of the resource in the request, a URI or the
// client ID, spelled as registered, and the slashes that follow it in a scope. Both
// are empty if the request did not name the resource.
func (r *resourceScopes) identifier() (id, slashes string) {
	for _, id := range []string{strings.TrimSuffix(r.app.AppIDURI, "/"), "api://" + r.app.ClientID, r.app.ClientID} {
		if len(r.prefix) >= len(id) && strings.EqualFold(r.prefix[:len(id)], id) {
			return id, r.prefix[len(id):]
		}
	}
	return "", ""
}

// spell returns a scope of the resource as it appears in a response: the name and
// the resource are spelled as registered.
func (r *resourceScopes) spell(name string) string {
	id, slashes := r.identifier()
	return id + slashes + name
}

// audience returns the audience of a version 1 access token, which is the identifier
// in the request
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#payload-claims).
func (r *resourceScopes) audience() string {
	switch id, slashes := r.identifier(); {
	case id == "":
		return r.app.ClientID
	case slashes == "//":
		return id + "/"
	default:
		return id
	}
}

// singleResource returns the resource of a token request, which must be for one
// resource. A request with only OpenID Connect scopes is for Graph.
func (q *scopeRequest) singleResource(reg *registry, param string) (*resourceScopes, *aadstsError) {
	switch len(q.resources) {
	case 0:
		if !q.openid && !q.profile && !q.email {
			return nil, newError(28003, "The scope does not name a resource.")
		}
		return &resourceScopes{app: reg.appByID[graphID]}, nil
	case 1:
		return &q.resources[0], nil
	}
	return nil, severalResourcesError(param)
}

func severalResourcesError(scope string) *aadstsError {
	return newError(28000, "The scope '%s' names several resources. A token is for one resource.", printable(scope))
}

// oidc returns the requested OpenID Connect scopes except offline_access. A token
// for Graph, which defines them, has them in its scp claim.
func (q *scopeRequest) oidc() []string {
	var names []string
	for _, s := range []struct {
		requested bool
		name      string
	}{{q.email, "email"}, {q.openid, "openid"}, {q.profile, "profile"}} {
		if s.requested {
			names = append(names, s.name)
		}
	}
	return names
}
