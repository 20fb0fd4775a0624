package entra

import (
	"errors"
	"net/url"

	"github.com/entratoken/entra/internal/redact"
)

type redactor struct{ redact.Redactor }

func newRedactor(form url.Values) redactor { return redactor{redact.Form(form)} }

func (r redactor) text(s string, limit int) string { return r.Text(s, limit) }

func errorAs[E error](err error) (e E, ok bool) { return errors.AsType[E](err) }
