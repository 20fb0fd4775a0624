package site

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"path"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/signin"
)

//go:embed *.html style.css icon.svg
var files embed.FS

var pages = template.Must(template.ParseFS(files, "*.html"))

// page is the data of all templates. Data is specific to one of them.
type page struct {
	Title   string
	Path    string            // of the request
	Account *authcode.Account // nil if no user is signed in
	APIs    []API
	Try     *Try
	Logout  string // the target of the sign-out form
	Data    any
}

// show writes a page.
func (s *Site) show(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	p := page{Title: title, Path: r.URL.Path, APIs: s.APIs, Try: s.Try, Logout: "/logout", Data: data}
	if s.SignIn.LogoutPath != "" {
		p.Logout = s.SignIn.LogoutPath
	}
	if account, ok := signin.AccountFromContext(r.Context()); ok {
		p.Account = &account
	}
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, p); err != nil {
		slog.ErrorContext(r.Context(), "page template failed", "page", name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // fails only if the browser is gone
}

// file serves the static files.
func file(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFileFS(w, r, files, path.Base(r.URL.Path))
}

// result is the response of an API, with the calls that led to it.
type result struct {
	About string
	Items []string
	Raw   string // the JSON of an API that is not one of the examples
	Calls []step
}

// step is a hop with the lifetime of its token.
type step struct {
	hops.Hop
	Lifetime *lifetime
}

func newResult(api API, body json.RawMessage, items []string, calls []hops.Hop) result {
	res := result{About: api.About, Items: items}
	if items == nil {
		var b bytes.Buffer
		_ = json.Indent(&b, body, "", "  ") // hops.Get has checked that it is JSON
		res.Raw = b.String()
	}
	for _, h := range calls {
		res.Calls = append(res.Calls, step{h, newLifetime(h.Token)})
	}
	return res
}
