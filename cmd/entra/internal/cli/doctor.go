package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/cmd/entra/internal/plain"
)

func (s *System) doctor(ctx context.Context, o *options) int {
	transport, err := s.transport(o)
	if err != nil {
		fmt.Fprintln(s.Stderr, "entra doctor:", plain.Text(err.Error(), 300))
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
	p := s.printer()
	if !o.json {
		d.Done = p.step
	}
	steps := doctor.Examine(ctx, d)
	failed := doctor.Failed(steps)
	if o.json {
		s.encode(struct {
			OK    bool          `json:"ok"`
			Steps []doctor.Step `json:"steps"`
		}{!failed, steps})
	} else {
		p.summary(steps)
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
	io.WriteString(s.Stdout, plain.JSON(b.String()))
}
