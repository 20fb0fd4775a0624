package httpclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entratoken/entra/internal/neterr"
)

// An Error is a request without a response.
type Error struct {
	Unsent bool  // no connection was established, so the request was certainly not sent
	Stale  bool  // a connection that had been in use broke, which says nothing about the server's health
	Err    error // of the transport
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether the request timed out. It lets [net/http.Client] and package neterr recognize time-outs.
func (e *Error) Timeout() bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.Err)
	return ok && t.Timeout()
}

// patience is how long a request must have waited on a connection before its time-out is the connection's fault.
const patience = 5 * time.Second

// A transport reports as an [*Error] how a request failed. It closes the connection on which a request timed out, and
// idle ones that may be broken, too, so that the next request uses a new connection. Without it, requests would
// share a silent HTTP/2 connection for as long as that exists.
type transport struct{ base http.RoundTripper }

// connection is the last connection that a request got.
type connection struct {
	httptrace.GotConnInfo
	since time.Time
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var wanted atomic.Bool
	var got atomic.Pointer[connection]
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(info httptrace.GotConnInfo) { got.Store(&connection{info, time.Now()}) },
	}
	ctx := req.Context()
	resp, err := t.base.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err == nil {
		return resp, nil
	}
	e := &Error{Err: err}
	c := got.Load()
	switch {
	case c == nil:
		e.Unsent = wanted.Load() // a transport that does not trace its connections never says so
		if status := proxyStatus(err); e.Unsent && status != 0 {
			e.Err = neterr.ProxyError(status)
		}
	case errors.Is(ctx.Err(), context.Canceled):
	case e.Timeout():
		if time.Since(c.since) >= patience {
			closeNow(c.Conn)
			t.CloseIdleConnections()
		}
	case c.Reused:
		e.Stale = true
		t.CloseIdleConnections()
	}
	return nil, e
}

// proxyStatus returns the status with which a proxy rejected a CONNECT request, or 0. An [http.Transport] without
// OnProxyConnectResponse returns only the proxy's reason phrase, as the text of an error without a type.
func proxyStatus(err error) int {
	for status := http.StatusMultipleChoices; status < 600; status++ {
		if text := http.StatusText(status); text != "" && strings.EqualFold(text, err.Error()) {
			return status
		}
	}
	return 0
}

// closeNow closes a connection without waiting for the peer.
func closeNow(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS would send an alert first
		c = t.NetConn()
	}
	c.Close()
}

// CloseIdleConnections closes the idle connections of the base.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
