package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
)

// environment sets the variables of a live tenant and clears all other Azure variables.
func environment(t *testing.T, tenant, client, secret string) {
	for _, v := range os.Environ() { // remove the variables of this machine
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AZURE_") ||
			strings.HasPrefix(name, "ACTIONS_ID_TOKEN_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AZURE_TENANT_ID", tenant)
	t.Setenv("AZURE_CLIENT_ID", client)
	t.Setenv("AZURE_CLIENT_SECRET", secret)
}

func TestMiddleTier(t *testing.T) {
	environment(t, "", "", "")
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = "The tenant is a fake in this process; " +
		"set AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential for a live one.\n" +
		"A call without a token returned 401 Unauthorized: " +
		"the request does not have a bearer token; send one in the Authorization header\n" +
		"A call with Alice's token returned 200 OK: 1017 Ladder, 1018 Rope\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// The response to an error of Entra says how the caller can react.
func TestErrorResponses(t *testing.T) {
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	const challenge = `Bearer error="insufficient_claims", ` +
		`claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`
	for _, test := range []struct {
		name                  string
		fault                 entratest.Fault
		status                int
		challenge, retryAfter string
	}{
		{"policy", entratest.Fault{Status: 400, Error: "interaction_required", AADSTS: 50076, Claims: claims}, 401,
			challenge, ""},
		{"expired assertion", entratest.Fault{Status: 400, Error: "invalid_grant", AADSTS: 500133}, 401,
			`Bearer error="invalid_token"`, ""},
		{"no consent", entratest.Fault{Status: 400, Error: "invalid_grant", AADSTS: 65001,
			SubError: "consent_required"}, 403, `Bearer error="consent_required", ` +
			`error_description="the user or an administrator has not consented to the next API"`, ""},
		{"throttled", entratest.Fault{Status: 429, RetryAfter: "17"}, 503, "", "17"},
		{"outage", entratest.Fault{Status: 503}, 503, "", "1"},
		{"expired secret", entratest.Fault{Status: 401, Error: "invalid_client", AADSTS: 7000222}, 502, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			tenant := entratest.NewServer(entratest.Sample())
			handler := middleTier(t, tenant)
			test.fault.Endpoint = "token"
			tenant.Inject(test.fault)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization",
				"Bearer "+tenant.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp",
					User: "alice@contoso.onmicrosoft.com"}))
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.status || w.Header().Get("WWW-Authenticate") != test.challenge ||
				w.Header().Get("Retry-After") != test.retryAfter {
				t.Errorf("got status %d, header %v, want %d, challenge %q, Retry-After %q", w.Code, w.Header(),
					test.status, test.challenge, test.retryAfter)
			}
			if tenant.Count(entratest.Match{GrantType: "urn:ietf:params:oauth:grant-type:jwt-bearer"}) == 0 {
				t.Error("got no token request")
			}
		})
	}
}

// Without the middleware every request is rejected, and no token is requested.
func TestWithoutMiddleware(t *testing.T) {
	tenant := entratest.NewServer(entratest.Sample())
	client, err := entra.New(registration(tenant))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	(&api{client: client, scope: "api://api-b/Orders.Read", next: "https://next.example"}).ServeHTTP(w,
		httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError || tenant.TokenRequests() != 0 {
		t.Errorf("got status %d and %d token requests, want 500 and 0", w.Code, tenant.TokenRequests())
	}
}

func registration(tenant *entratest.Server) entra.Config {
	a := tenant.App("api-a")
	return entra.Config{TenantID: a.TenantID, ClientID: a.ClientID, Credential: entra.Secret(a.Secrets[0]),
		HTTPClient: tenant.Client()}
}

func middleTier(t *testing.T, tenant *entratest.Server) http.Handler {
	t.Helper()
	h, err := newAPI(registration(tenant), "access_as_user", "api://api-b/Orders.Read", "https://next.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// An incomplete configuration is an error. The fake tenant does not replace it.
func TestIncompleteConfiguration(t *testing.T) {
	environment(t, "t", "", "s")
	var out bytes.Buffer
	if err := run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "AZURE_CLIENT_ID is not set") ||
		out.Len() != 0 {
		t.Errorf("got %v, want an error about AZURE_CLIENT_ID", err)
	}
}

// Any tenant and client ID select a live tenant.
func TestLiveTenant(t *testing.T) {
	environment(t, "contoso.example", "not a GUID", "s")
	var out bytes.Buffer
	err := run(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "Config.ClientID") ||
		out.String() != "The tenant is live: contoso.example.\n" {
		t.Errorf("got %v and output %q, want an error about Config.ClientID", err, out.String())
	}
}
