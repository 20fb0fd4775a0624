package site

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/entratoken/entra/authcode"
)

const (
	sessionLife = 8 * time.Hour // a working day; then the user signs in again
	maxSessions = 10_000        // the one used least recently gives way
	maxLogins   = 5             // tabs of one browser that are signing in at once
)

// sessions are kept here; the browser has only the ID of one, which nobody can guess.
type sessions struct {
	cookie http.Cookie // without its value

	mu   sync.Mutex // guards byID and the sessions in it
	byID *simplelru.LRU[string, *session]
}

type session struct {
	account *authcode.Account // nil until the user has signed in
	logins  []*authcode.Login // begun here and not finished, oldest first
	ends    time.Time
}

// newSessions returns no sessions yet. secure: the site is reached over https.
func newSessions(secure bool) *sessions {
	byID, _ := simplelru.NewLRU[string, *session](maxSessions, nil) // fails only for sizes below 1
	s := &sessions{byID: byID}
	// Lax: sent when Entra sends the browser back, not with other sites' POSTs.
	s.cookie = http.Cookie{Name: "session", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure}
	if secure {
		s.cookie.Name = "__Host-session" // browsers take it from this host alone
	}
	return s
}

// account returns who is signed in with the browser, or nil.
func (s *sessions) account(r *http.Request) *authcode.Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, v := s.find(r); v != nil {
		return v.account
	}
	return nil
}

// keepLogin keeps a login until the browser is back.
func (s *sessions) keepLogin(w http.ResponseWriter, r *http.Request, l *authcode.Login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v := s.find(r)
	if v == nil {
		v = s.add(w)
	}
	v.logins = append(v.logins, l)
	if len(v.logins) > maxLogins {
		v.logins = v.logins[1:]
	}
}

// takeLogin returns the login of that state, if this browser began it, and forgets it.
func (s *sessions) takeLogin(r *http.Request, state string) *authcode.Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, v := s.find(r); v != nil {
		for i, l := range v.logins {
			if l.State() == state {
				v.logins = append(v.logins[:i:i], v.logins[i+1:]...)
				return l
			}
		}
	}
	return nil
}

// signIn puts the account into a session with a new ID: whoever knew the old one, because
// he had planted it, knows nothing of the new one. Logins of other tabs go along.
func (s *sessions) signIn(w http.ResponseWriter, r *http.Request, a authcode.Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, old := s.find(r)
	v := s.add(w)
	v.account = &a
	if old != nil {
		v.logins = old.logins
		s.byID.Remove(id)
	}
}

// end ends the browser's session.
func (s *sessions) end(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, v := s.find(r); v != nil {
		s.byID.Remove(id)
	}
	c := s.cookie
	c.MaxAge = -1
	http.SetCookie(w, &c)
}

// find returns the browser's session, or nil. mu is held.
func (s *sessions) find(r *http.Request) (id string, v *session) {
	c, err := r.Cookie(s.cookie.Name)
	if err != nil {
		return "", nil
	}
	v, ok := s.byID.Get(c.Value)
	if !ok {
		return "", nil
	}
	if !time.Now().Before(v.ends) {
		s.byID.Remove(c.Value)
		return "", nil
	}
	return c.Value, v
}

// add makes a session and gives the browser its ID. mu is held.
func (s *sessions) add(w http.ResponseWriter) *session {
	id, v := rand.Text(), &session{ends: time.Now().Add(sessionLife)}
	s.byID.Add(id, v)
	c := s.cookie
	c.Value = id
	http.SetCookie(w, &c)
	return v
}
