package entratest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// MintOptions describe a token for [Server.Mint]. Only Resource is required; with
// nothing else the token is app-only, as that app would get it for itself.
type MintOptions struct {
	// Tenant is the issuing tenant, an ID or a domain. Zero: the resource's.
	Tenant string
	// Host is the authority's host, or the URL that [Server.StartTLS] gave.
	// Zero: [Config].Host, else login.microsoftonline.com.
	Host string
	// Resource is the app the token is for, by name, client ID or App ID URI.
	// Required. For an ID token it is the client.
	Resource string
	// Client is the app the token is issued to, by name or client ID.
	// Zero: Resource itself.
	Client string
	// User is the username of the subject. Zero: the token is app-only.
	User string
	// IDToken makes it an ID token rather than an access token.
	IDToken bool
	// Nonce is the nonce claim of an ID token. Zero: none.
	Nonce string
	// Scopes are the scp of a user's access token. Zero: the resource's first.
	Scopes []string
	// Roles are the roles claim. Zero: what the estate grants.
	Roles []string
	// Version is the version of an access token, 1 or 2. Zero: the resource's.
	Version int
	// Lifetime is from now to exp. Zero: as for any token. A negative one
	// makes a token that has expired.
	Lifetime time.Duration
	// Claims override the claims: a nil value removes one.
	Claims map[string]any
	// Header overrides the header: a nil value removes an entry. With alg
	// "none" the signature is empty, with alg "HS256" it is an HMAC keyed with
	// the public key in PEM, as an attacker would make it; other values of
	// alg change the header alone.
	Header map[string]any
	// UnpublishedKey signs with a key that the server does not publish, under the
	// kid of the one it does.
	UnpublishedKey bool
}

// Mint makes a token that the server did not issue to anybody: signed with the
// key in use, its claims and header as the options say. It is for tests of
// those who verify tokens. It asks no consent and no policy, writes no journal,
// and panics when Tenant, Resource, Client or User is unknown, or when the user
// is no member of the tenant.
func (s *Server) Mint(o MintOptions) string {
	t := s.newMintToken(o)
	var payload claimSet
	switch {
	case o.IDToken:
		payload = s.idClaims(t, &scopeRequest{openid: true, profile: true, email: true}, o.Nonce)
	case t.user == nil:
		payload = s.appClaims(t)
	default:
		payload = s.userClaims(t)
	}
	if o.Roles != nil {
		payload["roles"] = o.Roles
	}
	if o.Lifetime != 0 {
		payload["exp"] = t.now.Add(o.Lifetime).Unix()
		if o.Lifetime < 0 {
			back := t.now.Add(o.Lifetime - time.Hour).Unix()
			payload["iat"], payload["nbf"] = back, back
		}
	}
	key := s.signingKey()
	header := claimSet{"typ": "JWT", "alg": "RS256", "kid": key.kid}
	if payload["ver"] == "1.0" {
		header["x5t"] = key.kid
	}
	applyOverrides(payload, o.Claims)
	applyOverrides(header, o.Header)
	if o.UnpublishedKey {
		key = foreignKey()
	}
	switch o.Header["alg"] {
	case "none":
		return signingInput(header, payload) + "."
	case "HS256":
		return signAlgorithmConfusion(key, header, payload)
	}
	return signJWT(key.private, header, payload)
}

func applyOverrides(c claimSet, with map[string]any) {
	for name, value := range with {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
}

// signConfused signs with HMAC, keyed with the public key as a PEM block: the
// attack on verifiers that let a token choose its algorithm (RFC 8725 section
// 2.1).
func signAlgorithmConfusion(key *signingKey, header, payload claimSet) string {
	der, err := x509.MarshalPKIXPublicKey(&key.private.PublicKey)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	signed := signingInput(header, payload)
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}

// mintToken fills in what the options leave out.
func (s *Server) newMintToken(o MintOptions) *accessToken {
	resource := s.mustApp(o.Resource)
	client := resource
	if o.Client != "" {
		client = s.mustApp(o.Client)
	}
	tenant := s.registry.tenantByName[resource.TenantID]
	if o.Tenant != "" {
		if tenant = s.registry.tenantByName[strings.ToLower(o.Tenant)]; tenant == nil {
			panic(fmt.Sprintf("entratest: there is no tenant %q", o.Tenant))
		}
	}
	host := "login.microsoftonline.com"
	if s.host != "" {
		host = s.host
	}
	if o.Host != "" {
		host = strings.ToLower(strings.TrimPrefix(o.Host, "https://"))
	}
	t := &accessToken{
		request: &request{now: time.Now(), base: "https://" + host},
		tenant:  tenant, client: client, class: "1", resource: resource, version: o.Version,
		lifetime: s.tokenLifetime(resource, claimsRequest{}),
	}
	if o.Version < 0 || o.Version > 2 {
		panic(fmt.Sprintf("entratest: there are no tokens of version %d", o.Version))
	}
	_, t.roles = s.registry.grantedPermissions(client.Permissions, resource)
	if o.User != "" {
		t.user = s.mustUser(o.User)
		if t.user.objectIDIn(tenant) == "" {
			panic(fmt.Sprintf("entratest: %s is no user of tenant %s", o.User, tenant.ID))
		}
		auth := s.newAuthentication(t.user, t.now)
		t.auth, t.roles = &auth, s.registry.userRoles(t.user, resource)
		if t.scopes = o.Scopes; t.scopes == nil && len(resource.Scopes) > 0 {
			t.scopes = resource.Scopes[:1]
		}
	}
	if o.IDToken && t.user == nil {
		panic("entratest: an ID token is for a user")
	}
	return t
}

// mustApp finds an app by name, client ID or App ID URI.
func (s *Server) mustApp(name string) *App {
	if a := s.registry.appByName[name]; a != nil {
		return a
	}
	if a := s.registry.resourceByKey[resourceKey(name)]; a != nil {
		return a
	}
	panic(fmt.Sprintf("entratest: there is no app %q", name))
}
