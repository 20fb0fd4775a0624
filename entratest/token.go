package entratest

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	grantTypeCode        = "authorization_code"
	grantTypeRefresh     = "refresh_token"
	grantTypeCredentials = "client_credentials"
	grantTypeOnBehalfOf  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantTypePassword    = "password"
	grantTypeUserFIC     = "user_fic"
)

// handleToken serves the token endpoint.
func (s *Server) handleToken(r *request) *response {
	if r.http.Method != http.MethodPost {
		return methodError(r, "POST").response(r)
	}
	resp, aerr := s.handleGrant(r)
	if aerr != nil {
		return aerr.response(r)
	}
	return resp
}

// handleGrant validates a token request and calls the method of its grant type.
func (s *Server) handleGrant(r *request) (*response, *aadstsError) {
	if r.malformed {
		return nil, newError(9002313, "The request is malformed.")
	}
	for name, values := range r.form {
		if len(values) > 1 {
			return nil, newError(9002313, "The request repeats the parameter '%s'.", printable(name))
		}
	}
	kind := r.form.Get("grant_type")
	switch kind {
	case "":
		return nil, missingParameter("grant_type")
	case grantTypeCode, grantTypeRefresh, grantTypeCredentials, grantTypeOnBehalfOf, grantTypePassword,
		grantTypeDevice, grantTypeDeviceShort, grantTypeUserFIC:
	default:
		return nil, newError(70003, "The grant_type '%s' is not supported.", printable(kind))
	}
	if kind := r.form.Get("token_type"); kind != "" && !strings.EqualFold(kind, "Bearer") {
		return nil, newError(90023, "The token_type '%s' is not supported by entratest.", printable(kind))
	}
	if r.form.Get("resource") != "" {
		return nil, newError(901002, "The parameter 'resource' is not supported. Use 'scope'.")
	}
	if kind == grantTypePassword && (r.tenantName == "common" || r.tenantName == "consumers") {
		return nil, newError(9001023, "The password grant is not supported at common or consumers. "+
			"Use organizations or a tenant.")
	}
	client, class, aerr := s.authenticateClient(r)
	if aerr != nil {
		return nil, aerr
	}
	claims, aerr := parseClaims(r.form.Get("claims"))
	if aerr != nil {
		return nil, aerr
	}
	g := &grantRequest{
		request: r, client: client, class: class, claims: claims, tenant: r.tenant, scope: r.form.Get("scope"),
	}
	switch kind {
	case grantTypeCode:
		return s.grantCode(g)
	case grantTypeRefresh:
		return s.grantRefresh(g)
	case grantTypeOnBehalfOf:
		return s.grantOnBehalfOf(g)
	case grantTypePassword:
		return s.grantPassword(g)
	case grantTypeDevice, grantTypeDeviceShort:
		return s.grantDevice(g)
	case grantTypeUserFIC:
		return s.grantUserFIC(g)
	}
	return s.grantCredentials(g)
}

// A grantRequest is a token request of an authenticated client.
type grantRequest struct {
	*request
	client *App
	class  string // appidacr
	claims claimsRequest
	tenant *Tenant // issuing tenant
	scope  string  // the scope parameter, or that of the redeemed code or token
	signed string  // the scope of the sign-in; if empty, scope

	// For grants of a user:
	user     *User
	auth     authentication
	nonce    string
	authTime bool // the ID token must have auth_time
	platform platform
	until    time.Time // expiry of refresh tokens for a single-page app
}

// grantCredentials serves the client credentials grant
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (s *Server) grantCredentials(g *grantRequest) (*response, *aadstsError) {
	if g.client.Public {
		return nil, credentialRequiredError()
	}
	if g.tenant == nil {
		return nil, newError(50059, "The request does not identify a tenant.")
	}
	if g.scope == "" {
		return nil, missingParameter("scope")
	}
	// Only <resource>/.default is allowed. MSAL adds the OpenID Connect scopes,
	// which Entra ignores.
	oidc := []string{"openid", "profile", "email", "offline_access"}
	for _, scope := range strings.Fields(strings.ToLower(g.scope)) {
		if !strings.HasSuffix(scope, "/.default") && !slices.Contains(oidc, scope) {
			return nil, notDefaultScope(g.scope)
		}
	}
	q, aerr := s.registry.parseScopes(g.scope, g.tenant)
	if aerr != nil {
		if aerr.number == 70011 && len(strings.Fields(g.scope)) > 1 {
			return nil, severalResourcesError(g.scope)
		}
		return nil, aerr
	}
	if len(q.resources) == 0 {
		return nil, notDefaultScope(g.scope)
	}
	resource := q.resources[0].app
	if resource.ClientID == tokenExchangeID {
		return s.grantTokenExchange(g, resource)
	}
	roles := s.appRoles(g.tenant, g.client, resource)
	if resource.RequireAssignment && len(roles) == 0 {
		return nil, newError(501051, "The app '%s' (%s) is not assigned to a role of '%s' (%s).", g.client.ClientID,
			g.client.Name, printable(strings.TrimSuffix(q.resources[0].prefix, "/")), resource.Name)
	}
	t := &accessToken{
		request: g.request, tenant: g.tenant, client: g.client, class: g.class, resource: resource,
		audience: q.resources[0].audience(), roles: roles, lifetime: s.tokenLifetime(resource, g.claims), claims: g.claims,
	}
	return s.accessTokenResponse(map[string]any{}, t, s.appClaims(t)), nil
}

func notDefaultScope(scope string) *aadstsError {
	return newError(1002012, "The scope '%s' is not valid for client credentials. Use <resource>/.default.",
		printable(scope))
}

// accessTokenResponse adds the access token t with the claims in payload to body and
// returns the response.
func (s *Server) accessTokenResponse(body map[string]any, t *accessToken, payload claimSet) *response {
	key := s.signingKey(t.resource, t.tenant)
	header := claimSet{"typ": "JWT", "alg": "RS256", "kid": key.kid}
	if payload["ver"] == "1.0" {
		header["x5t"] = key.kid
	}
	body["token_type"] = "Bearer"
	body["expires_in"] = int(t.lifetime / time.Second)
	body["ext_expires_in"] = int(t.lifetime / time.Second)
	body["access_token"] = signAccessToken(key, header, payload, t.resource)
	if s.refreshIn != nil {
		if in := s.refreshIn(t.lifetime); in > 0 {
			body["refresh_in"] = int(in / time.Second)
		}
	}
	return jsonResponse(http.StatusOK, body)
}

// userTokenResponse returns the response to a grant for a user.
func (s *Server) userTokenResponse(g *grantRequest) (*response, *aadstsError) {
	q, aerr := s.registry.parseScopes(g.scope, g.tenant)
	if aerr != nil {
		return nil, aerr
	}
	if g.form.Get("grant_type") == grantTypeRefresh && len(q.resources) > 1 {
		q.resources = q.resources[:1]
	}
	res, aerr := q.singleResource(s.registry, g.scope)
	if aerr != nil {
		return nil, aerr
	}
	oid := g.user.objectIDIn(g.tenant)
	if oid == "" {
		return nil, notInTenantError(g.user, g.tenant, g.client)
	}
	roles := s.registry.userRoles(g.user, res.app)
	if res.app.RequireAssignment && len(roles) == 0 {
		return nil, notAssignedError(g.user, res.app)
	}
	names, spelled, aerr := s.tokenScopes(res, q, g.user, g.tenant, g.client)
	if aerr != nil {
		return nil, aerr
	}
	if aerr := conditionalAccess(res.app, &g.auth, g.claims); aerr != nil {
		return nil, aerr.forUser(g.user)
	}
	t := &accessToken{
		request: g.request, tenant: g.tenant, client: g.client, class: g.class, resource: res.app,
		audience: res.audience(), user: g.user, auth: &g.auth, scopes: names, roles: roles, authTime: g.authTime,
		lifetime: s.tokenLifetime(res.app, g.claims), claims: g.claims,
	}
	body := map[string]any{"scope": strings.Join(spelled, " ")}
	signed := cmp.Or(g.signed, g.scope)
	oidc := q.withOIDC(signed) // a redemption with the scopes of an API only keeps those of the sign-in
	if oidc.offline {
		body["refresh_token"] = s.seal("refresh", refreshToken{
			ID: randomToken(12), Auth: g.auth, Tenant: g.tenant.ID, Client: g.client.ClientID,
			Scope: g.scope, Signed: signed, Issued: g.now, AuthTime: g.authTime, Platform: g.platform, Until: g.until,
		})
		if !g.until.IsZero() {
			body["refresh_token_expires_in"] = int(g.until.Sub(g.now) / time.Second)
		}
	}
	if oidc.openid {
		body["id_token"] = s.signIDToken(s.idClaims(t, oidc, g.nonce), t)
	}
	if g.form.Get("client_info") == "1" {
		body["client_info"] = clientInfo(g.user)
	}
	return s.accessTokenResponse(body, t, s.userClaims(t)), nil
}

// grantCode redeems an authorization code
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#redeem-a-code-for-an-access-token).
func (s *Server) grantCode(g *grantRequest) (*response, *aadstsError) {
	raw := g.form.Get("code")
	if raw == "" {
		return nil, missingParameter("code")
	}
	redirect := g.form.Get("redirect_uri")
	if redirect == "" {
		return nil, missingParameter("redirect_uri")
	}
	var c code
	if !s.unseal("code", raw, &c) {
		return nil, malformedGrantError()
	}
	if aerr := s.bindCode(g, c.Client, c.Tenant); aerr != nil {
		return nil, aerr
	}
	if !g.client.hasRedirectURI(redirect) {
		return nil, redirectMismatch(g.client, redirect)
	}
	if withPath(c.Redirect) != withPath(redirect) {
		return nil, newError(500112, "The redirect URI '%s' is not the redirect URI '%s' of the authorization request.",
			printable(redirect), printable(c.Redirect))
	}
	if g.now.Sub(c.Issued) > codeLifetime {
		return nil, newError(70008, "The authorization code has expired. Sign the user in again.")
	}
	if c.Platform == platformSPA && c.Challenge == "" {
		return nil, newError(9002325, "A single-page app must use PKCE.")
	}
	if !verifyPKCE(g.form.Get("code_verifier"), c.Challenge, c.Method) {
		return nil, newError(501481, "The code_verifier does not match the code_challenge.")
	}
	if !s.markRedeemed(c.Number, g.now) {
		return nil, newError(54005, "The authorization code has already been redeemed.")
	}
	var aerr *aadstsError
	if g.user, aerr = s.activeUser(&c.Auth); aerr != nil {
		return nil, aerr
	}
	g.signed = c.Scope
	g.auth, g.nonce, g.authTime, g.platform = c.Auth, c.Nonce, c.AuthTime, c.Platform
	if c.Platform == platformSPA {
		g.until = g.now.Add(spaLifetime)
	}
	if g.scope == "" {
		g.scope = c.Scope
		if q, aerr := s.registry.parseScopes(c.Scope, g.tenant); aerr == nil && len(q.resources) > 1 {
			return nil, newError(28003, "The scope must not be empty: the authorization request named several resources.")
		}
	}
	return s.userTokenResponse(g)
}

// malformedGrantError returns the error for an authorization code or refresh token
// that is not one of this server.
func malformedGrantError() *aadstsError {
	aerr := newError(9002313, "The request is malformed.")
	aerr.code = "invalid_grant"
	return aerr
}

// bindCode checks that an authorization code was issued to the client and for the tenant
// of g, and sets the tenant of g.
func (s *Server) bindCode(g *grantRequest, clientID, tenantID string) *aadstsError {
	if clientID != g.client.ClientID {
		return newError(70000, "The authorization code was issued to another client.")
	}
	if g.tenant != nil && g.tenant.ID != tenantID {
		return newError(700005, "The authorization code was issued for another tenant.")
	}
	g.tenant = s.registry.tenantByName[tenantID]
	return nil
}

// verifyPKCE reports whether verifier matches challenge (RFC 7636, section 4.6). A
// verifier without a challenge does not match, because an attacker may have removed
// the challenge from the authorization request.
func verifyPKCE(verifier, challenge, method string) bool {
	switch {
	case challenge == "":
		return verifier == ""
	case len(verifier) < 43 || len(verifier) > 128:
		return false
	case method == "S256":
		sum := sha256.Sum256([]byte(verifier))
		verifier = b64.EncodeToString(sum[:])
	}
	return subtle.ConstantTimeCompare([]byte(verifier), []byte(challenge)) == 1
}

// grantRefresh redeems a refresh token. The token stays valid and can be used for
// every resource and in every tenant that the client may access for the user
// (https://learn.microsoft.com/entra/identity-platform/refresh-tokens). If the scope
// names several resources, the access token is for the first
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#refresh-the-access-token).
func (s *Server) grantRefresh(g *grantRequest) (*response, *aadstsError) {
	raw := g.form.Get("refresh_token")
	if raw == "" {
		return nil, missingParameter("refresh_token")
	}
	var t refreshToken
	if !s.unseal("refresh", raw, &t) {
		return nil, malformedGrantError()
	}
	if t.Client != g.client.ClientID {
		return nil, newError(70000, "The refresh token was issued to another client.")
	}
	if g.tenant == nil {
		g.tenant = s.registry.tenantByName[t.Tenant]
	}
	if !t.Until.IsZero() && !g.now.Before(t.Until) {
		return nil, newError(700084, "The refresh token of a single-page app has a lifetime of 1.00:00:00, "+
			"which cannot be extended. Sign the user in again.")
	}
	if idle := g.now.Sub(t.Issued); idle > refreshTokenLifetime {
		return nil, newError(700082, "The refresh token expired due to inactivity. It was issued on %s and inactive for %s.",
			t.Issued.UTC().Format(time.RFC3339), idle.Round(time.Second))
	}
	var aerr *aadstsError
	if g.user, aerr = s.activeUser(&t.Auth); aerr != nil {
		return nil, aerr
	}
	if s.isRevoked(t.ID) {
		return nil, newError(50173, "The grant has been revoked.")
	}
	g.signed = t.Signed
	g.auth, g.authTime, g.platform, g.until = t.Auth, t.AuthTime, t.Platform, t.Until
	if g.scope == "" {
		g.scope = t.Scope
	}
	return s.userTokenResponse(g)
}

// grantOnBehalfOf exchanges a user's access token for another one
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow).
func (s *Server) grantOnBehalfOf(g *grantRequest) (*response, *aadstsError) {
	if g.client.Public {
		return nil, credentialRequiredError()
	}
	raw := g.form.Get("assertion")
	switch {
	case raw == "":
		return nil, missingParameter("assertion")
	case g.form.Get("requested_token_use") == "":
		return nil, missingParameter("requested_token_use")
	case g.form.Get("requested_token_use") != "on_behalf_of":
		return nil, newError(90023, "The requested_token_use is not 'on_behalf_of'.")
	case g.scope == "":
		return nil, missingParameter("scope")
	}
	if kind := g.form.Get("requested_token_type"); kind != "" {
		return nil, newError(90023, "The requested_token_type '%s' is not supported by entratest.", printable(kind))
	}
	t, err := parseJWT(raw)
	if err != nil {
		return nil, newError(50013, "The assertion cannot be read as a JWT.")
	}
	key := s.publishedKey(t.header.stringClaim("kid"))
	if key == nil || !t.signedBy(&key.private.PublicKey, "RS256") {
		return nil, newError(50013, "The signature of the assertion is not valid for a published key.")
	}
	tenant := s.registry.tenantByName[strings.ToLower(t.payload.stringClaim("tid"))]
	if tenant == nil || g.tenant != nil && tenant != g.tenant ||
		!slices.Contains(s.issuers(g.request, tenant), t.payload.stringClaim("iss")) {
		return nil, newError(50013, "The issuer of the assertion is not the issuer of the request's tenant.")
	}
	if !g.client.worksIn(tenant) {
		_, aerr := s.findClient(g.client.ClientID, tenant)
		return nil, aerr
	}
	g.tenant = tenant
	exp, hasExp := t.payload.intClaim("exp")
	nbf, hasNbf := t.payload.intClaim("nbf")
	if now := g.now.Unix(); !hasExp || !hasNbf || now >= exp || now < nbf {
		return nil, newError(500133, "The assertion is not valid now. The time is %s. The assertion expires at %s.",
			g.now.UTC().Format(time.RFC3339), time.Unix(exp, 0).UTC().Format(time.RFC3339))
	}
	if aud := t.payload.stringClaim("aud"); !s.registry.blueprintOf(g.client).isAudience(aud) {
		return nil, newError(500131, "The audience of the assertion is '%s'. "+
			"It must be '%s', the app '%s' (%s) that sends it.",
			printable(aud), g.client.AppIDURI, g.client.ClientID, g.client.Name)
	}
	if aerr := s.assertionUser(g, t); aerr != nil {
		return nil, aerr
	}
	return s.userTokenResponse(g)
}

// assertionUser sets the user and authentication of g to those of the assertion t.
// ID tokens, which lack a client, and app-only tokens, which lack a user, are
// rejected.
func (s *Server) assertionUser(g *grantRequest, t *jwt) *aadstsError {
	if t.payload["azp"] == nil && t.payload["appid"] == nil {
		return newError(240002, "An ID token cannot be the assertion of the grant '%s'. Send an access token.",
			grantTypeOnBehalfOf)
	}
	if t.payload.stringClaim("idtyp") == "app" || t.payload.stringClaim("scp") == "" {
		return newError(7000114, "The assertion is an app-only token. The app '%s' can only act on behalf of a user.",
			g.client.ClientID)
	}
	g.user = s.registry.userByID(t.payload.stringClaim("oid"), g.tenant)
	if g.user == nil {
		return newError(50034, "The assertion's user is not in the directory %s.", g.tenant.Name)
	}
	g.auth = authentication{User: strings.ToLower(g.user.Username), At: g.now, SID: newGUID()}
	var original authentication
	if s.unseal("aio", t.payload.stringClaim("aio"), &original) && original.User == g.auth.User {
		g.auth = original
	} else {
		s.mu.Lock()
		g.auth.Epoch = s.sessionEpochs[g.auth.User]
		s.mu.Unlock()
	}
	if s.isRevoked(t.payload.stringClaim("uti")) {
		return newError(50173, "The grant has been revoked.")
	}
	_, aerr := s.activeUser(&g.auth)
	return aerr
}

// userByID returns the user with the given oid in the tenant, or nil.
func (reg *registry) userByID(oid string, t *Tenant) *User {
	for _, u := range reg.users {
		if id := u.objectIDIn(t); id != "" && strings.EqualFold(id, oid) {
			return u
		}
	}
	return nil
}

// isAudience reports whether aud is an identifier of the app.
func (a *App) isAudience(aud string) bool {
	key := resourceKey(aud)
	return key == a.ClientID || key == resourceKey(a.AppIDURI) || key == "api://"+a.ClientID
}

// grantPassword serves the resource owner password grant
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc).
func (s *Server) grantPassword(g *grantRequest) (*response, *aadstsError) {
	name, password := g.form.Get("username"), g.form.Get("password")
	switch {
	case name == "":
		return nil, missingParameter("username")
	case password == "":
		return nil, missingParameter("password")
	case g.scope == "":
		return nil, missingParameter("scope")
	}
	u := s.registry.userByName[strings.ToLower(name)]
	if u == nil {
		return nil, newError(50034, "The user %s does not exist in the directory.", printable(name))
	}
	if g.tenant == nil {
		g.tenant = s.registry.tenantByName[u.TenantID]
	}
	if !passwordMatches(u, password) {
		return nil, newError(50126, "The username or password is wrong.")
	}
	g.auth = s.newAuthentication(u, g.now)
	var aerr *aadstsError
	if g.user, aerr = s.activeUser(&g.auth); aerr != nil {
		return nil, aerr
	}
	// For other grants, the sign-in has checked the client's own policies.
	if g.client.RequireAssignment && len(s.registry.userRoles(u, g.client)) == 0 {
		return nil, notAssignedError(u, g.client)
	}
	if aerr := conditionalAccess(g.client, &g.auth, g.claims); aerr != nil {
		return nil, aerr.forUser(g.user)
	}
	return s.userTokenResponse(g)
}

func passwordMatches(u *User, password string) bool {
	return u.Password != "" && subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) == 1
}

// newAuthentication returns the authentication of a user who signs in now.
func (s *Server) newAuthentication(u *User, now time.Time) authentication {
	name := strings.ToLower(u.Username)
	s.mu.Lock()
	defer s.mu.Unlock()
	return authentication{User: name, Epoch: s.sessionEpochs[name], At: now, SID: newGUID()}
}

// redeemed has one bit per redeemed authorization code, until the code expires.
// Server.mu guards it.
type redeemed struct {
	issued uint64                   // number of the last code
	blocks map[uint64]redeemedBlock // by number of the code / 64
}

// A redeemedBlock has the bits of 64 consecutive codes.
type redeemedBlock struct {
	bits  uint64
	until time.Time // when all redeemed codes of the block have expired
}

// nextCodeNumber returns the number of a new code.
func (s *Server) nextCodeNumber() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redeemed.issued++
	return s.redeemed.issued
}

// markRedeemed marks a code as redeemed. It reports false if the code was already
// redeemed.
func (s *Server) markRedeemed(number uint64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.redeemed
	if r.blocks == nil {
		r.blocks = map[uint64]redeemedBlock{}
	}
	at, bit := number/64, uint64(1)<<(number%64)
	block := r.blocks[at]
	if block.bits&bit != 0 {
		return false
	}
	if n := len(r.blocks); n&(n-1) == 0 { // rarely: at powers of two
		for i, b := range r.blocks {
			if now.After(b.until) {
				delete(r.blocks, i)
			}
		}
		block = r.blocks[at]
	}
	r.blocks[at] = redeemedBlock{block.bits | bit, now.Add(codeLifetime)}
	return true
}
