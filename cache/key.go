package cache

import (
	"crypto/sha256"
	"encoding/binary"
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
	Subject   string // whom the token speaks for; "" for the app itself
	Session   string // which of the subject's sessions, if they share nothing
	Variant   string // what else sets an app's tokens apart: its credential and capabilities
}

// String returns the key with short hashes in place of the subject and the session, so
// that it is safe to log and lines about one can be told from those about another.
func (k Key) String() string {
	short := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:6])
	}
	subject := "app"
	if k.Subject != "" {
		subject = short(k.Subject)
	}
	if k.Session != "" {
		subject += " session=" + short(k.Session)
	}
	return fmt.Sprintf("%s client=%s flow=%s subject=%s", k.Authority, k.ClientID, k.Flow, subject)
}

// Format prints the key as [Key.String] does, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// MarshalText gives the form of [Key.String].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Partition is a flow of an app in a tenant: a [Key] without its subject and session, and
// whose share of the bound a session counts against. It is short and quick to compare;
// what makes many handles keeps it. Make it with [Key.Partition].
type Partition struct {
	alone, divided unique.Handle[partition] // subjects without sessions of their own, and those with
}

type partition struct {
	authority, clientID, flow, variant string
	divided                            bool
}

// Partition returns the key's partition.
func (k Key) Partition() Partition { return Partition{k.partition(false), k.partition(true)} }

func (k Key) partition(divided bool) unique.Handle[partition] {
	return unique.Make(partition{k.Authority, k.ClientID, k.Flow, k.Variant, divided})
}

// A place is a [Key] as the cache compares it.
type place struct {
	partition unique.Handle[partition]
	holder    string // the subject; if the partition is divided, with the session and its length
}

func (p Partition) place(subject, session string) place {
	if session == "" {
		return place{p.alone, subject}
	}
	return place{p.divided, join(subject, session)}
}

func (k Key) place() place {
	if k.Session == "" {
		return place{k.partition(false), k.Subject}
	}
	return place{k.partition(true), join(k.Subject, k.Session)}
}

// join makes one string of two such that split finds them again.
func join(subject, session string) string {
	both := append([]byte(subject), session...)
	return string(binary.BigEndian.AppendUint32(both, uint32(len(session))))
}

// split returns the subject and the session.
func (p place) split() (subject, session string) {
	if !p.partition.Value().divided {
		return p.holder, ""
	}
	both, length := p.holder[:len(p.holder)-4], p.holder[len(p.holder)-4:]
	i := len(both) - int(binary.BigEndian.Uint32([]byte(length)))
	return both[:i], both[i:]
}

func (p place) key() Key {
	v := p.partition.Value()
	k := Key{Authority: v.authority, ClientID: v.clientID, Flow: v.flow, Variant: v.variant}
	k.Subject, k.Session = p.split()
	return k
}

// user returns the place of the subject whose session this is, if it is one.
func (p place) user() (place, bool) {
	if !p.partition.Value().divided {
		return place{}, false
	}
	subject, _ := p.split()
	return place{p.partition, subject}, true
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
