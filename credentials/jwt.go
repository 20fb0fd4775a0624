package credentials

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// jwtExpiry reads the exp of a JWT (RFC 7519, section 4.1.4), zero if it has none. The JWT
// is ours to send and not to judge, so nothing about it is verified. It is not ok if it
// is no JWT at all.
func jwtExpiry(s string) (exp time.Time, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return exp, false
	}
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, func(c rune) bool {
			return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}) {
			return exp, false
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return exp, false
	}
	var claims struct {
		Exp json.Number `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return exp, false
	}
	if seconds, err := claims.Exp.Float64(); err == nil && seconds > 0 && seconds < 1<<40 {
		exp = time.Unix(int64(seconds), 0)
	}
	return exp, true
}
