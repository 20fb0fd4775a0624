package verify

import "strings"

// scanner goes over a JSON text (RFC 8259) once.
type scanner struct {
	text     string
	at       int
	members  int // how many were read
	elements int // how many were read
}

// peek returns the next byte, or 0 at the end (which no JSON token begins with).
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// object reads an object and appends its members to into.
func (s *scanner) object(into []member, depth int) ([]member, error) {
	if depth > maxDepth {
		return nil, reject(ReasonTooComplex)
	}
	s.at++ // the brace
	s.space()
	if s.peek() == '}' {
		s.at++
		return into, nil
	}
	for {
		name, err := s.name()
		if err != nil {
			return nil, err
		}
		for i := range into {
			if into[i].name == name {
				return nil, reject(ReasonDuplicateMember)
			}
		}
		if s.members++; s.members > maxMembers {
			return nil, reject(ReasonTooComplex)
		}
		s.space()
		if s.peek() != ':' {
			return nil, reject(ReasonBadJSON)
		}
		s.at++
		s.space()
		start := s.at
		if err := s.value(depth); err != nil {
			return nil, err
		}
		into = append(into, member{name, s.text[start:s.at]})
		more, err := s.next('}')
		if !more {
			return into, err
		}
	}
}

// array reads an array.
func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return reject(ReasonTooComplex)
	}
	s.at++ // the bracket
	s.space()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		if s.elements++; s.elements > maxElements {
			return reject(ReasonTooComplex)
		}
		if err := s.value(depth); err != nil {
			return err
		}
		more, err := s.next(']')
		if !more {
			return err
		}
	}
}

// next reads the comma before a further element, or the end of the container.
func (s *scanner) next(end byte) (more bool, err error) {
	s.space()
	switch s.peek() {
	case ',':
		s.at++
		s.space()
		return true, nil
	case end:
		s.at++
		return false, nil
	}
	return false, reject(ReasonBadJSON)
}

// value reads a value inside a container of that depth.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.string()
	case c == '{':
		_, err := s.object(nil, depth+1)
		return err
	case c == '[':
		return s.array(depth + 1)
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.text[s.at:], word) {
			s.at += len(word)
			return nil
		}
	}
	return reject(ReasonBadJSON)
}

// name reads the name of a member, decoded.
func (s *scanner) name() (string, error) {
	if s.peek() != '"' {
		return "", reject(ReasonBadJSON)
	}
	start := s.at
	if err := s.string(); err != nil {
		return "", err
	}
	return unquote(s.text[start:s.at]), nil
}

// string reads a string.
func (s *scanner) string() error {
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return nil
		case c < ' ':
			return reject(ReasonBadJSON)
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		}
	}
	return reject(ReasonBadJSON)
}

// escape goes from a backslash to the last byte of its escape. A surrogate must
// come as a pair: decoders replace half of one, and two strings become equal.
func (s *scanner) escape() error {
	s.at++
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
	if r >= 0xDC00 || !strings.HasPrefix(s.text[s.at+1:], `\u`) {
		return reject(ReasonBadUTF8)
	}
	s.at += 2
	if low, ok := s.hex4(); !ok || low < 0xDC00 || low > 0xDFFF {
		return reject(ReasonBadUTF8)
	}
	return nil
}

// hex4 reads the four digits after the u at which the scanner stands.
func (s *scanner) hex4() (r rune, ok bool) {
	if len(s.text)-s.at < 5 {
		return 0, false
	}
	for range 4 {
		s.at++
		c := s.text[s.at]
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

// number reads a number.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	switch {
	case s.peek() == '0':
		s.at++
	case !s.digits():
		return reject(ReasonBadJSON)
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return reject(ReasonBadJSON)
		}
	}
	if s.peek()|0x20 == 'e' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return reject(ReasonBadJSON)
		}
	}
	return nil
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > start
}
