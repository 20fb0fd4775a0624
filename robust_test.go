package entra_test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/internal/testkit"
)

// Two challenges with the same JSON value are one: white space and the order of members differ.
func TestChallengesAreComparedAsJSON(t *testing.T) {
	e := newEstate(hour)
	source := e.daemonWith(t, e.config("daemon").Credential)
	for _, claims := range []string{
		`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
		`{ "access_token": {"acrs": {"value": "c1", "essential": true}} }`,
	} {
		wantToken(t, source.WithClaims(claims))
	}
	if got := len(e.Forms()); got != 1 {
		t.Errorf("got %d requests, want 1", got)
	}
}

// A plain-text 429 is throttling by the authority, not the page of a proxy.
func TestPlainTextThrottling(t *testing.T) {
	e := newEstate(hour)
	source := e.daemonWith(t, entra.Secret(e.App("daemon").Secrets[0]))
	e.Intercept(respondWith(429, "text/plain", "Too many requests", "Retry-After", "30"))
	_, err := source.Token()
	got := testkit.Error(t, err)
	want := "the response is 17 bytes, text/plain, status 429, which is not an OAuth response; " +
		"the authority throttles the app's requests"
	if got.Description != want || !got.Temporary() || got.StatusCode != 429 {
		t.Errorf("got %v, want %q", got, want)
	}
}

// The documents of all tenants in use are kept, after the first round.
func TestDiscoveryDocumentsOfManyTenants(t *testing.T) {
	const tenants = 1500
	discoveries := 0
	e := newEstate(hour)
	cfg := e.config("daemon")
	cfg.HTTPClient.Transport = testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost {
			return testkit.Response(req, 200, "application/json",
				`{"access_token":"a","token_type":"Bearer","expires_in":3600}`), nil
		}
		discoveries++
		authority := "https://" + req.URL.Host + "/" + strings.Split(req.URL.Path, "/")[1]
		return testkit.Response(req, 200, "application/json", fmt.Sprintf(
			`{"issuer":"%[1]s/v2.0","authorization_endpoint":"%[1]s/a","token_endpoint":"%[1]s/t"}`, authority)), nil
	})
	c := testkit.Client(t, cfg)
	for range 3 {
		for i := range tenants {
			tenant, err := c.WithTenant(fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
			if err != nil {
				t.Fatal(err)
			}
			invalidate(t, clientcreds.TokenSource(tenant, scopeB))
		}
	}
	if got := discoveries; got != tenants {
		t.Errorf("got %d discovery requests for %d tenants in three rounds, want %d", got, tenants, tenants)
	}
}

func TestXMLContainsNoToken(t *testing.T) {
	for _, v := range []any{
		entra.TokenResponse{AccessToken: "s3cret", IDToken: "s3cret"}, cache.Response{AccessToken: "s3cret", State: "s3cret"},
		cache.Request{State: "s3cret"},
	} {
		b, err := xml.Marshal(v)
		if strings.Contains(string(b), "s3cret") {
			t.Errorf("%T: got %s, %v", v, b, err)
		}
	}
}
