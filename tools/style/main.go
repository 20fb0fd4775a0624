// Command style reports words, phrases and names that make the project's text hard to read.
//
// It reads the Go, Markdown, HTML and shell files that Git tracks in the directory of its argument, and prints one line
// for each finding. CONTRIBUTING.md explains the rules, and allow.txt lists the exceptions. The exit status is 1 if
// there are findings.
//
//	style [-files REGEXP] [DIR]
package main

import (
	"cmp"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed allow.txt
var allowText string

// finding is one place that breaks a rule.
type finding struct {
	file string
	line int
	rule string
	text string // the words that break it
	want string // what to write instead
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %q: %s", f.file, f.line, f.rule, f.text, f.want)
}

func main() {
	only := flag.String("files", "", "check only files whose path matches this regular expression")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	n, err := run(dir, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "style:", err)
		os.Exit(2)
	}
	if n > 0 {
		fmt.Printf("%d findings; CONTRIBUTING.md explains the rules\n", n)
		os.Exit(1)
	}
}

// run prints the findings in dir and returns their number.
func run(dir, only string) (int, error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	files, err := listFiles(dir)
	if err != nil {
		return 0, err
	}
	allowed, err := parseAllowed(allowText)
	if err != nil {
		return 0, err
	}
	var found []finding
	tests := make(map[string]bool)
	var mentions []finding
	for _, name := range files {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return 0, err
		}
		f, err := check(name, src)
		if err != nil {
			return 0, err
		}
		found = append(found, f.findings...)
		mentions = append(mentions, f.mentions...)
		for _, t := range f.tests {
			tests[t] = true
		}
	}
	for _, m := range mentions {
		if !tests[m.text] {
			found = append(found, m)
		}
	}
	found = allowed.filter(found)
	if only == "" {
		found = append(found, allowed.unused()...)
	}
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	n := 0
	for _, f := range found {
		if match.MatchString(f.file) {
			fmt.Println(f)
			n++
		}
	}
	return n, nil
}

// listFiles returns the paths that Git tracks in dir, and new files that it does not ignore.
func listFiles(dir string) ([]string, error) {
	git := exec.Command("git", "-C", dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
		"*.go", "*.md", "*.html", "*.sh", "*.yml", "Makefile")
	git.Stderr = os.Stderr
	out, err := git.Output()
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if strings.Contains(name, "testdata/") || strings.HasPrefix(name, "tools/style/") {
			continue // test data is input, and this command's own files list the words
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil { // else deleted and not yet committed
			files = append(files, name)
		}
	}
	return files, nil
}
