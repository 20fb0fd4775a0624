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
	entraURL, fakeURL := "https://"+entra.Public.Host()+"/", "http://"+l.Addr().String()+"/"
	h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app.ServeHTTP(&redirector{ResponseWriter: w, from: entraURL, to: fakeURL}, r)
	})
	return h, func() { pages.Close() }, nil
}

// redirector changes where redirects go.
type redirector struct {
	http.ResponseWriter
	from, to string
}

func (r *redirector) WriteHeader(status int) {
	if rest, ok := strings.CutPrefix(r.Header().Get("Location"), r.from); ok {
		r.Header().Set("Location", r.to+rest)
	}
	r.ResponseWriter.WriteHeader(status)
}
