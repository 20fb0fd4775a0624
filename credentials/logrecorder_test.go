package credentials_test

import (
	"log/slog"
	"regexp"
	"strings"

	"github.com/entratoken/entra/internal/testkit"
)

// logRecorder is a logger that records its lines without their times.
type logRecorder struct {
	*slog.Logger
	log *testkit.Log
}

func newLogRecorder() *logRecorder {
	log := new(testkit.Log)
	return &logRecorder{slog.New(slog.NewTextHandler(log, nil)), log}
}

var times = regexp.MustCompile(`(?m)^time=\S+ `)

// lines returns the lines since the last call.
func (l *logRecorder) lines() []string {
	text := times.ReplaceAllString(l.log.Take(), "")
	return strings.FieldsFunc(text, func(c rune) bool { return c == '\n' })
}
