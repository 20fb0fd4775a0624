package authcode

import (
	"net/url"
	"slices"
	"strings"
)

// maxReturnTo, in bytes of JSON, which writes an ampersand as six, keeps a Login small
// enough for a cookie (RFC 6265, section 6.1).
const maxReturnTo = 2002

// onSite reports whether a browser that is sent to s stays on the site, however s is read:
// by a browser, which takes "\" for "/" and skips tabs and line breaks (WHATWG URL
// Standard), by [net/http.Redirect], which cleans paths, or by a proxy, which may decode
// them. So there is only one way to read what it accepts: an absolute path without empty
// or dot segments, in which nothing is escaped that would change the path's structure.
// In the query and the fragment escapes change nothing.
func onSite(s string) bool {
	if len(s) > maxReturnTo || len(marshal(s)) > maxReturnTo || !strings.HasPrefix(s, "/") ||
		strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
		return false
	}
	if _, err := url.Parse(s); err != nil {
		return false
	}
	path, _, _ := strings.Cut(s, "#")
	path, _, _ = strings.Cut(path, "?")
	segments := strings.Split(path[1:], "/")
	if slices.ContainsFunc(segments[:len(segments)-1], func(s string) bool { return s == "" }) {
		return false
	}
	return !slices.ContainsFunc(segments, func(s string) bool {
		decoded, err := url.PathUnescape(s)
		return err != nil || s == "." || s == ".." || decoded != s && strings.ContainsFunc(decoded, structural)
	})
}

// structural reports whether an escaped c could change how a path is read.
func structural(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(`/\.%`, c) }
