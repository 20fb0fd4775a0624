package managedidentity_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/managedidentity"
)

// Any response leads to a token or to an error without the secret of the environment.
func FuzzPlatformResponse(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"t","token_type":"Bearer","expires_on":"4000000000","refresh_in":"43200"}`,
		`{"access_token":"t","expires_on":4000000000,"refresh_in":-1,"client_id":"x"}`, `{"access_token":"t"}`, `{}`, `[]`, ``,
		`{"error":"invalid_request","error_description":"s3cr3t-header not found"}`, `{"error":{"code":1,"message":[]}}`,
		`{"message":"bad s3cr3t%2Dheader"}`, "<html>s3cr3t-header</html>", `{"refresh_in":1e400,"expires_on":"x"}`,
	} {
		f.Add(200, "application/json", "", body)
		f.Add(400, "application/json; charset=utf-8", "1", body)
		f.Add(503, "text/html", "Fri, 01 Jan 2100 00:00:00 GMT", body)
	}
	testkit.NoPlatform(f)
	f.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41234/msi/token")
	f.Setenv("IDENTITY_HEADER", "s3cr3t-header")
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter, body string) {
		if status < 200 || status > 599 {
			return
		}
		transport := testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
			return testkit.Response(req, status, contentType, body, "Retry-After", retryAfter), nil
		})
		id, err := managedidentity.New(managedidentity.Config{
			ClientID: clientID, HTTPClient: &http.Client{Transport: transport},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond) // too short for a retry
		defer cancel()
		tok, err := id.TokenSource(scope).TokenContext(ctx)
		if err != nil {
			if ctx.Err() == nil {
				testkit.NoSecrets(t, testkit.Error(t, err), "s3cr3t-header")
			}
			return
		}
		if status != http.StatusOK && status != http.StatusAccepted || tok.AccessToken == "" || !tok.Expiry.After(time.Now()) {
			t.Errorf("status %d: got the token %q with expiry %v, want an error", status, tok.AccessToken, tok.Expiry)
		}
	})
}
