package entratest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// The endpoints of a [Fault], a [Match] and a [Request].
const (
	EndpointToken        = "token"
	EndpointAuthorize    = "authorize"
	EndpointLogout       = "logout"
	EndpointKeys         = "keys"         // the JSON Web Key Set
	EndpointDiscovery    = "discovery"    // the OpenID configuration
	EndpointInstance     = "instance"     // instance discovery, which lists the clouds
	EndpointLogin        = "login"        // the forms of the sign-in pages
	EndpointAdminConsent = "adminconsent" // consent of an administrator
	EndpointUserInfo     = "userinfo"     // the UserInfo endpoint of Microsoft Graph
	EndpointGraph        = "graph"        // other requests to Microsoft Graph
	EndpointDeviceCode   = "devicecode"   // the device authorization endpoint
	EndpointDeviceAuth   = "deviceauth"   // the page for the user code
	EndpointUserRealm    = "userrealm"    // the type of an account, for the password grant
)

// A Fault makes matching requests fail or slows them down. The zero Fault
// matches every request and has no effect.
//
// A request matches if it matches each of Endpoint, Tenant, ClientID and
// GrantType that is not empty. The first Skip matching requests are served
// normally. The fault applies to the next Times requests.
//
// An affected request first waits for Delay. Then:
//
//   - If Drop is set, the connection is closed without a response.
//   - Otherwise, if any of Status, RetryAfter, ContentType, Body, Header and Error
//     is set, these fields make the response, and the request has no effect.
//     Without a Body, the response is a JSON error as Entra sends it.
//   - Otherwise, the request is served. AADSTS, SubError and Claims alone do not
//     make a response.
//
// Finally, Truncate cuts the body of the response.
type Fault struct {
	// Endpoint is one of the Endpoint constants. If empty, any endpoint matches.
	Endpoint string
	// Tenant is the ID or domain of a tenant, or another name in the path of the
	// request, such as common. If empty, any tenant matches.
	Tenant string
	// ClientID is the client that sends the request. If empty, any client matches.
	ClientID string
	// GrantType is the grant_type parameter, such as client_credentials. If
	// empty, any grant type matches.
	GrantType string

	// Skip is the number of matching requests before the fault applies.
	Skip int
	// Times is the number of requests to which the fault applies. If zero, it
	// applies until it is removed.
	Times int

	// Delay is the time before the response. It ends early, without a response,
	// if the request's context ends.
	Delay time.Duration
	// Status is the HTTP status. Defaults to 503 if another field of the response
	// is set.
	Status int
	// RetryAfter is the Retry-After header, in seconds or as an HTTP date.
	RetryAfter string
	// ContentType is the Content-Type header. Defaults to text/html for a Body
	// that begins with "<", otherwise to application/json.
	ContentType string
	// Body is the body of the response. If empty, it is a JSON error with the
	// values of Error, AADSTS, SubError and Claims.
	Body string
	// Header has headers to set in the response.
	Header http.Header
	// Error is the OAuth error code, such as invalid_grant. Defaults to the code
	// that Entra sends with the number in AADSTS.
	Error string
	// AADSTS is the error number. Defaults to 90055 for status 429, to 90033 for
	// status 500 and above, and otherwise to 90023.
	AADSTS int
	// SubError is the suberror. Omitted if empty.
	SubError string
	// Claims is the claims challenge. Omitted if empty.
	Claims string

	// Drop closes the connection without a response.
	Drop bool
	// Truncate is the number of bytes of the body that are sent before the
	// connection closes. The Content-Length header is that of the whole body. If
	// zero, the body is not truncated.
	Truncate int
}

// activeFault is an injected fault. Server.mu guards seen.
type activeFault struct {
	Fault
	tenant string // lower-case Fault.Tenant, or the ID of that tenant
	seen   int    // number of matching requests
}

// Inject applies f to matching requests until remove is called. If several faults
// match a request, they are tried in order of injection. The first one that does
// not skip the request applies. Later ones do not count the request.
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

// Faults returns the injected faults that may still apply, in order of injection.
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

// nextFault returns the fault that applies to r, or nil, and counts r.
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

// applyFault applies the fault for a request, if any. If the status of the
// response is zero and drop is not set, the request must be served. The error is
// that of the request's context.
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
	if f.Status == 0 && f.RetryAfter == "" && f.ContentType == "" && f.Body == "" && f.Header == nil &&
		f.Error == "" {
		return &response{truncate: f.Truncate}, nil
	}
	resp := f.response(r)
	resp.truncate = f.Truncate
	resp.injected = true
	return resp, nil
}

// response returns the response made by the fields of f.
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

// err returns the error in the response to r if Body is empty.
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
	aerr := newError(number, "This error was injected by the test.")
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
