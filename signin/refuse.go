package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

// problem is what a person is shown for err. returnTo is where the user wanted to go.
func (s *Site) problem(r *http.Request, returnTo string, err error) Problem {
	kind := kindOf(err)
	t := texts[kind]
	p := Problem{Kind: kind, Status: t.status, Title: t.title, Text: t.text}
	var e *entra.Error
	if errors.As(err, &e) {
		p.Code, p.AADSTS, p.CorrelationID, p.TraceID = e.Code, e.AADSTS, e.CorrelationID, e.TraceID
	}
	if kind == KindAdminConsent {
		var scopes []string
		var a *asking
		if errors.As(err, &a) {
			scopes = a.scopes
		}
		tenant := ""
		if v, _, _ := s.visit(r).session(); v != nil {
			tenant = v.Account.TenantID
		}
		p.Links = append(p.Links, Link{"Approval page for administrators", s.flow.AdminConsentURL(tenant, scopes...)})
	}
	if t.signIn != "" {
		q := url.Values{}
		if returnTo != "" {
			q.Set("return_to", returnTo)
		}
		if kind == KindTenant || kind == KindRejected || kind == KindNotAllowed { // otherwise Entra takes the same account again, without asking
			q.Set("prompt", "select_account")
		}
		link := Link{t.signIn, s.config.LoginPath}
		switch {
		case kind == KindDeclined && returnTo != "": // the page asks by itself
			link.URL = returnTo
		case len(q) > 0:
			link.URL += "?" + q.Encode()
		}
		p.Links = append(p.Links, link)
	}
	return p
}

// refuse shows a person what went wrong and tells an operator. Nothing of it is secret.
func (s *Site) refuse(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	p := s.problem(r, returnTo, err)
	attrs := []slog.Attr{slog.String("kind", string(p.Kind)), slog.Int("status", p.Status)}
	if advice := p.advice(); advice != "" {
		attrs = append(attrs, slog.String("advice", advice))
	}
	s.tell(r.Context(), texts[p.Kind].level, "signin: refused", err, attrs...)
	private(w)
	var e *entra.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	if p.Kind == KindSignedOut {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if !navigates(r) && r.URL.Path != s.callback {
		writeJSON(w, p.Status, string(p.Kind), p.Text)
		return
	}
	s.config.Page(w, r, p)
}

// advice is what an operator can do about it; "" if nothing is known.
func (p Problem) advice() string {
	switch {
	case p.Kind == KindSessionLost:
		return "send one browser to one process, and give several processes one Store"
	case p.Kind == KindApp && len(p.AADSTS) > 0:
		return "the app registration and this program do not agree: see https://login.microsoftonline.com/error?code=" + strconv.Itoa(p.AADSTS[0])
	}
	return ""
}

// tell tells an operator of an error, with its cause.
func (s *Site) tell(ctx context.Context, level slog.Level, message string, err error, attrs ...slog.Attr) {
	if ctx.Err() != nil {
		level = slog.LevelDebug // the browser has left, and what was under way failed with it
	}
	var e *entra.Error
	var token *verify.Error
	switch {
	case errors.As(err, &e):
		attrs = append(attrs, slog.Any("error", e))
		if e.Err != nil {
			attrs = append(attrs, slog.String("cause", e.Err.Error()))
		}
	case errors.As(err, &token):
		attrs = append(attrs, slog.Any("error", token))
	default:
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	s.logger.LogAttrs(ctx, level, message, attrs...)
}
