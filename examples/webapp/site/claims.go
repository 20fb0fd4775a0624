package site

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/verify"
)

// use is what a claim is good for.
type use int

const (
	decide  use = iota // decisions about what the user may do
	display            // showing it to a person, and nothing else
	about              // the token itself; the library has checked it, or it is Entra's own
	unknown            // not in the table below
)

// What is known of claims, in the order in which the page has them. Sources: Microsoft's "ID token claims reference", "Access token
// claims reference", "Optional claims reference" and "Secure applications and APIs by
// validating claims".
var known = []struct {
	name  string
	use   use
	means string
}{
	{"tid", decide, "The tenant that the user signed in to. Reach a tenant's data only with its own tid."},
	{"oid", decide, "The user, the same in every app of the tenant, and never used again for another. With tid it is the key of the user's data."},
	{"sub", decide, "The user as this app alone sees them: another app gets another value. A key, too, for data that no other app shares."},
	{"roles", decide, "App roles of this app that somebody assigned to the user, or to a group of theirs."},
	{"scp", decide, "What the client may do for the user, in an access token. The user's own rights count besides."},
	{"acrs", decide, "Authentication contexts that the sign-in satisfied, for instance a second factor. What a step-up asks for."},
	{"groups", decide, "IDs of the user's groups. With more than 200 they are left out, so that a missing one proves nothing " +
		"until Microsoft Graph was asked. App roles are simpler."},
	{"wids", decide, "Directory roles of the user, by the IDs of their templates."},
	{"acct", decide, "0 for a member of the tenant, 1 for a guest."},
	{"auth_time", decide, "When the user last signed in with credentials. Look at it after asking for a fresh sign-in."},
	{"idp", decide, "Who vouched for the user, where that is not the tenant itself: a guest's own organization."},
	{"azp", decide, "The app that the token was issued to."},
	{"idtyp", decide, "Says \"app\" of a token that no user stands behind."},

	{"name", display, "What to call the user. The user, or an administrator, can change it, and two can have the same."},
	{"preferred_username", display, "What the user types to sign in: an address, a telephone number, anything. It changes, and can pass to somebody else."},
	{"email", display, "An address that nobody has proved to be the user's. Access given by it can be taken by whoever writes it into their profile."},
	{"upn", display, "The user principal name. It changes, and can pass to somebody else."},
	{"unique_name", display, "A name that is not unique, whatever it is called."},
	{"given_name", display, "The user's given name."},
	{"family_name", display, "The user's family name."},
	{"login_hint", display, "Goes into the next sign-in or sign-out, so that the user need not pick the account again. No proof of anything."},

	{"iss", about, "Who issued the token: Entra, for this tenant. The library checked it."},
	{"aud", about, "Whom the token is for: this app. The library checked it."},
	{"exp", about, "When the ID token ends. It says nothing about how long the session here lasts."},
	{"nbf", about, "When it begins to be good."},
	{"iat", about, "When it was issued. Entra dates tokens five minutes back."},
	{"nonce", about, "Ties the token to the sign-in that this browser began. The library checked it."},
	{"c_hash", about, "Ties the token to the code that came with it."},
	{"at_hash", about, "Ties the token to an access token that came with it."},
	{"ver", about, "The version of the token's format."},
	{"sid", about, "The user's session at Entra. Front-channel sign-out names it."},
	{"uti", about, "The token's own ID: what to write into an audit log."},
	{"rh", about, "Entra's own. Opaque."},
	{"aio", about, "Entra's own. Opaque."},
	{"xms_cc", about, "What the client can do: cp1 is answering claims challenges."},
	{"hasgroups", about, "The user has groups that the token does not name."},
}

// claim is a claim as the page explains it.
type claim struct {
	Name, Value, Means string
}

// group are the claims of one use.
type group struct {
	ID, Title, Mark, Intro string
	Claims                 []claim
}

// explain sorts claims by what they are good for.
func explain(c *verify.Claims) []group {
	groups := []group{
		decide:  {ID: "decide", Title: "Safe to decide by", Mark: "✓", Intro: "They come from Entra, mean one thing, and cannot be chosen by the user."},
		display: {ID: "display", Title: "For display only", Mark: "✕", Intro: "They change, repeat, or can be chosen. Show them; never look anybody up or let anybody in by them."},
		about:   {ID: "about", Title: "About the token itself", Mark: "i", Intro: "The library has looked at them, or they are Entra's own. An app has no use for most."},
		unknown: {ID: "unknown", Title: "Not explained here", Mark: "?", Intro: "Read up on a claim before you decide by it."},
	}
	if c == nil {
		return nil
	}
	add := func(u use, name, means string) {
		groups[u].Claims = append(groups[u].Claims, claim{name, value(c, name), means})
	}
	explained := map[string]bool{}
	for _, k := range known {
		if explained[k.name] = true; c.Has(k.name) {
			add(k.use, k.name, k.means)
		}
	}
	for name := range c.Names() {
		if !explained[name] {
			add(unknown, name, "")
		}
	}
	return slices.DeleteFunc(groups, func(g group) bool { return len(g.Claims) == 0 })
}

// value writes a claim's value for a person.
func value(c *verify.Claims, name string) string {
	var v any
	if c.Decode(name, &v) != nil {
		return ""
	}
	switch v := v.(type) {
	case string:
		return v
	case float64:
		switch name {
		case "exp", "nbf", "iat", "auth_time":
			return time.Unix(int64(v), 0).UTC().Format("2 January 2006, 15:04:05 UTC")
		}
	case []any:
		words := make([]string, 0, len(v))
		for _, w := range v {
			if s, ok := w.(string); ok {
				words = append(words, s)
			}
		}
		if len(words) == len(v) {
			return strings.Join(words, ", ")
		}
	}
	b, _ := json.Marshal(v) // what came from JSON
	return string(b)
}
