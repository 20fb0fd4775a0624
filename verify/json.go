package verify

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds on the JSON of a token. Entra's deepest claim (_claim_sources) has three
// levels, a token has about thirty claims, and its longest list (groups) has 200
// entries. Anyone can send a token, so the bounds and MaxTokenSize keep the cost of
// rejecting the worst payload to tenths of a millisecond (BenchmarkReject).
const (
	maxDepth    = 8
	maxMembers  = 128  // of all objects together
	maxElements = 1024 // of all arrays together
)

// object is a JSON object of a token. Member names are case-sensitive.
//
// encoding/json keeps the last of two members with one name and ignores the case of
// names, so two readers could see different claims in one token (RFC 8259,
// section 4; RFC 7519, section 4). This parser rejects repeated names at every
// level, invalid UTF-8, unpaired surrogates and trailing text. It reads the text
// once.
type object struct {
	members []member
}

type member struct {
	name  string
	value string // valid JSON text
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

// parseObject parses a text that must be one JSON object.
func parseObject(text string) (object, error) {
	if !utf8.ValidString(text) {
		return object{}, reject(ReasonBadUTF8)
	}
	s := scanner{text: text}
	s.skipSpace()
	if s.peek() != '{' {
		return object{}, reject(ReasonBadJSON)
	}
	members, err := s.readObject(make([]member, 0, 32), 1)
	if err != nil {
		return object{}, err
	}
	s.skipSpace()
	if s.pos != len(text) {
		return object{}, reject(ReasonBadJSON)
	}
	return object{members}, nil
}

// scanner reads a JSON text (RFC 8259) once.
type scanner struct {
	text     string
	pos      int
	members  int // number read so far
	elements int // number read so far
}

// peek returns the next byte, or 0 at the end. No JSON token begins with 0.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// readObject reads an object and appends its members to dst.
func (s *scanner) readObject(dst []member, depth int) ([]member, error) {
	if depth > maxDepth {
		return nil, reject(ReasonTooComplex)
	}
	s.pos++ // the brace
	s.skipSpace()
	if s.peek() == '}' {
		s.pos++
		return dst, nil
	}
	for {
		name, err := s.readName()
		if err != nil {
			return nil, err
		}
		for i := range dst {
			if dst[i].name == name {
				return nil, reject(ReasonDuplicateMember)
			}
		}
		if s.members++; s.members > maxMembers {
			return nil, reject(ReasonTooComplex)
		}
		s.skipSpace()
		if s.peek() != ':' {
			return nil, reject(ReasonBadJSON)
		}
		s.pos++
		s.skipSpace()
		start := s.pos
		if err := s.readValue(depth); err != nil {
			return nil, err
		}
		dst = append(dst, member{name, s.text[start:s.pos]})
		more, err := s.next('}')
		if !more {
			return dst, err
		}
	}
}

// readArray reads an array.
func (s *scanner) readArray(depth int) error {
	if depth > maxDepth {
		return reject(ReasonTooComplex)
	}
	s.pos++ // the bracket
	s.skipSpace()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if s.elements++; s.elements > maxElements {
			return reject(ReasonTooComplex)
		}
		if err := s.readValue(depth); err != nil {
			return err
		}
		more, err := s.next(']')
		if !more {
			return err
		}
	}
}

// next reads the comma before another element, or the end of the container.
func (s *scanner) next(end byte) (more bool, err error) {
	s.skipSpace()
	switch s.peek() {
	case ',':
		s.pos++
		s.skipSpace()
		return true, nil
	case end:
		s.pos++
		return false, nil
	}
	return false, reject(ReasonBadJSON)
}

// readValue reads a value in a container of that depth.
func (s *scanner) readValue(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.readString()
	case c == '{':
		_, err := s.readObject(nil, depth+1)
		return err
	case c == '[':
		return s.readArray(depth + 1)
	case c == '-' || '0' <= c && c <= '9':
		return s.readNumber()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.text[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return reject(ReasonBadJSON)
}

// readName reads a string and decodes it.
func (s *scanner) readName() (string, error) {
	if s.peek() != '"' {
		return "", reject(ReasonBadJSON)
	}
	start := s.pos
	if err := s.readString(); err != nil {
		return "", err
	}
	return unquote(s.text[start:s.pos]), nil
}

// readString reads a string.
func (s *scanner) readString() error {
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c < ' ':
			return reject(ReasonBadJSON)
		case c == '\\':
			if err := s.readEscape(); err != nil {
				return err
			}
		}
	}
	return reject(ReasonBadJSON)
}

// readEscape moves from a backslash to the last byte of its escape sequence. It rejects
// unpaired surrogates: decoders replace them, so that different strings become equal.
func (s *scanner) readEscape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return reject(ReasonBadJSON)
	}
	r, ok := s.hex4()
	if !ok {
		return reject(ReasonBadJSON)
	}
	if r < 0xD800 || r > 0xDFFF {
		return nil
	}
	if r >= 0xDC00 || !strings.HasPrefix(s.text[s.pos+1:], `\u`) {
		return reject(ReasonBadUTF8)
	}
	s.pos += 2
	if low, ok := s.hex4(); !ok || low < 0xDC00 || low > 0xDFFF {
		return reject(ReasonBadUTF8)
	}
	return nil
}

// hex4 reads the four digits after the u at the current position.
func (s *scanner) hex4() (r rune, ok bool) {
	if len(s.text)-s.pos < 5 {
		return 0, false
	}
	for range 4 {
		s.pos++
		c := s.text[s.pos]
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// readNumber reads a number.
func (s *scanner) readNumber() error {
	if s.peek() == '-' {
		s.pos++
	}
	switch {
	case s.peek() == '0':
		s.pos++
	case !s.readDigits():
		return reject(ReasonBadJSON)
	}
	if s.peek() == '.' {
		s.pos++
		if !s.readDigits() {
			return reject(ReasonBadJSON)
		}
	}
	if s.peek()|0x20 == 'e' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.readDigits() {
			return reject(ReasonBadJSON)
		}
	}
	return nil
}

// readDigits reads one or more digits.
func (s *scanner) readDigits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// unquote decodes the JSON text of a string that the scanner has accepted.
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
				s.pos += 2 // to the u of the low surrogate
				low, _ := s.hex4()
				r = utf16.DecodeRune(r, low)
			}
			out.WriteRune(r)
			text = text[s.pos:]
		default: // a quotation mark, a backslash or a slash
			out.WriteByte(c)
		}
		text = text[1:]
	}
	out.WriteString(text)
	return out.String()
}

// stringValue decodes the JSON text of a value that must be a string.
func stringValue(text string) (v string, ok bool) {
	if text[0] != '"' {
		return "", false
	}
	return unquote(text), true
}

// stringsValue decodes the JSON text of a value that must be an array of strings.
func stringsValue(text string) (values []string, ok bool) {
	if text[0] != '[' {
		return nil, false
	}
	s := scanner{text: text, pos: 1}
	s.skipSpace()
	if s.peek() == ']' {
		return nil, true
	}
	values = make([]string, 0, 4)
	for {
		if s.peek() != '"' {
			return nil, false
		}
		v, err := s.readName()
		if err != nil {
			return nil, false
		}
		values = append(values, v)
		if more, err := s.next(']'); !more {
			return values, err == nil
		}
	}
}

// maxSeconds is the end of the year 9999. RFC 3339 cannot express later times, and no
// token lives so long.
const maxSeconds = 253402300799

// timeValue decodes the JSON text of a NumericDate (RFC 7519, section 2), which is
// in seconds since 1970. Fractions are dropped.
func timeValue(text string) (time.Time, bool) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || text[0] == '"' || math.Abs(f) > maxSeconds {
			return time.Time{}, false
		}
		seconds = int64(f)
	}
	if seconds < 0 || seconds > maxSeconds {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}
