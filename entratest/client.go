package entratest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Client returns an HTTP client whose requests s serves in the goroutine of the
// caller, without a socket. It accepts Microsoft Graph and Microsoft's sign-in hosts, including
// regional and External ID hosts, and Host of the [Config]. Requests to other
// hosts, and requests without TLS, return an error.
//
// The client works inside testing/synctest bubbles and does not follow
// redirects. The request's context and the client's Timeout end the delay of a
// [Fault].
func (s *Server) Client() *http.Client {
	return &http.Client{
		Transport: (*inProcess)(s),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// inProcess serves the requests of Client.
type inProcess Server

var errDropped = errors.New("entratest: the connection was dropped")

// RoundTrip implements [http.RoundTripper].
func (p *inProcess) RoundTrip(hr *http.Request) (*http.Response, error) {
	s := (*Server)(p)
	if hr.Body != nil {
		defer hr.Body.Close()
	}
	if s.registry == nil {
		return nil, errZeroServer
	}
	if err := hr.Context().Err(); err != nil {
		return nil, err
	}
	if hr.URL.Scheme != "https" {
		return nil, fmt.Errorf("entratest: request to %s://%s: Entra requires https", hr.URL.Scheme, hr.URL.Host)
	}
	host := hostOf(hr.URL)
	if !s.serves(host) {
		return nil, fmt.Errorf("entratest: request to %q: host is not a sign-in host of Microsoft, Graph or Config.Host",
			hr.URL.Host)
	}
	inner := hr.Clone(hr.Context())
	inner.Host = host
	if inner.Method == "" {
		inner.Method = http.MethodGet
	}
	if inner.Header == nil {
		inner.Header = http.Header{}
	}
	if auth := hr.URL.User; auth != nil && inner.Header.Get("Authorization") == "" {
		password, _ := auth.Password()
		inner.SetBasicAuth(auth.Username(), password)
	}
	served, err := s.serve(inner, nil)
	if err != nil {
		return nil, err
	}
	if served.drop {
		return nil, errDropped
	}
	resp := newResponse(hr, served.status, served.header, served.body)
	resp.Header.Set("Content-Length", fmt.Sprint(len(served.body)))
	if resp.Body != http.NoBody && served.truncate > 0 && served.truncate < len(served.body) {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(served.body[:served.truncate]), brokenReader{}))
	}
	return resp, nil
}

// newResponse returns the response to a request that a handler in the process served.
func newResponse(r *http.Request, status int, header http.Header, body []byte) *http.Response {
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		Request:       r,
	}
	if r.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp
}

// serves reports whether a host that hostOf returned is one that Client accepts.
func (s *Server) serves(host string) bool {
	_, parent, _ := strings.Cut(host, ".") // of a region's host
	return host == s.host && host != "" || parent != "" && parent == s.host || s.registry.canonicalHost(host) != "" ||
		isGraphHost(host)
}

// brokenReader simulates a broken connection.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
