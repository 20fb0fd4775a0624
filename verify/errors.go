package verify

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
)

// Reason is the reason for an [*Error]. Programs can branch on it, and operators
// can count it.
type Reason string

// The reasons, in the order in which the rules are applied.
const (
	ReasonNoToken            Reason = "no_token"              // the request lacks a bearer token
	ReasonBadAuthorization   Reason = "bad_authorization"     // the Authorization header is not one bearer token
	ReasonTooLarge           Reason = "too_large"             // the token is longer than MaxTokenSize
	ReasonMalformed          Reason = "malformed"             // the token is not three base64url parts
	ReasonEncrypted          Reason = "encrypted"             // the token is a JWE (five parts)
	ReasonBadJSON            Reason = "bad_json"              // a part is not one JSON object
	ReasonBadUTF8            Reason = "bad_utf8"              // a part is not UTF-8, or escapes half a surrogate pair
	ReasonDuplicateMember    Reason = "duplicate_member"      // a JSON object has a member twice
	ReasonTooComplex         Reason = "too_complex"           // the JSON is nested too deeply or has too many members
	ReasonBadHeader          Reason = "bad_header"            // a header parameter has the wrong JSON type
	ReasonForeignToken       Reason = "foreign_token"         // the token is for a Microsoft API, for example Graph
	ReasonBadAlgorithm       Reason = "bad_algorithm"         // alg is not RS256 or PS256
	ReasonBadType            Reason = "bad_type"              // typ is not that of a JWT
	ReasonCriticalHeader     Reason = "critical_header"       // the header has crit
	ReasonEmbeddedKey        Reason = "embedded_key"          // the header has a key or a link to one
	ReasonNoKeyID            Reason = "no_key_id"             // the header lacks kid
	ReasonMissingClaim       Reason = "missing_claim"         // Error.Claim is absent or empty
	ReasonBadClaim           Reason = "bad_claim"             // Error.Claim has the wrong JSON type or form
	ReasonBadVersion         Reason = "bad_version"           // ver is not 1.0 or 2.0, or not that of the issuer
	ReasonUnsupportedIssuer  Reason = "unsupported_issuer"    // iss is another External ID tenant, or Azure AD B2C
	ReasonBadIssuer          Reason = "bad_issuer"            // iss is not an issuer of the configured cloud
	ReasonTenantMismatch     Reason = "tenant_mismatch"       // iss and tid name different tenants
	ReasonBadAudience        Reason = "bad_audience"          // aud is not in Config.Audiences
	ReasonNotAccessToken     Reason = "not_access_token"      // an ID token where an access token is required
	ReasonProofOfPossession  Reason = "proof_of_possession"   // the token is bound to a key of its client (cnf)
	ReasonNotIDToken         Reason = "not_id_token"          // an access token where an ID token is required
	ReasonExpired            Reason = "expired"               // exp has passed
	ReasonNotYetValid        Reason = "not_yet_valid"         // nbf is in the future
	ReasonIssuedInFuture     Reason = "issued_in_future"      // iat is in the future
	ReasonBadLifetime        Reason = "bad_lifetime"          // exp is not after iat, or too long after it
	ReasonUnknownKey         Reason = "unknown_key"           // kid is not among the keys of the authority
	ReasonKeysUnavailable    Reason = "keys_unavailable"      // the keys of the authority cannot be fetched
	ReasonKeyAlgorithm       Reason = "key_algorithm"         // the key is for another algorithm than alg
	ReasonBadSignature       Reason = "bad_signature"         // the key did not sign the token
	ReasonTenantNotAllowed   Reason = "tenant_not_allowed"    // tid is not in Config.Tenants
	ReasonKeyIssuer          Reason = "key_issuer"            // the key is published for another issuer
	ReasonBadNonce           Reason = "bad_nonce"             // nonce is not that of this sign-in
	ReasonBadAuthorizedParty Reason = "bad_authorized_party"  // azp of an ID token is not its aud
	ReasonBadCodeHash        Reason = "bad_code_hash"         // c_hash is not the hash of Expected.Code
	ReasonBadAccessTokenHash Reason = "bad_access_token_hash" // at_hash is not the hash of Expected.AccessToken
	ReasonNoPermissions      Reason = "no_permissions"        // the token has neither scopes nor roles
)

// The reasons of rules, for tokens that are valid.
const (
	ReasonMissingScope       Reason = "missing_scope"        // no user, or no scope of Error.Required
	ReasonMissingRole        Reason = "missing_role"         // no app that acts for itself, or no role of Error.Required
	ReasonMissingUserRole    Reason = "missing_user_role"    // no user, or no role of Error.Required
	ReasonMissingAuthContext Reason = "missing_auth_context" // no authentication context of Error.Required
	ReasonMissingGroup       Reason = "missing_group"        // no user, or in no group of Error.Required
	ReasonGroupsOverage      Reason = "groups_overage"       // too many groups for a token, and no Config.GraphTokens
	ReasonGroupsUnavailable  Reason = "groups_unavailable"   // the groups could not be looked up in Microsoft Graph
	ReasonOtherTenant        Reason = "other_tenant"         // tid is not one of the rule
	ReasonOtherClient        Reason = "other_client"         // azp or appid is not one of the rule
	ReasonDenied             Reason = "denied"               // a Rule of the program returned Error.Err
	ReasonNotVerified        Reason = "not_verified"         // the context does not have a verified token
)

// texts are the texts that both errors and responses have. They are constants, so
// they cannot disclose a token. They are printable ASCII without quotation marks,
// so that they can stand in a WWW-Authenticate header (RFC 6750, section 3).
var texts = map[Reason]string{
	ReasonNoToken:            "the request does not have a bearer token; send one in the Authorization header",
	ReasonBadAuthorization:   "the request must have one Authorization header of the form: Bearer TOKEN",
	ReasonTooLarge:           "the token is too large; reduce its claims, for example groups",
	ReasonMalformed:          "the token is not a signed JWT; send the token as Entra issued it",
	ReasonEncrypted:          "the token is encrypted; this API accepts only signed tokens",
	ReasonBadJSON:            "a part of the token is not a JSON object; send the token as Entra issued it",
	ReasonBadUTF8:            "the token has text that is not valid Unicode; send the token as Entra issued it",
	ReasonDuplicateMember:    "the token has a claim or parameter twice; send the token as Entra issued it",
	ReasonTooComplex:         "the token is nested too deeply or has too many claims",
	ReasonBadHeader:          "a header parameter of the token has the wrong type; send the token as Entra issued it",
	ReasonForeignToken:       "the token is for a Microsoft API such as Graph; request a token with a scope of this API",
	ReasonBadAlgorithm:       "the signature algorithm of the token is not RS256 or PS256",
	ReasonBadType:            "the type of the token is not JWT; send a token that Entra issued",
	ReasonCriticalHeader:     "the token requires an extension that is not supported; send a token that Entra issued",
	ReasonEmbeddedKey:        "the token contains its own key; only keys that the authority publishes are accepted",
	ReasonNoKeyID:            "the token does not name its signing key; send a token that Entra issued",
	ReasonMissingClaim:       "the token does not have a required claim",
	ReasonBadClaim:           "a claim of the token does not have the documented form",
	ReasonBadVersion:         "the version of the token is not 1.0 or 2.0, or is not that of its issuer",
	ReasonUnsupportedIssuer:  "the token is from another External ID tenant or Azure AD B2C; check the client's authority",
	ReasonBadIssuer:          "the token is not from an issuer of the configured cloud; check the client's authority",
	ReasonTenantMismatch:     "the issuer and the tenant ID of the token differ; send a token that Entra issued",
	ReasonBadAudience:        "wrong audience; request a token with a scope of this API",
	ReasonNotAccessToken:     "the token is not an access token; APIs do not accept ID tokens",
	ReasonProofOfPossession:  "the token is bound to a key of its client; request a bearer token",
	ReasonNotIDToken:         "the token is not an ID token",
	ReasonExpired:            "the token has expired; request a new one",
	ReasonNotYetValid:        "the token is not valid yet; check the clocks",
	ReasonIssuedInFuture:     "the token was issued in the future; check the clocks",
	ReasonBadLifetime:        "the token expires before it was issued, or has a longer lifetime than Entra gives a token",
	ReasonUnknownKey:         "the authority does not publish the signing key of the token; check the client's authority",
	ReasonKeysUnavailable:    "failed to fetch the signing keys of the authority",
	ReasonKeyAlgorithm:       "the signing key of the token does not allow its signature algorithm",
	ReasonKeyIssuer:          "the signing key of the token belongs to another issuer",
	ReasonBadSignature:       "the signature of the token is invalid; send the token as Entra issued it",
	ReasonTenantNotAllowed:   "the tenant of the token may not use this API",
	ReasonBadNonce:           "the ID token does not belong to this sign-in; start a new sign-in",
	ReasonBadAuthorizedParty: "the ID token was issued to another client; start a new sign-in",
	ReasonBadCodeHash:        "the authorization code does not belong to the ID token; start a new sign-in",
	ReasonBadAccessTokenHash: "the access token does not belong to the ID token; start a new sign-in",
	ReasonNoPermissions:      "the token has neither scopes nor roles; an administrator must grant a permission",
	ReasonMissingScope:       "the client must act for a user and have one of the scopes",
	ReasonMissingRole:        "the app must act for itself and have one of the roles",
	ReasonMissingUserRole:    "the client must act for a user who has one of the roles",
	ReasonMissingAuthContext: "a stronger sign-in is required; request a token with the given claims",
	ReasonMissingGroup:       "the client must act for a user in one of the required groups",
	ReasonGroupsOverage:      "the user is in too many groups for a token",
	ReasonGroupsUnavailable:  "failed to look up the groups of the user",
	ReasonOtherTenant:        "the tenant of the token may not use this resource",
	ReasonOtherClient:        "the client of the token may not use this resource",
	ReasonDenied:             "the caller may not use this resource",
	ReasonNotVerified:        "the handler is not behind the middleware that verifies tokens",
}

// hints are for the operator of the API. Responses do not have them.
var hints = map[Reason]string{
	ReasonEncrypted: "turn off token encryption in the app registration",
	ReasonBadAudience: "if it is for this API, add its aud to Config.Audiences (a v1.0 token has the App ID URI), " +
		"or set requestedAccessTokenVersion to 2 in the app manifest",
	ReasonUnknownKey: "if this application has a custom signing key, set Config.KeysFor " +
		"(in package authcode, Config.CustomSigningKey)",
	ReasonGroupsOverage:    "to look them up in Microsoft Graph, set Config.GraphTokens",
	ReasonNoPermissions:    "to accept apps without roles, set Config.AllowAppsWithoutRoles",
	ReasonTenantNotAllowed: "to accept it, add its ID to Config.Tenants",
}

// Error is the error for a token that a [Verifier] or a [Rule] rejects. Its text gives the reason
// and how to fix it, and never repeats any part of the token.
//
// [errors.Is] compares the reason:
//
//	errors.Is(err, &verify.Error{Reason: verify.ReasonExpired})
type Error struct {
	Reason Reason
	// Claim is the claim or header parameter that Reason is about. It is always a
	// name that this package knows. It is empty for most reasons.
	Claim string
	// Value is the audience, issuer, tenant ID, client ID or key ID in the token that
	// Reason is about, in one line, cut to 200 bytes. It is for logs: LogValue has
	// it, and texts and responses do not. Anyone can choose it, because most tokens are
	// rejected before their signature is checked.
	Value string `json:"-"`
	// Required lists scopes, roles, groups or an authentication context. A Rule requires one of
	// them.
	Required []string
	// StatusCode is the HTTP status with which the authority rejected the request for its
	// keys, or with which Microsoft Graph rejected the lookup of groups. It is zero for
	// other reasons and if no response arrived.
	StatusCode int
	// Err says why the keys could not be fetched or the groups could not be looked up, or is
	// the error of a Rule of the program. It is nil for other reasons.
	Err error
}

// Error returns the reason and how to fix it, in one line.
func (e *Error) Error() string {
	text := "verify: " + e.Message()
	if e.Err != nil {
		text += ": " + e.cause()
	}
	if hint := hints[e.Reason]; hint != "" {
		text += "; " + hint
	}
	return text
}

// cause returns the text of e.Err. That of a Rule may contain the token.
func (e *Error) cause() string { return redact.Text(e.Err.Error(), 1000) }

// Is reports whether target is an [*Error] with the same reason. If target has a
// Claim, that must be the same, too.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason && (t.Claim == "" || t.Claim == e.Claim)
}

// GoString returns e without Value.
func (e *Error) GoString() string { return "&verify.Error{" + e.Error() + "}" }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same token may be accepted later, without a change
// of the token or of the configuration. It is true if the keys could not be fetched or
// the groups could not be looked up, with three exceptions:
//
//   - The certificate of the server was rejected.
//   - Microsoft Graph rejected the lookup, for example because a permission is missing.
//   - Entra rejected the request for a token for Microsoft Graph.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case ReasonKeysUnavailable:
		return !neterr.Certificate(e.Err)
	case ReasonGroupsUnavailable:
		if e.StatusCode != 0 {
			return e.StatusCode == http.StatusTooManyRequests || retry.TransientStatus(e.StatusCode)
		}
		if t, ok := errors.AsType[*entra.Error](e.Err); ok {
			return t.Temporary()
		}
		return !neterr.Certificate(e.Err)
	}
	return false
}

// LogValue returns the fields of e as a group.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("reason", string(e.Reason))}
	if e.Claim != "" {
		attrs = append(attrs, slog.String("claim", e.Claim))
	}
	if e.Value != "" {
		attrs = append(attrs, slog.String("value", e.Value))
	}
	if len(e.Required) > 0 {
		attrs = append(attrs, slog.String("required", strings.Join(e.Required, " ")))
	}
	if e.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", e.StatusCode))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("cause", e.cause()))
	}
	return slog.GroupValue(attrs...)
}

// HTTPStatus returns the status of the response to the caller: 400, 401, 403 or 503, or
// 500 for [ReasonNotVerified], which is a mistake in the program. The method does not
// return StatusCode, which is the status of a response of the authority.
func (e *Error) HTTPStatus() int {
	switch e.Reason {
	case ReasonBadAuthorization:
		return http.StatusBadRequest
	case ReasonKeysUnavailable, ReasonGroupsUnavailable:
		return http.StatusServiceUnavailable
	case ReasonNotVerified:
		return http.StatusInternalServerError
	case ReasonNoPermissions, ReasonMissingScope, ReasonMissingRole, ReasonMissingUserRole, ReasonMissingGroup,
		ReasonGroupsOverage, ReasonOtherTenant, ReasonOtherClient, ReasonDenied:
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// Message returns the text for the caller, in one line of printable ASCII. It does not
// contain any part of the token, and says nothing about the configuration of the API.
func (e *Error) Message() string {
	text := texts[e.Reason]
	if text == "" {
		text = "the token was rejected"
	}
	switch e.Reason {
	case ReasonMissingScope, ReasonMissingRole, ReasonMissingUserRole:
		return text + ": " + e.required()
	}
	if e.Claim != "" {
		problem, advice, ok := strings.Cut(text, "; ")
		text = problem + " (" + e.Claim + ")"
		if ok {
			text += "; " + advice
		}
	}
	return text
}

// required returns the entries of Required that can stand in a challenge. A Rule of the program may set others.
func (e *Error) required() string {
	return strings.Join(slices.DeleteFunc(slices.Clone(e.Required), func(s string) bool { return !quotable(s) }), " ")
}

func reject(r Reason) error { return &Error{Reason: r} }

func rejectClaim(r Reason, claim string) error { return &Error{Reason: r, Claim: claim} }

// rejectValue returns an error with a value of the token for logs.
func rejectValue(r Reason, claim, value string) error {
	return &Error{Reason: r, Claim: claim, Value: redact.Text(value, maxLoggedValue)}
}

// maxLoggedValue is the maximum size of Error.Value in bytes.
const maxLoggedValue = 200
