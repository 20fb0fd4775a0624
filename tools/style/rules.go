package main

import (
	"regexp"
	"strings"
)

// kind says where a passage comes from. Rules that only make sense in some places name them.
type kind int

const (
	comment  kind = 1 << iota // a comment, of any language
	str                       // a string literal of several words
	markdown                  // Markdown or HTML outside code
)

const anywhere = comment | str | markdown

// rule finds a habit in running text.
type rule struct {
	name   string
	in     kind
	find   *regexp.Regexp
	except *regexp.Regexp // if not nil, a match of find inside a match of except is not a finding
	want   string
}

var rules = []rule{
	{
		name: "free relative", in: anywhere,
		find: regexp.MustCompile(`\bwhat (is|it|was|came|comes|she|they|we|has|had|the|a|can|no|must|may|should|makes|` +
			`remains)\b|(?i)\b(whoever|whatever|whichever|whomever|those who|the one that|he who)\b`),
		want: "name the thing: subject, verb, object",
	},
	{
		name: "person", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(nobody|somebody|anybody|everybody|(is|are|was|were|be|been) told|` +
			`knows better|left alone)\b`),
		want: "write the caller, the client, the user, no caller; machines are called or notified",
	},
	{
		name: "masculine", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(he|him|his|himself)\b`),
		want: "write the user, they, or the plural",
	},
	{
		name: "archaic", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(anew|besides?|meanwhile|mend(s|ed|ing)?|in vain|at hand|under way|unseen|` +
			`to be had|for ever|whence|thereby|hitherto|its kin|once more|unmended)\b`),
		want: "use an ordinary word: again, next to, in the meantime, fix, available, in flight",
	},
	{
		name: "answer", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(un)?answer(s|ed|ing|able)?\b`),
		want: "write response, or respond",
	},
	{
		name: "ask", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(un)?ask(s|ed|ing)?\b`),
		want: "write request, call, query or prompt",
	},
	{
		name: "refuse", in: anywhere,
		find:   regexp.MustCompile(`(?i)\brefus(e|es|ed|ing|al|als)\b`),
		except: regexp.MustCompile(`(?i)\bconnections? (is |was |are )?refused\b`),
		want:   "write reject",
	},
	{
		name: "is no", in: anywhere,
		find:   regexp.MustCompile(`(?i)\b\w+ (is|are|was|were) (none\b|no \w+)`),
		except: regexp.MustCompile(`(?i)\bthere (is|are|was|were) (none|no \w+)|\b(is|are|was|were) no (longer|more|later|less)\b`),
		want:   "write is not a, or has no",
	},
	{
		name: "is to be", in: anywhere,
		find: regexp.MustCompile(`(?i)\b((is|are|was|were|has|have|had|wants?) to be)\b`),
		want: "write must, should or may",
	},
	{
		name: "ended", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(tokens?|secrets?|certificates?|assertions?) ((has|have|had) )?(ends?|ended)\b`),
		want: "write expire",
	},
	{
		name: "telegram", in: comment | markdown,
		find: regexp.MustCompile(`(^|[.;:(] )(Zero|Nil|None|False|True|Empty|Negative|"")( means)?: `),
		want: "write If zero, If nil, Defaults to",
	},
	{
		name: "citation", in: anywhere,
		find: regexp.MustCompile(`\bRFC ?\d+,? ?(§|sec\.)|\bRFC ?\d+ section\b|\b(section|§) [\d.]+ of RFC\b`),
		want: "write RFC 6749, section 5.2",
	},
	{
		name: "whether", in: anywhere,
		find: regexp.MustCompile(`(?i)\b(tells?|says?|returns?) whether\b`),
		want: "write reports whether",
	},
	{
		name: "colons", in: comment | markdown,
		find: regexp.MustCompile(`[^.!?:;|]*[:;] [^.!?:;|]*[:;] [^.!?:;|]*`),
		want: "at most one colon or semicolon in a sentence",
	},
}

// passage is running text with the line that it starts on.
type passage struct {
	kind kind
	line int
	text string // lines are separated by \n
}

// apply returns the findings in p.
func apply(file string, p passage) []finding {
	// Phrases may be wrapped. Newlines become spaces, which keeps offsets.
	flat := strings.ReplaceAll(p.text, "\n", " ")
	var found []finding
	for _, r := range rules {
		if r.in&p.kind == 0 {
			continue
		}
		var right [][]int
		if r.except != nil {
			right = r.except.FindAllStringIndex(flat, -1)
		}
	matches:
		for _, m := range r.find.FindAllStringIndex(flat, -1) {
			for _, e := range right {
				if m[0] < e[1] && e[0] < m[1] {
					continue matches
				}
			}
			start := m[0] + len(flat[m[0]:m[1]]) - len(strings.TrimLeft(flat[m[0]:m[1]], " "))
			found = append(found, finding{
				file: file, line: p.line + strings.Count(p.text[:start], "\n"),
				rule: r.name, text: shorten(strings.TrimSpace(flat[m[0]:m[1]])), want: r.want,
			})
		}
	}
	return found
}

// shorten cuts s to a length that fits a line of output.
func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "..."
	}
	return s
}
