// Package testkit has helpers that the tests of several packages share.
package testkit

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// RoundTripper is a function that implements [http.RoundTripper].
type RoundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f RoundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A Request is a request that a [Recorder] has recorded.
type Request struct {
	Method, URL string
	Header      http.Header
	Form        url.Values // the form in the body; nil if there is no body
}

// A Recorder is an [http.RoundTripper] that records requests whose body is a form or empty. It may be used
// concurrently.
type Recorder struct {
	next http.RoundTripper

	mu       sync.Mutex // guards the fields below
	requests []Request
	respond  func(*http.Request, url.Values) (*http.Response, error)
}

// NewRecorder returns a Recorder that passes requests on to next.
func NewRecorder(next http.RoundTripper) *Recorder { return &Recorder{next: next} }

// RoundTrip records req and sends it on.
func (r *Recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	recorded := Request{Method: req.Method, URL: req.URL.String(), Header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
		if recorded.Form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	r.requests = append(r.requests, recorded)
	respond := r.respond
	r.mu.Unlock()
	if respond != nil {
		if resp, err := respond(req, recorded.Form); resp != nil || err != nil {
			return resp, err
		}
	}
	return r.next.RoundTrip(req)
}

// Intercept sets a function that responds to requests. If it returns neither a response nor an error, the request is
// sent on. A nil function ends the interception.
func (r *Recorder) Intercept(respond func(*http.Request, url.Values) (*http.Response, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.respond = respond
}

// Requests returns the requests so far.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Forms returns the forms of the POST requests so far, which are the token requests.
func (r *Recorder) Forms() (forms []url.Values) {
	for _, req := range r.Requests() {
		if req.Method == http.MethodPost {
			forms = append(forms, req.Form)
		}
	}
	return forms
}

// Forget forgets the requests so far.
func (r *Recorder) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// Response returns a response with the given headers, which are names and values in turn.
func Response(req *http.Request, status int, contentType, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {contentType}}
	for pair := range slices.Chunk(headers, 2) {
		h.Set(pair[0], pair[1])
	}
	return &http.Response{
		StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader([]byte(body))),
		ContentLength: int64(len(body)), Request: req,
	}
}
