package verify

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/entratoken/entra/internal/digest"
	"github.com/entratoken/entra/internal/guid"
)

// Verifier verifies the tokens of one application in one cloud, or of several; see [Any].
// Create it with [New]; the zero Verifier rejects every token. A Verifier is safe for
// concurrent use. It need not be closed.
type Verifier struct {
	rules        *rules
	keys         *keySource
	verified     *verifiedCache
	groups       *groupLookups // nil without Config.GraphTokens
	logger       *slog.Logger
	errorHandler func(http.ResponseWriter, *http.Request, *Error)
	onEvent      func(Event)
	trace        func(context.Context) (context.Context, func(Event))

	members []*Verifier // by which tokens are verified: itself, or the arguments of Any
}

var errZeroVerifier = errors.New("verify: Verifier must be created with New")

// usable returns an error if v was not created with New.
func (v *Verifier) usable() error {
	if v == nil || v.rules == nil {
		return errZeroVerifier
	}
	return nil
}

// Any returns a Verifier that accepts every token that one of the given Verifiers accepts.
// Use it for an API with several app registrations, or for users of several clouds, such
// as employees and the customers in an external tenant:
//
//	v := verify.Any(employees, customers)
//	mux.Handle("/orders", v.Middleware(verify.RequireScope("Orders.Read")(orders)))
//
// The issuer, the audience and the tenant in a token select one Verifier, which then
// verifies the token by its own configuration. If several fit, it is the first. The
// [Claims.Issuer] and [Claims.Audience] of a verified token say which it was. Its
// Config.OnEvent is called. Requests whose token fits no Verifier get the response of the
// first. Config.Trace of the first is used for all.
//
// Any panics without arguments, or if one was not created with New.
func Any(verifiers ...*Verifier) *Verifier {
	if len(verifiers) == 0 {
		panic("verify: Any needs at least one Verifier")
	}
	var members []*Verifier
	for _, v := range verifiers {
		if err := v.usable(); err != nil {
			panic(err.Error())
		}
		members = append(members, v.members...)
	}
	first := *members[0]
	first.members = members
	return &first
}

// choose returns the member that verifies a token with these claims, which are not
// verified yet. The error is that of the member that the token fits best.
func (v *Verifier) choose(c *Claims) (member *Verifier, err error) {
	best := -1
	for _, m := range v.members {
		if fit, matchErr := m.rules.match(c); fit > best {
			member, best, err = m, fit, matchErr
		}
	}
	return member, err
}

// chooses reports whether choose returns m for these claims, which m has accepted.
func (v *Verifier) chooses(m *Verifier, c *Claims) bool {
	for _, earlier := range v.members {
		if earlier == m {
			return true
		}
		if fit, _ := earlier.rules.match(c); fit == bestFit {
			return false
		}
	}
	return false
}

// Verify verifies an access token for this API. It does not check scopes or roles; see
// [Rule]. The error for a rejected token is an [*Error]. If ctx is done while the keys are
// being fetched, Verify returns the error of ctx, and the fetch continues for other
// callers.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Token, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	t, _, err := v.verify(ctx, raw)
	return t, err
}

// verify is Verify. It also returns the member that verified or rejected the token.
func (v *Verifier) verify(ctx context.Context, raw string) (*Token, *Verifier, error) {
	now := time.Now()
	if len(raw) > MaxTokenSize {
		err := reject(ReasonTooLarge)
		v.notify(result(err, now))
		return nil, v, err
	}
	hash := digest.SHA256(raw)
	for _, m := range v.members {
		if c, by := m.verified.get(hash, now); c != nil && (by == v || v.chooses(m, c)) {
			m.keys.used(c.TenantID)
			m.notify(Event{Kind: EventVerified, Cached: true})
			return m.groups.bind(ctx, newToken(raw, hash, c, m)), m, nil
		}
	}
	traced, end := v.startTrace(ctx)
	t, m, err := v.verifyNew(traced, raw, hash, now)
	event := result(err, now)
	end(event)
	m.notify(event)
	return m.groups.bind(ctx, t), m, err
}

// verifyNew verifies a token that is not cached.
func (v *Verifier) verifyNew(ctx context.Context, raw string, hash [sha256.Size]byte, now time.Time,
) (*Token, *Verifier, error) {
	t, c, err := parse(raw)
	if err != nil {
		return nil, v, err
	}
	m, err := v.choose(c)
	if err != nil {
		return nil, m, err
	}
	if err := m.rules.check(t, c, accessToken, now); err != nil {
		return nil, m, err
	}
	key, keys, err := m.checkSignature(ctx, t, c)
	if err != nil {
		return nil, m, err
	}
	if err := m.rules.checkPermissions(c); err != nil {
		return nil, m, err
	}
	m.verified.add(hash, verifiedEntry{c, v, key, keys, c.Expires.Add(m.rules.leeway)})
	return newToken(raw, hash, c, m), m, nil
}

// IDToken verifies an ID token that the token endpoint returned for a sign-in with
// that nonce. Errors are those of [Verifier.Verify]. An empty nonce is rejected
// with [ReasonBadNonce], because it means that the program lost the nonce. For the
// ID token of a refresh, which lacks a nonce, use [Verifier.IDTokenFor].
func (v *Verifier) IDToken(ctx context.Context, raw, nonce string) (*Claims, error) {
	if nonce == "" {
		err := reject(ReasonBadNonce)
		if v != nil {
			v.notify(result(err, time.Now()))
		}
		return nil, err
	}
	return v.IDTokenFor(ctx, raw, Expected{Nonce: nonce})
}

// IDTokenFor verifies an ID token and compares it with e.
func (v *Verifier) IDTokenFor(ctx context.Context, raw string, e Expected) (*Claims, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	now := time.Now()
	ctx, end := v.startTrace(ctx)
	c, m, err := v.verifyIDToken(ctx, raw, e, now)
	event := result(err, now)
	end(event)
	m.notify(event)
	return c, err
}

// verifyIDToken is IDTokenFor. It also returns the member that verified or rejected the token.
func (v *Verifier) verifyIDToken(ctx context.Context, raw string, e Expected, now time.Time,
) (*Claims, *Verifier, error) {
	t, c, err := parse(raw)
	if err != nil {
		return nil, v, err
	}
	m, err := v.choose(c)
	if err != nil {
		return nil, m, err
	}
	if err := m.rules.check(t, c, idToken, now); err != nil {
		return nil, m, err
	}
	if _, _, err := m.checkSignature(ctx, t, c); err != nil {
		return nil, m, err
	}
	if err := e.check(t, c); err != nil {
		return nil, m, err
	}
	return c, m, nil
}

// AllowsTenant reports whether Config.Tenants allows a tenant, given by its ID in
// lower case, as in tokens.
func (v *Verifier) AllowsTenant(tenantID string) bool {
	return v.usable() == nil && guid.ValidLower(tenantID) && slices.ContainsFunc(v.members, func(m *Verifier) bool {
		return m.rules.allows(tenantID)
	})
}

// parse parses a token. It verifies nothing.
func parse(raw string) (*jws, *Claims, error) {
	t, err := parseJWS(raw)
	if err != nil {
		return nil, nil, err
	}
	c, err := readClaims(t.claims)
	if err != nil {
		return nil, nil, err
	}
	return t, c, nil
}

// checkSignature finds the key and checks the signature. It then checks whether the
// tenant is allowed and whether the key may sign for it, reads the claims that have
// several values, and returns the key and where it is from.
func (v *Verifier) checkSignature(ctx context.Context, t *jws, c *Claims) (*signingKey, *keys, error) {
	keys, err := v.keys.of(c.TenantID)
	if err != nil {
		return nil, nil, err
	}
	key, err := keys.find(ctx, t.header.keyID)
	if err != nil {
		return nil, nil, err
	}
	if key.algorithm != "" && key.algorithm != t.header.algorithm {
		return nil, nil, reject(ReasonKeyAlgorithm)
	}
	if strings.ContainsAny(t.signature, "\r\n") { // the decoder skips them
		return nil, nil, reject(ReasonMalformed)
	}
	signature, err := encoding.DecodeString(t.signature)
	if err != nil {
		return nil, nil, reject(ReasonMalformed)
	}
	if methods[t.header.algorithm].Verify(t.signed, signature, key.public) != nil {
		return nil, nil, reject(ReasonBadSignature)
	}
	if err := v.rules.checkTenant(c.TenantID); err != nil {
		return nil, nil, err
	}
	if !v.rules.keyMaySign(key, c) {
		return nil, nil, reject(ReasonKeyIssuer)
	}
	v.keys.verified(c.TenantID, keys)
	return key, keys, c.readSets()
}

// methods are the signature algorithms. A PS256 salt must be as long as the hash
// (RFC 7518, section 3.5); golang-jwt accepts any length by default.
var methods = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256,
	"PS256": &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	},
}

// verifiedCache has the claims of verified access tokens by the SHA-256 of the
// token, so that another request with the same token costs a hash and a lookup.
// Rejected tokens are not cached, so they cannot evict valid ones. The least
// recently used entry is evicted first. Callers share the bound.
type verifiedCache struct {
	entries *lru.Cache[[sha256.Size]byte, verifiedEntry] // nil if nothing is cached
}

type verifiedEntry struct {
	claims *Claims   // shared: callers get copies
	by     *Verifier // whose member verified the token; it chooses the same member again
	key    *signingKey
	keys   *keys     // of key
	until  time.Time // exp plus the leeway
}

// newVerifiedCache returns a cache for size tokens, as Config.CacheSize says.
func newVerifiedCache(size int) *verifiedCache {
	if size < 0 {
		return &verifiedCache{}
	}
	if size == 0 {
		size = defaultCacheSize
	}
	entries, _ := lru.New[[sha256.Size]byte, verifiedEntry](size) // fails only for sizes below 1
	return &verifiedCache{entries}
}

// get returns the claims of a cached token and the Verifier that verified it. The claims
// are nil if the token is not cached, if it has expired, if its key has been withdrawn, or if
// the keys must be fetched first. They must not be changed.
func (s *verifiedCache) get(hash [sha256.Size]byte, now time.Time) (*Claims, *Verifier) {
	if s.entries == nil {
		return nil, nil
	}
	e, ok := s.entries.Get(hash)
	if !ok {
		return nil, nil
	}
	if _, ok = e.keys.load(now); !ok {
		return nil, nil
	}
	if !now.Before(e.until) || e.key.withdrawn.Load() {
		s.entries.Remove(hash)
		return nil, nil
	}
	return e.claims, e.by
}

// add caches a verified token. Its claims must not be changed afterwards.
func (s *verifiedCache) add(hash [sha256.Size]byte, e verifiedEntry) {
	if s.entries != nil {
		s.entries.Add(hash, e)
	}
}
