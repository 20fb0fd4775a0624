package entratest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// An app with the application permissions reads the groups of a user
// (https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups,
// https://learn.microsoft.com/graph/api/directoryobject-getmemberobjects).
func TestGraphMembership(t *testing.T) {
	group := func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
	serverWith := func(roles ...string) *entratest.Server {
		cfg := entratest.Sample()
		cfg.Users[0].Groups = []string{group(1), group(2)}
		cfg.Apps[0].Permissions = append(cfg.Apps[0].Permissions,
			entratest.Permission{Resource: "https://graph.microsoft.com", Roles: roles})
		return entratest.NewServer(cfg)
	}
	call := func(s *entratest.Server, method, user, action, body string) response {
		t.Helper()
		req, err := http.NewRequest(method, "https://graph.microsoft.com/v1.0/users/"+user+"/"+action, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		token := clientCredentials(t, s, "scope", "https://graph.microsoft.com/.default").stringField("access_token")
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		return do(t, s.Client(), req)
	}
	s := serverWith("User.ReadBasic.All", "GroupMember.Read.All")
	oid, other := s.User(alice).ObjectID, "00000000-0000-4000-8000-00000000ffff"
	ids := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = `"` + group(i+2) + `"`
		}
		return `{"groupIds":[` + strings.Join(list, ",") + `]}`
	}
	for _, test := range []struct {
		name, action, body string
		want               []any
	}{
		{"of those in the request", "checkMemberGroups", ids(20), []any{group(2)}},
		{"none of those in the request", "checkMemberGroups", `{"groupIds":["` + group(9) + `"]}`, []any{}},
		{"no groups in the request", "checkMemberGroups", `{"groupIds":[]}`, []any{}},
		{"all groups", "getMemberGroups", `{"securityEnabledOnly":true}`, []any{group(1), group(2)}},
		{"all objects", "getMemberObjects", `{"securityEnabledOnly":false}`, []any{group(1), group(2)}},
	} {
		got := call(s, "POST", oid, test.action, test.body)
		if list, _ := got.body["value"].([]any); got.status != 200 || list == nil || !slices.Equal(list, test.want) {
			t.Errorf("%s: got %d %v, want %v", test.name, got.status, got.body, test.want)
		}
	}
	const denied = "Authorization_RequestDenied"
	for _, test := range []struct {
		name                       string
		server                     *entratest.Server
		method, user, action, body string
		status                     int
		code                       string
	}{
		{"too many groups", s, "POST", oid, "checkMemberGroups", ids(21), 400, "Request_BadRequest"},
		{"no parameter", s, "POST", oid, "checkMemberGroups", `{}`, 400, "Request_BadRequest"},
		{"not JSON", s, "POST", oid, "getMemberObjects", `x`, 400, "BadRequest"},
		{"unknown user", s, "POST", other, "checkMemberGroups", ids(1), 404, "Request_ResourceNotFound"},
		{"user of another tenant", s, "POST", s.User(carol).ObjectID, "getMemberGroups", ids(1), 404,
			"Request_ResourceNotFound"},
		{"unknown action", s, "GET", oid, "manager", "", 400, "BadRequest"},
		{"another method", s, "GET", oid, "checkMemberGroups", "", 405, "BadRequest"},
		{"only users", serverWith("User.Read.All"), "POST", oid, "checkMemberGroups", ids(1), 403, denied},
		{"only groups", serverWith("GroupMember.Read.All"), "POST", oid, "checkMemberGroups", ids(1), 403, denied},
		{"directory", serverWith("Directory.Read.All"), "POST", oid, "checkMemberGroups", ids(1), 200, ""},
	} {
		got := call(test.server, test.method, test.user, test.action, test.body)
		e, _ := got.body["error"].(map[string]any)
		code, _ := e["code"].(string)
		if got.status != test.status || code != test.code {
			t.Errorf("%s: got %d %v, want %d %s", test.name, got.status, got.body, test.status, test.code)
		}
	}
}

// The signed-in user reads the own groups with the scope User.Read
// (https://learn.microsoft.com/graph/api/directoryobject-getmemberobjects).
func TestGraphMembershipOfSignedInUser(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Users[0].Groups = []string{"00000000-0000-4000-8000-000000000001"}
	s := entratest.NewServer(cfg)
	userToken := func(scope string) string {
		return redeem(t, s, signIn(t, s, alice, "scope", scope), "scope", scope).stringField("access_token")
	}
	for _, test := range []struct {
		name, token string
		status      int
	}{
		{"User.Read", userToken("User.Read"), 200},
		{"openid", userToken("openid"), 403},
		{"app", clientCredentials(t, s, "scope", "https://graph.microsoft.com/.default").stringField("access_token"), 400},
	} {
		req, err := http.NewRequest("POST", "https://graph.microsoft.com/v1.0/me/getMemberObjects",
			strings.NewReader(`{"securityEnabledOnly": false}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+test.token)
		got := do(t, s.Client(), req)
		list, _ := got.body["value"].([]any)
		if got.status != test.status || got.status == 200 && !slices.Equal(list, []any{cfg.Users[0].Groups[0]}) {
			t.Errorf("%s: got %d %v, want %d", test.name, got.status, got.body, test.status)
		}
	}
}
