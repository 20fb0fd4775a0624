package page_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entratoken/entra/integration/internal/page"
)

func TestFill(t *testing.T) {
	const before = "# Page\n\n<!-- begin one -->\nold\n<!-- end one -->\n\ntext\n<!-- begin two -->\n<!-- end two -->\n"
	for _, test := range []struct {
		name, before string
		texts        map[string]string
		want         string // empty if Fill fails
	}{
		{"both", before, map[string]string{"one": "\nnew\n", "two": "too"},
			"# Page\n\n<!-- begin one -->\nnew\n<!-- end one -->\n\ntext\n<!-- begin two -->\ntoo\n<!-- end two -->\n"},
		{"a text without marks", before, map[string]string{"one": "", "two": "", "three": ""}, ""},
		{"marks without a text", before, map[string]string{"one": ""}, ""},
		{"twice", before + before, map[string]string{"one": "", "two": ""}, ""},
		{"crossed", "<!-- begin one -->\n<!-- end two -->\n", map[string]string{"one": ""}, ""},
	} {
		file := filepath.Join(t.TempDir(), "page.md")
		if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		err := page.Fill(file, test.texts)
		after, readErr := os.ReadFile(file)
		if readErr != nil {
			t.Fatal(readErr)
		}
		want := test.want
		if want == "" {
			want = test.before
		}
		if (err != nil) != (test.want == "") || string(after) != want {
			t.Errorf("%s: got error %v, page %q; want page %q", test.name, err, after, want)
		}
	}
}

func TestTable(t *testing.T) {
	got := page.Table([][]string{{"a", "b", "c"}, {"1", "2", "3"}})
	const want = "| a | b | c |\n| --- | ---: | ---: |\n| 1 | 2 | 3 |\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
