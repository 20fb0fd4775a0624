package entratest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

func wantFlows(t *testing.T, s *entratest.Server, want ...string) {
	t.Helper()
	if got := s.FlowTexts(); !slices.Equal(got, want) {
		t.Errorf("got flows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const (
	flowSignIn = "200 authorize Sign in to your account, " +
		"200 login password Permissions requested alice@contoso.onmicrosoft.com, " +
		"302 login consent alice@contoso.onmicrosoft.com, " +
		"200 token authorization_code alice@contoso.onmicrosoft.com"
	flowOnBehalfOf = "200 token urn:ietf:params:oauth:grant-type:jwt-bearer alice@contoso.onmicrosoft.com"
	flowDaemon     = "200 token client_credentials"
)

// A sign-in, its token requests, a later sign-in with the same session, and the
// on-behalf-of requests for the user are one flow.
func TestFlowOfSession(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	b := newBrowser(t, s)
	b.open(authorizeURL(tenant)).signIn(alice, "alice-password")
	q := b.press("consent").wantCallback()
	clientCredentials(t, s) // another flow
	tokens := redeem(t, s, q.Get("code"))
	onBehalfOf(t, s, tokens.stringField("access_token"))
	b.open(authorizeURL(tenant, "claims", `{"id_token":{"acrs":{"essential":true,"value":"c1"}}}`)).press("mfa").wantCallback()
	tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret", "wrong",
		"refresh_token", tokens.stringField("refresh_token"))
	wantFlows(t, s, flowDaemon, flowSignIn+", "+flowOnBehalfOf+
		", 200 authorize Approve sign-in request "+alice+", 302 login mfa "+alice+", 401 token refresh_token "+alice)
}

// A request with the same correlation ID belongs to the same flow, also if a Fault
// replaced the response.
func TestFlowOfCorrelationID(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	get := func(path, id string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, authHost+tenant+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("client-request-id", id)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	const one, two = "cccccccc-0000-4000-8000-000000000001", "cccccccc-0000-4000-8000-000000000002"
	get("/unknown", one)
	get("/unknown", two)
	s.Inject(entratest.Fault{Status: 503, Times: 1})
	get("/unknown", one)
	get("/oauth2/v2.0/authorize?client-request-id="+two, "")
	wantFlows(t, s, "404, 400 authorize Sign in to your account", "404, 503")
}

// Retries of a failed token request have another correlation ID. They belong to the flow
// of the failure until one succeeds.
func TestFlowOfRetries(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	clientCredentials(t, s)
	s.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Status: 429, Times: 2})
	for range 4 {
		clientCredentials(t, s)
	}
	wantFlows(t, s, flowDaemon, "429 token client_credentials, 429 token client_credentials, "+flowDaemon, flowDaemon)
}

// The device, the user at the verification page and the polling app share a flow.
func TestFlowOfDevice(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	d := post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/devicecode",
		form("client_id", webapp, "scope", "api://api-a/access_as_user"))
	poll := func() {
		tokenRequest(t, s, tenant, "grant_type", "device_code", "client_id", webapp, "client_secret", "webapp-secret",
			"device_code", d.stringField("device_code"))
	}
	poll()
	if err := s.SignInDevice(t.Context(), d.stringField("user_code"), alice); err != nil {
		t.Fatal(err)
	}
	poll()
	wantFlows(t, s, "200 devicecode, 400 token device_code, 200 deviceauth Sign in to your account "+alice+
		", 200 token device_code "+alice)
}

// The documents of a tenant are one flow. It does not take the requests of apps.
func TestFlowOfDocuments(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, path := range []string{"v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"} {
		resp, err := s.Client().Get(authHost + tenant + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		clientCredentials(t, s)
	}
	wantFlows(t, s, flowDaemon, flowDaemon, "200 discovery, 200 keys")
}

// A flow ends after a pause and after MaxSteps requests.
func TestFlowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		for _, pause := range []time.Duration{0, 10*time.Minute - 1, 10 * time.Minute} {
			time.Sleep(pause)
			clientCredentials(t, s, "client_secret", "wrong")
		}
		const failed = "401 token client_credentials"
		wantFlows(t, s, failed, failed+", "+failed)
		for range entratest.MaxSteps {
			clientCredentials(t, s, "client_secret", "wrong")
		}
		full := strings.TrimSuffix(strings.Repeat(failed+", ", entratest.MaxSteps), ", ")
		wantFlows(t, s, failed, full, failed+", "+failed)
	})
}

// The flows of the last 2048 requests are kept, and no key of others.
func TestFlowsAreBounded(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for i := range 5000 {
		resp, err := s.Client().Get(authHost + fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if n, keys := len(s.FlowTexts()), s.FlowKeys(); n != 2048 || keys != 2048 {
		t.Errorf("got %d flows with %d keys, want 2048 with 2048", n, keys)
	}
}
