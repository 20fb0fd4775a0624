package verify

import "strings"

// readClaims reads a payload into typed claims. A claim that is there must have
// its documented JSON type: what cannot be read as documented is not guessed at.
func readClaims(o object) (*Claims, error) {
	c := &Claims{all: &o}
	for i := range o.members {
		name, text := o.members[i].name, o.members[i].value
		if !c.read(name, text) {
			return nil, rejectClaim(ReasonBadClaim, name)
		}
	}
	return c, nil
}

// read puts one claim into its field. It is false only for claims that have one.
func (c *Claims) read(name, text string) (ok bool) {
	var one *string
	switch name {
	case "iss":
		one = &c.Issuer
	case "aud":
		one = &c.Audience
	case "ver":
		one = &c.Version
	case "tid":
		one = &c.TenantID
	case "oid":
		one = &c.ObjectID
	case "sub":
		one = &c.Subject
	case "idtyp":
		one = &c.TokenType
	case "idp":
		one = &c.IdentityProvider
	case "sid":
		one = &c.SessionID
	case "uti":
		one = &c.TokenID
	case "nonce":
		one = &c.Nonce
	case "name":
		one = &c.Name
	case "preferred_username":
		one = &c.PreferredUsername
	case "upn":
		one = &c.UPN
	case "unique_name":
		one = &c.UniqueName
	case "email":
		one = &c.Email
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
		// Which of a pair counts depends on the version: see rules.client.
		_, ok = stringValue(text)
		return ok
	default:
		return true
	}
	*one, ok = stringValue(text)
	return ok
}

// readSets reads the claims that have several values. It takes longer than the
// rest, so it waits until the signature has shown whose claims they are.
func (c *Claims) readSets() error {
	for _, m := range c.all.members {
		if !c.readSet(m.name, m.value) {
			return rejectClaim(ReasonBadClaim, m.name)
		}
	}
	return nil
}

// readSet puts one claim into its Set. It is false only for claims that have one.
func (c *Claims) readSet(name, text string) (ok bool) {
	var many *Set
	switch name {
	case "roles":
		many = &c.Roles
	case "wids":
		many = &c.DirectoryRoles
	case "acrs":
		many = &c.AuthContexts
	case "xms_cc":
		many = &c.Capabilities
	case "amr":
		many = &c.AuthMethods
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
		// "src1" instead of the groups: the groups claim of a distributed claim.
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
	*many = newSet(values)
	return ok
}

// namesGroups tells whether a _claim_names claim, checked already, has groups.
func namesGroups(text string) bool {
	o, err := parseObject(text)
	if err != nil {
		return false
	}
	_, ok := o.get("groups")
	return ok
}
