package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
)

// maxSIDBytes bounds a sid, which is a GUID.
const maxSIDBytes = 256

// handleLogout serves LogoutPath. It ends the session, removes the user's tokens, and redirects the browser to Entra,
// which ends its own session. Handler has already rejected requests from other sites.
func (s *Site) handleLogout(w http.ResponseWriter, r *http.Request) {
	if !requireMethod(w, r, http.MethodPost) {
		return
	}
	v, err := s.requestState(r).session()
	ctx := context.WithoutCancel(r.Context()) // a sign-out must not stop half-way
	if err == nil {
		err = s.signOut(ctx, r, v)
	}
	if err != nil { // the browser keeps its cookie, so that the user can retry
		s.reject(w, r, "", err)
		return
	}
	deleteCookie(w, s.cookies.session(""))
	s.signOutLogins(w, r)
	to := s.flow.SignOutURL(s.config.SignedOutURL)
	if v != nil && v.Hint != "" {
		to += "&" + url.Values{"logout_hint": {v.Hint}}.Encode() // so that Entra does not show an account picker
	}
	redirect(w, r, to)
}

// signOut ends the session v of a browser and its predecessors, all others of the same session at Entra, the other
// sessions that the cookies of r name, and the sign-ins in progress of the browser. It removes their tokens. v is
// nil if no user is signed in. Then signOut ends only sessions that exist, so that requests without a session cannot
// fill the store.
//
// It is safe to retry. After a failure either the session still exists, or only unreachable data is left.
func (s *Site) signOut(ctx context.Context, r *http.Request, v *session) error {
	sessions := s.sessionKeys(r)
	var logins []string
	for _, binding := range s.pendingLogins(r) {
		if len(binding) == bindingLength {
			logins = append(logins, loginKey(binding))
		}
	}
	if v == nil {
		for _, key := range append(sessions, logins...) {
			if err := s.signOutSuccessor(ctx, key); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.flow.SignOut(ctx, v.Account); err != nil {
		return err
	}
	if v.SID != "" {
		if _, _, err := s.endEntraSession(ctx, v.SID); err != nil {
			return err
		}
	}
	for _, key := range logins {
		if err := s.cancelSignIns(ctx, key); err != nil {
			return err
		}
	}
	if err := s.endPrevious(ctx, v); err != nil {
		return err
	}
	for _, key := range slices.Backward(sessions) { // v is the first, and ends last
		if err := s.signOutSession(ctx, key); err != nil {
			return err
		}
	}
	s.logger.LogAttrs(ctx, slog.LevelInfo, "signin: signed out", slog.Any("account", v.Account))
	s.notify(Event{Kind: EventSignedOut})
	return nil
}

// handleFrontChannelLogout serves FrontChannelLogoutPath. When the user signs out elsewhere, Entra's sign-out page
// loads it in a frame. No cookie is sent with that, so the session is found by its sid, which cannot be guessed. The
// response does not reveal whether there was a session.
//
// Source: OpenID Connect Front-Channel Logout 1.0, section 2.
func (s *Site) handleFrontChannelLogout(w http.ResponseWriter, r *http.Request) {
	if !requireMethod(w, r, http.MethodGet) {
		return
	}
	setPrivate(w)
	h := w.Header()
	h.Del("X-Frame-Options") // Entra frames the response, which is empty
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.signOutBySID(context.WithoutCancel(r.Context()), r.URL.Query()["sid"]); err != nil {
		s.logError(r.Context(), slog.LevelError, "signin: front-channel logout failed", err)
		s.notifyFailed(r, kindOf(err))
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Site) signOutBySID(ctx context.Context, sids []string) error {
	if len(sids) != 1 || sids[0] == "" || len(sids[0]) > maxSIDBytes {
		return nil
	}
	e, found, err := s.endEntraSession(ctx, sids[0])
	if !found {
		return err
	}
	if err == nil {
		s.logger.LogAttrs(ctx, slog.LevelInfo, "signin: signed out by Entra", slog.Any("account", e.Account))
		s.notify(Event{Kind: EventSignedOut})
	}
	return errors.Join(err, s.flow.SignOut(ctx, e.Account)) // even after an error, because Entra does not retry
}
