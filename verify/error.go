package verify

import (
	"log/slog"
	"strconv"
)

// Reason says why something was refused. Every refusal has its own, so that
// programs can branch on it and operators can count it.
type Reason string

// The reasons, in the order in which the rules are applied.
const (
	ReasonNoToken            Reason = "no_token"              // the request carries no bearer token
	ReasonBadAuthorization   Reason = "bad_authorization"     // the Authorization header is not one bearer token
	ReasonTooLarge           Reason = "too_large"             // longer than MaxTokenSize
	ReasonMalformed          Reason = "malformed"             // not three base64url parts
	ReasonEncrypted          Reason = "encrypted"             // a JWE: five parts
	ReasonBadJSON            Reason = "bad_json"              // a part is not one JSON object
	ReasonBadUTF8            Reason = "bad_utf8"              // a part is not UTF-8, or escapes half a surrogate pair
	ReasonDuplicateMember    Reason = "duplicate_member"      // a JSON object names a member twice
	ReasonTooComplex         Reason = "too_complex"           // JSON nested too deeply, or with too many members
	ReasonBadHeader          Reason = "bad_header"            // a header parameter has the wrong JSON type
	ReasonForeignToken       Reason = "foreign_token"         // made for Microsoft's own API, for example Graph
	ReasonBadAlgorithm       Reason = "bad_algorithm"         // alg is not RS256 or PS256
	ReasonBadType            Reason = "bad_type"              // typ is not a JWT's
	ReasonCriticalHeader     Reason = "critical_header"       // the header has crit
	ReasonEmbeddedKey        Reason = "embedded_key"          // the header brings a key or a link to one
	ReasonNoKeyID            Reason = "no_key_id"             // the header has no kid
	ReasonMissingClaim       Reason = "missing_claim"         // Error.Claim is absent or empty
	ReasonBadClaim           Reason = "bad_claim"             // Error.Claim has the wrong JSON type or form
	ReasonBadVersion         Reason = "bad_version"           // ver is not 1.0 or 2.0
	ReasonUnsupportedIssuer  Reason = "unsupported_issuer"    // issued by another tenant of Entra External ID, or by Azure AD B2C
	ReasonBadIssuer          Reason = "bad_issuer"            // iss is not an issuer of the configured cloud
	ReasonTenantMismatch     Reason = "tenant_mismatch"       // iss and tid name different tenants
	ReasonBadAudience        Reason = "bad_audience"          // aud is none of Config.Audiences
	ReasonNotAccessToken     Reason = "not_access_token"      // an ID token where an access token belongs
	ReasonProofOfPossession  Reason = "proof_of_possession"   // bound to a key of its client (cnf)
	ReasonNotIDToken         Reason = "not_id_token"          // an access token where an ID token belongs
	ReasonExpired            Reason = "expired"               // exp has passed
	ReasonNotYetValid        Reason = "not_yet_valid"         // nbf lies ahead
	ReasonIssuedInFuture     Reason = "issued_in_future"      // iat lies ahead
	ReasonBadLifetime        Reason = "bad_lifetime"          // exp is not after iat, or too long after it
	ReasonUnknownKey         Reason = "unknown_key"           // kid is not among the authority's keys
	ReasonKeysUnavailable    Reason = "keys_unavailable"      // the authority's keys cannot be had now
	ReasonBadSignature       Reason = "bad_signature"         // the signature is not that key's
	ReasonTenantNotAllowed   Reason = "tenant_not_allowed"    // tid is not on the list
	ReasonKeyIssuer          Reason = "key_issuer"            // the key is published for another issuer
	ReasonBadNonce           Reason = "bad_nonce"             // not the answer to this sign-in
	ReasonBadAuthorizedParty Reason = "bad_authorized_party"  // azp of an ID token is another client than aud
	ReasonBadCodeHash        Reason = "bad_code_hash"         // c_hash is not the hash of Expected.Code
	ReasonBadAccessTokenHash Reason = "bad_access_token_hash" // at_hash is not the hash of Expected.AccessToken
)

// texts are what Error says. They are constants, so nothing of a token can get
// into them, and plain ASCII without quotes, so that they can stand in a
// WWW-Authenticate header as they are (RFC 6750 section 3).
var texts = map[Reason]string{
	ReasonNoToken:           "the request has no bearer token; send one in the Authorization header",
	ReasonBadAuthorization:  "the Authorization header is not exactly one bearer token; send one header of the form: Bearer TOKEN",
	ReasonTooLarge:          "the token is larger than this API reads; reduce the claims it carries, for example groups",
	ReasonMalformed:         "the token is not a signed JWT; send the access token as Entra gave it, unchanged",
	ReasonEncrypted:         "the token is encrypted; this API reads signed tokens only, so turn token encryption off in its registration",
	ReasonBadJSON:           "the header or the payload of the token is not one JSON object; send the token as Entra gave it",
	ReasonBadUTF8:           "the token holds text that is not Unicode; send the token as Entra gave it",
	ReasonDuplicateMember:   "the token names a member twice, so it could mean two things; send the token as Entra gave it",
	ReasonTooComplex:        "the token is nested too deeply or has too many members; send the token as Entra gave it",
	ReasonBadHeader:         "a header parameter of the token has the wrong type; send the token as Entra gave it",
	ReasonForeignToken:      "the token is made for an API of Microsoft, such as Graph, and nobody else can validate it; ask for a token with a scope of this API",
	ReasonBadAlgorithm:      "the signature algorithm of the token is not RS256 or PS256; Entra signs with these",
	ReasonBadType:           "the type in the header of the token is not JWT; send an Entra token",
	ReasonCriticalHeader:    "the header of the token demands an extension that this API does not know; send an Entra token",
	ReasonEmbeddedKey:       "the header of the token brings its own key; only keys that the authority publishes count",
	ReasonNoKeyID:           "the header of the token does not name its signing key; send an Entra token",
	ReasonMissingClaim:      "the token lacks a claim that every Entra token of this kind has",
	ReasonBadClaim:          "a claim of the token does not have the documented form",
	ReasonBadVersion:        "the version of the token is not 1.0 or 2.0, or is not its issuer's; send an Entra token",
	ReasonUnsupportedIssuer: "the token comes from Entra External ID or Azure AD B2C, which this API does not serve; ask Entra ID for one",
	ReasonBadIssuer:         "the token is not from an issuer of the configured cloud; check the authority that the client uses",
	ReasonTenantMismatch:    "the issuer and the tenant of the token differ; send an Entra token",
	ReasonBadAudience: "the audience of the token is none of Config.Audiences; if it is another API, ask for a token with a scope of this one; " +
		"a v1.0 token names the App ID URI (api://...): add it, or set requestedAccessTokenVersion to 2 in the manifest of the app",
	ReasonNotAccessToken:     "this is not an access token; an ID token tells a client who signed in and opens no API",
	ReasonProofOfPossession:  "the token is bound to a key of its client and no bearer token; ask for a bearer token",
	ReasonNotIDToken:         "this is not an ID token; an access token does not tell a client who signed in",
	ReasonExpired:            "the token has expired; ask for a new one",
	ReasonNotYetValid:        "the token is not valid yet; check the clocks",
	ReasonIssuedInFuture:     "the token was issued in the future; check the clocks",
	ReasonBadLifetime:        "the token expires before it was issued, or lives longer than Entra lets any token live",
	ReasonUnknownKey:         "the token is signed with a key that the authority does not publish; check the authority that the client uses",
	ReasonKeysUnavailable:    "the signing keys of the authority cannot be had at the moment; try again",
	ReasonKeyIssuer:          "the token is signed with a key that belongs to another issuer",
	ReasonBadSignature:       "the signature of the token is wrong; send the token as Entra gave it",
	ReasonTenantNotAllowed:   "the tenant of the token may not use this API",
	ReasonBadNonce:           "the ID token does not belong to this sign-in; begin the sign-in again",
	ReasonBadAuthorizedParty: "the ID token was made for another client; begin the sign-in again",
	ReasonBadCodeHash:        "the authorization code does not belong to the ID token; begin the sign-in again",
	ReasonBadAccessTokenHash: "the access token does not belong to the ID token; begin the sign-in again",
}

// Error is the refusal of a token. Its text says what was wrong and what to do,
// is made of constants alone, and repeats nothing of the token.
type Error struct {
	Reason Reason
	// Claim names the claim or header parameter concerned, always one of those
	// that this package knows; "" if the reason concerns none.
	Claim string
	// StatusCode is the HTTP status with which the authority refused its keys;
	// 0 if it did not answer, or if the reason is not KeysUnavailable.
	StatusCode int
}

// Error says what was wrong with the token and what to do about it, in one line.
func (e *Error) Error() string { return "verify: " + e.description() }

// Is makes errors.Is(err, &verify.Error{Reason: verify.Expired}) true for every
// refusal with that reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason && (t.Claim == "" || t.Claim == e.Claim)
}

// Temporary tells whether the same token may be accepted a little later: only
// when the authority's keys could not be had.
func (e *Error) Temporary() bool { return e.Reason == ReasonKeysUnavailable }

// LogValue gives the fields to count refusals by.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("reason", string(e.Reason))}
	if e.Claim != "" {
		attrs = append(attrs, slog.String("claim", e.Claim))
	}
	if e.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", e.StatusCode))
	}
	return slog.GroupValue(attrs...)
}

// description is the text without the package's name, for challenges.
func (e *Error) description() string {
	text := texts[e.Reason]
	if text == "" {
		text = "the token was refused"
	}
	if e.Claim != "" {
		text += " (" + e.Claim + ")"
	}
	if e.StatusCode != 0 {
		text += " (HTTP status " + strconv.Itoa(e.StatusCode) + ")"
	}
	return text
}

func refuse(r Reason) error { return &Error{Reason: r} }

func refuseClaim(r Reason, claim string) error { return &Error{Reason: r, Claim: claim} }
