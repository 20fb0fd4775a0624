package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"
)

// maxLifetime is more than the longest life that Entra gives an access token:
// 28 hours under continuous access evaluation ("Token lifetime" in Microsoft's
// access-tokens page). A token that says it lives longer is not Entra's.
const maxLifetime = 48 * time.Hour

// rules are a Config in the form in which tokens are compared. They never change.
type rules struct {
	audiences  map[string]bool
	tenants    map[string]bool
	anyTenant  bool
	noPersonal bool // with anyTenant: not personal accounts
	leeway     time.Duration
	host       string
	v1, v2     issuerTemplate
}

// kind is what a token is to be.
type tokenUse int

const (
	accessToken tokenUse = iota
	idToken
)

// check applies the rules that need no key, before the signature: they are
// cheap and answer only from what the configuration makes public anyway. Which
// tenants are allowed is not public, so that rule is allow, after the signature.
func (r *rules) check(p *parts, c *Claims, k tokenUse, now time.Time) error {
	if err := r.origin(p, c); err != nil {
		return err
	}
	if err := r.audience(c); err != nil {
		return err
	}
	if err := r.purpose(p, c, k); err != nil {
		return err
	}
	return r.times(p, c, now)
}

// origin: the issuer is the configured cloud's, in the form of the token's
// version, and names the tenant that tid names. "Validate the issuer" in
// Microsoft's access-tokens page: without this a tenant could speak for another.
func (r *rules) origin(p *parts, c *Claims) error {
	for _, need := range [...]struct{ name, value string }{
		{"iss", c.Issuer}, {"tid", c.TenantID}, {"ver", c.Version}, {"sub", c.Subject}, {"aud", c.Audience},
	} {
		if need.value == "" {
			return rejectClaim(ReasonMissingClaim, need.name)
		}
	}
	if !isGUID(c.TenantID) {
		return rejectClaim(ReasonBadClaim, "tid")
	}
	if c.ObjectID != "" && !isGUID(c.ObjectID) {
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
		return reject(ReasonTenantMismatch)
	}
	if _, v1 := r.v1.tenant(c.Issuer); v1 {
		return reject(ReasonBadVersion)
	}
	if _, v2 := r.v2.tenant(c.Issuer); v2 {
		return reject(ReasonBadVersion)
	}
	if outOfScope(hostOf(c.Issuer)) {
		return reject(ReasonUnsupportedIssuer)
	}
	return reject(ReasonBadIssuer)
}

// audience: the token is for this application. A v2.0 token always names it by
// its client ID. Accepting others' tokens makes a confused deputy ("Validate
// the audience" in Microsoft's claims-validation page).
func (r *rules) audience(c *Claims) error {
	if !r.audiences[c.Audience] || c.Version == "2.0" && !isGUID(c.Audience) {
		return rejectClaim(ReasonBadAudience, "aud")
	}
	return nil
}

// purpose tells access tokens from ID tokens, which Entra signs with the same
// keys and, when an application calls its own API, addresses alike (RFC 8725
// section 3.12). Access tokens name the client that asked for them, and say how
// it proved itself, what it may do, or whom it speaks for; ID tokens say none of
// that, are never for an application alone, and only they have a nonce or the
// hash of what came with them.
//
// An access token that is bound to a key (cnf, RFC 7800) is good only together
// with a proof that its sender has the key. Nobody asks for one here, so that a
// stolen token would pass for its owner's.
func (r *rules) purpose(p *parts, c *Claims, k tokenUse) error {
	client, clientAuth := "azp", "azpacr"
	if c.Version == "1.0" {
		client, clientAuth = "appid", "appidacr"
	}
	c.ClientID = p.text(client)
	c.ClientAuth = p.text(clientAuth)
	if k == accessToken {
		if c.ClientID == "" || c.Has("nonce") || c.Has("c_hash") || c.Has("at_hash") {
			return reject(ReasonNotAccessToken)
		}
		if !p.header.atJWT && c.ClientAuth == "" && !c.Has("scp") && !c.Has("idtyp") {
			return reject(ReasonNotAccessToken)
		}
		if c.Has("cnf") {
			return reject(ReasonProofOfPossession)
		}
		return nil
	}
	if p.header.atJWT || c.AppOnly() {
		return reject(ReasonNotIDToken)
	}
	for _, name := range [...]string{"scp", "idtyp", "appid", "appidacr", "azpacr"} {
		if c.Has(name) {
			return reject(ReasonNotIDToken)
		}
	}
	if !isGUID(c.Audience) { // an ID token is for a client, whatever its version
		return rejectClaim(ReasonBadAudience, "aud")
	}
	// OpenID Connect Core section 3.1.3.7, rule 5.
	if c.Has("azp") && c.ClientID != c.Audience {
		return reject(ReasonBadAuthorizedParty)
	}
	return nil
}

// times: iat and nbf have come, exp has not, give or take the leeway, and the
// life in between is one that Entra gives. All three are always there.
func (r *rules) times(p *parts, c *Claims, now time.Time) error {
	for _, need := range [...]struct {
		name  string
		value time.Time
	}{{"exp", c.Expires}, {"iat", c.IssuedAt}, {"nbf", c.NotBefore}} {
		if need.value.IsZero() {
			return rejectClaim(ReasonMissingClaim, need.name)
		}
	}
	life := c.Expires.Sub(c.IssuedAt)
	switch {
	case life <= 0 || life > maxLifetime:
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

// allow: the tenant is on the list. It is asked after the signature, so that
// nobody can find out who the customers are by making tokens up.
func (r *rules) checkTenant(tenantID string) error {
	if r.tenants[tenantID] || r.anyTenant && !(r.noPersonal && tenantID == PersonalAccounts) {
		return nil
	}
	return reject(ReasonTenantNotAllowed)
}

// keyFits tells whether a key that names an issuer may sign for the token. For
// a v1.0 token it may name the same tenant's v2.0 issuer, because the keys are
// the same and only the v2.0 document says whose they are ("Validate the signing
// key issuer" in Microsoft's access-tokens page).
func (r *rules) keyFits(k *signingKey, c *Claims) bool {
	if k.issuer == "" {
		return true
	}
	// In External ID the tenant stands in the host, too.
	if strings.ReplaceAll(k.issuer, tenantPlaceholder, c.TenantID) == c.Issuer {
		return true
	}
	if t, ok := newIssuerTemplate(k.issuer); ok {
		return t == r.v2
	}
	return r.v2.is(k.issuer, c.TenantID)
}

// Expected is what the answer to one sign-in must agree with.
type Expected struct {
	// Nonce is the nonce of the authorization request. Zero: none was sent, and
	// a token that has one is refused (an ID token got by a refresh has none).
	Nonce string
	// Code is the authorization code that came with the ID token from the
	// authorization endpoint (hybrid flow): c_hash must be there and match.
	// Zero: not checked, as for ID tokens from the token endpoint.
	Code string
	// AccessToken is the access token that came with the ID token from the
	// authorization endpoint: at_hash must be there and match. Zero: not checked.
	AccessToken string
}

// answers: the ID token belongs to this sign-in (OpenID Connect Core sections
// 3.1.3.7 rule 11, 3.3.2.9 and 3.3.2.10).
func (e Expected) check(p *parts, c *Claims) error {
	if !same(c.Nonce, e.Nonce) || c.Has("nonce") != (e.Nonce != "") {
		return reject(ReasonBadNonce)
	}
	if e.Code != "" && !same(p.text("c_hash"), halfHash(e.Code)) {
		return reject(ReasonBadCodeHash)
	}
	if e.AccessToken != "" && !same(p.text("at_hash"), halfHash(e.AccessToken)) {
		return reject(ReasonBadAccessTokenHash)
	}
	return nil
}

// halfHash is the left half of the SHA-256 of a value, in base64url.
func halfHash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return encoding.EncodeToString(sum[:len(sum)/2])
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
