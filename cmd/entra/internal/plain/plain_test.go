package plain_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/entratoken/entra/cmd/entra/internal/plain"
)

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"a\nb\tc":                           "a b c",
		"\x1b[31mred\x07":                   "[31mred",
		"a\u202eb\u009bc":                   "a b c",
		"token eyJhbGciOi.eyJhdWQi.sig end": "token [redacted] end",
		strings.Repeat("ä", 20):             strings.Repeat("ä", 15) + "...",
	} {
		if got := plain.Text(s, 31); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[31m\u202e", 10)
	f.Add("eyJhbGciOiJub25lIn0.e30.", 100)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(0, min(limit, 1000))
		got := plain.Text(s, limit)
		if len(got) > limit+len("...") || !utf8.ValidString(got) || strings.ContainsFunc(got, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
