package entra

import (
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/redact"
)

// MSAL gets neither the access token nor the refresh token of a response, only the other members that it needs.
func TestMSALGetsNoAccessOrRefreshToken(t *testing.T) {
	const (
		app  = `{"access_token":"a5c3ss","token_type":"Bearer","expires_in":60`
		wire = `{"access_token":"a5c3ss","refresh_token":"r3fr3sh","token_type":"bearer","expires_in":"3599",` +
			`"ext_expires_in":"soon","scope":"openid read","id_token":"e30.e30.","client_info":"e30"}`
		short = `{"access_token":"request","token_type":"Bearer","expires_in":60`
		all   = `{"access_token":"request","token_type":"bearer","expires_in":3599,"scope":"openid read",` +
			`"id_token":"e30.e30.","client_info":"e30"}`
	)
	for name, tt := range map[string]struct {
		status int
		body   string
		grant  Grant
		code   bool // the grant is an authorization code
		want   string
	}{
		"tokens of a user": {200, wire, Grant{Scopes: []string{"read"}}, false, all},
		"fewer scopes":     {200, wire, Grant{Scopes: []string{"read", "write"}}, false, all},
		"fewer scopes for a code": {200, wire, Grant{Scopes: []string{"read", "write"}, exchanged: true}, true,
			strings.Replace(all, `"scope":"openid read",`, "", 1)},
		"no scope for a code": {200, wire, Grant{Scopes: []string{"write"}, exchanged: true}, true, all},
		"token of an app":     {200, app + `}`, Grant{Scope: "read"}, false, short + `}`},
		"null ID token":       {200, app + `,"id_token":null}`, Grant{Scope: "read"}, false, short + `,"id_token":null}`},
		"error":               {400, `{"error":"invalid_grant"}`, Grant{Scope: "read"}, false, `{"error":"invalid_grant"}`},
	} {
		t.Run(name, func(t *testing.T) {
			x := &exchange{grant: &tt.grant, singleUse: tt.code, requestID: "request",
				response: &response{status: tt.status, body: []byte(tt.body)}}
			x.token, _ = parseTokenResponse(x.response, redact.Redactor{}, "")
			if got := x.forMSAL(); got.status != tt.status || string(got.body) != tt.want {
				t.Errorf("got status %d and %s, want %d and %s", got.status, got.body, tt.status, tt.want)
			}
		})
	}
}
