package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/managedidentity"
)

func (s *System) doctor(ctx context.Context, o *options) int {
	p := s.printer()
	report := p.step
	if o.json {
		report = nil
	}
	if o.identity != "" {
		return s.report(o, doctor.ExamineIdentity(ctx, doctor.IdentityConfig{
			Identity: s.identity(o), Scope: o.scope(s.cloud(o)), Done: report,
		}))
	}
	transport, err := s.transport(o)
	if err != nil {
		fmt.Fprintln(s.Stderr, "entra doctor:", redact.Text(err.Error(), 300))
		return Usage
	}
	recorder := &httprecord.Recorder{Base: transport}
	cfg, missing := s.app(o)
	d := doctor.Config{
		App: cfg, Missing: missing, Scope: o.scope(cfg.Cloud), Recorder: recorder,
		Open: func() (entra.Credential, doctor.Credential, error) { return s.open(o, cfg, recorder) },
	}
	if s.Transport == nil {
		d.Proxy = http.ProxyFromEnvironment
	}
	d.Done = report
	return s.report(o, doctor.Examine(ctx, d))
}

// identity returns the managed identity that -identity selects.
func (s *System) identity(o *options) managedidentity.Config {
	var c managedidentity.Config
	if s.Transport != nil {
		c.HTTPClient = httpClient(s.Transport)
	}
	switch object, isObject := strings.CutPrefix(o.identity, "object:"); {
	case o.identity == "system":
	case isObject:
		c.ObjectID = object
	case strings.HasPrefix(o.identity, "/"):
		c.ResourceID = o.identity
	default:
		c.ClientID = o.identity
	}
	return c
}

// report prints the outcome of all steps and returns the exit code.
func (s *System) report(o *options, steps []doctor.Step) int {
	failed := doctor.Failed(steps)
	if o.json {
		s.encode(struct {
			OK    bool          `json:"ok"`
			Steps []doctor.Step `json:"steps"`
		}{!failed, steps})
	} else {
		s.printer().summary(steps)
	}
	if failed {
		return Failure
	}
	return Success
}

// encode prints JSON without control characters.
func (s *System) encode(v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	e.Encode(v)
	io.WriteString(s.Stdout, escapeJSON(b.String()))
}

// escapeJSON escapes all characters of a JSON text that are not printable. The result has the
// same meaning, because outside of strings JSON only has line feeds (RFC 8259, section 2).
func escapeJSON(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\n' || unicode.IsPrint(c) && c != utf8.RuneError:
			b.WriteRune(c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
