package entra

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// ClaimsChallenge returns the claims challenge in the WWW-Authenticate header of a
// resource's response, decoded to JSON, and reports whether there is one. It is a Bearer
// challenge with error="insufficient_claims" and claims that are the base64 of a JSON
// object. Pass it to [TokenSource.WithClaims], or to a new sign-in. [Transport] handles
// challenges by itself.
//
// Sources: "Claims challenges, claims requests, and client capabilities" in Microsoft's
// identity platform documentation, and RFC 9110, section 11.6.1.
func ClaimsChallenge(h http.Header) (claims string, ok bool) {
	lines := h.Values("WWW-Authenticate")
	for _, line := range lines[:min(len(lines), maxChallenges)] {
		for _, c := range parseChallenges(line) {
			if !strings.EqualFold(c.scheme, "Bearer") || c.params["error"] != "insufficient_claims" {
				continue
			}
			if claims, ok := decodeClaims(c.params["claims"]); ok {
				return claims, true
			}
		}
	}
	return "", false
}

// SetClaimsChallenge sets the WWW-Authenticate header of a response with status 401. An API
// sends it to its caller if the user must interact. claims is a JSON object, the Claims of an
// [Error] whose InteractionRequired is true. The caller's [ClaimsChallenge] and
// Microsoft's libraries parse it. If claims is empty, the challenge is invalid_token, after
// which the caller acquires a new token.
//
// Sources: RFC 6750, section 3, and those of [ClaimsChallenge].
func SetClaimsChallenge(h http.Header, claims string) {
	if claims == "" {
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(claims))
	h.Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+encoded+`"`)
}

// A challenge is one challenge of a WWW-Authenticate header. The names of its parameters
// are in lower case.
type challenge struct {
	scheme string
	params map[string]string
}

// Bounds on a WWW-Authenticate header, which a resource chooses. The claims have at most
// maxClaims bytes.
const (
	maxChallengeLine = 32 << 10
	maxChallenges    = 20
)

// parseChallenges parses a WWW-Authenticate header up to its first error, or the first
// challenge that exceeds maxChallenges. It ignores a header that exceeds maxChallengeLine.
func parseChallenges(line string) (all []challenge) {
	if len(line) > maxChallengeLine {
		return nil
	}
	for {
		line = strings.TrimLeft(line, " \t,")
		word := leadingToken(line)
		if word == "" {
			return all
		}
		line = line[len(word):]
		rest := strings.TrimLeft(line, " \t")
		if !strings.HasPrefix(rest, "=") || len(all) == 0 {
			if len(all) == maxChallenges {
				return all
			}
			all = append(all, challenge{word, map[string]string{}})
			continue
		}
		var value string
		value, line = parameterValue(strings.TrimLeft(rest[1:], " \t"))
		params := all[len(all)-1].params
		if _, twice := params[strings.ToLower(word)]; !twice {
			params[strings.ToLower(word)] = value
		}
	}
}

// parameterValue parses a token or a quoted string. rest is empty after an unterminated
// quoted string.
func parameterValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		value = s
		if i := strings.IndexAny(s, " \t,"); i >= 0 {
			value = s[:i]
		}
		return value, s[len(value):]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			i++
			if i == len(s) {
				return "", ""
			}
		}
		b.WriteByte(s[i])
	}
	return "", ""
}

// leadingToken returns the token at the start of s (RFC 9110, section 5.6.2).
func leadingToken(s string) string {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return s[:i]
		}
	}
	return s
}
