package entra

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
)

// A Transport is an [http.RoundTripper] that adds a token of Source to requests. If no
// token is cached, it waits for one until the request's context ends. It is safe for
// concurrent use.
//
// A token is sent only to the host that the program addressed, over TLS. A request that
// follows a redirect to another host is sent without a token. A request over plain HTTP is
// an error, except to this machine (localhost and loopback addresses) and where AllowHTTP
// allows it. A request to this machine through the Proxy of an [http.Transport] is an error,
// too. A Base of another type must not use a proxy for such a request.
//
// A response with status 401 and a claims challenge (insufficient_claims) is handled once:
// the request is repeated with a token that satisfies the challenge, if its body can be
// read again ([http.Request].GetBody). If acquiring that token fails, the resource's
// response is returned. A status 401 without a claims challenge is returned like any
// other response. If it means that the token was revoked, call [TokenSource.Invalidate].
type Transport struct {
	// Source provides the tokens. Required.
	Source *TokenSource
	// Base sends the requests. If nil, http.DefaultTransport is used.
	Base http.RoundTripper
	// AllowHTTP reports whether a token may be sent to u over plain HTTP, for example
	// because the proxy of a service mesh encrypts the connection. Everyone on the way
	// can read the token otherwise. It may be called concurrently and must not change u.
	// If nil, plain HTTP is allowed for this machine only.
	AllowHTTP func(u *url.URL) bool
}

// RoundTrip sends req with a token. It does not modify req.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if leftOrigin(req) {
		return send(req, base, req)
	}
	tok, err := t.token(req, base)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := send(req, base, authorized(req, tok))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	claims, ok := ClaimsChallenge(resp.Header)
	if !ok {
		return resp, nil
	}
	retry, ok := copyForRetry(req)
	if !ok {
		return resp, nil
	}
	source := t.Source.WithClaims(claims)
	t.Source.handle.Invalidate(tok.AccessToken, source.claims)
	tok, err = source.TokenContext(req.Context())
	if err != nil {
		if retry.Body != nil {
			retry.Body.Close()
		}
		return resp, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be reused
	resp.Body.Close()
	return send(req, base, authorized(retry, tok))
}

// send sends r and sets resp.Request to req, which does not contain the token. The redirect check reads
// the chain of requests from it.
func send(req *http.Request, base http.RoundTripper, r *http.Request) (*http.Response, error) {
	resp, err := base.RoundTrip(r)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func (t *Transport) token(req *http.Request, base http.RoundTripper) (*oauth2.Token, error) {
	if t.Source == nil {
		return nil, errorf("invalid_request", "Transport.Source is nil")
	}
	if err := t.checkConnection(req, base); err != nil {
		return nil, err
	}
	return t.Source.TokenContext(req.Context())
}

// checkConnection returns an error if the connection for req does not protect a token.
func (t *Transport) checkConnection(req *http.Request, base http.RoundTripper) error {
	u := req.URL
	plain := u.Scheme == "http"
	local := plain && (lowerHost(u.Hostname()) == "localhost" || net.ParseIP(u.Hostname()).IsLoopback())
	switch {
	case u.Scheme == "https" || local && !usesProxy(base, req) || plain && t.AllowHTTP != nil && t.AllowHTTP(u):
		return nil
	case local:
		return errorf("invalid_request", "a token is not sent to %s through a proxy without TLS; use https, "+
			"let the Proxy of Transport.Base return nil, "+
			"or set Transport.AllowHTTP if something else encrypts the connection", u.Host)
	}
	return errorf("invalid_request", "a token is not sent to %s without TLS; use https, "+
		"or set Transport.AllowHTTP if something else encrypts the connection", u.Host)
}

// usesProxy reports whether base sends req to a proxy, which is known of an [http.Transport] only. A Proxy that fails
// may succeed when base calls it.
func usesProxy(base http.RoundTripper, req *http.Request) bool {
	t, ok := base.(*http.Transport)
	if !ok || t.Proxy == nil {
		return false
	}
	proxy, err := t.Proxy(req)
	return proxy != nil || err != nil
}

// authorized returns a copy of req with tok (RFC 6750, section 2.1).
func authorized(req *http.Request, tok *oauth2.Token) *http.Request {
	r := req.Clone(req.Context())
	tok.SetAuthHeader(r)
	return r
}

// copyForRetry returns a copy of req that can be sent after req.
func copyForRetry(req *http.Request) (*http.Request, bool) {
	r := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return r, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	r.Body = body
	return r, true
}

// leftOrigin reports whether an [http.Client] created req after a redirect to another
// origin, even if a later redirect led back.
func leftOrigin(req *http.Request) bool {
	for r := req; r.Response != nil; {
		if r = r.Response.Request; r == nil || origin(r.URL) != origin(req.URL) {
			return true
		}
	}
	return false
}

// origin returns the scheme, host and port of u (RFC 6454, section 4).
func origin(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(lowerHost(u.Hostname()), port)
}
