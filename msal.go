package entra

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
)

// maxBody bounds what is read of any answer.
const maxBody = 1 << 20

// A wire carries the requests of all exchanges of a client, and of those made from it by
// WithTenant. MSAL calls it as its HTTP client. It remembers discovery documents,
// records answers in the exchange they belong to, follows no redirects, and speaks
// only to the authority, over TLS.
type wire struct {
	host      string
	region    *region
	client    *http.Client
	discovery *discovery
}

func newWire(host string, where *region, client *http.Client) *wire {
	w := &wire{host: host, region: where, client: httpclient.Restricted(client)}
	w.discovery = newDiscovery(w.read, w.allowed)
	return w
}

// CloseIdleConnections is part of what MSAL expects of an HTTP client.
func (w *wire) CloseIdleConnections() { w.client.CloseIdleConnections() }

// Do is called by MSAL.
func (w *wire) Do(req *http.Request) (*http.Response, error) {
	x := exchangeFromContext(req.Context())
	resp, err := w.do(req, x)
	if err != nil {
		x.fail(err)
		return nil, err
	}
	return resp.http(req), nil
}

func (w *wire) do(req *http.Request, x *exchange) (*response, *Error) {
	if err := w.allowed(req.URL); err != nil {
		return nil, err
	}
	switch {
	case req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/.well-known/openid-configuration"):
		return w.discovery.get(req)
	case req.Method == http.MethodPost:
		return w.token(req, x)
	}
	return nil, errorf("invalid_request", "the grant's Fetch asked MSAL for something other than a token (%s)", req.Method)
}

// token sends a token request and records what came back.
func (w *wire) token(req *http.Request, x *exchange) (*response, *Error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	req.Body.Close()
	if err != nil || len(body) > maxBody {
		return nil, errorf("invalid_request", "the request is larger than %d bytes", maxBody)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errorf("invalid_request", "the request is not a form")
	}
	if err := x.admit(form); err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	x.requestID = req.Header.Get("Client-Request-Id")
	resp, failed := w.read(req)
	if failed != nil {
		return nil, failed
	}
	x.receive(resp)
	return resp, nil
}

// response is an answer that was read whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (r *response) http(req *http.Request) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header.Clone(), Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)),
		Request: req,
	}
}

// read sends a request and reads the whole answer.
func (w *wire) read(req *http.Request) (*response, *Error) {
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, w.failed(req, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil && req.Context().Err() != nil:
		return nil, w.failed(req, err)
	case err != nil:
		return nil, &Error{
			Code: CodeRequestFailed, StatusCode: resp.StatusCode, CorrelationID: req.Header.Get("Client-Request-Id"), Err: neterr.Cause(err),
			Description: fmt.Sprintf("the answer of %s broke off after %d bytes", req.URL.Host, len(body)),
		}
	case len(body) > maxBody:
		return nil, &Error{
			Code: CodeInvalidResponse, StatusCode: resp.StatusCode, CorrelationID: req.Header.Get("Client-Request-Id"),
			Description: fmt.Sprintf("the answer of %s is larger than %d bytes", req.URL.Host, maxBody),
		}
	}
	return &response{resp.StatusCode, resp.Header, body}, nil
}

// failed returns the error for a request without a response.
func (w *wire) failed(req *http.Request, err error) *Error {
	text, cause := neterr.Describe(req.URL.Host, err)
	return &Error{
		Code: CodeRequestFailed, Description: text, CorrelationID: req.Header.Get("Client-Request-Id"), Err: cause,
	}
}

// allowed refuses addresses that no request of ours, with what is secret in it, may go
// to, whatever a discovery document says.
func (w *wire) allowed(u *url.URL) *Error {
	if u.Scheme != "https" {
		return errorf(CodeInvalidResponse, "the authority names an address without TLS (%s://%s)", u.Scheme, u.Host)
	}
	named := lowerHost(u.Host)
	if named == w.host || microsoftHost(w.host) && microsoftHost(named) {
		return nil
	}
	if r := w.region.known(); r != "" && named == regionalHost(r, w.host) {
		return nil
	}
	return errorf(CodeInvalidResponse, "the authority %s names an address on another host, %s", w.host, u.Host)
}
