package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/verify"
)

// Store keys and lifetimes of the records below are explained, with the protocols that use them, in
// docs/design/signin.md.

const (
	// touchInterval is the minimum time between two writes that record the use of a session.
	touchInterval = time.Minute
	// replacedGrace is how long a replaced session stays valid for the same user, for requests in flight.
	replacedGrace = 30 * time.Second
	// idLength is the length of the result of [rand.Text].
	idLength = 26
	// linkLength is the length of the result of link.
	linkLength = 43
	// tombstoneTTL is how long the end of a session is remembered. It exceeds the time that any request needs to
	// record the use of a session.
	tombstoneTTL = 10 * time.Minute
)

// session is the record under sessionKey. Only LastSeen changes between a sign-in and the next, so concurrent
// requests cannot overwrite each other's changes.
type session struct {
	Account  authcode.Account `json:"account"`
	Hint     string           `json:"hint,omitempty"`   // the claim login_hint
	Claims   json.RawMessage  `json:"claims,omitempty"` // with Config.KeepClaims
	SID      string           `json:"sid,omitempty"`    // ID of Entra's session, if the ID token has it
	Epochs   epochs           `json:"epochs"`
	LastSeen time.Time        `json:"last_seen"` // to the minute
	Expires  time.Time        `json:"expires"`
	Replaced bool             `json:"replaced,omitempty"` // by a new sign-in; expires after replacedGrace
	Previous string           `json:"previous,omitempty"` // key of the session that this one has replaced

	key string // of this record
}

// epochs are those in which a session started. It has ended if one of them is over.
type epochs struct {
	Entra string `json:"entra,omitempty"` // of the session of Entra
	User  string `json:"user,omitempty"`  // of all sessions of the user
	Name  string `json:"name,omitempty"`  // of the user's sessions with the same Account.Session
	// Checked is the latest change of User or Name, of any session of the user, that this session has survived. While
	// there is no other, a request reads one record instead of two.
	Checked string `json:"checked,omitempty"`
}

// epoch is written with a new random ID when sessions end. It ends every session that started in another epoch. A list
// of sessions would not work: a [Store] lacks atomic updates, so entries could be lost.
type epoch struct {
	ID string `json:"id"`
}

// entraSession is the record of an epoch of a session of Entra (sid). Concurrent sign-ins in two tabs write records
// that differ only in Session, so either may overwrite the other.
type entraSession struct {
	Account authcode.Account `json:"account"`
	Session string           `json:"session"` // key of the latest session here
}

// user is the record of a user. All sign-ins of a user write the same.
type user struct {
	HomeAccountID string `json:"home_account_id"`
}

// successor is written when a session is replaced, so that signing out of it ends its successor, too.
type successor struct {
	Key string `json:"key"`
}

func sessionKey(id string) string     { return linkedKey(link(id)) }
func entraEpochKey(sid string) string { return fingerprint("entra epoch", sid) }
func tombstoneKey(key string) string  { return fingerprint("tombstone", key) }
func successorKey(key string) string  { return fingerprint("successor", key) }
func signedOutKey(key string) string  { return fingerprint("signed out", key) }

func entraSessionKey(sid, epoch string) string { return fingerprint("entra session", epoch+"\x00"+sid) }

// userKey returns the key of the record of a user, who is given by the tid and oid claims.
func userKey(tenantID, objectID string) string { return fingerprint("user", tenantID+" "+objectID) }
func userEpochKey(tenantID, objectID string) string {
	return fingerprint("user epoch", tenantID+" "+objectID)
}
func userChangeKey(tenantID, objectID string) string {
	return fingerprint("user change", tenantID+" "+objectID)
}

func nameEpochKey(a authcode.Account) string {
	return fingerprint("name epoch", a.TenantID+" "+a.ObjectID+" "+a.Session)
}

// link returns a text that names a session and is not accepted in place of its ID. The key of its record is a hash of
// it, so that a browser cannot name any other record.
func link(id string) string { return fingerprint("link", id) }

func linkedKey(link string) string { return fingerprint("session", link) }

// loginKey stands for a login in place of the session that it will create.
func loginKey(binding string) string { return fingerprint("login", binding) }

// contextKey is the key of the requestState of a site in the context of a request. If site is nil, it is that of the
// innermost [Site.Handler] or [Site.RequireSignIn].
type contextKey struct{ site *Site }

// requestState is what [Site.Handler] stores in the context of a request.
type requestState struct {
	page    string                   // path and query as Handler saw them, before any StripPrefix
	session func() (*session, error) // loads the session at the first call, so public pages cost nothing
}

// withRequestState returns r with a new requestState in its context.
func (s *Site) withRequestState(r *http.Request) *http.Request {
	st := &requestState{r.URL.RequestURI(), sync.OnceValues(func() (*session, error) {
		v, err := s.loadSession(r)
		if err != nil {
			s.logError(r.Context(), slog.LevelError, "signin: session could not be read", err)
		}
		return v, err
	})}
	return st.inContext(r.WithContext(context.WithValue(r.Context(), contextKey{s}, st)))
}

// inContext returns r with st as the state that [AccountFromContext] uses.
func (st *requestState) inContext(r *http.Request) *http.Request {
	if r.Context().Value(contextKey{}) == st {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), contextKey{}, st))
}

// requestState returns the state that Handler stored, or nil if r did not pass through it. Exported methods check that
// and reject r: outside of Handler, requests of other sites would count as the user's.
func (s *Site) requestState(r *http.Request) *requestState {
	st, _ := r.Context().Value(contextKey{s}).(*requestState)
	return st
}

// AccountFromContext returns the user who is signed in to the session of a request, given its context. ok is false if
// no user is signed in, if the session store fails, and if the request did not pass through [Site.Handler]. If an app
// has several sites, it is the user of the innermost [Site.Handler] or [Site.RequireSignIn].
func AccountFromContext(ctx context.Context) (a authcode.Account, ok bool) {
	if v := sessionFromContext(ctx); v != nil {
		return v.Account, true
	}
	return authcode.Account{}, false
}

// ClaimsFromContext returns the claims of the ID token with which the user of [AccountFromContext] signed in. They
// are as old as the sign-in. ok is false without Config.KeepClaims. Each call returns a copy.
func ClaimsFromContext(ctx context.Context) (c *verify.Claims, ok bool) {
	return sessionFromContext(ctx).claims()
}

func sessionFromContext(ctx context.Context) *session {
	st, ok := ctx.Value(contextKey{}).(*requestState)
	if !ok {
		return nil
	}
	v, err := st.session()
	if err != nil {
		return nil
	}
	return v
}

// TokenSource returns a source of tokens for the user of r, as [authcode.Flow.TokenSource] does. scopes are
// permissions of one API; if empty, those of the flow are used. If no user is signed in, or r did not pass through
// [Site.Handler], Token fails with the code "login_required". Pass errors of the source to [Site.Interact].
//
// Tokens belong to the session. Two browsers of one user share no tokens, so a second factor in one of them does not
// count in the other.
func (s *Site) TokenSource(r *http.Request, scopes ...string) *entra.TokenSource {
	if s.isZero() {
		return new(entra.TokenSource)
	}
	var user authcode.Account
	if st := s.requestState(r); st == nil {
		s.logError(r.Context(), slog.LevelError, "signin: no tokens", errNoHandler)
	} else if v, err := st.session(); v != nil && err == nil {
		user = v.Account
	}
	return s.flow.TokenSource(user, scopes...)
}

// loadSession returns the session of the request's cookie, or nil. The error is a failure of the store.
func (s *Site) loadSession(r *http.Request) (*session, error) {
	id := s.sessionID(r)
	if id == "" {
		return nil, nil
	}
	v, err := s.findSession(r.Context(), sessionKey(id))
	if v == nil || err != nil {
		return nil, err
	}
	if err := s.touch(r.Context(), v); err != nil { // the session continues, but may expire early
		s.logError(r.Context(), slog.LevelError, "signin: use of the session could not be recorded", err)
	}
	return v, nil
}

// sessionID returns the value of the session cookie, or "".
func (s *Site) sessionID(r *http.Request) string {
	cookies := r.CookiesNamed(s.cookies.sessionName)
	if len(cookies) != 1 || len(cookies[0].Value) != idLength { // with two, another host may have set one of them
		return ""
	}
	return cookies[0].Value
}

// findSession returns the valid session under key, or nil.
func (s *Site) findSession(ctx context.Context, key string) (*session, error) {
	v := &session{key: key}
	ok, err := s.get(ctx, key, v)
	if !ok || err != nil {
		return nil, err
	}
	now := time.Now()
	idle := !now.Before(v.LastSeen.Add(s.config.IdleTimeout))
	if idle || !now.Before(v.Expires) || !s.flow.AllowsTenant(v.Account.TenantID) {
		return nil, nil
	}
	if over, err := s.isOver(ctx, v); over || err != nil {
		return nil, err
	}
	return v, nil
}

// isOver reports whether one of the epochs in which v started is over.
func (s *Site) isOver(ctx context.Context, v *session) (bool, error) {
	if v.SID != "" {
		if id, err := s.epoch(ctx, entraEpochKey(v.SID)); err != nil || another(id, v.Epochs.Entra) {
			return true, err
		}
	}
	now, err := s.epoch(ctx, userChangeKey(v.Account.TenantID, v.Account.ObjectID))
	if err != nil || now == v.Epochs.Checked {
		return false, err
	}
	e, err := s.userEpochs(ctx, v.Account)
	if err != nil || another(e.User, v.Epochs.User) || another(e.Name, v.Epochs.Name) {
		return true, err
	}
	v.Epochs.Checked = now // stored by touch
	return false, nil
}

// another reports whether a session has ended because a new epoch began after the session started. If the store has no
// record of an epoch, current is empty, and no epoch began during the session: its record would outlive the session.
func another(current, started string) bool { return current != "" && current != started }

// userEpochs returns the current epochs, without that of Entra. It reads Checked first, because the end of a session
// writes it last.
func (s *Site) userEpochs(ctx context.Context, a authcode.Account) (e epochs, err error) {
	if e.Checked, err = s.epoch(ctx, userChangeKey(a.TenantID, a.ObjectID)); err != nil {
		return e, err
	}
	if e.User, err = s.epoch(ctx, userEpochKey(a.TenantID, a.ObjectID)); err != nil {
		return e, err
	}
	e.Name, err = s.epoch(ctx, nameEpochKey(a))
	return e, err
}

// epoch returns the ID of the epoch under key, or "" for the first.
func (s *Site) epoch(ctx context.Context, key string) (string, error) {
	var e epoch
	_, err := s.get(ctx, key, &e)
	return e.ID, err
}

// startEpoch ends the epoch under key. The record expires later than every session that started in an earlier epoch.
func (s *Site) startEpoch(ctx context.Context, key string) error {
	return s.put(ctx, key, epoch{rand.Text()}, time.Now().Add(s.config.Lifetime+tombstoneTTL))
}

// touch records that the session is in use. A concurrent sign-out must win. The sign-out therefore writes a tombstone
// before it deletes the session, and touch checks for one after it writes. In either order the session is gone.
func (s *Site) touch(ctx context.Context, v *session) error {
	now := time.Now()
	if v.Replaced || now.Sub(v.LastSeen) < min(touchInterval, s.config.IdleTimeout/8) {
		return nil
	}
	seen := *v
	seen.LastSeen = now
	if v.SID != "" { // a store that evicts by last use must not evict this record first
		_, _ = s.get(ctx, entraSessionKey(v.SID, v.Epochs.Entra), new(entraSession))
	}
	return s.putUnlessMarked(ctx, seen, tombstoneKey(v.key), successorKey(v.key))
}

// putUnlessMarked writes a session, and deletes it again if one of the marks exists. A write without the check could
// restore a session that has ended. The check therefore happens even if the client is gone, and also if the write takes
// longer than the request waits for it. Writes that hang stay in progress for up to a minute, and each request starts
// another one. They have a limiter of their own, because reads must continue.
func (s *Site) putUnlessMarked(ctx context.Context, v session, marks ...string) error {
	ctx = context.WithoutCancel(ctx)
	_, err := bounded(ctx, s.finishing, func(context.Context) (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, finishTimeout)
		defer cancel()
		if err := s.unbounded.put(ctx, v.key, v, s.storeExpiry(&v)); err != nil {
			return struct{}{}, err
		}
		for _, mark := range marks {
			if ok, err := s.unbounded.get(ctx, mark, new(struct{})); ok || err != nil {
				return struct{}{}, errors.Join(err, s.unbounded.delete(ctx, v.key))
			}
		}
		return struct{}{}, nil
	})
	return err
}

// storeExpiry returns when the store may drop a session.
func (s *Site) storeExpiry(v *session) time.Time {
	if idle := v.LastSeen.Add(s.config.IdleTimeout); idle.Before(v.Expires) {
		return idle
	}
	return v.Expires
}

// currentEpochs returns the epochs in which a session of the sign-in starts.
func (s *Site) currentEpochs(ctx context.Context, signIn *authcode.SignIn) (e epochs, err error) {
	if e, err = s.userEpochs(ctx, signIn.Account); err == nil && signIn.Claims.SessionID != "" {
		e.Entra, err = s.epoch(ctx, entraEpochKey(signIn.Claims.SessionID))
	}
	return e, err
}

// createSession stores a new session. Session IDs exist only after a sign-in and are never reused, so an attacker
// cannot plant the ID of a later session (session fixation).
func (s *Site) createSession(ctx context.Context, key, previous string, signIn *authcode.SignIn, e epochs) (err error) {
	now := time.Now().UTC().Round(0)
	v := session{
		Account: signIn.Account, SID: signIn.Claims.SessionID, Epochs: e, LastSeen: now,
		Expires: now.Add(s.config.Lifetime), Previous: previous,
	}
	_ = signIn.Claims.Decode("login_hint", &v.Hint) // optional
	if s.config.KeepClaims {
		if v.Claims, err = signIn.Claims.MarshalBinary(); err != nil {
			return err
		}
	}
	u := user{v.Account.HomeAccountID}
	if err := s.put(ctx, userKey(v.Account.TenantID, v.Account.ObjectID), u, v.Expires); err != nil {
		return err
	}
	if v.SID != "" {
		if err := s.put(ctx, entraSessionKey(v.SID, v.Epochs.Entra), entraSession{v.Account, key}, v.Expires); err != nil {
			return err
		}
	}
	return s.put(ctx, key, v, s.storeExpiry(&v))
}

// replaceSession ends the session under key because its browser has signed in again. The session of another user
// ends at once, and one of the same user after replacedGrace.
func (s *Site) replaceSession(ctx context.Context, key string, by authcode.Account, next string) error {
	v, err := s.findSession(ctx, key)
	if v == nil || err != nil {
		return err
	}
	if err := s.put(ctx, successorKey(key), successor{next}, time.Now().Add(tombstoneTTL)); err != nil {
		return err
	}
	if v.Account.HomeAccountID != by.HomeAccountID || v.Account.TenantID != by.TenantID {
		if err := s.markEnded(ctx, key); err != nil || v.Account.HomeAccountID == by.HomeAccountID {
			return err // SignOut covers all tenants of a person, so it would remove the new tokens, too
		}
		return s.flow.SignOut(ctx, v.Account)
	}
	if v.Replaced {
		return nil
	}
	v.Replaced = true
	if expires := time.Now().Add(replacedGrace); expires.Before(v.Expires) {
		v.Expires = expires
	}
	return s.putUnlessMarked(ctx, *v, tombstoneKey(key))
}

// markEnded ends the session under key: it writes a tombstone, then deletes the session.
func (s *Site) markEnded(ctx context.Context, key string) error {
	if err := s.put(ctx, tombstoneKey(key), struct{}{}, time.Now().Add(tombstoneTTL)); err != nil {
		return err
	}
	return s.delete(ctx, key)
}

// endPrevious ends the sessions that v has replaced, which would stay valid until the end of replacedGrace.
func (s *Site) endPrevious(ctx context.Context, v *session) error {
	for key := v.Previous; key != ""; {
		var previous session
		found, err := s.get(ctx, key, &previous)
		if !found || err != nil {
			return err
		}
		if err := s.markEnded(ctx, key); err != nil {
			return err
		}
		key = previous.Previous
	}
	return nil
}

// signOutSession ends the session under key and its successors, because the user signs out.
func (s *Site) signOutSession(ctx context.Context, key string) error {
	if err := s.cancelSignIns(ctx, key); err != nil {
		return err
	}
	return s.markEnded(ctx, key)
}

// cancelSignIns ends the sign-ins that replace the session under key, in progress or finished. key may also stand for a
// login. A concurrent sign-in must not survive. It writes the successor record and then checks for a sign-out
// ([Site.startSession]). cancelSignIns writes the sign-out and then looks for a successor. At least one of them
// therefore notices the other.
func (s *Site) cancelSignIns(ctx context.Context, key string) error {
	expires := time.Now().Add(tombstoneTTL + s.flow.LoginTimeout())
	if err := s.put(ctx, signedOutKey(key), struct{}{}, expires); err != nil {
		return err
	}
	return s.signOutSuccessor(ctx, key)
}

// signOutSuccessor ends the session that has replaced the one under key, if there is one, and removes its tokens.
func (s *Site) signOutSuccessor(ctx context.Context, key string) error {
	var next successor
	if found, err := s.get(ctx, successorKey(key), &next); !found || err != nil {
		return err
	}
	var v session
	found, err := s.get(ctx, next.Key, &v)
	if found {
		err = s.flow.SignOut(ctx, v.Account)
	}
	if err != nil {
		return err
	}
	return s.signOutSession(ctx, next.Key)
}

// endEntraSession ends all sessions that belong to a session of Entra. found is false if no session has started in the
// current epoch.
func (s *Site) endEntraSession(ctx context.Context, sid string) (e entraSession, found bool, err error) {
	id, err := s.epoch(ctx, entraEpochKey(sid))
	if err != nil {
		return e, false, err
	}
	if found, err = s.get(ctx, entraSessionKey(sid, id), &e); !found || err != nil {
		return e, false, err
	}
	if err := s.startEpoch(ctx, entraEpochKey(sid)); err != nil {
		return e, true, err
	}
	return e, true, s.markEnded(ctx, e.Session)
}

// EndSessions ends all sessions of a user at this site and removes the user's tokens, for example after an
// administrator of the app has disabled the user. tenantID and objectID are those of the Account. The end takes effect
// with the next request of each session, in all processes with the same Store. Tokens are removed from the cache of
// this process and, if it has a store, of the others. Without a store, tokens in other processes stay in memory, but no
// session can use them.
//
// The user can sign in again. The error is an [*entra.Error]. Its code is "invalid_request" if an ID is not a GUID, and
// "temporarily_unavailable" if the session store or the store of the cache failed. Then call EndSessions again.
func (s *Site) EndSessions(ctx context.Context, tenantID, objectID string) error {
	if s.isZero() {
		return zeroSite()
	}
	a := authcode.Account{TenantID: strings.ToLower(tenantID), ObjectID: strings.ToLower(objectID)}
	if !guid.ValidLower(a.TenantID) || !guid.ValidLower(a.ObjectID) {
		return invalidConfig("EndSessions needs the tenant ID and the object ID of a user, which are GUIDs")
	}
	if err := s.endUserSessions(ctx, a, userEpochKey(a.TenantID, a.ObjectID)); err != nil {
		return err
	}
	var u user
	found, err := s.get(ctx, userKey(a.TenantID, a.ObjectID), &u)
	if !found || err != nil {
		return err
	}
	a.HomeAccountID = u.HomeAccountID
	return s.flow.SignOut(ctx, a)
}

// EndSession ends one session of a user and removes its tokens, as [Site.EndSessions] does for all. It is the session
// in which [AccountFromContext] returns a, including the sessions that replace it when the user signs in again from the
// same browser. An app that lists a user's sessions stores their Accounts. The errors are those of EndSessions.
func (s *Site) EndSession(ctx context.Context, a authcode.Account) error {
	if s.isZero() {
		return zeroSite()
	}
	if a.HomeAccountID == "" || a.Session == "" {
		return invalidConfig("EndSession needs the Account of a session; see AccountFromContext")
	}
	if err := s.endUserSessions(ctx, a, nameEpochKey(a)); err != nil {
		return err
	}
	return s.flow.SignOut(ctx, a)
}

// endUserSessions ends the sessions of a user that belong to the epoch under key.
func (s *Site) endUserSessions(ctx context.Context, a authcode.Account, key string) error {
	ctx = context.WithoutCancel(ctx) // it must not stop half-way
	if err := s.startEpoch(ctx, key); err != nil {
		return err
	}
	if err := s.startEpoch(ctx, userChangeKey(a.TenantID, a.ObjectID)); err != nil {
		return err
	}
	s.logger.LogAttrs(ctx, slog.LevelInfo, "signin: ended by the app", slog.Any("account", a))
	return nil
}

func zeroSite() error { return invalidConfig("the Site must be created with signin.New") }

// claims returns the claims of the ID token, if they were stored.
func (v *session) claims() (*verify.Claims, bool) {
	c := new(verify.Claims)
	if v == nil || len(v.Claims) == 0 || c.UnmarshalBinary(v.Claims) != nil {
		return nil, false
	}
	return c, true
}
