package entratest

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// sessionCookie holds who is signed in with a browser, sealed.
const sessionCookie = "ESTSAUTHPERSISTENT"

// maxSessions bounds the accounts that a browser is signed in with.
const maxSessions = 5

// maxApps bounds the apps remembered with each, so that the cookie stays small.
const maxApps = 8

// browserSession is what the cookie keeps.
type browserSession struct {
	Accounts []authentication    `json:"a"`
	Apps     map[string][]string `json:"p,omitempty"` // by session: client IDs signed in to
}

// browser reads the cookie, without sessions that were revoked.
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

// remember keeps a sign-in in the browser.
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

// logout ends the browser's sessions, or with a logout_hint the one of that
// account, tells the apps signed in to through their front-channel logout URLs,
// and goes to post_logout_redirect_uri if an app registered it
// (https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request).
func (s *Server) handleLogout(r *request) *response {
	if r.http.Method != http.MethodGet && r.http.Method != http.MethodPost {
		return errorPage(r, newError(900561, "This endpoint takes GET and POST requests, not %s.", printable(r.http.Method)))
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
				iss := v2Issuer(r.base, s.registry.userByName[a.User].TenantID)
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

// afterLogout is where the browser goes, "" if the request names no place that
// an app registered.
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

// signedOutPage loads the apps' logout URLs in frames, then goes on.
func signedOutPage(r *request, target string, frames []string) *response {
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
	return htmlResponse(http.StatusOK, buf.Bytes(), "style-src 'unsafe-inline'; script-src 'nonce-"+data.Nonce+"'; frame-src "+sources)
}
