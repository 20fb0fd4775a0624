package entra

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
)

// Transport is an [http.RoundTripper] that puts a token of Source on requests, waiting
// for one, where it must, no longer than the request's own context allows. It is safe
// for concurrent use.
//
// A token goes only to the host that the program itself addressed, over TLS: a request
// that follows a redirect to another host is sent without one, and a request for that
// host over plain HTTP is an error.
//
// Status 401 without a claims challenge is returned like any other answer. If it means
// that the token is no longer good, call [TokenSource.Invalidate].
//
// If the resource answers with a claims challenge (status 401, insufficient_claims), the
// request is repeated once with a token that satisfies it, provided that its body can
// be read again ([http.Request].GetBody). Where such a token needs the user, the
// resource's answer is returned.
type Transport struct {
	Source *TokenSource      // required
	Base   http.RoundTripper // nil: http.DefaultTransport
}

// RoundTrip sends req with a token. It does not change req.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if redirectedElsewhere(req) {
		return sent(req, base, req)
	}
	tok, err := t.token(req)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := sent(req, base, authorized(req, tok))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	claims, ok := ClaimsChallenge(resp.Header)
	if !ok {
		return resp, nil
	}
	again, ok := repeat(req)
	if !ok {
		return resp, nil
	}
	t.Source.handle.Refused(tok.AccessToken, claims)
	tok, err = t.Source.WithClaims(claims).TokenContext(req.Context())
	if err != nil {
		if again.Body != nil {
			again.Body.Close()
		}
		return resp, nil
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	resp.Body.Close()
	return sent(req, base, authorized(again, tok))
}

// sent sends r and says that the answer is one to req, whatever base says: the trail of
// redirects is read from it, and req has no token on it.
func sent(req *http.Request, base http.RoundTripper, r *http.Request) (*http.Response, error) {
	resp, err := base.RoundTrip(r)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func (t *Transport) token(req *http.Request) (*oauth2.Token, error) {
	if t.Source == nil {
		return nil, errorf("invalid_request", "the Transport has no Source")
	}
	if req.URL.Scheme != "https" {
		return nil, errorf("invalid_request", "no token is sent to %s without TLS; use https", req.URL.Host)
	}
	return t.Source.TokenContext(req.Context())
}

// authorized returns a copy of req with a token (RFC 6750, section 2.1).
func authorized(req *http.Request, tok *oauth2.Token) *http.Request {
	r := req.Clone(req.Context())
	tok.SetAuthHeader(r)
	return r
}

// repeat returns a copy of req that can be sent after req was.
func repeat(req *http.Request) (*http.Request, bool) {
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

// redirectedElsewhere reports whether an [http.Client] made req in following a redirect
// that left the host of the request it began with, even if it came back.
func redirectedElsewhere(req *http.Request) bool {
	for r := req; r.Response != nil; {
		if r = r.Response.Request; r == nil || origin(r.URL) != origin(req.URL) {
			return true
		}
	}
	return false
}

// origin returns scheme, host and port (RFC 6454, section 4).
func origin(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(lowerHost(u.Hostname()), port)
}
