package entratest

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A response is the server's response to a request, or a dropped connection.
type response struct {
	status   int
	header   http.Header
	body     []byte
	err      *aadstsError // the error for the journal, or nil
	injected bool         // made by a Fault
	drop     bool         // close the connection instead of responding
	truncate int          // if positive, the number of bytes of the body to send
	page     string       // title of the page in body, for the console
	location string       // for SignIn: the URL that the browser opens next
}

func jsonResponse(status int, body any) *response {
	data, err := json.Marshal(body)
	if err != nil {
		panic("entratest: encode response: " + err.Error())
	}
	return &response{
		status: status,
		header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		body:   data,
	}
}

func notFoundResponse() *response {
	return &response{
		status: http.StatusNotFound,
		header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		body:   []byte("not found\n"),
	}
}

// redirectToApp sends params to the app in the response mode of q. In a query or
// fragment response, a redirect URI without a path has a slash
// (https://learn.microsoft.com/entra/identity-platform/reply-url,
// https://openid.net/specs/oauth-v2-multiple-response-types-1_0.html,
// https://openid.net/specs/oauth-v2-form-post-response-mode-1_0.html).
func (s *Server) redirectToApp(r *request, q *signInRequest, params url.Values) *response {
	if q.State != "" {
		params.Set("state", q.State)
	}
	target := q.Redirect
	switch q.Mode {
	case "form_post":
		resp := formPostPage(r, target, params)
		resp.location = addQuery(target, params)
		return resp
	case "fragment":
		target = withPath(target) + "#" + params.Encode()
	default:
		target = addQuery(withPath(target), params)
	}
	return &response{
		status: http.StatusFound,
		header: http.Header{
			"Location": {target}, "Content-Type": {"text/html; charset=utf-8"}, "Referrer-Policy": {"no-referrer"},
		},
		location: target,
	}
}

// addQuery adds parameters to a redirect URI, which may already have a query
// (RFC 6749, section 3.1.2).
func addQuery(uri string, params url.Values) string {
	if strings.Contains(uri, "?") {
		return uri + "&" + params.Encode()
	}
	return uri + "?" + params.Encode()
}

// redirectError sends the error to the app
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-response).
func (s *Server) redirectError(r *request, q *signInRequest, aerr *aadstsError) *response {
	if q.Device != "" {
		return s.finishDevice(q, "", aerr)
	}
	params := url.Values{
		"error":             {aerr.code},
		"error_description": {aerr.description(r)},
	}
	if aerr.number != 0 {
		params.Set("error_uri", r.base+"/error?code="+strconv.Itoa(aerr.number))
	}
	if aerr.subcode != "" {
		params.Set("error_subcode", aerr.subcode)
	}
	if aerr.suberror != "" {
		params.Set("suberror", aerr.suberror)
	}
	if aerr.claims != "" {
		params.Set("claims", aerr.claims)
	}
	if q.Admin {
		params.Set("admin_consent", "True")
	}
	resp := s.redirectToApp(r, q, params)
	resp.err = aerr
	return resp
}

// failSignIn ends a sign-in that cannot succeed with this user. The user sees an
// error page. If the app requested prompt=none, it gets the error instead.
func (s *Server) failSignIn(r *request, q *signInRequest, aerr *aadstsError) *response {
	if q.Prompt == "none" {
		return s.redirectError(r, q, aerr)
	}
	return errorPage(r, aerr)
}

// leftHalfHash returns the value of c_hash (OpenID Connect Core, section
// 3.3.2.11).
func leftHalfHash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return b64.EncodeToString(sum[:16])
}
