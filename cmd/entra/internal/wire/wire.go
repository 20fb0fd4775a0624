// Package wire watches the requests of a command: what was asked, how long it took and what
// the connection was. It keeps nothing secret: of a token request it keeps what the client
// assertion says of itself, without its signature, and of answers their status and date.
package wire

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"crypto/tls"

	"github.com/entratoken/entra/cmd/entra/internal/jwt"
)

// A Request is what is kept of one.
type Request struct {
	Method string
	Host   string
	Kind   string // "discovery", "token", or "" for anything else
	Status int    // 0 if there was no answer
	Began  time.Time
	Took   time.Duration
	Date   time.Time // of the answer's Date header; zero if there is none
	Err    error     // if there was no answer

	Assertion *Assertion // nil if none was sent
	Conn      Conn
}

// A Conn is the connection of a request, as far as it was seen being made.
type Conn struct {
	Resolved []string // the addresses of the name that was looked up
	Looked   string   // that name
	Remote   string   // who was connected to
	TLS      *tls.ConnectionState
	Reused   bool
}

// An Assertion is what a client assertion says of itself (RFC 7523).
type Assertion struct {
	Issuer, Subject string
	Audience        []string
	NotBefore, Ends time.Time
	Thumbprint      string // x5t#S256, or else x5t, as it stands there; "" for a federated credential
	Chain           bool   // x5c is there
}

// Recorder is an [http.RoundTripper] that keeps a record. It may be used concurrently.
type Recorder struct {
	Base http.RoundTripper // required

	mu       sync.Mutex // guards requests
	requests []Request
}

// Requests returns those that are over, in the order in which they ended.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// Last returns the last request of a kind.
func (r *Recorder) Last(kind string) (Request, bool) {
	all := r.Requests()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == kind {
			return all[i], true
		}
	}
	return Request{}, false
}

const maxBody = 1 << 20

// RoundTrip implements [http.RoundTripper].
func (r *Recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := Request{Method: req.Method, Host: req.URL.Host, Kind: kindOf(req), Began: time.Now()}
	var mu sync.Mutex // guards conn, which goroutines of the transport write, some after the end
	var conn Conn
	note := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		DNSStart: func(i httptrace.DNSStartInfo) { note(func() { conn.Looked = i.Host }) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			note(func() {
				conn.Resolved = nil
				for _, a := range i.Addrs {
					conn.Resolved = append(conn.Resolved, a.String())
				}
			})
		},
		ConnectDone: func(_, addr string, err error) {
			note(func() {
				if err == nil {
					conn.Remote = addr
				}
			})
		},
		GotConn: func(i httptrace.GotConnInfo) { note(func() { conn.Reused = i.Reused }) },
	})
	out := req.Clone(ctx)
	if rec.Kind == "token" && req.Body != nil {
		body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		out.Body = io.NopCloser(bytes.NewReader(body))
		rec.Assertion = assertionOf(body)
	}
	resp, err := r.Base.RoundTrip(out)
	rec.Took, rec.Err = time.Since(rec.Began), err
	if resp != nil {
		rec.Status = resp.StatusCode
		rec.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	note(func() {
		rec.Conn = conn
		if resp != nil {
			rec.Conn.TLS = resp.TLS
		}
	})
	r.mu.Lock()
	r.requests = append(r.requests, rec)
	r.mu.Unlock()
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

func assertionOf(body []byte) *Assertion {
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("client_assertion") == "" {
		return nil
	}
	return AssertionOf(form.Get("client_assertion"))
}

// AssertionOf returns what a client assertion says of itself; nothing, if it is no JWT.
func AssertionOf(raw string) *Assertion {
	header, claims, err := jwt.Decode(raw)
	if err != nil {
		return &Assertion{}
	}
	a := &Assertion{
		Issuer: jwt.Text(claims, "iss"), Subject: jwt.Text(claims, "sub"), Audience: jwt.Strings(claims, "aud"),
		NotBefore: jwt.Time(claims, "nbf"), Ends: jwt.Time(claims, "exp"),
		Thumbprint: jwt.Text(header, "x5t#S256"),
	}
	if a.Thumbprint == "" {
		a.Thumbprint = jwt.Text(header, "x5t")
	}
	_, a.Chain = header["x5c"]
	return a
}

// Transport returns a transport that trusts more certificates than the system's, if extra
// is not nil, and takes proxies from the environment.
func Transport(extra *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 20 * time.Second,
		TLSClientConfig:       &tls.Config{RootCAs: extra, MinVersion: tls.VersionTLS12},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return ProxyRefusal(resp.StatusCode)
			}
			return nil
		},
	}
}

// ProxyRefusal is the status with which a proxy refuses to connect to somebody.
type ProxyRefusal int

func (r ProxyRefusal) Error() string {
	return fmt.Sprintf("the proxy refuses it with status %d", int(r))
}
