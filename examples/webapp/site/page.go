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

// page is what every page is made of; Data is its own.
type page struct {
	Title   string
	Path    string            // where the browser is
	Account *authcode.Account // nil: nobody is signed in
	APIs    []API
	Try     *Try
	Logout  string // where the sign-out form goes
	Data    any
}

// show answers with a page.
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
		slog.ErrorContext(r.Context(), "the page could not be made", "page", name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // the browser may be gone
}

// file answers with what the pages refer to.
func file(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFileFS(w, r, files, path.Base(r.URL.Path))
}

// answer is what an API said, and how the tokens came about.
type answer struct {
	About string
	Items []string
	Raw   string // of another API than the examples'
	Calls []step
}

// step is a hop as the page shows it.
type step struct {
	hops.Hop
	Life *life
}

func result(api API, body json.RawMessage, items []string, calls []hops.Hop) answer {
	a := answer{About: api.About, Items: items}
	if items == nil {
		var b bytes.Buffer
		_ = json.Indent(&b, body, "", "  ") // it is JSON, or hops would have said so
		a.Raw = b.String()
	}
	for _, h := range calls {
		a.Calls = append(a.Calls, step{h, lifeOf(h.Token)})
	}
	return a
}
