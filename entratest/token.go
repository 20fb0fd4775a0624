package entratest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantCredentials = "client_credentials"
	grantOnBehalfOf  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantPassword    = "password"
)

// token answers the token endpoint.
func (s *Server) token(r *request) *answer {
	if r.http.Method != http.MethodPost {
		return refuse(900561, "The token endpoint takes POST requests, not %s.", quote(r.http.Method)).answer(r)
	}
	a, f := s.grant(r)
	if f != nil {
		return f.answer(r)
	}
	return a
}

// grant serves a token request or refuses it.
func (s *Server) grant(r *request) (*answer, *refusal) {
	if r.malformed {
		return nil, refuse(9002313, "The request is malformed.")
	}
	for name, values := range r.form {
		if len(values) > 1 {
			return nil, refuse(9002313, "The request repeats the parameter '%s'.", quote(name))
		}
	}
	kind := r.form.Get("grant_type")
	switch kind {
	case "":
		return nil, missing("grant_type")
	case grantCode, grantRefresh, grantCredentials, grantOnBehalfOf, grantPassword:
	default:
		return nil, refuse(70003, "The grant_type '%s' is not supported.", quote(kind))
	}
	if r.form.Get("resource") != "" {
		return nil, refuse(901002, "This endpoint takes scopes, not a 'resource'.")
	}
	client, class, f := s.authenticateClient(r)
	if f != nil {
		return nil, f
	}
	claims, f := parseClaims(r.form.Get("claims"))
	if f != nil {
		return nil, f
	}
	g := &granting{request: r, client: client, class: class, claims: claims, tenant: r.tenant, scope: r.form.Get("scope")}
	switch kind {
	case grantCode:
		return s.grantCode(g)
	case grantRefresh:
		return s.grantRefresh(g)
	case grantOnBehalfOf:
		return s.grantOnBehalfOf(g)
	case grantPassword:
		return s.grantPassword(g)
	}
	return s.grantCredentials(g)
}

// granting is a grant in the making, for an authenticated client.
type granting struct {
	*request
	client *App
	class  string // appidacr
	claims claimsRequest
	tenant *Tenant // whose tokens
	scope  string  // the scope parameter, or what stands for it

	// Of grants for a user:
	user  *User
	auth  authentication
	nonce string
}

// grantCredentials serves the client credentials grant
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (s *Server) grantCredentials(g *granting) (*answer, *refusal) {
	if g.client.Public {
		return nil, refuse(7000218, "The client has to prove itself with a 'client_secret' or a 'client_assertion'.")
	}
	if g.tenant == nil {
		return nil, refuse(50059, "Neither the request nor its credentials tell the tenant.")
	}
	if g.scope == "" {
		return nil, missing("scope")
	}
	// Only <resource>/.default is a scope here; MSAL adds the OpenID Connect
	// ones, which Entra passes over.
	for _, scope := range strings.Fields(g.scope) {
		if lower := strings.ToLower(scope); !strings.HasSuffix(lower, "/.default") && !slices.Contains([]string{"openid", "profile", "email", "offline_access"}, lower) {
			return nil, notDefault(g.scope)
		}
	}
	q, f := s.estate.parseScopes(g.scope, g.tenant)
	if f != nil {
		if f.aadsts == 70011 && len(strings.Fields(g.scope)) > 1 {
			return nil, refuse(28000, "A token is for one resource, and the scope '%s' names several.", quote(g.scope))
		}
		return nil, f
	}
	if len(q.resources) == 0 {
		return nil, notDefault(g.scope)
	}
	resource := q.resources[0].app
	roles := s.appRoles(g.tenant, g.client, resource)
	if resource.RequireAssignment && len(roles) == 0 {
		return nil, refuse(501051, "The app '%s' (%s) has no role in '%s' (%s), which asks for one.", g.client.ClientID, g.client.Name, quote(strings.TrimSuffix(q.resources[0].prefix, "/")), resource.Name)
	}
	life := s.life(resource, g.claims)
	payload := s.appClaims(&accessToken{
		request: g.request, tenant: g.tenant, client: g.client, class: g.class, resource: resource,
		roles: roles, life: life, claims: g.claims,
	})
	return s.tokenAnswer(g, map[string]any{}, life, payload), nil
}

func notDefault(scope string) *refusal {
	return refuse(1002012, "An app gets tokens for itself with the scope <resource>/.default, not with '%s'.", quote(scope))
}

// tokenAnswer completes the answer of the token endpoint with an access token.
func (s *Server) tokenAnswer(g *granting, body map[string]any, life time.Duration, payload claimSet) *answer {
	key := s.signingKey()
	header := claimSet{"typ": "JWT", "alg": "RS256", "kid": key.kid}
	if payload["ver"] == "1.0" {
		header["x5t"] = key.kid
	}
	body["token_type"] = "Bearer"
	body["expires_in"] = int(life / time.Second)
	body["ext_expires_in"] = int(life / time.Second)
	body["access_token"] = signJWT(key.private, header, payload)
	if s.refreshIn != nil {
		if in := s.refreshIn(life); in > 0 {
			body["refresh_in"] = int(in / time.Second)
		}
	}
	return jsonAnswer(http.StatusOK, body)
}

// userAnswer settles the scopes and makes the answer to a grant for a user.
func (s *Server) userAnswer(g *granting) (*answer, *refusal) {
	q, f := s.estate.parseScopes(g.scope, g.tenant)
	if f != nil {
		return nil, f
	}
	res, f := q.single(s.estate, g.scope)
	if f != nil {
		return nil, f
	}
	oid := g.user.objectIDIn(g.tenant)
	if oid == "" {
		return nil, refuse(50020, "The account '%s' is no member or guest of the tenant '%s', and cannot use the app '%s' (%s) there.", quote(g.user.Username), g.tenant.Name, g.client.ClientID, g.client.Name)
	}
	roles := s.estate.rolesIn(g.user, res.app)
	if res.app.RequireAssignment && len(roles) == 0 {
		return nil, refuse(50105, "The user '%s' has no role in the app '%s' (%s), which asks for one.", quote(g.user.Username), res.app.ClientID, res.app.Name)
	}
	names, spelled, f := s.grantedFor(res, q, g.user, g.tenant, g.client)
	if f != nil {
		return nil, f
	}
	if f := conditionalAccess(res.app, &g.auth, g.claims); f != nil {
		return nil, f
	}
	life := s.life(res.app, g.claims)
	t := &accessToken{
		request: g.request, tenant: g.tenant, client: g.client, class: g.class, resource: res.app,
		user: g.user, auth: &g.auth, scopes: names, roles: roles, life: life, claims: g.claims,
	}
	body := map[string]any{"scope": strings.Join(spelled, " ")}
	if q.offline {
		body["refresh_token"] = s.sealed("refresh", refreshToken{
			ID: randomToken(12), Auth: g.auth, Tenant: g.tenant.ID, Client: g.client.ClientID,
			Scope: g.scope, Issued: g.now,
		})
	}
	if q.openid {
		body["id_token"] = s.signID(s.idClaims(t, q, g.nonce))
	}
	if g.form.Get("client_info") == "1" {
		body["client_info"] = clientInfo(g.user)
	}
	return s.tokenAnswer(g, body, life, s.userClaims(t)), nil
}
