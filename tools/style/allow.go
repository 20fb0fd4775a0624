package main

import (
	"fmt"
	"path"
	"strings"
)

// exception is a line of allow.txt.
type exception struct {
	line       int
	rule, file string // file is a pattern of path.Match
	text       string
	used       bool
}

type exceptions []*exception

// parseAllowed reads allow.txt: rule, file pattern, text and reason, separated by " | ".
func parseAllowed(text string) (exceptions, error) {
	var all exceptions
	for i, l := range strings.Split(text, "\n") {
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		parts := strings.Split(l, " | ")
		if len(parts) != 4 || strings.TrimSpace(parts[3]) == "" {
			return nil, fmt.Errorf("allow.txt:%d: want rule | file | text | reason", i+1)
		}
		if _, err := path.Match(parts[1], ""); err != nil {
			return nil, fmt.Errorf("allow.txt:%d: %w", i+1, err)
		}
		all = append(all, &exception{line: i + 1, rule: parts[0], file: parts[1], text: parts[2]})
	}
	return all, nil
}

// filter returns the findings that no exception allows.
func (all exceptions) filter(found []finding) []finding {
	var rest []finding
	for _, f := range found {
		if !all.allow(f) {
			rest = append(rest, f)
		}
	}
	return rest
}

func (all exceptions) allow(f finding) bool {
	ok := false
	for _, e := range all {
		match, _ := path.Match(e.file, f.file) // parseAllowed checked the pattern
		if match && e.rule == f.rule && strings.EqualFold(e.text, f.text) {
			e.used, ok = true, true
		}
	}
	return ok
}

// unused returns a finding for each exception that allows nothing, so that the list stays short.
func (all exceptions) unused() []finding {
	var found []finding
	for _, e := range all {
		if !e.used {
			found = append(found, finding{
				file: "tools/style/allow.txt", line: e.line, rule: "unused exception", text: e.text, want: "remove it",
			})
		}
	}
	return found
}
