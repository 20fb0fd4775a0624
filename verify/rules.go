package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
)

// maxLifetime exceeds the longest lifetime of Entra's access tokens: 28 hours with
// continuous access evaluation ("Token lifetime" in Microsoft's access-tokens page).
// Entra does not issue tokens with a longer lifetime.
const maxLifetime = 48 * time.Hour

// rules is a validated Config. It never changes.
type rules struct {
	audiences  map[string]bool
	tenants    map[string]bool
	anyTenant  bool
	noPersonal bool // with anyTenant, personal accounts are not allowed
	leeway     time.Duration
	cloud      entra.Cloud
	host       string
	graphHost  string // of Microsoft Graph; used with Config.GraphTokens only
	v1, v2     issuerTemplate

	appsWithoutRoles bool
}

// tokenUse is the kind of token that a caller requires.
type tokenUse int

const (
	accessToken tokenUse = iota
	idToken
)

// The rules that need no key run before the signature check, because they are cheap and
// their results disclose only public facts of the configuration. The allowed tenants are
// not public, so checkTenant runs after it.

// match requires the issuer and the audience of these rules. fit says how well the token
// fits: 0 for another issuer, 1 for another audience, 2 for a tenant that is not allowed,
// and otherwise bestFit.
func (r *rules) match(c *Claims) (fit int, err error) {
	if err := r.checkIssuer(c); err != nil {
		return 0, err
	}
	if err := r.checkAudience(c); err != nil {
		return 1, err
	}
	if !r.allows(c.TenantID) {
		return 2, nil
	}
	return bestFit, nil
}

// bestFit is the result of match for a token that fits.
const bestFit = 3

// check applies the rules for a token that match accepted.
func (r *rules) check(t *jws, c *Claims, use tokenUse, now time.Time) error {
	if err := r.checkUse(t, c, use); err != nil {
		return err
	}
	return r.checkTimes(c, now)
}

// checkIssuer requires the issuer of the configured cloud for the version of the
// token, with the tenant that tid names. Otherwise one tenant could issue tokens for
// another.
//
// Source: "Validate the issuer" in Microsoft's access-tokens page.
func (r *rules) checkIssuer(c *Claims) error {
	for _, required := range [...]struct{ name, value string }{
		{"iss", c.Issuer}, {"tid", c.TenantID}, {"ver", c.Version}, {"sub", c.Subject}, {"aud", c.Audience},
	} {
		if required.value == "" {
			return rejectClaim(ReasonMissingClaim, required.name)
		}
	}
	if !guid.ValidLower(c.TenantID) {
		return rejectClaim(ReasonBadClaim, "tid")
	}
	if c.ObjectID != "" && !guid.ValidLower(c.ObjectID) {
		return rejectClaim(ReasonBadClaim, "oid")
	}
	template := r.v2
	switch c.Version {
	case "2.0":
	case "1.0":
		template = r.v1
	default:
		return reject(ReasonBadVersion)
	}
	tenant, ok := template.tenant(c.Issuer)
	switch {
	case ok && tenant == c.TenantID:
		return nil
	case ok:
		return rejectValue(ReasonTenantMismatch, "", c.Issuer)
	}
	if _, v1 := r.v1.tenant(c.Issuer); v1 {
		return reject(ReasonBadVersion)
	}
	if _, v2 := r.v2.tenant(c.Issuer); v2 {
		return reject(ReasonBadVersion)
	}
	if isCustomerHost(hostOf(c.Issuer)) {
		return rejectValue(ReasonUnsupportedIssuer, "", c.Issuer)
	}
	return rejectValue(ReasonBadIssuer, "", c.Issuer)
}

// checkAudience requires a token for this application. The audience of a v2.0 token
// is always a client ID. An API that accepts tokens for others is a confused deputy.
//
// Source: "Validate the audience" in Microsoft's claims-validation page.
func (r *rules) checkAudience(c *Claims) error {
	if !r.audiences[c.Audience] || c.Version == "2.0" && !guid.ValidLower(c.Audience) {
		return rejectValue(ReasonBadAudience, "aud", c.Audience)
	}
	return nil
}

// checkUse distinguishes access tokens from ID tokens (RFC 8725, section 3.12).
// Entra signs both with the same keys, and both have the same audience if an
// application calls its own API.
//
// An access token names the client that requested it. It also has the client's method
// of authentication, its scopes, or idtyp. An ID token lacks all of these and is never
// for an application alone. Only an ID token has a nonce or the hash of a code or an
// access token.
//
// An access token that is bound to a key (cnf, RFC 7800) is valid only together with
// a proof of possession. This package does not verify such proofs, so a stolen token
// would be accepted. It rejects bound tokens.
//
// checkUse also sets ClientID and ClientAuth.
func (r *rules) checkUse(t *jws, c *Claims, use tokenUse) error {
	client, clientAuth := clientClaims(c.Version)
	c.ClientID = t.text(client)
	c.ClientAuth = t.text(clientAuth)
	if use == accessToken {
		if c.ClientID == "" || c.Has("nonce") || c.Has("c_hash") || c.Has("at_hash") {
			return reject(ReasonNotAccessToken)
		}
		if !t.header.atJWT && c.ClientAuth == "" && !c.Has("scp") && !c.Has("idtyp") {
			return reject(ReasonNotAccessToken)
		}
		if c.Has("cnf") {
			return reject(ReasonProofOfPossession)
		}
		return nil
	}
	if t.header.atJWT || c.AppOnly() {
		return reject(ReasonNotIDToken)
	}
	for _, name := range [...]string{"scp", "idtyp", "appid", "appidacr", "azpacr"} {
		if c.Has(name) {
			return reject(ReasonNotIDToken)
		}
	}
	if !guid.ValidLower(c.Audience) { // the audience of an ID token is a client ID in both versions
		return rejectValue(ReasonBadAudience, "aud", c.Audience)
	}
	// OpenID Connect Core, section 3.1.3.7, rule 5.
	if c.Has("azp") && !strings.EqualFold(c.ClientID, c.Audience) {
		return reject(ReasonBadAuthorizedParty)
	}
	return nil
}

// checkTimes requires that iat and nbf have passed and that exp has not, within the
// leeway. All three are required, and the lifetime must be one that Entra gives.
func (r *rules) checkTimes(c *Claims, now time.Time) error {
	for _, required := range [...]struct {
		name  string
		value time.Time
	}{{"exp", c.Expires}, {"iat", c.IssuedAt}, {"nbf", c.NotBefore}} {
		if required.value.IsZero() {
			return rejectClaim(ReasonMissingClaim, required.name)
		}
	}
	lifetime := c.Expires.Sub(c.IssuedAt)
	switch {
	case lifetime <= 0 || lifetime > maxLifetime:
		return reject(ReasonBadLifetime)
	case !now.Before(c.Expires.Add(r.leeway)):
		return reject(ReasonExpired)
	case now.Before(c.NotBefore.Add(-r.leeway)):
		return reject(ReasonNotYetValid)
	case now.Before(c.IssuedAt.Add(-r.leeway)):
		return reject(ReasonIssuedInFuture)
	}
	return nil
}

// checkTenant requires a tenant that the configuration allows. It runs after the
// signature check, so that forged tokens cannot reveal who the customers are.
func (r *rules) checkTenant(tenantID string) error {
	if r.allows(tenantID) {
		return nil
	}
	return rejectValue(ReasonTenantNotAllowed, "", tenantID)
}

// checkPermissions requires that the token grants something: scopes to a user's client, or
// roles to an app. Entra issues a token without roles to any app of a tenant for any API
// that does not require assignment.
//
// Source: "Restrict a Microsoft Entra app to a set of users" and "Accepting app-only tokens"
// in Microsoft's documentation.
func (r *rules) checkPermissions(c *Claims) error {
	switch {
	case c.Roles.Len() > 0, c.Scopes.Len() > 0 && !c.AppOnly():
		return nil
	case r.appsWithoutRoles && c.AppOnly():
		return nil
	}
	return rejectValue(ReasonNoPermissions, "", c.ClientID)
}

// allows reports whether the configuration allows a tenant.
func (r *rules) allows(tenantID string) bool {
	return r.tenants[tenantID] || r.anyTenant && !(r.noPersonal && tenantID == PersonalAccounts)
}

// keyMaySign reports whether a key may sign the token. A key that names an issuer
// may sign only for that issuer. For a v1.0 token, the key may name the v2.0 issuer
// of the tenant: both versions share the keys, and only the v2.0 document names
// their issuers.
//
// Source: "Validate the signing key issuer" in Microsoft's access-tokens page.
func (r *rules) keyMaySign(k *signingKey, c *Claims) bool {
	if k.issuer == "" {
		return true
	}
	// An External ID issuer has the tenant ID twice, also in its host.
	if strings.ReplaceAll(k.issuer, tenantPlaceholder, c.TenantID) == c.Issuer {
		return true
	}
	if t, ok := newIssuerTemplate(k.issuer); ok {
		return t == r.v2
	}
	return r.v2.matches(k.issuer, c.TenantID)
}

// Expected has the values of a sign-in with which its ID token must agree.
type Expected struct {
	// Nonce is the nonce of the authorization request. If empty, the request was
	// sent without one, and a token with a nonce is rejected. An ID token from a
	// refresh does not have a nonce.
	Nonce string
	// Code is the authorization code that the authorization endpoint returned with
	// the ID token (hybrid flow). The token must then have its hash (c_hash). If
	// empty, c_hash is not checked, as for ID tokens from the token endpoint.
	Code string
	// AccessToken is the access token that the authorization endpoint returned with
	// the ID token. The token must then have its hash (at_hash). If empty, at_hash
	// is not checked.
	AccessToken string
}

// check requires an ID token of this sign-in (OpenID Connect Core, sections 3.1.3.7,
// rule 11, 3.3.2.9 and 3.3.2.10).
func (e Expected) check(t *jws, c *Claims) error {
	if !equal(c.Nonce, e.Nonce) || c.Has("nonce") != (e.Nonce != "") {
		return reject(ReasonBadNonce)
	}
	if e.Code != "" && !equal(t.text("c_hash"), halfHash(e.Code)) {
		return reject(ReasonBadCodeHash)
	}
	if e.AccessToken != "" && !equal(t.text("at_hash"), halfHash(e.AccessToken)) {
		return reject(ReasonBadAccessTokenHash)
	}
	return nil
}

// halfHash returns the left half of the SHA-256 of a value, in base64url.
func halfHash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return encoding.EncodeToString(sum[:len(sum)/2])
}

// equal compares strings in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// The issuers of v1.0 tokens. The public cloud and US Government share one, and
// China has its own: Microsoft's tools for Azure (aks-engine, the Azure SDK for Java)
// know only these two. The issuers of newer sovereign clouds are not documented. Those
// clouds, and private hosts, use v1Issuer by default.
const (
	v1Issuer      = "https://sts.windows.net/{tenantid}/"
	v1IssuerChina = "https://sts.chinacloudapi.cn/{tenantid}/"
)

// tenantPlaceholder is in place of the tenant ID in the issuers that Entra publishes
// for all tenants.
const tenantPlaceholder = "{tenantid}"

// issuerTemplate is an issuer without its tenant ID.
type issuerTemplate struct{ before, after string }

func newIssuerTemplate(s string) (issuerTemplate, bool) {
	before, after, ok := strings.Cut(s, tenantPlaceholder)
	return issuerTemplate{before, after}, ok
}

// tenant returns the tenant ID of an issuer that matches the template. No issuer
// matches the zero template.
func (t issuerTemplate) tenant(issuer string) (string, bool) {
	rest, ok := strings.CutPrefix(issuer, t.before)
	if !ok || t.before == "" {
		return "", false
	}
	id, ok := strings.CutSuffix(rest, t.after)
	return id, ok && guid.ValidLower(id)
}

// matches reports whether an issuer is that of the tenant.
func (t issuerTemplate) matches(issuer, tenant string) bool {
	id, ok := t.tenant(issuer)
	return ok && id == tenant
}

// setIssuers sets the issuers of the cloud. v1 is Config.V1Issuer.
func (r *rules) setIssuers(v1 string) error {
	u, err := url.Parse("https://" + r.host)
	if err != nil || u.Host != r.host || u.Hostname() == "" {
		return errors.New("Config.Cloud is not a host name, with an optional port")
	}
	switch {
	case isCustomerHost(r.host) && !r.cloud.ExternalID():
		return errors.New("Config.Cloud is a host of Azure AD B2C, which is not supported, or is not NAME.ciamlogin.com")
	case r.cloud.ExternalID():
		return r.setExternalIssuers(v1)
	}
	r.v2, _ = newIssuerTemplate("https://" + r.host + "/" + tenantPlaceholder + "/v2.0")
	if v1 == "" {
		v1 = v1Issuer
		if r.host == entra.CloudChina.Host() {
			v1 = v1IssuerChina
		}
	}
	return r.setV1Issuer(v1)
}

func (r *rules) setV1Issuer(v1 string) error {
	var ok bool
	if r.v1, ok = newIssuerTemplate(v1); !ok || !strings.HasPrefix(v1, "https://") {
		return errors.New("Config.V1Issuer must begin with https:// and have {tenantid} in place of the tenant ID")
	}
	if r.v1 == r.v2 {
		return errors.New("Config.V1Issuer is the v2.0 issuer")
	}
	return nil
}

// setExternalIssuers sets the issuers of an external tenant. Its authority serves one
// tenant, and the host of the issuer is made of the tenant's ID:
// https://ID.ciamlogin.com/ID/v2.0. The v1.0 issuer is not documented, so v1.0 tokens
// are rejected unless it is configured.
//
// Sources: "Microsoft Entra External ID" in MSAL's pages on authorities, and the issuer in
// the openid-configuration of external tenants.
func (r *rules) setExternalIssuers(v1 string) error {
	if len(r.tenants) != 1 { // it is empty if any tenant is allowed
		return errors.New("Config.Tenants must have one entry if Config.Cloud is a host of External ID: the ID of its tenant")
	}
	for id := range r.tenants {
		r.v2, _ = newIssuerTemplate("https://" + id + ".ciamlogin.com/" + tenantPlaceholder + "/v2.0")
	}
	if v1 == "" {
		return nil
	}
	return r.setV1Issuer(v1)
}

// isCustomerHost reports whether a host belongs to External ID (ciamlogin.com) or to
// Azure AD B2C (b2clogin.com). Their issuers and keys differ from those of Entra ID.
func isCustomerHost(host string) bool {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	host = strings.TrimRight(host, ".") // a fully qualified name may end with a dot
	return strings.HasSuffix(host, ".ciamlogin.com") || strings.HasSuffix(host, ".b2clogin.com")
}

// keysURL returns the address of the key document of a tenant, or of all tenants if it
// is "common". app is the client ID of an application with a custom signing key, or
// empty.
//
// The address is made from the configured host, as documented for every cloud. It is
// not read from "jwks_uri" in the OpenID configuration. This saves a request, and a
// document cannot redirect us to another host. The v2.0 document is used for v1.0
// tokens, too. It has the same keys, and only there do they name their issuers.
func (r *rules) keysURL(tenant, app string) string {
	u := "https://" + r.host + "/" + tenant + "/discovery/v2.0/keys"
	if app != "" {
		u += "?appid=" + url.QueryEscape(app)
	}
	return u
}

// hostOf returns the host of an https URL.
func hostOf(issuer string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(issuer, "https://"), "/")
	return host
}
