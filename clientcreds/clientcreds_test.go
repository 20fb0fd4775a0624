package clientcreds_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

func newClient(t testing.TB, s *entratest.Server) *entra.Client {
	t.Helper()
	return testkit.Client(t, testkit.ClientConfig(s, "daemon", s.Client().Transport))
}

// A scope that is not the default scope of one API is rejected without a request.
func TestTokenSourceRejectsOtherScopes(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	c := newClient(t, s)
	for _, scope := range []string{"", "api://api-b/Orders.Read", "https://graph.microsoft.com", "/.default",
		"openid"} {
		_, err := clientcreds.TokenSource(c, scope).Token()
		var e *entra.Error
		if !errors.As(err, &e) || e.Code != "invalid_scope" || e.StatusCode != 0 ||
			!strings.HasPrefix(e.Description, fmt.Sprintf("%q is not the default scope", scope)) {
			t.Errorf("%q: got %v, want invalid_scope", scope, err)
		}
	}
	const list = "api://api-a/.default api://api-b/.default"
	_, err := clientcreds.TokenSource(c, list).Token()
	const want = `"` + list + `" is not a scope: it is empty, or contains a space or a control character; ` +
		"pass one scope in each string, and use a source for each API"
	if e := testkit.Error(t, err); e.Code != "invalid_scope" || e.Description != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("got %d requests, want 0", n)
	}
}

// An API can be named by its App ID URI and by its client ID.
func TestTokenSourceAcceptsBothNamesOfAnAPI(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	c := newClient(t, s)
	for _, scope := range []string{"api://api-b/.default", s.App("api-b").ClientID + "/.default"} {
		if _, err := clientcreds.TokenSource(c, scope).Token(); err != nil {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

// Check returns the error that the first token would return, with a suggestion.
func TestCheck(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	c := newClient(t, s)
	const daemonScope = " is not the default scope of an API, " +
		"and a daemon has the permissions that it was granted in advance; use "
	const examples = `a scope such as "https://graph.microsoft.com/.default" or "api://<client ID>/.default"`
	const alone = " contains white space; pass the default scope of one API alone, and use a source for each API"
	const character = " contains a character that no scope has, such as a quotation mark, a backslash, or one outside " +
		"of ASCII"
	for _, tt := range []struct{ scope, tenant, code, description string }{
		{"api://api-b/.default", "", "", ""},
		{"https://vault.azure.net//.default", "", "", ""},
		{"https://graph.microsoft.com/User.Read.All", "", "invalid_scope",
			`"https://graph.microsoft.com/User.Read.All"` + daemonScope + `"https://graph.microsoft.com/.default"`},
		{"api://api-b/Orders.Read", "", "invalid_scope",
			`"api://api-b/Orders.Read"` + daemonScope + `"api://api-b/.default"`},
		{"https://graph.microsoft.com", "", "invalid_scope",
			`"https://graph.microsoft.com"` + daemonScope + `"https://graph.microsoft.com/.default"`},
		{"https://graph.microsoft.com/", "", "invalid_scope",
			`"https://graph.microsoft.com/"` + daemonScope + `"https://graph.microsoft.com/.default"`},
		{"https://graph.microsoft.com/a/b", "", "invalid_scope",
			`"https://graph.microsoft.com/a/b"` + daemonScope + examples},
		{"api://", "", "invalid_scope", `"api://"` + daemonScope + examples},
		{"User.Read", "", "invalid_scope", `"User.Read"` + daemonScope + examples},
		{"", "", "invalid_scope", `""` + daemonScope + examples},
		{"api://api-a/.default api://api-b/.default", "", "invalid_scope",
			`"api://api-a/.default api://api-b/.default"` + alone},
		{"api://api-b/.default\n", "", "invalid_scope", `"api://api-b/.default\n"` + alone},
		{`"api://api-b/.default`, "", "invalid_scope", `"\"api://api-b/.default"` + character},
		{"api://b\u200b/.default", "", "invalid_scope", `"api://b\u200b/.default"` + character},
		{"api://api-b/.default", "common", "invalid_request",
			`the tenant is "common", which is only for sign-in; a daemon needs the ID or domain of one tenant`},
		{"api://api-b/.default", "Organizations", "invalid_request",
			`the tenant is "organizations", which is only for sign-in; a daemon needs the ID or domain of one tenant`},
		{"api://api-b/.default", "consumers", "invalid_request",
			`the tenant is "consumers", which is only for sign-in; a daemon needs the ID or domain of one tenant`},
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
		if tt.code == "" {
			if err != nil {
				t.Errorf("%s: got %v, want no error", tt.scope, err)
			}
			continue
		}
		var e, f *entra.Error
		if !errors.As(err, &e) || e.Code != tt.code || e.Description != tt.description {
			t.Errorf("%s in %s: got %v, want %s", tt.scope, tt.tenant, err, tt.description)
		}
		if !errors.As(first, &f) || f.Code != tt.code || f.StatusCode != 0 {
			t.Errorf("%s in %s: got %v from the first token, want the code %s", tt.scope, tt.tenant, first, tt.code)
		}
	}
}

// A client that entra.New has not created is an error, as it is for the first token.
func TestCheckWithoutClient(t *testing.T) {
	for _, c := range []*entra.Client{nil, {}} {
		e := testkit.Error(t, clientcreds.Check(c, "api://api-b/.default"))
		const want = "the Client is nil or its zero value; it must be created with entra.New"
		if e.Code != "invalid_request" || e.Description != want {
			t.Errorf("got %v, want %s", e, want)
		}
	}
}
