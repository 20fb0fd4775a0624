// Package subject is how a grant's subject and session stand in a cache key together.
package subject

import "strings"

const separator = "\x00"

// Key returns the subject of the cache key.
func Key(subject, session string) string {
	if session == "" {
		return subject
	}
	return subject + separator + session
}

// Has reports whether key is that of the subject and the session; "": of any session.
func Has(key, subject, session string) bool {
	if session != "" {
		return key == Key(subject, session)
	}
	return key == subject || strings.HasPrefix(key, subject+separator)
}
