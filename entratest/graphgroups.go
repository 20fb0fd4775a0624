package entratest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxCheckedGroups is the maximum number of group IDs in a request for checkMemberGroups
// (https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups).
const maxCheckedGroups = 20

// isMembershipPath reports whether path, in lower case, is for the groups of a user.
func isMembershipPath(path string) bool {
	_, action, ok := cutUserPath(path)
	return ok && slices.Contains([]string{"checkmembergroups", "getmembergroups", "getmemberobjects"}, action)
}

// signedInUser is the user that cutUserPath returns for /v1.0/me. Object IDs have no slash.
const signedInUser = "/me"

// cutUserPath splits a path of the form /v1.0/users/USER/ACTION or /v1.0/me/ACTION.
func cutUserPath(path string) (user, action string, ok bool) {
	if action, ok := strings.CutPrefix(path, "/v1.0/me/"); ok {
		return signedInUser, action, true
	}
	rest, ok := strings.CutPrefix(path, "/v1.0/users/")
	user, action, found := strings.Cut(rest, "/")
	return user, action, ok && found
}

// serveMembership serves checkMemberGroups, getMemberGroups and getMemberObjects of a user, for a request with the
// valid token t of the user caller, or of an app. All groups of entratest are security groups
// (https://learn.microsoft.com/graph/api/directoryobject-getmembergroups).
func (s *Server) serveMembership(r *request, t *jwt, caller *User, path string) *response {
	id, action, _ := cutUserPath(path)
	own := id == signedInUser
	if own && caller == nil {
		return graphError(r, http.StatusBadRequest, "BadRequest",
			"/me request is only valid with delegated authentication flow.")
	}
	if !mayReadMembership(t, own) {
		return graphError(r, http.StatusForbidden, "Authorization_RequestDenied",
			"Insufficient privileges to complete the operation.")
	}
	u := caller
	if !own {
		u = s.registry.userByID(id, s.registry.tenantByName[t.payload.stringClaim("tid")])
	}
	if u == nil {
		return graphError(r, http.StatusNotFound, "Request_ResourceNotFound",
			"Resource '"+id+"' does not exist or one of its queried reference-property objects are not present.")
	}
	var q struct {
		GroupIDs            *[]string `json:"groupIds"`
		SecurityEnabledOnly *bool     `json:"securityEnabledOnly"`
	}
	if r.http.Body == nil || json.NewDecoder(io.LimitReader(r.http.Body, maxBody)).Decode(&q) != nil {
		return graphError(r, http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload.")
	}
	check := action == "checkmembergroups"
	if check && (q.GroupIDs == nil || len(*q.GroupIDs) > maxCheckedGroups) {
		return graphError(r, http.StatusBadRequest, "Request_BadRequest",
			"The groupIds parameter must have at most 20 elements.")
	}
	groups := []string{}
	for _, g := range u.Groups {
		if !check || containsFold(*q.GroupIDs, g) {
			groups = append(groups, g)
		}
	}
	return jsonResponse(http.StatusOK, map[string]any{
		"@odata.context": s.graphBase(r) + "/v1.0/$metadata#Collection(Edm.String)", "value": groups,
	})
}

// mayReadMembership reports whether a token has the permissions to read the groups of its own user, or of any user:
// application permissions of an app, or delegated permissions.
func mayReadMembership(t *jwt, own bool) bool {
	granted := strings.Fields(t.payload.stringClaim("scp"))
	roles, _ := t.payload["roles"].([]any)
	for _, role := range roles {
		if name, ok := role.(string); ok {
			granted = append(granted, name)
		}
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return containsFold(granted, name) })
	}
	return has("Directory.Read.All") || own && has("User.Read", "User.Read.All") ||
		has("User.ReadBasic.All", "User.Read.All") && has("GroupMember.Read.All", "Group.Read.All")
}
