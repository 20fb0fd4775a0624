// Package plain makes texts that came from outside safe to show in a terminal.
package plain

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// jwtLike matches the start of every JWT and JWE: base64url of `{"`.
var jwtLike = regexp.MustCompile(`eyJ[A-Za-z0-9_\-.=]{8,}`)

// Text returns s in one line of at most limit bytes, without anything that a terminal
// obeys or that turns the direction of writing, and without what looks like a token.
func Text(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == utf8.RuneError
	}), " ")
	s = jwtLike.ReplaceAllString(s, "[redacted]")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
