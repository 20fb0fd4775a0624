package signin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/verify"
)

type contextKey struct{}

// visit is what [Site.Handler] leaves in the context of a request. The session is looked
// up when somebody first asks for it: pages that nobody signs in for cost nothing.
type visit struct {
	site *Site
	page string // path and query as Handler saw them, before a StripPrefix
	load func() (*session, string, error)
}

func (v *visit) session() (*session, string, error) { return v.load() }

// visit returns that of the request. Without [Site.Handler] there is none, and a new one
// does as well.
func (s *Site) visit(r *http.Request) *visit {
	if v, ok := r.Context().Value(contextKey{}).(*visit); ok && v.site == s {
		return v
	}
	return s.newVisit(r)
}

func (s *Site) newVisit(r *http.Request) *visit {
	var (
		once sync.Once
		v    *session
		name string
		err  error
	)
	return &visit{s, r.URL.RequestURI(), func() (*session, string, error) {
		once.Do(func() {
			if v, name, err = s.load(r); err != nil {
				s.tell(r.Context(), slog.LevelError, "signin: a session could not be read", err)
			}
		})
		return v, name, err
	}}
}

// AccountFromContext returns who is signed in with the browser that sent the request of
// that context. ok is false if nobody is, if the session store fails, and if the request
// did not come through [Site.Handler].
func AccountFromContext(ctx context.Context) (a authcode.Account, ok bool) {
	if v := sessionFromContext(ctx); v != nil {
		return v.Account, true
	}
	return authcode.Account{}, false
}

// ClaimsFromContext returns the claims of the ID token with which that user signed in, if
// [Config].KeepClaims is set. They were true at the sign-in. Each call returns a copy.
func ClaimsFromContext(ctx context.Context) (c *verify.Claims, ok bool) {
	return sessionFromContext(ctx).claims()
}

func sessionFromContext(ctx context.Context) *session {
	v, ok := ctx.Value(contextKey{}).(*visit)
	if !ok {
		return nil
	}
	s, _, err := v.session()
	if err != nil {
		return nil
	}
	return s
}

// TokenSource returns a source of tokens for the user that r comes from, as
// [authcode.Flow.TokenSource] does. scopes are permissions of one API; none: those of the
// flow. If nobody is signed in, its tokens fail with login_required. Give what it fails
// with to [Site.Interact].
//
// Tokens are the session's: two browsers in which somebody is signed in share none, so that
// what a second factor in one has brought is of no use in the other.
func (s *Site) TokenSource(r *http.Request, scopes ...string) *entra.TokenSource {
	v, _, err := s.visit(r).session()
	if v == nil || err != nil {
		return s.flow.TokenSource(authcode.Account{}, scopes...)
	}
	return s.flow.TokenSource(v.Account, scopes...)
}
