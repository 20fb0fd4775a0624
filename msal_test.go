package entra_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"github.com/entratoken/entra/entratest"
)

// The tests in this file describe MSAL, not this module. Each asserts one behavior of MSAL
// on which the design depends, and fails if a newer MSAL changes it.

func msalClient(t *testing.T, e *estate, app string, options ...confidential.Option) confidential.Client {
	t.Helper()
	a := e.App(app)
	cred, err := confidential.NewCredFromSecret(a.Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	options = append([]confidential.Option{confidential.WithHTTPClient(e.httpClient()),
		confidential.WithInstanceDiscovery(false)}, options...)
	c, err := confidential.New("https://login.microsoftonline.com/"+entratest.SampleTenant, a.ClientID, cred, options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// MSAL serves a token until five minutes before its expiry, and then every caller waits.
func TestMSALRefreshesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(func(c *entratest.Config) { c.Lifetime = func() time.Duration { return time.Hour } })
		c := msalClient(t, e, "daemon")
		get := func() {
			t.Helper()
			if _, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"}); err != nil {
				t.Fatal(err)
			}
		}
		get()
		time.Sleep(54 * time.Minute)
		get()
		if n := len(e.Forms()); n != 1 {
			t.Errorf("%d requests after 54 minutes, want 1", n)
		}
		time.Sleep(2 * time.Minute)
		get()
		if n := len(e.Forms()); n != 2 {
			t.Errorf("%d requests after 56 minutes, want 2", n)
		}
	})
}

// Each new client requests the discovery document again.
func TestMSALNewClientRepeatsDiscovery(t *testing.T) {
	e := newEstate()
	for range 2 {
		c := msalClient(t, e, "daemon", confidential.WithInstanceDiscovery(true))
		if _, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"}); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, s := range e.Sent() {
		u, _, _ := strings.Cut(s.URL, "?")
		paths = append(paths, strings.TrimPrefix(u, "https://login.microsoftonline.com/"))
	}
	once := []string{
		"common/discovery/instance",
		entratest.SampleTenant + "/v2.0/.well-known/openid-configuration",
		entratest.SampleTenant + "/oauth2/v2.0/token",
	}
	if want := slices.Concat(once, once); !slices.Equal(paths, want) {
		t.Errorf("requests\n%s, want\n%s", strings.Join(paths, "\n"), strings.Join(want, "\n"))
	}
}

// Without instance discovery MSAL requests one document and does not check the authority.
func TestMSALWithoutInstanceDiscovery(t *testing.T) {
	e := newEstate()
	c := msalClient(t, e, "daemon")
	if _, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"}); err != nil {
		t.Fatal(err)
	}
	if len(e.Sent()) != 2 {
		t.Errorf("%d requests, want the OpenID configuration and the token", len(e.Sent()))
	}
}

// AuthResult contains no refresh token in any form.
func TestMSALHidesTheRefreshToken(t *testing.T) {
	e := newEstate()
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})
	var refreshToken string
	e.Next = teeTransport{e.Next, func(body []byte) {
		var response struct {
			RefreshToken string `json:"refresh_token"`
		}
		if json.Unmarshal(body, &response) == nil && response.RefreshToken != "" {
			refreshToken = response.RefreshToken
		}
	}}
	c := msalClient(t, e, "api-a")
	result, err := c.AcquireTokenOnBehalfOf(t.Context(), assertion, []string{"api://api-b/Orders.Read"})
	if err != nil {
		t.Fatal(err)
	}
	if refreshToken == "" {
		t.Fatal("the response has no refresh token")
	}
	if strings.Contains(fmt.Sprintf("%+v", result), refreshToken) {
		t.Error("the result has the refresh token")
	}
}

type teeTransport struct {
	next http.RoundTripper
	see  func([]byte)
}

func (t teeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		resp.Body.Close()
		t.see(b.Bytes())
		resp.Body = readCloser{bytes.NewReader(b.Bytes())}
	}
	return resp, err
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// accessor gives MSAL a cache document, as package entra does.
type accessor string

func (a accessor) Replace(_ context.Context, u cache.Unmarshaler, _ cache.ReplaceHints) error {
	return u.Unmarshal([]byte(a))
}
func (accessor) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }

// AcquireTokenSilent redeems a refresh token from a minimal document, rejects WithClaims, and
// sends the claims of WithClaimsFromClient.
func TestMSALRedeemsARefreshToken(t *testing.T) {
	e := newEstate()
	e.Intercept(respondWith(400, "application/json", `{"error":"invalid_grant","error_description":"x"}`))
	app := e.App("webapp").ClientID
	document := accessor(fmt.Sprintf(`{
		"RefreshToken": {"rt": {"home_account_id": "uid.utid", "environment": "login.microsoftonline.com",
			"credential_type": "RefreshToken", "client_id": %q, "secret": "the-refresh-token"}},
		"AppMetadata": {"app": {"environment": "login.microsoftonline.com", "client_id": %[1]q}}}`, app))
	c := msalClient(t, e, "webapp", confidential.WithCache(document))
	account := confidential.WithSilentAccount(confidential.Account{HomeAccountID: "uid.utid"})
	scopes := []string{"api://api-a/access_as_user"}

	if _, err := c.AcquireTokenSilent(t.Context(), scopes, account, confidential.WithClaims(`{"a":1}`)); err == nil {
		t.Error("WithClaims was accepted")
	}
	if n := len(e.Forms()); n != 0 {
		t.Fatalf("%d requests with WithClaims", n)
	}
	c.AcquireTokenSilent(t.Context(), scopes, account, confidential.WithClaimsFromClient(`{"a":1}`))
	forms := e.Forms()
	if len(forms) != 1 {
		t.Fatalf("%d requests", len(forms))
	}
	for k, want := range map[string]string{"grant_type": "refresh_token", "refresh_token": "the-refresh-token",
		"claims": `{"a":1}`} {
		if got := forms[0].Get(k); got != want {
			t.Errorf("%s = %q, want %q", k, got, want)
		}
	}
}

// On-behalf-of fails if the token in the response expires within five minutes.
func TestMSALOnBehalfOfNeedsFiveMinutes(t *testing.T) {
	for life, fails := range map[time.Duration]bool{4 * time.Minute: true, 6 * time.Minute: false} {
		e := newEstate(func(c *entratest.Config) { c.Lifetime = func() time.Duration { return life } })
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com",
			Lifetime: time.Hour})
		_, err := msalClient(t, e, "api-a").AcquireTokenOnBehalfOf(t.Context(), assertion,
			[]string{"api://api-b/Orders.Read"})
		if (err != nil) != fails {
			t.Errorf("life %v: %v", life, err)
		}
	}
}

// MSAL's errors contain secrets, which is why they are never wrapped.
func TestMSALErrorsLeak(t *testing.T) {
	e := newEstate()
	e.Intercept(respondWith(200, "application/json", `{"access_token":"THE-TOKEN","expires_in":"soon"}`))
	_, err := msalClient(t, e, "daemon").AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
	if err == nil || !strings.Contains(err.Error(), "THE-TOKEN") {
		t.Errorf("a malformed response returns %v", err)
	}
	e.Intercept(respondWith(400, "application/json", `{"error":"invalid_client"}`))
	_, err = msalClient(t, e, "daemon").AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
	var call msalerrors.CallErr
	if !errors.As(err, &call) {
		t.Fatalf("got %T", err)
	}
	body, err := call.Req.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.ReadFrom(body)
	if !strings.Contains(b.String(), "daemon-secret") {
		t.Error("CallErr no longer has the secret")
	}
}

// MSAL 1.4.2, 1.5.0 and 1.9.0 replaced a user's or on-behalf-of token past its refresh_in by an
// app-only token.
func TestMSALRefreshesTokensForTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(func(c *entratest.Config) {
			c.RefreshIn = func(time.Duration) time.Duration { return time.Minute }
		})
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})
		c := msalClient(t, e, "api-a")
		for range 3 {
			if _, err := c.AcquireTokenOnBehalfOf(t.Context(), assertion, []string{"api://api-b/Orders.Read"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}
		for i, form := range e.Forms() {
			if got := form.Get("grant_type"); got != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
				t.Errorf("request %d has grant_type %s", i, got)
			}
		}
	})
}

// AuthCodeURL adds neither state nor nonce nor PKCE.
func TestMSALAuthCodeURL(t *testing.T) {
	e := newEstate()
	u, err := msalClient(t, e, "webapp").AuthCodeURL(t.Context(), e.App("webapp").ClientID, "http://localhost/callback",
		[]string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"state", "nonce", "code_challenge"} {
		if strings.Contains(u, p+"=") {
			t.Errorf("MSAL sends %s now", p)
		}
	}
}

// MSAL reads a region from the environment unless an option disables it.
func TestMSALForceRegion(t *testing.T) {
	t.Setenv("MSAL_FORCE_REGION", "westeurope")
	for region, want := range map[string]string{"": "westeurope.login.microsoft.com",
		"DisableMsalForceRegion": "login.microsoftonline.com"} {
		e := newEstate()
		e.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
			return nil, os.ErrClosed // the address is all that matters
		})
		msalClient(t, e, "daemon", confidential.WithAzureRegion(region)).AcquireTokenByCredential(t.Context(),
			[]string{"api://api-b/.default"})
		if got := e.Sent()[0].URL; !strings.HasPrefix(got, "https://"+want+"/") {
			t.Errorf("region %q: got host %s, want %s", region, got, want)
		}
	}
}
