package verify

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra/internal/digest"
)

// Verifier verifies the tokens of one application in one cloud. Make it with
// New. It is safe for concurrent use, starts nothing in the background that
// outlives a key fetch, and needs no closing.
type Verifier struct {
	rules  *rules
	keys   *keys
	seen   *seen
	logger *slog.Logger
}

// AccessToken verifies an access token for this API and returns its claims. The
// refusal of a token is an *Error. If ctx ends while the keys are being fetched,
// the error is that of ctx, and the fetch goes on for the others.
func (v *Verifier) AccessToken(ctx context.Context, raw string) (*Claims, error) {
	c, _, err := v.accessToken(ctx, raw)
	return c, err
}

// IDToken verifies an ID token that the token endpoint returned for a sign-in
// with that nonce. Errors are those of AccessToken. An empty nonce is a lost one
// and refused (BadNonce); the ID token of a refresh is for IDTokenFor.
func (v *Verifier) IDToken(ctx context.Context, raw, nonce string) (*Claims, error) {
	if nonce == "" {
		return nil, refuse(ReasonBadNonce)
	}
	return v.IDTokenFor(ctx, raw, Expected{Nonce: nonce})
}

// IDTokenFor verifies an ID token that must agree with more than a nonce.
func (v *Verifier) IDTokenFor(ctx context.Context, raw string, e Expected) (*Claims, error) {
	p, c, err := v.unsigned(raw, idToken, time.Now())
	if err != nil {
		return nil, err
	}
	if _, err := v.signed(ctx, p, c); err != nil {
		return nil, err
	}
	if err := e.answers(p, c); err != nil {
		return nil, err
	}
	return c, nil
}

// AllowsTenant tells whether Config.Tenants lets a tenant in, given by its ID in
// lower case, as tokens have it.
func (v *Verifier) AllowsTenant(tenantID string) bool {
	return isGUID(tenantID) && v.rules.allow(tenantID) == nil
}

// accessToken answers from the tokens seen before, or verifies. It returns the
// hash of the token too, which is computed only here.
func (v *Verifier) accessToken(ctx context.Context, raw string) (c *Claims, hash [sha256.Size]byte, err error) {
	if len(raw) > MaxTokenSize {
		return nil, hash, refuse(ReasonTooLarge)
	}
	now := time.Now()
	hash = digest.SHA256(raw)
	if _, ok := v.keys.load(now); ok {
		if c := v.seen.get(hash, now); c != nil {
			return c, hash, nil
		}
	}
	p, c, err := v.unsigned(raw, accessToken, now)
	if err != nil {
		return nil, hash, err
	}
	key, err := v.signed(ctx, p, c)
	if err != nil {
		return nil, hash, err
	}
	kept := *c
	v.seen.add(hash, &kept, key, c.Expires.Add(v.rules.leeway))
	return c, hash, nil
}

// unsigned does everything that needs no key.
func (v *Verifier) unsigned(raw string, k kind, now time.Time) (*parts, *Claims, error) {
	p, err := parse(raw)
	if err != nil {
		return nil, nil, err
	}
	c, err := readClaims(p.claims)
	if err != nil {
		return nil, nil, err
	}
	return p, c, v.rules.check(p, c, k, now)
}

// signed finds the key, checks the signature with it, and then whether the tenant
// may come in and the key may sign for it. Only then the rest is read.
func (v *Verifier) signed(ctx context.Context, p *parts, c *Claims) (*signingKey, error) {
	key, err := v.keys.find(ctx, p.header.keyID)
	if err != nil {
		return nil, err
	}
	if key.algorithm != "" && key.algorithm != p.header.algorithm {
		return nil, refuse(ReasonBadAlgorithm)
	}
	if strings.ContainsAny(p.signature, "\r\n") {
		return nil, refuse(ReasonMalformed)
	}
	signature, err := encoding.DecodeString(p.signature)
	if err != nil {
		return nil, refuse(ReasonMalformed)
	}
	if methods[p.header.algorithm].Verify(p.signed, signature, key.public) != nil {
		return nil, refuse(ReasonBadSignature)
	}
	if err := v.rules.allow(c.TenantID); err != nil {
		return nil, err
	}
	if !v.rules.keyFits(key, c) {
		return nil, refuse(ReasonKeyIssuer)
	}
	return key, c.readSets()
}

// methods are the signature algorithms. A PS256 salt is as long as the hash, and
// no other (RFC 7518 section 3.5); golang-jwt would take any length.
var methods = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256,
	"PS256": &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	},
}
