package entratest

import (
	"html"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A tag is a start tag or an end tag of a page.
type tag struct {
	name  string // in lower case
	end   bool
	attrs map[string]string // by their names in lower case
}

const htmlSpace = " \t\n\f\r"

var (
	commentEnd = regexp.MustCompile(`^-?>|--!?>`)

	// textElements are the elements whose content has no tags.
	textElements = map[string]bool{
		"script": true, "style": true, "title": true, "textarea": true,
		"iframe": true, "noembed": true, "noframes": true, "xmp": true,
	}
)

// parseTags returns the tags of a page, as the HTML standard defines them
// (https://html.spec.whatwg.org/multipage/parsing.html#tokenization). Comments and scripts have no tags.
func parseTags(page string) []tag {
	var tags []tag
	for {
		_, s, ok := strings.Cut(page, "<")
		if !ok {
			return tags
		}
		switch {
		case strings.HasPrefix(s, "!--"):
			page = ""
			if end := commentEnd.FindStringIndex(s[3:]); end != nil {
				page = s[3+end[1]:]
			}
		case startsWithLetter(strings.TrimPrefix(s, "/")):
			var t tag
			if t, page, ok = parseTag(s); !ok {
				return tags
			}
			tags = append(tags, t)
			if textElements[t.name] && !t.end {
				page = skipText(page, t.name)
			}
		case strings.HasPrefix(s, "!"), strings.HasPrefix(s, "?"), strings.HasPrefix(s, "/"):
			_, page, _ = strings.Cut(s, ">")
		default:
			page = s
		}
	}
}

func startsWithLetter(s string) bool { return s != "" && (s[0]|0x20)-'a' < 26 }

// parseTag parses the tag whose "<" precedes s, and returns what follows it. ok is false if the page ends in the tag.
func parseTag(s string) (t tag, rest string, ok bool) {
	s, t.end = strings.CutPrefix(s, "/")
	name, s := cutAny(s, htmlSpace+"/>")
	t.name, t.attrs = strings.ToLower(name), map[string]string{}
	for {
		s = strings.TrimLeft(s, htmlSpace+"/")
		if s == "" {
			return tag{}, "", false
		}
		if s[0] == '>' {
			return t, s[1:], true
		}
		first := s[:1] // may be "="
		name, s = cutAny(s[1:], htmlSpace+"/>=")
		name = strings.ToLower(first + name)
		value := ""
		if after, ok := strings.CutPrefix(strings.TrimLeft(s, htmlSpace), "="); ok {
			value, s = parseValue(strings.TrimLeft(after, htmlSpace))
		}
		if _, ok := t.attrs[name]; !ok { // the first one counts
			t.attrs[name] = unescapeAttribute(value)
		}
	}
}

// parseValue parses the value of an attribute at the start of s, and returns what follows it.
func parseValue(s string) (value, rest string) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return cutAny(s, htmlSpace+">")
	}
	value, rest, _ = strings.Cut(s[1:], s[:1])
	return value, rest
}

// cutAny returns s before and from the first of chars.
func cutAny(s, chars string) (before, rest string) {
	i := strings.IndexAny(s, chars)
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}

// skipText returns s from the end tag of the element.
func skipText(s, element string) string {
	for {
		i := strings.Index(s, "</")
		if i < 0 {
			return ""
		}
		name, after := cutAny(s[i+2:], htmlSpace+"/>")
		if strings.EqualFold(name, element) && after != "" {
			return s[i:]
		}
		s = s[i+2:]
	}
}

var charReference = regexp.MustCompile(`&(#[xX]?[0-9A-Fa-f]+;?|[0-9A-Za-z]+[;=]?)`)

// unescapeAttribute replaces the character references in the value of an attribute. In a URL, "&copy=1" is a parameter
// and not a reference without its semicolon
// (https://html.spec.whatwg.org/multipage/parsing.html#named-character-reference-state).
func unescapeAttribute(value string) string {
	return charReference.ReplaceAllStringFunc(value, func(ref string) string {
		text := html.UnescapeString(ref)
		if ref[1] == '#' {
			return text
		}
		whole := !strings.HasSuffix(text, ";") || ref == "&semi;" // otherwise only a part of ref is a name
		if !strings.HasSuffix(ref, ";") {
			whole = utf8.RuneCountInString(text) == 1
		}
		if !whole {
			return ref
		}
		return text
	})
}
