package credentials_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
)

const connectionID = "cccccccc-0000-4000-8000-00000000000c"

// newPipelines starts the OIDC endpoint of a job of Azure Pipelines.
func newPipelines(t *testing.T, p *idp) *jobServer {
	t.Helper()
	a := newJobServer(t, func() map[string]any { return map[string]any{"oidcToken": p.token(t, 5*time.Minute)} })
	t.Setenv("SYSTEM_OIDCREQUESTURI", a.URL+"/org/project/_apis/distributedtask/hubs/build/plans/1/jobs/2/oidctoken")
	t.Setenv("SYSTEM_ACCESSTOKEN", requestToken)
	t.Setenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", connectionID)
	t.Setenv("AZURESUBSCRIPTION_TENANT_ID", entratest.SampleTenant)
	t.Setenv("AZURESUBSCRIPTION_CLIENT_ID", "aaaaaaaa-0000-4000-8000-00000000000d")
	return a
}

// One request, as azidentity sends it, returns the token of the job.
func TestAzurePipelinesRequest(t *testing.T) {
	p := newFakeEntra().trust(t)
	a := newPipelines(t, p)
	c, err := credentials.AzurePipelines(&credentials.AzurePipelinesOptions{HTTPClient: a.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.requests) != 0 {
		t.Error("AzurePipelines sent a request")
	}
	p.mustUse(t, c)
	p.mustUse(t, c)
	if len(a.requests) != 1 {
		t.Fatalf("got %d requests, want 1", len(a.requests))
	}
	r := a.requests[0]
	want := "/org/project/_apis/distributedtask/hubs/build/plans/1/jobs/2/oidctoken?api-version=7.1&serviceConnectionId=" +
		connectionID
	if r.Method != http.MethodPost || r.RequestURI != want || r.Header.Get("Authorization") != "Bearer "+requestToken ||
		r.Header.Get("X-Tfs-Fedauthredirect") != "Suppress" || r.ContentLength != 0 {
		t.Errorf("got %s %s %v", r.Method, r.RequestURI, r.Header)
	}
	if got := c.Info(); got.Kind != "Azure Pipelines token" || got.NotAfter.IsZero() {
		t.Errorf("got %+v", got)
	}
	options := credentials.AzurePipelinesOptions{
		ServiceConnectionID: "dddddddd-0000-4000-8000-00000000000d", HTTPClient: a.Client(),
		SystemAccessToken: func() string { return "another" },
	}
	if c, err = credentials.AzurePipelines(&options); err != nil {
		t.Fatal(err)
	}
	p.mustUse(t, c)
	r = a.requests[1]
	if r.Header.Get("Authorization") != "Bearer another" ||
		r.URL.Query().Get("serviceConnectionId") != options.ServiceConnectionID {
		t.Errorf("got %s %v", r.RequestURI, r.Header)
	}
}

// FromEnvironment takes the IDs of the service connection, unless others are set.
func TestFromEnvironmentAzurePipelines(t *testing.T) {
	p := newFakeEntra().trust(t)
	a := newPipelines(t, p)
	for name, value := range map[string]string{"AZURE_TENANT_ID": "", "AZURE_CLIENT_ID": ""} {
		t.Setenv(name, value)
	}
	cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{HTTPClient: a.Client()})
	if err != nil || cfg.TenantID != entratest.SampleTenant || cfg.ClientID != "aaaaaaaa-0000-4000-8000-00000000000d" {
		t.Fatalf("got %+v, %v", cfg, err)
	}
	p.mustUse(t, cfg.Credential)
	if got := cfg.Credential.Info().Variable; got != "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID" || len(a.requests) != 1 {
		t.Errorf("got %s after %d requests", got, len(a.requests))
	}
	t.Setenv("AZURE_CLIENT_ID", "another")
	if cfg, err = credentials.FromEnvironment(nil); err != nil || cfg.ClientID != "another" ||
		cfg.TenantID != entratest.SampleTenant {
		t.Errorf("got %+v, %v", cfg, err)
	}
	t.Setenv("AZURE_CLIENT_ID", "")
	t.Setenv("AZURE_CLIENT_SECRET", "s3cr3t") // another credential does not use the IDs of the connection
	_, err = credentials.FromEnvironment(nil)
	wantInvalid(t, err, "", "the environment does not configure an app: AZURE_TENANT_ID is not set; AZURE_CLIENT_ID is not set")
	t.Setenv("AZURE_CLIENT_SECRET", "")
	t.Setenv("SYSTEM_ACCESSTOKEN", "")
	_, err = credentials.FromEnvironment(nil)
	wantInvalid(t, err, "", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID: SYSTEM_ACCESSTOKEN is not set; map it in the env of the "+
		"task: SYSTEM_ACCESSTOKEN: $(System.AccessToken)")
}

// An incomplete environment is an error that says what to change.
func TestAzurePipelinesRejectsIncompleteEnvironment(t *testing.T) {
	newPipelines(t, newFakeEntra().trust(t))
	for _, test := range []struct{ variable, value, want string }{
		{"SYSTEM_OIDCREQUESTURI", "", "SYSTEM_OIDCREQUESTURI is not set; Azure Pipelines sets it in jobs"},
		{"SYSTEM_OIDCREQUESTURI", "http://dev.example", "SYSTEM_OIDCREQUESTURI is not an https URL; the token of the job is " +
			"not sent elsewhere"},
		{"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID is not set; run the program " +
			"in a task with the service connection, such as AzureCLI@2, or set AzurePipelinesOptions.ServiceConnectionID"},
		{"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "orders", "the ID of the service connection is not a GUID; it is the " +
			"resourceId in the URL of the service connection's page"},
		{"SYSTEM_ACCESSTOKEN", "", "SYSTEM_ACCESSTOKEN is not set; map it in the env of the task: " +
			"SYSTEM_ACCESSTOKEN: $(System.AccessToken)"},
	} {
		t.Run(test.variable+"="+test.value, func(t *testing.T) {
			t.Setenv(test.variable, test.value)
			_, err := credentials.AzurePipelines(nil)
			wantInvalid(t, err, "", test.want)
		})
	}
}

// Errors of Azure DevOps are reported without the token of the job.
func TestAzurePipelinesErrors(t *testing.T) {
	p := newFakeEntra().trust(t)
	a := newPipelines(t, p)
	host := strings.TrimPrefix(a.URL, "https://")
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.Header.Get("Authorization"), n) }
	}
	const connection = " for the service connection; check its ID, that it uses workload identity federation, and that the " +
		"pipeline may use it"
	for name, test := range map[string]struct {
		handler   http.HandlerFunc
		code      string
		want      string
		temporary bool
	}{
		"unauthorized": {status(401), "invalid_client",
			"HOST rejected SYSTEM_ACCESSTOKEN with HTTP status 401; it is only valid while the job runs", false},
		"forbidden":   {status(403), "invalid_client", "HOST returned HTTP status 403" + connection, false},
		"not found":   {status(404), "invalid_client", "HOST returned HTTP status 404" + connection, false},
		"unavailable": {status(503), "invalid_response", "HOST returned HTTP status 503 instead of the job's token", true},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>s3cr3t") }, "invalid_client",
			"HOST returned a response without the job's token", false},
		"no token": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, "invalid_client",
			"HOST returned a response without the job's token", false},
		"no JWT": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"oidcToken":"s3cr3t"}`) }, "invalid_client",
			"Azure Pipelines token: the assertion is not a JWT", false},
	} {
		t.Run(name, func(t *testing.T) {
			a.handler = test.handler
			c, err := credentials.AzurePipelines(&credentials.AzurePipelinesOptions{HTTPClient: a.Client()})
			if err != nil {
				t.Fatal(err)
			}
			err = p.use(c)
			want := "failed to load the credential: " + strings.ReplaceAll(test.want, "HOST", host)
			e, ok := errors.AsType[*entra.Error](err)
			if !ok || e.Code != test.code || e.Description != want || e.Temporary() != test.temporary {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			for err := error(e); err != nil; err = errors.Unwrap(err) {
				if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "s3cr3t") {
					t.Error(text)
				}
			}
		})
	}
}
