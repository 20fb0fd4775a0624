package credentials_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// A logbook is a logger that keeps its lines, without times.
type logbook struct {
	*slog.Logger
	b *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newLogbook() *logbook {
	b := &lockedBuffer{}
	return &logbook{slog.New(slog.NewTextHandler(b, nil)), b}
}

var times = regexp.MustCompile(`(?m)^time=\S+ `)

// lines returns what was logged since the last call.
func (l *logbook) lines() []string {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	text := times.ReplaceAllString(l.b.b.String(), "")
	l.b.b.Reset()
	return strings.FieldsFunc(text, func(c rune) bool { return c == '\n' })
}
