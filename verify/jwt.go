package verify

import (
	"encoding/base64"
	"strings"
)

// encoding is base64url without padding (RFC 7515, section 2). Strict rejects
// stray bits in the last character, so a token has only one encoded form.
var encoding = base64.RawURLEncoding.Strict()

// header has the parameters of a JOSE header that the rules need (RFC 7515,
// section 4.1).
type header struct {
	algorithm string
	keyID     string
	atJWT     bool // typ is that of an access token (RFC 9068)
}

// jws is a parsed compact JWS (RFC 7515, section 7.1). Its signature has not been
// checked.
type jws struct {
	signed    string // the encoded header and payload, which the signature covers
	signature string // encoded
	header    header
	payload   string
	claims    object
}

// parseJWS parses a token.
func parseJWS(raw string) (*jws, error) {
	if len(raw) > MaxTokenSize {
		return nil, reject(ReasonTooLarge)
	}
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first == last {
		return nil, reject(ReasonMalformed)
	}
	middle := raw[first+1 : last]
	if strings.Count(middle, ".") == 2 { // decode rejects other numbers of dots
		return nil, reject(ReasonEncrypted) // RFC 7516, section 7.1
	}
	t := &jws{signed: raw[:last], signature: raw[last+1:]}
	if t.signature == "" {
		return nil, reject(ReasonMalformed)
	}
	text, err := decode(raw[:first])
	if err != nil {
		return nil, err
	}
	if t.header, err = parseHeader(text); err != nil {
		return nil, err
	}
	if t.payload, err = decode(middle); err != nil {
		return nil, err
	}
	t.claims, err = parseObject(t.payload)
	return t, err
}

// decode decodes base64url. It rejects line breaks, which Go's decoder skips, so
// that a token has only one encoded form.
func decode(part string) (string, error) {
	if part == "" || strings.ContainsAny(part, "\r\n") {
		return "", reject(ReasonMalformed)
	}
	text, err := encoding.DecodeString(part)
	if err != nil {
		return "", reject(ReasonMalformed)
	}
	return string(text), nil
}

// parseHeader parses a header and applies its rules:
//
//   - alg must be RS256 or PS256. That excludes "none", HMAC (whose key would be
//     the public key), and algorithms that Entra's keys are not for (RFC 8725,
//     section 3.1).
//   - typ must be JWT, as Entra writes it, or at+jwt for access tokens (RFC 9068).
//   - crit is rejected, because no extension is supported (RFC 7515, section 4.1.11).
//   - jwk, jku, x5c and x5u are rejected, because only the authority's keys are
//     trusted (RFC 8725, section 3.10). x5t, which v1.0 tokens have, repeats the kid.
//   - nonce is rejected. It marks the tokens of Microsoft's own APIs, whose
//     signature does not cover the text that is sent ("Validate tokens" in
//     Microsoft's access-tokens page).
//   - kid is required. Without it, a verifier must try every key.
func parseHeader(text string) (header, error) {
	o, err := parseObject(text)
	if err != nil {
		return header{}, err
	}
	var h header
	var typ string
	for _, m := range o.members {
		var dst *string
		switch m.name {
		case "alg":
			dst = &h.algorithm
		case "typ":
			dst = &typ
		case "kid":
			dst = &h.keyID
		case "crit":
			return header{}, reject(ReasonCriticalHeader)
		case "jwk", "jku", "x5c", "x5u":
			return header{}, reject(ReasonEmbeddedKey)
		case "nonce":
			return header{}, reject(ReasonForeignToken)
		default:
			continue
		}
		var ok bool
		if *dst, ok = stringValue(m.value); !ok {
			return header{}, rejectClaim(ReasonBadHeader, m.name)
		}
	}
	if h.algorithm != "RS256" && h.algorithm != "PS256" {
		return header{}, reject(ReasonBadAlgorithm)
	}
	// Media types are case-insensitive and may omit "application/" (RFC 7515, section 4.1.9).
	switch typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); typ {
	case "jwt":
	case "at+jwt":
		h.atJWT = true
	default:
		return header{}, reject(ReasonBadType)
	}
	if h.keyID == "" {
		return header{}, reject(ReasonNoKeyID)
	}
	return h, nil
}

// text returns a claim that is a string, or "" if it is absent or not a string.
func (t *jws) text(claim string) string {
	value, ok := t.claims.get(claim)
	if !ok {
		return ""
	}
	s, _ := stringValue(value)
	return s
}
