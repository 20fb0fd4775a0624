package signin

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra/authcode"
)

// maxCookieBytes bounds the name and value of a cookie together. Browsers drop cookies above 4,096 bytes (RFC
// 6265bis, section 5.6).
const maxCookieBytes = 4000

// cookies creates the cookies of a site.
//
// Over https their names start with "__Host-". Browsers accept such a cookie only from this host, over TLS and for
// all paths. Neither a subdomain nor an attacker in the network can set or replace it (RFC 6265bis, section 4.1.3.2).
// Some browsers reject the prefix on http://localhost, so it is omitted there. Cookies ignore ports and paths. To
// separate two apps on one host, the names contain a hash of the redirect URL.
type cookies struct {
	sessionName string
	loginPrefix string // of the cookies of logins in progress
	secure      bool
	formPost    bool
}

func newCookies(redirect *url.URL, responseMode string) cookies {
	id := fingerprint("site", redirect.String())[:8]
	c := cookies{secure: redirect.Scheme == "https", formPost: responseMode == authcode.ResponseModeFormPost}
	prefix := ""
	if c.secure {
		prefix = "__Host-"
	}
	c.sessionName, c.loginPrefix = prefix+"session-"+id, prefix+"login-"+id+"-"
	return c
}

// Names of login cookies, after loginPrefix.
const (
	pageCookie      = "page"       // the page to return to, if it is too long for the state parameter
	linkCookie      = "session"    // with form_post: the link of the session, which callbacks do not carry
	finishedCookie  = "finished"   // recent sign-ins
	signedOutCookie = "signed-out" // ID of the last sign-out
)

// slotCookie returns the part of a login cookie's name that follows loginPrefix.
func slotCookie(slot int) string { return fmt.Sprintf("%02d", slot) }

// session returns a session cookie, which expires when the browser is closed. With SameSite=Lax it is sent when Entra
// redirects the browser back, but not with POSTs of other sites.
func (c cookies) session(value string) *http.Cookie {
	return &http.Cookie{
		Name: c.sessionName, Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode,
	}
}

// login returns a login cookie. If ttl is 0, it expires when the browser is closed. With form_post the callback is a
// POST of another site, which requires SameSite=None. Browsers accept that only with Secure, and those that developers
// use accept Secure from http://localhost, too.
func (c cookies) login(name, value string, ttl time.Duration) *http.Cookie {
	cookie := &http.Cookie{
		Name: c.loginPrefix + name, Value: value, Path: "/", HttpOnly: true, Secure: c.secure,
		SameSite: http.SameSiteLaxMode, MaxAge: int(ttl / time.Second),
	}
	if c.formPost {
		cookie.Secure, cookie.SameSite = true, http.SameSiteNoneMode
	}
	return cookie
}

// setCookie sets a cookie. It replaces a cookie of the same name that the response already has.
func setCookie(w http.ResponseWriter, c *http.Cookie) {
	h := w.Header()
	lines := h["Set-Cookie"]
	h.Del("Set-Cookie")
	for _, line := range lines {
		if !strings.HasPrefix(line, c.Name+"=") {
			h.Add("Set-Cookie", line)
		}
	}
	http.SetCookie(w, c)
}

// deleteCookie makes the browser delete a cookie.
func deleteCookie(w http.ResponseWriter, c *http.Cookie) {
	c.Value, c.MaxAge = "", -1
	setCookie(w, c)
}

// encodeCookie and decodeCookie convert sealed data to and from cookie values. Decoding is strict: each value has
// exactly one encoding.
func encodeCookie(sealed []byte) string { return base64.RawURLEncoding.EncodeToString(sealed) }

func decodeCookie(value string) ([]byte, bool) {
	if len(value) > maxCookieBytes {
		return nil, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	return sealed, err == nil
}
