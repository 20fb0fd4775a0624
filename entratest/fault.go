package entratest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Fault makes matching requests go wrong. The zero Fault matches every
// request and does nothing to it.
//
// Which requests: every set field of Path, Tenant, ClientID and GrantType must
// match. Of those, the first Skip are left alone and the next Times go wrong.
//
// What goes wrong: first the request waits for Delay. Then, if Drop is set,
// the connection breaks and there is no answer. Else, if any of Status,
// RetryAfter, ContentType, Body, Header or Error is set, that is the answer
// and the request has no effect. Else the request is served. Truncate cuts
// whatever body there is.
type Fault struct {
	// Endpoint is the endpoint: "token", "authorize", "logout", "keys",
	// "discovery" (the OpenID configuration), "instance" (the discovery of
	// clouds), "login" (the forms of the pages), "adminconsent". Zero: any.
	Endpoint string
	// Tenant is a tenant's ID or domain, or as in the path of the request,
	// "common" for instance. Zero: any.
	Tenant string
	// ClientID is the client that asks. Zero: any.
	ClientID string
	// GrantType is the grant_type as it is sent, for example
	// client_credentials. Zero: any.
	GrantType string

	// Skip is how many matching requests pass before the fault begins.
	Skip int
	// Times is how many requests go wrong. Zero: all, until the fault is
	// removed.
	Times int

	// Delay is how long the answer takes. A request whose context ends
	// leaves at once. Zero: no delay.
	Delay time.Duration
	// Status is the HTTP status of the answer. Zero: 503 for an answer made
	// by one of the following fields.
	Status int
	// RetryAfter is the Retry-After header: seconds, or an HTTP date.
	// Zero: none.
	RetryAfter string
	// ContentType is the Content-Type of Body. Zero: text/html for a Body
	// that begins with "<", else application/json.
	ContentType string
	// Body is the body of the answer. Zero: an error as Entra would send it
	// with this status.
	Body string
	// Header has further headers of the answer. Zero: none.
	Header http.Header
	// Error is the OAuth error code of an answer with Entra's error body,
	// for example invalid_grant. Zero: by Status.
	Error string
	// AADSTS is the number in that body. Zero: by Status.
	AADSTS int
	// SubError is the suberror in that body. Zero: none.
	SubError string
	// Claims is the claims challenge in that body. Zero: none.
	Claims string

	// Drop breaks the connection instead of answering.
	Drop bool
	// Truncate is how many bytes of the body arrive, of those that its
	// Content-Length announces, before the connection breaks.
	// Zero: all of them.
	Truncate int
}

// activeFault is an injected fault. Server.mu guards seen.
type activeFault struct {
	Fault
	tenant string // the ID, if Tenant is known
	seen   int    // matching requests so far
}

// Inject makes matching requests go wrong until remove is called. Of several
// faults that match a request, the one injected first is applied; the others
// don't count it.
func (s *Server) Inject(f Fault) (remove func()) {
	f.Header = f.Header.Clone()
	a := &activeFault{Fault: f, tenant: strings.ToLower(f.Tenant)}
	if t := s.registry.tenantByName[a.tenant]; t != nil {
		a.tenant = t.ID
	}
	s.mu.Lock()
	s.faults = append(s.faults, a)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(b *activeFault) bool { return a == b })
	}
}

// Faults are the injected ones that are not used up, in order.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Fault
	for _, a := range s.faults {
		list = append(list, a.Fault)
	}
	return list
}

func (a *activeFault) matches(r *request) bool {
	tenant := r.tenantName
	if r.tenant != nil {
		tenant = r.tenant.ID
	}
	return (a.Endpoint == "" || a.Endpoint == r.endpoint) &&
		(a.tenant == "" || a.tenant == tenant) &&
		(a.ClientID == "" || strings.EqualFold(a.ClientID, r.clientID)) &&
		(a.GrantType == "" || a.GrantType == r.form.Get("grant_type"))
}

// pick takes the fault for a request, if any.
func (s *Server) nextFault(r *request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range s.faults {
		if !a.matches(r) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip {
			continue
		}
		if a.Times > 0 && a.seen >= a.Skip+a.Times {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		f := a.Fault
		return &f
	}
	return nil
}

// inject applies the fault for a request. An answer without a status is none:
// the request is to be served. The error is that of the request's context.
func (s *Server) applyFault(r *request) (*response, error) {
	f := s.nextFault(r)
	if f == nil {
		return &response{}, nil
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			r.now = time.Now()
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		}
	}
	if f.Drop {
		return &response{drop: true, injected: true}, nil
	}
	if f.Status == 0 && f.RetryAfter == "" && f.ContentType == "" && f.Body == "" && f.Header == nil && f.Error == "" {
		return &response{truncate: f.Truncate}, nil
	}
	resp := f.response(r)
	resp.truncate = f.Truncate
	resp.injected = true
	return resp, nil
}

// answer is the fault's own.
func (f *Fault) response(r *request) *response {
	status := f.Status
	if status < 200 || status > 599 {
		status = http.StatusServiceUnavailable
	}
	var resp *response
	if f.Body != "" {
		kind := f.ContentType
		if kind == "" {
			kind = "application/json; charset=utf-8"
			if strings.HasPrefix(strings.TrimSpace(f.Body), "<") {
				kind = "text/html; charset=utf-8"
			}
		}
		resp = &response{status: status, header: http.Header{"Content-Type": {kind}}, body: []byte(f.Body)}
	} else {
		resp = f.err(status).response(r)
		if f.ContentType != "" {
			resp.header.Set("Content-Type", f.ContentType)
		}
	}
	for name, values := range f.Header {
		resp.header[http.CanonicalHeaderKey(name)] = values
	}
	if f.RetryAfter != "" {
		resp.header.Set("Retry-After", f.RetryAfter)
	}
	return resp
}

// refusal is the error that the fault's body tells.
func (f *Fault) err(status int) *aadstsError {
	number := f.AADSTS
	switch {
	case number != 0:
	case status == http.StatusTooManyRequests:
		number = 90055
	case status >= 500:
		number = 90033
	default:
		number = 90023
	}
	aerr := newError(number, "A fault that the test injected.")
	aerr.status = status
	if f.Error != "" {
		aerr.code = f.Error
	}
	if aerr.code == "" {
		aerr.code = "invalid_request"
	}
	aerr.suberror, aerr.claims = f.SubError, f.Claims
	return aerr
}
