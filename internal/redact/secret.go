package redact

import (
	"fmt"
	"io"
	"log/slog"
)

// A Secret holds a value that cannot be printed, logged or marshaled, wherever the Secret itself is stored: fmt, JSON,
// XML and log/slog print "[redacted]" or, for a Secret in an unexported field, an address. The zero Secret holds the
// zero value of T.
type Secret[T any] struct {
	value func() T // a func, because fmt and other packages that use reflection cannot look inside
}

// NewSecret returns a Secret that holds v.
func NewSecret[T any](v T) Secret[T] { return Secret[T]{func() T { return v }} }

// Value returns the value that s holds.
func (s Secret[T]) Value() (v T) {
	if s.value != nil {
		v = s.value()
	}
	return v
}

// Format prints "[redacted]" for every verb except %p, for which fmt prints an address.
func (Secret[T]) Format(f fmt.State, _ rune) { io.WriteString(f, mark) }

// LogValue returns "[redacted]".
func (Secret[T]) LogValue() slog.Value { return slog.StringValue(mark) }

// MarshalText returns "[redacted]". JSON and XML use it.
func (Secret[T]) MarshalText() ([]byte, error) { return []byte(mark), nil }
