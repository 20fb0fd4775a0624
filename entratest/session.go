package entratest

import (
	"net/http"
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
func (s *Server) browser(r *request) browserSession {
	var b browserSession
	if c, err := r.http.Cookie(sessionCookie); err != nil || !s.unseal("session", c.Value, &b) {
		return browserSession{}
	}
	b.Accounts = slices.DeleteFunc(b.Accounts, func(a authentication) bool {
		_, f := s.fresh(&a)
		return f != nil
	})
	return b
}

func (s *Server) sessions(r *request) []authentication { return s.browser(r).Accounts }

// remember keeps a sign-in in the browser.
func (s *Server) remember(r *request, a *answer, auth authentication, client string) {
	b := s.browser(r)
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
	s.setSession(r, a, b)
}

func (s *Server) setSession(r *request, a *answer, b browserSession) {
	c := &http.Cookie{
		Name: sessionCookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(r.base, "https://"),
	}
	if len(b.Accounts) == 0 {
		c.MaxAge = -1
	} else {
		c.Value = s.sealed("session", b)
	}
	a.header.Add("Set-Cookie", c.String())
}
