// Package httpclient provides the HTTP clients for requests to an authority and to other sources of credentials.
package httpclient

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/entratoken/entra/internal/neterr"
)

// Time-outs of the default client. An authority responds within a second or two. An HTTP/2 connection that a firewall
// dropped without notice is found by a ping. It is sent after pingAfter without a frame, and the connection is closed
// if no response arrives within pingTimeout. A request on a dead connection therefore fails after at most 10 seconds,
// which leaves time for a retry on a new connection. Without pings, the connection would stay in use until the
// operating system gives up, which takes up to 15 minutes on Linux.
const (
	handshakeTimeout = 10 * time.Second
	headerTimeout    = 20 * time.Second
	idleTimeout      = 90 * time.Second
	overallTimeout   = 30 * time.Second
	pingAfter        = 5 * time.Second
	pingTimeout      = 5 * time.Second
)

// maxHeader bounds the header of a response, in bytes. An authority sends a few kilobytes. The bound of net/http is
// 10 MB.
const maxHeader = 256 << 10

// Default returns a client with connections and time-outs of its own. It has the proxy, the dialer and the
// certificate authorities that [http.DefaultTransport] has at the time of the call. It does not follow redirects or
// store cookies.
func Default() *http.Client {
	return Restricted(&http.Client{Transport: Transport(), Timeout: overallTimeout})
}

// Restricted returns a copy of c that does not follow redirects, since requests contain secrets for one host alone,
// and that does not store cookies. It closes connections on which requests time out, and a request without a response
// is an [*Error] (net/http wraps it). If c is nil, Restricted returns [Default].
func Restricted(c *http.Client) *http.Client {
	if c == nil {
		return Default()
	}
	own := *c
	if _, ok := own.Transport.(*transport); !ok {
		if own.Transport == nil {
			own.Transport = http.DefaultTransport
		}
		own.Transport = &transport{own.Transport}
	}
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// Transport returns a new transport with the settings of [Default].
func Transport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // replaced by a type whose settings are unknown
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 100}
	}
	t = t.Clone()
	if t.TLSClientConfig != nil && slices.Contains(t.TLSClientConfig.NextProtos, "h2") && t.TLSNextProto == nil {
		// Clone has copied the protocols that the original offers to servers, but not its support of HTTP/2.
		t.ForceAttemptHTTP2 = true
	}
	t.TLSHandshakeTimeout = handshakeTimeout
	t.ResponseHeaderTimeout = headerTimeout
	t.IdleConnTimeout = idleTimeout
	if t.MaxResponseHeaderBytes == 0 {
		t.MaxResponseHeaderBytes = maxHeader
	}
	if t.HTTP2 == nil {
		t.HTTP2 = &http.HTTP2Config{}
	}
	if t.HTTP2.SendPingTimeout == 0 {
		t.HTTP2.SendPingTimeout, t.HTTP2.PingTimeout = pingAfter, pingTimeout
	}
	if t.OnProxyConnectResponse == nil {
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return neterr.ProxyError(resp.StatusCode)
			}
			return nil
		}
	}
	return t
}
