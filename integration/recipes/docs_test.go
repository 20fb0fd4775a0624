package recipes_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const page = "../../docs/recipes.md"

var update = flag.Bool("update", false, "write the recipes and their line counts to docs/recipes.md")

// recipes returns the text of each recipe by its name.
func recipes(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range regexp.MustCompile(`(?s)\n// recipe ([^\n]+)\n\n(.*?\n)\n// end recipe\n`).FindAllSubmatch(source, -1) {
			name := string(m[1])
			if _, ok := found[name]; ok {
				t.Errorf("%s: there are two recipes %q", path, name)
			}
			found[name] = string(m[2])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// lines counts lines of code: neither blank nor only a comment.
func lines(code string) (n int) {
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

// Each code block after a comment with the name of a recipe is the tested source. Each row of the table has the counts
// of lines.
func TestPageHasTheTestedSource(t *testing.T) {
	found := recipes(t)
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	block := regexp.MustCompile("(?s)<!-- recipe ([^\n]+) -->\n```go\n.*?```\n")
	text := block.ReplaceAllFunc(old, func(b []byte) []byte {
		name := string(block.FindSubmatch(b)[1])
		shown[name] = true
		return []byte("<!-- recipe " + name + " -->\n```go\n" + found[name] + "```\n")
	})
	row := regexp.MustCompile(`(?m)^\| ([^|\n]+) \| ` + "`([^`\n]+)`" + ` \| \d+ \| \d+ \|`)
	counted := make(map[string]bool)
	text = row.ReplaceAllFunc(text, func(b []byte) []byte {
		m := row.FindSubmatch(b)
		name := string(m[2])
		counted[name] = true
		return fmt.Appendf(nil, "| %s | `%s` | %d | %d |", m[1], name, lines(found[name]), lines(found[name+" azidentity"]))
	})
	for name := range found {
		base, isPeer := strings.CutSuffix(name, " azidentity")
		if !isPeer && (!shown[name] || found[name+" azidentity"] != "" && !counted[name]) {
			t.Errorf("recipe %q: shown: %v, counted: %v", name, shown[name], counted[name])
		}
		if isPeer && found[base] == "" {
			t.Errorf("recipe %q has no counterpart", name)
		}
	}
	for name := range shown {
		if found[name] == "" {
			t.Errorf("%s shows the recipe %q, which does not exist", page, name)
		}
	}
	if *update {
		if err := os.WriteFile(page, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(text, old) {
		t.Errorf("%s differs from the tested source; run go test -update", page)
	}
}
