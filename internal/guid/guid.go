// Package guid recognizes GUIDs, which Entra uses as IDs of tenants, apps and users (RFC 9562, section 4).
package guid

import "strings"

// Valid reports whether s is a GUID of 36 characters, with hexadecimal digits in either case.
func Valid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// ValidLower reports whether s is a GUID in lower case, the form in which Entra writes IDs. Use it for values
// that are compared byte by byte.
func ValidLower(s string) bool { return Valid(s) && s == strings.ToLower(s) }
