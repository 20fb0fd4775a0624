package site

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/internal/hops"
	"github.com/entratoken/entra/verify"
)

//go:embed page.html style.css
var files embed.FS

var pages = template.Must(template.ParseFS(files, "page.html"))

// page is what page.html shows.
type page struct {
	Title   string
	Account *authcode.Account // nil: nobody is signed in
	Problem string            // what went wrong, for a person
	Orders  []string
	Calls   []card
}

// card is a hop as the page shows it.
type card struct {
	hops.Hop
	Held      string // for how long the token has been held
	RefreshIn string // "" if it ends with the token it was exchanged for
	Life      string
	Percent   int // of its life that is over
}

func cards(calls []hops.Hop) (all []card) {
	for _, h := range calls {
		t := h.Token
		life, over := t.Expires.Sub(t.Obtained), time.Since(t.Obtained)
		c := card{Hop: h, Held: short(over), Life: short(life), Percent: int(100 * over / max(life, 1))}
		if !t.Refresh.IsZero() {
			c.RefreshIn = short(max(0, time.Until(t.Refresh)))
		}
		all = append(all, c)
	}
	return all
}

func short(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func show(w http.ResponseWriter, status int, p page) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "page.html", p); err != nil {
		slog.Error("the page could not be made", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // the browser may be gone
}

func style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFileFS(w, r, files, "style.css")
}

// fail shows a person what went wrong and tells an operator; nothing of it is secret.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	slog.WarnContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
	account := s.sessions.account(r)
	if errors.Is(err, authcode.ErrUsed) || errors.Is(err, authcode.ErrNoLogin) {
		if account != nil { // the callback was loaded again
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
	}
	status, text := explain(err)
	show(w, status, page{Title: "That did not work", Account: account, Problem: text})
}

func explain(err error) (status int, text string) {
	var e *entra.Error
	var token *verify.Error
	switch {
	case errors.Is(err, authcode.ErrReturnTo):
		return http.StatusBadRequest, "The link that brought you here is not one of ours."
	case errors.Is(err, authcode.ErrNoLogin):
		return http.StatusBadRequest, "This browser has no sign-in to finish. If that keeps happening, allow cookies for this site and sign in again."
	case errors.Is(err, authcode.ErrExpired):
		return http.StatusBadRequest, "The sign-in took too long. Please sign in again."
	case errors.Is(err, &verify.Error{Reason: verify.TenantNotAllowed}):
		return http.StatusForbidden, "Your organization does not use this app. Sign in with an account of one that does."
	case errors.As(err, &e) && e.Code == "access_denied":
		return http.StatusForbidden, "You did not allow this app to sign you in, or your administrator has to. Nothing was changed."
	case errors.As(err, &e) && e.InteractionRequired():
		return http.StatusForbidden, "You are signed in, but may not do this. Ask your administrator for access."
	case errors.As(err, &e) && e.Temporary(), errors.As(err, &token) && token.Temporary():
		return http.StatusServiceUnavailable, "Microsoft could not be reached. Please try again in a moment."
	case errors.As(err, &token), errors.Is(err, authcode.ErrState), errors.Is(err, authcode.ErrUsed), errors.Is(err, authcode.ErrParameters):
		return http.StatusBadRequest, "The sign-in was interrupted. Please sign in again."
	}
	return http.StatusBadGateway, "Something we need did not answer as it should. Please try again in a moment."
}
