// Package testkit has helpers that the tests of several packages share.
package testkit

import (
	"bytes"
	"encoding/json"
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
	Form        url.Values // the form in the body; nil without a body
}

// A Recorder is an [http.RoundTripper] that records requests whose body is a form or empty. It may be used
// concurrently.
type Recorder struct {
	Next http.RoundTripper // sends the requests; it must not change while requests are in flight

	mu       sync.Mutex // guards the fields below
	requests []Request
	respond  func(*http.Request, url.Values) (*http.Response, error)
	change   func(form url.Values, response map[string]any)
}

// NewRecorder returns a Recorder that passes requests on to next.
func NewRecorder(next http.RoundTripper) *Recorder { return &Recorder{Next: next} }

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
	respond, change := r.respond, r.change
	r.mu.Unlock()
	if respond != nil {
		if resp, err := respond(req, recorded.Form); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := r.Next.RoundTrip(req)
	if err == nil && change != nil && req.Method == http.MethodPost && resp.StatusCode == http.StatusOK {
		err = changeJSON(resp, func(body map[string]any) { change(recorded.Form, body) })
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func changeJSON(resp *http.Response, change func(map[string]any)) error {
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return err
	}
	change(body)
	changed, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
	resp.Header.Del("Content-Length")
	return nil
}

// Intercept sets a function that responds to requests. If it returns neither a response nor an error, the request is
// sent on. A nil function ends the interception.
func (r *Recorder) Intercept(respond func(*http.Request, url.Values) (*http.Response, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.respond = respond
}

// ChangeResponses sets a function that changes the JSON objects in successful responses to POST requests, which are
// token responses. form is that of the request. A nil function ends the changes.
func (r *Recorder) ChangeResponses(change func(form url.Values, response map[string]any)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = change
}

// Sent returns the requests so far.
func (r *Recorder) Sent() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Posts returns the POST requests so far, which are the token requests.
func (r *Recorder) Posts() []Request {
	return slices.DeleteFunc(r.Sent(), func(req Request) bool { return req.Method != http.MethodPost })
}

// Forms returns the forms of the POST requests so far.
func (r *Recorder) Forms() (forms []url.Values) {
	for _, req := range r.Posts() {
		forms = append(forms, req.Form)
	}
	return forms
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
