// Package recipetest tests that a client library keeps the guarantees of a token source.
package recipetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

// The App ID URIs of resources in [Entra].
const (
	API        = "api://api-b"
	Graph      = "https://graph.microsoft.com"
	KeyVault   = "https://vault.azure.net"
	Storage    = "https://storage.azure.com"
	Postgres   = "https://ossrdbms-aad.database.windows.net"
	SQL        = "https://database.windows.net"
	Redis      = "https://redis.azure.com"
	EventHubs  = "https://contoso.servicebus.windows.net"
	Kubernetes = "6dae42f8-4368-4678-94ff-3960e28e3630" // the Azure Kubernetes Service AAD Server
)

// Entra is a fake Entra with resources of Azure.
type Entra struct{ *entratest.Server }

// New returns a fake Entra whose tokens live for an hour.
func New(changes ...func(*entratest.Config)) *Entra {
	resources := map[string]string{
		KeyVault: "cfa8b339-82a2-471a-a3c9-0fc0be7a4093", Storage: "e406a681-f3d4-42a8-90b6-c2b029497af1",
		Postgres: "123cd850-d9df-40bd-94d5-c9f07b7fa203", SQL: "022907d3-0f1b-48f7-badc-1ba6abab6d66",
		Redis: "acca5fbb-b7e4-4009-81f1-37e38fd66d78", EventHubs: "80369ed6-5f11-4dd9-bef3-692475845e77",
		Kubernetes: Kubernetes,
	}
	resourceApps := func(c *entratest.Config) {
		c.Lifetime = func() time.Duration { return time.Hour }
		for uri, id := range resources {
			a := entratest.App{Name: uri, ClientID: id, TenantID: entratest.SampleTenant, MultiTenant: true, AppIDURI: uri}
			if uri == Kubernetes {
				a.AppIDURI = ""
			}
			c.Apps = append(c.Apps, a)
		}
	}
	return &Entra{testkit.Server(append([]func(*entratest.Config){resourceApps}, changes...)...)}
}

// Client returns a client for the app "daemon" of the sample.
func (e *Entra) Client(t testing.TB, capabilities ...string) *entra.Client {
	t.Helper()
	cfg := testkit.ClientConfig(e.Server, "daemon", e.Server.Client().Transport)
	cfg.Capabilities = capabilities
	return testkit.Client(t, cfg)
}

// A Fit is a recipe to test.
type Fit struct {
	Resource string // the App ID URI for which the tokens must be
	// Open starts a server and uses the recipe with client. use sends a request on a new connection, and returns the
	// token that the server received.
	Open func(t *testing.T, client *entra.Client) (use func(context.Context) (token string, err error))
	// InMemory says that use works in a bubble of testing/synctest.
	InMemory bool
	// NoContext says that the library does not pass on the context of use.
	NoContext bool
}

// Test tests that no token request is sent twice, that tokens are refreshed early, that they are for the right tenant,
// and that a deadline is respected. It verifies the signature and the audience of each token.
func (f Fit) Test(t *testing.T) {
	t.Run("one request", f.testOneRequest)
	t.Run("early refresh", func(t *testing.T) {
		if f.InMemory {
			synctest.Test(t, func(t *testing.T) { f.testEarlyRefresh(t, 30*time.Minute, 10*time.Second, 40*time.Minute) })
			return
		}
		f.testEarlyRefresh(t, time.Second, 50*time.Millisecond, time.Minute)
	})
	t.Run("tenant", f.testTenant)
	t.Run("deadline", f.testDeadline)
}

// testOneRequest tests that cold callers cause one token request, and later ones none.
func (f Fit) testOneRequest(t *testing.T) {
	e := New()
	use := f.Open(t, e.Client(t))
	const callers = 10
	tokens := make([]string, callers)
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() {
			var err error
			if tokens[i], err = use(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, token := range tokens {
		f.verify(t, e, token, entratest.SampleTenant)
		if token != tokens[0] {
			t.Error("got different tokens, want the cached one")
		}
	}
	if n := e.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
}

// Challenge is the claims challenge that a resource sends in tests.
const Challenge = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`

// WantChallenge fails the test unless there were two token requests, of which the second has the claims of Challenge.
func (e *Entra) WantChallenge(t testing.TB) {
	t.Helper()
	var sent []string
	for _, r := range e.Requests() {
		if r.Endpoint == entratest.EndpointToken {
			sent = append(sent, r.Form.Get("claims"))
		}
	}
	want := []string{
		`{"access_token":{"xms_cc":{"values":["cp1"]}}}`,
		`{"access_token":{"nbf":{"essential":true,"value":"1"},"xms_cc":{"values":["cp1"]}}}`,
	}
	if !slices.Equal(sent, want) {
		t.Errorf("got claims %q, want %q", sent, want)
	}
}

// testEarlyRefresh tests that a new connection has the next token within limit, long before the current one expires. No
// request may fail.
func (f Fit) testEarlyRefresh(t *testing.T, refreshIn, interval, limit time.Duration) {
	e := New(func(c *entratest.Config) {
		c.RefreshIn = func(time.Duration) time.Duration { return refreshIn }
	})
	use := f.Open(t, e.Client(t))
	var first, token string
	for begun := time.Now(); token == first && time.Since(begun) < limit; time.Sleep(interval) {
		var err error
		if token, err = use(t.Context()); err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = token
		}
	}
	if token == first {
		t.Fatal("got the same token after its refresh point, want the next one")
	}
	f.verify(t, e, token, entratest.SampleTenant)
}

// testTenant tests that each client gets tokens of its own tenant.
func (f Fit) testTenant(t *testing.T) {
	e := New()
	client := e.Client(t)
	other, err := client.WithTenant(entratest.SampleOtherTenant)
	if err != nil {
		t.Fatal(err)
	}
	useOwn, useOther := f.Open(t, client), f.Open(t, other)
	for range 2 {
		for tenant, use := range map[string]func(context.Context) (string, error){
			entratest.SampleTenant: useOwn, entratest.SampleOtherTenant: useOther,
		} {
			token, err := use(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.verify(t, e, token, tenant)
		}
	}
}

// testDeadline tests that a request whose context ends while Entra does not respond returns the error of the context.
func (f Fit) testDeadline(t *testing.T) {
	if f.NoContext {
		t.Log("the library passes no context to the callback that gets the token")
		return
	}
	e := New()
	e.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Delay: time.Minute})
	use := f.Open(t, e.Client(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := use(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(start); took >= entra.TokenTimeout { // a call without the context waits for so long
		t.Errorf("got the error after %v, want it when the context ends", took)
	}
}

// verify verifies a token as the resource does. Only Microsoft Graph can verify its own tokens.
func (f Fit) verify(t *testing.T, e *Entra, token, tenant string) {
	t.Helper()
	if f.Resource == Graph {
		if c := testkit.Claims(t, token); c["aud"] != Graph || c["tid"] != tenant {
			t.Errorf("got aud %v and tid %v, want %v and %v", c["aud"], c["tid"], Graph, tenant)
		}
		return
	}
	v, err := verify.New(verify.Config{
		Audiences: []string{f.Resource, e.clientID(f.Resource)}, Tenants: []string{tenant}, AllowAppsWithoutRoles: true,
		HTTPClient: e.Server.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
}

func (e *Entra) clientID(resource string) string {
	return e.App(strings.TrimPrefix(resource, "api://")).ClientID
}
