package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entratoken/entra/entratest"
)

//go:embed page/console.html
var consoleHTML string

var consolePage = template.Must(template.New("console").Parse(consoleHTML))

// A console serves a server, and a page that controls it at the root.
type console struct {
	cfg    entratest.Config
	server *entratest.Server
	mux    *http.ServeMux

	mu     sync.Mutex // guards remove
	remove []func()   // removes the faults injected by the console
}

func newConsole(cfg entratest.Config, s *entratest.Server) *console {
	c := &console{cfg: cfg, server: s, mux: http.NewServeMux()}
	// Forms of other sites are rejected.
	protect := http.NewCrossOriginProtection()
	c.mux.HandleFunc("GET /{$}", c.show)
	c.mux.Handle("POST /{$}", protect.Handler(http.HandlerFunc(c.act)))
	c.mux.HandleFunc("GET /-/requests", c.requests)
	c.mux.HandleFunc("GET /-/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":"ok"}`+"\n")
	})
	c.mux.HandleFunc("GET /favicon.ico", http.NotFound)
	return c
}

// ServeHTTP serves the console's own paths and passes other requests to the server.
// A ServeMux would clean their paths.
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/", "/-/health", "/-/requests", "/favicon.ico":
		c.mux.ServeHTTP(w, r)
	default:
		c.server.ServeHTTP(w, r)
	}
}

// requests serves the journal in JSON.
func (c *console) requests(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	list := c.server.Requests()
	if list == nil {
		list = []entratest.Request{}
	}
	json.NewEncoder(w).Encode(list)
}

// show renders the page.
func (c *console) show(w http.ResponseWriter, r *http.Request) {
	log := c.server.Requests()
	slices.Reverse(log)
	apps := map[string]string{}
	for _, a := range c.cfg.Apps {
		apps[strings.ToLower(a.ClientID)] = a.Name
	}
	type row struct {
		entratest.Request
		Clock, App, Class string
	}
	rows := []row{}
	for _, e := range log[:min(len(log), 50)] {
		class := "ok"
		if e.Status == 0 || e.Status >= 400 || e.AADSTS != 0 {
			class = "bad"
		}
		rows = append(rows, row{e, e.Time.Format("15:04:05.000"), apps[strings.ToLower(e.ClientID)], class})
	}
	domains := map[string]string{}
	for _, t := range c.cfg.Tenants {
		domains[t.ID] = t.Domain
	}
	var buf bytes.Buffer
	err := consolePage.Execute(&buf, map[string]any{
		"Authority": "https://" + r.Host, "Tenants": c.cfg.Tenants, "Apps": c.cfg.Apps, "Users": c.cfg.Users,
		"Domains": domains, "Rows": rows, "Total": c.server.Count(entratest.Match{}), "Tokens": c.server.TokenRequests(),
		"Faults": describeFaults(c.server.Faults()), "Kinds": kinds, "Done": r.URL.Query().Get("done"),
	})
	if err != nil {
		http.Error(w, "failed to render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(buf.Bytes())
}

// act performs the action of a form.
func (c *console) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "invalid form", http.StatusBadRequest)
		return
	}
	var done string
	switch r.PostForm.Get("action") {
	case "announce":
		c.server.AnnounceKey()
		done = "A new key has been published."
	case "rotate":
		c.server.RotateKeys()
		done = "The newest key now signs tokens."
	case "retire":
		c.server.RetireKeys()
		done = "Only the signing key is published."
	case "clear":
		c.mu.Lock()
		for _, remove := range c.remove {
			remove()
		}
		c.remove = nil
		c.mu.Unlock()
		done = "All faults have been removed."
	case "revoke":
		name := r.PostForm.Get("username")
		known := func(u entratest.User) bool { return strings.EqualFold(u.Username, name) }
		if !slices.ContainsFunc(c.cfg.Users, known) {
			http.Error(w, "unknown user", http.StatusBadRequest)
			return
		}
		c.server.RevokeSessions(name)
		done = "The user's sessions have been revoked."
	case "fault":
		f, err := parseFault(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remove := c.server.Inject(f)
		c.mu.Lock()
		c.remove = append(c.remove, remove)
		c.mu.Unlock()
		done = "The fault has been injected."
	default:
		http.Error(w, "unknown action", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "/?done="+template.URLQueryEscaper(done), http.StatusSeeOther)
}

// kinds are the kinds of faults that the page can inject.
var kinds = []string{"429", "503", "500", "slow", "drop", "truncate", "html", "malformed", "redirect"}

// parseFault returns the fault described by a form.
func parseFault(r *http.Request) (entratest.Fault, error) {
	f := entratest.Fault{
		Endpoint: r.PostForm.Get("endpoint"), Tenant: r.PostForm.Get("tenant"),
		ClientID: r.PostForm.Get("client"), GrantType: r.PostForm.Get("grant"),
	}
	for field, n := range map[string]*int{"times": &f.Times, "skip": &f.Skip} {
		if text := r.PostForm.Get(field); text != "" {
			value, err := strconv.Atoi(text)
			if err != nil || value < 0 {
				return f, fmt.Errorf("%s is not a number", field)
			}
			*n = value
		}
	}
	switch r.PostForm.Get("kind") {
	case "429":
		f.Status, f.RetryAfter = 429, "30"
	case "503":
		f.Status, f.RetryAfter = 503, time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat)
	case "500":
		f.Status = 500
	case "slow":
		f.Delay = 5 * time.Second
	case "drop":
		f.Drop = true
	case "truncate":
		f.Truncate = 40
	case "html":
		f.Status, f.Body = 502, "<!DOCTYPE html><title>Bad Gateway</title><h1>Bad Gateway</h1>"
	case "malformed":
		f.Status, f.Body = 200, `{"token_type":"Bearer","expires_in":`
	case "redirect":
		f.Status, f.Header = 307, http.Header{"Location": {"https://elsewhere.example/"}}
	default:
		return f, errors.New("unknown kind of fault")
	}
	if text := r.PostForm.Get("retryAfter"); text != "" {
		f.RetryAfter = text
	}
	return f, nil
}

// describeFaults returns a line of text for each fault.
func describeFaults(faults []entratest.Fault) []string {
	var lines []string
	for _, f := range faults {
		target := "every request"
		if f.Endpoint != "" {
			target = f.Endpoint
		}
		for _, filter := range []string{f.Tenant, f.ClientID, f.GrantType} {
			if filter != "" {
				target += ", " + filter
			}
		}
		effect := fmt.Sprintf("status %d", f.Status)
		switch {
		case f.Drop:
			effect = "dropped"
		case f.Truncate > 0:
			effect = fmt.Sprintf("truncated to %d bytes", f.Truncate)
		case f.Delay > 0:
			effect = fmt.Sprintf("delayed by %v", f.Delay)
		}
		if f.RetryAfter != "" {
			effect += ", Retry-After " + f.RetryAfter
		}
		if f.Times > 0 {
			effect += fmt.Sprintf(", %d times", f.Times)
		}
		lines = append(lines, target+": "+effect)
	}
	return lines
}
