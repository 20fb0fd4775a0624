package entratest

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// An accessToken describes a token to issue.
type accessToken struct {
	*request
	tenant   *Tenant
	client   *App
	class    string // appidacr
	resource *App
	roles    []string
	lifetime time.Duration
	claims   claimsRequest
	version  int    // if zero, that of the resource
	audience string // aud of a version 1 token; defaults to the resource's App ID URI

	// For tokens of a user:
	user     *User
	auth     *authentication
	scopes   []string
	authTime bool // the ID token must have auth_time
	implicit bool // the ID token is from the authorization endpoint
}

// tokenLifetime returns the lifetime of a new token
// (https://learn.microsoft.com/entra/identity-platform/access-tokens#token-lifetime).
func (s *Server) tokenLifetime(resource *App, c claimsRequest) time.Duration {
	lifetime := 60*time.Minute + time.Duration(rand.Int64N(int64(30*time.Minute)))
	switch {
	case s.lifetime != nil:
		lifetime = s.lifetime()
	case resource.ContinuousAccess && c.supportsCAE():
		lifetime = 24*time.Hour + time.Duration(rand.Int64N(int64(4*time.Hour)))
	}
	return max(lifetime.Truncate(time.Second), time.Second)
}

// issuers returns the issuers of the tenant's tokens of version 1 and 2.
func (s *Server) issuers(r *request, t *Tenant) []string {
	return []string{v1Issuer(r.base, t.ID), s.registry.v2Issuer(r.base, t.ID)}
}

// commonClaims returns the claims of every access token
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
// Entra sets iat and nbf five minutes before the time of issue.
func (s *Server) commonClaims(t *accessToken) claimSet {
	version := t.version
	if version == 0 {
		version = t.resource.TokenVersion
	}
	issuers := s.issuers(t.request, t.tenant)
	c := claimSet{
		"aud": t.resource.ClientID,
		"iss": issuers[version-1],
		"iat": t.now.Add(-5 * time.Minute).Unix(),
		"nbf": t.now.Add(-5 * time.Minute).Unix(),
		"exp": t.now.Unix() + int64(t.lifetime/time.Second),
		"tid": t.tenant.ID,
		"rh":  "1." + randomToken(30) + ".",
		"uti": randomToken(16),
	}
	if version == 1 {
		c["ver"] = "1.0"
		c["aud"] = cmp.Or(t.audience, t.resource.AppIDURI)
		c["appid"] = t.client.ClientID
		c["appidacr"] = t.class
		c["app_displayname"] = t.client.Name
	} else {
		c["ver"] = "2.0"
		c["azp"] = t.client.ClientID
		c["azpacr"] = t.class
	}
	if len(t.roles) > 0 {
		c["roles"] = t.roles
	}
	s.registry.addAgentClaims(c, t)
	if t.claims.supportsCAE() && (t.resource.ContinuousAccess || slices.Contains(t.resource.OptionalClaims, "xms_cc")) {
		c["xms_cc"] = []string{"cp1"}
	}
	return c
}

// appClaims returns the claims of an app-only access token.
func (s *Server) appClaims(t *accessToken) claimSet {
	c := s.commonClaims(t)
	oid := t.client.objectIDIn(t.tenant)
	c["oid"], c["sub"] = oid, oid
	c["aio"] = randomToken(42)
	if !t.resource.OmitIDType {
		c["idtyp"] = "app"
	}
	if c["ver"] == "1.0" {
		c["idp"] = c["iss"]
	}
	return c
}

// userClaims returns the claims of an access token for a user. The opaque claim aio
// has the user's authentication, for on-behalf-of requests and IsRevoked.
func (s *Server) userClaims(t *accessToken) claimSet {
	c := s.commonClaims(t)
	c["scp"] = strings.Join(t.scopes, " ")
	c["oid"] = t.user.objectIDIn(t.tenant)
	c["sub"] = pairwise(t.user, t.tenant, t.resource)
	c["name"] = t.user.Name
	c["aio"] = s.seal("aio", t.auth)
	if c["ver"] == "1.0" {
		c["acr"] = "1"
		c["amr"] = t.auth.methods()
		c["upn"] = t.user.Username
		c["unique_name"] = t.user.Username
		c["ipaddr"] = "127.0.0.1"
	} else {
		c["preferred_username"] = t.user.Username
	}
	s.addGuestClaims(c, t)
	if len(t.auth.ACRs) > 0 {
		c["acrs"] = t.auth.ACRs
	}
	s.addOptionalClaims(c, t.resource, t)
	return c
}

// addGuestClaims adds the home tenant of a guest, and the email address, which tokens
// of guests have by default
// (https://learn.microsoft.com/entra/identity-platform/optional-claims-reference#v10-and-v20-optional-claims-set).
func (s *Server) addGuestClaims(c claimSet, t *accessToken) {
	if t.user.TenantID == t.tenant.ID {
		return
	}
	c["idp"] = v1Issuer(t.base, t.user.TenantID)
	if t.user.Email != "" {
		c["email"] = t.user.Email
	}
}

// addOptionalClaims adds the claims that the registration of the audience requests
// (https://learn.microsoft.com/entra/identity-platform/optional-claims-reference).
func (s *Server) addOptionalClaims(c claimSet, audience *App, token *accessToken) {
	u, t, auth := token.user, token.tenant, token.auth
	for _, name := range audience.OptionalClaims {
		switch name {
		case "email":
			if u.Email != "" {
				c["email"] = u.Email
			}
		case "upn":
			c["upn"] = u.Username
		case "auth_time":
			c["auth_time"] = auth.At.Unix()
		case "acct":
			c["acct"] = 0
			if u.TenantID != t.ID {
				c["acct"] = 1
			}
		case "sid":
			c["sid"] = auth.SID
		case "login_hint":
			c["login_hint"] = b64.EncodeToString([]byte(u.Username))
		}
	}
	if !audience.GroupClaims || len(u.Groups) == 0 {
		return
	}
	if token.implicit && len(u.Groups) > implicitGroupLimit {
		c["hasgroups"] = true
		return
	}
	if len(u.Groups) > groupLimit {
		c["_claim_names"] = map[string]string{"groups": "src1"}
		c["_claim_sources"] = map[string]any{"src1": map[string]string{
			"endpoint": "https://graph.windows.net/" + t.ID + "/users/" + u.objectIDIn(t) + "/getMemberObjects",
		}}
		return
	}
	c["groups"] = u.Groups
}

// groupLimit is the maximum number of groups in a token. Above it, the token has
// the overage claim
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#groups-overage-claim).
const groupLimit = 200

// implicitGroupLimit is the maximum number of groups in a token from the authorization
// endpoint. Above it, the token has the claim hasgroups
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#payload-claims).
const implicitGroupLimit = 5

// idClaims returns the claims of an ID token for the client
// (https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference).
func (s *Server) idClaims(t *accessToken, q *scopeRequest, nonce string) claimSet {
	from := t.now.Add(-5 * time.Minute)
	c := claimSet{
		"aud": t.client.ClientID,
		"iss": s.issuers(t.request, t.tenant)[1],
		"iat": from.Unix(),
		"nbf": from.Unix(),
		"exp": from.Add(65 * time.Minute).Unix(),
		"sub": pairwise(t.user, t.tenant, t.client),
		"tid": t.tenant.ID,
		"rh":  "1." + randomToken(30) + ".",
		"uti": randomToken(16),
		"sid": t.auth.SID,
		"aio": s.seal("aio", t.auth),
		"ver": "2.0",
	}
	if q.profile {
		c["name"] = t.user.Name
		c["oid"] = t.user.objectIDIn(t.tenant)
		c["preferred_username"] = t.user.Username
	}
	if q.email && t.user.Email != "" {
		c["email"] = t.user.Email
	}
	if nonce != "" {
		c["nonce"] = nonce
	}
	if roles := s.registry.userRoles(t.user, t.client); len(roles) > 0 {
		c["roles"] = roles
	}
	if len(t.auth.ACRs) > 0 {
		c["acrs"] = t.auth.ACRs
	}
	if t.authTime {
		c["auth_time"] = t.auth.At.Unix()
	}
	s.addGuestClaims(c, t)
	s.addOptionalClaims(c, t.client, t)
	return c
}

// signIDToken signs the ID token for the client of t.
func (s *Server) signIDToken(payload claimSet, t *accessToken) string {
	key := s.signingKey(t.client, t.tenant)
	return signJWT(key.private, claimSet{"typ": "JWT", "alg": "RS256", "kid": key.kid}, payload)
}

// pairwise returns the sub claim, which differs by audience.
func pairwise(u *User, t *Tenant, audience *App) string {
	sum := sha256.Sum256([]byte(u.objectIDIn(t) + "|" + t.ID + "|" + audience.ClientID))
	return b64.EncodeToString(sum[:])
}

// clientInfo returns MSAL's client_info, the user's identity in the home tenant.
func clientInfo(u *User) string {
	data, err := json.Marshal(map[string]string{"uid": u.ObjectID, "utid": u.TenantID})
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return b64.EncodeToString(data)
}
