package scopes_test

import (
	"testing"

	"github.com/entratoken/entra/internal/scopes"
)

func TestValid(t *testing.T) {
	for scope, want := range map[string]bool{
		"": false, "!": true, "~": true, " ": false, "a b": false, "a\x7f": false, "é": false, `a"`: false, `a\`: false,
		"api://b/Orders.Read#[]": true,
	} {
		if got := scopes.Valid(scope); got != want {
			t.Errorf("%q: got %v, want %v", scope, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	const client = "22222222-2222-4222-8222-222222222222"
	for _, tt := range []struct {
		list []string
		want string // empty if the scopes are valid
	}{
		{nil, ""},
		{[]string{"api://b/Orders.Read", "api://b/Orders.Write", "openid", "email"}, ""},
		{[]string{"api://b/.default"}, ""},
		{[]string{"openid", "profile", "offline_access", "email", "api://b/.default"}, ""},
		{[]string{"https://graph.microsoft.com/.Default", "OpenID", "Address", "PHONE"}, ""},
		{[]string{"api://b/.default", "API://B/.DEFAULT", client + "/.default"}, ""},
		{[]string{"https://vault.azure.net//.default"}, ""},
		{[]string{"api://contoso.example/" + client + "/read"}, ""},
		{[]string{"User.Read", "Mail.Read"}, ""},
		{[]string{client}, ""}, // an API may request a token for itself
		{[]string{"api://b"},
			`"api://b" names an API but no permission; use "api://b/.default", or scopes of the API`},
		{[]string{"openid", "https://graph.microsoft.com/"}, `"https://graph.microsoft.com/" names an API but no ` +
			`permission; use "https://graph.microsoft.com/.default", or scopes of the API`},
		{[]string{"https://"}, `"https://" names an API but no permission; use a scope such as ` +
			`"https://graph.microsoft.com/.default" or "api://<client ID>/.default", or scopes of the API`},
		{[]string{"openid", "api://b/.default", "api://b/Orders.Read"}, `"api://b/.default" stands for all permissions ` +
			`and cannot be combined with "api://b/Orders.Read"; use one of the two`},
		{[]string{"User.Read", "https://graph.microsoft.com/.Default"}, `"https://graph.microsoft.com/.Default" stands ` +
			`for all permissions and cannot be combined with "User.Read"; use one of the two`},
	} {
		got := ""
		if err := scopes.Check(tt.list); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.list, got, tt.want)
		}
		if tt.want != "" {
			continue
		}
		if n := testing.AllocsPerRun(100, func() { _ = scopes.Check(tt.list) }); n != 0 {
			t.Errorf("%q: got %v allocations, want 0", tt.list, n)
		}
	}
}
