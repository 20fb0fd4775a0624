package clientsecret_test

import (
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/clientsecret"
)

// Only a text that cannot be a secret is rejected. Azure CLI created GUIDs for years, and older interfaces accepted any
// text (https://github.com/Azure/azure-cli/issues/5973).
func TestSecretsThatLookWrong(t *testing.T) {
	for secret, want := range map[string]struct{ problem, warning string }{
		"Xz18Q~dGhpcyBpcyBub3QgYSBzZWNyZXQ":    {},
		"7D1C5A0E-1111-4a7b-9c9f-0123456789ab": {warning: "is a GUID"},
		"correct horse battery":                {warning: "contains white space"},
		"no-break\u00a0space":                  {warning: "contains white space"},
		"":                                     {problem: "is empty"},
		" secret":                              {problem: "has white space around it"},
		"secret\u00a0":                         {problem: "has white space around it"},
		"secret\n":                             {problem: "contains a control character"},
		"sec\tret":                             {problem: "contains a control character"},
		"sec\x00ret":                           {problem: "contains a control character"},
		"\xff\xfes\x00e\x00":                   {problem: "contains a control character"},
	} {
		problem, warning := clientsecret.Problem(secret), ""
		if problem == "" {
			warning = clientsecret.Warning(secret)
		}
		if !matches(problem, want.problem) || !matches(warning, want.warning) {
			t.Errorf("%q: got problem %q and warning %q, want %q and %q", secret, problem, warning, want.problem, want.warning)
		}
	}
}

func matches(got, want string) bool {
	return (got == "") == (want == "") && strings.HasPrefix(got, want)
}
