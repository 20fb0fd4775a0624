package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/internal/guid"
)

// Claims are the claims of a verified token. Each caller gets a copy of its own.
// Claims with several values are of type [Set], which cannot be changed.
//
// Entra omits empty claims, so the zero value of a field means that the token does not
// have the claim. The zero Claims grant nothing: they are without user, scopes and roles.
//
// Source: Microsoft's access-token and ID-token claims references.
type Claims struct {
	// Issuer (iss) is the token service and tenant that issued the token.
	Issuer string
	// Audience (aud) is the application that the token is for. It is one of
	// Config.Audiences, with a client ID in lower case.
	Audience string
	// Expires (exp), IssuedAt (iat) and NotBefore (nbf) are the times of expiry
	// and issue, and the time from which the token is valid.
	Expires, IssuedAt, NotBefore time.Time
	// Version (ver) is "1.0" or "2.0".
	Version string

	// TenantID (tid) is the tenant that the caller signed in to. Reach the data of
	// a tenant only with a token that has its ID.
	TenantID string
	// ObjectID (oid) identifies the user or service principal. It is the same for
	// every application of the tenant. Use User for the key of a user's data.
	ObjectID string
	// Subject (sub) identifies the caller for this application only. Another
	// application gets another subject for the same user.
	Subject string
	// ClientID (azp in v2.0, appid in v1.0) is the application that requested the
	// token. It may decide access if AppOnly is true. In a user's token it only
	// says which client the user uses.
	ClientID string
	// ClientAuth (azpacr, appidacr) is how the client authenticated: "0" for a
	// public client, which does not, "1" for a secret, "2" for a certificate.
	ClientAuth string
	// TokenType (idtyp) is "app" for app-only tokens if the app registration of the
	// API has this optional claim. Use AppOnly for decisions.
	TokenType string

	// Scopes (scp) are the delegated permissions that the user or an administrator
	// has consented to. The client may use them for the user. Only users' tokens
	// have them. They never replace Roles.
	Scopes Set
	// Roles (roles) are application permissions in an app-only token, and the app
	// roles of the user in a user's token. They never replace Scopes.
	Roles Set
	// Groups (groups) are the object IDs of the user's groups. If GroupsOverage is
	// true, there are too many for a token. See Group and Config.GraphTokens.
	Groups        Set
	GroupsOverage bool
	// DirectoryRoles (wids) are the template IDs of the user's directory roles.
	DirectoryRoles Set
	// AuthContexts (acrs) are the authentication contexts that the caller has
	// satisfied. See RequireAuthContext.
	AuthContexts Set
	// Capabilities (xms_cc) are the capabilities of the client. See
	// HandlesChallenges.
	Capabilities Set
	// AuthMethods (amr) are the methods by which the user authenticated. Only v1.0
	// tokens have them.
	AuthMethods Set

	// IdentityProvider (idp) is the identity provider that authenticated the user
	// if that was not the issuer, for example for a guest.
	IdentityProvider string
	// SessionID (sid) identifies the user's session.
	SessionID string
	// TokenID (uti) identifies the token, for example in an audit log.
	TokenID string
	// Nonce (nonce) ties an ID token to one sign-in. The JSON form omits it.
	Nonce string `json:"-"`

	// The following claims are for display only. Users and administrators change
	// them, and another person may get the same value later. Never base an
	// access decision or a key on them. They are empty if the claim is not a string.

	// Name (name) is the display name. For display only.
	Name string
	// PreferredUsername (preferred_username) may be an email address, a telephone
	// number or another text. Only v2.0 tokens have it. For display only.
	PreferredUsername string
	// UPN (upn) is the user principal name, which often changes. For display only.
	UPN string
	// UniqueName (unique_name) is not unique. Only v1.0 tokens have it. For display
	// only.
	UniqueName string
	// Email (email) may not belong to the user. For display only.
	Email string

	all *object // the payload; never changed
}

// User identifies a user in all applications. It is the key for the data of a user.
// It is comparable.
type User struct {
	TenantID, ObjectID string
}

// User returns the key for the data of the user. It returns false if the token is
// app-only, is for something else than a user, such as a device, or lacks an object ID.
//
// Source: "Validate the subject" in Microsoft's claims-validation page.
func (c *Claims) User() (u User, ok bool) {
	if !c.forUser() || c.ObjectID == "" {
		return User{}, false
	}
	return User{c.TenantID, c.ObjectID}, true
}

// forUser reports whether the token is for a user: it is not app-only, and idtyp is
// "user" or absent. Entra may add other values of idtyp, which are not for users.
func (c *Claims) forUser() bool {
	return !c.AppOnly() && (c.TokenType == "" || c.TokenType == "user")
}

// AppOnly reports whether an application acts for itself. A token that is not
// app-only is not always for a user; see [Claims.User].
//
// If the token has idtyp, it is app-only if that is "app". Otherwise it is app-only
// if it lacks scp and its oid and sub are the same. Those of a user differ,
// because each application gets another sub for the same user.
//
// Sources: idtyp in Microsoft's optional-claims reference, and "Accepting app-only
// tokens" in its page on verifying scopes and app roles.
func (c *Claims) AppOnly() bool {
	if c.TokenType != "" {
		return c.TokenType == "app"
	}
	return c.Scopes.Len() == 0 && c.ObjectID != "" && c.ObjectID == c.Subject
}

// HandlesChallenges reports whether the client declares that it understands claims
// challenges (capability cp1). Tokens say so only if the app registration of the
// API has the optional claim xms_cc.
func (c *Claims) HandlesChallenges() bool {
	for v := range c.Capabilities.All() {
		if strings.EqualFold(v, "cp1") {
			return true
		}
	}
	return false
}

// Has reports whether the token has a claim. Names are case-sensitive.
func (c *Claims) Has(name string) bool {
	_, ok := c.raw(name)
	return ok
}

// Names yields the names of all claims in the order of the token.
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

// Decode stores the value of any claim in v, as [json.Unmarshal] does. The error for
// a missing claim is an [*Error] with [ReasonMissingClaim], and the error for a value
// that v cannot hold is one with [ReasonBadClaim]. Error.Claim is empty in both.
func (c *Claims) Decode(name string, v any) error {
	text, ok := c.raw(name)
	if !ok {
		return reject(ReasonMissingClaim)
	}
	if json.Unmarshal([]byte(text), v) != nil { // the error of json may quote the claim
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

// text returns a claim that is a string, or "".
func (c *Claims) text(name string) string {
	var s string
	_ = c.Decode(name, &s) // s stays empty if the claim is not a string
	return s
}

// String describes the token without personal data.
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

// Format prints the result of [Claims.String] for every verb. Package fmt does not
// call it for Claims in an unexported field of another type.
func (c Claims) Format(s fmt.State, _ rune) { fmt.Fprint(s, c.String()) }

// LogValue returns the tenant, the client and the token ID, without personal data.
func (c Claims) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tid", c.TenantID), slog.String("client", c.ClientID),
		slog.String("uti", c.TokenID), slog.Bool("app_only", c.AppOnly()))
}

// MarshalBinary returns the claims as JSON without the nonce, for storage in a
// session. The storage must protect them from changes. MarshalBinary returns an
// error for Claims that are not those of a token.
func (c *Claims) MarshalBinary() ([]byte, error) {
	if c == nil || c.all == nil {
		return nil, errors.New("verify: cannot marshal Claims that are not those of a token")
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range c.all.members {
		if m.name == "nonce" {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name) // a string always marshals
		b.Write(name)
		b.WriteString(":" + m.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalBinary reads the result of [Claims.MarshalBinary]. It verifies nothing.
// Its error is an [*Error], and leaves c unchanged.
func (c *Claims) UnmarshalBinary(data []byte) error {
	if len(data) > MaxTokenSize {
		return reject(ReasonTooLarge)
	}
	o, err := parseObject(string(data))
	if err != nil {
		return err
	}
	d, err := readClaims(o)
	if err != nil {
		return err
	}
	if err := d.readSets(); err != nil {
		return err
	}
	client, clientAuth := clientClaims(d.Version)
	d.ClientID, d.ClientAuth = d.text(client), d.text(clientAuth)
	*c = *d
	return nil
}

// clientClaims returns the names of the claims for ClientID and ClientAuth.
func clientClaims(version string) (client, clientAuth string) {
	if version == "1.0" {
		return "appid", "appidacr"
	}
	return "azp", "azpacr"
}

// readClaims reads the claims that have one value. A claim with a field must have
// the documented JSON type, except those for display only: claims mapping may give
// them any type, and no decision depends on them. ClientID and ClientAuth depend on the version; the rules
// set them.
func readClaims(o object) (*Claims, error) {
	c := &Claims{all: &o}
	for i := range o.members {
		name, text := o.members[i].name, o.members[i].value
		if !c.read(name, text) {
			return nil, rejectClaim(ReasonBadClaim, name)
		}
	}
	// A v1.0 token has the client ID as its client wrote it.
	if id := strings.ToLower(c.Audience); guid.ValidLower(id) {
		c.Audience = id
	}
	return c, nil
}

// read reads a claim into its field. It returns false if the claim has the wrong
// type.
func (c *Claims) read(name, text string) (ok bool) {
	var dst *string
	display := false // for display only
	switch name {
	case "iss":
		dst = &c.Issuer
	case "aud":
		dst = &c.Audience
	case "ver":
		dst = &c.Version
	case "tid":
		dst = &c.TenantID
	case "oid":
		dst = &c.ObjectID
	case "sub":
		dst = &c.Subject
	case "idtyp":
		dst = &c.TokenType
	case "idp":
		dst = &c.IdentityProvider
	case "sid":
		dst = &c.SessionID
	case "uti":
		dst = &c.TokenID
	case "nonce":
		dst = &c.Nonce
	case "name":
		dst, display = &c.Name, true
	case "preferred_username":
		dst, display = &c.PreferredUsername, true
	case "upn":
		dst, display = &c.UPN, true
	case "unique_name":
		dst, display = &c.UniqueName, true
	case "email":
		dst, display = &c.Email, true
	case "exp":
		c.Expires, ok = timeValue(text)
		return ok
	case "iat":
		c.IssuedAt, ok = timeValue(text)
		return ok
	case "nbf":
		c.NotBefore, ok = timeValue(text)
		return ok
	case "azp", "appid", "azpacr", "appidacr":
		_, ok = stringValue(text)
		return ok
	default:
		return true
	}
	*dst, ok = stringValue(text)
	return ok || display
}

// readSets reads the claims that have several values. It costs more than
// readClaims, so it runs after the signature check.
func (c *Claims) readSets() error {
	for _, m := range c.all.members {
		if !c.readSet(m.name, m.value) {
			return rejectClaim(ReasonBadClaim, m.name)
		}
	}
	return nil
}

// readSet reads a claim into its Set. It returns false if the claim has the wrong
// type.
func (c *Claims) readSet(name, text string) (ok bool) {
	var dst *Set
	switch name {
	case "roles":
		dst = &c.Roles
	case "wids":
		dst = &c.DirectoryRoles
	case "acrs":
		dst = &c.AuthContexts
	case "xms_cc":
		dst = &c.Capabilities
	case "amr":
		dst = &c.AuthMethods
	case "scp":
		var scopes string
		scopes, ok = stringValue(text)
		c.Scopes = newSet(strings.Fields(scopes))
		return ok
	case "groups":
		var groups []string
		if groups, ok = stringsValue(text); ok {
			c.Groups = newSet(groups)
			return true
		}
		// The claim is the name of a source instead, such as "src1".
		_, c.GroupsOverage = stringValue(text)
		return c.GroupsOverage
	case "_claim_names":
		c.GroupsOverage = c.GroupsOverage || namesGroups(text)
		return true
	case "hasgroups":
		c.GroupsOverage = c.GroupsOverage || text == "true"
		return text == "true" || text == "false"
	default:
		return true
	}
	values, ok := stringsValue(text)
	*dst = newSet(values)
	return ok
}

// namesGroups reports whether a _claim_names claim has groups.
func namesGroups(text string) bool {
	o, _ := parseObject(text) // empty if the claim is not an object
	_, ok := o.get("groups")
	return ok
}

// Set has the values of a claim with several values. It cannot be changed, so
// requests cannot change each other's claims. The zero Set is empty. Values are
// case-sensitive.
type Set struct {
	values *[]string // nil if empty; a pointer, because Claims are copied for each request
}

func newSet(values []string) Set {
	if len(values) == 0 {
		return Set{}
	}
	return Set{&values}
}

func (s Set) list() []string {
	if s.values == nil {
		return nil
	}
	return *s.values
}

// Has reports whether value is in the set.
func (s Set) Has(value string) bool { return slices.Contains(s.list(), value) }

// HasAny reports whether at least one of the values is in the set.
func (s Set) HasAny(values ...string) bool { return slices.ContainsFunc(values, s.Has) }

// Len returns the number of values.
func (s Set) Len() int { return len(s.list()) }

// All yields the values in the order of the token.
func (s Set) All() iter.Seq[string] { return slices.Values(s.list()) }

// String returns the values, separated by spaces.
func (s Set) String() string { return strings.Join(s.list(), " ") }

// MarshalJSON returns a JSON array. It is empty if the set is empty.
func (s Set) MarshalJSON() ([]byte, error) {
	if s.values == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(*s.values)
}
