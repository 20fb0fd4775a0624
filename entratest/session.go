package entratest

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// sessionCookie has the encrypted browserSession.
const sessionCookie = "ESTSAUTHPERSISTENT"

// maxSessions is the maximum number of accounts signed in with a browser.
const maxSessions = 5

// maxApps is the maximum number of stored apps per account. It limits the size of
// the cookie.
const maxApps = 8

// A browserSession is the data of the session cookie.
type browserSession struct {
	Accounts []authentication    `json:"a"`
	Apps     map[string][]string `json:"p,omitempty"` // client IDs that the user signed in to, by session ID
}

// readBrowserSession reads the cookie. It omits revoked sessions.
func (s *Server) readBrowserSession(r *request) browserSession {
	var b browserSession
	if c, err := r.http.Cookie(sessionCookie); err != nil || !s.unseal("session", c.Value, &b) {
		return browserSession{}
	}
	b.Accounts = slices.DeleteFunc(b.Accounts, func(a authentication) bool {
		_, aerr := s.activeUser(&a)
		return aerr != nil
	})
	return b
}

func (s *Server) signedInAccounts(r *request) []authentication {
	return s.readBrowserSession(r).Accounts
}

// addToBrowserSession adds a sign-in to the cookie.
func (s *Server) addToBrowserSession(r *request, resp *response, auth authentication, client string) {
	b := s.readBrowserSession(r)
	b.Accounts = slices.DeleteFunc(b.Accounts, func(old authentication) bool {
		if old.User == auth.User && old.SID != auth.SID {
			delete(b.Apps, old.SID)
		}
		return old.User == auth.User
	})
	if len(b.Accounts) >= maxSessions {
		delete(b.Apps, b.Accounts[0].SID)
		b.Accounts = b.Accounts[1:]
	}
	b.Accounts = append(b.Accounts, auth)
	if b.Apps == nil {
		b.Apps = map[string][]string{}
	}
	if !slices.Contains(b.Apps[auth.SID], client) && len(b.Apps[auth.SID]) < maxApps {
		b.Apps[auth.SID] = append(b.Apps[auth.SID], client)
	}
	s.writeBrowserSession(r, resp, b)
}

func (s *Server) writeBrowserSession(r *request, resp *response, b browserSession) {
	c := &http.Cookie{
		Name: sessionCookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(r.base, "https://"),
	}
	if len(b.Accounts) == 0 {
		c.MaxAge = -1
	} else {
		c.Value = s.seal("session", b)
	}
	resp.header.Add("Set-Cookie", c.String())
}

// handleLogout ends the browser's sessions, or only that of the account in
// logout_hint. It notifies the apps through their front-channel logout URLs and
// redirects to post_logout_redirect_uri if an app registered it
// (https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request).
func (s *Server) handleLogout(r *request) *response {
	if r.http.Method != http.MethodGet && r.http.Method != http.MethodPost {
		return errorPage(r, methodError(r, "GET and POST"))
	}
	hint := r.form.Get("logout_hint")
	b := s.readBrowserSession(r)
	var frames []string
	b.Accounts = slices.DeleteFunc(b.Accounts, func(a authentication) bool {
		if hint != "" && !strings.EqualFold(s.usernameFromHint(hint), a.User) {
			return false
		}
		for _, id := range b.Apps[a.SID] {
			if app := s.registry.appByID[id]; app != nil && app.LogoutURL != "" {
				iss := s.registry.v2Issuer(r.base, s.registry.userByName[a.User].TenantID)
				frames = append(frames, addQuery(app.LogoutURL, url.Values{"sid": {a.SID}, "iss": {iss}}))
			}
		}
		delete(b.Apps, a.SID)
		return true
	})
	target := s.postLogoutURL(r)
	var resp *response
	if target != "" && len(frames) == 0 {
		resp = &response{status: http.StatusFound, header: http.Header{"Location": {target}}, location: target}
	} else {
		resp = signedOutPage(r, target, frames)
	}
	s.writeBrowserSession(r, resp, b)
	return resp
}

// postLogoutURL returns the URL to which the browser is redirected, or "" if the
// request does not name a registered URL.
func (s *Server) postLogoutURL(r *request) string {
	uri := r.form.Get("post_logout_redirect_uri")
	if uri == "" {
		return ""
	}
	for _, app := range s.registry.apps {
		if r.clientID != "" && !strings.EqualFold(app.ClientID, r.clientID) {
			continue
		}
		if app.hasRedirectURI(uri) {
			if state := r.form.Get("state"); state != "" {
				uri = addQuery(uri, url.Values{"state": {state}})
			}
			return uri
		}
	}
	return ""
}

// signedOutPage loads the apps' logout URLs in frames, then redirects to target.
func signedOutPage(r *request, target string, frames []string) *response {
	data := struct {
		Title, Tenant string
		Frames        []template.URL
		Target        template.URL
		Nonce         string
	}{
		Title: "Signed out", Nonce: randomToken(16),
		Target: template.URL(target), // safe: registered by an app
	}
	if r.tenant != nil {
		data.Tenant = r.tenant.Name
	}
	sources := "'none'"
	if len(frames) > 0 {
		sources = ""
	}
	for _, f := range frames {
		data.Frames = append(data.Frames, template.URL(f)) // safe: checked by newRegistry
		if u, err := url.Parse(f); err == nil {
			sources = strings.TrimSpace(sources + " " + u.Scheme + "://" + u.Host)
		}
	}
	var buf bytes.Buffer
	if err := pages["signedout"].ExecuteTemplate(&buf, "layout", data); err != nil {
		panic("entratest: " + err.Error())
	}
	resp := htmlResponse(http.StatusOK, buf.Bytes(),
		"style-src 'unsafe-inline'; script-src 'nonce-"+data.Nonce+"'; frame-src "+sources)
	resp.page = data.Title
	return resp
}
