package signin

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/entratoken/entra/authcode"
)

// maxCookie bounds name and value of a cookie together: browsers drop what is over 4096
// bytes (RFC 6265bis, section 5.6).
const maxCookie = 4000

// cookies are the names and attributes of a site's cookies.
//
// Over https their names begin with "__Host-": browsers take and replace such a cookie
// only from this host, over TLS, for all paths, so that neither a subdomain nor a network
// can toss one in (RFC 6265bis, section 4.1.3.2). A page on http://localhost, for
// development, has no such names: not all browsers take them there. Cookies do not know
// ports or paths, so the names tell two apps on one host apart by their redirect URLs.
type cookies struct {
	session, login string // the latter is followed by what tells logins apart
	secure         bool
	formPost       bool
}

func newCookies(redirect *url.URL, mode string) cookies {
	id := fingerprint("site", redirect.String())[:8]
	c := cookies{secure: redirect.Scheme == "https", formPost: mode == authcode.FormPost}
	prefix := ""
	if c.secure {
		prefix = "__Host-"
	}
	c.session, c.login = prefix+"session-"+id, prefix+"login-"+id+"-"
	return c
}

// forLogin is the name of the cookie of a login. The state itself would be as good a name
// for whoever reads the cookies, and one more place to look after.
func (c cookies) forLogin(state string) string {
	return c.login + fingerprint("state", state)[:16]
}

// sessionCookie: Lax, so that it comes along when Entra sends the browser back, but not
// with other sites' POSTs. It ends with the browser.
func (c cookies) sessionCookie(value string) *http.Cookie {
	return &http.Cookie{Name: c.session, Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode}
}

// loginCookie: None with form_post, which comes as a POST from another site. Browsers take
// that only with Secure, and those that develop with it from http://localhost, too.
func (c cookies) loginCookie(name, value string, maxAge int) *http.Cookie {
	cookie := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode, MaxAge: maxAge}
	if c.formPost {
		cookie.Secure, cookie.SameSite = true, http.SameSiteNoneMode
	}
	return cookie
}

// set puts a cookie on the answer, in place of one of the same name that is there.
func set(w http.ResponseWriter, c *http.Cookie) {
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

// expire has the browser forget a cookie.
func expire(w http.ResponseWriter, c *http.Cookie) {
	c.Value, c.MaxAge = "", -1
	set(w, c)
}

// encode and decode are for what is sealed. There is one text for every value.
func encode(sealed []byte) string { return base64.RawURLEncoding.EncodeToString(sealed) }

func decode(value string) ([]byte, bool) {
	if len(value) > maxCookie {
		return nil, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	return sealed, err == nil
}
