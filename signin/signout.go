package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
)

// logout answers LogoutPath: it ends the session here, forgets the user's tokens, and
// sends the browser to Entra, so that the session there ends, too. Handler has made sure
// that no other site sent it.
func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	if !only(w, r, http.MethodPost) {
		return
	}
	v, name, err := s.visit(r).session()
	ctx := context.WithoutCancel(r.Context()) // once begun it is finished
	if v != nil && err == nil {
		err = s.end(ctx, v, name)
	}
	if err != nil { // the browser keeps its cookie, so that the user can try again
		s.refuse(w, r, "", err)
		return
	}
	expire(w, s.cookies.sessionCookie(""))
	open, broken := s.attempts(r)
	for _, a := range open {
		broken = append(broken, a.name)
	}
	for _, name := range broken {
		expire(w, s.cookies.loginCookie(name, "", -1))
	}
	to := s.flow.SignOutURL(s.config.SignedOutURL)
	if v != nil && v.Hint != "" {
		to += "&" + url.Values{"logout_hint": {v.Hint}}.Encode() // Entra need not ask whom
	}
	private(w)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// end ends a session, with those that belong to the same session at Entra, and forgets its
// tokens. If it fails half-way the session itself is still there, or all is done but for what
// nobody can reach: so to try again ends the rest.
func (s *Site) end(ctx context.Context, v *session, name string) error {
	if err := s.flow.SignOut(ctx, v.Account); err != nil {
		return err
	}
	if v.SID != "" {
		if _, _, err := s.endEntra(ctx, v.SID); err != nil {
			return err
		}
	}
	replaced, err := s.signOut(ctx, name)
	if err != nil {
		return err
	}
	s.logger.LogAttrs(ctx, slog.LevelInfo, "signin: signed out", slog.Any("account", v.Account))
	if !replaced {
		return nil
	}
	return s.flow.SignOut(ctx, v.Account) // what the sign-in that replaced it has brought
}

// frontChannelLogout answers Entra, which loads it in a frame of its sign-out page when
// the user signs out anywhere. No cookie comes with that, so the session is found by its
// sid, which nobody can guess. The answer is the same whether there was one.
//
// Source: OpenID Connect Front-Channel Logout 1.0, section 2.
func (s *Site) frontChannelLogout(w http.ResponseWriter, r *http.Request) {
	if !only(w, r, http.MethodGet) {
		return
	}
	private(w)
	h := w.Header()
	h.Del("X-Frame-Options") // Entra frames it, and there is nothing to see or to click on
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.signedOutByEntra(context.WithoutCancel(r.Context()), r.URL.Query()["sid"]); err != nil {
		s.tell(r.Context(), slog.LevelError, "signin: front-channel logout failed", err)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Site) signedOutByEntra(ctx context.Context, sids []string) error {
	if len(sids) != 1 || sids[0] == "" || len(sids[0]) > maxSID {
		return nil
	}
	e, found, err := s.endEntra(ctx, sids[0])
	if !found {
		return err
	}
	if err == nil {
		s.logger.LogAttrs(ctx, slog.LevelInfo, "signin: signed out by Entra", slog.Any("account", e.Account))
	}
	return errors.Join(err, s.flow.SignOut(ctx, e.Account)) // Entra does not try again
}

// maxSID bounds a sid, which is a GUID.
const maxSID = 256
