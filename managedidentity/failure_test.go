package managedidentity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/managedidentity"
)

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

const (
	jsonType = "application/json; charset=utf-8"
	imdsText = "the managed identity service (IMDS) did not return a token"
	appText  = "the managed identity service (AppService) did not return a token"
	system   = "no token for the system-assigned identity: "
	user     = "no token for the user-assigned identity with the client ID " + clientID + ": "
)

func TestPlatformFailures(t *testing.T) {
	appService := map[string]string{
		"IDENTITY_ENDPOINT": "http://127.0.0.1:41234/msi/token", "IDENTITY_HEADER": "s3cr3t-header",
	}
	byID := managedidentity.Config{ClientID: clientID}
	for _, tt := range []struct {
		name              string
		cfg               managedidentity.Config
		env               map[string]string
		status            int
		contentType, body string
		headers           []string
		requests          int
		code, description string
		aadsts            int
	}{
		{name: "no such identity", cfg: byID, status: 400, contentType: jsonType,
			body:     `{"error":"invalid_request","error_description":"Identity not found"}`,
			requests: 1, code: "invalid_request", description: user + imdsText + ": Identity not found; " +
				"assign this identity to the machine or app that runs the program, or correct the ID"},
		{name: "no identity on the machine", status: 400, contentType: jsonType,
			body:     `{"error":"invalid_request","error_description":"Identity not found"}`,
			requests: 1, code: "invalid_request", description: system + imdsText + ": Identity not found; " +
				"enable the system-assigned identity of the machine or app that runs the program, " +
				"or select a user-assigned identity by its ClientID"},
		{name: "no such identity in App Service", cfg: byID, env: appService, status: 400, contentType: jsonType,
			body:     `{"statusCode":400,"message":"No User Assigned or Delegated Managed Identity found"}`,
			requests: 1, code: "invalid_client", description: user + appText +
				": No User Assigned or Delegated Managed Identity found; " +
				"assign this identity to the machine or app that runs the program, or correct the ID"},
		{name: "unknown API", cfg: byID, status: 400, contentType: jsonType,
			body: `{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal named ` +
				`https://vault.azure.net was not found"}`,
			requests: 1, code: "invalid_resource", aadsts: 500011, description: user + imdsText +
				": AADSTS500011: The resource principal named https://vault.azure.net was not found; check the scope " + scope},
		{name: "updating", cfg: byID, status: 404, contentType: "text/plain", body: "updating",
			requests: 5, code: "temporarily_unavailable",
			description: user + imdsText + " but 8 bytes, text/plain, status 404"},
		{name: "gone", status: 410, contentType: "text/plain", body: "",
			requests: 5, code: "temporarily_unavailable", description: system + imdsText +
				" but 0 bytes, text/plain, status 410"},
		{name: "throttled", status: 429, contentType: jsonType,
			body:     `{"error":"too_many_requests","error_description":"slow down"}`,
			requests: 5, code: "temporarily_unavailable", description: system + imdsText + ": slow down"},
		{name: "throttled for long", status: 429, contentType: jsonType, body: `{}`, headers: []string{"Retry-After", "10"},
			requests: 1, code: "temporarily_unavailable", description: system + imdsText +
				" but 2 bytes, application/json, status 429"},
		{name: "server error", status: 500, contentType: jsonType,
			body:     `{"error":"unknown","error_description":"Failed to retrieve token"}`,
			requests: 5, code: "temporarily_unavailable", description: system + imdsText + ": Failed to retrieve token"},
		{name: "not found in App Service", env: appService, status: 404, contentType: "text/plain", body: "?",
			requests: 1, code: "invalid_client", description: system + appText +
				" but 1 bytes, text/plain, status 404; check whether a proxy sent the response"},
		{name: "page of a proxy", status: 200, contentType: "text/html", body: "<html>sign in</html>",
			requests: 1, code: entra.CodeInvalidResponse, description: system + imdsText +
				" but 20 bytes, text/html, status 200; check whether a proxy sent it"},
		{name: "error page of a proxy", status: 403, contentType: "text/html", body: "<html>blocked</html>",
			requests: 1, code: "invalid_client", description: system + imdsText +
				" but 20 bytes, text/html, status 403; check whether a proxy sent the response"},
		{name: "another identity", cfg: byID, status: 200, contentType: jsonType,
			body:     `{"access_token":"t","token_type":"Bearer","expires_on":"4000000000","client_id":"` + otherID + `"}`,
			requests: 1, code: entra.CodeInvalidResponse, description: user + "the managed identity service (IMDS) " +
				"returned a token of another identity or did not confirm the identity, so the token is not used"},
		{name: "no access token", status: 200, contentType: jsonType, body: `{"expires_on":"4000000000"}`,
			requests: 1, code: entra.CodeInvalidResponse, description: system + imdsText +
				" but 27 bytes, application/json, status 200; check whether a proxy sent it"},
		{name: "expired token", status: 200, contentType: jsonType, body: `{"access_token":"t","expires_on":"1000"}`,
			requests: 1, code: entra.CodeInvalidResponse,
			description: "the token in the response has already expired; check the clock of this machine"},
		{name: "token with a line break", status: 200, contentType: jsonType,
			body:     `{"access_token":"t\n","expires_on":"4000000000"}`,
			requests: 1, code: entra.CodeInvalidResponse,
			description: "the access_token in the response is empty or contains an invalid character"},
		{name: "token of another type", status: 200, contentType: jsonType,
			body:     `{"access_token":"t","token_type":"pop","expires_on":"4000000000"}`,
			requests: 1, code: entra.CodeInvalidResponse, description: system + imdsText +
				" but 65 bytes, application/json, status 200; check whether a proxy sent it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlatform(t, day)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			p.respond(tt.status, tt.contentType, tt.body, tt.headers...)
			synctest.Test(t, func(t *testing.T) {
				id := p.identity(t, tt.cfg)
				s := id.TokenSource(scope)
				start := time.Now()
				var e *entra.Error
				for range 100 { // all callers get the error until its back-off has passed
					_, err := s.TokenContext(t.Context())
					e = testkit.Error(t, err)
				}
				took := time.Since(start)
				if e.Code != tt.code || e.Description != tt.description || len(p.Sent()) != tt.requests {
					t.Errorf("got %d requests, code %s and\n%s\nwant %d, %s and\n%s", len(p.Sent()), e.Code, e.Description,
						tt.requests, tt.code, tt.description)
				}
				if tt.aadsts != 0 && !e.Has(tt.aadsts) {
					t.Errorf("got %v, want AADSTS%d", e.AADSTS, tt.aadsts)
				}
				local := e.StatusCode == 0 // the response has arrived, but its token is not usable
				if !local && e.StatusCode != tt.status {
					t.Errorf("got status %d, want %d", e.StatusCode, tt.status)
				}
				if temporary := tt.code == "temporarily_unavailable"; e.Temporary() != temporary {
					t.Errorf("got Temporary %t, want %t", e.Temporary(), temporary)
				}
				if tt.requests == 5 && (took < 15*time.Second || took > 30*time.Second) || tt.requests == 1 && took != 0 {
					t.Errorf("got the error after %v, want 15 to 30 s of retries, or 0 without", took)
				}
				if want := tt.headers != nil; (e.RetryAfter == 10*time.Second) != want {
					t.Errorf("got Retry-After %v, want 10 s: %t", e.RetryAfter, want)
				}
				testkit.NoSecrets(t, e, "s3cr3t")
			})
		})
	}
}

// A request is repeated after at least a second, and the delays double.
func TestRequestIsRepeatedDuringUpdate(t *testing.T) {
	p := newPlatform(t, day)
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		p.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
			at = append(at, time.Since(start))
			switch len(at) {
			case 1:
				return testkit.Response(req, 404, "text/plain", ""), nil
			case 2:
				return nil, errors.New("connection reset")
			case 3:
				return testkit.Response(req, 410, "text/plain", "", "Retry-After", "1"), nil
			}
			return nil, nil //nolint:nilnil // the platform responds
		})
		get(t, p.identity(t, managedidentity.Config{}).TokenSource(scope))
		if len(at) != 4 {
			t.Fatalf("got %d requests, want 4", len(at))
		}
		for i, want := range []struct{ min, max time.Duration }{
			{time.Second, 2 * time.Second}, {2 * time.Second, 4 * time.Second}, {5 * time.Second, 9 * time.Second},
		} {
			if d := at[i+1] - at[i]; d < want.min || d > want.max {
				t.Errorf("retry %d: got a delay of %v, want %v to %v", i+1, d, want.min, want.max)
			}
		}
	})
}

// A failed background refresh is not repeated at once, and the old token is served.
func TestFailedRefreshIsInvisible(t *testing.T) {
	p := newPlatform(t, day, "refresh_in", "3600")
	synctest.Test(t, func(t *testing.T) {
		s := p.identity(t, managedidentity.Config{}).TokenSource(scope)
		get(t, s)
		p.respond(500, jsonType, `{}`)
		time.Sleep(time.Hour)
		for range 10 {
			start := time.Now()
			if tok := get(t, s); tok.AccessToken != "token-1" || time.Since(start) != 0 {
				t.Errorf("got %s after %v, want token-1 at once", tok.AccessToken, time.Since(start))
			}
			synctest.Wait()
		}
		if n := len(p.Sent()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
		p.Intercept(nil)
		time.Sleep(time.Hour)
		get(t, s)
		synctest.Wait()
		if tok := get(t, s); tok.AccessToken != "token-2" {
			t.Errorf("got %s, want token-2", tok.AccessToken)
		}
	})
}

// An identity that the machine does not have is not requested for each API.
func TestUnknownIdentityOpensBreaker(t *testing.T) {
	p := newPlatform(t, day)
	p.respond(400, jsonType, `{"error":"invalid_request","error_description":"Identity not found"}`)
	synctest.Test(t, func(t *testing.T) {
		id := p.identity(t, managedidentity.Config{ClientID: clientID})
		source := func(i int) *entra.TokenSource { return id.TokenSource(fmt.Sprintf("api://%d/.default", i)) }
		for i := range 50 {
			_, err := source(i).TokenContext(t.Context())
			if e := testkit.Error(t, err); e.Code != "invalid_request" {
				t.Errorf("got %v, want invalid_request", err)
			}
		}
		if n := len(p.Sent()); n != 8 {
			t.Errorf("got %d requests, want 8", n)
		}
		p.Intercept(nil)
		time.Sleep(2 * time.Minute)
		get(t, source(0)) // a probe succeeds
		get(t, source(1))
		if n := len(p.Sent()); n != 10 {
			t.Errorf("got %d requests, want 10", n)
		}
	})
}

// An unknown API does not affect the tokens of others.
func TestUnknownAPIDoesNotOpenBreaker(t *testing.T) {
	p := newPlatform(t, day)
	p.respond(400, jsonType, `{"error":"invalid_request","error_description":"AADSTS500011: not found"}`)
	synctest.Test(t, func(t *testing.T) {
		id := p.identity(t, managedidentity.Config{ClientID: clientID})
		for i := range 20 {
			if _, err := id.TokenSource(fmt.Sprintf("api://%d/.default", i)).TokenContext(t.Context()); err == nil {
				t.Error("got a token, want an error")
			}
		}
		p.Intercept(nil)
		get(t, id.TokenSource(scope))
	})
}

// Without a response, the error says that the program may run outside of Azure.
func TestServiceIsNotReachable(t *testing.T) {
	p := newPlatform(t, day)
	p.Intercept(func(*http.Request, url.Values) (*http.Response, error) { return nil, errors.New("s3cr3t") })
	synctest.Test(t, func(t *testing.T) {
		_, err := p.identity(t, managedidentity.Config{}).TokenSource(scope).TokenContext(t.Context())
		e := testkit.Error(t, err)
		const want = system + "request to the managed identity service (IMDS) failed: the connection or a proxy failed; " +
			"the program may run outside of Azure, or in a network that blocks the service"
		if e.Code != entra.CodeRequestFailed || e.Description != want || !e.Temporary() || !e.Local() || len(p.Sent()) != 5 {
			t.Errorf("got %v after %d requests, want %s after 5", e, len(p.Sent()), want)
		}
	})
}

// A service that does not respond costs one time-out, and all callers get the error.
func TestServiceHangs(t *testing.T) {
	p := newPlatform(t, day)
	p.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		s := p.identity(t, managedidentity.Config{}).TokenSource(scope)
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := s.TokenContext(t.Context())
				e := testkit.Error(t, err)
				if e.Code != entra.CodeRequestFailed || !errors.Is(err, context.DeadlineExceeded) || !e.Temporary() {
					t.Errorf("got %v, want a time-out", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 30*time.Second || len(p.Sent()) != 1 {
			t.Errorf("got the error after %v and %d requests, want 30 s and 1", took, len(p.Sent()))
		}
	})
}

// A caller whose context ends while it waits leaves, and the error names the platform.
func TestCallerLeaves(t *testing.T) {
	p := newPlatform(t, day)
	p.takes = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := contextWithTimeout(t, time.Second)
		defer cancel()
		s := p.identity(t, managedidentity.Config{}).TokenSource(scope)
		_, err := s.TokenContext(ctx)
		const want = "entra: wait for a token from managed identity (IMDS): context deadline exceeded"
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if tok := get(t, s); tok.AccessToken != "token-1" || len(p.Sent()) != 1 {
			t.Errorf("got %s after %d requests, want token-1 after 1", tok.AccessToken, len(p.Sent()))
		}
	})
}
