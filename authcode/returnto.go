package authcode

import (
	"net/url"
	"slices"
	"strings"
)

// maxReturnTo bounds a return path, in bytes of JSON, so that a Login fits into a cookie
// (RFC 6265, section 6.1). JSON writes an ampersand as six bytes.
const maxReturnTo = 2002

// isLocalPath reports whether s is a path that keeps a browser on the site for every reader
// of s. Browsers treat "\" as "/" and skip tabs and line breaks (WHATWG URL Standard),
// [net/http.Redirect] cleans paths, and proxies may decode them. isLocalPath therefore
// accepts only texts with a single reading: an absolute path without empty or dot
// segments, in which no escape changes the structure of the path. Escapes in the query and
// the fragment are harmless.
func isLocalPath(s string) bool {
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
		return err != nil || s == "." || s == ".." || decoded != s && strings.ContainsFunc(decoded, isStructural)
	})
}

// isStructural reports whether an escaped c could change how a path is read.
func isStructural(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(`/\.%`, c) }
