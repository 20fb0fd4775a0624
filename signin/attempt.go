package signin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/authcode"
)

const (
	// maxAttempts and maxAttemptBytes bound what the logins of a browser take up in its
	// requests: tabs that sign in at once. The oldest gives way. Proxies refuse requests
	// with more than 8 KB of headers, and would do so until the cookies have expired.
	maxAttempts     = 5
	maxAttemptBytes = 6000
	// maxOpened bounds the work that the cookies of one request make.
	maxOpened = 20
	// afterwards is how long it is remembered that an attempt has succeeded.
	afterwards = 5 * time.Minute
	// circle is how soon after sign-ins asking for the same again is going in a circle.
	circle = time.Minute
)

// attempt is what the cookie of a login holds: first the login, and, when it has
// succeeded, what to do if the browser asks for the callback again.
type attempt struct {
	Login  *authcode.Login `json:"login,omitempty"`  // nil: it has succeeded
	At     time.Time       `json:"at"`               // when it began, or succeeded
	Before string          `json:"before,omitempty"` // the name of the session that it replaces
	Expect string          `json:"expect,omitempty"` // who must come back for ReturnTo to be theirs
	Asked  string          `json:"asked,omitempty"`  // what Interact asks for

	ReturnTo string `json:"return_to,omitempty"` // when it has succeeded
}

// keep puts an attempt into the cookie of that name and returns its size; 0 if the attempt
// is too large for a cookie.
func (s *Site) keep(w http.ResponseWriter, name string, a *attempt, life time.Duration) (size int) {
	sealed, err := s.keys.seal("cookie "+name, a)
	if err != nil {
		return 0
	}
	value := encode(sealed)
	if size = len(name) + len(value); size > maxCookie {
		return 0
	}
	set(w, s.cookies.loginCookie(name, value, int(life/time.Second)))
	return size
}

// attempt returns what the browser has under that name; nil if it has nothing of ours.
func (s *Site) attempt(r *http.Request, name string) *attempt {
	cookies := r.CookiesNamed(name)
	for _, c := range cookies[:min(len(cookies), maxOpened)] {
		if a := s.openAttempt(c); a != nil {
			return a
		}
	}
	return nil
}

func (s *Site) openAttempt(c *http.Cookie) *attempt {
	a := new(attempt)
	sealed, ok := decode(c.Value)
	if !ok || !s.keys.open("cookie "+c.Name, sealed, a) {
		return nil
	}
	if a.Login == nil && time.Since(a.At) > afterwards {
		return nil
	}
	return a
}

// attempts yields the attempts that the browser has, and the names of cookies that are
// none, and so of no use to anybody.
func (s *Site) attempts(r *http.Request) (open []keptAttempt, broken []string) {
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, s.cookies.login) || len(open)+len(broken) == maxOpened {
			continue
		}
		if a := s.openAttempt(c); a != nil {
			open = append(open, keptAttempt{c.Name, len(c.Name) + len(c.Value), a})
		} else {
			broken = append(broken, c.Name)
		}
	}
	return open, broken
}

type keptAttempt struct {
	name string
	size int
	*attempt
}

// makeRoom has the browser forget attempts, the oldest first, so that one more of that
// size fits.
func (s *Site) makeRoom(w http.ResponseWriter, r *http.Request, size int) {
	open, broken := s.attempts(r)
	for _, name := range broken {
		expire(w, s.cookies.loginCookie(name, "", -1))
	}
	slices.SortFunc(open, func(a, b keptAttempt) int { return b.At.Compare(a.At) }) // newest first
	for i, a := range open {
		if size += a.size; i >= maxAttempts-1 || size > maxAttemptBytes {
			expire(w, s.cookies.loginCookie(a.name, "", -1))
		}
	}
}

// replacedBy has the logins that are under way in other tabs replace the session that one
// has just begun. With form_post their answers come without the session's cookie, so nothing
// else says that it is there.
func (s *Site) replacedBy(w http.ResponseWriter, r *http.Request, finished, session string) {
	open, _ := s.attempts(r)
	for _, a := range open {
		if a.Login == nil || a.name == finished {
			continue
		}
		if left := time.Until(a.Login.Expires()); left >= time.Second {
			a.Before = session
			s.keep(w, a.name, a.attempt, left)
		}
	}
}

// inCircle reports whether the browser has come back twice within a minute from signing in
// for the same, or four times for anything: a challenge can be another each time. Once can
// be chance: the request went to another process, or this one is new, and the tokens are
// where the callback was answered.
func (s *Site) inCircle(r *http.Request, asked string) bool {
	return s.succeeded(r, func(a keptAttempt) bool { return a.Asked == asked }) >= 2 ||
		s.succeeded(r, func(a keptAttempt) bool { return a.Asked != "" }) >= maxAttempts-1
}

// signedInInVain reports whether the browser has signed in twice just now, though nobody
// is signed in: its session is not kept, or not found again.
func (s *Site) signedInInVain(r *http.Request) bool {
	return s.succeeded(r, func(keptAttempt) bool { return true }) >= 2
}

// succeeded counts the attempts that have succeeded just now.
func (s *Site) succeeded(r *http.Request, like func(keptAttempt) bool) (n int) {
	open, _ := s.attempts(r)
	for _, a := range open {
		if a.Login == nil && time.Since(a.At) < circle && like(a) {
			n++
		}
	}
	return n
}
