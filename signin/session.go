package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/verify"
)

const (
	// seenEvery is how often at most it is written down that a session is in use.
	seenEvery = time.Minute
	// grace is how long requests that were under way, of this tab or another, may still
	// use the session that the same account's next sign-in replaces.
	grace = 30 * time.Second
	// idLength is that of [rand.Text].
	idLength = 26
	// buried is how long it is remembered that a session has ended: longer than any
	// request takes to write down that it was in use.
	buried = 10 * time.Minute
)

// session is what is kept under the hash of an ID. Only Seen is ever changed, so requests
// at the same time lose nothing of each other's.
type session struct {
	Account authcode.Account `json:"account"`
	Hint    string           `json:"hint,omitempty"`   // the claim login_hint
	Claims  json.RawMessage  `json:"claims,omitempty"` // if they are to be kept
	SID     string           `json:"sid,omitempty"`    // Entra's session, if the ID token names it
	After   string           `json:"after,omitempty"`  // the last end of that, before this one began
	Seen    time.Time        `json:"seen"`             // last use, to the minute
	Ends    time.Time        `json:"ends"`
	Old     bool             `json:"old,omitempty"` // replaced, and ends soon
}

// entraSession is what is kept about a session of Entra's (sid) from a sign-in on. Who
// signs in at the same time, in two tabs, writes the same but for the session's name, so
// nothing is lost if one overwrites the other.
type entraSession struct {
	Account authcode.Account `json:"account"`
	Session string           `json:"session"` // the name of the latest session here
}

// ended is what is kept when Entra's session has ended: a new ID each time. Sessions that
// began under another, or none, have ended with it. A list of them could not be kept in a
// [Store] without losing some.
type ended struct {
	ID string `json:"id"`
}

// old is what is kept when a session has been replaced: by which, so that to sign out of
// the one ends the other.
type old struct {
	Next string `json:"next"`
}

// The names under which things are sealed and kept.
func sessionName(id string) string  { return fingerprint("session", id) }
func entraName(sid string) string   { return fingerprint("entra session", sid) }
func endedName(sid string) string   { return fingerprint("ended", sid) }
func burialName(name string) string { return fingerprint("burial", name) }
func oldName(name string) string    { return fingerprint("old", name) }
func outName(name string) string    { return fingerprint("signed out", name) }

// load returns the session of the request and the name it is kept under; nil if nobody is
// signed in. The error is that of a failing store.
func (s *Site) load(r *http.Request) (*session, string, error) {
	id := ""
	for _, c := range r.CookiesNamed(s.cookies.session) {
		if id != "" {
			return nil, "", nil // whose is it? somebody may have tossed one in
		}
		id = c.Value
	}
	if len(id) != idLength {
		return nil, "", nil
	}
	name := sessionName(id)
	v, err := s.find(r.Context(), name)
	if v == nil || err != nil {
		return nil, "", err
	}
	if err := s.touch(r.Context(), name, v); err != nil { // it goes on, and may end early
		s.tell(r.Context(), slog.LevelError, "signin: the use of a session could not be written down", err)
	}
	return v, name, nil
}

// find returns the session of that name, if it has not ended.
func (s *Site) find(ctx context.Context, name string) (*session, error) {
	v := new(session)
	ok, err := s.get(ctx, name, v)
	if !ok || err != nil {
		return nil, err
	}
	now := time.Now()
	if !now.Before(v.Ends) || !now.Before(v.Seen.Add(s.config.IdleTimeout)) || !s.flow.AllowsTenant(v.Account.TenantID) {
		return nil, nil
	}
	if v.SID != "" {
		var end ended
		if ok, err := s.get(ctx, endedName(v.SID), &end); err != nil || ok && end.ID != v.After {
			return nil, err
		}
	}
	return v, nil
}

// touch writes down that the session is in use. If it has ended meanwhile, that would
// bring it back: so who ends one buries it first, and who touches one looks for its
// burial afterwards. Whichever comes last in the store, it has ended.
func (s *Site) touch(ctx context.Context, name string, v *session) error {
	now := time.Now()
	if v.Old || now.Sub(v.Seen) < min(seenEvery, s.config.IdleTimeout/8) {
		return nil
	}
	seen := *v
	seen.Seen = now
	ctx = context.WithoutCancel(ctx) // once begun it is finished
	if v.SID != "" {                 // in use as long as the session, also to a store that drops what is not
		_, _ = s.get(ctx, entraName(v.SID), new(entraSession))
	}
	if err := s.put(ctx, name, seen, s.until(&seen)); err != nil {
		return err
	}
	return s.unlessEnded(ctx, name, burialName(name), oldName(name))
}

// unlessEnded takes back that a session was written, if it had ended meanwhile.
func (s *Site) unlessEnded(ctx context.Context, name string, marks ...string) error {
	for _, mark := range marks {
		if ok, err := s.get(ctx, mark, new(struct{})); ok || err != nil {
			return errors.Join(err, s.forget(ctx, name))
		}
	}
	return nil
}

// until is when the store can forget a session.
func (s *Site) until(v *session) time.Time {
	if idle := v.Seen.Add(s.config.IdleTimeout); idle.Before(v.Ends) {
		return idle
	}
	return v.Ends
}

// start keeps a new session under the name. There is none before a sign-in, and each
// sign-in has a new one, so nobody can plant the ID of somebody else's session to come.
func (s *Site) start(ctx context.Context, name string, signIn *authcode.SignIn) (err error) {
	now := time.Now().UTC().Round(0)
	v := session{Account: signIn.Account, SID: signIn.Claims.SessionID, Seen: now, Ends: now.Add(s.config.Lifetime)}
	_ = signIn.Claims.Decode("login_hint", &v.Hint) // "" if there is none
	if s.config.KeepClaims {
		if v.Claims, err = signIn.Claims.MarshalBinary(); err != nil {
			return err
		}
	}
	if v.SID != "" {
		var end ended
		if _, err := s.get(ctx, endedName(v.SID), &end); err != nil {
			return err
		}
		v.After = end.ID
		if err := s.put(ctx, entraName(v.SID), entraSession{v.Account, name}, v.Ends); err != nil {
			return err
		}
	}
	return s.put(ctx, name, v, s.until(&v))
}

// replace ends a session whose browser has signed in again: at once if it was somebody
// else's, and otherwise when the requests that are under way have had time to end.
func (s *Site) replace(ctx context.Context, name string, by authcode.Account, next string) error {
	v, err := s.find(ctx, name)
	if v == nil || err != nil {
		return err
	}
	if v.Account.HomeAccountID != by.HomeAccountID || v.Account.TenantID != by.TenantID {
		if err := s.bury(ctx, name); err != nil {
			return err
		}
		return s.flow.SignOut(ctx, v.Account)
	}
	if err := s.put(ctx, oldName(name), old{next}, time.Now().Add(buried)); err != nil || v.Old {
		return err
	}
	v.Old = true
	if ends := time.Now().Add(grace); ends.Before(v.Ends) {
		v.Ends = ends
	}
	if err := s.put(ctx, name, v, s.until(v)); err != nil {
		return err
	}
	return s.unlessEnded(ctx, name, burialName(name))
}

// bury ends a session for good.
func (s *Site) bury(ctx context.Context, name string) error {
	if err := s.put(ctx, burialName(name), struct{}{}, time.Now().Add(buried)); err != nil {
		return err
	}
	return s.forget(ctx, name)
}

// signOut ends a session for good because the user wants it, with those that have replaced
// it, and reports whether any has. A sign-in that replaces it says so before it looks whether
// the user has signed out ([Site.begun]), and here it is the other way round: so one of the
// two finds out about the other.
func (s *Site) signOut(ctx context.Context, name string) (replaced bool, err error) {
	if err := s.put(ctx, outName(name), struct{}{}, time.Now().Add(buried+s.flow.LoginTimeout())); err != nil {
		return false, err
	}
	var by old
	if replaced, err = s.get(ctx, oldName(name), &by); err != nil {
		return false, err
	}
	if replaced {
		if _, err := s.signOut(ctx, by.Next); err != nil {
			return true, err
		}
	}
	return replaced, s.bury(ctx, name)
}

// endEntra ends all sessions that belong to a session of Entra's. What is kept about that
// one stays: a sign-in under way may just have written it.
func (s *Site) endEntra(ctx context.Context, sid string) (e entraSession, found bool, err error) {
	if found, err = s.get(ctx, entraName(sid), &e); !found || err != nil {
		return e, false, err
	}
	// Those that began before it will be over when the store forgets it.
	if err := s.put(ctx, endedName(sid), ended{rand.Text()}, time.Now().Add(s.config.Lifetime+buried)); err != nil {
		return e, true, err
	}
	return e, true, s.bury(ctx, e.Session)
}

// claims are the ID token's, if they were kept.
func (v *session) claims() (*verify.Claims, bool) {
	c := new(verify.Claims)
	if v == nil || len(v.Claims) == 0 || c.UnmarshalBinary(v.Claims) != nil {
		return nil, false
	}
	return c, true
}
