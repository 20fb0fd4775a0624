package contoso

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// Browser makes the fake's sign-in pages reachable: for a browser, login.microsoftonline.com
// is Microsoft's. It serves them on this machine, and returns a handler that is app, but
// sends browsers there instead. They are plain HTTP on the loopback interface, so that no
// browser warns of a certificate that nobody signed; the programs themselves speak to the
// fake in process and expect TLS as ever. stop ends the serving.
func (c *Contoso) Browser(app http.Handler) (h http.Handler, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // not localhost: the app's cookies are another host's
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

// redirector changes where redirects go, and where the app's policy lets them go.
type redirector struct {
	http.ResponseWriter
	from, to string
	begun    bool
}

func (r *redirector) WriteHeader(status int) {
	h := r.Header()
	r.begun = true
	if rest, ok := strings.CutPrefix(h.Get("Location"), r.from+"/"); ok {
		h.Set("Location", r.to+"/"+rest)
	}
	if policy := h.Get("Content-Security-Policy"); policy != "" {
		h.Set("Content-Security-Policy", strings.ReplaceAll(policy, r.from, r.to))
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *redirector) Write(b []byte) (int, error) {
	if !r.begun {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (r *redirector) Unwrap() http.ResponseWriter { return r.ResponseWriter }
