package main

import (
	"slices"
	"strings"
	"testing"
)

// rulesFound returns the rules that src breaks, in order of the findings.
func rulesFound(t *testing.T, name, src string) []string {
	t.Helper()
	r, err := check(name, []byte(src))
	if err != nil {
		t.Fatalf("check(%q) = %v", name, err)
	}
	var got []string
	for _, f := range r.findings {
		got = append(got, f.rule)
	}
	return got
}

func TestRulesFindHabits(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // the rule, or "" if the text is right
	}{
		{"It reports what is wrong.", "free relative"},
		{"It reports what\nis wrong.", "free relative"},
		{"What is a token?", ""},
		{"It notifies whoever waits.", "free relative"},
		{"It serves those who wait.", "free relative"},
		{"It says so to nobody.", "person"},
		{"The cache is told of it.", "person"},
		{"A user and his session.", "masculine"},
		{"Their history is long.", ""},
		{"The request is sent anew.", "archaic"},
		{"It stands beside the key.", "archaic"},
		{"The requests under way.", "archaic"},
		{"The answer has a token.", "answer"},
		{"An unanswered request.", "answer"},
		{"It asks Entra.", "ask"},
		{"The task masks it.", ""},
		{"Entra refuses the token.", "refuse"},
		{"dial: connection refused", ""},
		{"The connection was refused.", ""},
		{"A refused connection.", "refuse"},
		{"That is no token.", "is no"},
		{"The token is none.", "is no"},
		{"There is no token.", ""},
		{"There are none.", ""},
		{"It is no longer valid.", ""},
		{"It is to be sent.", "is to be"},
		{"The token has ended.", "ended"},
		{"The session has ended.", ""},
		{"The size. Zero: 10,000.", "telegram"},
		{`The user. "": the app.`, "telegram"},
		{"If zero, 10,000.", ""},
		{"RFC 6749 section 5.2", "citation"},
		{"section 5.2 of RFC 6749", "citation"},
		{"RFC 6749, section 5.2", ""},
		{"It tells whether t is valid.", "whether"},
		{"It reports whether t is valid.", ""},
		{"One thing: two things; three things.", "colons"},
		{"One thing: two things. Three things: four.", ""},
	} {
		want := []string{tt.want}
		if tt.want == "" {
			want = nil
		}
		comment := "package p\n\n// " + strings.ReplaceAll(tt.text, "\n", "\n// ") + "\n"
		if got := rulesFound(t, "p.go", comment); !slices.Equal(got, want) {
			t.Errorf("comment %q: got %q, want %q", tt.text, got, want)
		}
		if got := rulesFound(t, "p.md", tt.text+"\n"); !slices.Equal(got, want) {
			t.Errorf("Markdown %q: got %q, want %q", tt.text, got, want)
		}
	}
}

func TestStringsOfSeveralWordsAreChecked(t *testing.T) {
	for src, want := range map[string][]string{
		`"ask Entra for it"`:             {"ask"},
		"`ask Entra\nfor it`":            {"ask"},
		`"ask"`:                          nil,
		`"ask Entra"`:                    nil,
		`"send it to Entra"`:             nil,
		`"a: b; c: d"`:                   nil, // errors may have several colons
		`"dial tcp: connection refused"`: nil,
	} {
		if got := rulesFound(t, "p.go", "package p\n\nvar s = "+src+"\n"); !slices.Equal(got, want) {
			t.Errorf("string %s: got %q, want %q", src, got, want)
		}
	}
}

func TestGoFilesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name, src string
		want      []string
	}{
		{"banned word", "func askEntra() {}", []string{"name"}},
		{"banned word in capitals", "func HTTPAnswer() {}", []string{"name"}},
		{"part of a word", "func taskPlaceholder() {}", nil},
		{"parameter", "func f(answer int) {}", []string{"name"}},
		{"result", "func f() (answer int) { return }", []string{"name"}},
		{"receiver", "func (held t) f() {}", []string{"name"}},
		{"variable", "func f() { answer := 1; _ = answer }", []string{"name"}},
		{"range", "func f() { for _, told := range x { _ = told } }", []string{"name"}},
		{"type", "type refusal int", []string{"name"}},
		{"field", "type t struct{ held int }", []string{"name"}},
		{"interface method", "type t interface{ ask() }", []string{"name"}},
		{"use of a foreign name", "func f() { x.Ask() }", nil},
		{"shadowed builtin", "func f(len int) {}", []string{"builtin"}},
		{"method named like a builtin", "func (t) len() {}", nil},
		{"field named like a builtin", "type t struct{ len int }", nil},
		{"link in field comment", "type t struct {\n\t// See [Config].\n\tf int\n}", []string{"field link"}},
		{"link in trailing field comment", "type t struct {\n\tf int // see [x.Config]\n}", []string{"field link"}},
		{"index in field comment", "type t struct {\n\t// See x[0].\n\tf int\n}", nil},
		{"link in doc comment", "// f is like [Config].\nfunc f() {}", nil},
		{"doc comment without the name", "// Does it.\nfunc f() {}", []string{"doc comment"}},
		{"doc comment of another name", "// fg does it.\nfunc f() {}", []string{"doc comment"}},
		{"doc comment with an article", "// A T is a thing.\ntype T int", nil},
		{"doc comment of a method", "// It does it.\nfunc (t) f() {}", []string{"doc comment"}},
		{"directive", "//go:noinline\nfunc f() {}", nil},
		{"code in a comment", "// f does it:\n//\n//\tanswer := ask(nobody)\nfunc f() {}", nil},
		{"long line", "var s = `" + strings.Repeat("x", 120) + "`", []string{"long line"}},
		{"struct tag", "type t struct {\n\tf int `json:\"answer to all\"`\n}", nil},
		{"list in a comment", "// f is one of:\n//   - a: one\n//   - b: two\nfunc f() {}", nil},
	} {
		if got := rulesFound(t, "p.go", "package p\n\n"+tt.src+"\n"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTestsNeedNoNameInTheirComments(t *testing.T) {
	src := "package p\n\n// Tokens are cached.\nfunc TestCache(t *testing.T) {}\n"
	if got := rulesFound(t, "p_test.go", src); len(got) > 0 {
		t.Errorf("got %q, want no findings", got)
	}
}

func TestOutputOfExamplesMayBeLong(t *testing.T) {
	src := "package p\n\nfunc Example() {\n\t// Output:\n\t// " + strings.Repeat("x", 120) + "\n}\n"
	if got := rulesFound(t, "p_test.go", src); len(got) > 0 {
		t.Errorf("got %q, want no findings", got)
	}
}

func TestMarkdownCodeIsSkipped(t *testing.T) {
	for _, src := range []string{
		"`ask whoever`\n", "```go\nanswer := ask()\n```\n", "[text](https://example.com/ask)\n",
		"| a | b |\n| :---: | :---: |\n| 1 | 2 |\n", "`a\nask`\n",
	} {
		if got := rulesFound(t, "p.md", src); len(got) > 0 {
			t.Errorf("%q: got %q, want no findings", src, got)
		}
	}
}

func TestFindingsHaveLines(t *testing.T) {
	r, err := check("p.go", []byte("package p\n\n// f sends it\n// to\n// nobody.\nfunc f() {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := r.findings[0].String()
	want := `p.go:5: person: "nobody": write the caller, the client, the user, no caller; machines are called or notified`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHashCommentsAreChecked(t *testing.T) {
	src := "#!/bin/sh\n# Sends it\n# anew.\necho \"${#answer}\" # asks\n"
	if got, want := rulesFound(t, "p.sh", src), []string{"ask", "archaic"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNamedTestsAreCollected(t *testing.T) {
	md, err := check("p.md", []byte("See `TestOne` and `FuzzTwo`, not `Testing`.\n"))
	if err != nil {
		t.Fatal(err)
	}
	code, err := check("p_test.go", []byte("package p\n\nfunc TestOne(t *testing.T) {}\n\nfunc helper() {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range md.mentions {
		names = append(names, m.text)
	}
	if want := []string{"TestOne", "FuzzTwo"}; !slices.Equal(names, want) {
		t.Errorf("mentions: got %q, want %q", names, want)
	}
	if want := []string{"TestOne"}; !slices.Equal(code.tests, want) {
		t.Errorf("tests: got %q, want %q", code.tests, want)
	}
}

func TestExceptionsAllowOnlyTheirFindings(t *testing.T) {
	all, err := parseAllowed("# comment\n\nask | docs/*.md | asks | Entra's word\nask | none.go | ask | unused\n")
	if err != nil {
		t.Fatal(err)
	}
	found := []finding{
		{file: "docs/a.md", rule: "ask", text: "Asks"},
		{file: "docs/a.md", rule: "ask", text: "asked"},
		{file: "docs/a/b.md", rule: "ask", text: "asks"},
		{file: "docs/a.md", rule: "answer", text: "asks"},
	}
	if got := all.filter(found); !slices.Equal(got, found[1:]) {
		t.Errorf("filter: got %v, want %v", got, found[1:])
	}
	if got := all.unused(); len(got) != 1 || got[0].line != 4 {
		t.Errorf("unused: got %v, want line 4", got)
	}
}

func TestExceptionsNeedAReason(t *testing.T) {
	for _, s := range []string{"ask | a.md | asks", "ask | a.md | asks | ", "ask | [ | asks | reason"} {
		if _, err := parseAllowed(s); err == nil {
			t.Errorf("parseAllowed(%q): got no error", s)
		}
	}
}
