package entratest

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// logout ends the browser's sessions, or with a logout_hint the one of that
// account, tells the apps signed in to through their front-channel logout URLs,
// and goes to post_logout_redirect_uri if an app registered it
// (https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request).
func (s *Server) logout(r *request) *answer {
	if r.http.Method != http.MethodGet && r.http.Method != http.MethodPost {
		return errorPage(r, refuse(900561, "This endpoint takes GET and POST requests, not %s.", quote(r.http.Method)))
	}
	hint := r.form.Get("logout_hint")
	b := s.browser(r)
	var frames []string
	b.Accounts = slices.DeleteFunc(b.Accounts, func(a authentication) bool {
		if hint != "" && !strings.EqualFold(s.hinted(hint), a.User) {
			return false
		}
		for _, id := range b.Apps[a.SID] {
			if app := s.estate.app[id]; app != nil && app.LogoutURL != "" {
				iss := v2Issuer(r.base, s.estate.user[a.User].TenantID)
				frames = append(frames, joinQuery(app.LogoutURL, url.Values{"sid": {a.SID}, "iss": {iss}}))
			}
		}
		delete(b.Apps, a.SID)
		return true
	})
	target := s.afterLogout(r)
	var a *answer
	if target != "" && len(frames) == 0 {
		a = &answer{status: http.StatusFound, header: http.Header{"Location": {target}}, location: target}
	} else {
		a = signedOutPage(r, target, frames)
	}
	s.setSession(r, a, b)
	return a
}

// afterLogout is where the browser goes, "" if the request names no place that
// an app registered.
func (s *Server) afterLogout(r *request) string {
	uri := r.form.Get("post_logout_redirect_uri")
	if uri == "" {
		return ""
	}
	for _, app := range s.estate.apps {
		if r.clientID != "" && !strings.EqualFold(app.ClientID, r.clientID) {
			continue
		}
		if app.redirectsTo(uri) {
			if state := r.form.Get("state"); state != "" {
				uri = joinQuery(uri, url.Values{"state": {state}})
			}
			return uri
		}
	}
	return ""
}

// signedOutPage loads the apps' logout URLs in frames, then goes on.
func signedOutPage(r *request, target string, frames []string) *answer {
	data := struct {
		Title, Tenant string
		Frames        []template.URL
		Target        template.URL
		Nonce         string
	}{
		Title: "Signed out", Nonce: randomToken(16),
		Target: template.URL(target), // registered by an app
	}
	if r.tenant != nil {
		data.Tenant = r.tenant.Name
	}
	sources := "'none'"
	if len(frames) > 0 {
		sources = ""
	}
	for _, f := range frames {
		data.Frames = append(data.Frames, template.URL(f)) // checked with the estate
		if u, err := url.Parse(f); err == nil {
			sources = strings.TrimSpace(sources + " " + u.Scheme + "://" + u.Host)
		}
	}
	var buf bytes.Buffer
	if err := pages["signedout"].ExecuteTemplate(&buf, "layout", data); err != nil {
		panic("entratest: " + err.Error())
	}
	return htmlAnswer(http.StatusOK, buf.Bytes(), "style-src 'unsafe-inline'; script-src 'nonce-"+data.Nonce+"'; frame-src "+sources)
}
