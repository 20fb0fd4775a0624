package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
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

// A console is the estate with a page at its root that controls it.
type console struct {
	cfg    entratest.Config
	server *entratest.Server
	mux    *http.ServeMux

	mu     sync.Mutex // guards remove
	remove []func()   // the faults injected here
}

func newConsole(cfg entratest.Config, s *entratest.Server) *console {
	c := &console{cfg: cfg, server: s, mux: http.NewServeMux()}
	// Other sites must not press the buttons.
	protect := http.NewCrossOriginProtection()
	c.mux.HandleFunc("GET /{$}", c.show)
	c.mux.Handle("POST /{$}", protect.Handler(http.HandlerFunc(c.act)))
	c.mux.HandleFunc("GET /-/requests", c.requests)
	c.mux.HandleFunc("GET /favicon.ico", http.NotFound)
	return c
}

// ServeHTTP leaves all but the console's own paths to the estate, which reads
// paths as Entra does.
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/", "/-/requests", "/favicon.ico":
		c.mux.ServeHTTP(w, r)
	default:
		c.server.ServeHTTP(w, r)
	}
}

// requests is the journal in JSON.
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
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(buf.Bytes())
}

// act does what a button says.
func (c *console) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	done := ""
	switch r.PostForm.Get("action") {
	case "announce":
		c.server.AnnounceKey()
		done = "A key is announced."
	case "rotate":
		c.server.RotateKeys()
		done = "Another key signs from now on."
	case "retire":
		c.server.RetireKeys()
		done = "Only the key in use is published."
	case "clear":
		c.mu.Lock()
		for _, remove := range c.remove {
			remove()
		}
		c.remove = nil
		c.mu.Unlock()
		done = "No faults are left."
	case "revoke":
		name := r.PostForm.Get("username")
		if !slices.ContainsFunc(c.cfg.Users, func(u entratest.User) bool { return strings.EqualFold(u.Username, name) }) {
			http.Error(w, "there is no such user", http.StatusBadRequest)
			return
		}
		c.server.RevokeSessions(name)
		done = "The user's sessions are revoked."
	case "fault":
		f, err := faultOf(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remove := c.server.Inject(f)
		c.mu.Lock()
		c.remove = append(c.remove, remove)
		c.mu.Unlock()
		done = "The fault is injected."
	default:
		http.Error(w, "there is no such action", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "/?done="+template.URLQueryEscaper(done), http.StatusSeeOther)
}

// kinds are the faults that the page offers.
var kinds = []string{"429", "503", "500", "slow", "drop", "truncate", "html", "malformed", "redirect"}

// faultOf reads the fault that a form describes.
func faultOf(r *http.Request) (entratest.Fault, error) {
	f := entratest.Fault{
		Endpoint: r.PostForm.Get("path"), Tenant: r.PostForm.Get("tenant"), ClientID: r.PostForm.Get("client"), GrantType: r.PostForm.Get("grant"),
	}
	for field, n := range map[string]*int{"times": &f.Times, "skip": &f.Skip} {
		if text := r.PostForm.Get(field); text != "" {
			value, err := strconv.Atoi(text)
			if err != nil || value < 0 {
				return f, fmt.Errorf("%s is no number", field)
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
		return f, fmt.Errorf("there is no such kind of fault")
	}
	if text := r.PostForm.Get("retryAfter"); text != "" {
		f.RetryAfter = text
	}
	return f, nil
}

// describeFaults says in words what is injected.
func describeFaults(faults []entratest.Fault) []string {
	var lines []string
	for _, f := range faults {
		where := "every request"
		if f.Endpoint != "" {
			where = f.Endpoint
		}
		for _, only := range []string{f.Tenant, f.ClientID, f.GrantType} {
			if only != "" {
				where += ", " + only
			}
		}
		what := fmt.Sprintf("status %d", f.Status)
		switch {
		case f.Drop:
			what = "dropped"
		case f.Truncate > 0:
			what = fmt.Sprintf("truncated to %d bytes", f.Truncate)
		case f.Delay > 0:
			what = fmt.Sprintf("delayed by %v", f.Delay)
		}
		if f.RetryAfter != "" {
			what += ", Retry-After " + f.RetryAfter
		}
		if f.Times > 0 {
			what += fmt.Sprintf(", %d times", f.Times)
		}
		lines = append(lines, where+": "+what)
	}
	return lines
}
