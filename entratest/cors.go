package entratest

import "net/http"

// crossOrigin reports whether r is a request of a script of another origin, which may
// read the endpoint. See the section on single-page apps of
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow.
func (r *request) crossOrigin() bool {
	switch r.endpoint {
	case EndpointToken, EndpointKeys, EndpointDiscovery, EndpointInstance, EndpointUserInfo, EndpointGraph:
		return r.http.Header.Get("Origin") != ""
	}
	return false
}

// preflightResponse returns the response to a CORS preflight request, or nil if r is
// not one (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
func preflightResponse(r *request) *response {
	if r.http.Method != http.MethodOptions || !r.crossOrigin() {
		return nil
	}
	h := http.Header{"Access-Control-Allow-Methods": {"GET, POST, OPTIONS"}, "Access-Control-Max-Age": {"86400"}}
	if names := r.http.Header.Get("Access-Control-Request-Headers"); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	return &response{status: http.StatusOK, header: h}
}
