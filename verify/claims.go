package verify

import (
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"
)

// Claims is what a verified token says. Each caller gets its own copy; the
// claims that have several values are Sets, which cannot be changed.
//
// A claim is there only if Entra had something to put into it, so the zero
// value of a field means that the token does not say.
//
// Source: Microsoft's access-token and ID-token claims references.
type Claims struct {
	// Issuer (iss) is the token service and tenant that issued the token.
	Issuer string
	// Audience (aud) is whom the token is for: one of Config.Audiences.
	Audience string
	// Expires (exp) is when the token stops being good; IssuedAt (iat) when it
	// was issued; NotBefore (nbf) when it begins to be good.
	Expires, IssuedAt, NotBefore time.Time
	// Version (ver) is "1.0" or "2.0".
	Version string

	// TenantID (tid) is the tenant that the caller signed in to. A tenant's data
	// must only ever be reached with a token that has its ID.
	TenantID string
	// ObjectID (oid) is the user or service principal, the same for every
	// application of the tenant. Together with TenantID it is the key for data:
	// see User.
	ObjectID string
	// Subject (sub) is the caller as this application alone sees it: another
	// application gets another subject for the same user.
	Subject string
	// ClientID (azp in v2.0, appid in v1.0) is the application that asked for
	// the token. It may decide access together with AppOnly; in a user's token
	// it only says which client the user uses.
	ClientID string
	// ClientAuth (azpacr, appidacr) is how the client proved itself: "0" not at
	// all (a public client), "1" by a secret, "2" by a certificate.
	ClientAuth string
	// TokenType (idtyp) is "app" for app-only tokens, if the API asks for this
	// optional claim. Use AppOnly to decide.
	TokenType string

	// Scopes (scp) are the delegated permissions that the user or an
	// administrator has consented to: what the client may do for the user. Only
	// users' tokens have them. They never stand in for Roles.
	Scopes Set
	// Roles (roles) are application permissions in an app-only token, and the
	// app roles assigned to the user in a user's token. They never stand in for
	// Scopes.
	Roles Set
	// Groups (groups) are the object IDs of the user's groups. If GroupsOverage
	// is true there were too many to put into the token: ask Microsoft Graph.
	Groups        Set
	GroupsOverage bool
	// DirectoryRoles (wids) are the template IDs of the user's directory roles.
	DirectoryRoles Set
	// AuthContexts (acrs) are the authentication contexts that the caller has
	// satisfied. See RequireAuthContext.
	AuthContexts Set
	// Capabilities (xms_cc) are what the client can do. See HandlesChallenges.
	Capabilities Set
	// AuthMethods (amr) are how the user proved themselves; v1.0 tokens only.
	AuthMethods Set

	// IdentityProvider (idp) is who authenticated the user, if that was not the
	// issuer, for example for a guest.
	IdentityProvider string
	// SessionID (sid) is the user's session.
	SessionID string
	// TokenID (uti) is unique to the token: what to write into an audit log.
	TokenID string
	// Nonce (nonce) ties an ID token to one sign-in. It is not in the JSON form.
	Nonce string `json:"-"`

	// The following are for display only. Users, administrators and time change
	// them, they can be given to somebody else, and none of them is proof of who
	// somebody is: never decide access by them, and never use them as a key.

	// Name (name) is a name to greet the user by. For display only.
	Name string
	// PreferredUsername (preferred_username) may be an email address, a
	// telephone number or anything else; v2.0 only. For display only.
	PreferredUsername string
	// UPN (upn) is the user principal name, which often changes. For display only.
	UPN string
	// UniqueName (unique_name) is not unique, whatever its name; v1.0 only. For
	// display only.
	UniqueName string
	// Email (email) is not verified to be the user's. For display only.
	Email string

	all *object // the checked payload; never changed
}

// User identifies a user across all applications: the key under which to keep a
// user's data. It is comparable.
type User struct {
	TenantID, ObjectID string
}

// User returns the key for the user's data. ok is false if the token is app-only,
// speaks for something else that is not a user, such as a device, or lacks an
// object ID: there is no user then, and no key to use.
//
// Source: "Validate the subject" in Microsoft's claims-validation page.
func (c *Claims) User() (u User, ok bool) {
	if !c.forUser() || c.ObjectID == "" {
		return User{}, false
	}
	return User{c.TenantID, c.ObjectID}, true
}

// forUser tells whether nothing in the token speaks against a user. idtyp is
// "user" or absent then: other values, which Entra may add, name no users.
func (c *Claims) forUser() bool {
	return !c.AppOnly() && (c.TokenType == "" || c.TokenType == "user")
}

// AppOnly tells whether an application speaks for itself. What is not app-only
// need not be a user: see User. The idtyp claim decides if it is there: "app" is
// app-only, everything else is not. Without it, a token is app-only if it has no scp and its oid and
// sub are the same, which they never are for a user, whose sub is made anew for
// every application.
//
// Sources: idtyp in Microsoft's optional-claims reference, and "Accepting
// app-only tokens" in its page on verifying scopes and app roles.
func (c *Claims) AppOnly() bool {
	if c.TokenType != "" {
		return c.TokenType == "app"
	}
	return c.Scopes.Len() == 0 && c.ObjectID != "" && c.ObjectID == c.Subject
}

// HandlesChallenges tells whether the client has declared that it understands
// claims challenges (capability cp1). The API must ask for the optional claim
// xms_cc to be told.
func (c *Claims) HandlesChallenges() bool {
	for v := range c.Capabilities.All() {
		if strings.EqualFold(v, "cp1") {
			return true
		}
	}
	return false
}

// Has tells whether the token has a claim of that exact name.
func (c *Claims) Has(name string) bool {
	_, ok := c.raw(name)
	return ok
}

// Names yields the names of all claims in the token's order.
func (c *Claims) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		if c.all == nil {
			return
		}
		for _, m := range c.all.members {
			if !yield(m.name) {
				return
			}
		}
	}
}

// Decode reads any claim into v, as json.Unmarshal does. A claim that is not
// there is an *Error with reason MissingClaim (whose Claim stays empty, since
// the name is not this package's).
func (c *Claims) Decode(name string, v any) error {
	text, ok := c.raw(name)
	if !ok {
		return reject(ReasonMissingClaim)
	}
	if json.Unmarshal([]byte(text), v) != nil { // its text may quote the claim
		return reject(ReasonBadClaim)
	}
	return nil
}

func (c *Claims) raw(name string) (string, bool) {
	if c.all == nil {
		return "", false
	}
	return c.all.get(name)
}

// String names the token without saying anything about a person.
func (c Claims) String() string {
	kind := "other"
	switch {
	case c.AppOnly():
		kind = "app"
	case c.forUser():
		kind = "user"
	}
	return "verify.Claims(" + kind + " tid=" + c.TenantID + " uti=" + c.TokenID + ")"
}

// Format prints what String says, whatever the verb. It is not asked for claims in
// an unexported field of another type, since fmt asks nothing of those.
func (c Claims) Format(s fmt.State, _ rune) { fmt.Fprint(s, c.String()) }

// LogValue logs what String says, and the client.
func (c Claims) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tid", c.TenantID), slog.String("client", c.ClientID),
		slog.String("uti", c.TokenID), slog.Bool("app_only", c.AppOnly()))
}
