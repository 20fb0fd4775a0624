package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unique"
)

// Key names a session: one subject of one app at one authority. A token is only ever
// served for the key it was acquired for.
//
// A Key prints without its subject, which may be a person; see [Key.String].
type Key struct {
	Authority string // authority with its tenant, "https://login.microsoftonline.com/<tenant>"
	ClientID  string // the app's client ID
	Flow      string // "client_credentials", "on_behalf_of", "authorization_code", ...
	Subject   string // whom the token speaks for, with the session, if there is one; "" for the app itself
	Variant   string // what else sets an app's tokens apart: its credential and capabilities
}

// String returns the key with a short hash in place of the subject, so that it is
// safe to log and lines about one subject can be told from those about another.
func (k Key) String() string {
	subject := "app"
	if k.Subject != "" {
		sum := sha256.Sum256([]byte(k.Subject))
		subject = hex.EncodeToString(sum[:6])
	}
	return fmt.Sprintf("%s client=%s flow=%s subject=%s", k.Authority, k.ClientID, k.Flow, subject)
}

// Format prints the key as [Key.String] does, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// MarshalText gives the form of [Key.String].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Partition is a flow of an app in a tenant: a [Key] without its subject, and whose share of
// the bound a session counts against. It is a word long and quick to compare; what makes
// many handles keeps it. Make it with [Key.Partition].
type Partition struct{ handle unique.Handle[Key] }

// Partition returns the key's partition.
func (k Key) Partition() Partition {
	k.Subject = ""
	return Partition{unique.Make(k)}
}

// A place is a [Key] as the cache compares it.
type place struct {
	partition Partition
	subject   string
}

func (p place) key() Key {
	k := p.partition.handle.Value()
	k.Subject = p.subject
	return k
}

// Format prints the place as its key does, whatever the verb.
func (p place) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.key()) }

// scopeSet returns a form of a scope set in which equal sets are equal but for the case
// of letters. That of one scope is the scope.
func scopeSet(scopes []string) string {
	if len(scopes) == 1 {
		return scopes[0]
	}
	set := make([]string, len(scopes))
	for i, s := range scopes {
		set[i] = lower(s)
	}
	slices.Sort(set)
	return strings.Join(slices.Compact(set), " ")
}

// sameScopes compares two scope sets. (RFC 6749, section 3.3, would have them compared by
// case; Entra does not.)
func sameScopes(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// lower is for ASCII alone, which scopes are made of: no other letter is one of them.
func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lowerByte(b[i])
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
