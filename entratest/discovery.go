package entratest

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// handleDiscovery serves the OpenID configuration document of version 1 or 2
// (https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#fetch-the-openid-configuration-document).
// panva/wellknown records Entra's. It has no code_challenge_methods_supported:
// clients use PKCE or not depending on it (immich-app/immich#18725,
// modelcontextprotocol/typescript-sdk#832). With appid, it names the key document of
// that app.
func (s *Server) handleDiscovery(r *request) *response {
	issuerTenant, pathTenant := "{tenantid}", r.tenantName
	var region any
	switch {
	case r.tenant != nil:
		issuerTenant = r.tenant.ID
		pathTenant = r.tenant.ID
		region = "WW"
	case r.tenantName == "consumers":
		issuerTenant = consumersTenant
	}
	tenant := r.base + "/" + pathTenant
	oauth := tenant + "/oauth2"
	tokenBase := tokenEndpointBase(r.base, r.http.Host)
	doc := map[string]any{
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"kerberos_endpoint":                     tenant + "/kerberos",
		"tenant_region_scope":                   region,
		"cloud_instance_name":                   cloudAt(r.base).name,
		"cloud_graph_host_name":                 "graph.windows.net",
		"msgraph_host":                          s.graphHost(r),
		"rbac_url":                              "https://pas.windows.net",
	}
	claims := []string{
		"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud",
		"exp", "iat", "auth_time", "acr",
	}
	keysPath := "/discovery/v2.0/keys"
	version := map[string]any{
		"issuer":                          s.registry.v2Issuer(r.base, issuerTenant),
		"authorization_endpoint":          oauth + "/v2.0/authorize",
		"token_endpoint":                  tokenBase + "/" + pathTenant + "/oauth2/v2.0/token",
		"device_authorization_endpoint":   oauth + "/v2.0/devicecode",
		"end_session_endpoint":            oauth + "/v2.0/logout",
		"jwks_uri":                        tenant + keysPath,
		"userinfo_endpoint":               s.graphBase(r) + "/oidc/userinfo",
		"response_types_supported":        []string{"code", "id_token", "code id_token", "id_token token"},
		"scopes_supported":                []string{"openid", "profile", "email", "offline_access"},
		"request_uri_parameter_supported": false,
		"claims_supported": append(claims,
			"nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"),
	}
	if !strings.Contains(strings.ToLower(r.http.URL.Path), "/v2.0/") {
		keysPath = "/discovery/keys"
		version = map[string]any{
			"issuer":                        v1Issuer(r.base, issuerTenant),
			"authorization_endpoint":        oauth + "/authorize",
			"token_endpoint":                tokenBase + "/" + pathTenant + "/oauth2/token",
			"device_authorization_endpoint": oauth + "/devicecode",
			"end_session_endpoint":          oauth + "/logout",
			"check_session_iframe":          oauth + "/checksession",
			"jwks_uri":                      r.base + "/common" + keysPath, // for every tenant
			"userinfo_endpoint":             tenant + "/openid/userinfo",
			"response_types_supported":      []string{"code", "id_token", "code id_token", "token id_token", "token"},
			"scopes_supported":              []string{"openid"},
			"microsoft_multi_refresh_token": true,
			"claims_supported":              append(claims, "amr", "nonce", "email", "given_name", "family_name", "nickname"),
		}
	}
	if appID := r.form.Get("appid"); appID != "" {
		version["jwks_uri"] = tenant + keysPath + "?appid=" + url.QueryEscape(appID)
	}
	maps.Copy(doc, version)
	resp := jsonResponse(http.StatusOK, doc)
	resp.header.Set("Cache-Control", "max-age=86400, private")
	resp.header.Set("Access-Control-Allow-Origin", "*")
	return resp
}

// consumersTenant is the tenant of personal Microsoft accounts.
const consumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// handleUserRealm serves /common/UserRealm/{username}. Microsoft's libraries call it
// before the password grant, to send the password of a federated account to the
// account's own identity provider. It is only documented by their source.
func (s *Server) handleUserRealm(r *request) *response {
	doc := map[string]string{
		"ver": "1.0", "account_type": "Unknown", "cloud_instance_name": cloudAt(r.base).name,
		"cloud_audience_urn": "urn:federation:MicrosoftOnline",
	}
	name := r.http.URL.Path[strings.LastIndexByte(r.http.URL.Path, '/')+1:]
	if u := s.registry.userByName[strings.ToLower(name)]; u != nil {
		doc["account_type"] = "Managed"
		_, doc["domain_name"], _ = strings.Cut(u.Username, "@")
	}
	return jsonResponse(http.StatusOK, doc)
}

// handleInstance serves instance discovery, which lists the hosts of each
// authority. Microsoft's libraries call it for hosts that they do not know. It is
// only documented by their source.
func (s *Server) handleInstance(r *request) *response {
	self := strings.TrimPrefix(strings.TrimPrefix(r.base, "https://"), "http://")
	target, err := url.Parse(r.form.Get("authorization_endpoint"))
	host := ""
	if err == nil {
		host = strings.ToLower(target.Host)
	}
	if host == "" || target.Scheme != "https" || !isHostPort(host) {
		return newError(50049, "The host is not known as an authority.").response(r)
	}
	if s.registry.canonicalHost(host) == "" && host != self && host != s.host {
		return newError(50049, "The host is not known as an authority.").response(r)
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(target.EscapedPath(), "/"), "/")
	type entry struct {
		Network string   `json:"preferred_network"`
		Cache   string   `json:"preferred_cache"`
		Aliases []string `json:"aliases"`
	}
	var metadata []entry
	for _, c := range clouds {
		e := entry{Network: c.hosts[0], Cache: c.hosts[0], Aliases: c.hosts}
		if e.Network == "login.microsoftonline.com" {
			e.Cache = "login.windows.net"
		}
		metadata = append(metadata, e)
	}
	for _, own := range []string{self, s.host} {
		if own != "" && s.registry.canonicalHost(own) == "" {
			metadata = append(metadata, entry{Network: own, Cache: own, Aliases: []string{own}})
		}
	}
	resp := jsonResponse(http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  metadata,
	})
	resp.header.Set("Cache-Control", "max-age=86400, private")
	return resp
}
