package entratest

import (
	"net/http"
	"strings"
	"time"
)

// graphHost returns the host of Microsoft Graph for an authority. The authority of a
// listener, or of Config.Host, serves Graph itself, so that test tokens do not leave
// the machine.
func (s *Server) graphHost(r *request) string {
	_, host, _ := strings.Cut(r.base, "://")
	if s.registry.canonicalHost(host) == "" {
		return host
	}
	return cloudAt(r.base).graph
}

// graphBase is like graphHost with the scheme.
func (s *Server) graphBase(r *request) string {
	scheme, _, _ := strings.Cut(r.base, "://")
	return scheme + "://" + s.graphHost(r)
}

// isGraphHost reports whether host is the host of Microsoft Graph in a cloud.
func isGraphHost(host string) bool { return graphCloud(host) != nil }

// graphCloud returns the first cloud whose Graph has the host, or nil.
func graphCloud(host string) *cloud {
	for i := range clouds {
		if clouds[i].graph == strings.ToLower(host) {
			return &clouds[i]
		}
	}
	return nil
}

// handleGraph serves the UserInfo endpoint
// (https://learn.microsoft.com/entra/identity-platform/userinfo) and a few requests of
// Microsoft Graph about the signed-in user
// (https://learn.microsoft.com/graph/api/user-get).
func (s *Server) handleGraph(r *request) *response {
	resp := s.serveGraph(r)
	resp.header.Set("request-id", r.traceID)
	return resp
}

func (s *Server) serveGraph(r *request) *response {
	path := strings.TrimSuffix(strings.ToLower(r.http.URL.Path), "/")
	info, membership := r.endpoint == EndpointUserInfo, isMembershipPath(path)
	get, post := r.http.Method == http.MethodGet && !membership, r.http.Method == http.MethodPost && (membership || info)
	if !get && !post {
		return graphError(r, http.StatusMethodNotAllowed, "BadRequest", "The method is not supported.")
	}
	t, u, aerr := s.graphToken(r)
	if aerr != "" {
		resp := graphError(r, http.StatusUnauthorized, "InvalidAuthenticationToken", aerr)
		resp.header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="`+r.base+
			`/common/oauth2/authorize", client_id="`+graphID+`"`)
		return resp
	}
	if membership {
		return s.serveMembership(r, t, u, path)
	}
	if u == nil {
		return graphError(r, http.StatusBadRequest, "BadRequest",
			"/me request is only valid with delegated authentication flow.")
	}
	scopes := strings.Fields(t.payload.stringClaim("scp"))
	if scope := "User.Read"; !info && !containsFold(scopes, scope) || info && !containsFold(scopes, "openid") {
		return graphError(r, http.StatusForbidden, "Authorization_RequestDenied",
			"Insufficient privileges to complete the operation.")
	}
	given, family := u.names()
	switch path {
	case "/oidc/userinfo":
		client := s.registry.appByID[clientOf(t.payload)]
		if client == nil {
			return graphError(r, http.StatusUnauthorized, "InvalidAuthenticationToken", "The application is unknown.")
		}
		// The subject is that of the client's ID tokens, not that of the access token.
		sub := pairwise(u, s.registry.tenantByName[t.payload.stringClaim("tid")], client)
		body := map[string]any{"sub": sub, "picture": s.graphBase(r) + "/v1.0/me/photo/$value"}
		if containsFold(scopes, "profile") {
			body["name"], body["given_name"], body["family_name"] = u.Name, given, family
		}
		if containsFold(scopes, "email") && u.Email != "" {
			body["email"] = u.Email
		}
		return jsonResponse(http.StatusOK, body)
	case "/v1.0/me":
		body := map[string]any{
			"@odata.context": s.graphBase(r) + "/v1.0/$metadata#users/$entity", "businessPhones": []string{},
			"displayName": u.Name, "givenName": given, "jobTitle": nil, "mail": nil, "mobilePhone": nil,
			"officeLocation": nil, "preferredLanguage": nil, "surname": family, "userPrincipalName": u.Username,
			"id": t.payload["oid"],
		}
		if u.Email != "" {
			body["mail"] = u.Email
		}
		return jsonResponse(http.StatusOK, body)
	case "/v1.0/me/memberof", "/v1.0/me/transitivememberof":
		groups := []map[string]any{}
		for _, id := range u.Groups {
			groups = append(groups, map[string]any{"@odata.type": "#microsoft.graph.group", "id": id, "displayName": nil})
		}
		return jsonResponse(http.StatusOK, map[string]any{
			"@odata.context": s.graphBase(r) + "/v1.0/$metadata#directoryObjects", "value": groups,
		})
	}
	sized := strings.HasPrefix(path, "/v1.0/me/photos/") // such as 48x48
	if sized || path == "/v1.0/me/photo" || path == "/v1.0/me/photo/$value" {
		return graphError(r, http.StatusNotFound, "ImageNotFound", "The user does not have a photo.")
	}
	return graphError(r, http.StatusNotFound, "ResourceNotFound", "entratest does not serve this resource.")
}

// graphToken returns the valid token of a request to Graph and its user, who is nil for
// an app-only token. problem describes an invalid token.
func (s *Server) graphToken(r *request) (t *jwt, u *User, problem string) {
	scheme, raw, _ := strings.Cut(r.http.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return nil, nil, "Access token is empty."
	}
	t, err := parseJWT(raw)
	if err != nil {
		return nil, nil, "CompactToken parsing failed."
	}
	key := s.publishedKey(t.header.stringClaim("kid"))
	if key == nil || !t.signedForGraph(key) {
		return nil, nil, "Access token validation failure. Invalid audience or signature."
	}
	aud := t.payload.stringClaim("aud")
	if graph := s.registry.appByID[graphID]; !graph.isAudience(aud) {
		return nil, nil, "Access token validation failure. Invalid audience."
	}
	exp, _ := t.payload.intClaim("exp")
	nbf, _ := t.payload.intClaim("nbf")
	if now := r.now.Unix(); now >= exp || now < nbf {
		return nil, nil, "Lifetime validation failed, the token is expired."
	}
	if s.IsRevoked(raw) {
		return nil, nil, "Continuous access evaluation resulted in challenge."
	}
	tenant := s.registry.tenantByName[t.payload.stringClaim("tid")]
	if tenant == nil || t.payload.stringClaim("scp") == "" {
		return t, nil, ""
	}
	return t, s.registry.userByID(t.payload.stringClaim("oid"), tenant), ""
}

// graphError returns an error of Graph
// (https://learn.microsoft.com/graph/errors).
func graphError(r *request, status int, code, message string) *response {
	resp := jsonResponse(status, map[string]any{"error": map[string]any{
		"code": code, "message": message, "innerError": map[string]string{
			"date": r.now.UTC().Format(time.RFC3339), "request-id": r.traceID, "client-request-id": r.correlationID,
		},
	}})
	resp.err = &aadstsError{code: code, status: status, message: message}
	return resp
}

// names returns the given name and the family name: the last word of Name.
func (u *User) names() (given, family string) {
	if i := strings.LastIndexByte(u.Name, ' '); i >= 0 {
		return u.Name[:i], u.Name[i+1:]
	}
	return u.Name, ""
}
