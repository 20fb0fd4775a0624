package cache

import (
	"encoding/binary"
	"math"
	"time"
)

// A record lists its fields for a [coder], which encodes or decodes them in that order.
type record interface{ code(c *coder) }

// encode returns the plain text of r.
func encode(r record) []byte {
	c := coder{b: make([]byte, 0, 4<<10)}
	r.code(&c)
	return c.b
}

// decode fills r, which must be zero, and reports whether b is the plain text of a record.
func decode(b []byte, r record) bool {
	c := coder{b: b, decoding: true}
	r.code(&c)
	return !c.invalid && len(c.b) == 0
}

// A coder encodes or decodes the fields of a record. Numbers are varints, and texts follow their length. The decoding
// of JSON took most of the time of a flight that finds its token in the store.
type coder struct {
	b        []byte // encoded fields, or the rest to decode
	decoding bool
	invalid  bool // b cannot be decoded; all further fields are zero
}

func (c *coder) number(n *int64) {
	if !c.decoding {
		c.b = binary.AppendVarint(c.b, *n)
		return
	}
	v, size := binary.Varint(c.b)
	if size <= 0 {
		c.fail()
		return
	}
	*n, c.b = v, c.b[size:]
}

func (c *coder) fail() { c.invalid, c.b = true, nil }

func (c *coder) duration(d *time.Duration) { c.number((*int64)(d)) }

// count encodes or decodes the length of a list, which is at most most.
func (c *coder) count(n, most int) int {
	v := int64(n)
	c.number(&v)
	if c.decoding && (v < 0 || v > int64(most)) {
		c.fail()
	}
	if c.invalid {
		return 0
	}
	return int(v)
}

func (c *coder) text(s *string) {
	n := c.count(len(*s), math.MaxInt)
	switch {
	case !c.decoding:
		c.b = append(c.b, *s...)
	case n > len(c.b):
		c.fail()
	default: // a copy, so that a token does not keep the whole record in memory
		*s, c.b = string(c.b[:n]), c.b[n:]
	}
}

// optional encodes or decodes *v if it is not nil.
func optional[T any](c *coder, v **T, code func(*T)) {
	n := 0
	if *v != nil {
		n = 1
	}
	if c.count(n, 1) == 0 {
		return
	}
	if c.decoding {
		*v = new(T)
	}
	code(*v)
}

// values encodes or decodes a list of at most most values.
func values[T any](c *coder, all *[]T, most int, code func(*T)) {
	n := c.count(len(*all), most)
	if c.decoding && n > 0 {
		*all = make([]T, n)
	}
	for i := range *all {
		code(&(*all)[i])
	}
}

func (r *sessionRecord) code(c *coder) {
	c.duration(&r.TTL)
	for i := range r.Epochs {
		c.text(&r.Epochs[i])
	}
	c.text(&r.SignIn)
	c.text(&r.Replaces)
	c.duration(&r.SignedIn)
	c.text(&r.State)
	c.duration(&r.StateAge)
	values(c, &r.Entries, maxScopeSets, func(e *entryRecord) { e.code(c) })
}

func (e *entryRecord) code(c *coder) {
	c.text(&e.Scopes)
	optional(c, &e.Token, func(t *tokenRecord) { t.code(c) })
	for i := range e.Failures {
		optional(c, &e.Failures[i], func(f *failureRecord) { f.code(c) })
	}
	c.text(&e.Lease)
	c.duration(&e.LeaseAge)
}

func (t *tokenRecord) code(c *coder) {
	c.text(&t.Text)
	c.text(&t.Type)
	c.text(&t.Scope)
	c.text(&t.Claims)
	c.duration(&t.Age)
	c.duration(&t.RefreshAfter)
	c.duration(&t.UsableFor)
	c.duration(&t.Lifetime)
}

func (f *failureRecord) code(c *coder) {
	c.text(&f.Error)
	c.text(&f.Claims)
	c.number(&f.InARow)
	c.duration(&f.Age)
	c.duration(&f.RetryIn)
	c.duration(&f.Throttled)
}

func (r *subjectRecord) code(c *coder) {
	c.duration(&r.TTL)
	values(c, &r.Marks, maxMarks, func(m *mark) {
		c.text(&m.Scope)
		c.text(&m.ID)
		c.duration(&m.Age)
	})
}
