package aadsts

import (
	"strings"
	"testing"
	"unicode"
)

// Each explanation is complete: a clause for logs, sentences as fix, and no placeholder
// without a value.
func TestCodesAreComplete(t *testing.T) {
	for number, code := range codes {
		fix := code.Fix(Names{"TENANT", "CLIENT", "HOST", "RESOURCE"})
		if code.Meaning == "" || strings.HasSuffix(code.Meaning, ".") {
			t.Errorf("%d: got the meaning %q, want a clause", number, code.Meaning)
		}
		if strings.ContainsAny(fix, "{}") || !unicode.IsUpper([]rune(fix)[0]) {
			t.Errorf("%d: got the fix %q", number, fix)
		}
		if !strings.HasSuffix(fix, ".") && !strings.HasSuffix(fix, "client_id=CLIENT") {
			t.Errorf("%d: the fix does not end like a sentence or a URL: %q", number, fix)
		}
	}
}

func TestFix(t *testing.T) {
	code, ok := Lookup(7000229)
	want := "The app exists, but does not have a service principal in tenant T. " +
		"An administrator installs it by consenting at https://login.microsoftonline.us/T/adminconsent?client_id=C"
	if got := code.Fix(Names{Tenant: "T", Client: "C", Host: "login.microsoftonline.us"}); !ok || got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, ok := Lookup(1); ok {
		t.Error("got an explanation of AADSTS1, which does not exist")
	}
}
