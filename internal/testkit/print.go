package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// printed returns the texts that fmt, encoding/json and log/slog print for v.
func printed(v any) []string {
	var forms []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		forms = append(forms, fmt.Sprintf(verb, v))
	}
	j, err := json.Marshal(v)
	if err != nil {
		j = []byte(err.Error())
	}
	var text, object bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("", "v", v)
	slog.New(slog.NewJSONHandler(&object, nil)).Info("", "v", v)
	return append(forms, string(j), text.String(), object.String())
}

// NoSecrets fails the test if a printed form of v contains a secret. If v is an error, so do the forms of the errors
// that it wraps.
func NoSecrets(t testing.TB, v any, secrets ...string) {
	t.Helper()
	forms := printed(v)
	if err, ok := v.(error); ok {
		for err := errors.Unwrap(err); err != nil; err = errors.Unwrap(err) {
			forms = append(forms, printed(err)...)
		}
	}
	for _, form := range forms {
		for _, secret := range secrets {
			if strings.Contains(form, secret) || strings.Contains(form, fmt.Sprintf("%x", secret)) {
				t.Errorf("got %q in %s", secret, form)
			}
		}
	}
}

// A Log is a buffer for the output of a logger. It may be used concurrently.
type Log struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

// String returns the output so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// Take returns the output since the last call of Take.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.buffer.String()
	l.buffer.Reset()
	return text
}

// Logger returns a logger that writes JSON lines of all levels to l.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Lines returns the lines that the logger of [Log.Logger] has written.
func (l *Log) Lines(t testing.TB) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	return lines
}
