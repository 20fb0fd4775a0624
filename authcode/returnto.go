package authcode

import (
	"net/url"
	"slices"
	"strings"
)

// maxReturnTo bounds a return path, in bytes of JSON, so that a Login fits into a cookie
// (RFC 6265, section 6.1). Package json escapes an ampersand as six bytes (\u0026).
const maxReturnTo = 2002

// maxDecodings bounds how often the escapes of a path may themselves be escaped.
const maxDecodings = 3

// isLocalPath reports whether s is a path that keeps a browser on the site for every reader
// of s. Browsers treat "\" as "/" and skip tabs and line breaks (WHATWG URL Standard),
// [net/http.Redirect] cleans paths, and proxies may decode them, even repeatedly. In every
// reading, s must be an absolute path without empty or dot segments, backslashes and control
// characters. Escapes in the query and the fragment are harmless.
func isLocalPath(s string) bool {
	if !strings.HasPrefix(s, "/") ||
		strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
		return false
	}
	if _, err := url.Parse(s); err != nil {
		return false
	}
	path, _, _ := strings.Cut(s, "#")
	path, _, _ = strings.Cut(path, "?")
	for range maxDecodings {
		if !isCleanPath(path) {
			return false
		}
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path { // no reader decodes further
			return true
		}
		path = decoded
	}
	return false
}

// isCleanPath reports whether path has no empty or dot segments, backslashes and control
// characters. The last segment may be empty.
func isCleanPath(path string) bool {
	segments := strings.Split(path[1:], "/")
	return !strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) &&
		!slices.Contains(segments[:len(segments)-1], "") && !slices.Contains(segments, ".") &&
		!slices.Contains(segments, "..")
}
