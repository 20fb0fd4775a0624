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
		user = `{"access_token":"a5c3ss","refresh_token":"r3fr3sh","token_type":"bearer","expires_in":"3599",` +
			`"ext_expires_in":"soon","scope":"openid read","id_token":"e30.e30.","client_info":"e30"}`
		forApp  = `{"access_token":"request","token_type":"Bearer","expires_in":60`
		forUser = `{"access_token":"request","token_type":"bearer","expires_in":3599,` +
			`"id_token":"e30.e30.","client_info":"e30"}`
	)
	for name, tt := range map[string]struct {
		status     int
		body, want string
	}{
		"token of a user":            {200, user, forUser},
		"token of an app":            {200, app + `}`, forApp + `}`},
		"null ID token":              {200, app + `,"id_token":null}`, forApp + `,"id_token":null}`},
		"token of an unknown type":   {200, strings.Replace(app, "Bearer", "pop", 1) + `}`, ""},
		"token of an error response": {400, app + `,"error":"invalid_grant"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := &exchange{requestID: "request", response: &response{status: tt.status, body: []byte(tt.body)}}
			x.token, _ = parseTokenResponse(x.response, redact.Redactor{}, "")
			if got := x.forMSAL(); got.status != tt.status || string(got.body) != tt.want {
				t.Errorf("got status %d and %s, want %d and %s", got.status, got.body, tt.status, tt.want)
			}
		})
	}
}
