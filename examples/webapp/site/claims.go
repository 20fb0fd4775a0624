package site

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/verify"
)

// use is the purpose that a claim is suited for.
type use int

const (
	decide  use = iota // decisions about the rights of the user
	display            // showing it to a person only
	about              // the token itself, checked by the library or internal to Entra
	unknown            // not listed below
)

// known lists claims in the order of the page. Sources: Microsoft's "ID token claims reference", "Access token claims
// reference", "Optional claims reference" and "Secure applications and APIs by validating claims".
var known = []struct {
	name  string
	use   use
	means string
}{
	{"tid", decide, "The tenant that the user signed in to. Access a tenant's data only with its own tid."},
	{"oid", decide, "The user, the same in every app of the tenant and never reused. " +
		"The key of a user's data is tid and oid."},
	{"sub", decide, "The user as seen by this app. Other apps get another value. " +
		"Use it as a key only for data of this app alone."},
	{"roles", decide, "App roles of this app that were assigned to the user or to one of the user's groups."},
	{"scp", decide, "The permissions of the client to act for the user, in an access token. " +
		"The user's own rights apply as well."},
	{"acrs", decide, "Authentication contexts that the sign-in satisfied, such as a second factor. " +
		"A step-up requests one."},
	{"groups", decide, "IDs of the user's groups. With more than 200 groups the claim is omitted, " +
		"and the app must query Microsoft Graph. App roles are simpler."},
	{"wids", decide, "Directory roles of the user, by the IDs of their templates."},
	{"acct", decide, "0 for a member of the tenant, 1 for a guest."},
	{"auth_time", decide, "When the user last signed in with credentials. Check it after requesting a fresh sign-in."},
	{"idp", decide, "The identity provider of the user if it is not the tenant itself, " +
		"such as the organization of a guest."},
	{"azp", decide, "The app that the token was issued to."},
	{"idtyp", decide, "The value app marks a token without a user."},

	{"name", display, "The user's name, for display. " +
		"The user or an administrator can change it, and two users can have the same."},
	{"preferred_username", display, "What the user types to sign in: an address, a telephone number or anything else. " +
		"It changes and can pass to another person."},
	{"email", display, "An address that was not verified to be the user's. " +
		"Users can write any address into their profile."},
	{"upn", display, "The user principal name. It changes and can pass to another person."},
	{"unique_name", display, "Despite its name, it is not unique."},
	{"given_name", display, "The user's given name."},
	{"family_name", display, "The user's family name."},
	{"login_hint", display, "A parameter for the next sign-in or sign-out, which avoids the account picker. " +
		"It proves nothing."},

	{"iss", about, "The issuer: Entra, for this tenant. The library checked it."},
	{"aud", about, "The recipient: this app. The library checked it."},
	{"exp", about, "When the ID token expires. The session here has its own lifetime."},
	{"nbf", about, "When the token becomes valid."},
	{"iat", about, "When the token was issued. Entra dates tokens back by five minutes."},
	{"nonce", about, "Binds the token to the sign-in that this browser started. The library checked it."},
	{"c_hash", about, "Binds the token to the code that came with it."},
	{"at_hash", about, "Binds the token to the access token that came with it."},
	{"ver", about, "The version of the token format."},
	{"sid", about, "The user's session at Entra. Front-channel logout refers to it."},
	{"uti", about, "The ID of the token, for audit logs."},
	{"rh", about, "Internal to Entra. Opaque."},
	{"aio", about, "Internal to Entra. Opaque."},
	{"xms_cc", about, "Capabilities of the client. The value cp1 means that it handles claims challenges."},
	{"hasgroups", about, "The user has groups that are not listed in the token."},
}

// claim is an explained claim.
type claim struct {
	Name, Value, Means string
}

// group contains the claims for one use.
type group struct {
	ID, Title, Mark, Intro string
	Claims                 []claim
}

// explain groups claims by their use.
func explain(c *verify.Claims) []group {
	groups := []group{
		decide: {
			ID: "decide", Title: "Use for decisions", Mark: "✓",
			Intro: "Entra sets these claims. Their meaning is fixed, and users cannot choose their values.",
		},
		display: {
			ID: "display", Title: "For display only", Mark: "✕",
			Intro: "Their values change, repeat, or can be chosen. Never use them to look up users or to grant access.",
		},
		about: {
			ID: "about", Title: "About the token itself", Mark: "i",
			Intro: "The library has checked these claims, or they are internal to Entra. Apps rarely need them.",
		},
		unknown: {
			ID: "unknown", Title: "Not explained here", Mark: "?",
			Intro: "Read the documentation of a claim before you use it.",
		},
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

// value formats the value of a claim for people.
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
	b, _ := json.Marshal(v) // decoded from JSON
	return string(b)
}
