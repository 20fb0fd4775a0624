// Package plain makes texts that came from outside safe to show in a terminal.
package plain

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
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

// JSON returns a JSON text with the characters escaped that do not show. It says the same:
// outside of strings JSON has none but line feeds (RFC 8259, section 2).
func JSON(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\n' || unicode.IsPrint(c) && c != utf8.RuneError:
			b.WriteRune(c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
