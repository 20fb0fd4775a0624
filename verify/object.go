package verify

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Bounds on the JSON of a token. Entra's deepest claim (_claim_sources) is three
// levels down, and a token has some thirty claims. With them, refusing the worst
// payload costs about as much as checking a signature.
const (
	maxDepth   = 8
	maxMembers = 128 // of all objects together
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
		return object{}, refuse(BadUTF8)
	}
	s := scanner{text: text}
	s.space()
	if s.peek() != '{' {
		return object{}, refuse(BadJSON)
	}
	members, err := s.object(make([]member, 0, 32), 1)
	if err != nil {
		return object{}, err
	}
	s.space()
	if s.at != len(text) {
		return object{}, refuse(BadJSON)
	}
	return object{members}, nil
}

// unquote decodes the checked JSON text of a string.
func unquote(text string) (string, error) {
	if strings.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1], nil
	}
	var out string
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return "", refuse(BadJSON)
	}
	return out, nil
}
