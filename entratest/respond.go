package entratest

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// respond sends parameters to the app in the way it asked for
// (https://openid.net/specs/oauth-v2-multiple-response-types-1_0.html,
// https://openid.net/specs/oauth-v2-form-post-response-mode-1_0.html).
func (s *Server) respond(r *request, q *signInRequest, params url.Values) *answer {
	if q.State != "" {
		params.Set("state", q.State)
	}
	target := q.Redirect
	switch q.Mode {
	case "form_post":
		a := formPostPage(r, target, params)
		a.location = joinQuery(target, params)
		return a
	case "fragment":
		target += "#" + params.Encode()
	default:
		target = joinQuery(target, params)
	}
	return &answer{
		status:   http.StatusFound,
		header:   http.Header{"Location": {target}, "Content-Type": {"text/html; charset=utf-8"}, "Referrer-Policy": {"no-referrer"}},
		location: target,
	}
}

// joinQuery adds parameters to a redirect URI, which may have some of its own
// (RFC 6749 section 3.1.2).
func joinQuery(uri string, params url.Values) string {
	if strings.Contains(uri, "?") {
		return uri + "&" + params.Encode()
	}
	return uri + "?" + params.Encode()
}

// respondError tells the app that its request was refused
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-response).
func (s *Server) respondError(r *request, q *signInRequest, f *refusal) *answer {
	params := url.Values{
		"error":             {f.code},
		"error_description": {f.description(r)},
		"error_uri":         {r.base + "/error?code=" + strconv.Itoa(f.aadsts)},
	}
	if f.suberror != "" {
		params.Set("suberror", f.suberror)
	}
	if f.claims != "" {
		params.Set("claims", f.claims)
	}
	if q.Admin {
		params.Set("admin_consent", "True")
	}
	a := s.respond(r, q, params)
	a.refused = f
	return a
}

// stop ends a sign-in that cannot go on with this user: a person gets a page,
// from which only going back helps; an app that asked for none gets the error.
func (s *Server) stop(r *request, q *signInRequest, f *refusal) *answer {
	if q.Prompt == "none" {
		return s.respondError(r, q, f)
	}
	return errorPage(r, f)
}

// halfHash is the value of c_hash (OpenID Connect Core section 3.3.2.11).
func halfHash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return b64.EncodeToString(sum[:16])
}
