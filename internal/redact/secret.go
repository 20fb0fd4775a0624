package redact

import (
	"fmt"
	"io"
	"log/slog"
)

// Hidden has the methods that keep a value out of texts: fmt prints "[redacted]" for every verb, and so do JSON,
// XML and log/slog. A struct whose exported fields must not be printed embeds it.
//
// fmt does not call methods of values in unexported fields, nor for the verb %p. It prints them by reflection. Use
// [Secret] there.
type Hidden struct{}

// Format prints "[redacted]".
func (Hidden) Format(f fmt.State, _ rune) { io.WriteString(f, mark) }

// String returns "[redacted]".
func (Hidden) String() string { return mark }

// GoString returns "[redacted]".
func (Hidden) GoString() string { return mark }

// LogValue returns "[redacted]".
func (Hidden) LogValue() slog.Value { return slog.StringValue(mark) }

// MarshalText returns "[redacted]".
func (Hidden) MarshalText() ([]byte, error) { return []byte(mark), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Hidden) MarshalJSON() ([]byte, error) { return []byte(`"` + mark + `"`), nil }

// A Secret holds a value that cannot be printed, logged or marshaled, wherever the Secret itself is stored.
// The zero Secret holds the zero value of T.
type Secret[T any] struct {
	Hidden
	value func() T // a func, because fmt and other packages that use reflection cannot look inside
}

// NewSecret returns a Secret that holds v.
func NewSecret[T any](v T) Secret[T] { return Secret[T]{value: func() T { return v }} }

// Value returns the value that s holds.
func (s Secret[T]) Value() (v T) {
	if s.value != nil {
		v = s.value()
	}
	return v
}
