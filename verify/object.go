package verify

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds on the JSON of a token. Entra's deepest claim (_claim_sources) is three
// levels down, a token has some thirty claims, and its longest list, of groups,
// ends at 200. With them and MaxTokenSize, refusing the worst payload takes some
// tenths of a millisecond (BenchmarkRefuse): anyone can send one.
const (
	maxDepth    = 8
	maxMembers  = 128  // of all objects together
	maxElements = 1024 // of all arrays together
)

// object is a JSON object of a token: its members by their exact names.
//
// encoding/json would keep the last of two members with one name, and match
// names without regard to case, so that two readers could see two tokens in one
// (RFC 8259 section 4, RFC 7519 section 4). This scanner refuses repeated names
// at every level, invalid UTF-8, half surrogate pairs and anything after the
// object, which bounds the work too: it goes over the text once and no deeper
// than maxDepth.
type object struct {
	members []member
}

type member struct {
	name  string
	value string // its JSON text, checked
}

// get returns the JSON text of a member.
func (o object) get(name string) (string, bool) {
	for i := range o.members {
		if o.members[i].name == name {
			return o.members[i].value, true
		}
	}
	return "", false
}

// parseObject reads a text that must be one JSON object and nothing else.
func parseObject(text string) (object, error) {
	if !utf8.ValidString(text) {
		return object{}, reject(ReasonBadUTF8)
	}
	s := scanner{text: text}
	s.space()
	if s.peek() != '{' {
		return object{}, reject(ReasonBadJSON)
	}
	members, err := s.object(make([]member, 0, 32), 1)
	if err != nil {
		return object{}, err
	}
	s.space()
	if s.at != len(text) {
		return object{}, reject(ReasonBadJSON)
	}
	return object{members}, nil
}

// unquote decodes the JSON text of a string that the scanner has checked.
func unquote(text string) string {
	text = text[1 : len(text)-1]
	escape := strings.IndexByte(text, '\\')
	if escape < 0 {
		return text
	}
	var out strings.Builder
	out.Grow(len(text))
	for ; escape >= 0; escape = strings.IndexByte(text, '\\') {
		out.WriteString(text[:escape])
		text = text[escape+1:]
		switch c := text[0]; c {
		case 'b':
			out.WriteByte('\b')
		case 'f':
			out.WriteByte('\f')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 't':
			out.WriteByte('\t')
		case 'u':
			s := scanner{text: text}
			r, _ := s.hex4()
			if utf16.IsSurrogate(r) {
				s.at += 2 // to the u of the other half
				low, _ := s.hex4()
				r = utf16.DecodeRune(r, low)
			}
			out.WriteRune(r)
			text = text[s.at:]
		default: // a quotation mark, a backslash or a slash
			out.WriteByte(c)
		}
		text = text[1:]
	}
	out.WriteString(text)
	return out.String()
}
