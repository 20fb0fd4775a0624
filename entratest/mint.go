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

// MintOptions describes a token for [Server.Mint]. Only Resource is required. If
// no other field is set, the token is the app-only token that this app would get
// for itself.
type MintOptions struct {
	// Tenant is the ID or domain of the issuing tenant. Defaults to the tenant of
	// the resource.
	Tenant string
	// Host is the host of the authority, or the URL that Server.StartTLS returned.
	// Defaults to Config.Host, then to login.microsoftonline.com.
	Host string
	// Resource is the audience, an app by name, client ID or App ID URI. Required.
	// Without Client, it is also the client. The audience of an ID token is Client
	// instead.
	Resource string
	// Client is the app that the token is issued to, by name or client ID.
	// Defaults to Resource.
	Client string
	// User is the username of the subject. If empty, the token is app-only.
	User string
	// IDToken makes an ID token instead of an access token. It requires User.
	IDToken bool
	// Nonce is the nonce claim of an ID token. If empty, the claim is omitted.
	Nonce string
	// Scopes is the scp claim of a user's access token. If nil, it is the first
	// scope of the resource.
	Scopes []string
	// Roles is the roles claim. If nil, it has the roles that the Config grants.
	Roles []string
	// Version is the version of an access token, 1 or 2. Defaults to the version
	// of the resource.
	Version int
	// Lifetime is the time until the token expires. If negative, the token has
	// expired. If zero, the lifetime is that of other tokens.
	Lifetime time.Duration
	// Claims are added to the claims and replace those of the same name. A nil
	// value removes a claim.
	Claims map[string]any
	// Header entries are added to the header and replace those of the same name.
	// A nil value removes an entry. With alg "none", the signature is empty. With
	// alg "HS256", it is an HMAC whose key is the public key in PEM (the
	// algorithm confusion attack). Other values of alg change only the header.
	Header map[string]any
	// UnpublishedKey signs with a key that the server does not publish, with the
	// kid of the published one.
	UnpublishedKey bool
}

// Mint returns a token described by o, without a token request. Use it to test code
// that verifies tokens. The token is signed with the current signing key of its audience and is
// valid unless o says otherwise. Mint ignores consent and policies and does not
// write to the journal.
//
// Mint panics if Tenant, Resource, Client or User is unknown, if the user is not a
// member or guest of the tenant, or if Version is invalid.
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
	audience := t.resource
	if o.IDToken {
		audience = t.client
	}
	key := s.signingKey(audience, t.tenant)
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
	if o.IDToken {
		return signJWT(key.private, header, payload)
	}
	return signAccessToken(key, header, payload, t.resource)
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

// signAlgorithmConfusion signs with an HMAC whose key is the public key in PEM. It is
// the attack on verifiers that use the algorithm in the header (RFC 8725, section
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

// newMintToken returns the token described by o, with defaults filled in.
func (s *Server) newMintToken(o MintOptions) *accessToken {
	resource := s.mustApp(o.Resource)
	client := resource
	if o.Client != "" {
		client = s.mustApp(o.Client)
	}
	tenant := s.registry.tenantByName[resource.TenantID]
	if o.Tenant != "" {
		if tenant = s.registry.tenantByName[strings.ToLower(o.Tenant)]; tenant == nil {
			panic(fmt.Sprintf("entratest: unknown tenant %q", o.Tenant))
		}
	}
	host := "login.microsoftonline.com"
	if s.host != "" {
		host = s.host
	}
	if o.Host != "" {
		host = strings.ToLower(strings.TrimPrefix(o.Host, "https://"))
	}
	if cloud := s.registry.canonicalHost(host); cloud != "" {
		host = cloud
	}
	t := &accessToken{
		request: &request{now: time.Now(), base: "https://" + host},
		tenant:  tenant, client: client, class: "1", resource: resource, version: o.Version,
		lifetime: s.tokenLifetime(resource, claimsRequest{}),
	}
	if o.Version < 0 || o.Version > 2 {
		panic(fmt.Sprintf("entratest: token version %d is not 1 or 2", o.Version))
	}
	_, t.roles = s.registry.grantedPermissions(client.Permissions, resource)
	if o.User != "" {
		t.user = s.mustUser(o.User)
		if t.user.objectIDIn(tenant) == "" {
			panic(fmt.Sprintf("entratest: %s is not a member or guest of tenant %s", o.User, tenant.ID))
		}
		auth := s.newAuthentication(t.user, t.now)
		t.auth, t.roles = &auth, s.registry.userRoles(t.user, resource)
		if t.scopes = o.Scopes; t.scopes == nil && len(resource.Scopes) > 0 {
			t.scopes = resource.Scopes[:1]
		}
	}
	if o.IDToken && t.user == nil {
		panic("entratest: MintOptions.IDToken requires User")
	}
	return t
}

// mustApp returns the app with the given name, client ID or App ID URI.
func (s *Server) mustApp(name string) *App {
	if a := s.registry.appByName[name]; a != nil {
		return a
	}
	if a := s.registry.resourceByKey[resourceKey(name)]; a != nil {
		return a
	}
	panic(fmt.Sprintf("entratest: unknown app %q", name))
}
