package entratest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Hosts is an [http.RoundTripper] for APIs and apps in the process. It maps the host of a URL, with
// its port if it is not the default, to the handler that serves it, in the goroutine of the caller.
// The key "" is for all other hosts. Without it, a request to another host returns an error:
//
//	client := &http.Client{Transport: entratest.Hosts{
//		"orders.contoso.example": orders,
//		"":                       server, // hosts of Microsoft
//	}}
//
// A response is complete when RoundTrip returns. A handler that panics with [http.ErrAbortHandler] drops
// the connection.
type Hosts map[string]http.Handler

// RoundTrip implements [http.RoundTripper].
func (h Hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := h.handler(hostOf(r.URL))
	switch s := handler.(type) {
	case nil:
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("entratest: request to %q: Hosts does not have this host", r.URL.Host)
	case *Server:
		return (*inProcess)(s).RoundTrip(r)
	case *Test:
		return (*inProcess)(s.Server).RoundTrip(r)
	}
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return serveHandler(handler, r)
}

// hostOf returns the host of a URL in lower case, with its port if it is not the default.
func hostOf(u *url.URL) string {
	port := ":80"
	if u.Scheme == "https" {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(u.Host), port)
}

// handler returns the handler of a host that hostOf returned, or nil.
func (h Hosts) handler(host string) http.Handler {
	if handler := h[host]; handler != nil {
		return handler
	}
	return h[""]
}

// serveHandler returns the response of a handler.
func serveHandler(handler http.Handler, r *http.Request) (resp *http.Response, err error) {
	in := r.Clone(r.Context())
	in.Body = r.Body
	in.RequestURI = in.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:1"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Host == "" {
		in.Host = in.URL.Host
	}
	if in.Method == "" {
		in.Method = http.MethodGet
	}
	if in.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: in.URL.Hostname()}
	}
	w := &recorder{header: http.Header{}}
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if abort, ok := v.(error); !ok || !errors.Is(abort, http.ErrAbortHandler) {
			panic(v)
		}
		resp, err = nil, errDropped
	}()
	handler.ServeHTTP(w, in)
	w.WriteHeader(http.StatusOK)
	return newResponse(r, w.status, w.sent, w.body.Bytes()), nil
}

// A recorder is the [http.ResponseWriter] of a request in the process.
type recorder struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *recorder) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.sent.Get("Content-Type") == "" {
		w.sent.Set("Content-Type", http.DetectContentType(data))
	}
	return w.body.Write(data)
}

// Flush implements [http.Flusher].
func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }
