package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxColumns = 120

// result is what check learns about a file.
type result struct {
	findings []finding
	tests    []string  // tests, fuzz targets, benchmarks and examples that the file declares
	mentions []finding // names of tests in the file; a test that no file declares is a finding
}

// check returns the findings in one file.
func check(name string, src []byte) (result, error) {
	var r result
	switch path.Ext(name) {
	case ".go":
		f := &goFile{name: name, test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
		var err error
		if f.ast, err = parser.ParseFile(f.fset, name, src, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return r, err
		}
		if ast.IsGenerated(f.ast) {
			return r, nil
		}
		r = f.check()
		for _, l := range longLines(name, src) {
			if !f.isOutput(l.line) {
				r.findings = append(r.findings, l)
			}
		}
	case ".md", ".html":
		for _, p := range prosePassages(name, string(src)) {
			r.findings = append(r.findings, apply(name, p)...)
		}
		if path.Ext(name) == ".md" {
			r.mentions = namedTests(name, string(src))
		}
	default:
		for _, p := range hashComments(string(src)) {
			r.findings = append(r.findings, apply(name, p)...)
		}
		r.findings = append(r.findings, longLines(name, src)...)
	}
	return r, nil
}

var testLiteral = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")

// longLines finds lines of more than maxColumns characters. A tab counts as one. In tests, string literals do not
// count: an expected text stays in one piece.
func longLines(name string, src []byte) []finding {
	var found []finding
	i := 0
	for line := range bytes.Lines(src) {
		i++
		line = bytes.TrimRight(line, "\r\n")
		if strings.HasSuffix(name, "_test.go") {
			line = testLiteral.ReplaceAll(line, nil)
		}
		if n := utf8.RuneCount(line); n > maxColumns {
			found = append(found, finding{
				file: name, line: i, rule: "long line", text: strconv.Itoa(n),
				want: fmt.Sprintf("at most %d columns", maxColumns),
			})
		}
	}
	return found
}

var (
	inlineCode = regexp.MustCompile("(?s)`[^`]*`")
	htmlHidden = regexp.MustCompile(`(?s)<(style|script)\b.*?</(style|script)>|<[^>]*>|\{\{.*?\}\}`)
	tableRule  = regexp.MustCompile(`^[|\s:-]+$`)
	linkTarget = regexp.MustCompile(`\]\([^)]*\)|https?://\S+`)
)

// blank returns s as spaces, with the newlines kept.
func blank(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return '\n'
		}
		return ' '
	}, s)
}

// prosePassages returns the paragraphs of Markdown or HTML, without code.
func prosePassages(name, src string) []passage {
	src = linkTarget.ReplaceAllStringFunc(src, blank)
	if path.Ext(name) == ".html" {
		src = htmlHidden.ReplaceAllStringFunc(src, blank)
	}
	lines := strings.Split(src, "\n")
	fenced := false
	code := func(s string) string { return strings.ReplaceAll(blank(s), " ", "x") }
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "```") {
			fenced = !fenced
			lines[i] = ""
		} else if fenced || tableRule.MatchString(l) {
			lines[i] = ""
		}
	}
	all := paragraphs(markdown, 1, lines)
	for i := range all {
		all[i].text = inlineCode.ReplaceAllStringFunc(all[i].text, code)
	}
	return all
}

var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z][A-Za-z0-9_]*)`")

// namedTests returns a finding for each test that Markdown names in backticks.
func namedTests(name, src string) []finding {
	var found []finding
	for i, l := range strings.Split(src, "\n") {
		for _, m := range testName.FindAllStringSubmatch(l, -1) {
			found = append(found, finding{name, i + 1, "missing test", m[1], "name a test that exists"})
		}
	}
	return found
}

var hashComment = regexp.MustCompile(`^(.*?\s)?# ?([^!].*)$`)

// hashComments returns the comments of a shell script, a Makefile or YAML.
func hashComments(src string) []passage {
	lines := strings.Split(src, "\n")
	var all []passage
	for i, l := range lines {
		m := hashComment.FindStringSubmatch(l)
		if m == nil {
			lines[i] = ""
			continue
		}
		lines[i] = m[2]
		if m[1] != "" { // a comment of its own, next to code
			all = append(all, passage{comment, i + 1, m[2]})
			lines[i] = ""
		}
	}
	return append(all, paragraphs(comment, 1, lines)...)
}

// goFile checks one Go file.
type goFile struct {
	name string
	test bool
	fset *token.FileSet
	ast  *ast.File
	tag  *ast.BasicLit // of the struct field that is being checked
	out  result
}

func (f *goFile) check() result {
	for _, c := range f.ast.Comments {
		for _, p := range f.commentPassages(c) {
			f.out.findings = append(f.out.findings, apply(f.name, p)...)
		}
	}
	for _, word := range words(strings.TrimSuffix(path.Base(f.name), ".go")) {
		f.checkWord(f.ast.Name, word, path.Base(f.name))
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.FuncDecl:
			f.function(n)
		case *ast.TypeSpec:
			f.names(false, n.Name)
		case *ast.ValueSpec:
			f.names(true, n.Names...)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				f.expressions(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				f.expressions(n.Key, n.Value)
			}
		case *ast.LabeledStmt:
			f.names(false, n.Label)
		case *ast.FuncType:
			f.parameters(n)
		case *ast.StructType:
			f.fields(n)
		case *ast.GenDecl:
			f.typeDoc(n)
		case *ast.InterfaceType:
			for _, m := range n.Methods.List {
				f.names(false, m.Names...)
			}
		case *ast.Field:
			f.tag = n.Tag
		case *ast.BasicLit:
			f.literal(n)
		}
		return true
	})
	return f.out
}

// isOutput reports whether a line belongs to the output of an example, which cannot be wrapped.
func (f *goFile) isOutput(line int) bool {
	for _, c := range f.ast.Comments {
		first, last := f.fset.Position(c.Pos()).Line, f.fset.Position(c.End()).Line
		if f.test && first <= line && line <= last && strings.HasPrefix(c.List[0].Text, "// Output:") {
			return true
		}
	}
	return false
}

func (f *goFile) add(pos token.Pos, rule, text, want string) {
	f.out.findings = append(f.out.findings, finding{f.name, f.fset.Position(pos).Line, rule, shorten(text), want})
}

// commentPassages returns the paragraphs of c, without code blocks, directives and the output of an example.
func (f *goFile) commentPassages(c *ast.CommentGroup) []passage {
	var lines []string
	for _, l := range c.List {
		if text, ok := strings.CutPrefix(l.Text, "//"); ok {
			if strings.HasPrefix(text, " Output:") {
				break // the output of a program is not prose
			}
			if strings.HasPrefix(text, "\t") || directive.MatchString(text) {
				text = ""
			}
			lines = append(lines, strings.TrimPrefix(text, " "))
			continue
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(l.Text, "*/")[len("/*"):], "\n")...)
	}
	text := linkTarget.ReplaceAllStringFunc(strings.Join(lines, "\n"), blank)
	return paragraphs(comment, f.fset.Position(c.Pos()).Line, strings.Split(text, "\n"))
}

// paragraphs splits lines where one is blank, or starts a list item, a heading or a row of a table.
func paragraphs(k kind, line int, lines []string) []passage {
	var all []passage
	start := 0
	flush := func(end int) {
		if text := strings.Join(lines[start:end], "\n"); strings.TrimSpace(text) != "" {
			all = append(all, passage{k, line + start, text})
		}
		start = end
	}
	for i, l := range lines {
		if paragraphStart.MatchString(strings.TrimSpace(l)) {
			flush(i)
		}
	}
	flush(len(lines))
	return all
}

var paragraphStart = regexp.MustCompile(`^($|[-*|#] ?|\d+\. )`)

var directive = regexp.MustCompile(`^(go:|nolint|line |export |lint:)`)

// literal checks a string of several words.
func (f *goFile) literal(n *ast.BasicLit) {
	if n.Kind != token.STRING || n == f.tag {
		return
	}
	text, err := strconv.Unquote(n.Value)
	if err != nil || strings.Count(strings.TrimSpace(text), " ") < 2 {
		return
	}
	if n.Value[0] == '"' {
		text = strings.ReplaceAll(text, "\n", " ") // the literal is on one line
	}
	f.out.findings = append(f.out.findings, apply(f.name, passage{str, f.fset.Position(n.Pos()).Line, text})...)
}

var testFunction = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)([A-Z_]|$)`)

func (f *goFile) function(n *ast.FuncDecl) {
	f.names(n.Recv == nil, n.Name)
	if f.test && testFunction.MatchString(n.Name.Name) {
		f.out.tests = append(f.out.tests, n.Name.Name)
		return
	}
	if n.Recv != nil {
		f.expressions(fieldNames(n.Recv)...)
	}
	f.doc(n.Name, n.Doc)
}

func (f *goFile) typeDoc(n *ast.GenDecl) {
	if n.Tok != token.TYPE {
		return
	}
	for _, s := range n.Specs {
		spec := s.(*ast.TypeSpec)
		doc := spec.Doc
		if doc == nil && len(n.Specs) == 1 {
			doc = n.Doc
		}
		f.doc(spec.Name, doc)
	}
}

// doc checks that a doc comment starts with the name that it documents.
func (f *goFile) doc(name *ast.Ident, doc *ast.CommentGroup) {
	if doc == nil {
		return
	}
	text := strings.TrimSpace(doc.Text())
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	rest, ok := strings.CutPrefix(text, name.Name)
	if ok && (rest == "" || !unicode.IsLetter(firstRune(rest)) && !unicode.IsDigit(firstRune(rest))) {
		return
	}
	if text == "" || strings.HasPrefix(text, "Deprecated: ") {
		return
	}
	f.add(doc.Pos(), "doc comment", name.Name, "start with the name")
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

var docLink = regexp.MustCompile(`\[\*?([a-z]\w*\.)?[A-Z]\w*(\.[A-Z]\w*)*\]`)

// fields checks the names and comments of struct fields. Go doc prints the brackets of links in the comments.
func (f *goFile) fields(n *ast.StructType) {
	for _, field := range n.Fields.List {
		f.names(false, field.Names...)
		for _, c := range []*ast.CommentGroup{field.Doc, field.Comment} {
			if c == nil {
				continue
			}
			if m := docLink.FindString(c.Text()); m != "" {
				f.add(c.Pos(), "field link", m, "no doc links in comments of fields")
			}
		}
	}
}

func fieldNames(l *ast.FieldList) []ast.Expr {
	var all []ast.Expr
	if l == nil {
		return nil
	}
	for _, field := range l.List {
		for _, n := range field.Names {
			all = append(all, n)
		}
	}
	return all
}

func (f *goFile) parameters(n *ast.FuncType) {
	f.expressions(fieldNames(n.Params)...)
	f.expressions(fieldNames(n.Results)...)
}

func (f *goFile) expressions(all ...ast.Expr) {
	for _, e := range all {
		if id, ok := e.(*ast.Ident); ok && id != nil {
			f.names(true, id)
		}
	}
}

// names checks declared names. If shadows, they may hide a builtin.
func (f *goFile) names(shadows bool, all ...*ast.Ident) {
	for _, id := range all {
		if shadows && builtins[id.Name] {
			f.add(id.Pos(), "builtin", id.Name, "choose a name that is not predeclared")
		}
		for _, word := range words(id.Name) {
			f.checkWord(id, word, id.Name)
		}
	}
}

func (f *goFile) checkWord(at ast.Node, word, name string) {
	if want, ok := bannedWords[word]; ok {
		f.add(at.Pos(), "name", name, want)
	}
}

// words splits a name at changes of case, underscores and digits, in lower case.
func words(name string) []string {
	var all []string
	runes := []rune(name)
	start := 0
	cut := func(end int) {
		if w := strings.ToLower(string(runes[start:end])); w != "" {
			all = append(all, w)
		}
	}
	for i, r := range runes {
		switch {
		case r == '_' || r == '-' || r == '.' || unicode.IsDigit(r):
			cut(i)
			start = i + 1
		case unicode.IsUpper(r) && i > start &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			cut(i)
			start = i
		}
	}
	cut(len(runes))
	return all
}
