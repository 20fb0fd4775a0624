package entra

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// ClaimsChallenge returns the claims challenge in the WWW-Authenticate header of a
// resource's answer, decoded to JSON, and whether there is one: a Bearer challenge with
// error="insufficient_claims" and claims that are base64 of a JSON object. Give it to
// [TokenSource.WithClaims], or send the user to sign in with it. [Transport] does the
// former by itself.
//
// Source: "Claims challenges, claims requests, and client capabilities" in Microsoft's
// identity platform documentation; RFC 9110, section 11.6.1.
func ClaimsChallenge(h http.Header) (claims string, ok bool) {
	for _, line := range h.Values("WWW-Authenticate") {
		for _, c := range challenges(line) {
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

// SetClaimsChallenge puts a claims challenge into the header of an answer with status
// 401: what an API sends its caller when only the user can help, with the Claims of an
// [Error] whose InteractionRequired is true. The caller's [ClaimsChallenge] reads it, and
// so do Microsoft's libraries. claims is a JSON object; if it is "" the challenge says
// invalid_token, which sends the caller to get a new token.
//
// Source: as [ClaimsChallenge]; RFC 6750, section 3.
func SetClaimsChallenge(h http.Header, claims string) {
	if claims == "" {
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return
	}
	h.Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(claims))+`"`)
}

// A challenge is one scheme of a WWW-Authenticate header with its parameters, whose
// names are in lower case.
type challenge struct {
	scheme string
	params map[string]string
}

// challenges reads a WWW-Authenticate header as far as it can be understood.
func challenges(line string) (all []challenge) {
	for {
		line = strings.TrimLeft(line, " \t,")
		word := leadingToken(line)
		if word == "" {
			return all
		}
		line = line[len(word):]
		rest := strings.TrimLeft(line, " \t")
		if !strings.HasPrefix(rest, "=") || len(all) == 0 {
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

// parameterValue reads a token or a quoted string. After a quoted string without an end
// nothing is left to read.
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

// leadingToken returns the token that s begins with (RFC 9110, section 5.6.2).
func leadingToken(s string) string {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return s[:i]
		}
	}
	return s
}
