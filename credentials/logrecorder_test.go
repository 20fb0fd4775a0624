package credentials_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// logRecorder is a logger that records its lines without their times.
type logRecorder struct {
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

func newLogRecorder() *logRecorder {
	b := &lockedBuffer{}
	return &logRecorder{slog.New(slog.NewTextHandler(b, nil)), b}
}

var times = regexp.MustCompile(`(?m)^time=\S+ `)

// lines returns the lines since the last call.
func (l *logRecorder) lines() []string {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	text := times.ReplaceAllString(l.b.b.String(), "")
	l.b.b.Reset()
	return strings.FieldsFunc(text, func(c rune) bool { return c == '\n' })
}
