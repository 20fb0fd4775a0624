package verify

import (
	"encoding/json"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Set is the values of a claim that has several. It cannot be changed, so what
// one request does with its claims never reaches another. The zero value is
// empty. Values are compared exactly.
type Set struct {
	values *[]string // nil if empty; a pointer, since Claims are copied for each request
}

func newSet(values []string) Set {
	if len(values) == 0 {
		return Set{}
	}
	return Set{&values}
}

func (s Set) list() []string {
	if s.values == nil {
		return nil
	}
	return *s.values
}

// Has tells whether value is in the set.
func (s Set) Has(value string) bool { return slices.Contains(s.list(), value) }

// HasAny tells whether one of the values is in the set.
func (s Set) HasAny(values ...string) bool { return slices.ContainsFunc(values, s.Has) }

// Len returns the number of values.
func (s Set) Len() int { return len(s.list()) }

// All yields the values in the token's order.
func (s Set) All() iter.Seq[string] { return slices.Values(s.list()) }

// String returns the values with spaces between them.
func (s Set) String() string { return strings.Join(s.list(), " ") }

// MarshalJSON writes an array, empty if the set is.
func (s Set) MarshalJSON() ([]byte, error) {
	if s.values == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(*s.values)
}

// The readers below take the checked JSON text of a claim. ok is false if it
// does not have the type that the claim must have.

func stringValue(text string) (v string, ok bool) {
	if text[0] != '"' {
		return "", false
	}
	return unquote(text), true
}

// stringsValue reads an array of strings.
func stringsValue(text string) (values []string, ok bool) {
	if text[0] != '[' {
		return nil, false
	}
	s := scanner{text: text, at: 1}
	s.space()
	if s.peek() == ']' {
		return nil, true
	}
	values = make([]string, 0, 4)
	for {
		if s.peek() != '"' {
			return nil, false
		}
		v, err := s.name()
		if err != nil {
			return nil, false
		}
		values = append(values, v)
		if more, err := s.next(']'); !more {
			return values, err == nil
		}
	}
}

// maxSeconds is the end of the year 9999: later times cannot be written in the
// forms that programs exchange, and no token lives so long.
const maxSeconds = 253402300799

// timeValue reads a NumericDate (RFC 7519 section 2): seconds since 1970 that
// may have a fraction, which is dropped.
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
