// Package httprecord records the HTTP requests of a command: their destination, duration
// and connection. It records no secrets. Of a token request it keeps the claims of the
// client assertion, and of a response the status and the date.
package httprecord

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/internal/httpclient"
)

// Request describes one request.
type Request struct {
	Method string
	Host   string
	Kind   string // "discovery", "token", or "" for others
	Status int    // 0 without a response
	Start  time.Time
	Took   time.Duration
	Date   time.Time // the response's Date header; zero if it is missing
	Err    error     // why no response arrived; otherwise nil

	Assertion *Assertion // the client assertion that was sent, or nil
	Conn      Conn
}

// Conn describes the connection of a request, as far as it was observed.
type Conn struct {
	Resolved []string // the IP addresses of the host
	TLS      *tls.ConnectionState
}

// Assertion contains claims of a client assertion (RFC 7523).
type Assertion struct {
	Issuer, Subject string
	Audience        []string
	Expiry          time.Time
	Thumbprint      string // the x5t#S256 or x5t header; empty for a federated token
}

// Recorder is an [http.RoundTripper] that records requests. It is safe for concurrent use.
type Recorder struct {
	Base http.RoundTripper // required

	mu       sync.Mutex // guards requests
	requests []Request
}

// Requests returns the finished requests, in the order in which they finished.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Last returns the last finished request of a kind.
func (r *Recorder) Last(kind string) (Request, bool) {
	for _, q := range slices.Backward(r.Requests()) {
		if q.Kind == kind {
			return q, true
		}
	}
	return Request{}, false
}

const maxBody = 1 << 20

// RoundTrip implements [http.RoundTripper].
func (r *Recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	return r.roundTrip(r.Base, req)
}

// Over returns a RoundTripper that sends requests with base and records them in r.
func (r *Recorder) Over(base http.RoundTripper) http.RoundTripper { return &over{r, base} }

type over struct {
	recorder *Recorder
	base     http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (o *over) RoundTrip(req *http.Request) (*http.Response, error) {
	return o.recorder.roundTrip(o.base, req)
}

func (r *Recorder) roundTrip(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	rec := Request{Method: req.Method, Host: req.URL.Host, Kind: kindOf(req), Start: time.Now()}
	var mu sync.Mutex // guards resolved, which the transport may set after RoundTrip returns
	var resolved []string
	out := req.Clone(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) {
			mu.Lock()
			defer mu.Unlock()
			resolved = nil
			for _, a := range i.Addrs {
				resolved = append(resolved, a.String())
			}
		},
	}))
	if rec.Kind == "token" && req.Body != nil {
		body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		out.Body = io.NopCloser(bytes.NewReader(body))
		rec.Assertion = assertionIn(body)
	}
	resp, err := base.RoundTrip(out)
	rec.Took, rec.Err = time.Since(rec.Start), err
	if resp != nil {
		rec.Status, rec.Conn.TLS = resp.StatusCode, resp.TLS
		rec.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	mu.Lock()
	rec.Conn.Resolved = resolved
	mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, rec)
	return resp, err
}

func kindOf(req *http.Request) string {
	switch path := strings.ToLower(req.URL.Path); {
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		return "discovery"
	case req.Method == http.MethodPost && strings.HasSuffix(path, "/oauth2/v2.0/token"):
		return "token"
	}
	return ""
}

// assertionIn returns the client assertion in the body of a token request, or nil. An
// assertion that is not a JWT is empty.
func assertionIn(body []byte) *Assertion {
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("client_assertion") == "" {
		return nil
	}
	header, claims, err := jwt.Decode(form.Get("client_assertion"))
	if err != nil {
		return &Assertion{}
	}
	a := &Assertion{
		Issuer: jwt.Text(claims, "iss"), Subject: jwt.Text(claims, "sub"),
		Audience: jwt.Strings(claims, "aud"), Expiry: jwt.Time(claims, "exp"),
		Thumbprint: jwt.Text(header, "x5t#S256"),
	}
	if a.Thumbprint == "" {
		a.Thumbprint = jwt.Text(header, "x5t")
	}
	return a
}

// Transport returns the default transport. It trusts the certificate authorities in roots,
// or those of the system if roots is nil.
func Transport(roots *x509.CertPool) *http.Transport {
	t := httpclient.Transport()
	if roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return t
}
