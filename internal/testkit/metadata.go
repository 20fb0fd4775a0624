package testkit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// NoPlatform removes the environment variables of all platforms with managed identities, so that MSAL uses the instance
// metadata service.
func NoPlatform(t testing.TB) {
	t.Helper()
	for _, name := range []string{
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	} {
		t.Setenv(name, "")
	}
}

// PlatformToken returns a token response of the service of a platform. Its numbers are strings. more are additional
// members, names and values in turn.
func PlatformToken(req *http.Request, token string, lifetime time.Duration, more ...string) *http.Response {
	members := map[string]string{
		"access_token": token, "token_type": "Bearer", "resource": req.URL.Query().Get("resource"),
		"expires_on": fmt.Sprint(time.Now().Add(lifetime).Unix()),
	}
	for i := 0; i+1 < len(more); i += 2 {
		members[more[i]] = more[i+1]
	}
	body, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return Response(req, http.StatusOK, "application/json; charset=utf-8", string(body))
}
