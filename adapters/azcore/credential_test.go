package azcredential_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/entratoken/entra"
	azcredential "github.com/entratoken/entra/adapters/azcore"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/managedidentity"
	"github.com/entratoken/entra/obo"
)

const (
	vaultURL   = "https://contoso.vault.azure.net"
	vaultScope = "https://vault.azure.net/.default"
)

// estate is the sample of entratest with Key Vault as a resource, and a recorder of the requests to Entra.
type estate struct {
	*entratest.Server
	*testkit.Recorder
}

func newEstate() *estate {
	s := testkit.Server(func(c *entratest.Config) {
		c.Lifetime = func() time.Duration { return time.Hour }
		c.Apps = append(c.Apps, entratest.App{
			Name: "Azure Key Vault", ClientID: "cfa8b339-82a2-471a-a3c9-0fc0be7a4093", TenantID: entratest.SampleTenant,
			MultiTenant: true, AppIDURI: "https://vault.azure.net", Scopes: []string{"user_impersonation"},
		})
		c.Apps[2].Permissions = append(c.Apps[2].Permissions,
			entratest.Permission{Resource: "https://vault.azure.net", Scopes: []string{"user_impersonation"}})
	})
	return &estate{s, testkit.NewRecorder(s.Client().Transport)}
}

func (e *estate) client(t *testing.T, app string, capabilities ...string) *entra.Client {
	t.Helper()
	cfg := testkit.ClientConfig(e.Server, app, e.Recorder)
	cfg.Capabilities = capabilities
	return testkit.Client(t, cfg)
}

func newCredential(t *testing.T, c *entra.Client, opts *azcredential.Options) *azcredential.Credential {
	t.Helper()
	cred, err := azcredential.New(c, opts)
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// vault is a Key Vault in a tenant. It records the token of each request, and challenges requests without one.
type vault struct {
	tenant    string
	challenge string // claims, sent once in base64
	tokens    []string
}

func (v *vault) Do(req *http.Request) (*http.Response, error) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		return testkit.Response(req, 401, "application/json", "{}", "WWW-Authenticate", fmt.Sprintf(
			`Bearer authorization="https://login.microsoftonline.com/%s", resource="https://vault.azure.net"`, v.tenant)), nil
	case v.challenge != "":
		claims := base64.StdEncoding.EncodeToString([]byte(v.challenge))
		v.challenge = ""
		return testkit.Response(req, 401, "application/json", "{}", "WWW-Authenticate",
			`Bearer error="insufficient_claims", claims="`+claims+`"`), nil
	}
	v.tokens = append(v.tokens, token)
	return testkit.Response(req, 200, "application/json", `{"value":"the secret"}`), nil
}

func (v *vault) client(t *testing.T, cred azcore.TokenCredential) *azsecrets.Client {
	t.Helper()
	c, err := azsecrets.NewClient(vaultURL, cred, &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: v, Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, c *azsecrets.Client) error {
	t.Helper()
	resp, err := c.GetSecret(t.Context(), "db", "", nil)
	if err == nil && *resp.Value != "the secret" {
		t.Errorf("got secret %q", *resp.Value)
	}
	return err
}

// The SDK's client gets the token of the cache, and a new one within a minute of each refresh. Ten clients send as many
// token requests as one.
func TestKeyVaultFollowsRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		cred := newCredential(t, e.client(t, "daemon"), nil)
		v := &vault{tenant: entratest.SampleTenant}
		clients := make([]*azsecrets.Client, 10)
		for i := range clients {
			clients[i] = v.client(t, cred)
		}
		lastUse := make(map[string]time.Time)
		issued := make(map[string]time.Time)
		for begun := time.Now(); time.Since(begun) < 6*time.Hour; time.Sleep(20 * time.Second) {
			for _, c := range clients {
				if err := read(t, c); err != nil {
					t.Fatal(err)
				}
			}
			for _, token := range v.tokens {
				if _, ok := issued[token]; !ok {
					issued[token] = time.Now()
				}
				lastUse[token] = time.Now()
			}
			v.tokens = v.tokens[:0]
		}
		if n := e.TokenRequests(); n != len(issued) || n < 6 || n > 12 {
			t.Errorf("got %d token requests for %d tokens, want one for each and 6 to 12 in six hours", n, len(issued))
		}
		for token, last := range lastUse {
			if age := last.Sub(issued[token]); age > 43*time.Minute { // 70 % of an hour, and a minute
				t.Errorf("a token was used for %v, past its refresh", age)
			}
		}
	})
}

// A claims challenge of the resource reaches Entra, once.
func TestKeyVaultClaimsChallenge(t *testing.T) {
	e := newEstate()
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1764200000"}}}`
	v := &vault{tenant: entratest.SampleTenant, challenge: claims}
	if err := read(t, v.client(t, newCredential(t, e.client(t, "daemon", entra.CapabilityCAE), nil))); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for _, r := range e.Requests() {
		if r.Method == http.MethodPost {
			sent = append(sent, r.Form.Get("claims"))
		}
	}
	if len(sent) != 2 || strings.Contains(sent[0], "nbf") || !strings.Contains(sent[1], `"nbf":{"essential":true,"value":"1764200000"}`) {
		t.Errorf("got claims %q, want the challenge in the second of two requests", sent)
	}
}

// A resource that repeats a challenge gets a new token, at most once a minute.
func TestRepeatedChallengeGetsNewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		cred := newCredential(t, e.client(t, "daemon", entra.CapabilityCAE), nil)
		o := policy.TokenRequestOptions{
			Scopes: []string{"https://vault.azure.net/.default"}, Claims: entratest.ClaimsChallenge(time.Now()),
		}
		var got []int // the number of different tokens after each call
		seen := map[string]bool{}
		for _, wait := range []time.Duration{0, 59 * time.Second, 2 * time.Second, 30 * time.Second, time.Minute} {
			time.Sleep(wait)
			token, err := cred.GetToken(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			seen[token.Token] = true
			got = append(got, len(seen))
		}
		if want := []int{1, 1, 2, 2, 3}; !slices.Equal(got, want) {
			t.Errorf("got %v different tokens, want %v", got, want)
		}
		if n := e.Count(entratest.Match{Endpoint: entratest.EndpointToken}); n != 3 {
			t.Errorf("got %d token requests, want 3", n)
		}
	})
}

// A vault in another tenant gets a token of that tenant only if the program allows it.
func TestKeyVaultInAnotherTenant(t *testing.T) {
	e := newEstate()
	v := &vault{tenant: entratest.SampleOtherTenant}
	client := e.client(t, "daemon")
	err := read(t, v.client(t, newCredential(t, client, nil)))
	var failed *entra.Error
	if !errors.As(err, &failed) || failed.Code != "invalid_request" || !strings.Contains(failed.Description, "AllowedTenants") {
		t.Fatalf("got %v, want an *entra.Error that names AllowedTenants", err)
	}
	if n := len(e.Requests()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
	for _, allowed := range []string{strings.ToUpper(entratest.SampleOtherTenant), "*"} {
		cred := newCredential(t, client, &azcredential.Options{AllowedTenants: []string{allowed}})
		v.tokens = nil
		if err := read(t, v.client(t, cred)); err != nil {
			t.Fatal(err)
		}
		if got := testkit.Claims(t, v.tokens[0])["tid"]; got != entratest.SampleOtherTenant {
			t.Errorf("AllowedTenants %q: got a token of tenant %v, want %s", allowed, got, entratest.SampleOtherTenant)
		}
	}
}

// With another source, the tokens are a user's.
func TestKeyVaultOnBehalfOf(t *testing.T) {
	e := newEstate()
	const alice = "alice@contoso.onmicrosoft.com"
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	cred := newCredential(t, e.client(t, "api-a"), &azcredential.Options{
		Source: func(c *entra.Client, scopes ...string) *entra.TokenSource {
			return obo.TokenSource(c, assertion, scopes...)
		},
	})
	v := &vault{tenant: entratest.SampleTenant}
	if err := read(t, v.client(t, cred)); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Claims(t, v.tokens[0])["scp"]; got != "user_impersonation" {
		t.Errorf("got scp %v, want user_impersonation", got)
	}
}

// The caller's deadline ends the wait for a token.
// Clients of the SDK share the token of a managed identity, and follow its refresh point. The tenant of the vault does
// not matter.
func TestKeyVaultWithManagedIdentity(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		issued := 0
		platform := testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
			issued++
			return testkit.PlatformToken(req, fmt.Sprintf("token-%d", issued), 24*time.Hour, "refresh_in", "43200"), nil
		}))
		id, err := managedidentity.New(managedidentity.Config{HTTPClient: &http.Client{Transport: platform}})
		if err != nil {
			t.Fatal(err)
		}
		cred, err := azcredential.ForIdentity(id)
		if err != nil {
			t.Fatal(err)
		}
		v := &vault{tenant: entratest.SampleOtherTenant}
		first, second := v.client(t, cred), v.client(t, cred)
		for _, c := range []*azsecrets.Client{first, second} {
			if err := read(t, c); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(12 * time.Hour)
		for range 3 { // the first call starts the refresh, the second hands its token to the SDK
			if err := read(t, first); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if got, want := strings.Join(v.tokens, " "), "token-1 token-1 token-1 token-1 token-2"; got != want {
			t.Errorf("got the tokens %s, want %s", got, want)
		}
		if n := len(platform.Sent()); n != 2 {
			t.Errorf("got %d requests to the platform, want 2", n)
		}
		_, err = cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"a/.default", "b/.default"}})
		if e := testkit.Error(t, err); e.Code != "invalid_request" {
			t.Errorf("got %v for two scopes, want invalid_request", err)
		}
	})
	if _, err := azcredential.ForIdentity(nil); testkit.Error(t, err).Code != "invalid_request" {
		t.Errorf("got %v without an identity, want invalid_request", err)
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 20 * time.Second})
		cred := newCredential(t, e.client(t, "daemon"), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vaultScope}})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("got %v after %v, want context.DeadlineExceeded after 3s", err, time.Since(begun))
		}
		synctest.Wait()
		time.Sleep(time.Minute)
	})
}

// Errors say how to fix the call.
func TestInvalidRequests(t *testing.T) {
	if _, err := azcredential.New(nil, nil); err == nil {
		t.Error("New accepts a nil client")
	}
	cred := newCredential(t, newEstate().client(t, "daemon"), nil)
	_, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"a/.default", "b/.default"}})
	const want = "azcredential: 2 scopes were requested, but the app's own tokens need exactly one"
	if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != want {
		t.Errorf("got %q, want %q", e.Description, want)
	}
}
