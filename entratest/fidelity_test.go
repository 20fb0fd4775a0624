package entratest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each row of FIDELITY.md says how faithful a behavior is, and names tests that exist.
func TestFidelityNamesTests(t *testing.T) {
	page, err := os.ReadFile("FIDELITY.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllSubmatch(source, -1) {
			tests = append(tests, string(m[1]))
		}
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.Contains(line, "---") || strings.Contains(line, "endpoint or behavior") {
			continue
		}
		rows++
		fidelity := regexp.MustCompile(`^\w+`).FindString(strings.TrimSpace(cells[2]))
		if !slices.Contains([]string{"faithful", "simplified", "missing"}, fidelity) {
			t.Errorf("got fidelity %q in %s", fidelity, line)
		}
		names := regexp.MustCompile(`Test\w+`).FindAllString(cells[4], -1)
		if fidelity == "faithful" && len(names) == 0 {
			t.Errorf("no test in %s", line)
		}
		for _, name := range names {
			if !slices.Contains(tests, name) {
				t.Errorf("the test %s does not exist", name)
			}
		}
	}
	if rows < 50 {
		t.Errorf("got %d rows", rows)
	}
}
