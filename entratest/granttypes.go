package entratest

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"time"
)

// grantCode redeems an authorization code
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#redeem-a-code-for-an-access-token).
func (s *Server) grantCode(g *granting) (*answer, *refusal) {
	raw := g.form.Get("code")
	if raw == "" {
		return nil, missing("code")
	}
	redirect := g.form.Get("redirect_uri")
	if redirect == "" {
		return nil, missing("redirect_uri")
	}
	var c code
	if !s.unseal("code", raw, &c) {
		f := refuse(9002313, "The request is malformed.")
		f.code = "invalid_grant"
		return nil, f
	}
	if c.Client != g.client.ClientID {
		return nil, refuse(70000, "The authorization code was issued to another client.")
	}
	if g.tenant != nil && g.tenant.ID != c.Tenant {
		return nil, refuse(700005, "The authorization code was issued for another tenant.")
	}
	g.tenant = s.estate.tenant[c.Tenant]
	if !g.client.redirectsTo(redirect) {
		return nil, wrongRedirect(g.client, redirect)
	}
	if c.Redirect != redirect {
		return nil, refuse(500112, "The redirect URI '%s' is not '%s', which the authorization code was asked for with.", quote(redirect), quote(c.Redirect))
	}
	if g.now.Sub(c.Issued) > codeLife {
		return nil, refuse(70008, "The authorization code has expired. Sign the user in again.")
	}
	if !verifies(g.form.Get("code_verifier"), c.Challenge, c.Method) {
		return nil, refuse(501481, "The code_verifier is not the one that the code_challenge was made from.")
	}
	if !s.once(c.Number, g.now) {
		return nil, refuse(54005, "The authorization code was redeemed before.")
	}
	var f *refusal
	if g.user, f = s.fresh(&c.Auth); f != nil {
		return nil, f
	}
	g.auth, g.nonce = c.Auth, c.Nonce
	if g.scope == "" {
		g.scope = c.Scope
	}
	return s.userAnswer(g)
}

// verifies checks a PKCE verifier (RFC 7636 section 4.6). A verifier without a
// challenge is refused as well: somebody stripped the challenge.
func verifies(verifier, challenge, method string) bool {
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

// grantRefresh redeems a refresh token, which stays good and is good for every
// resource the client may use for the user
// (https://learn.microsoft.com/entra/identity-platform/refresh-tokens).
func (s *Server) grantRefresh(g *granting) (*answer, *refusal) {
	raw := g.form.Get("refresh_token")
	if raw == "" {
		return nil, missing("refresh_token")
	}
	var t refreshToken
	if !s.unseal("refresh", raw, &t) {
		f := refuse(9002313, "The request is malformed.")
		f.code = "invalid_grant"
		return nil, f
	}
	if t.Client != g.client.ClientID {
		return nil, refuse(70000, "The refresh token was issued to another client.")
	}
	if g.tenant != nil && g.tenant.ID != t.Tenant {
		return nil, refuse(70000, "The refresh token was issued for another tenant.")
	}
	g.tenant = s.estate.tenant[t.Tenant]
	if idle := g.now.Sub(t.Issued); idle > refreshLife {
		return nil, refuse(700082, "The refresh token was issued on %s and not used for %s, which is too long.", t.Issued.UTC().Format(time.RFC3339), idle.Round(time.Second))
	}
	var f *refusal
	if g.user, f = s.fresh(&t.Auth); f != nil {
		return nil, f
	}
	if s.isRevoked(t.ID) {
		return nil, refuse(50173, "The grant was revoked.")
	}
	g.auth = t.Auth
	if g.scope == "" {
		g.scope = t.Scope
	}
	return s.userAnswer(g)
}

// grantOnBehalfOf exchanges a user's access token for another one
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow).
func (s *Server) grantOnBehalfOf(g *granting) (*answer, *refusal) {
	if g.client.Public {
		return nil, refuse(7000218, "The client has to prove itself with a 'client_secret' or a 'client_assertion'.")
	}
	raw := g.form.Get("assertion")
	switch {
	case raw == "":
		return nil, missing("assertion")
	case g.form.Get("requested_token_use") == "":
		return nil, missing("requested_token_use")
	case g.form.Get("requested_token_use") != "on_behalf_of":
		return nil, refuse(90023, "The requested_token_use is not 'on_behalf_of'.")
	case g.scope == "":
		return nil, missing("scope")
	}
	t, err := parseJWT(raw)
	if err != nil {
		return nil, refuse(50013, "The assertion cannot be read as a JWT.")
	}
	key := s.publishedKey(t.header.text("kid"))
	if key == nil || !t.signedBy(&key.private.PublicKey, "RS256") {
		return nil, refuse(50013, "None of the published keys signed the assertion.")
	}
	tenant := s.estate.tenant[strings.ToLower(t.payload.text("tid"))]
	if tenant == nil || g.tenant != nil && tenant != g.tenant || !slices.Contains(s.issuers(g.request, tenant), t.payload.text("iss")) {
		return nil, refuse(50013, "The assertion's issuer is not that of the request's tenant.")
	}
	if !g.client.servesTenant(tenant) {
		_, f := s.findClient(g.client.ClientID, tenant)
		return nil, f
	}
	g.tenant = tenant
	exp, hasExp := t.payload.number("exp")
	nbf, hasNbf := t.payload.number("nbf")
	if now := g.now.Unix(); !hasExp || !hasNbf || now >= exp || now < nbf {
		return nil, refuse(500133, "The assertion is used outside its time. It is %s now; the assertion expires at %s.", g.now.UTC().Format(time.RFC3339), time.Unix(exp, 0).UTC().Format(time.RFC3339))
	}
	if aud := t.payload.text("aud"); !g.client.isAudience(aud) {
		return nil, refuse(500131, "The assertion is for the audience '%s', not for '%s', which is the app '%s' (%s) that presents it. A middle tier may only pass on tokens meant for itself.", quote(aud), g.client.AppIDURI, g.client.ClientID, g.client.Name)
	}
	if f := s.assertedUser(g, t); f != nil {
		return nil, f
	}
	return s.userAnswer(g)
}

// assertedUser finds whom an assertion speaks for. An app has nobody to act on
// behalf of, and an ID token, which names no client, is none to act with.
func (s *Server) assertedUser(g *granting, t *jwt) *refusal {
	if t.payload["azp"] == nil && t.payload["appid"] == nil {
		return refuse(240002, "An ID token is no assertion for the grant '%s': an access token is.", grantOnBehalfOf)
	}
	if t.payload.text("idtyp") == "app" || t.payload.text("scp") == "" {
		return refuse(7000114, "The assertion speaks for no user, so the app '%s' can act on behalf of nobody with it.", g.client.ClientID)
	}
	g.user = s.estate.userByID(t.payload.text("oid"), g.tenant)
	if g.user == nil {
		return refuse(50034, "The assertion's user is not in the directory %s.", g.tenant.Name)
	}
	g.auth = authentication{User: strings.ToLower(g.user.Username), At: g.now, SID: newGUID()}
	var hidden authentication
	if s.unseal("aio", t.payload.text("aio"), &hidden) && hidden.User == g.auth.User {
		g.auth = hidden
	} else {
		s.mu.Lock()
		g.auth.Epoch = s.epochs[g.auth.User]
		s.mu.Unlock()
	}
	if s.isRevoked(t.payload.text("uti")) {
		return refuse(50173, "The grant was revoked.")
	}
	_, f := s.fresh(&g.auth)
	return f
}

// userByID is the user of that oid in the tenant, or nil.
func (e *estate) userByID(oid string, t *Tenant) *User {
	for _, u := range e.users {
		if id := u.objectIDIn(t); id != "" && strings.EqualFold(id, oid) {
			return u
		}
	}
	return nil
}

// isAudience reports whether aud names the app.
func (a *App) isAudience(aud string) bool {
	key := resourceKey(aud)
	return key == a.ClientID || key == resourceKey(a.AppIDURI) || key == "api://"+a.ClientID
}

// grantPassword serves the resource owner password grant
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc).
func (s *Server) grantPassword(g *granting) (*answer, *refusal) {
	name, password := g.form.Get("username"), g.form.Get("password")
	switch {
	case name == "":
		return nil, missing("username")
	case password == "":
		return nil, missing("password")
	case g.scope == "":
		return nil, missing("scope")
	}
	u := s.estate.user[strings.ToLower(name)]
	if u == nil {
		return nil, refuse(50034, "There is no user %s in the directory.", quote(name))
	}
	if g.tenant == nil {
		g.tenant = s.estate.tenant[u.TenantID]
	}
	if !rightPassword(u, password) {
		return nil, refuse(50126, "The username or the password is wrong.")
	}
	g.auth = s.signedIn(u, g.now)
	var f *refusal
	if g.user, f = s.fresh(&g.auth); f != nil {
		return nil, f
	}
	// The app's own rules, which other grants met on the sign-in page.
	if g.client.RequireAssignment && len(s.estate.rolesIn(u, g.client)) == 0 {
		return nil, refuse(50105, "The user '%s' has no role in the app '%s' (%s), which asks for one.", quote(u.Username), g.client.ClientID, g.client.Name)
	}
	if f := conditionalAccess(g.client, &g.auth, g.claims); f != nil {
		return nil, f
	}
	return s.userAnswer(g)
}

func rightPassword(u *User, password string) bool {
	return u.Password != "" && subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) == 1
}

// signedIn is the authentication of a user who has just signed in.
func (s *Server) signedIn(u *User, now time.Time) authentication {
	name := strings.ToLower(u.Username)
	s.mu.Lock()
	defer s.mu.Unlock()
	return authentication{User: name, Epoch: s.epochs[name], At: now, SID: newGUID()}
}
