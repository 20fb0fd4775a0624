package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unique"
)

// Key identifies a session: one subject of one app at one authority. A token is served only for the key that
// it was acquired for.
type Key struct {
	Authority string // with its tenant: "https://login.microsoftonline.com/<tenant>"
	ClientID  string
	Flow      string // "client_credentials", "on_behalf_of", "authorization_code", ...
	Subject   string `json:"-"` // the user or assertion; if empty, the app itself
	Session   string `json:"-"` // distinguishes sessions of one subject, which share nothing
	Owner     string // the app whose credential acquires the tokens, if it is not ClientID
	Variant   string // tells apart apps with the same ID by their credential

	// Capabilities are the client capabilities of the app, such as "cp1". Tokens for different ones differ.
	Capabilities string

	// Local controls whether the session stays in this process, even if the cache has a store. It is for tokens of
	// the machine, such as those of a managed identity: other machines may have another identity of the same name.
	Local bool

	// Delegation says that the session belongs to a long-running process and outlives the sign-ins of its user.
	// Options.DelegationTTL applies to it. Session must be a random ID that no other session ever has.
	Delegation bool
}

// Format prints the key with short hashes in place of the subject and the session, for every verb. A log then contains
// no personal data, and its lines about one user can still be found.
func (k Key) Format(f fmt.State, _ rune) {
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
	fmt.Fprintf(f, "%s client=%s flow=%s subject=%s", k.Authority, k.ClientID, k.Flow, subject)
}

// A partition is one flow of one app in one tenant. The bound of the cache is shared fairly among partitions.
type partition struct {
	authority, clientID, owner, flow, variant, capabilities string

	local, delegation bool
}

// A sessionKey is a [Key] that is quick to compare.
type sessionKey struct {
	partition        unique.Handle[partition]
	subject, session string
}

func (k *Key) partition() partition {
	return partition{
		k.Authority, k.ClientID, k.Owner, k.Flow, k.Variant, k.Capabilities, k.Local, k.Delegation,
	}
}

func (k *Key) sessionKey() sessionKey {
	return sessionKey{unique.Make(k.partition()), k.Subject, k.Session}
}

// isApp reports whether k has the tokens of an app itself. A partition has one such key.
func (k sessionKey) isApp() bool { return k.subject == "" && k.session == "" }

// sameUser reports whether k and o are sessions of one user of one app. Keys without a session are not.
func (k sessionKey) sameUser(o sessionKey) bool {
	return k.partition == o.partition && k.subject == o.subject && k.session != "" && o.session != ""
}

func (k sessionKey) key() Key {
	p := k.partition.Value()
	return Key{
		Authority: p.authority, ClientID: p.clientID, Owner: p.owner, Flow: p.flow, Variant: p.variant,
		Capabilities: p.capabilities, Local: p.local, Delegation: p.delegation, Subject: k.subject, Session: k.session,
	}
}

// Format prints what [Key.Format] prints.
func (k sessionKey) Format(f fmt.State, _ rune) { k.key().Format(f, 's') }

// scopeSet returns a string that is equal for equal sets of scopes, apart from case.
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

// sameScopes compares the results of scopeSet, without regard to case. Scopes are case-sensitive in RFC 6749,
// section 3.3, but not in Entra.
func sameScopes(a, b string) bool {
	if a == b || len(a) != len(b) {
		return a == b
	}
	for i := range len(a) {
		if a[i] != b[i] && lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// lower maps only ASCII letters, since scopes do not contain others.
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
