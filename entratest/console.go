package entratest

import (
	"bytes"
	"cmp"
	"context"
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
)

var consolePages = template.Must(template.New("console").Funcs(template.FuncMap{"lower": strings.ToLower}).
	ParseFS(pageFiles, "pages/console.html", "pages/flow.html"))

const (
	shownFlows  = 30 // on the page
	maxStreams  = 16 // open streams of events
	streamDelay = 500 * time.Millisecond
	streamWrite = 10 * time.Second // after which a write to a stream fails
)

// A console serves a server, and a page that shows and controls it at the root.
type console struct {
	server  *Server
	ctx     context.Context // the streams end when it is canceled
	mux     *http.ServeMux
	start   string        // distinguishes versions of flows from those of another console
	streams chan struct{} // has an element for each open stream

	mu     sync.Mutex // guards remove
	remove []func()   // removes the faults injected by the console
}

// Console returns a handler that serves s, and a page for people at the root of the
// authority. The page shows the last requests as sequence diagrams, one for each
// sign-in, and is updated while it is open. Its forms inject faults, rotate keys and
// revoke sessions. [Server.StartTLS] serves it.
//
// The page shows the claims of tokens but no secret. Its updates end with ctx, so that
// [http.Server.Shutdown] does not wait for them.
func (s *Server) Console(ctx context.Context) http.Handler {
	c := &console{
		server: s, ctx: ctx, mux: http.NewServeMux(), start: randomToken(6), streams: make(chan struct{}, maxStreams),
	}
	// Forms of other sites are rejected.
	protect := http.NewCrossOriginProtection()
	c.mux.HandleFunc("GET /{$}", c.show)
	c.mux.Handle("POST /{$}", protect.Handler(http.HandlerFunc(c.act)))
	c.mux.HandleFunc("GET /-/events", c.events)
	c.mux.HandleFunc("GET /-/requests", c.requests)
	c.mux.HandleFunc("GET /-/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":"ok"}`+"\n")
	})
	for name, kind := range map[string]string{"console.css": "text/css", "console.js": "text/javascript"} {
		c.mux.HandleFunc("GET /-/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeFileFS(w, r, pageFiles, "pages/"+name)
		})
	}
	c.mux.HandleFunc("GET /favicon.ico", http.NotFound)
	return c
}

// ServeHTTP serves the console's own paths and passes other requests to the server.
// A ServeMux would clean their paths.
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/", "/-/health", "/-/requests", "/-/events", "/-/console.css", "/-/console.js", "/favicon.ico":
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
		list = []Request{}
	}
	json.NewEncoder(w).Encode(list)
}

// show renders the page.
func (c *console) show(w http.ResponseWriter, r *http.Request) {
	s, filter := c.server, parseFlowFilter(r.URL.Query())
	list, version, _ := s.flowsSince(0)
	diagrams := []*diagram{}
	for _, fl := range list {
		if len(diagrams) < shownFlows && filter.matches(fl) {
			diagrams = append(diagrams, s.diagram(fl))
		}
	}
	var buf bytes.Buffer
	err := consolePages.ExecuteTemplate(&buf, "console.html", map[string]any{
		"Authority": s.baseURL(r), "Tenants": s.registry.tenants, "Apps": s.registry.apps, "Users": s.registry.users,
		"Flows": diagrams, "Shown": shownFlows, "Filter": filter, "Filtered": filter != flowFilter{},
		"Version": fmt.Sprintf("%s.%d", c.start, version), "Total": c.total(version),
		"Faults": describeFaults(s.Faults()), "Kinds": kinds, "Done": r.URL.Query().Get("done"),
	})
	if err != nil {
		http.Error(w, "failed to render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; "+
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(buf.Bytes())
}

// events streams the flows that match the query and have changed since the version of the
// page, as server-sent events.
func (c *console) events(w http.ResponseWriter, r *http.Request) {
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		http.Error(w, "too many open pages", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	defer control.SetWriteDeadline(time.Time{}) //nolint:errcheck // not all writers have deadlines
	filter := parseFlowFilter(r.URL.Query())
	start, text, _ := strings.Cut(cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("since")), ".")
	version, err := strconv.Atoi(text)
	if err != nil || start != c.start { // the page is older than this process
		io.WriteString(w, "event: reload\ndata:\n\n")
		return
	}
	for {
		list, current, changed := c.server.flowsSince(version)
		control.SetWriteDeadline(time.Now().Add(streamWrite)) //nolint:errcheck // not all writers have deadlines
		if err := c.writeEvents(w, filter, list, current); err != nil || control.Flush() != nil {
			return
		}
		version = current
		if !wait(c, r, changed) || !wait(c, r, time.After(streamDelay)) {
			return
		}
	}
}

// wait waits for a channel. It reports false if the stream of r must end.
func wait[T any](c *console, r *http.Request, ch <-chan T) bool {
	select {
	case <-ch:
		return true
	case <-r.Context().Done():
	case <-c.ctx.Done():
	}
	return false
}

// writeEvents writes an event for each of the newest flows in list, and one with the
// number of requests and the current version. A flow that no longer matches does not
// have HTML.
func (c *console) writeEvents(w io.Writer, filter flowFilter, list []flow, current int) error {
	type change struct {
		ID   string `json:"id"`
		HTML string `json:"html"`
	}
	var changes []change
	for _, fl := range list {
		e := change{ID: fmt.Sprintf("flow-%d", fl.id)}
		if filter.matches(fl) {
			var buf bytes.Buffer
			if err := consolePages.ExecuteTemplate(&buf, "flow.html", c.server.diagram(fl)); err != nil {
				return err
			}
			e.HTML = buf.String()
		} else if filter.Outcome != "ok" {
			continue // it never matched
		}
		if changes = append(changes, e); len(changes) == shownFlows {
			break
		}
	}
	var buf bytes.Buffer
	for _, e := range slices.Backward(changes) {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		fmt.Fprintf(&buf, "event: flow\ndata: %s\n\n", data)
	}
	fmt.Fprintf(&buf, "event: total\nid: %s.%d\ndata: %s\n\n", c.start, current, c.total(current))
	_, err := w.Write(buf.Bytes())
	return err
}

// total describes the number of requests up to a version of flows.
func (c *console) total(version int) string {
	return fmt.Sprintf("%d requests, %d for tokens", version, c.server.TokenRequests())
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
		if c.server.registry.userByName[strings.ToLower(name)] == nil {
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
	q := r.URL.Query() // the filter
	q.Set("done", done)
	http.Redirect(w, r, "/?"+q.Encode(), http.StatusSeeOther)
}

// kinds are the kinds of faults that the page can inject.
var kinds = []string{"429", "503", "500", "slow", "drop", "truncate", "html", "malformed", "redirect"}

// parseFault returns the fault described by a form.
func parseFault(r *http.Request) (Fault, error) {
	f := Fault{
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
func describeFaults(faults []Fault) []string {
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
