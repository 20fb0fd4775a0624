// Package page writes measured results into a page of the documentation.
package page

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

var mark = regexp.MustCompile(`(?s)<!-- begin ([a-z]+) -->\n.*?<!-- end ([a-z]+) -->\n`)

// Fill replaces the text between the lines "<!-- begin NAME -->" and "<!-- end NAME -->" of the file with the text of
// that name. The file must contain each name exactly once and no other.
func Fill(file string, texts map[string]string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	filled, err := fill(string(old), texts)
	if err != nil { // the page is not changed
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(filled), 0o666)
}

func fill(page string, texts map[string]string) (string, error) {
	seen := map[string]bool{}
	var wrong error
	filled := mark.ReplaceAllStringFunc(page, func(old string) string {
		names := mark.FindStringSubmatch(old)
		begin, end := names[1], names[2]
		text, ok := texts[begin]
		if !ok || begin != end || seen[begin] {
			wrong = fmt.Errorf("marks %q and %q are unknown, repeated or do not match", begin, end)
		}
		seen[begin] = true
		return fmt.Sprintf("<!-- begin %s -->\n%s\n<!-- end %s -->\n", begin, strings.TrimSpace(text), begin)
	})
	for name := range texts {
		if !seen[name] {
			wrong = fmt.Errorf("marks %q are missing", name)
		}
	}
	return filled, wrong
}

// Table returns a Markdown table. The first row is the header. Columns after the first are right-aligned.
func Table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("| --- |" + strings.Repeat(" ---: |", len(row)-1) + "\n")
		}
	}
	return b.String()
}
