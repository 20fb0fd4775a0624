package clientcreds_test

import (
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

func newClient(t testing.TB, s *entratest.Server) *entra.Client {
	t.Helper()
	app := s.App("daemon")
	c, err := entra.New(entra.Config{
		TenantID: app.TenantID, ClientID: app.ClientID, Credential: entra.Secret(app.Secrets[0]), HTTPClient: s.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Entra grants the default scope of one resource; anything else is refused here, with
// words that say what is wrong.
func TestScopes(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	c := newClient(t, s)
	for _, scopes := range [][]string{
		nil, {"api://api-b/Orders.Read"}, {"https://graph.microsoft.com"}, {"/.default"},
		{"api://api-b/.default", "api://api-a/.default"}, {"api://api-b/.default", "openid"},
	} {
		_, err := clientcreds.TokenSource(c, scopes...).Token()
		var e *entra.Error
		if !errors.As(err, &e) || e.Code != "invalid_scope" || e.StatusCode != 0 || !strings.Contains(e.Description, fmt.Sprintf("%q", scopes)) {
			t.Errorf("%q: %v", scopes, err)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	// By client ID as well as by App ID URI.
	for _, scope := range []string{"api://api-b/.default", s.App("api-b").ClientID + "/.default"} {
		if _, err := clientcreds.TokenSource(c, scope).Token(); err != nil {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

// What a caller does with its slice afterwards changes nothing.
func TestScopesAreCopied(t *testing.T) {
	c := newClient(t, entratest.NewServer(entratest.Sample()))
	scopes := []string{"api://api-b/.default"}
	source := clientcreds.TokenSource(c, scopes...)
	scopes[0] = "nonsense"
	if _, err := source.Token(); err != nil {
		t.Error(err)
	}
}

func ExampleTokenSource() {
	fake := entratest.NewServer(entratest.Sample()) // in production: leave HTTPClient out
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("daemon").ClientID,
		Credential: entra.Secret(fake.App("daemon").Secrets[0]),
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	source := clientcreds.TokenSource(client, "api://api-b/.default")
	for range 3 {
		if _, err := source.Token(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("requests to Entra:", fake.TokenRequests())
	// Output: requests to Entra: 1
}

// Check says at once what the first token would say, and what was probably meant.
func TestCheck(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	c := newClient(t, s)
	for _, tt := range []struct{ scope, tenant, code, text string }{
		{"api://api-b/.default", "", "", ""},
		{"https://vault.azure.net//.default", "", "", ""},
		{"https://graph.microsoft.com/User.Read.All", "", "invalid_scope", `ask for "https://graph.microsoft.com/.default"`},
		{"api://api-b/Orders.Read", "", "invalid_scope", `ask for "api://api-b/.default"`},
		{"https://graph.microsoft.com", "", "invalid_scope", `ask for "https://graph.microsoft.com/.default"`},
		{"https://graph.microsoft.com/", "", "invalid_scope", `ask for "https://graph.microsoft.com/.default"`},
		{"User.Read", "", "invalid_scope", `not ["User.Read"]`},
		{"api://api-b/.default", "common", "invalid_request", `the tenant is "common"`},
		{"api://api-b/.default", "Organizations", "invalid_request", `the tenant is "organizations"`},
	} {
		c := c
		if tt.tenant != "" {
			var err error
			if c, err = c.WithTenant(tt.tenant); err != nil {
				t.Fatal(err)
			}
		}
		err := clientcreds.Check(c, tt.scope)
		_, first := clientcreds.TokenSource(c, tt.scope).Token()
		var e, f *entra.Error
		switch {
		case tt.code == "" && err == nil:
		case tt.code == "" || !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Description, tt.text):
			t.Errorf("%s in %s: %v", tt.scope, tt.tenant, err)
		case !errors.As(first, &f) || f.Code != e.Code || f.StatusCode != 0:
			t.Errorf("%s in %s: the first token says %v", tt.scope, tt.tenant, first)
		}
	}
}
