package contoso

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// Browser serves the fake's sign-in pages on this machine, because browsers reach Microsoft under
// login.microsoftonline.com. It returns a handler that wraps app and redirects browsers to the fake instead. The pages
// are plain HTTP on the loopback interface, so browsers do not warn about a certificate. The programs themselves reach
// the fake in process. stop stops the server.
func (c *Contoso) Browser(app http.Handler) (h http.Handler, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // not localhost, so that the app's cookies are not sent to it
	if err != nil {
		return nil, nil, err
	}
	pages := &http.Server{Handler: c.Entra, ReadHeaderTimeout: 10 * time.Second}
	go pages.Serve(l)
	from, to := "https://"+entra.CloudPublic.Host(), "http://"+l.Addr().String()
	h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app.ServeHTTP(&redirector{ResponseWriter: w, from: from, to: to}, r)
	})
	return h, func() { pages.Close() }, nil
}

// redirector replaces a host in redirects and in the Content-Security-Policy.
type redirector struct {
	http.ResponseWriter
	from, to string
	started  bool
}

func (r *redirector) WriteHeader(status int) {
	h := r.Header()
	r.started = true
	if rest, ok := strings.CutPrefix(h.Get("Location"), r.from+"/"); ok {
		h.Set("Location", r.to+"/"+rest)
	}
	if policy := h.Get("Content-Security-Policy"); policy != "" {
		h.Set("Content-Security-Policy", strings.ReplaceAll(policy, r.from, r.to))
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *redirector) Write(b []byte) (int, error) {
	if !r.started {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap supports [http.ResponseController].
func (r *redirector) Unwrap() http.ResponseWriter { return r.ResponseWriter }
