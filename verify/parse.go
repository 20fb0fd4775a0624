package verify

import (
	"encoding/base64"
	"strings"
)

// encoding is base64url without padding (RFC 7515 section 2), in the one form
// that decoding and encoding again leaves as it is.
var encoding = base64.RawURLEncoding.Strict()

// header is what the JOSE header of a token says (RFC 7515 section 4.1).
type header struct {
	algorithm string
	keyID     string
	atJWT     bool // typ says access token (RFC 9068)
}

// parts are the three parts of a compact JWS (RFC 7515 section 7.1), still
// encoded, and what the first two of them say.
type parts struct {
	signed    string // header and payload: what the signature is over
	signature string
	header    header
	payload   string
	claims    object
}

// parse takes a token apart. It believes nothing of it.
func parse(raw string) (*parts, error) {
	if len(raw) > MaxTokenSize {
		return nil, reject(ReasonTooLarge)
	}
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first < 0 || first == last {
		return nil, reject(ReasonMalformed)
	}
	middle := raw[first+1 : last]
	if n := strings.Count(middle, "."); n == 2 {
		return nil, reject(ReasonEncrypted) // RFC 7516 section 7.1
	} else if n != 0 {
		return nil, reject(ReasonMalformed)
	}
	p := &parts{signed: raw[:last], signature: raw[last+1:]}
	if p.signature == "" {
		return nil, reject(ReasonMalformed)
	}
	text, err := decode(raw[:first])
	if err != nil {
		return nil, err
	}
	if p.header, err = parseHeader(text); err != nil {
		return nil, err
	}
	if p.payload, err = decode(middle); err != nil {
		return nil, err
	}
	p.claims, err = parseObject(p.payload)
	return p, err
}

// decode undoes base64url. Go's decoder skips line breaks, which would let one
// token be written in many ways.
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

// parseHeader applies the rules for headers:
//
//   - alg is RS256 or PS256: no "none", no HMAC (whose key would be the public
//     key), nothing that Entra's keys are not made for (RFC 8725 section 3.1);
//   - typ is JWT, as Entra always writes, or RFC 9068's at+jwt for access tokens;
//   - crit is refused: no extension is understood here (RFC 7515 section 4.1.11);
//   - jwk, jku, x5c and x5u are refused: keys come from the authority alone
//     (RFC 8725 section 3.10). x5t, which v1.0 tokens carry, is the kid again;
//   - a nonce marks Microsoft's own tokens, whose signature is not over what is
//     sent ("Validate tokens" in Microsoft's access-tokens page);
//   - kid is there: without it every key would have to be tried.
func parseHeader(text string) (header, error) {
	o, err := parseObject(text)
	if err != nil {
		return header{}, err
	}
	var h header
	var typ string
	for _, m := range o.members {
		var into *string
		switch m.name {
		case "alg":
			into = &h.algorithm
		case "typ":
			into = &typ
		case "kid":
			into = &h.keyID
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
		if *into, ok = stringValue(m.value); !ok {
			return header{}, rejectClaim(ReasonBadHeader, m.name)
		}
	}
	if h.algorithm != "RS256" && h.algorithm != "PS256" {
		return header{}, reject(ReasonBadAlgorithm)
	}
	// Media types have no case, and may leave "application/" out (RFC 7515 section 4.1.9).
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

// text returns a claim that is a string, "" if it is absent or is not one.
func (p *parts) text(claim string) string {
	value, ok := p.claims.get(claim)
	if !ok {
		return ""
	}
	s, _ := stringValue(value)
	return s
}
