package signin

import (
	"crypto/rand"
	"crypto/subtle"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra/authcode"
)

// The content of a login travels in the state parameter, encrypted, through Entra and back. The browser has only small
// cookies, so that sign-ins in many tabs at once do not make its requests too large for proxies. docs/design/signin.md
// explains the cookies.

const (
	// loginSlots is the number of login cookies. Their names are fixed, so that responses to concurrent requests,
	// which do not know of each other's cookies, cannot set more.
	loginSlots = 16
	// maxStateBytes bounds a state that contains the page to return to. Entra rejects long queries (AADSTS90015), some
	// of them from about 1,800 characters of state (aspnet/Security#978).
	maxStateBytes = 1500
	// maxLongStateBytes bounds a state with the scopes of a login that requests many.
	maxLongStateBytes = 3500
	// maxCookiesRead bounds the number of cookies of one name that are decrypted for one request.
	maxCookiesRead = 4
	// maxFinished is how many finished logins are remembered.
	maxFinished = 5
	// bindingLength is the length of the value of a login cookie: 132 bits in base64url.
	bindingLength = 22
)

// loginState is the content of a login in progress.
type loginState struct {
	Login     *authcode.Login `json:"login"`
	Slot      int             `json:"slot"`                 // number of the login cookie
	Long      bool            `json:"long,omitempty"`       // the page to return to is in the cookie for a long page
	Replaces  string          `json:"replaces,omitempty"`   // store key of the session that the new one replaces
	PageOf    string          `json:"page_of,omitempty"`    // the user whose page it is; other users go Home
	Named     bool            `json:"named,omitempty"`      // the app has chosen Request.Session
	Request   string          `json:"request,omitempty"`    // hash of the request made by Interact
	SignedOut string          `json:"signed_out,omitempty"` // ID of the browser's last sign-out
	Restarted bool            `json:"restarted,omitempty"`  // it replaces a login that could not be finished

	id string // public, in the state parameter
}

// finishedLogin is a recent sign-in, for the detection of redirect loops.
type finishedLogin struct {
	At      int64  `json:"at"`                // in Unix time
	Request string `json:"request,omitempty"` // as in loginState
}

// binding returns the value of the login's cookie. The state parameter is not enough to compute it, so the login can be
// finished only in the browser that began it.
func (st *loginState) binding() string {
	return fingerprint("binding", st.Login.State())[:bindingLength]
}

// expired reports whether the user took too long.
func (st *loginState) expired() bool { return !time.Now().Before(st.Login.Expires()) }

// sealState returns the state parameter of a login.
func (s *Site) sealState(st *loginState) (string, error) {
	sealed, err := s.keys.seal("login "+st.id, st)
	return st.id + "." + encodeCookie(sealed), err
}

// openState returns the login in a state parameter, or nil if this site did not create it.
func (s *Site) openState(state string) *loginState {
	id, value, _ := strings.Cut(state, ".")
	st := &loginState{id: id}
	sealed, ok := decodeCookie(value)
	if len(id) != idLength || !ok || !s.keys.open("login "+id, sealed, st) || st.Login == nil {
		return nil
	}
	return st
}

// setLogin sets the cookies of a login and returns the URL of Entra's page for it. It reports whether the login fits.
func (s *Site) setLogin(w http.ResponseWriter, r *http.Request, st *loginState, longPage string) (to string, ok bool) {
	st.id, st.Slot, st.Long = rand.Text(), s.freeSlot(r), longPage != ""
	st.SignedOut = s.lastSignOut(r)
	state, err := s.sealState(st)
	u, urlErr := url.Parse(st.Login.URL())
	if err != nil || urlErr != nil || len(state) > maxLongStateBytes || longPage == "" && len(state) > maxStateBytes {
		return "", false
	}
	if longPage != "" {
		sealed, err := s.keys.seal("page "+st.id, longPage)
		if err != nil {
			return "", false
		}
		setCookie(w, s.cookies.login(pageCookie, encodeCookie(sealed), s.flow.LoginTimeout()))
	}
	setCookie(w, s.cookies.login(slotCookie(st.Slot), st.binding(), s.flow.LoginTimeout()))
	q := u.Query()
	q.Set("state", state)
	u.RawQuery = q.Encode()
	return u.String(), true
}

// freeSlot returns a slot without a cookie, or any if all have one. It is random, because several tabs that a browser
// opens at once see the same free slots.
func (s *Site) freeSlot(r *http.Request) int {
	used := s.pendingLogins(r)
	var free []int
	for slot := range loginSlots {
		if used[slot] == "" {
			free = append(free, slot)
		}
	}
	if len(free) == 0 {
		return mathrand.IntN(loginSlots)
	}
	return free[mathrand.IntN(len(free))]
}

// pendingLogins returns the values of the login cookies by slot.
func (s *Site) pendingLogins(r *http.Request) (values [loginSlots]string) {
	slots := map[string]int{}
	for slot := range loginSlots {
		slots[s.cookies.loginPrefix+slotCookie(slot)] = slot
	}
	for _, c := range r.Cookies() {
		if slot, ok := slots[c.Name]; ok {
			values[slot] = c.Value
		}
	}
	return values
}

// isBound reports whether the browser of r began the login.
func (s *Site) isBound(r *http.Request, st *loginState) bool {
	for _, c := range r.CookiesNamed(s.cookies.loginPrefix + slotCookie(st.Slot)) {
		if subtle.ConstantTimeCompare([]byte(c.Value), []byte(st.binding())) == 1 {
			return true
		}
	}
	return false
}

// page returns the page to which the user of a login returns. ok is false if it was a long one that another login has
// replaced.
func (s *Site) page(r *http.Request, st *loginState) (page string, ok bool) {
	if !st.Long {
		return st.Login.ReturnTo(), true
	}
	if s.openCookie(r, pageCookie, "page "+st.id, &page) && s.canReturnTo(page) {
		return page, true
	}
	return s.config.Home, false
}

// finishedLogins returns the logins that the browser has recently finished.
func (s *Site) finishedLogins(r *http.Request) (recent []finishedLogin) {
	var all []finishedLogin
	s.openCookie(r, finishedCookie, "finished logins", &all)
	for _, f := range all[max(0, len(all)-maxFinished):] {
		if time.Since(time.Unix(f.At, 0)) < loopWindow {
			recent = append(recent, f)
		}
	}
	return recent
}

// setFinished adds a login to the finished ones and deletes its cookies.
func (s *Site) setFinished(w http.ResponseWriter, r *http.Request, st *loginState) {
	s.deleteLogin(w, r, st)
	all := append(s.finishedLogins(r), finishedLogin{time.Now().Unix(), st.Request})
	sealed, err := s.keys.seal("finished logins", all[max(0, len(all)-maxFinished):])
	if err == nil {
		setCookie(w, s.cookies.login(finishedCookie, encodeCookie(sealed), loopWindow))
	}
}

// deleteLogin deletes the cookies of a login.
func (s *Site) deleteLogin(w http.ResponseWriter, r *http.Request, st *loginState) {
	deleteCookie(w, s.cookies.login(slotCookie(st.Slot), "", 0))
	if _, own := s.page(r, st); st.Long && own {
		deleteCookie(w, s.cookies.login(pageCookie, "", 0))
	}
}

// openCookie decrypts the login cookie of that name into v. It reports whether there is a valid one.
func (s *Site) openCookie(r *http.Request, name, purpose string, v any) bool {
	cookies := r.CookiesNamed(s.cookies.loginPrefix + name)
	for _, c := range cookies[:min(len(cookies), maxCookiesRead)] {
		if sealed, ok := decodeCookie(c.Value); ok && s.keys.open(purpose, sealed, v) {
			return true
		}
	}
	return false
}

// lastSignOut returns the ID of the last sign-out of the browser, or "".
func (s *Site) lastSignOut(r *http.Request) string {
	for _, c := range r.CookiesNamed(s.cookies.loginPrefix + signedOutCookie) {
		if len(c.Value) == idLength {
			return c.Value
		}
	}
	return ""
}

// signedOutSince reports whether the browser has signed out since the login began.
func (s *Site) signedOutSince(r *http.Request, st *loginState) bool {
	last := s.lastSignOut(r)
	return last != "" && last != st.SignedOut
}

// signOutLogins deletes the cookies of all logins, in progress and finished. The response to a concurrent request may
// still set a login cookie. The ID of this sign-out cancels that login.
func (s *Site) signOutLogins(w http.ResponseWriter, r *http.Request) {
	for slot, value := range s.pendingLogins(r) {
		if value != "" {
			deleteCookie(w, s.cookies.login(slotCookie(slot), "", 0))
		}
	}
	for _, name := range []string{pageCookie, linkCookie, finishedCookie} {
		if len(r.CookiesNamed(s.cookies.loginPrefix+name)) > 0 {
			deleteCookie(w, s.cookies.login(name, "", 0))
		}
	}
	setCookie(w, s.cookies.login(signedOutCookie, rand.Text(), s.flow.LoginTimeout()))
}
